//! Where engines usually listen, and how to start one: for users who named no engine.

use std::path::{Path, PathBuf};

use super::Environment;

/// A socket on which an engine of that kind listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct UsualSocket {
    pub(super) engine: &'static str,
    pub(super) socket: PathBuf,
}

/// In the order in which they are tried.
pub(super) fn usual(environment: Environment) -> Vec<UsualSocket> {
    let folder = |variable: &str| environment(variable).map(PathBuf::from);
    let home = folder("HOME");
    let runtime = folder("XDG_RUNTIME_DIR");
    let colima = folder("COLIMA_HOME").or_else(|| home.as_ref().map(|home| home.join(".colima")));
    let root = Some(PathBuf::from("/"));
    let places = [
        ("Docker", &root, "var/run/docker.sock"),
        ("rootless Docker", &runtime, "docker.sock"),
        ("Docker Desktop", &home, ".docker/run/docker.sock"),
        ("Docker Desktop", &home, ".docker/desktop/docker.sock"),
        ("Colima", &colima, "default/docker.sock"),
        ("OrbStack", &home, ".orbstack/run/docker.sock"),
        ("Rancher Desktop", &home, ".rd/docker.sock"),
        ("podman", &root, "run/podman/podman.sock"),
        ("podman of this user", &runtime, "podman/podman.sock"),
    ];
    let place = |(engine, folder, path): (&'static str, &Option<PathBuf>, &str)| {
        Some(UsualSocket { engine, socket: folder.as_deref()?.join(path) })
    };
    places.into_iter().filter_map(place).collect()
}

/// What starts an engine on this system, by what is installed.
pub(super) fn how_to_start(os: &str, is_installed: &dyn Fn(&str) -> bool) -> String {
    let systemd = is_installed("systemctl");
    let known: &[(&str, &str)] = match (os, systemd) {
        ("macos", _) => &[
            ("colima", "colima start"),
            ("orb", "orb start"),
            ("rdctl", "rdctl start"),
            ("podman", "podman machine start"),
            ("docker", "open -a Docker"),
        ],
        (_, true) => &[
            ("dockerd", "sudo systemctl start docker"),
            ("podman", "systemctl --user start podman.socket"),
        ],
        (_, false) => &[("dockerd", "sudo dockerd"), ("podman", "podman system service --time 0")],
    };
    let commands: Vec<String> = known
        .iter()
        .filter(|(program, _)| is_installed(program))
        .map(|(_, command)| format!("`{command}`"))
        .collect();
    let start = if commands.is_empty() {
        "install Docker (https://docs.docker.com/engine/install) or podman, and start it".to_owned()
    } else {
        format!("start one: {}", commands.join(" or "))
    };
    format!("{start}; if an engine is elsewhere, set `DOCKER_HOST` or choose a `docker context`")
}

/// Whether a program is in `PATH`, or where administrators have theirs.
pub(super) fn is_installed(program: &str, environment: Environment) -> bool {
    let path = environment("PATH").unwrap_or_default();
    let mut folders = std::env::split_paths(&path).chain(["/usr/sbin", "/sbin"].map(PathBuf::from));
    folders.any(|folder: PathBuf| Path::is_file(&folder.join(program)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_engine_is_looked_for_where_it_listens() {
        let variables = |name: &str| match name {
            "HOME" => Some("/h".to_owned()),
            "XDG_RUNTIME_DIR" => Some("/r".to_owned()),
            _ => None,
        };
        let sockets: Vec<_> =
            usual(&variables).iter().map(|place| place.socket.display().to_string()).collect();
        assert_eq!(
            sockets,
            [
                "/var/run/docker.sock",
                "/r/docker.sock",
                "/h/.docker/run/docker.sock",
                "/h/.docker/desktop/docker.sock",
                "/h/.colima/default/docker.sock",
                "/h/.orbstack/run/docker.sock",
                "/h/.rd/docker.sock",
                "/run/podman/podman.sock",
                "/r/podman/podman.sock",
            ]
        );
        let colima = |name: &str| (name == "COLIMA_HOME").then(|| "/c".to_owned());
        let sockets: Vec<_> = usual(&colima).into_iter().map(|place| place.socket).collect();
        let expected =
            ["/var/run/docker.sock", "/c/default/docker.sock", "/run/podman/podman.sock"];
        assert_eq!(sockets, expected.map(PathBuf::from));
    }

    #[test]
    fn the_command_is_that_of_this_system() {
        for (os, installed, expected) in [
            ("linux", &["systemctl", "dockerd"][..], "start one: `sudo systemctl start docker`; "),
            ("linux", &["dockerd"], "start one: `sudo dockerd`; "),
            ("linux", &["podman"], "start one: `podman system service --time 0`; "),
            (
                "linux",
                &["systemctl", "dockerd", "podman"],
                "start one: `sudo systemctl start docker` or `systemctl --user start podman.socket`; ",
            ),
            ("linux", &["docker"], "install Docker ("),
            ("macos", &["docker", "colima"], "start one: `colima start` or `open -a Docker`; "),
            ("macos", &["podman"], "start one: `podman machine start`; "),
            ("macos", &[], "install Docker ("),
        ] {
            let told = how_to_start(os, &|program| installed.contains(&program));
            assert!(told.starts_with(expected), "{os} {installed:?}: {told}");
        }
    }
}
