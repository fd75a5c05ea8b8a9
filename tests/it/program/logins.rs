//! Credentials: from everywhere docker has them, found out to be wrong before the first build, and
//! never told to anybody.

use std::{env, fs};

use base64::prelude::{BASE64_STANDARD, Engine as _};
use serde_json::json;

use super::{EDGES, assert_edges_agree};
use crate::support::{
    project::{Place, Project},
    registry::{Registry, Setup},
    running::Start,
};

const USER: &str = "publisher";
/// In base64 it has both `+` and `/`, which the engine wants as `-` and `_`.
const PASSWORD: &str = "s3cr3t>>>???";

fn start() -> (Project, Registry) {
    let setup = Setup { login: Some((USER, PASSWORD)), ..Setup::default() };
    (Project::new(), Registry::with(&setup))
}

fn encoded(password: &str) -> String {
    BASE64_STANDARD.encode(format!("{USER}:{password}"))
}

/// Runs it, publishes with that, and looks for the password wherever something was written.
fn check(give: impl Fn(&Project, &Registry)) {
    check_with(give, |_, start| start);
}

fn check_with(
    give: impl Fn(&Project, &Registry),
    environment: impl for<'a> Fn(&Registry, Start<'a>) -> Start<'a>,
) {
    let (project, registry) = start();
    give(&project, &registry);
    let place = Place::Registry(&registry);
    for arguments in ["--progress json --verbose", "--progress plain --verbose --from ~os"] {
        let start = project.rebuild(arguments).to(place).env("REBUILD_LOG", "trace");
        let ended = environment(&registry, start).run().exits(0);
        ended.never_says(&[PASSWORD, &encoded(PASSWORD), "Authorization: Basic"]);
    }
    assert_edges_agree(&project, place, EDGES);
    for (node, log) in project.logs() {
        assert!(!log.contains(PASSWORD) && !log.contains(&encoded(PASSWORD)), "{node}: {log}");
    }
    for image in ["~os", "~app"] {
        let config = project.config(place, &format!("{image}:latest")).to_string();
        assert!(!config.contains(PASSWORD) && !config.contains(USER), "{config}");
    }
}

#[test]
fn from_config_json() {
    check(|project, registry| {
        let auths = json!({"auths": {registry.host(): {"auth": encoded(PASSWORD)}}});
        fs::write(project.docker_config().join("config.json"), auths.to_string()).unwrap();
    });
}

#[test]
fn from_a_credential_helper() {
    let (project, registry) = start();
    let helpers = project.path("helpers");
    let host = registry.host();
    let answer = json!({"ServerURL": host, "Username": USER, "Secret": PASSWORD}).to_string();
    let script = format!(
        "#!/bin/sh\nread host\ntest \"$1 $host\" = 'get {host}' || exit 1\necho '{answer}'\n"
    );
    project.write_script("helpers/docker-credential-it", &script);
    let config = json!({"credHelpers": {host: "it"}}).to_string();
    fs::write(project.docker_config().join("config.json"), config).unwrap();
    let path = env::join_paths(
        std::iter::once(helpers).chain(env::split_paths(&env::var_os("PATH").unwrap())),
    );

    let place = Place::Registry(&registry);
    let ended = project.rebuild("").to(place).env("PATH", path.unwrap()).run().exits(0);
    ended.never_says(&[PASSWORD, &encoded(PASSWORD)]);
    assert_edges_agree(&project, place, EDGES);
    // A helper that is not there is named, and not taken for nobody's having a password.
    let missing = project.rebuild("").to(place).run().exits(21);
    missing.says(&["`docker-credential-it`"]).never_says(&["building"]);
}

#[test]
fn from_the_environment() {
    check_with(
        |_, _| {},
        |registry, start| {
            let auths = json!({"auths": {registry.host(): {"auth": encoded(PASSWORD)}}});
            start.env("DOCKER_AUTH_CONFIG", auths.to_string())
        },
    );
}

#[test]
fn wrong_ones_are_found_out_before_the_first_build() {
    let (project, registry) = start();
    let place = Place::Registry(&registry);
    let config = project.docker_config().join("config.json");
    let none = "{}".to_owned();
    let wrong = json!({"auths": {registry.host(): {"auth": encoded("wr0ng!!")}}}).to_string();
    for text in [none, wrong] {
        fs::write(&config, &text).unwrap();
        let ended = project.rebuild("").to(place).run().exits(21);
        let ended = ended.says(&["error: ", registry.host(), "hint: "]);
        ended.never_says(&["building", "wr0ng!!", &encoded("wr0ng!!")]);
    }
    assert!(project.all_tags(place).is_empty());
}
