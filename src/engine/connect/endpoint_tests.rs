use std::{collections::BTreeMap, fs, path::Path};

use super::*;
use crate::image::Digest;

/// The endpoint, or the error, as one line.
fn find(given: Option<&str>, variables: &[(&str, &str)]) -> String {
    let variables: BTreeMap<_, _> = variables.iter().copied().collect();
    let environment = |name: &str| variables.get(name).map(|value| (*value).to_owned());
    match Endpoint::find(given, &environment) {
        Ok(endpoint) => {
            let kind = match &endpoint.address {
                EngineAddress::Unix(path) => format!("socket {}", path.display()),
                EngineAddress::Tcp { host, port } => format!("plain {host} {port}"),
                EngineAddress::Tls { host, port, .. } => format!("tls {host} {port}"),
                EngineAddress::Command(command) => command.join(" "),
            };
            format!("{endpoint}: {kind}")
        }
        Err(error) => error.to_string(),
    }
}

#[test]
fn addresses_are_read_as_docker_reads_them() {
    for (variables, expected) in [
        (&[][..], "unix:///var/run/docker.sock: socket /var/run/docker.sock"),
        (
            &[("DOCKER_HOST", "unix:///run/user/1/docker.sock")],
            "unix:///run/user/1/docker.sock (from `DOCKER_HOST`): socket /run/user/1/docker.sock",
        ),
        (&[("DOCKER_HOST", "tcp://box")], "tcp://box (from `DOCKER_HOST`): plain box 2375"),
        (
            &[("DOCKER_HOST", "http://[::1]:80")],
            "http://[::1]:80 (from `DOCKER_HOST`): plain ::1 80",
        ),
        (&[("DOCKER_HOST", "box:1234")], "box:1234 (from `DOCKER_HOST`): plain box 1234"),
        (
            &[("DOCKER_HOST", "tcp://box"), ("DOCKER_TLS_VERIFY", "1"), ("HOME", "/nowhere")],
            "tcp://box (from `DOCKER_HOST`): tls box 2376",
        ),
        (
            &[("DOCKER_TLS_VERIFY", "1"), ("HOME", "/nowhere")],
            "tcp://localhost:2376: tls localhost 2376",
        ),
        (
            &[("DOCKER_HOST", "tcp://box"), ("DOCKER_TLS", "1")],
            "cannot reach the Docker engine at tcp://box (from `DOCKER_HOST`): `DOCKER_TLS` alone \
             does not check who answers; set `DOCKER_TLS_VERIFY=1`",
        ),
        (
            &[("DOCKER_HOST", "npipe:////./pipe/docker")],
            "cannot reach the Docker engine at npipe:////./pipe/docker (from `DOCKER_HOST`): \
             `npipe://` is not supported; unix://, tcp:// and ssh:// are",
        ),
        (
            &[("DOCKER_HOST", "tcp://box/path")],
            "cannot reach the Docker engine at tcp://box/path (from `DOCKER_HOST`): an address \
             has no path, but this one ends in `/path`",
        ),
        (
            &[("DOCKER_HOST", "ssh://me@box")],
            "ssh://me@box (from `DOCKER_HOST`): ssh -o ConnectTimeout=30 -T -l me -- box docker \
             system dial-stdio",
        ),
    ] {
        assert_eq!(find(None, variables), expected);
    }
    assert_eq!(
        find(Some("tcp://given"), &[("DOCKER_HOST", "tcp://box")]),
        "tcp://given: plain given 2375"
    );
}

