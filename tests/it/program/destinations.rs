//! Images that are published in several registries: their tags move together or not at all.

use std::collections::BTreeMap;

use crate::support::{
    gate::{Gate, Pass},
    project::{Place, Project},
    registry::Registry,
};

const EDGES: [(&str, &str); 5] =
    [("one", "base"), ("two", "one"), ("three", "base"), ("four", "three"), ("five", "four")];

/// Six images with two tags each, in two registries.
struct Six {
    project: Project,
    main: Registry,
    other: Registry,
    /// Before the other one.
    gate: Gate,
}

impl Six {
    fn new(publishes_elsewhere: bool) -> Self {
        let (main, other) = (Registry::start(), Registry::start());
        let gate = Gate::before(other.host());
        let project = Project::empty();
        for (name, parent) in EDGES {
            let text = format!("FROM ~{parent}\nCOPY name /{name}\n");
            project.write(&format!("{name}/Dockerfile"), &text);
            project.write(&format!("{name}/name"), name);
        }
        project.write("base/Dockerfile", "FROM scratch\nCOPY name /name\n");
        let six = Self { project, main, other, gate };
        six.publish(publishes_elsewhere);
        six.change("first");
        six
    }

    fn publish(&self, elsewhere: bool) {
        let names = ["base", "one", "two", "three", "four", "five"];
        let images = names.map(|name| format!("  ~{name}: {{ context: {name} }}\n")).concat();
        let elsewhere =
            if elsewhere { format!("\"{}/demo\"", self.gate.host()) } else { String::new() };
        let (host, tags) = (self.main.host(), "[latest, \"1\"]");
        let file = format!(
            "version: 1\nregistry: {host}/demo\ndefaults: {{ publish: [{elsewhere}], tags: {tags} }}\nimages:\n{images}"
        );
        self.project.write("hierarchy.yaml", &file);
    }

    fn change(&self, text: &str) {
        self.project.write("base/name", text);
    }

    fn tags(&self) -> [BTreeMap<String, String>; 2] {
        [&self.main, &self.other].map(|one| self.project.tags(Place::Registry(one)))
    }

    /// Both have the same, and everything of it is there.
    #[track_caller]
    fn both(&self) -> BTreeMap<String, String> {
        let [main, other] = self.tags();
        assert_eq!(main.len(), 12);
        assert_eq!(main, other);
        for name in main.keys() {
            let (repository, tag) = name.split_once(':').unwrap();
            let repository = self.project.name(&format!("demo/{repository}"));
            assert_eq!(self.other.missing(&repository, tag), [""; 0], "{name}");
        }
        main
    }
}

#[test]
fn a_tag_that_one_registry_refuses_leaves_both_as_they_were() {
    let six = Six::new(true);
    six.project.rebuild("").run().exits(0);
    let before = six.both();
    assert!(!six.other.repositories().iter().any(|name| name.ends_with("rebuild-runs")));
    six.project.rebuild("plan --exit-code").run().exits(0);

    six.change("second");
    let last = six.project.name("/v2/demo/~five/manifests/latest");
    six.gate.rule(
        move |method, path| {
            if method == "PUT" && path == last { Pass::Refused(405) } else { Pass::Through }
        },
    );
    six.project.rebuild("").run().exits(13);
    assert_eq!(six.both(), before);

    six.gate.rule(|_, _| Pass::Through);
    six.project.rebuild("").run().exits(0);
    let after = six.both();
    assert!(before.iter().all(|(tag, digest)| after[tag] != *digest));

    six.project.rebuild("rollback --yes").run().exits(0);
    assert_eq!(six.both(), before);
}

#[test]
fn a_killed_promotion_is_finished_in_both_registries() {
    let six = Six::new(true);
    six.project.rebuild("").run().exits(0);
    let before = six.both();
    six.change("second");
    let held = six.project.name("/v2/demo/~three/manifests/1");
    six.gate.rule(
        move |method, path| {
            if method == "PUT" && path == held { Pass::Held } else { Pass::Through }
        },
    );
    let mut run = six.project.rebuild("").start();
    six.gate.wait_until_held();
    assert_eq!(run.signal("KILL").end().status.code(), None);
    six.gate.rule(|_, _| Pass::Through);
    let [main, other] = six.tags();
    assert_ne!(main, before);
    assert_eq!(other["~three:1"], before["~three:1"]);

    let ended = six.project.rebuild("").run().exits(0);
    ended.says(&["was cut off while it moved tags: all 24 of them are moved now"]);
    let after = six.both();
    assert!(before.iter().all(|(tag, digest)| after[tag] != *digest));
}

#[test]
fn a_registry_that_is_added_gets_the_images_without_a_build() {
    let six = Six::new(false);
    six.project.rebuild("").run().exits(0);
    assert_eq!(six.tags()[1].len(), 0);
    six.publish(true);

    // No push is allowed there: nothing is built, and no tag moves.
    six.gate.rule(|method, _| if method == "POST" { Pass::Refused(403) } else { Pass::Through });
    six.change("second");
    let before = six.tags();
    six.project.rebuild("").run().exits(21).never_says(&["built"]);
    assert_eq!(six.tags(), before);

    six.gate.rule(|_, _| Pass::Through);
    six.change("first");
    let plan = six.project.rebuild("plan").run().exits(0);
    assert!(plan.stdout.contains("6 to promote"), "{plan}");
    six.project.rebuild("status --exit-code").run().exits(3);
    six.project.rebuild("").run().exits(0);
    let both = six.both();
    six.project.rebuild("status --exit-code").run().exits(0);

    // Another registry on the command line is the only one.
    six.change("third");
    let third = Registry::start();
    six.project.rebuild("").to(Place::Registry(&third)).run().exits(0);
    assert_eq!(six.project.tags(Place::Registry(&third)).len(), 12);
    assert_eq!(six.both(), both);
}
