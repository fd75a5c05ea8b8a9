//! What is missing before anything begins: an engine, a registry, a hierarchy, the lock.

use std::{
    fs,
    os::unix::{
        fs::{MetadataExt as _, symlink},
        net::UnixListener,
    },
    time::{Duration, Instant},
};

use super::{EDGES, assert_edges_agree};
use crate::support::{
    missing,
    project::{Place, Project},
    registry::Registry,
};

#[test]
fn no_engine() {
    let project = Project::new();
    for (host, why) in [
        (
            "unix:///nonexistent/docker.sock",
            "there is no such socket; is the docker daemon running?",
        ),
        ("tcp://127.0.0.1:1", "nobody listens there; is the docker daemon running?"),
    ] {
        for command in ["", "plan"] {
            let ended = project.rebuild(command).env("DOCKER_HOST", host).run().exits(20);
            assert!(ended.stderr.starts_with("error: "), "{ended}");
            assert_eq!(ended.stderr.lines().count(), 1, "{ended}");
            let ended = ended.says(&[host, why]);
            assert_eq!(ended.stdout, "");
        }
    }
}

/// A socket where podman of this user would listen, another that hangs, and none at all.
#[test]
fn an_engine_is_found_where_it_listens() {
    let project = Project::pair();
    let Some(engine) = project.engine().strip_prefix("unix://") else { return };
    let home = project.path("home");
    fs::create_dir_all(home.join("podman")).unwrap();
    let rebuild = |command: &str| {
        let run = project.rebuild(command).env("DOCKER_HOST", "").env("DOCKER_CONTEXT", "");
        run.env("HOME", &home).env("XDG_RUNTIME_DIR", &home)
    };
    let hanging = UnixListener::bind(home.join("docker.sock")).unwrap();
    symlink(engine, home.join("podman/podman.sock")).unwrap();
    let began = Instant::now();
    let doctor = rebuild("doctor").run().exits(0);
    assert!(began.elapsed() < Duration::from_secs(30), "{:?}", began.elapsed());
    for line in [
        "(rootless Docker): not used, no answer within 5 seconds",
        "(podman of this user): answers, not used",
    ] {
        assert!(doctor.stdout.contains(line), "{doctor}");
    }
    drop(hanging);
    // A named engine is the only one that is asked, also if it hangs.
    let named = home.join("named.sock");
    let _named = UnixListener::bind(&named).unwrap();
    let ended = rebuild("plan").env("DOCKER_HOST", format!("unix://{}", named.display())).run();
    ended
        .exits(20)
        .says(&["named.sock (from `DOCKER_HOST`) hangs: no answer within 20 seconds, twice"]);
}

/// Each place is told with its reason, and the command that starts an engine.
#[test]
fn without_any_engine_every_place_is_told() {
    let project = Project::pair();
    // In a mount namespace without the sockets of this machine, which only root may have.
    let alone = "unshare -m sh -c 'mount -t tmpfs none /run && exec \"$0\" plan' \"$REBUILD\"";
    if fs::metadata("/proc/self").unwrap().uid() != 0 {
        missing("only root may mount");
    }
    let run = project.shell(&project.path(""), alone).env("DOCKER_HOST", "");
    let ended =
        run.env("HOME", project.path("")).env("XDG_RUNTIME_DIR", "/run/user/7").run().exits(20);
    ended.says(&[
        "error: no engine answers\n  unix:///var/run/docker.sock (Docker): there is no such socket\n",
        "  unix:///run/user/7/docker.sock (rootless Docker): there is no such socket\n",
        "/.colima/default/docker.sock (Colima): there is no such socket\n",
        "  unix:///run/podman/podman.sock (podman): there is no such socket\n",
        "  hint: ",
        "set `DOCKER_HOST` or choose a `docker context`",
    ]);
}

#[test]
fn no_registry() {
    let project = Project::new();
    for arguments in ["", "plan"] {
        let arguments = format!("--registry 127.0.0.1:1/demo {arguments}");
        let ended = project.rebuild(&arguments).run().exits(21);
        assert!(ended.stderr.starts_with("error: "), "{ended}");
        ended.says(&["127.0.0.1:1"]).never_says(&["building"]);
    }
    assert!(project.all_tags(Place::Engine).is_empty());
    let hint = "`--no-registry` uses the images in the engine instead";
    for arguments in ["--local", "status", "why ~app", "plan"] {
        let ended = project.rebuild(&format!("--registry 127.0.0.1:1/demo {arguments}")).run();
        ended.exits(21).says(&[hint]);
    }
    // A run that publishes needs its registry.
    project.rebuild("--registry 127.0.0.1:1/demo").run().exits(21).never_says(&[hint]);
}

#[test]
fn an_invalid_hierarchy_is_told_with_its_places() {
    let project = Project::new();
    project.edit("hierarchy.yaml", "~app: { context: app,", "~app: { contxt: app,");
    project.edit("os/Dockerfile", "FROM scratch", "FROM ~app");
    let ended = project.rebuild("").run().exits(2);
    // Both the wrong word and the ring, each with its file and line.
    ended.says(&["contxt", "did you mean `context`?", "hierarchy.yaml:5:"]);
    project.edit("hierarchy.yaml", "contxt", "context");
    project.rebuild("").run().exits(2).says(&[
        "os/Dockerfile:1:",
        "web/Dockerfile:1:",
        "app/Dockerfile:1:",
    ]);

    fs::remove_file(project.path("hierarchy.yaml")).unwrap();
    project.rebuild("").run().exits(2).says(&["error: no hierarchy.yaml in `", "  hint: "]);
    project.rebuild("--no-such-flag").run().exits(2).says(&["--no-such-flag"]);
}

#[test]
fn the_second_run_on_one_place_leaves_it_to_the_first() {
    let project = Project::new();
    // It waits until the test lets it go on.
    let gate = project.path("gate");
    let fields = "{ context: tool, prepare: [./wait.sh] }";
    project.edit("hierarchy.yaml", "{ context: tool }", fields);
    let script = format!(
        "#!/bin/sh\necho waiting\nuntil test -e '{}'; do sleep 0.05; done\n",
        gate.display()
    );
    project.write_script("tool/wait.sh", &script);

    let mut first = project.rebuild("--progress json").start();
    first.wait_for("waiting");
    let id = first.id();
    let second =
        project.rebuild("").run().exits(75).says(&["another run is publishing to ", "  hint: "]);
    second.says(&[&format!("process {id}")]);
    // What publishes nothing needs no lock.
    project.rebuild("plan").run().exits(0);
    fs::write(gate, "").unwrap();
    first.end().exits(0);
    assert_edges_agree(&project, Place::Engine, EDGES);
}

#[test]
fn a_read_only_registry_is_found_out_before_the_first_build() {
    let setup = crate::support::registry::Setup { read_only: true, ..Default::default() };
    let (project, registry) = (Project::new(), Registry::with(&setup));
    let ended = project.rebuild("").to(Place::Registry(&registry)).run().exits(21);
    ended.never_says(&["building"]);
}
