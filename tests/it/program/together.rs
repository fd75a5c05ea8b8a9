//! Two runs that publish other files under the same tags at the same time, of one machine and of two.

use std::{collections::BTreeSet, fs};

use super::assert_edges_agree;
use crate::support::{
    project::{Place, Project},
    registry::Registry,
    running::{Ended, Start},
};

const EDGES: &[(&str, &str)] = &[("~app:latest", "~base:1")];

/// Two checkouts of a project.
struct Together {
    project: Project,
    registry: Registry,
    /// How many machines they are on.
    machines: usize,
}

impl Together {
    fn new(machines: usize) -> Self {
        let (project, registry) = (Project::pair(), Registry::start());
        let together = Self { project, registry, machines };
        for file in ["hierarchy.yaml", "base/Dockerfile", "app/Dockerfile", "app/page"] {
            let text = fs::read_to_string(together.project.path(file)).unwrap();
            together.project.write(&format!("../other/{file}"), &text);
        }
        together.edit(0);
        together.rebuild(0).run().exits(0);
        together
    }

    /// Each checkout gets files of its own, from the base on.
    fn edit(&self, round: usize) {
        for (folder, who) in [("", "one"), ("../other/", "other")] {
            let text = format!("FROM scratch\nLABEL who={who} round={round}\nCOPY name /\n");
            self.project.write(&format!("{folder}base/Dockerfile"), &text);
            self.project.write(&format!("{folder}base/name"), &format!("~{who}"));
        }
    }

    fn rebuild(&self, which: usize) -> Start<'_> {
        let (folder, state) = [("", "../state"), ("../other", "../other-state")][which];
        let state = if self.machines == 1 { "../state" } else { state };
        self.project
            .rebuild(&format!("-C {}", self.project.path(folder).display()))
            .to(Place::Registry(&self.registry))
            .env("XDG_STATE_HOME", self.project.path(state))
    }

    fn round(&self, round: usize) {
        let place = Place::Registry(&self.registry);
        let before = self.project.tags(place);
        self.edit(round);
        let running = [self.rebuild(0).start(), self.rebuild(1).start()];
        let ended = running.map(|mut run| run.end());
        let codes: BTreeSet<_> = ended.iter().map(|ended| ended.status.code().unwrap()).collect();
        let shown = || format!("round {round}\n{}\n{}", ended[0], ended[1]);
        let lost = if self.machines == 1 { 75 } else { 13 };
        // A run that has come too late is refused, or ends before the other begins.
        assert!(codes.iter().all(|code| [0, lost].contains(code)), "{}", shown());

        let after = self.project.tags(place);
        let whose: BTreeSet<_> = after
            .keys()
            .map(|tag| ["who", "round"].map(|label| self.project.label(place, tag, label)))
            .collect();
        assert_eq!(whose.len(), 1, "the tags are not one run's: {after:#?}\n{}", shown());
        if codes.contains(&0) {
            let [_, of] = whose.first().unwrap();
            assert_eq!(*of, round.to_string(), "nobody's tags: {after:#?}\n{}", shown());
            assert_edges_agree(&self.project, place, EDGES);
        } else {
            assert_eq!(after, before, "both were refused: {}", shown());
        }
        for tag in after.keys() {
            let (name, short) = tag.split_once(':').unwrap();
            let repository = self.project.name(&format!("demo/{name}"));
            assert_eq!(self.registry.missing(&repository, short), [""; 0], "I2: {tag}");
        }
        Self::is_told(&ended, &whose);
    }

    /// Whoever ended with 0 last is the one whose images the tags show, and a loser says why.
    fn is_told(ended: &[Ended; 2], whose: &BTreeSet<[String; 2]>) {
        for (index, who) in ["one", "other"].into_iter().enumerate() {
            let is_theirs = whose.first().is_some_and(|[whose, _]| whose == who);
            let end = &ended[index];
            match end.status.code() {
                // The only success is the one that is seen.
                Some(0) if ended[1 - index].status.code() != Some(0) => assert!(is_theirs, "{end}"),
                Some(13) => {
                    // Found before the write, or by the read after it.
                    let why = ["by another user or program", "read back it points at"];
                    assert!(why.iter().any(|why| end.stderr.contains(why)), "{end}");
                }
                Some(75) => assert!(end.stderr.contains("another run is publishing"), "{end}"),
                _ => {}
            }
        }
    }

    /// In the end one of them alone has its way.
    fn settles(&self) {
        let place = Place::Registry(&self.registry);
        for which in [0, 1] {
            self.rebuild(which).run().exits(0);
            let next = self.rebuild(which).run().exits(0);
            assert!(next.result().starts_with("nothing to do"), "{next}");
        }
        assert_edges_agree(&self.project, place, EDGES);
        assert_eq!(self.project.under_way(), [""; 0], "I8");
    }
}

