//! An engine, or the way to it, that breaks, and disks that are full.

use std::{
    collections::BTreeMap,
    sync::{Arc, LazyLock},
    time::Duration,
};

use rebuild::engine::Capability;

use super::super::{EDGES, assert_edges_agree};
use crate::support::{
    engine::lacks,
    project::{Place, Project, docker},
    proxy::{Fault, Proxy},
    registry::Registry,
    small_disk::SmallDisk,
};

/// A small project on the real engine, spoken to through a proxy.
fn start() -> (Project, Proxy) {
    let project = Project::pair();
    let proxy = Proxy::to_engine(project.engine());
    (project, proxy)
}

/// The request of a build. BuildKit builds by calls on a connection that is upgraded.
fn build() -> (&'static str, &'static str) {
    ("POST", if lacks(Capability::BuildKit) { "/build?" } else { "/grpc" })
}

/// As long as nothing else is said, each answer to a build ends in the middle.
const IN_THE_MIDDLE: usize = 250;

#[test]
fn a_connection_that_breaks_in_a_build_is_made_again() {
    let (project, proxy) = start();
    proxy.spoil(build(), 1, Fault::CutAfter(IN_THE_MIDDLE));
    let ended = project.rebuild("").env("DOCKER_HOST", proxy.address()).run().exits(0);
    proxy.assert_all_spoilt();
    let ended = ended.says(&["is the engine still running?: trying again in "]);
    assert!(ended.result().ends_with(": 2 built"), "{ended}");
    assert_eq!(project.tags(Place::Engine).len(), 3, "{ended}");
    assert_eq!(project.under_way(), [""; 0], "{ended}");
}

/// A test that takes a second, so that the engine goes in the middle of it.
const SLOW_TEST: &str = "[{ run: [sh, -c, \": ~marker; sleep 1\"] }]";

/// The usual project with that test.
fn start_with_slow_test() -> (Project, Proxy) {
    let project = Project::new();
    project.edit("hierarchy.yaml", "[{ run: [cat, /page] }]", SLOW_TEST);
    let proxy = Proxy::to_engine(project.engine());
    (project, proxy)
}

#[test]
fn an_engine_that_is_gone_for_five_seconds_is_waited_for() {
    let five = Duration::from_secs(5);
    for request in [build(), ("POST", "/wait"), ("POST", "/containers/create")] {
        let (project, proxy) = start_with_slow_test();
        proxy.spoil(request, 1, Fault::Gone(five));
        let ended = project.rebuild("").env("DOCKER_HOST", proxy.address()).run().exits(0);
        proxy.assert_all_spoilt();
        let ended = ended.says(&["waiting for it for up to 60 s", ": trying again in "]);
        assert!(ended.result().ends_with(": 4 built"), "{ended}");
        assert_edges_agree(&project, Place::Engine, EDGES);
        assert_eq!(project.left_after(Duration::from_secs(10)), [""; 0], "{request:?} {ended}");
    }
}

#[test]
#[ignore = "slow: CONTRIBUTING.md"]
fn an_engine_that_stays_away_is_the_cause_and_the_next_run_removes_what_is_left() {
    let (project, proxy) = start_with_slow_test();
    proxy.spoil(("POST", "/wait"), 1, Fault::Gone(Duration::from_secs(90)));
    let ended = project.rebuild("").env("DOCKER_HOST", proxy.address()).run().exits(20);
    proxy.assert_all_spoilt();
    ended.says(&["the Docker engine", "until the next `rebuild`"]);
    assert_eq!(project.tags(Place::Engine), BTreeMap::new());
    project.rebuilt(Place::Engine);
    assert_eq!(project.left_after(Duration::from_secs(10)), [""; 0]);
}

#[test]
fn an_engine_that_goes_away_in_a_push_says_whether_the_image_arrived() {
    let (project, registry) = (Project::pair(), Registry::start());
    let proxy = Proxy::to_engine(project.engine());
    let place = Place::Registry(&registry);
    let run = || project.rebuild("").to(place).env("DOCKER_HOST", proxy.address()).run().exits(0);
    // The image arrives, and nobody hears of it.
    proxy.spoil(("POST", "base/push"), 1, Fault::CutAfter(0));
    let ended = run();
    proxy.assert_all_spoilt();
    assert_eq!(project.left_after(Duration::from_secs(10)), [""; 0], "{ended}");
    assert_edges_agree(&project, place, &[("~app:latest", "~base:1")]);
    let is_told = ended.stderr.contains("was read back whole");
    let is_pushed_again = proxy.count(("POST", "base/push")) == 2;
    assert!(is_told != is_pushed_again, "{ended}");
    // It does not arrive.
    project.write("base/name", "another ~base");
    proxy.spoil(("POST", "base/push"), 1, Fault::Status(503, &[]));
    run().says(&["trying again"]).never_says(&["was read back whole"]);
    assert_eq!(project.left_after(Duration::from_secs(10)), [""; 0]);
    assert_edges_agree(&project, place, &[("~app:latest", "~base:1")]);
}

