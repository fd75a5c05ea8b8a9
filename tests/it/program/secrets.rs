//! Secrets reach the build that names them and nothing else: promise I11.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use rebuild::engine::Capability;

use super::everywhere_of_files;
use crate::support::{
    engine::lacks,
    is_installed, missing,
    project::{Place, Project, docker},
    running::Ended,
};

const VALUE: &str = "correct-horse-battery";
const KEY: &str = "-----BEGIN KEY-----\nQUJDREVGR0hJSktMTU5PUA\nq7#S\n-----END KEY-----\n";
const LINES: [&str; 4] = ["correct-horse", "QUJDREVGR0hJ", "q7#S", "BEGIN KEY"];

const HIERARCHY: &str = "\
version: 1
images:
  ~os: { context: os }
  ~app:
    context: app
    secrets: { token: { env: APP_TOKEN }, key: { file: keys/deploy.pem } }
";

/// It uses both, and prints them, as a careless tool does: whole, in pieces, and among other text.
const APP: &str = "\
FROM ~os
RUN --mount=type=secret,id=token --mount=type=secret,id=key,target=/key \
 sha256sum </run/secrets/token >/sums && sha256sum </key >>/sums && \
 cat /run/secrets/token /key && echo \"url=https://$(cat /run/secrets/token)@host/\" && \
 head -c 14 /run/secrets/token && sleep 0.2 && tail -c +15 /run/secrets/token && echo && env
";

fn project() -> Project {
    let project = Project::empty();
    project.write("hierarchy.yaml", HIERARCHY);
    project.write_os();
    project.write("app/Dockerfile", APP);
    project.write("keys/deploy.pem", KEY);
    project
}

/// Oracle: what the shell's own `sha256sum` makes of it.
fn sum(text: &str) -> String {
    rebuild::image::Digest::of(text.as_bytes()).hex().to_owned()
}

/// Everything that a run leaves on the disk.
fn files_below(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(folder) else { return vec![] };
    let each = entries.flatten().map(|entry| entry.path());
    each.flat_map(|path| if path.is_dir() { files_below(&path) } else { vec![path] }).collect()
}

#[track_caller]
fn assert_clean(what: &str, bytes: &[u8]) {
    for line in LINES {
        let found = bytes.windows(line.len()).position(|window| window == line.as_bytes());
        let around = |at: usize| {
            let part = &bytes[at.saturating_sub(200)..(at + 200).min(bytes.len())];
            String::from_utf8_lossy(part).into_owned()
        };
        assert!(found.is_none(), "{what} has {line:?}: {:?}", found.map(around));
    }
}

/// Output, logs and whatever else is in the state folder, the engine's view of the image, its layers.
#[track_caller]
fn assert_secret(project: &Project, place: Place<'_>, ended: &Ended) {
    assert_clean("the output", ended.to_string().as_bytes());
    let kept = files_below(&project.state());
    assert!(kept.iter().any(|path| path.ends_with("runs") || path.extension().is_some()));
    for path in kept {
        assert_clean(&path.display().to_string(), &fs::read(&path).unwrap());
    }
    assert_clean("the labels", project.config(place, "~app:latest").to_string().as_bytes());
    let name = project.name("~app:latest");
    let name = match place {
        Place::Engine => name,
        Place::Registry(registry) => format!("{}/demo/{name}", registry.host()),
    };
    _ = docker(&["pull", "--quiet", &name]);
    for arguments in [&["history", "--no-trunc"][..], &["inspect"]] {
        let arguments = [arguments, &[name.as_str()]].concat();
        assert_clean(&arguments.join(" "), docker(&arguments).unwrap().as_bytes());
    }
    let saved = Command::new("docker").args(["save", &name]).output().unwrap().stdout;
    assert!(saved.len() > 1 << 20);
    assert_clean("a layer", &saved);
}

