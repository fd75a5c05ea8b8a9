//! A real engine that is killed or stopped in the middle of a run, and started again.
//!
//! Only for an engine that no other test uses: `tests/engines` puts its name into `REBUILD_TEST_ENGINE`.
//! Everything is one test, since each part takes the engine from the others.

use std::{env, process::Command, thread, time::Duration};

use super::{EDGES, assert_edges_agree};
use crate::support::{
    project::{Place, Project},
    proxy::{Fault, Proxy},
    registry::Registry,
    running::Running,
};

/// For `stop`, the engine ends its containers and then itself; for `kill`, it ends with SIGKILL.
const ENDS: [&str; 2] = ["stop", "kill"];
/// Until what an engine ended is no longer seen in `/proc`.
const LIMIT: Duration = Duration::from_secs(10);
/// The program waits for an engine for 60 s, and each part of a run waits for it once.
const PATIENCE: Duration = Duration::from_secs(200);

#[test]
fn a_real_engine_that_restarts_is_waited_for_and_nothing_is_left() {
    let Ok(engine) = env::var("REBUILD_TEST_ENGINE") else {
        println!("skipped: `tests/engines` runs it, on an engine of its own");
        return;
    };
    let control = |what: &str| {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/engines");
        let status = Command::new(script).args([what, &engine]).status().unwrap();
        assert!(status.success(), "{what} {engine}");
    };
    for end in ENDS {
        in_a_build(&|| {
            control(end);
            control("start");
        });
        in_a_test(&|| {
            control(end);
            control("start");
        });
        in_a_push(&|| {
            control(end);
            control("start");
        });
    }
    stays_away(&control);
}

fn in_a_build(restart: &dyn Fn()) {
    let project = Project::new();
    let step = "\nRUN : ~marker; echo begun; sleep 3\n";
    project.edit("web/Dockerfile", "\nCOPY", &format!("{step}COPY"));
    let mut run = project.rebuild("--progress json").start();
    run.wait_for("\"begun\"");
    restart();
    ends_well(&project, &mut run, Place::Engine);
}

/// The project, and the program while it tests an image.
fn testing(project: &Project) -> Running<'_> {
    let test = "[{ run: [sh, -c, \": ~marker; sleep 3\"] }]";
    project.edit("hierarchy.yaml", "[{ run: [cat, /page] }]", test);
    let mut run = project.rebuild("--progress json").start();
    run.wait_for("\"name\":\"test\"");
    project.wait_until_under_way("container");
    run
}

fn in_a_test(restart: &dyn Fn()) {
    let project = Project::new();
    let mut run = testing(&project);
    restart();
    ends_well(&project, &mut run, Place::Engine);
}

fn in_a_push(restart: &dyn Fn()) {
    let (project, registry) = (Project::new(), Registry::start());
    let way = Proxy::to_host(registry.host());
    let upload = ("PUT", "/blobs/uploads/");
    way.spoil(upload, 1, Fault::Delay(Duration::from_secs(3)));
    let start = project.rebuild("--progress json");
    let mut run = start.env("REBUILD_REGISTRY", format!("{}/demo", way.address())).start();
    while way.count(upload) == 0 {
        thread::sleep(Duration::from_millis(5));
    }
    restart();
    ends_well(&project, &mut run, Place::Registry(&registry));
}

/// Nothing failed, and every tag is where it belongs.
fn ends_well(project: &Project, run: &mut Running<'_>, place: Place<'_>) {
    let ended = run.end_within(PATIENCE).exits(0);
    assert!(ended.stdout.contains("trying again in"), "{ended}");
    assert_eq!(project.tags(place).len(), 5, "{ended}");
    assert_edges_agree(project, place, EDGES);
    assert_eq!(project.left_after(LIMIT), [""; 0], "{ended}");
}

/// Killed and not started: exit code 20. The next run removes what is left.
fn stays_away(control: &dyn Fn(&str)) {
    let project = Project::new();
    let mut run = testing(&project);
    control("kill");
    let ended = run.end_within(PATIENCE).exits(20);
    control("start");
    assert_eq!(project.tags(Place::Engine).len(), 0, "{ended}");
    project.edit("hierarchy.yaml", "sleep 3", "sleep 0");
    project.rebuilt(Place::Engine);
    assert_eq!(project.left_after(LIMIT), [""; 0]);
}