#[test]
fn an_inspect_that_is_answered_500_once_is_asked_again() {
    let (project, proxy) = start();
    proxy.spoil(("GET", "/images/"), 1, Fault::Status(500, &[]));
    let ended = project.rebuild("").env("DOCKER_HOST", proxy.address()).run().exits(0);
    proxy.assert_all_spoilt();
    ended.never_says(&["trying again"]);
}

#[test]
fn an_image_that_is_removed_under_us_fails_its_child_and_moves_no_tag() {
    let (project, proxy) = start();
    let base = project.name("n~base");
    let remove = move || {
        // By each of its names, its pin first, as `docker image prune --all` would.
        let all = docker(&["images", "--no-trunc", "--format", "{{.Repository}}:{{.Tag}} {{.ID}}"]);
        let all = all.unwrap();
        let id = all.lines().find(|line| line.contains(&base)).unwrap().split(' ').nth(1).unwrap();
        docker(&["rmi", "--force", id]).unwrap();
    };
    // The child's build.
    proxy.spoil_after(1, build(), 1, Fault::First(Arc::new(remove)));
    let run = project.rebuild("").env("DOCKER_HOST", proxy.address());
    let ended = run.run().exits(10);
    proxy.assert_all_spoilt();
    assert_eq!(project.tags(Place::Engine), BTreeMap::new(), "{ended}");
    assert_eq!(project.under_way(), [""; 0], "{ended}");
    project.rebuilt(Place::Engine);
    assert_eq!(project.tags(Place::Engine).len(), 3);
}

#[test]
fn an_engine_without_room_is_refused_before_the_first_build() {
    static FULL: LazyLock<SmallDisk> = LazyLock::new(|| SmallDisk::new(1 << 20));
    let (project, proxy) = start();
    let edit = |answer: &str| {
        let root = FULL.path().display().to_string();
        let (before, rest) = answer.split_once("\"DockerRootDir\":\"").unwrap();
        let (_, after) = rest.split_once('"').unwrap();
        format!("{before}\"DockerRootDir\":\"{root}\"{after}")
    };
    proxy.spoil(("GET", "/info"), 99, Fault::Edited(edit));
    let run = || project.rebuild("").env("DOCKER_HOST", proxy.address()).run();
    run()
        .exits(20)
        .says(&["has room for 1 MB only", "docker system prune"])
        .never_says(&["building"]);
    assert!(project.all_tags(Place::Engine).is_empty());
    // What builds nothing needs no room.
    project.rebuilt(Place::Engine);
    run().exits(0).says(&["nothing to do"]);
}

#[test]
fn a_full_disk_under_the_logs_is_a_warning() {
    let (project, disk) = (Project::pair(), SmallDisk::new(64 << 10));
    let noise = "#!/bin/sh\ni=0; while [ $i -lt 9000 ]; do echo \"a line of noise, $i\"; i=$((i + 1)); done\n";
    project.write_script("app/noise.sh", noise);
    let fields = "{ context: app, prepare: [./noise.sh] }";
    project.edit("hierarchy.yaml", "{ context: app }", fields);
    let run = || project.rebuild("").env("XDG_STATE_HOME", disk.path()).run();
    let ended = run().exits(0).says(&["the log ends here: No space left on device"]);
    assert!(ended.result().ends_with(": 2 built"), "{ended}");
    assert_eq!(project.tags(Place::Engine).len(), 3, "{ended}");
    // Now that nothing more can be kept, a failure is still the failure that it is.
    project.edit("app/noise.sh", "i=0", "exit 4; i=0");
    run().exits(10).says(&["`./noise.sh` ended with exit code 4"]);
    assert_eq!(project.under_way(), [""; 0]);
}

#[test]
fn without_a_folder_for_the_lock_nothing_is_begun() {
    let project = Project::pair();
    let ended = project.rebuild("").env("XDG_STATE_HOME", "/dev/null/state").run().exits(1);
    ended.says(&["error: cannot write `/dev/null/state/"]).never_says(&["building"]);
    assert!(project.all_tags(Place::Engine).is_empty());
}
