//! Signals, a closed stdout, and SIGKILL: nothing is left, and the next run is right.

use std::{
    collections::BTreeMap,
    thread,
    time::{Duration, Instant},
};

use rebuild::engine::Capability;

use super::{EDGES, assert_edges_agree};
use crate::support::{
    engine::lacks,
    project::{Place, Project},
    proxy::{Fault, Proxy},
};

/// The program must be gone by then.
const LIMIT: Duration = Duration::from_secs(10);

/// A build that says that it runs and then never ends. While it is said, the process is under way with the project's name in its command line.
fn hang_in_build(project: &Project) {
    let step = "\nRUN : ~marker; echo hanging; while sleep 1; do :; done\n";
    project.edit("web/Dockerfile", "\nCOPY", &format!("{step}COPY"));
}

/// A project in an engine that ends a build when it is cancelled; for others the build would never end.
fn cancellable() -> Option<Project> {
    (!lacks(Capability::Cancel)).then(Project::new)
}

fn fix(project: &Project) {
    project.edit("web/Dockerfile", "while sleep 1; do :; done", "true");
}

#[test]
fn the_first_signal_stops_and_cleans_up() {
    for (signal, exit, word) in [
        ("INT", 130, "interrupted"),
        ("TERM", 143, "terminated"),
        // A terminal or an SSH connection that is closed.
        ("HUP", 143, "terminated"),
        ("QUIT", 143, "terminated"),
    ] {
        let Some(project) = cancellable() else { return };
        hang_in_build(&project);
        let mut run = project.rebuild("--progress json").start();
        run.wait_for("\"hanging\"");
        let began = Instant::now();
        let ended = run.signal(signal).end().exits(exit);
        assert!(began.elapsed() < LIMIT, "{:?}", began.elapsed());
        let last = ended.events().pop().unwrap();
        assert_eq!(last["event"], "run-finished", "{ended}");
        assert_eq!(last["stopped"], word, "{ended}");
        assert_eq!(last["exit_code"], exit, "{ended}");
        assert_eq!(project.left_after(LIMIT), [""; 0], "{ended}");
        assert_eq!(project.tags(Place::Engine), BTreeMap::new());
        if signal == "INT" {
            let status = project.rebuild("status").run().exits(0).stdout;
            assert!(status.contains("cancelled just now: interrupted\n"), "{status}");
            fix(&project);
            project.rebuilt(Place::Engine);
            assert_edges_agree(&project, Place::Engine, EDGES);
        }
    }
}

#[test]
fn a_signal_in_a_test_removes_its_container() {
    let project = Project::new();
    let hanging = "[{ run: [sh, -c, \": ~marker; while sleep 1; do :; done\"] }]";
    project.edit("hierarchy.yaml", "[{ run: [cat, /page] }]", hanging);
    let mut run = project.rebuild("--progress json").start();
    run.wait_for("\"name\":\"test\"");
    project.wait_until_under_way("container");
    run.signal("INT").end().exits(130);
    assert_eq!(project.left_after(LIMIT), [""; 0]);
}

#[test]
fn a_signal_ends_it_in_time_while_the_engine_hangs_and_says_what_is_left() {
    let project = Project::new();
    let engine = Proxy::to_engine(project.engine());
    let hanging = "[{ run: [sh, -c, \": ~marker; while sleep 1; do :; done\"] }]";
    project.edit("hierarchy.yaml", "[{ run: [cat, /page] }]", hanging);
    engine.spoil(("DELETE", "/containers/"), 99, Fault::Silence);
    let mut run = project.rebuild("--progress json").env("DOCKER_HOST", engine.address()).start();
    run.wait_for("\"name\":\"test\"");
    project.wait_until_under_way("container");
    let began = Instant::now();
    let ended = run.signal("INT").end().exits(130);
    assert!(began.elapsed() < LIMIT, "{:?} {ended}", began.elapsed());
    for left in ["the container `", "of this run stay in the engine until the next `rebuild`"] {
        assert!(ended.stdout.contains(left), "it does not say {left:?}: {ended}");
    }
    engine.behave();
    project.edit("hierarchy.yaml", hanging, "[{ run: [cat, /page] }]");
    project.rebuilt(Place::Engine);
    assert_eq!(project.left_after(LIMIT), [""; 0]);
}

#[test]
fn a_signal_ends_a_command_that_waits_for_its_engine() {
    let project = Project::pair();
    let engine = Proxy::to_engine(project.engine());
    let ping = ("GET", "/_ping");
    engine.spoil(ping, 99, Fault::Silence);
    for arguments in ["", "gc --yes", "rollback --yes", "watch"] {
        let asked = engine.count(ping);
        let mut run = project.rebuild(arguments).env("DOCKER_HOST", engine.address()).start();
        while engine.count(ping) == asked {
            thread::sleep(Duration::from_millis(5));
        }
        let began = Instant::now();
        run.signal("TERM").end().exits(143).says(&["error: stopped before it began"]);
        assert!(began.elapsed() < LIMIT, "{arguments}: {:?}", began.elapsed());
    }
}

