//! `rebuild doctor`: each thing that a run needs, and what is wrong with it.

use std::{
    fs,
    io::{BufRead as _, BufReader, Write as _},
    net::TcpListener,
    os::unix::fs::PermissionsExt as _,
    thread,
};

use serde_json::Value;

use crate::support::{
    gate::{Gate, Pass},
    project::{Place, Project},
    registry::{Registry, Setup},
    running::Ended,
};

const PASSWORD: &str = "s3cr3t>>>???";

/// The lines about one thing, `level message`.
fn about(ended: &Ended, what: &str) -> Vec<String> {
    let lines = ended.stdout.lines().filter_map(|line| {
        let (level, rest) = line.split_once(' ')?;
        let (found, message) = rest.trim_start().split_once(' ')?;
        (found == what).then(|| format!("{level} {}", message.trim_start()))
    });
    lines.collect()
}

#[test]
fn a_machine_without_a_hierarchy() {
    let project = Project::empty();
    let ended = project.rebuild("doctor").run().exits(0);
    let [hierarchy] = &about(&ended, "hierarchy")[..] else { panic!("{ended}") };
    assert!(hierarchy.starts_with("ok none in `"), "{ended}");
    let version = crate::support::project::docker(&["version", "--format", "{{.Server.Version}}"]);
    let [engine] = &about(&ended, "engine")[..] else { panic!("{ended}") };
    assert!(engine.starts_with(&format!("ok {} at ", version.unwrap().trim())), "{ended}");
    assert!(about(&ended, "registry").is_empty() && about(&ended, "push").is_empty(), "{ended}");
    for part in ["moby", "containerd", "runc"] {
        let [part] = &about(&ended, part)[..] else { panic!("{part}: {ended}") };
        assert!(part.contains("/security/advisories"), "{ended}");
    }
    assert_eq!(ended.stderr, "");

    let [capabilities] = &about(&ended, "capabilities")[..] else { panic!("{ended}") };
    assert!(capabilities.contains("healthcheck") && capabilities.contains("sizes: "), "{ended}");
}

#[test]
fn no_engine_is_the_first_problem() {
    let project = Project::new();
    let ended = project.rebuild("doctor").env("DOCKER_HOST", "unix:///nowhere/at/all").run();
    let ended = ended.exits(20);
    assert!(about(&ended, "hierarchy")[0].contains("4 images, in the engine only"), "{ended}");
    assert!(about(&ended, "engine")[0].starts_with("problem cannot reach the Docker engine"));
    let [place] = &about(&ended, "place")[..] else { panic!("{ended}") };
    assert!(place.starts_with("warning unix:///nowhere/at/all"), "{ended}");
    assert_eq!(ended.stdout.matches("there is no such socket").count(), 1, "{ended}");

    project.edit("hierarchy.yaml", "version: 1", "version: 2");
    let ended = project.rebuild("doctor --format json").run().exits(2);
    let json: Value = serde_json::from_str(&ended.stdout).unwrap();
    assert_eq!((&json["v"], &json["exit"]), (&1.into(), &"usage".into()), "{ended}");
    assert_eq!(json["checks"][0]["what"], "hierarchy");
    assert_eq!(json["checks"][0]["level"], "problem");
}

#[test]
fn each_engine_of_a_pool_is_checked() {
    let project = Project::new();
    let engines = format!("--engine {} --engine unix:///nowhere.sock", project.engine());
    let ended = project.rebuild(&format!("doctor {engines}")).run().exits(20);
    let [here, missing] = &about(&ended, "engine")[..] else { panic!("{ended}") };
    assert!(here.starts_with("ok ") && here.contains(project.engine()), "{ended}");
    assert!(missing.starts_with("problem cannot reach the Docker engine at unix:///nowhere.sock"));
    assert_eq!(about(&ended, "place"), [""; 0]);
}

