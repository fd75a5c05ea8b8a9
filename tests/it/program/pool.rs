//! Several engines: here one engine by several addresses, since a test has no other.

use std::os::unix::fs::symlink;

use serde_json::Value;

use crate::support::{
    project::{Place, Project},
    registry::Registry,
};

/// Another address of the engine.
fn other_address(project: &Project) -> Option<String> {
    let socket = project.engine().strip_prefix("unix://")?.to_owned();
    let other = project.state().join("other.sock");
    _ = std::fs::remove_file(&other);
    symlink(socket, &other).unwrap();
    Some(format!("unix://{}", other.display()))
}

#[test]
fn a_pool_builds_everything_once_and_moves_all_tags() {
    let (project, registry) = (Project::of_files(), Registry::start());
    let Some(other) = other_address(&project) else { return };
    let engines = format!("--engine {} --engine {other}", project.engine());
    let ended = project
        .rebuild(&format!("{engines} --progress json"))
        .to(Place::Registry(&registry))
        .run()
        .exits(0);
    let events: Vec<Value> = ended.events();
    let started: Vec<&Value> =
        events.iter().filter(|event| event["event"] == "step-started").collect();
    assert_eq!(started.len(), 4);
    assert!(started.iter().all(|event| event["engine"].as_str().is_some()), "{started:?}");
    assert_eq!(project.tags(Place::Registry(&registry)).len(), 5);
    project
        .rebuild(&format!("{engines} plan --exit-code"))
        .to(Place::Registry(&registry))
        .run()
        .exits(0);
}

#[test]
fn an_engine_that_does_not_answer_is_left_out() {
    let (project, registry) = (Project::of_files(), Registry::start());
    let engines = format!("--engine unix:///nowhere.sock --engine {}", project.engine());
    let ended = project.rebuild(&engines).to(Place::Registry(&registry)).run().exits(0);
    ended.says(&["/nowhere.sock", "the other engines build without it"]);
    project
        .rebuild("--engine unix:///nowhere.sock --engine unix:///neither.sock")
        .to(Place::Registry(&registry))
        .run()
        .exits(20);
}

#[test]
fn what_no_engine_of_a_pool_builds_is_an_error_before_the_first_build() {
    let (project, registry) = (Project::of_files(), Registry::start());
    let Some(other) = other_address(&project) else { return };
    let engines = format!("--engine {} --engine {other}", project.engine());
    project.rebuild(&engines).run().exits(2).says(&["several engines need a `registry`"]);
    let ended = project
        .rebuild(&format!("{engines} --set ~app.platform=linux/s390x"))
        .to(Place::Registry(&registry))
        .run()
        .exits(20);
    let said = project.shown(&ended.stderr);
    assert!(said.contains("no engine builds for linux/s390x: `~app`"), "{said}");
    assert!(said.contains("`--emulate`"), "{said}");
}