#[test]
fn a_build_gets_its_secrets_and_they_are_found_nowhere() {
    if lacks(Capability::Secrets) {
        return;
    }
    everywhere_of_files(|_, place| {
        // What is shown does not depend on where it is published.
        let shown: &[&str] = match place {
            Place::Engine => &["plain --verbose", "json", "tty --verbose", "quiet"],
            Place::Registry(_) => &["plain --verbose"],
        };
        for progress in shown {
            let project = project();
            let run = |arguments: &str| {
                let arguments = format!("--builder buildkit --progress {arguments}");
                let start = project.rebuild(&arguments).env("APP_TOKEN", VALUE).to(place);
                start.env("REBUILD_LOG", "trace").run()
            };
            let ended = run(progress).exits(0);
            assert_secret(&project, place, &ended);
            let log = &project.logs()["~app"];
            for line in ["***\n", "url=https://***@host/\n"] {
                assert!(log.contains(line), "{line:?}: {log}");
            }
            if *progress == "plain --verbose" {
                ended.says(&["url=https://***@host/"]);
            }
            if matches!(place, Place::Engine) {
                let sums = project.output_in("~app", &["cut", "-c", "1-64", "/sums"]);
                assert_eq!(sums, format!("{}\n{}\n", sum(VALUE), sum(KEY)));
            }

            // Another value is no reason to build; another secret is.
            let other = project.rebuild("").env("APP_TOKEN", "another value").to(place).run();
            let other = other.exits(0);
            assert_eq!(other.result(), "nothing to do: all 2 images are up to date", "{other}");
            project.edit("hierarchy.yaml", "{ token", "{ more: { env: MORE }, token");
            let planned = project.rebuild("plan").to(place).run().exits(0);
            assert!(planned.stdout.contains("secret `more` is new"), "{}", planned.stdout);
        }
    });
}

#[test]
fn a_failed_build_tells_no_secret() {
    if lacks(Capability::Secrets) {
        return;
    }
    let project = project();
    project.write(
        "app/Dockerfile",
        "FROM ~os\nRUN --mount=type=secret,id=token cat /run/secrets/token >&2; exit 3\n",
    );
    for progress in ["plain", "json"] {
        let arguments = format!("--builder buildkit --progress {progress}");
        let ended = project.rebuild(&arguments).env("APP_TOKEN", VALUE).run().exits(10);
        assert_clean("the output", ended.to_string().as_bytes());
        assert!(ended.to_string().contains("***"), "{ended}");
        assert_clean("the log", project.logs()["~app"].as_bytes());
    }
}

#[test]
fn what_is_missing_is_told_before_the_first_build() {
    if lacks(Capability::Secrets) {
        return;
    }
    let project = project();
    fs::remove_file(project.path("keys/deploy.pem")).unwrap();
    let ended = project.rebuild("").run().exits(2);
    ended.says(&[
        "error: 2 secrets cannot be had:",
        "`~app` needs the secret `token`, and the environment variable `APP_TOKEN` is not set",
        "`~app` needs the secret `key`, and `",
        "/keys/deploy.pem` cannot be read: No such file or directory",
        "hint: ",
    ]);
    project.rebuild("plan").run().exits(0).says(&[
        "warning: a run would fail: `~app` needs the secret `token`, and the environment variable `APP_TOKEN` is not set",
    ]);
    assert!(project.all_tags(Place::Engine).is_empty());

    for (value, file, message) in [
        ("", KEY, "the environment variable `APP_TOKEN` is not set"),
        (VALUE, "", "/keys/deploy.pem` is empty"),
    ] {
        fs::write(project.path("keys/deploy.pem"), file).unwrap();
        project.rebuild("").env("APP_TOKEN", value).run().exits(2).says(&[message]);
    }
    fs::write(project.path("keys/deploy.pem"), KEY).unwrap();
    // What the plan need not build needs no secret.
    project.rebuild("--only ~os").run().exits(0);
}

#[test]
fn a_secret_in_the_build_context_is_refused() {
    if lacks(Capability::Secrets) {
        return;
    }
    let project = project();
    project.write("app/deploy.pem", KEY);
    project.edit("hierarchy.yaml", "keys/deploy.pem", "app/deploy.pem");
    let run = || project.rebuild("").env("APP_TOKEN", VALUE).run();
    run().exits(2).says(&["has its secret `key` in its build context", "`.dockerignore`"]);
    project.write("app/.dockerignore", "*.pem\n");
    run().exits(0);
}

#[test]
fn build_args_that_look_like_secrets_are_refused_without_showing_them() {
    let project = project();
    project.write(
        "hierarchy.yaml",
        &HIERARCHY
            .replace("secrets:", &format!("build_args: {{ NPM_TOKEN: {VALUE} }}\n    secrets:")),
    );
    let ended = project.rebuild("plan").run().exits(2).says(&[
        "error[RB011]: the build arg `NPM_TOKEN` looks like a secret",
        "hierarchy.yaml:6:19",
        "hint: give it under `secrets`, or write `allow_build_args: [NPM_TOKEN]` if it is not a secret",
    ]);
    assert_clean("the message", ended.to_string().as_bytes());
    project.edit(
        "hierarchy.yaml",
        "    build_args",
        "    allow_build_args: [NPM_TOKEN]\n    build_args",
    );
    project.rebuild("plan").run().exits(0);
}

