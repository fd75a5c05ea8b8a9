//! A broken image: what is said, what is held back, and that no tag moves that should not.

use std::{collections::BTreeMap, fs};

use super::{EDGES, assert_edges_agree, everywhere};
use crate::support::{
    project::{Place, Project},
    running::{Ended, timeless},
};

type Tags = BTreeMap<String, String>;

/// Breaks `~web`'s build in its last line, and changes `~os` and `~tool`, so that there is much to move.
fn break_web(project: &Project) {
    change_os(project);
    project.edit("tool/Dockerfile", "echo tool", "echo other");
    project.edit(
        "web/Dockerfile",
        "COPY page /page\n",
        "COPY page /page\nRUN i=1; while [ $i -le 30 ]; do echo \"line $i\"; i=$((i + 1)); done; \\\n    exit 7\n",
    );
}

fn change_os(project: &Project) {
    project.edit("os/name", "~os", "~os, the second");
}

#[test]
#[ignore = "slow: CONTRIBUTING.md"]
fn a_failed_build_moves_no_tag() {
    everywhere(|project, place| {
        project.rebuilt(place);
        let before = project.tags(place);
        break_web(project);

        let ended = project.rebuild("").to(place).run().exits(10);
        assert_eq!(project.tags(place), before, "{ended}");
        assert_eq!(project.under_way(), [""; 0], "{ended}");
        let log = project.logs().remove("~web").unwrap();
        let printed: Vec<&str> = log.lines().filter(|line| line.starts_with("line ")).collect();
        assert_eq!(printed.len(), 30, "{log}");
        assert_failure_is_told(project, &ended);
    });
}

/// The block about the failure, word for word.
fn assert_failure_is_told(project: &Project, ended: &Ended) {
    let text = timeless(&ended.stderr).replace(&project.path("").display().to_string(), "HERE/");
    let (_, block) = text.split_once("\n\n~web: ").unwrap_or_else(|| panic!("{ended}"));
    let (block, rest) = block.split_once("\n\n").unwrap();
    let mut lines: Vec<&str> = block.lines().collect();
    let log = lines.iter().position(|line| line.starts_with("  whole log: ")).unwrap();
    let path = lines.remove(log).trim_start_matches("  whole log: ");
    let path = project.name(path);
    assert!(fs::metadata(&path).unwrap().len() > 0, "{path}");

    let step = "RUN i=1; while [ $i -le 30 ]; do echo \"line $i\"; i=$((i + 1)); done;";
    let mut expected = vec![
        format!("build failed after _: `{step}     exit 7` ended with exit code 7"),
        format!("  at HERE/web/Dockerfile:3: {step} exit 7"),
    ];
    expected.extend((11..=30).map(|n| format!("  | line {n}")));
    expected.push("  skipped because of it: `~app`".to_owned());
    assert_eq!(lines, expected, "{ended}");
    let told = "nothing was promoted: `~web` failed, every tag is where it was\nfailed after _ (exit code 10): ";
    assert!(rest.starts_with(told), "{rest}");
}

#[test]
fn a_failed_test_moves_no_tag() {
    everywhere(|project, place| {
        project.rebuilt(place);
        let before = project.tags(place);
        change_os(project);
        // Inherited by those below, where it fails first in `~web` and `~tool`.
        let test = "{ run: [sh, -c, \"echo looked; ! test -e /page\"] }";
        project.edit("hierarchy.yaml", "\"1\"]", &format!("\"1\"], test: [{test}]"));

        project.rebuild("").to(place).run().exits(11).says(&[
            "~web: test failed after ",
            "test 1 of 1 (of `~os`), `sh -c 'echo looked; ! test -e /page'`: exit code 1",
            "  | looked\n",
            "  skipped because of it: `~app`",
            "nothing was promoted: `~web` failed, every tag is where it was",
        ]);
        assert_eq!(project.tags(place), before);
        assert_eq!(project.under_way(), [""; 0]);
    });
}

#[test]
fn hold_keeps_a_branch_and_promotes_the_rest() {
    everywhere(|project, place| {
        hold(project, place, ("hold", 10));
        // Mended, the branch catches up, and nothing else is touched.
        project.edit("web/Dockerfile", "exit 7", "exit 0");
        let mended = project.rebuilt(place);
        assert!(mended.result().ends_with(": 2 built, 2 up to date"), "{mended}");
        assert_edges_agree(project, place, EDGES);
    });
}

#[test]
fn optional_is_as_hold_and_still_a_success() {
    let project = Project::new();
    hold(&project, Place::Engine, ("optional", 0));
}

