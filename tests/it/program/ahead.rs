//! Images are built while their parents are tested, and stored only when all ancestors have passed.

use super::{EDGES, assert_edges_agree, everywhere};
use crate::support::project::{Place, Project};

/// Gives `~os` a test of its own that takes so long that its descendants are built meanwhile.
fn test_os(project: &Project, command: &str) {
    let test = format!("{{ run: [sh, -c, \"sleep 3; {command}\"], inherit: false }}");
    project.edit("hierarchy.yaml", "\"1\"] }", &format!("\"1\"], test: [{test}] }}"));
}

#[test]
fn nothing_is_stored_before_the_tests_of_all_ancestors() {
    everywhere(|project, place| {
        test_os(project, "false");
        let ended = project.rebuild("--progress json").to(place).run().exits(11);
        assert_eq!(project.all_tags(place), [].into(), "{ended}");
        assert_eq!(project.under_way(), [""; 0], "{ended}");
        let events = ended.events();
        let outcome = |node: &str| {
            let is_it = |event: &&serde_json::Value| {
                event["event"] == "step-finished" && event["node"] == node
            };
            events.iter().find(is_it).unwrap()["outcome"].as_str().unwrap().to_owned()
        };
        let outcomes = ["~os", "~web", "~app", "~tool"].map(outcome);
        assert_eq!(outcomes, ["failed", "skipped", "skipped", "skipped"], "{ended}");
        assert!(project.logs().contains_key("~web"), "it was not built ahead: {ended}");
    });
}

#[test]
fn images_that_are_built_ahead_name_their_parents_as_stored() {
    everywhere(|project, place| {
        test_os(project, "true");
        // What it says is executed in each image that is based on it.
        project.edit("web/Dockerfile", "/page\n", "/page\nONBUILD RUN echo built >>/on-build\n");
        let ended = project.rebuilt(place);
        assert_edges_agree(project, place, EDGES);
        let tags = project.all_tags(place);
        for (child, parent) in EDGES {
            let parents = project.label(place, child, "rebuild.parents");
            assert!(parents.contains(&tags[*parent]), "{child}: {parents}\n{ended}");
            assert_eq!(
                project.label(place, child, "org.opencontainers.image.base.digest"),
                tags[*parent]
            );
            let fingerprint = project.label(place, child, "rebuild.fingerprint");
            let name = child.split_once(':').unwrap().0;
            let build_tag = format!("{name}:rb-{}", &fingerprint[..32]);
            assert_eq!(tags[&build_tag], tags[*child], "{ended}");
        }
        project.rebuild("plan --exit-code").to(place).run().exits(0);
        if matches!(place, Place::Engine) {
            assert_eq!(project.output_in("~app:latest", &["cat", "/on-build"]), "built\n");
        }
    });
}

#[test]
fn without_speculation_a_child_waits_for_the_tests() {
    everywhere(|project, place| {
        test_os(project, "false");
        project.rebuild("--no-speculate").to(place).run().exits(11);
        assert!(!project.logs().contains_key("~web"));
    });
}
