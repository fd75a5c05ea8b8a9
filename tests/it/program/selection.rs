//! Which images a run is about: `--from`, `--only`, `--no-push`, and names nobody knows.

use super::{EDGES, assert_edges_agree, everywhere_of_files};
use crate::support::project::{Place, Project};

#[test]
fn from_builds_an_image_and_below_it_what_that_changes() {
    everywhere_of_files(|project, place| {
        project.rebuilt(place);
        let before = project.tags(place);

        // Named, so built; it comes out the same, and so nothing below it is touched.
        let same = project.rebuild("--from ~web").to(place).run().exits(0);
        assert_eq!(same.result(), "done in _: 1 unchanged, 1 already built", "{same}");
        assert_eq!(project.tags(place), before);

        // A change in a sibling is none of its business.
        project.edit("tool/page", "one", "two");
        project.edit("web/page", "one", "two");
        let changed = project.rebuild("--from ~web").to(place).run().exits(0);
        assert_eq!(changed.result(), "done in _: 2 built", "{changed}");
        let after = project.tags(place);
        assert_eq!(after["~tool:latest"], before["~tool:latest"]);
        assert_eq!(after["~os:1"], before["~os:1"]);
        assert_edges_agree(project, place, EDGES);
    });
}

#[test]
fn only_builds_one_image_on_its_published_parents() {
    everywhere_of_files(|project, place| {
        // A parent that nobody published yet is built too.
        let first = project.rebuild("--only ~web").to(place).run().exits(0);
        assert_eq!(first.result(), "done in _: 2 built", "{first}");
        project.rebuilt(place);
        let before = project.tags(place);
        project.edit("os/page", "one", "two");
        project.edit("web/page", "one", "two");

        let ended = project.rebuild("--only ~web").to(place).run().exits(0);
        assert_eq!(ended.result(), "done in _: 1 built", "{ended}");
        let after = project.tags(place);
        assert_ne!(after["~web:latest"], before["~web:latest"]);
        assert_eq!(after["~os:1"], before["~os:1"]);
        assert_edges_agree(project, place, &[("~web:latest", "~os:1")]);

        project.rebuilt(place);
        assert_edges_agree(project, place, EDGES);
    });
}

#[test]
fn no_push_changes_nothing_anywhere() {
    everywhere_of_files(|project, place| {
        let ended = project.rebuild("--no-push").to(place).run().exits(0);
        assert!(ended.result().ends_with(": 4 built"), "{ended}");
        let ended = ended.says(&["nothing was promoted: `--no-push` was given"]);
        assert!(project.all_tags(place).is_empty(), "{ended}");
        assert_eq!(project.under_way(), [""; 0], "{ended}");

        project.rebuilt(place);
        let before = project.all_tags(place);
        project.edit("os/page", "one", "two");
        project.rebuild("--no-push").to(place).run().exits(0);
        assert_eq!(project.all_tags(place), before);
    });
}

#[test]
fn plan_changes_nothing_and_tells_what_a_run_does() {
    everywhere_of_files(|project, place| {
        project.rebuild("plan --exit-code").to(place).run().exits(3);
        assert!(project.all_tags(place).is_empty());
        project.rebuilt(place);
        let before = project.all_tags(place);
        project.rebuild("plan --exit-code").to(place).run().exits(0);
        project.edit("web/page", "one", "two");

        let plan = project.rebuild("plan --exit-code --format json").to(place).run().exits(3);
        let plan: serde_json::Value = serde_json::from_str(&plan.stdout).unwrap();
        let steps = plan["steps"].as_array().unwrap().iter();
        let mut told: Vec<String> = steps
            .map(|step| format!("{} {}: {}", step["action"], step["node"], step["why"]))
            .map(|line| line.replace('"', ""))
            .collect();
        told.sort();
        assert_eq!(
            told,
            [
                "build ~app: `~web` is rebuilt",
                "build ~web: `page` changed",
                "keep ~os: up to date",
                "keep ~tool: up to date",
            ]
        );
        assert_eq!(project.all_tags(place), before);
    });
}

#[test]
fn one_job_builds_one_image_at_a_time() {
    let project = Project::of_files();
    let ended = project.rebuild("--jobs 1 --progress json").run().exits(0);
    // An image may be stored while the next one is built.
    let mut builds = String::new();
    let mut steps = 0;
    for event in ended.events() {
        let node = event["node"].as_str().unwrap_or_default();
        match event["event"].as_str() {
            Some("phase-started") if event["phase"]["name"] == "build" => {
                node.clone_into(&mut builds);
            }
            Some("build-step") => {
                assert_eq!(node, builds, "{ended}");
                steps += 1;
            }
            _ => {}
        }
    }
    assert!(steps >= 4, "{ended}");
    assert_edges_agree(&project, Place::Engine, EDGES);
}

#[test]
fn globs_stand_for_names() {
    let project = Project::of_files();
    let actions = |arguments: &str| {
        let ended = project.rebuild(&format!("{arguments} --format json")).run().exits(0);
        let answer: serde_json::Value = serde_json::from_str(&ended.stdout).unwrap();
        let list = answer.get("steps").or(answer.get("nodes")).unwrap().as_array().unwrap();
        let line = |one: &serde_json::Value| one["node"].as_str().unwrap().to_owned();
        list.iter().map(line).collect::<Vec<_>>().join(" ")
    };
    project.rebuilt(Place::Engine);
    for (arguments, expected) in [
        ("plan --from ~w*", "~web ~app"),
        ("plan --only ~*o*", "~os ~tool"),
        ("plan --only ~?s,~app", "~os ~app"),
        ("plan --from ~* ~[at]*", "~app ~tool"),
        ("plan ~web", "~web"),
        ("why ~[ao]*", "~os ~app"),
        ("status ~{web,tool}", "~web ~tool"),
        ("status", "~os ~web ~app ~tool"),
    ] {
        assert_eq!(actions(arguments), expected, "{arguments}");
    }
    for arguments in ["--from ~wep-*", "plan ~wep-*", "status ~wep-*", "why ~wep-*"] {
        let ended = project.rebuild(arguments).run().exits(2);
        let expected = "error: no image matches `~wep-*`\n  hint: did you mean `~web`?\n";
        assert_eq!((ended.stderr.as_str(), ended.stdout.as_str()), (expected, ""), "{arguments}");
    }
}

#[test]
fn an_image_in_place_of_a_command_is_told_apart() {
    let project = Project::of_files();
    let ended = project.rebuild("~os").run().exits(2);
    ended
        .says(&["unrecognized subcommand", "`rebuild --from ~os` rebuilds it and its descendants"]);
    project.rebuild("~oss").run().exits(2).never_says(&["is an image"]);
    for (arguments, said) in [
        ("-j 0", "it must be a whole number, at least 1"),
        ("gc --keep 0s", "`0s` is too short: at least `1ms` is needed"),
    ] {
        project.rebuild(arguments).run().exits(2).says(&[said]);
    }
}

#[test]
fn names_that_nobody_knows() {
    let project = Project::of_files();
    for flag in ["--from", "--only"] {
        let ended = project.rebuild(&format!("{flag} ~wep")).run().exits(2);
        let expected = "error: no image is called `~wep`\n  hint: did you mean `~web`?\n";
        assert_eq!((ended.stderr.as_str(), ended.stdout.as_str()), (expected, ""));
    }
}