/// Publishes everything, breaks `~web`, and runs again: only what does not stand on it moves.
fn hold(project: &Project, place: Place<'_>, (policy, exit): (&str, i32)) {
    project.rebuilt(place);
    let before = project.tags(place);
    let fields = format!("{{ context: web, on_failure: {policy} }}");
    project.edit("hierarchy.yaml", "{ context: web }", &fields);
    break_web(project);

    let ended = project.rebuild("").to(place).run().exits(exit).says(&[
        "`~web` and 1 descendant keep their tags: `~web` failed",
        "promoted 3 tags of 2 images in ",
    ]);
    let after = project.tags(place);
    let moved = after.iter().filter(|(tag, to)| before.get(*tag) != Some(to));
    let moved: Vec<&str> = moved.map(|(tag, _)| tag.as_str()).collect();
    assert_eq!(moved, ["~os:1", "~os:latest", "~tool:latest"], "{ended}");
    assert_edges_agree(project, place, &[("~tool:latest", "~os:1")]);
}

#[test]
fn keep_going_builds_what_does_not_stand_on_the_failed_image() {
    everywhere(|project, place| {
        project.edit("web/Dockerfile", "COPY page", "COPY no-such-file");
        let ended = project.rebuild("--keep-going --jobs 1").to(place).run().exits(10);
        let ends = ended.result();
        assert_eq!(ends, "failed after _ (exit code 10): 1 failed, 1 skipped, 2 built", "{ended}");
        ended.says(&["skipped because of it: `~app`", "nothing was promoted"]);
        assert_eq!(project.tags(place), Tags::new());

        project.edit("web/Dockerfile", "COPY no-such-file", "COPY page");
        let mended = project.rebuilt(place);
        assert!(mended.result().ends_with(": 2 built, 2 already built"), "{mended}");
        assert_edges_agree(project, place, EDGES);
    });
}

#[test]
fn a_new_hierarchy_that_fails_leaves_no_moving_tag() {
    everywhere(|project, place: Place<'_>| {
        project.edit("app/Dockerfile", "cp /page /app", "cp /no-such-page /app");
        project.rebuild("").to(place).run().exits(10).says(&["/no-such-page"]);
        assert_eq!(project.tags(place), Tags::new());
    });
}

/// Twenty megabytes of zeros: a registry, and the containerd image store, hold them in some kilobytes.
#[test]
fn max_size_limits_unpacked_bytes() {
    everywhere(|project, place| {
        let zeros = "RUN dd if=/dev/zero of=/zeros bs=1000000 count=20\n";
        project.edit("tool/Dockerfile", "RUN echo tool >/tool\n", zeros);
        project.edit("hierarchy.yaml", "{ context: tool }", "{ context: tool, max_size: 15MB }");
        project.rebuild("").to(place).run().exits(11).says(&[
            "~tool: over budget after ",
            ": it has 22 MB, ",
            " more than its `size` budget of 15 MB",
            "20 MB by `RUN dd if=/dev/zero of=/zeros bs=1000000 count=20` (tool/Dockerfile:",
        ]);
        assert_eq!(project.tags(place), Tags::new());

        // The zeros and a busybox.
        project.edit("hierarchy.yaml", "max_size: 15MB", "max_size: 25MB");
        project.rebuilt(place);
    });
}

/// The waste of a base counts for the base alone.
#[test]
fn a_budget_of_waste_limits_what_the_own_layers_waste() {
    everywhere(|project, place| {
        let zeros = |n: u32| format!("head -c {n}000000 /dev/zero >/zeros");
        let base = format!("RUN {} && cp /zeros /copy\nRUN rm /copy\n", zeros(3));
        let os = fs::read_to_string(project.path("os/Dockerfile")).unwrap();
        project.write("os/Dockerfile", &(os + &base));
        let tool = format!("RUN {}\nRUN rm /zeros\n", zeros(7));
        project.edit("tool/Dockerfile", "RUN echo tool >/tool\n", &tool);
        project.edit(
            "hierarchy.yaml",
            "{ context: tool }",
            "{ context: tool, budget: { waste: 5MB } }",
        );
        project.rebuild("").to(place).run().exits(11).says(&[
            "~tool: over budget after ",
            ": it wastes 10 MB, 5.0 MB more than its `waste` budget of 5.0 MB",
            "7.0 MB by `RUN head -c 7000000 /dev/zero >/zeros` (tool/Dockerfile:",
            "): `/zeros`, deleted by a later layer",
            "3.0 MB by `RUN head -c 3000000 /dev/zero >/zeros && cp /zeros /copy` of `~os` (os/Dockerfile:",
        ]);
        assert_eq!(project.tags(place), Tags::new());

        // One layer writes and deletes the file; the other three megabytes are those of a base's file.
        project.edit("tool/Dockerfile", "\nRUN rm /zeros", " && rm /zeros");
        project.rebuilt(place);
    });
}
