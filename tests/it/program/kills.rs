//! SIGKILL at every step of the promotion of every one of twelve tags: the next run moves the others.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicUsize, Ordering},
};

use super::assert_edges_agree;
use crate::support::{
    gate::{Gate, Pass},
    project::{Place, Project},
    registry::Registry,
    running::Start,
};

const EDGES: &[(&str, &str)] = &[("~app:latest", "~base:1")];
const TAGS: [&str; 6] = ["latest", "1", "1.0", "1.0.0", "stable", "b"];
const IMAGES: [&str; 2] = ["base", "app"];

/// What the run is about to do to the tag when it is killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    /// To ask whether the tag is still where the plan saw it.
    Head,
    /// To write it.
    Put,
    /// To hear that it was written: it is.
    AfterPut,
    /// To read back what it has just written.
    ReadBack,
    /// To read all of them once more, the last thing before the end.
    LastRead,
}

const STEPS: [Step; 5] = [Step::Head, Step::Put, Step::AfterPut, Step::ReadBack, Step::LastRead];

/// One project whose twelve tags are moved again and again.
struct Twelve {
    project: Project,
    registry: Registry,
    gate: Gate,
    edits: usize,
}

impl Twelve {
    fn new() -> Self {
        let (project, registry) = (Project::pair(), Registry::start());
        let gate = Gate::before(registry.host());
        let tags = format!("tags: {}", serde_json::json!(TAGS));
        project.edit("hierarchy.yaml", "tags: [latest, \"1\"]", &tags);
        project.edit("hierarchy.yaml", "{ context: app }", &format!("{{ context: app, {tags} }}"));
        let twelve = Self { project, registry, gate, edits: 0 };
        twelve.rebuild("").run().exits(0);
        twelve
    }

    fn rebuild(&self, arguments: &str) -> Start<'_> {
        let registry = format!("{}/demo", self.gate.host());
        self.project.rebuild(arguments).env("REBUILD_REGISTRY", registry)
    }

    /// Changes both images, and kills the run that publishes them where the gate holds a request.
    fn kill(&mut self, rule: impl Fn(&str, &str) -> Pass + Send + Sync + 'static) {
        self.edits += 1;
        self.project.write("base/name", &format!("~base {}\n", self.edits));
        self.gate.rule(rule);
        let mut run = self.rebuild("").start();
        self.gate.wait_until_held();
        assert_eq!(run.signal("KILL").end().status.code(), None);
        self.gate.rule(|_, _| Pass::Through);
    }

    #[track_caller]
    fn kill_at(&mut self, step: Step, image: &str, tag: &str) {
        let case = format!("{step:?} of {image}:{tag}");
        let place = Place::Registry(&self.registry);
        let before = self.project.tags(place);
        assert_eq!(before.len(), TAGS.len() * IMAGES.len());
        let path = self.project.name(&format!("/v2/demo/~{image}/manifests/{tag}"));
        // The record in the registry is what comes right after the commit point.
        let (is_committed, heads) = (AtomicBool::new(false), Arc::new(AtomicUsize::new(0)));
        let number = match step {
            Step::Head => 0,
            Step::ReadBack => 1,
            _ => 2,
        };
        self.kill(move |method, asked| {
            if method == "PUT" && asked.contains("/rebuild-runs/manifests/") {
                is_committed.store(true, Ordering::SeqCst);
            }
            match (step, method) {
                _ if asked != path || !is_committed.load(Ordering::SeqCst) => Pass::Through,
                (Step::Put, "PUT") => Pass::Held,
                (Step::AfterPut, "PUT") => Pass::AnswerHeld,
                (Step::Head | Step::ReadBack | Step::LastRead, "HEAD")
                    if heads.fetch_add(1, Ordering::SeqCst) == number =>
                {
                    Pass::Held
                }
                _ => Pass::Through,
            }
        });

        let place = Place::Registry(&self.registry);
        let (all, between) = (self.project.all_tags(place), self.project.tags(place));
        for (tag, digest) in &between {
            let (name, short) = tag.split_once(':').unwrap();
            let is_new = all
                .iter()
                .any(|(other, to)| to == digest && other.starts_with(&format!("{name}:rb-")));
            assert!(is_new, "I1, {case}: {between:#?}");
            let repository = self.project.name(&format!("demo/{name}"));
            assert_eq!(self.registry.missing(&repository, short), [""; 0], "I2, {case}");
        }
        let at = format!("~{image}:{tag}");
        let was_moved = between[&at] != before[&at];
        assert_eq!(was_moved, !matches!(step, Step::Head | Step::Put), "{case}");
        let moved = between.iter().filter(|(tag, to)| before[*tag] != **to);
        // Children are moved after their parents.
        if image == "app" {
            assert!(moved.count() >= TAGS.len(), "{case}: {between:#?}");
        }

        let said = "was cut off while it moved tags: all 12 of them are moved now";
        let next = self.rebuild("").run().exits(0).says(&[said]);
        assert_eq!(next.result(), "nothing to do: all 2 images are up to date", "{case}: {next}");
        self.is_in_order(&before, &case);
    }

    /// Every tag was moved, and nothing is left.
    #[track_caller]
    fn is_in_order(&self, before: &std::collections::BTreeMap<String, String>, case: &str) {
        let place = Place::Registry(&self.registry);
        let after = self.project.tags(place);
        assert!(after.iter().all(|(tag, to)| before[tag] != *to), "{case}: {after:#?}");
        for image in IMAGES {
            let same = TAGS.map(|tag| &after[&format!("~{image}:{tag}")]);
            assert!(same.iter().all(|digest| *digest == same[0]), "{case}: {after:#?}");
        }
        assert_edges_agree(&self.project, place, EDGES);
        assert_eq!(self.project.under_way(), [""; 0], "I8, {case}");
    }

    /// The first record of a run is written at the commit point, the second when its journal has ended.
    fn kill_at_the_end(&mut self) {
        let before = self.project.tags(Place::Registry(&self.registry));
        let records = AtomicUsize::new(0);
        self.kill(move |method, path| {
            let is_record = method == "PUT" && path.contains("/rebuild-runs/manifests/");
            let is_last = is_record && records.fetch_add(1, Ordering::SeqCst) == 1;
            if is_last { Pass::Held } else { Pass::Through }
        });
        let next = self.rebuild("").run().exits(0).never_says(&["was cut off"]);
        assert_eq!(next.result(), "nothing to do: all 2 images are up to date", "{next}");
        self.is_in_order(&before, "the end");
    }
}

#[test]
fn killed_at_each_step_of_a_promotion_it_is_finished_by_the_next_run() {
    let mut twelve = Twelve::new();
    for (step, image, tag) in [
        (Step::Head, "base", "1"),
        (Step::Put, "app", "latest"),
        (Step::AfterPut, "base", "latest"),
        (Step::ReadBack, "app", "stable"),
        (Step::LastRead, "base", "1.0"),
    ] {
        twelve.kill_at(step, image, tag);
    }
    twelve.kill_at_the_end();
}

#[test]
#[ignore = "takes minutes: CONTRIBUTING.md"]
fn killed_at_every_step_of_every_tag_it_is_finished_by_the_next_run_for_minutes() {
    let mut twelve = Twelve::new();
    for step in STEPS {
        for image in IMAGES {
            for tag in TAGS {
                twelve.kill_at(step, image, tag);
            }
        }
    }
    twelve.kill_at_the_end();
}
