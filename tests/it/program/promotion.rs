//! A promotion that is cut off, refused, or cannot be written down.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use super::{EDGES, assert_edges_agree};
use crate::support::{
    gate::{Gate, Pass},
    project::{Place, Project},
    registry::Registry,
    running::Start,
};

/// How many moving tags [`prepared`] leaves to be moved: two of `~os` and one of a day, and three more.
const TAGS: usize = 6;

/// Everything is published, `~os` is changed, and has a tag more that is new.
fn prepared(project: &Project, gate: &Gate) {
    to(project, gate, "").run().exits(0);
    project.edit("os/page", "one", "two");
    project.edit("hierarchy.yaml", "[latest, \"1\"]", "[latest, \"1\", \"{date}\"]");
}

fn to<'a>(project: &'a Project, gate: &Gate, arguments: &str) -> Start<'a> {
    project.rebuild(arguments).env("REBUILD_REGISTRY", format!("{}/demo", gate.host()))
}

fn setup() -> (Project, Registry, Gate) {
    let (project, registry) = (Project::of_files(), Registry::start());
    let gate = Gate::before(registry.host());
    (project, registry, gate)
}

/// The tags that a run makes that nobody disturbs.
fn undisturbed() -> BTreeMap<String, String> {
    let (project, registry, gate) = setup();
    prepared(&project, &gate);
    to(&project, &gate, "").run().exits(0);
    project.tags(Place::Registry(&registry))
}

#[test]
fn after_a_kill_at_any_tag_the_next_command_moves_the_others() {
    let expected = undisturbed();
    let names: Vec<&String> = expected.keys().collect();
    for (passing, then) in [(0, Pass::AnswerHeld), (TAGS - 1, Pass::Held)] {
        let (project, registry, gate) = setup();
        let place = Place::Registry(&registry);
        prepared(&project, &gate);
        let before = project.tags(place);
        gate.after_tags(passing, then);
        let mut run = to(&project, &gate, "").start();
        gate.wait_until_held();
        assert_eq!(run.signal("KILL").end().status.code(), None);
        gate.rule(|_, _| Pass::Through);
        let between = project.tags(place);
        let moved = between.iter().filter(|(tag, to)| before.get(*tag) != Some(to)).count();
        let late = usize::from(then == Pass::AnswerHeld);
        assert!(
            (passing..=passing + late * TAGS).contains(&moved),
            "{passing} {then:?}: {between:#?}"
        );

        // A hierarchy without most of it: what was begun is finished all the same.
        let whole = fs::read_to_string(project.path("hierarchy.yaml")).unwrap();
        project.write("hierarchy.yaml", "version: 1\nimages:\n  ~other: { context: other }\n");
        project.write("other/Dockerfile", "FROM scratch\nCOPY file /\n");
        project.write("other/file", "");
        let said = format!("was cut off while it moved tags: all {TAGS} of them are moved now");
        to(&project, &gate, "").run().exits(0).says(&[&said]);
        let mut after = project.tags(place);
        assert!(after.remove("~other:latest").is_some());
        assert_eq!(after.keys().collect::<Vec<_>>(), names, "{passing} {then:?}");
        assert!(
            after.iter().all(|(tag, to)| before.get(tag) != Some(to)),
            "{before:#?} {after:#?}"
        );
        assert_edges_agree(&project, place, EDGES);

        fs::write(project.path("hierarchy.yaml"), whole).unwrap();
        let next = to(&project, &gate, "").run().exits(0).never_says(&["was cut off"]);
        assert_eq!(next.result(), "nothing to do: all 4 images are up to date", "{next}");
        let history = to(&project, &gate, "history").run().exits(0);
        assert!(history.stdout.contains("done (recovered)"), "{history}");
    }
}

#[test]
fn what_the_registry_refuses_for_good_puts_everything_back() {
    for status in [403, 405] {
        let (project, registry, gate) = setup();
        let place = Place::Registry(&registry);
        prepared(&project, &gate);
        let before = project.tags(place);
        gate.after_tags(2, Pass::Held);
        let mut run = to(&project, &gate, "").start();
        gate.wait_until_held();
        run.signal("KILL").end();
        // A tag that is immutable from now on.
        let latest = project.name("/v2/demo/~app/manifests/latest");
        gate.rule(move |method, path| {
            if method == "PUT" && path == latest { Pass::Refused(status) } else { Pass::Through }
        });
        let ended = to(&project, &gate, "").run().exits(13);
        let ended = ended.says(&["and they were put back: `", "so it says"]);
        let after = project.tags(place);
        // The tag of the day is new, and a registry lets nobody take it away.
        let changed: Vec<&String> = after
            .iter()
            .filter(|(tag, to)| before.get(*tag) != Some(to))
            .map(|(tag, _)| tag)
            .collect();
        assert!(changed.len() <= 1, "{status}: {changed:?}\n{ended}");
        assert!(
            changed.iter().all(|tag| tag.starts_with("~os:2")),
            "{status}: {changed:?}\n{ended}"
        );
    }
}

#[test]
fn a_registry_in_trouble_leaves_the_rest_to_the_next_command() {
    let (project, registry, gate) = setup();
    let place = Place::Registry(&registry);
    prepared(&project, &gate);
    gate.after_tags(2, Pass::Refused(501));
    to(&project, &gate, "").run().exits(13).says(&["the next `rebuild` moves the rest"]);
    let open = to(&project, &gate, "history").run().exits(0);
    assert!(open.stdout.contains("unfinished"), "{open}");
    gate.rule(|_, _| Pass::Through);
    to(&project, &gate, "").run().exits(0).says(&["all 6 of them are moved now"]);
    assert_edges_agree(&project, place, EDGES);
}

/// The folder of the only hierarchy's journals.
fn journals(state: &Path) -> PathBuf {
    let folders = fs::read_dir(state.join("rebuild")).unwrap().flatten();
    let mut folders = folders.map(|entry| entry.path().join("journal"));
    folders.find(|path| path.is_dir()).unwrap()
}

#[test]
fn without_a_place_for_the_journal_nothing_is_promoted() {
    let project = Project::new();
    project.rebuilt(Place::Engine);
    let before = project.tags(Place::Engine);
    let journals = journals(&project.state());
    fs::remove_dir_all(&journals).unwrap();
    fs::write(&journals, "in the way").unwrap();
    project.edit("web/page", "one", "two");
    let said = ["the journal `", "cannot be written", "no tag was moved"];
    project.rebuild("").run().exits(13).says(&said);
    assert_eq!(project.tags(Place::Engine), before);
    fs::remove_file(&journals).unwrap();
    let next = project.rebuilt(Place::Engine);
    assert!(next.result().contains("2 already built"), "{next}");
}

#[test]
#[ignore = "slow: CONTRIBUTING.md"]
fn a_journal_of_another_place_is_left_alone() {
    let (project, registry, gate) = setup();
    prepared(&project, &gate);
    gate.after_tags(2, Pass::Held);
    let mut run = to(&project, &gate, "").start();
    gate.wait_until_held();
    run.signal("KILL").end();
    gate.rule(|_, _| Pass::Through);
    let between = project.tags(Place::Registry(&registry));
    project.rebuilt(Place::Engine).never_says(&["was cut off"]);
    assert_eq!(project.tags(Place::Registry(&registry)), between);
    // A rollback finishes it before it begins.
    let ended = to(&project, &gate, "rollback").run().exits(0);
    ended.says(&["all 6 of them are moved now", "rolled back 5 tags of run "]);
}
