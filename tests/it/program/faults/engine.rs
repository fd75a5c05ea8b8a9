//! An engine, or the way to it, that breaks, and disks that are full.

use std::{
    collections::BTreeMap,
    sync::{Arc, LazyLock},
};

use crate::support::{
    project::{Place, Project, docker},
    proxy::{Fault, Proxy},
    small_disk::SmallDisk,
};

/// A small project on the real engine, spoken to through a proxy.
fn start() -> Option<(Project, Proxy)> {
    let project = Project::pair()?;
    let proxy = Proxy::to_engine(project.engine())?;
    Some((project, proxy))
}

/// As long as nothing else is said, each answer to a build ends in the middle.
const IN_THE_MIDDLE: usize = 250;

#[test]
fn a_connection_that_breaks_in_a_build_is_made_again() {
    let Some((project, proxy)) = start() else { return };
    proxy.spoil(("POST", "/build?"), 1, Fault::CutAfter(IN_THE_MIDDLE));
    let ended = project.rebuild("").env("DOCKER_HOST", proxy.address()).run().exits(0);
    proxy.assert_all_spoilt();
    let ended = ended.says(&["is the engine still running?: trying again in "]);
    assert!(ended.result().ends_with(": 2 built"), "{ended}");
    assert_eq!(project.tags(Place::Engine).len(), 3, "{ended}");
    assert_eq!(project.under_way(), [""; 0], "{ended}");
}

#[test]
fn an_image_that_is_removed_under_us_fails_its_child_and_moves_no_tag() {
    let Some((project, proxy)) = start() else { return };
    let base = project.name("n~base");
    let remove = move || {
        // By each of its names, its pin first, as `docker image prune --all` would.
        let all = docker(&["images", "--no-trunc", "--format", "{{.Repository}}:{{.Tag}} {{.ID}}"]);
        let all = all.unwrap();
        let id = all.lines().find(|line| line.contains(&base)).unwrap().split(' ').nth(1).unwrap();
        docker(&["rmi", "--force", id]).unwrap();
    };
    // The child's build, by its query: the base's own may take a second request.
    project.edit("app/Dockerfile", "FROM ~base:1", "FROM ~base:1 AS child");
    project.edit("hierarchy.yaml", "{ context: app }", "{ context: app, target: child }");
    proxy.spoil(("POST", "&target=child"), 1, Fault::First(Arc::new(remove)));
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
    static FULL: LazyLock<Option<SmallDisk>> = LazyLock::new(|| SmallDisk::new(1 << 20));
    let (Some((project, proxy)), Some(_)) = (start(), &*FULL) else { return };
    let edit = |answer: &str| {
        let root = FULL.as_ref().unwrap().path().display().to_string();
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
    let (Some(project), Some(disk)) = (Project::pair(), SmallDisk::new(64 << 10)) else { return };
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
    let Some(project) = Project::pair() else { return };
    let ended = project.rebuild("").env("XDG_STATE_HOME", "/dev/null/state").run().exits(1);
    ended.says(&["error: cannot write `/dev/null/state/"]).never_says(&["building"]);
    assert!(project.all_tags(Place::Engine).is_empty());
}
