//! A `buildkitd` without Docker: it builds and pushes by digest, and another engine tests.

use std::fs;

use serde_json::{Value, json};

use crate::support::{
    buildkitd::Buildkitd,
    certificates::Authority,
    project::{HIERARCHY, Place, Project},
    registry::{Registry, Setup},
};

/// The engine of a step that began.
fn engines(events: &[Value]) -> Vec<&str> {
    let started = events.iter().filter(|event| event["event"] == "step-started");
    started.map(|event| event["engine"].as_str().unwrap()).collect()
}

/// Builds natively on buildkitd only; the engine runs the tests.
fn with_engine(project: &Project, buildkitd: &Buildkitd) {
    let engine = project.engine();
    let engines = format!(
        "engines:\n  - {}\n  - {{ url: \"{engine}\", platforms: [linux/s390x], emulate: true }}\n",
        buildkitd.address()
    );
    let text = HIERARCHY.replace("images:\n", &format!("{engines}images:\n"));
    project.write("hierarchy.yaml", &text);
}

#[test]
fn an_image_has_no_tag_before_another_engine_has_tested_it() {
    let (project, registry) = (Project::new(), Registry::start());
    let Some(buildkitd) = Buildkitd::start(&project) else { return };
    let place = Place::Registry(&registry);
    with_engine(&project, &buildkitd);
    let ended = project.rebuild("--progress json").to(place).run().exits(0);
    let events = ended.events();
    let engines = engines(&events);
    assert_eq!(engines.len(), 4, "{ended}");
    assert!(engines.iter().all(|engine| engine.starts_with("buildkitd+unix://")), "{engines:?}");
    assert_eq!(project.tags(place).len(), 5);
    project.rebuild("plan --exit-code").to(place).run().exits(0);
    assert_eq!(project.under_way(), [""; 0]);

    let before = project.all_tags(place);
    project.edit("hierarchy.yaml", "run: [cat, /page]", "run: [cat, /none]");
    project.rebuild("").to(place).run().exits(11).says(&["~app: test failed"]);
    assert_eq!(project.all_tags(place), before);

    // One image changes, and its child.
    project.edit("hierarchy.yaml", "run: [cat, /none]", "run: [cat, /page]");
    project.write("web/page", "two\n");
    let ended = project.rebuild("").to(place).run().exits(0);
    assert!(ended.result().contains("2 built"), "{ended}");
    assert_eq!(project.tags(place)["~os:1"], before["~os:1"]);
    project.rebuild("plan --exit-code").to(place).run().exits(0);
}

#[test]
fn without_another_engine_images_have_no_tests() {
    let (project, registry) = (Project::of_files(), Registry::start());
    let Some(buildkitd) = Buildkitd::start(&project) else { return };
    let place = Place::Registry(&registry);
    let only = format!("--engine {}", buildkitd.address());
    project.rebuild(&only).to(place).run().exits(0);
    assert_eq!(project.tags(place).len(), 5);
    project.write("app/page", "~app two\n");
    let ended = project.rebuild(&only).to(place).run().exits(0);
    assert!(ended.result().contains("1 built"), "{ended}");
    project.rebuild(&format!("{only} plan --exit-code")).to(place).run().exits(0);

    project.rebuild(&only).run().exits(2).says(&["needs a registry"]);
    project.write("app/page", "~app three\n");
    let no_push = project.rebuild(&format!("{only} --no-push")).to(place).run();
    no_push.exits(2).says(&["`--no-push` needs a Docker or podman engine"]);
    project.write("hierarchy.yaml", HIERARCHY);
    let ended = project.rebuild(&only).to(place).run().exits(20);
    ended.says(&["`~app` has tests", "add a Docker or podman engine"]);
}

#[test]
fn logins_pass_through_the_session() {
    let project = Project::of_files();
    let Some(buildkitd) = Buildkitd::start(&project) else { return };
    let registry = Registry::with(&Setup { login: Some(("me", "p+ss/w:rd")), ..Setup::default() });
    let login = json!({ "username": "me", "password": "p+ss/w:rd" });
    let config = json!({ "auths": { registry.host(): login } });
    fs::write(project.docker_config().join("config.json"), config.to_string()).unwrap();
    let place = Place::Registry(&registry);
    project.rebuild(&format!("--engine {}", buildkitd.address())).to(place).run().exits(0);
    assert_eq!(project.tags(place).len(), 5);
}

#[test]
fn a_build_that_fails_names_its_line_and_its_base() {
    let (project, registry) = (Project::new(), Registry::start());
    let Some(buildkitd) = Buildkitd::start(&project) else { return };
    with_engine(&project, &buildkitd);
    project.write("web/Dockerfile", "FROM ~os:1\nCOPY page /page\nRUN exit 7\n");
    let ended = project.rebuild("").to(Place::Registry(&registry)).run().exits(10);
    ended
        .says(&["web/Dockerfile:3", "ended with exit code 7"])
        .never_says(&["rebuild.invalid", "@sha256:"]);
    assert_eq!(project.tags(Place::Registry(&registry)).len(), 0);
}

#[test]
fn a_port_with_tls_gets_the_certificate_of_the_client() {
    let (project, registry) = (Project::of_files(), Registry::start());
    let Some(buildkitd) = Buildkitd::start(&project) else { return };
    let authority = Authority::new();
    let [server, client] =
        ["IP:127.0.0.1", "DNS:client"].map(|name| authority.issue(name, "20200101", "20491231"));
    let address = buildkitd.tls_address(&authority, &server);
    let folder = project.path("../certificates");
    fs::create_dir(&folder).unwrap();
    fs::copy(authority.root(), folder.join("ca.pem")).unwrap();
    let run = || {
        let run = project.rebuild(&format!("--engine {address}")).to(Place::Registry(&registry));
        run.env("DOCKER_TLS_VERIFY", "1").env("DOCKER_CERT_PATH", &folder).run()
    };
    run().exits(20).says(&["TLS", "`DOCKER_CERT_PATH`"]);
    fs::copy(client.certificate, folder.join("cert.pem")).unwrap();
    fs::copy(client.key, folder.join("key.pem")).unwrap();
    run().exits(0);
    assert_eq!(project.tags(Place::Registry(&registry)).len(), 5);
}