fn rounds(count: usize) {
    for machines in [1, 2] {
        let together = Together::new(machines);
        for round in 1..=count {
            together.round(round);
        }
        println!("{count} rounds, machines: {machines}");
        together.settles();
    }
}

#[test]
fn two_at_once_leave_the_tags_of_one() {
    rounds(1);
}

#[test]
#[ignore = "takes minutes: CONTRIBUTING.md"]
fn two_at_once_a_hundred_times_leave_the_tags_of_one_for_minutes() {
    rounds(100);
}

/// Both check out the same commit and build it at the same moment, each with a state folder of its own.
#[test]
#[ignore = "slow: CONTRIBUTING.md"]
fn two_machines_that_build_the_same_files_on_one_engine_never_fail_a_build() {
    let together = Together::new(2);
    for round in 1..=6 {
        for folder in ["", "../other/"] {
            let text = format!("FROM scratch\nCOPY name /\nLABEL round={round}\n");
            together.project.write(&format!("{folder}base/Dockerfile"), &text);
            together.project.write(&format!("{folder}base/name"), &format!("~round {round}"));
        }
        let running = [together.rebuild(0).start(), together.rebuild(1).start()];
        let ended = running.map(|mut run| run.end());
        let codes = ended.each_ref().map(|ended| ended.status.code().unwrap());
        let shown = || format!("round {round}\n{}\n{}", ended[0], ended[1]);
        assert!(codes.contains(&0), "{}", shown());
        assert!(codes.iter().all(|code| [0, 13].contains(code)), "{}", shown());
        assert_edges_agree(&together.project, Place::Registry(&together.registry), EDGES);
    }
    together.settles();
}

#[test]
fn a_run_waits_for_another_one_as_long_as_it_may() {
    let project = Project::pair();
    project.write("app/Dockerfile", "FROM ~base:1\nCOPY page /\n");
    project.edit(
        "hierarchy.yaml",
        "~app: { context: app }",
        "~app: { context: app, prepare: [sleep, \"3\"] }",
    );
    let mut first = project.rebuild("--progress json").start();
    first.wait_for("step-started");
    let ended = project.rebuild("--wait 1ms").run().exits(75);
    ended.says(&[
        "waiting: another run is publishing to ",
        "`--wait` with a longer time waits for it to end",
    ]);
    project.rebuild("--wait 2m").run().exits(0).says(&["waiting: another run is publishing to "]);
    first.end().exits(0);
}

/// Two hierarchies that give an image the same name replace each other's.
#[test]
fn an_image_of_another_hierarchy_is_replaced_with_a_warning() {
    super::everywhere_of_files(|project, place| {
        let warning = "was last published by another hierarchy, `";
        let other = |arguments: &str| {
            project.rebuild(&format!("-C ../other {arguments}")).to(place).run().exits(0)
        };
        let first = project.rebuilt(place);
        assert!(!first.stderr.contains(warning), "{first}");
        assert_eq!(
            project.label(place, "~web:latest", "rebuild.hierarchy"),
            "project/hierarchy.yaml"
        );

        let file = "version: 1\nimages:\n  ~web: { context: ., file_labels: false }\n";
        project.write("../other/hierarchy.yaml", file);
        project.write("../other/Dockerfile", "FROM scratch\nCOPY page /\n");
        project.write("../other/page", "~ another page\n");
        let plan = other("plan");
        plan.says(&["`~web` was last published by another hierarchy, `project/hierarchy.yaml`"]);
        other("")
            .says(&["`~web` was last published by another hierarchy, `project/hierarchy.yaml`"]);
        let again = other("");
        assert!(!again.stderr.contains(warning), "{again}");
        // A digest, since labels are to name no files.
        let label = project.label(place, "~web:latest", "rebuild.hierarchy");
        assert_eq!((label.len(), label.contains('/')), (12, false), "{label}");
        project.edit("../other/page", "another", "other");
        let own = other("");
        assert!(!own.stderr.contains(warning), "{own}");

        let back = project.rebuild("").to(place).run().exits(0);
        back.says(&[&format!("`~web` was last published by another hierarchy, `{label}`")]);
    });
}
