//! Several engines: here one engine by several addresses, since a test has no other.

use std::{
    collections::{BTreeMap, BTreeSet},
    os::unix::fs::symlink,
    time::Duration,
};

use rebuild::engine::Capability;
use serde_json::Value;

use crate::support::{
    engine::lacks,
    project::{Place, Project},
    proxy::{Fault, Proxy},
    registry::Registry,
};

/// Images beside each other, and two on top of each.
const BRANCHES: usize = 6;

/// The request of a build. BuildKit builds by calls on a connection that is upgraded.
fn build() -> (&'static str, &'static str) {
    ("POST", if lacks(Capability::BuildKit) { "/build?" } else { "/grpc" })
}

/// A base, and branches of images that take a moment.
fn branches() -> Project {
    let project = Project::empty();
    project.write_os();
    let mut file = "version: 1\nimages:\n  ~os: { context: os }\n".to_owned();
    for branch in 0..BRANCHES {
        for (name, parent) in [("a", "~os".to_owned()), ("b", format!("~a{branch}"))] {
            let entry = format!(
                "  ~{name}{branch}: {{ context: {name}{branch}, test: [{{ run: [sh, -c, \"sleep 1; test -e /{name}\"] }}] }}\n"
            );
            file.push_str(&entry);
            let text = format!("FROM {parent}\nRUN sleep 1 && echo ~{name}{branch} >/{name}\n");
            project.write(&format!("{name}{branch}/Dockerfile"), &text);
        }
    }
    project.write("hierarchy.yaml", &file);
    project
}

/// How often something happened to each image.
fn counted(events: &[Value], event: &str) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for event in events.iter().filter(|one| one["event"] == event) {
        *counts.entry(event["node"].as_str().unwrap().to_owned()).or_default() += 1;
    }
    counts
}

#[test]
fn an_engine_that_dies_costs_no_tag_and_no_finished_work() {
    // While it tests the parents of what it builds.
    for (is_first, builds) in [(false, 4), (true, 5)] {
        let (project, registry) = (branches(), Registry::start());
        let victim = Proxy::to_engine(project.engine());
        victim.spoil_after(builds, build(), 1, Fault::Gone(Duration::from_secs(3600)));
        let (first, second) = if is_first {
            (victim.address(), project.engine())
        } else {
            (project.engine(), victim.address())
        };
        let arguments = format!("--engine {first} --engine {second} --jobs 3 --progress json");
        let ended = project.rebuild(&arguments).to(Place::Registry(&registry)).run().exits(0);
        victim.assert_all_spoilt();
        let events = ended.events();
        let warns = |event: &&Value| {
            event["event"] == "warning"
                && event["message"]
                    .as_str()
                    .unwrap()
                    .contains("its builds begin again on other engines")
        };
        assert_eq!(events.iter().filter(warns).count(), 1, "{ended}");
        let finished = counted(&events, "step-finished");
        assert_eq!(finished.len(), 1 + 2 * BRANCHES, "{ended}");
        assert!(finished.values().all(|count| *count == 1), "{finished:?}");
        // What was finished before does not begin again.
        let mut ends: BTreeMap<&str, bool> = BTreeMap::new();
        for event in &events {
            let Some(node) = event["node"].as_str() else { continue };
            match event["event"].as_str() {
                Some("step-started") => assert!(!ends.contains_key(node), "{node} again\n{ended}"),
                Some("step-finished") => _ = ends.insert(node, true),
                _ => {}
            }
        }
        let at = |event: &Value| event["at"].as_f64().unwrap();
        let last_step = events.iter().filter(|event| event["event"] == "step-finished").map(at);
        let waited = at(events.last().unwrap()) - last_step.fold(0.0, f64::max);
        assert!(waited < 20.0, "{waited} s after the last image\n{ended}");
        assert_eq!(project.tags(Place::Registry(&registry)).len(), 1 + 2 * BRANCHES);
        victim.behave();
        project.rebuild("plan --exit-code").to(Place::Registry(&registry)).run().exits(0);
    }
}

#[test]
fn a_slow_engine_takes_part_and_changes_nothing() {
    let (project, registry) = (branches(), Registry::start());
    let slow = Proxy::to_engine(project.engine());
    slow.spoil(build(), 100, Fault::Delay(Duration::from_secs(2)));
    slow.spoil(("GET", "/images/"), 1000, Fault::Delay(Duration::from_millis(200)));
    let arguments = format!(
        "--engine {} --engine {} --jobs 3 --progress json",
        project.engine(),
        slow.address()
    );
    let ended = project.rebuild(&arguments).to(Place::Registry(&registry)).run().exits(0);
    let started = counted(&ended.events(), "step-started");
    assert!(started.values().all(|count| *count == 1), "{started:?}");
    assert_eq!(project.tags(Place::Registry(&registry)).len(), 1 + 2 * BRANCHES);
}

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
    let ended = project
        .rebuild(&format!("{engines} --set ~app.platform=linux/s390x"))
        .to(Place::Registry(&registry))
        .run()
        .exits(20);
    let said = project.shown(&ended.stderr);
    assert!(said.contains("no engine builds for linux/s390x: `~app`"), "{said}");
    assert!(said.contains("`--emulate`"), "{said}");
}

#[test]
fn without_a_registry_the_first_engine_has_all_tags() {
    let project = branches();
    let second = Proxy::to_engine(project.engine());
    let engines = format!("--engine {} --engine {}", project.engine(), second.address());
    let ended = project.rebuild(&format!("{engines} --jobs 3 --progress json")).run().exits(0);
    let used: BTreeSet<String> = ended
        .events()
        .iter()
        .filter_map(|event| Some(event["engine"].as_str()?.to_owned()))
        .collect();
    assert_eq!(used.len(), 2, "{ended}");
    assert_eq!(project.tags(Place::Engine).len(), 1 + 2 * BRANCHES);
    assert_eq!(project.under_way(), [""; 0]);
    project.rebuild(&format!("{engines} plan --exit-code")).run().exits(0);
    // `--local` uses the first engine only.
    project.write("a0/Dockerfile", "FROM ~os\nRUN echo ~changed >/a\n");
    let ended = project.rebuild(&format!("{engines} --local --progress json")).run().exits(0);
    assert!(ended.events().iter().all(|event| event["engine"].is_null()), "{ended}");
}