/// An agent with one key; it ends with the test.
struct Agent {
    process: Child,
    folder: tempfile::TempDir,
}

impl Agent {
    fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("agent");
        let process = Command::new("ssh-agent")
            .arg("-D")
            .arg("-a")
            .arg(&socket)
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let deadline = Instant::now() + Duration::from_secs(20);
        while !socket.exists() {
            assert!(Instant::now() < deadline, "ssh-agent does not start");
            std::thread::sleep(Duration::from_millis(5));
        }
        let agent = Self { process, folder };
        let key = agent.folder.path().join("key");
        let made = Command::new("ssh-keygen")
            .args(["-q", "-t", "ed25519", "-N", "", "-C", "test-key", "-f"])
            .arg(&key)
            .status()
            .unwrap();
        assert!(made.success());
        let added = Command::new("ssh-add")
            .arg(key)
            .env("SSH_AUTH_SOCK", agent.socket())
            .stderr(Stdio::null())
            .status()
            .unwrap();
        assert!(added.success());
        agent
    }

    fn socket(&self) -> PathBuf {
        self.folder.path().join("agent")
    }

    fn keys(&self) -> String {
        let listed =
            Command::new("ssh-add").arg("-L").env("SSH_AUTH_SOCK", self.socket()).output().unwrap();
        String::from_utf8(listed.stdout).unwrap()
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        _ = self.process.kill();
        _ = self.process.wait();
    }
}

/// Copies a program of this machine, and the libraries that it needs, into a context.
fn copy_program(project: &Project, program: &str) -> Option<()> {
    let listed = Command::new("ldd").arg(program).output().ok()?;
    let text = String::from_utf8(listed.stdout).ok()?;
    let libraries = text.split_whitespace().filter(|word| word.starts_with('/'));
    for file in libraries.chain([program]) {
        let to = project.path("app/root").join(file.trim_start_matches('/'));
        fs::create_dir_all(to.parent()?).ok()?;
        fs::copy(file, to).ok()?;
    }
    Some(())
}

#[test]
fn a_build_may_ask_the_ssh_agent_but_not_change_it() {
    if lacks(Capability::Ssh) {
        return;
    }
    for program in ["ssh-agent", "ssh-keygen", "ldd"] {
        if !is_installed(program) {
            missing(&format!("{program} is not installed"));
        }
    }
    let project = Project::empty();
    project.write(
        "hierarchy.yaml",
        "version: 1\nimages:\n  ~os: { context: os }\n  ~app: { context: app, ssh: true }\n",
    );
    project.write_os();
    // `ssh-add` wants to know who it is.
    project.write("app/root/etc/passwd", "root:x:0:0:root:/:/bin/sh\n");
    copy_program(&project, "/usr/bin/ssh-add").unwrap();
    project.write(
        "app/Dockerfile",
        "FROM ~os\nCOPY root /\nRUN --mount=type=ssh ssh-add -L >/keys\n\
         RUN --mount=type=ssh ssh-add -D >/removed 2>&1; echo \"$?\" >>/removed\n",
    );
    let agent = Agent::start();
    let keys = agent.keys();
    assert!(keys.contains("test-key"), "{keys}");
    let run = || project.rebuild("--builder buildkit").env("SSH_AUTH_SOCK", agent.socket()).run();
    run().exits(0);
    assert_eq!(project.output_in("~app", &["cat", "/keys"]), keys);
    let removed = project.output_in("~app", &["cat", "/removed"]);
    assert!(removed.ends_with("1\n"), "{removed}");
    assert_eq!(agent.keys(), keys, "it still has its key");

    // Without `ssh`, the agent is not there even if `SSH_AUTH_SOCK` is.
    project.edit("hierarchy.yaml", ", ssh: true", "");
    project.edit("app/Dockerfile", "-L >/keys", "-L >/keys && true");
    run().exits(10).says(&["Error connecting to agent"]);
    project.edit("hierarchy.yaml", "context: app", "context: app, ssh: true");
    let ended = project.rebuild("").env("SSH_AUTH_SOCK", "/nowhere/at/all").run().exits(2);
    ended.says(&["`~app` forwards the SSH agent, but nobody answers at `/nowhere/at/all`"]);
}