#[test]
fn logins_are_tried_and_never_shown() {
    let setup = Setup { login: Some(("me", PASSWORD)), ..Setup::default() };
    let (project, registry) = (Project::new(), Registry::with(&setup));
    let place = Place::Registry(&registry);
    let config = project.docker_config().join("config.json");
    let login = |password| fs::copy(registry.docker_config("me", password), &config).unwrap();

    let none = project.rebuild("doctor").to(place).run().exits(21);
    assert_eq!(about(&none, "credentials"), [format!("ok none for {}", registry.host())]);
    assert!(
        about(&none, "registry")[0].contains("it requires a login, and none is configured"),
        "{none}"
    );
    assert!(none.stdout.contains(&format!("hint: log in with `docker login {}`", registry.host())));

    login("wrong");
    let wrong = project.rebuild("doctor").to(place).run().exits(21);
    assert!(about(&wrong, "registry")[0].starts_with("problem "), "{wrong}");
    assert!(about(&wrong, "push").is_empty(), "{wrong}");

    login(PASSWORD);
    let good = project.rebuild("doctor").to(place).run().exits(0).never_says(&[PASSWORD]);
    let host = registry.host();
    let from = format!("ok for {host} from `{}`", config.display());
    assert_eq!(about(&good, "credentials"), [from]);
    assert_eq!(about(&good, "registry"), [format!("ok {host} answers")]);
    assert_eq!(about(&good, "push"), [format!("ok allowed to 4 repositories of {host}")]);
    assert_eq!(about(&good, "clock"), [format!("ok as that of {host}")]);
    assert_eq!(registry.open_uploads("demo/os"), 0, "it leaves nothing behind");
    assert!(registry.repositories().is_empty());

    // A helper that is named and is not there, and one that works.
    fs::write(&config, r#"{"credsStore": "none-such"}"#).unwrap();
    let broken = project.rebuild("doctor").to(place).run().exits(21);
    assert!(about(&broken, "credentials")[0].contains("`docker-credential-none-such`"), "{broken}");
    let helper = project.path("docker-credential-mine");
    let answer = format!("{{\"Username\":\"me\",\"Secret\":\"{PASSWORD}\"}}");
    fs::write(&helper, format!("#!/bin/sh\necho '{answer}'\n")).unwrap();
    fs::set_permissions(&helper, fs::Permissions::from_mode(0o755)).unwrap();
    fs::write(&config, r#"{"credsStore": "mine"}"#).unwrap();
    let path = format!("{}:{}", project.path("").display(), std::env::var("PATH").unwrap());
    let with_helper = project.rebuild("doctor").to(place).env("PATH", path).run().exits(0);
    assert_eq!(
        about(&with_helper, "credentials"),
        [format!("ok for {host} from the helper `docker-credential-mine`")]
    );
    with_helper.never_says(&[PASSWORD]);
}

#[test]
fn a_registry_that_takes_nothing() {
    let setup = Setup { read_only: true, ..Setup::default() };
    let (project, registry) = (Project::new(), Registry::with(&setup));
    let ended = project.rebuild("doctor").to(Place::Registry(&registry)).run().exits(21);
    let [push] = &about(&ended, "push")[..] else { panic!("{ended}") };
    assert!(push.starts_with("problem ") && push.ends_with("(and 3 more)"), "{ended}");
    let ended = project.rebuild("doctor --registry 127.0.0.1:1/demo").run().exits(21);
    assert!(about(&ended, "registry")[0].contains("connection refused"), "{ended}");
    project.rebuild("doctor --registry 127.0.0.1:1/demo --offline").run().exits(0);
    project.edit("hierarchy.yaml", "version: 1\n", "version: 1\nregistry: 127.0.0.1:1/demo\n");
    project.rebuild("doctor").run().exits(21);
    let ended = project.rebuild("doctor --no-registry").run().exits(0);
    assert!(about(&ended, "hierarchy")[0].contains("in the engine only"), "{ended}");
}

/// A registry in another time: it says yes to everything.
fn registry_at(date: &'static str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let host = listener.local_addr().unwrap().to_string();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            let mut reader = BufReader::new(stream.try_clone().unwrap());
            let mut first = String::new();
            _ = reader.read_line(&mut first);
            let mut line = String::new();
            while reader.read_line(&mut line).is_ok_and(|n| n > 2) {
                line.clear();
            }
            let status = if first.starts_with("POST") { "202 Accepted" } else { "200 OK" };
            _ = write!(
                stream,
                "HTTP/1.1 {status}\r\nDate: {date}\r\nLocation: /v2/upload\r\n\
                 Content-Length: 0\r\nConnection: close\r\n\r\n"
            );
        }
    });
    host
}

#[test]
fn a_clock_that_is_wrong_is_a_warning() {
    let project = Project::new();
    for (date, expected) in [
        ("Wed, 01 Jan 2020 00:00:00 GMT", " seconds ahead of that of "),
        ("Fri, 01 Jan 2100 00:00:00 GMT", " seconds behind that of "),
    ] {
        let host = registry_at(date);
        let ended = project.rebuild(&format!("doctor --registry {host}/demo")).run().exits(0);
        let [clock] = &about(&ended, "clock")[..] else { panic!("{ended}") };
        assert!(clock.starts_with("warning ") && clock.contains(expected), "{ended}");
    }
}

#[test]
fn a_state_folder_that_cannot_be_written_and_a_promotion_that_was_cut_off() {
    let project = Project::pair();
    let doctor = || project.rebuild("doctor");
    let ended = doctor().env("XDG_STATE_HOME", "/dev/null/state").run().exits(1);
    assert!(ended.stdout.contains("problem  state "), "{ended}");
    assert!(ended.stdout.contains("cannot write `/dev/null/state/rebuild`"), "{ended}");

    let registry = Registry::start();
    let gate = Gate::before(registry.host());
    // Empty is not set, as CI systems have it.
    project.rebuild("plan").env("REBUILD_REGISTRY", "").run().exits(0);
    let to = format!("{}/demo", gate.host());
    let rebuild = |arguments: &str| project.rebuild(arguments).env("REBUILD_REGISTRY", &to);
    gate.after_tags(1, Pass::Held);
    let mut run = rebuild("").start();
    gate.wait_until_held();
    run.signal("KILL").end();
    gate.rule(|_, _| Pass::Through);
    let said = "was cut off while it moved tags";
    let ended = rebuild("doctor").run().exits(0);
    assert!(ended.stdout.contains(said), "{ended}");
    for command in ["plan", "status", "gc", "rollback --dry-run"] {
        rebuild(command).run().exits(0).says(&[said]);
    }
    rebuild("").run().exits(0);
    assert!(!rebuild("doctor").run().exits(0).stdout.contains(said));
}
