//! `rebuild watch` on real files and the real engine.

use std::{
    fs,
    path::Path,
    time::{Duration, Instant},
};

use serde_json::Value;

use crate::support::{
    project::{Place, Project},
    registry::Registry,
    running::Running,
};

/// Promised is a second on a machine that does nothing else; here, other tests run at the same time.
const SOON: Duration = Duration::from_secs(4);

fn watching<'a>(project: &'a Project, arguments: &str) -> Running<'a> {
    project.rebuild(&format!("watch --progress json {arguments}")).start()
}

/// The next run to its end: what became of each image in view.
fn next_run(project: &Project, running: &mut Running<'_>) -> Vec<String> {
    let finished = running.line_with("\"event\":\"run-finished\"");
    let event: Value = serde_json::from_str(&project.shown(&finished)).unwrap();
    let text = |step: &Value, field: &str| step[field].as_str().unwrap().to_owned();
    let steps = event["steps"].as_array().unwrap().iter();
    steps.map(|step| format!("{} {}", text(step, "node"), text(step, "outcome"))).collect()
}

const ALL: [&str; 4] = ["~os built", "~web built", "~app built", "~tool built"];
const CONE: [&str; 2] = ["~web built", "~app built"];

/// What became of every trigger, in order: `start succeeded`.
fn ledger(project: &Project) -> Vec<String> {
    let mut found = Vec::new();
    for hierarchy in fs::read_dir(project.state().join("rebuild")).unwrap() {
        let path = hierarchy.unwrap().path().join("triggers.jsonl");
        let Ok(text) = fs::read_to_string(path) else { continue };
        let lines: Vec<Value> =
            text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        for line in lines.iter().filter(|line| line["trigger"].is_string()) {
            let same = lines.iter().filter(|other| other["id"] == line["id"]);
            let ends: Vec<&str> = same.filter_map(|other| other["ended"].as_str()).collect();
            found.push(format!("{} {}", line["trigger"].as_str().unwrap(), ends.join(" and ")));
        }
    }
    found
}

/// Writes beside the file and moves that into its place, as vim and most formatters do.
fn save_by_rename(path: &Path, text: &str) {
    let beside = path.with_extension("new~");
    fs::write(&beside, text).unwrap();
    fs::rename(beside, path).unwrap();
}

type Save<'a> = &'a dyn Fn(&str);