#[test]
fn a_hangup_that_is_ignored_stays_ignored() {
    let Some(project) = cancellable() else { return };
    hang_in_build(&project);
    // As `nohup` does.
    let script = "trap '' HUP; exec \"$REBUILD\" --progress json";
    let mut run = project.shell(&project.path(""), script).start();
    run.wait_for("\"hanging\"");
    let ended = run.signal("HUP").signal("INT").end().exits(130);
    assert!(!ended.stderr.contains("ended at once"), "{ended}");
}

#[test]
fn the_second_signal_ends_at_once_and_says_what_may_be_left() {
    let Some(project) = cancellable() else { return };
    // A prepare command that ignores the signal would be killed; a build that is cancelled takes time.
    hang_in_build(&project);
    let mut run = project.rebuild("--progress json").start();
    run.wait_for("\"hanging\"");
    let began = Instant::now();
    let ended = run.signal("INT").signal("INT").end();
    assert!(began.elapsed() < Duration::from_secs(3), "{:?}", began.elapsed());
    let ended = ended.exits(130);
    // The first may be done already; if the second is heard, it says so.
    let heard = ended.stderr.contains("warning: ended at once");
    assert!(heard || ended.stdout.contains("run-finished"), "{ended}");
    assert_eq!(project.tags(Place::Engine), BTreeMap::new());

    fix(&project);
    project.rebuilt(Place::Engine);
    assert_edges_agree(&project, Place::Engine, EDGES);
    assert_eq!(project.left_after(LIMIT), [""; 0]);
}

#[test]
fn nobody_reads_stdout_any_more() {
    let Some(project) = cancellable() else { return };
    hang_in_build(&project);
    project.edit(
        "web/Dockerfile",
        "while sleep 1; do :; done",
        "while sleep 1; do echo more; done",
    );
    let mut run = project.rebuild("--progress json").start();
    run.wait_for("\"hanging\"");
    let began = Instant::now();
    let ended = run.close_stdout().end();
    assert!(began.elapsed() < LIMIT, "{:?}", began.elapsed());
    let ended = ended.exits(1);
    assert_eq!(project.left_after(LIMIT), [""; 0], "{ended}");
    assert_eq!(project.tags(Place::Engine), BTreeMap::new());
    let history = project.rebuild("history --format json").run().exits(0);
    let run = &history.events()[0]["runs"][0];
    assert_eq!((&run["result"], &run["exit"]), (&"output closed".into(), &"internal".into()));

    project.edit("web/Dockerfile", "while sleep 1; do echo more; done", "true");
    project.rebuilt(Place::Engine);
    assert_edges_agree(&project, Place::Engine, EDGES);
}

#[test]
fn after_a_kill_the_next_run_is_right_and_leaves_nothing() {
    let Some(project) = cancellable() else { return };
    hang_in_build(&project);
    let mut run = project.rebuild("--progress json").start();
    run.wait_for("\"hanging\"");
    let ended = run.signal("KILL").end();
    assert_eq!(ended.status.code(), None);
    assert_eq!(project.tags(Place::Engine), BTreeMap::new());

    fix(&project);
    let next = project.rebuild("").run().exits(0);
    assert!(next.result().ends_with(": 3 built, 1 already built"), "{next}");
    assert_edges_agree(&project, Place::Engine, EDGES);
    assert_eq!(project.left_after(LIMIT), [""; 0], "{next}");
}

#[test]
fn a_list_of_leftovers_does_not_keep_the_next_run_from_removing_them() {
    let Some(project) = cancellable() else { return };
    // The next search for pins would be due in a day.
    project.rebuilt(Place::Engine);
    hang_in_build(&project);
    let mut run = project.rebuild("--progress json").start();
    run.wait_for("\"hanging\"");
    run.signal("KILL").end();
    let list = project.rebuild("gc").run().exits(0);
    fix(&project);
    let next = project.rebuild("").run().exits(0);
    assert_eq!(project.left_after(LIMIT), [""; 0], "{list}{next}");
}

#[test]
fn after_a_kill_the_container_of_a_test_is_removed_by_the_next_run() {
    let project = Project::new();
    let hanging = "[{ run: [sh, -c, \": ~marker; while sleep 1; do :; done\"] }]";
    project.edit("hierarchy.yaml", "[{ run: [cat, /page] }]", hanging);
    let mut run = project.rebuild("--progress json").start();
    run.wait_for("\"name\":\"test\"");
    project.wait_until_under_way("container");
    run.signal("KILL").end();
    project.edit("hierarchy.yaml", hanging, "[{ run: [cat, /page] }]");
    project.rebuilt(Place::Engine);
    assert_eq!(project.left_after(LIMIT), [""; 0]);
}
