//! A server that is killed loses no delivery, and runs none twice.

use std::{fs, process::Command, thread, time::Duration};

use serde_json::{Value, json};

use super::{Server, push};
use crate::support::{
    is_whole,
    project::{Place, Project},
    registry::Registry,
};

/// The results of the runs of each delivery.
fn results(server: &Server<'_>) -> Vec<Vec<String>> {
    let deliveries = server.json("/deliveries");
    let result = |run: &Value| {
        let run = server.json(&format!("/runs/{run}"));
        format!("{}: {}", run["state"].as_str().unwrap(), run["result"])
    };
    let results =
        |delivery: &Value| delivery["runs"].as_array().unwrap().iter().map(result).collect();
    deliveries["deliveries"].as_array().unwrap().iter().map(results).collect()
}

#[test]
fn a_killed_server_loses_no_delivery_and_runs_none_twice() {
    let project = Project::of_files();
    project.commit();
    project.rebuilt(Place::Engine);
    let kills = if is_whole() { 20 } else { 4 };
    let mut accepted = 0;
    for kill in 0..kills {
        let mut server = Server::start(&project);
        for n in 0..5 {
            // Zeros would be a new branch, or a deleted one.
            let before = format!("1{kill:019}{n:020}");
            let after = format!("2{n:019}{kill:020}");
            let (status, answer) = server.deliver(&push(&before, &after, &["tool/page"]));
            assert_eq!(status, 202, "{answer}");
            accepted += usize::from(answer["status"] == "received");
        }
        // At other places of the run each time.
        thread::sleep(Duration::from_millis(kill * 97 % 1500));
        server.running.signal("KILL");
    }
    let server = Server::start(&project);
    server.wait("/deliveries", |page| {
        page["deliveries"].as_array().unwrap().iter().all(|it| it["state"] != "received")
    });
    server.idle();
    let results = results(&server);
    assert_eq!(results.len(), accepted);
    for runs in results {
        let succeeded = runs.iter().filter(|run| run.starts_with("succeeded")).count();
        assert_eq!(succeeded, 1, "{runs:#?}");
    }
}

#[test]
fn a_stopped_server_cancels_its_run_and_the_next_one_continues() {
    let project = Project::new();
    project.edit("web/Dockerfile", "COPY page /page", "COPY page /page\nRUN sleep 60");
    let before = project.commit();
    let mut server = Server::start(&project);
    server.deliver(&push(&"0".repeat(40), &before, &[]));
    server.wait("/runs/1", |run| run["done"].as_u64() >= Some(1));
    server.running.signal("TERM");
    server.running.end().exits(0).says(&["stopping"]);
    project.edit("web/Dockerfile", "RUN sleep 60", "RUN sleep 0");
    let server = Server::start(&project);
    let run = server.ended(2);
    assert_eq!(run["state"], "succeeded", "{run:#}");
    assert_eq!(server.json("/runs/1")["state"], "superseded");
    assert_eq!(server.json("/deliveries")["deliveries"][0]["runs"], json!([1, 2]));
}

#[test]
fn a_run_ends_with_its_killed_server() {
    let project = Project::new();
    project.edit("web/Dockerfile", "COPY page /page", "COPY page /page\nRUN sleep 60");
    let before = project.commit();
    let mut server = Server::start(&project);
    server.deliver(&push(&"0".repeat(40), &before, &[]));
    server.wait("/runs/1", |run| run["done"].as_u64() >= Some(1));
    server.running.signal("KILL");
    // The lock of the run is free again.
    project.edit("web/Dockerfile", "RUN sleep 60", "RUN sleep 0");
    project.rebuild("run --wait 20s").run().exits(0);
}

#[test]
#[ignore = "slow: CONTRIBUTING.md"]
fn a_run_that_is_killed_starts_again() {
    let project = Project::new();
    project.edit("web/Dockerfile", "COPY page /page", "COPY page /page\nRUN sleep 60");
    let before = project.commit();
    let server = Server::start(&project);
    server.deliver(&push(&"0".repeat(40), &before, &[]));
    server.wait("/runs/1", |run| run["done"].as_u64() >= Some(1));
    let file = project.path("hierarchy.yaml").canonicalize().unwrap().display().to_string();
    let is_of_run = |command: &[u8]| {
        let command = String::from_utf8_lossy(command);
        command.contains("--for-server") && command.contains(&file)
    };
    let processes = fs::read_dir("/proc").unwrap().flatten();
    let run = processes
        .map(|process| process.path())
        .find(|process| fs::read(process.join("cmdline")).is_ok_and(|it| is_of_run(&it)))
        .expect("the process of the run");
    let run = run.file_name().unwrap().to_str().unwrap().to_owned();
    assert!(Command::new("kill").args(["-KILL", &run]).status().unwrap().success());
    assert_eq!(server.ended(1)["result"], "the process of the run was killed");
    project.edit("web/Dockerfile", "RUN sleep 60", "RUN sleep 0");
    assert_eq!(server.ended(2)["state"], "succeeded");
    assert_eq!(server.json("/deliveries")["deliveries"][0]["runs"], json!([1, 2]));
}

#[test]
fn a_damaged_database_is_set_aside_and_past_runs_come_from_their_records() {
    let project = Project::of_files();
    let registry = Registry::start();
    project.rebuilt(Place::Registry(&registry));
    let arguments = format!("--registry {}/demo", registry.host());
    let mut server = Server::with(&project, &arguments);
    server.running.signal("TERM");
    server.running.end().exits(0);
    let database = project.path("../serve/serve.db");
    fs::write(&database, b"this is not a database, and longer than a header of SQLite").unwrap();
    let server = Server::with(&project, &arguments);
    let page =
        server.wait("/h/project", |page| page["runs"].as_array().is_some_and(|it| it.len() == 1));
    assert_eq!(page["runs"][0]["state"], "succeeded", "{page:#}");
    let aside = fs::read_dir(project.path("../serve")).unwrap().flatten();
    let aside: Vec<_> =
        aside.filter(|it| it.file_name().to_string_lossy().contains("damaged")).collect();
    assert_eq!(aside.len(), 1);
}
