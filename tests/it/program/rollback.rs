//! Past runs: they can be listed and taken back, from other machines as well.

use std::time::Duration;

use serde_json::Value;

use super::{EDGES, assert_edges_agree, everywhere_of_files};
use crate::support::{
    gate::{Gate, Pass},
    project::{Place, Project},
    registry::{Registry, Setup},
};

/// Publishes twice; says what was published after each.
fn twice(project: &Project, place: Place<'_>) -> [std::collections::BTreeMap<String, String>; 2] {
    project.rebuilt(place);
    let first = project.tags(place);
    project.edit("os/page", "one", "two");
    project.rebuilt(place);
    let second = project.tags(place);
    assert!(first.iter().all(|(tag, to)| second.get(tag) != Some(to)));
    [first, second]
}

/// The newest run that moved a tag.
fn last_run(project: &Project, place: Place<'_>) -> String {
    let history = project.rebuild("history --format json").to(place).run().exits(0);
    let history = &history.events()[0]["runs"];
    let mut runs = history.as_array().unwrap().iter();
    let last = runs.find(|run| run["tags"] != Value::Array(vec![])).unwrap();
    last["run"].as_str().unwrap().to_owned()
}

#[test]
fn a_run_is_taken_back_and_that_too() {
    everywhere_of_files(|project, place| {
        let [first, second] = twice(project, place);
        let dry = project.rebuild("rollback --dry-run").to(place).run().exits(0);
        assert_eq!(dry.stdout.matches(" → ").count(), 5, "{dry}");
        let dry =
            dry.says(&["would undo run ", " (request: what is out of date): move 5 tags back"]);
        assert_eq!(project.tags(place), second);
        let json = project.rebuild("rollback --dry-run --format json").to(place).run().exits(0);
        let json = json.events().remove(0);
        assert_eq!(json["moves"].as_array().unwrap().len(), 5, "{json}");
        assert_eq!((&json["run"], &json["exit_code"]), (&Value::Null, &Value::from(0)), "{json}");
        assert_eq!(project.tags(place), second);

        let ended = project.rebuild("rollback").to(place).run().exits(0);
        assert_eq!(ended.stdout, dry.stdout, "the table comes first");
        let ended = ended.says(&["rolled back 5 tags of run ", "are held: "]);
        assert_eq!(project.tags(place), first, "{ended}");
        assert_edges_agree(project, place, EDGES);
        let lines: Vec<&str> = ended.stdout.lines().collect();
        assert!(lines[0].contains("~app:"), "children first: {lines:?}");
        assert!(lines[3].contains("~os:") && lines[4].contains("~os:"), "{lines:?}");

        let refused = project.rebuild("rollback").to(place).run().exits(2);
        let by = last_run(project, place);
        refused.says(&[&format!("run {by} undid run "), " undoes the run of "]);
        assert_eq!(project.tags(place), first);
        let dry = project.rebuild(&format!("rollback {by} --dry-run")).to(place).run().exits(0);
        dry.says(&[&format!("run {by} is a rollback: undoing it publishes the images of run ")]);
        let again = format!("rollback {by} --format json");
        let json = project.rebuild(&again).to(place).run().exits(0);
        let json = json.events().remove(0);
        assert!(json["run"].is_string() && json["staying"] == Value::Array(vec![]), "{json}");
        assert_eq!(project.tags(place), second);

        let fraction = regex::Regex::new(r#":\d\d\.\d+Z""#).unwrap();
        for command in ["history", "status", "why ~app", "tree"] {
            let json = project.rebuild(&format!("{command} --format json")).to(place).run();
            assert!(!fraction.is_match(&json.stdout), "{command}: {json}");
        }
        let history = project.rebuild("history --format json").to(place).run().exits(0);
        let history = &history.events()[0]["runs"];
        let asked: Vec<String> = (0..4).map(|n| history[n]["asked"].to_string()).collect();
        assert!(asked[0].contains("rollback") && asked[1].contains("rollback"), "{asked:?}");
        assert_eq!(asked[2..], [r#"{"run":{"flags":""}}"#; 2]);
        assert_eq!(history[3]["exit"], "done");
        assert_eq!(history[3]["promoted"].as_array().unwrap().len(), 4);
    });
}

/// The next scheduled run would undo the rollback.
#[test]
fn images_that_were_rolled_back_are_held() {
    everywhere_of_files(|project, place| {
        let run = |arguments: &str| project.rebuild(arguments).to(place).run();
        let [first, second] = twice(project, place);
        run("rollback").exits(0);
        let ended = run("").exits(0);
        assert_eq!(project.tags(place), first, "{ended}");
        assert_eq!(ended.result(), "nothing to do: 4 held", "{ended}");
        let status = run("status").exits(0).stdout;
        let held = "rolled back by run ";
        assert_eq!(status.matches(held).count(), 4, "{status}");

        // What is named is built all the same, and is held no longer; its children stay.
        run("--from ~tool").exits(0);
        let status = run("status").exits(0).stdout;
        assert_eq!(status.matches(held).count(), 3, "{status}");

        run("resume ~nothing").exits(2);
        run("resume ~app")
            .exits(0)
            .says(&["resumed `~app`; it waits for `~web`, which is still held"]);
        run("resume").exits(0).says(&["resumed "]);
        run("").exits(0);
        assert_eq!(project.tags(place), second);
        run("resume").exits(0).says(&["nothing to resume"]);

        // To take back the rollback ends it, too.
        project.edit("os/page", "two", "three");
        run("").exits(0);
        let third = project.tags(place);
        run("rollback").exits(0);
        run(&format!("rollback {}", last_run(project, place))).exits(0);
        assert_eq!(project.tags(place), third);
        let again = run("").exits(0);
        assert_eq!(again.result(), "nothing to do: all 4 images are up to date", "{again}");
        run("resume").exits(0).says(&["nothing to resume"]);

        // A third one leaves the older images in place, and holds them again.
        let third_one = format!("rollback {}", last_run(project, place));
        run(&third_one).exits(0).says(&["are held: "]);
        let rolled_back = project.tags(place);
        assert_ne!(rolled_back, third);
        run("").exits(0);
        assert_eq!(project.tags(place), rolled_back);
    });
}

#[test]
fn a_commit_that_does_not_touch_a_rolled_back_image_does_not_publish_it_again() {
    everywhere_of_files(|project, place| {
        project.rebuilt(place);
        let good = project.tags(place);
        project.edit("web/page", "one", "bad");
        project.rebuilt(place);
        project.rebuild("rollback").to(place).run().exits(0).says(&["~web", " are held: "]);
        assert_eq!(project.tags(place), good);

        project.edit("os/page", "one", "two");
        let ended = project.rebuild("").to(place).run().exits(0);
        let after = project.tags(place);
        assert_ne!(after["~tool:latest"], good["~tool:latest"], "{ended}");
        for held in ["~web:latest", "~app:latest"] {
            assert_eq!(after[held], good[held], "{ended}");
        }
        let plan = project.rebuild("plan").to(place).run().exits(0).stdout;
        assert!(plan.contains("\n2 held, 2 up to date\n"), "{plan}");

        project.edit("web/page", "bad", "fixed");
        project.rebuilt(place);
        let fixed = project.tags(place);
        assert!(fixed.iter().all(|(tag, to)| good[tag] != *to), "{fixed:?}");
        assert_edges_agree(project, place, EDGES);
        project.rebuild("resume").to(place).run().exits(0).says(&["nothing to resume"]);
    });
}

#[test]
fn what_was_new_is_taken_away_from_the_engine_and_stays_in_a_registry() {
    everywhere_of_files(|project, place| {
        project.rebuilt(place);
        let all = project.tags(place);
        let ended = project.rebuild("rollback").to(place).run().exits(0);
        match place {
            Place::Engine => assert_eq!(project.tags(place).len(), 0, "{ended}"),
            Place::Registry(_) => {
                assert_eq!(project.tags(place), all);
                let said = "was new, and a registry cannot delete a single tag";
                assert_eq!(ended.stderr.matches(said).count(), 5, "{ended}");
                ended.says(&["nothing to roll back: before run "]);
            }
        }
    });
}

#[test]
fn a_tag_that_was_moved_since_stays() {
    everywhere_of_files(|project, place| {
        let [first, _] = twice(project, place);
        let run = project.rebuild("history --format json").to(place).run().exits(0);
        let run = run.events()[0]["runs"][0]["run"].as_str().unwrap().to_owned();
        project.edit("app/page", "one", "three");
        project.rebuilt(place);
        let third = project.tags(place);
        let ended = project.rebuild(&format!("rollback {run}")).to(place).run().exits(13);
        let ended = ended.says(&["~app:latest` was moved since, and is left at "]);
        let after = project.tags(place);
        assert_eq!(after["~app:latest"], third["~app:latest"], "{ended}");
        assert!(after.iter().filter(|(tag, to)| first[*tag] == **to).count() == 4, "{ended}");
        project
            .rebuild("rollback 0000")
            .to(place)
            .run()
            .exits(2)
            .says(&["no run of this hierarchy"]);
    });
}

#[test]
fn another_machine_without_an_engine_knows_the_runs_and_takes_them_back() {
    let (project, registry) = (Project::of_files(), Registry::start());
    let place = Place::Registry(&registry);
    let [first, second] = twice(&project, place);
    let elsewhere = tempfile::tempdir().unwrap();
    let there = |arguments: &str| {
        let start = project.rebuild(arguments).to(place).env("XDG_STATE_HOME", elsewhere.path());
        start.env("DOCKER_HOST", "tcp://127.0.0.1:1").run()
    };
    let history = there("history").exits(0);
    assert_eq!(history.stdout.matches("  done  ").count(), 2, "{history}");
    assert_eq!(history.stdout.matches("5 tags: ~app ~os ~tool ~web").count(), 2, "{history}");
    there("rollback").exits(0);
    assert_eq!(project.tags(place), first);
    // And here the rollback that was done there is known.
    let by = last_run(&project, place);
    project.rebuild(&format!("rollback {by}")).to(place).run().exits(0);
    assert_eq!(project.tags(place), second);

    // Records are artifacts of their own kind, beside the images, and never move.
    let mut tags = registry.tags("demo/rebuild-runs");
    tags.retain(|tag| tag.starts_with("rb-run-"));
    assert_eq!(tags.len(), 8, "{tags:?}");
    assert_eq!(tags.iter().filter(|tag| tag.ends_with("-end")).count(), 4, "{tags:?}");
}

#[test]
fn a_registry_that_takes_no_records_is_a_warning() {
    let (project, registry) = (Project::of_files(), Registry::start());
    let gate = Gate::before(registry.host());
    gate.rule(|method, path| {
        let is_record = path.contains("/rebuild-runs/") && method != "GET";
        if is_record { Pass::Refused(403) } else { Pass::Through }
    });
    let to = format!("{}/demo", gate.host());
    let ended = project.rebuild("").env("REBUILD_REGISTRY", &to).run().exits(0);
    ended.says(&["the record of the run is not in the registry: "]);
    assert_edges_agree(&project, Place::Registry(&registry), EDGES);
    let history = project.rebuild("history").env("REBUILD_REGISTRY", &to).run().exits(0);
    assert_eq!(history.stdout.matches("  done  ").count(), 1, "{history}");
}

#[test]
fn two_hierarchies_below_one_prefix_do_not_take_back_each_others_runs() {
    let (mine, theirs, registry) = (Project::pair(), Project::pair(), Registry::start());
    let place = Place::Registry(&registry);
    mine.rebuilt(place);
    mine.edit("base/name", "base", "base, the second");
    mine.rebuilt(place);
    theirs.rebuilt(place);
    let history = theirs.rebuild("history").to(place).run().exits(0);
    assert_eq!(history.stdout.lines().count(), 2, "{history}");
    let ended = mine.rebuild("rollback").to(place).run().exits(0);
    ended.says(&["rolled back 3 tags of run "]);
    theirs.rebuild("rollback").to(place).run().exits(0).says(&["nothing to go back to"]);
}

#[test]
fn without_an_answer_nothing_is_said_of_past_runs() {
    let project = Project::pair();
    for command in ["rollback", "rollback --dry-run", "history"] {
        let asked = project.rebuild(command).env("REBUILD_REGISTRY", "127.0.0.1:9/demo").run();
        asked.exits(21).says(&["cannot reach the registry 127.0.0.1:9: connection refused"]);
    }
}

#[test]
fn a_rollback_to_what_is_gone_moves_nothing_and_the_dry_run_says_so() {
    let setup = Setup { delete: true, ..Setup::default() };
    let (project, registry) = (Project::pair(), Registry::with(&setup));
    let place = Place::Registry(&registry);
    project.rebuilt(place);
    let before = registry.head(&project.name("demo/~app"), "latest").unwrap();
    project.edit("base/name", "base", "base, the second");
    project.rebuilt(place);
    let second = project.tags(place);
    registry.delete(&project.name("demo/~app"), &before);
    for command in ["rollback --dry-run", "rollback"] {
        let ended = project.rebuild(command).to(place).run().exits(13);
        ended.says(&["~app:latest` cannot go back: the image that it showed is gone"]);
        assert_eq!(project.tags(place), second, "{command}");
    }
}

#[test]
fn a_signal_ends_a_rollback_that_waits_for_its_registry() {
    let (project, registry) = (Project::pair(), Registry::start());
    let gate = Gate::before(registry.host());
    let to = format!("{}/demo", gate.host());
    let rebuild = |arguments: &str| project.rebuild(arguments).env("REBUILD_REGISTRY", &to);
    rebuild("").run().exits(0);
    gate.rule(|_, _| Pass::Held);
    let mut rollback = rebuild("rollback").start();
    gate.wait_until_held();
    rollback.signal("INT").end_within(Duration::from_secs(10)).exits(130);
}

#[test]
fn a_run_that_is_going_on_is_no_run_that_was_cut_off() {
    let project = Project::new();
    project.write("app/Dockerfile", "FROM ~web\nRUN sleep 600 && : ~running\n");
    let mut running = project.rebuild("").start();
    project.wait_until_under_way("process");
    let first = |project: &Project| project.rebuild("history -n 1").run().exits(0).stdout;
    assert!(first(&project).contains("  running  "), "{}", first(&project));
    running.signal("KILL").end();
    assert!(first(&project).contains("  cut off  "), "{}", first(&project));
}

#[test]
fn tags_of_an_image_that_was_removed_from_the_file_are_named_and_stay() {
    everywhere_of_files(|project, place| {
        let [first, second] = twice(project, place);
        project.edit("hierarchy.yaml", "  ~tool: { context: tool }\n", "");
        let ended = project.rebuild("rollback").to(place).run().exits(13);
        let ended = ended.says(&[
            "~tool:latest` stays where it is: run ",
            "no image of this hierarchy.yaml has this repository",
        ]);
        let after = project.tags(place);
        assert_eq!(after["~tool:latest"], second["~tool:latest"], "{ended}");
        assert_eq!(after["~app:latest"], first["~app:latest"], "{ended}");

        project.edit("hierarchy.yaml", "images:\n", "images:\n  ~tool: { context: tool }\n");
        let run = project.rebuild("history --format json").to(place).run().exits(0);
        let run = run.events()[0]["runs"][1]["run"].as_str().unwrap().to_owned();
        project.rebuild(&format!("rollback {run}")).to(place).run().exits(0);
        assert_eq!(project.tags(place), first);
    });
}

#[test]
fn a_broken_dockerfile_stops_no_rollback() {
    everywhere_of_files(|project, place| {
        let [first, second] = twice(project, place);
        project.write("tool/Dockerfile", "NONSENSE\n");
        let run = |command: &str| project.rebuild(command).to(place).run();
        run("").exits(2);
        run("history").exits(0);
        run("log ~os").exits(0);
        run("rollback").exits(0);
        assert_eq!(project.tags(place), first);
        run("resume").exits(0);
        run(&format!("rollback {}", last_run(project, place))).exits(0);
        assert_eq!(project.tags(place), second);
    });
}