#[test]
fn a_password_is_never_shown() {
    for (url, shown) in [
        ("tcp://me:hunter2@box:1", "tcp://***@box:1 (from `DOCKER_HOST`): plain box 1"),
        ("https://hunter2@box", "https://***@box (from `DOCKER_HOST`): tls box 2376"),
        ("me:hunter2@box", "***@box (from `DOCKER_HOST`): plain box 2375"),
        (
            "ssh://me:hunter2@box",
            "cannot reach the Docker engine at ssh://me:***@box (from `DOCKER_HOST`): an ssh:// \
             address takes no password; use a key",
        ),
        (
            "tcp://me:pass/hunter2@box",
            "cannot reach the Docker engine at tcp://***@box (from `DOCKER_HOST`): ",
        ),
        (
            "me:hunter2@box://x",
            "cannot reach the Docker engine at me:hunter2@box://x (from `DOCKER_HOST`): it is not",
        ),
        (
            "npipe://me:hunter2@box",
            "cannot reach the Docker engine at npipe://***@box (from `DOCKER_HOST`): ",
        ),
    ] {
        let found = find(None, &[("DOCKER_HOST", url), ("HOME", "/nowhere")]);
        let expected = shown.replace("me:hunter2@box://x", "***@box://x");
        assert!(found.starts_with(&expected), "{url}: {found}");
        assert!(!found.contains("hunter2"), "{url}: {found}");
    }
}

#[test]
fn plain_tcp_to_another_machine_is_exposed() {
    for (url, is_exposed) in [
        ("tcp://box", true),
        ("tcp://10.0.0.1:2375", true),
        ("tcp://127.0.0.1:2375", false),
        ("http://[::1]:80", false),
        ("tcp://localhost:2375", false),
        ("https://box", false),
        ("ssh://box", false),
        ("unix:///run/x.sock", false),
    ] {
        let endpoint = Endpoint::find(Some(url), &|name| (name == "HOME").then(|| "/no".into()));
        assert_eq!(endpoint.unwrap().is_exposed(), is_exposed, "{url}");
    }
}

#[test]
fn contexts_count_after_docker_host() {
    let home = tempfile::tempdir().unwrap();
    let folder = home.path();
    let text = |path: &Path| path.to_str().unwrap().to_owned();
    let context = |name: &str, endpoint: &str| {
        let id = Digest::of(name.as_bytes());
        let meta = folder.join("contexts/meta").join(id.hex());
        fs::create_dir_all(&meta).unwrap();
        let json = format!(r#"{{"Name":"{name}","Metadata":{{}},"Endpoints":{{{endpoint}}}}}"#);
        fs::write(meta.join("meta.json"), json).unwrap();
    };
    fs::write(folder.join("config.json"), r#"{"auths":{},"currentContext":"far"}"#).unwrap();
    context("far", r#""docker":{"Host":"tcp://far:1","SkipTLSVerify":false}"#);
    context("lax", r#""docker":{"Host":"tcp://lax:1","SkipTLSVerify":true}"#);
    context("odd", "");
    let config = text(folder);
    for (variables, expected) in [
        (&[][..], "tcp://far:1 (docker context `far`): plain far 1"),
        (
            &[("DOCKER_CONTEXT", "default")],
            "unix:///var/run/docker.sock: socket /var/run/docker.sock",
        ),
        (
            &[("DOCKER_CONTEXT", "far"), ("DOCKER_HOST", "tcp://box")],
            "tcp://box (from `DOCKER_HOST`): plain box 2375",
        ),
        (
            &[("DOCKER_CONTEXT", "nix")],
            "cannot reach the Docker engine at docker context `nix`: there is no such context; \
             `docker context ls` lists them",
        ),
        (
            &[("DOCKER_CONTEXT", "odd")],
            "cannot reach the Docker engine at docker context `odd`: it names no docker endpoint",
        ),
        (
            &[("DOCKER_CONTEXT", "lax")],
            "cannot reach the Docker engine at docker context `lax`: it skips the TLS check of \
             who answers, which `rebuild` does not do; give the context a `ca`",
        ),
    ] {
        let mut variables = variables.to_vec();
        variables.push(("DOCKER_CONFIG", &config));
        assert_eq!(find(None, &variables), expected);
    }
}