#[test]
#[ignore = "slow: CONTRIBUTING.md"]
fn each_way_to_save_a_file_rebuilds_what_is_built_from_it() {
    let project = Project::new();
    // What editors leave beside a file is no part of the image.
    project.write("web/.dockerignore", "*~\n*.swp\n4913\n.#*\n");
    let page = project.path("web/page");
    let mut running = watching(&project, "");
    assert_eq!(next_run(&project, &mut running), ALL);
    let saves: [(&str, Save<'_>); 5] = [
        ("in place", &|text| fs::write(&page, text).unwrap()),
        ("by rename", &|text| save_by_rename(&page, text)),
        // vim asks with a file called 4913 whether it may write, and keeps a swap file.
        ("vim", &|text| {
            for name in [".page.swp", "4913"] {
                fs::write(project.path("web").join(name), "x").unwrap();
            }
            fs::remove_file(project.path("web/4913")).unwrap();
            fs::rename(&page, project.path("web/page~")).unwrap();
            fs::write(&page, text).unwrap();
            for name in ["page~", ".page.swp"] {
                fs::remove_file(project.path("web").join(name)).unwrap();
            }
        }),
        // emacs locks with a link that leads nowhere, and keeps a backup.
        ("emacs", &|text| {
            let lock = project.path("web/.#page");
            std::os::unix::fs::symlink("somebody@here.1:2", &lock).unwrap();
            fs::copy(&page, project.path("web/page~")).unwrap();
            fs::write(&page, text).unwrap();
            fs::remove_file(lock).unwrap();
        }),
        // VS Code empties the file before it writes.
        ("code", &|text| {
            fs::write(&page, "").unwrap();
            fs::write(&page, text).unwrap();
        }),
    ];
    for (name, save) in saves {
        let began = Instant::now();
        save(&format!("saved {name}\n"));
        running.line_with("\"event\":\"run-started\"");
        let waited = began.elapsed();
        assert!(waited < SOON, "{name}: {waited:?}");
        println!("{name}: the build began after {waited:?}");
        assert_eq!(next_run(&project, &mut running), CONE, "{name}");
        assert_eq!(project.output_in("~app", &["cat", "/app"]), format!("saved {name}\n"));
    }
    running.signal("INT").end().exits(130);
    assert_eq!(project.under_way(), [""; 0]);
}

#[test]
fn what_changes_nothing_builds_nothing() {
    let project = Project::new();
    project.write("web/.dockerignore", "*.tmp\nlogs\n");
    let mut running = watching(&project, "");
    assert_eq!(next_run(&project, &mut running), ALL);
    let page = project.path("web/page");
    let text = fs::read_to_string(&page).unwrap();
    // Touched, written as it was, moved away and back, its mode, ignored, of no image.
    fs::File::options()
        .append(true)
        .open(&page)
        .unwrap()
        .set_modified(std::time::SystemTime::now())
        .unwrap();
    save_by_rename(&page, &text);
    fs::rename(&page, project.path("web/other")).unwrap();
    fs::rename(project.path("web/other"), &page).unwrap();
    project.write("web/x.tmp", "x");
    project.write("web/logs/today", "x");
    project.write("notes.md", "x");
    // A comment says nothing of an image.
    let file = fs::read_to_string(project.path("hierarchy.yaml")).unwrap();
    fs::write(project.path("hierarchy.yaml"), format!("# words\n{file}")).unwrap();
    // After all of that a change: its run is the first. Nothing tells that nothing was done; were this too
    // short, all of it would be one change, which is also well.
    std::thread::sleep(Duration::from_millis(700));
    fs::write(&page, "two\n").unwrap();
    assert_eq!(next_run(&project, &mut running), CONE);
    let ended = running.signal("INT").end().exits(130);
    assert_eq!(ended.stdout.matches("\"event\":\"run-started\"").count(), 2, "{ended}");
    assert_eq!(ledger(&project), ["start succeeded", "files succeeded"]);
}

#[test]
#[ignore = "slow: CONTRIBUTING.md"]
fn a_thousand_files_and_both_sides_of_a_diamond_are_one_run() {
    let project = Project::new();
    project
        .write("app/Dockerfile", "FROM ~web\nCOPY --from=~tool /tool /tool\nRUN cp /page /app\n");
    let mut running = watching(&project, "");
    next_run(&project, &mut running);
    for n in 0..1000 {
        project.write(&format!("web/many/{n}"), "x");
    }
    project.edit("tool/Dockerfile", "echo tool", "echo other");
    let mut built = next_run(&project, &mut running);
    // A burst may be longer than is waited for: then what it began with is overtaken by the rest.
    for _ in 0..10 {
        if !built.iter().any(|it| it.ends_with("cancelled")) {
            break;
        }
        built = next_run(&project, &mut running);
    }
    assert!(built.contains(&"~app built".to_owned()), "{built:?}");
    let count = project.output_in("~app", &["sh", "-c", "cat /tool"]);
    assert_eq!(count, "other\n");
    running.signal("INT").end().exits(130);
    assert_eq!(project.under_way(), [""; 0]);
}

#[test]
fn a_newer_change_cancels_the_build_that_it_makes_pointless_and_no_other() {
    let project = Project::new();
    project.write(
        "web/Dockerfile",
        "FROM ~os:1\nCOPY page /page\nRUN [ $(cat /page) = fast ] || sleep 30\n",
    );
    project.write("tool/Dockerfile", "FROM ~os\nRUN sleep 3; echo tool >/tool\n");
    let mut running = watching(&project, "--jobs 2");
    running.wait_for_all(&[
        "\"event\":\"build-step\",\"node\":\"~tool\",\"number\":2",
        "\"event\":\"build-step\",\"node\":\"~web\",\"number\":3",
    ]);
    project.write("web/page", "fast");
    let first = next_run(&project, &mut running);
    assert_eq!(first, ["~os built", "~web cancelled", "~app cancelled", "~tool built"]);
    let second = next_run(&project, &mut running);
    assert_eq!(second, ["~os reused", "~web built", "~app built", "~tool reused"]);
    assert_eq!(project.output_in("~app", &["cat", "/app"]), "fast");
    running.signal("TERM").end().exits(143);
    assert_eq!(project.left_after(Duration::from_secs(10)), [""; 0]);
    assert_eq!(ledger(&project), ["start cancelled", "files succeeded"]);
}

#[test]
#[ignore = "slow: CONTRIBUTING.md"]
fn what_is_not_valid_is_shown_and_waited_out() {
    let project = Project::new();
    let mut running = watching(&project, "");
    next_run(&project, &mut running);
    let file = fs::read_to_string(project.path("hierarchy.yaml")).unwrap();
    project.write("hierarchy.yaml", "version: 1\nimages: { ~os: { contxt: os } }\n");
    running.wait_for_stderr("unknown field `contxt` of an image");
    // An image more, whose folder comes later.
    fs::write(
        project.path("hierarchy.yaml"),
        file.clone() + &project.name("  ~new: { context: new }\n"),
    )
    .unwrap();
    running.wait_for_stderr("~new");
    project.write("new/Dockerfile", "FROM ~os\nRUN echo new >/new\n");
    assert_eq!(next_run(&project, &mut running), ["~new built"]);
    // And one less; what stands on nothing that changed is left alone.
    fs::remove_dir_all(project.path("new")).unwrap();
    fs::write(project.path("hierarchy.yaml"), file).unwrap();
    project.edit("app/Dockerfile", "cp /page /app", "cp /page /app; echo more >>/app");
    let mut last = next_run(&project, &mut running);
    if last.is_empty() {
        last = next_run(&project, &mut running);
    }
    assert_eq!(last, ["~app built"]);
    // A failed build is shown, and the next save mends it.
    project.edit("web/Dockerfile", "COPY page /page", "COPY pages /page");
    assert_eq!(next_run(&project, &mut running), ["~web failed", "~app skipped"]);
    project.edit("web/Dockerfile", "COPY pages /page", "COPY page /page");
    next_run(&project, &mut running);
    running.signal("INT").end().exits(130).says(&[
        "unknown field `contxt` of an image",
        "has a problem\nwaiting until it is valid\n",
        "the hierarchy is valid again\n",
    ]);
}

#[test]
fn after_a_kill_it_goes_on_where_it_was() {
    let project = Project::new();
    project.edit("web/Dockerfile", "COPY page /page\n", "COPY page /page\nRUN sleep 20\n");
    let mut running = watching(&project, "");
    running.wait_for("\"event\":\"build-step\",\"node\":\"~web\",\"number\":3");
    running.signal("KILL").end();
    assert_eq!(ledger(&project), ["start "], "it is still open");
    // While nobody watched.
    project.edit("web/Dockerfile", "RUN sleep 20\n", "");
    let mut running = watching(&project, "");
    let outcomes = next_run(&project, &mut running);
    assert_eq!(outcomes[1..3], CONE);
    running.signal("INT").end().exits(130);
    assert_eq!(ledger(&project), ["start coalesced", "start succeeded"]);
    assert_eq!(project.left_after(Duration::from_secs(10)), [""; 0]);
}

#[test]
#[ignore = "slow: CONTRIBUTING.md"]
fn it_publishes_only_if_told_to() {
    let (project, registry) = (Project::new(), Registry::start());
    let place = Place::Registry(&registry);
    for (arguments, published) in [("", 0), ("--push", 5)] {
        let start = project.rebuild(&format!("watch --progress json {arguments}"));
        let mut running = start.to(place).start();
        next_run(&project, &mut running);
        running.signal("INT").end().exits(130);
        assert_eq!(project.tags(place).len(), published, "{arguments}");
    }
}

#[test]
fn an_engine_that_is_not_there_is_waited_for() {
    let project = Project::new();
    let start = project.rebuild("watch --progress json");
    let mut running = start.env("DOCKER_HOST", "unix:///nonexistent.sock").start();
    running.wait_for_stderr("trying again in 2 s, or when a file changes");
    running.signal("INT").end().exits(130);
    assert_eq!(ledger(&project), ["start "], "it is still to be done");
}

#[test]
fn a_tick_that_was_missed_is_made_up_for_once() {
    let project = Project::new();
    project.edit("hierarchy.yaml", "~tool: {", "~tool: { schedule: \"0 3 * * *\",");
    let mut running = watching(&project, "--schedule");
    next_run(&project, &mut running);
    running.signal("INT").end().exits(130);
    assert_eq!(ledger(&project), ["start succeeded"]);

    // As if it had last been done a week ago.
    let folders = fs::read_dir(project.state().join("rebuild")).unwrap();
    let ledgers = folders.map(|entry| entry.unwrap().path().join("triggers.jsonl"));
    for path in ledgers.filter(|path| path.is_file()) {
        let node = project.name("~tool");
        fs::write(path, format!("{{\"done\":{{\"{node}\":\"2026-01-01T00:00:00Z\"}}}}\n")).unwrap();
    }
    let mut running = watching(&project, "--schedule");
    assert!(next_run(&project, &mut running).iter().all(|it| it.ends_with(" kept")));
    // Its image is newer than the tick: there is nothing to do for it, and it is done.
    assert_eq!(next_run(&project, &mut running), [""; 0]);
    running.signal("INT").end().exits(130).says(&["a schedule is due\n"]);
    let done = ledger(&project);
    assert!(done.contains(&"ticks succeeded".to_owned()) && done.len() == 2, "{done:?}");

    let mut running = watching(&project, "--schedule");
    next_run(&project, &mut running);
    project.edit("tool/Dockerfile", "echo tool", "echo other");
    assert_eq!(next_run(&project, &mut running), ["~tool built"]);
    running.signal("INT").end().exits(130).never_says(&["a schedule is due"]);
}

#[test]
fn a_name_that_the_hierarchy_does_not_have_ends_watch() {
    let project = Project::new();
    let ended = project.rebuild("watch --from ~nothing").run().exits(2);
    ended.says(&["no image is called `~nothing`"]);
}
