//! The fingerprint changes when, and only when, something does that can change the image: a table of
//! changes, each judged by the real builder.

use std::{
    fs,
    os::unix::fs::{PermissionsExt as _, chown, symlink},
    path::Path,
    process::Command,
    time::{Duration, SystemTime},
};

use crate::support::{
    engine,
    project::{Project, docker},
};

/// What a change does to `~app`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Becomes {
    /// The fingerprint is the same, and a build by force gives the same image.
    Kept,
    /// It is another fingerprint, and yet the same image: what differs could have changed it.
    Same,
    /// Another image.
    Other,
    /// Another fingerprint: `Same` or `Other`, as the builder's layer cache has it.
    Anew,
}
use Becomes::{Anew, Kept, Other, Same};

const HIERARCHY: &str = "\
version: 1
images:
  ~os: { context: os, test: [{ run: [test, -x, /bin/sh] }] }
  ~tool: { context: tool }
  ~app: { context: app, build_args: { V: \"1\" }, labels: { team: a } }
";

const DOCKERFILE: &str = "\
FROM ~tool AS tool
FROM ~up:1 AS up
FROM ~os AS first
ARG V=0
ENV V=$V
COPY . /srv/
COPY --from=tool /tool /tool
COPY --from=up /etc/name /up
FROM first AS second
LABEL stage=second
";

type Change = fn(&Project);

#[rustfmt::skip]
const CHANGES: &[(Becomes, &str, Change)] = &[
    (Kept, "a file's time", |p| touch(&p.path("app/file"))),
    (Kept, "a file's owner", |p| chown(p.path("app/file"), Some(1234), Some(1234)).unwrap()),
    (Other, "who may read a file outside git", |p| mode(p, "app/file", 0o600)),
    // BuildKit does not look at a folder's mode when it looks for a step in its cache.
    (Anew, "who may enter a folder outside git", |p| mode(p, "app/folder", 0o700)),
    (Other, "a second name of a file", |p| fs::hard_link(p.path("app/file"), p.path("app/second")).unwrap()),
    (Other, "a file may be executed", |p| mode(p, "app/file", 0o755)),
    (Other, "a file is run as its owner", |p| mode(p, "app/script", 0o4755)),
    (Other, "a file's content", |p| p.write("app/file", "other, longer")),
    (Other, "content of the same size", |p| p.write("app/file", "eno\n")),
    (Kept, "the same content, written anew", |p| p.write("app/file", "one\n")),
    (Other, "a new file", |p| p.write("app/new", "")),
    (Other, "a new empty folder", |p| fs::create_dir(p.path("app/new")).unwrap()),
    (Other, "a file gone", |p| fs::remove_file(p.path("app/file")).unwrap()),
    (Other, "a file renamed", |p| fs::rename(p.path("app/file"), p.path("app/elif")).unwrap()),
    (Other, "a link to elsewhere", |p| link(p, "script")),
    (Other, "a file in place of a link", |p| {
        fs::remove_file(p.path("app/link")).unwrap();
        p.write("app/link", "one\n");
    }),
    (Kept, "the link once more", |p| link(p, "file")),
    (Kept, "an ignored file", |p| p.write("app/ignored", "two\n")),
    (Kept, "a comment among what is ignored", |p| p.write("app/.dockerignore", "# c\nignored\n.dockerignore\nDockerfile\n")),
    (Other, "more is ignored", |p| p.write("app/.dockerignore", "ignored\n.dockerignore\nDockerfile\nfile\n")),
    (Kept, "a file beside the context", |p| p.write("beside", "two\n")),
    (Kept, "a context elsewhere", |p| {
        fs::rename(p.path("app"), p.path("moved")).unwrap();
        p.edit("hierarchy.yaml", "context: app", "context: moved");
    }),
    (Same, "a comment in the Dockerfile", |p| p.edit("app/Dockerfile", "ARG V=0", "# why\nARG V=0")),
    (Same, "space in the Dockerfile", |p| p.edit("app/Dockerfile", "ENV V=$V", "ENV  V=$V")),
    (Anew, "a default that an argument overrides", |p| p.edit("app/Dockerfile", "ARG V=0", "ARG V=9")),
    (Other, "an instruction", |p| p.edit("app/Dockerfile", "stage=second", "stage=2")),
    (Other, "a build argument", |p| p.edit("hierarchy.yaml", "V: \"1\"", "V: \"2\"")),
    (Same, "a build argument that nobody asks for", |p| p.edit("hierarchy.yaml", "V: \"1\"", "V: \"1\", W: x")),
    (Other, "a label", |p| p.edit("hierarchy.yaml", "team: a", "team: b")),
    (Other, "the target", |p| p.edit("hierarchy.yaml", "context: app,", "context: app, target: first,")),
    (Same, "the last stage as the target", |p| p.edit("hierarchy.yaml", "context: app,", "context: app, target: second,")),
    (Kept, "the platform that it is anyhow", |p| {
        let platform = docker(&["version", "--format", "{{.Server.Os}}/{{.Server.Arch}}"]).unwrap();
        p.edit("hierarchy.yaml", "context: app,", &format!("context: app, platform: {},", platform.trim()));
    }),
    (Same, "a test", |p| p.edit("hierarchy.yaml", "context: app,", "context: app, test: [{ run: [ls, /] }],")),
    (Same, "an inherited test", |p| p.edit("hierarchy.yaml", "test, -x", "test, -e")),
    (Same, "a limit of its size", |p| p.edit("hierarchy.yaml", "context: app,", "context: app, max_size: 1GB,")),
    (Kept, "its tags", |p| p.edit("hierarchy.yaml", "context: app,", "context: app, tags: [latest, new],")),
    (Kept, "what a failure means", |p| p.edit("hierarchy.yaml", "context: app,", "context: app, on_failure: hold, timeout: 5m,")),
    (Kept, "when it is refreshed", |p| p.edit("hierarchy.yaml", "context: app,", "context: app, refresh: { every: 9d },")),
    // An image that was kept because only these paths differ may not be one for other paths.
    (Same, "the paths that a comparison leaves out", |p| p.edit("hierarchy.yaml", "context: app,", "context: app, volatile: [x],")),
    (Kept, "the order and the comments of the file", |p| p.edit("hierarchy.yaml", "images:\n", "images:\n  # all\n")),
    (Kept, "the time of a parent's file", |p| touch(&p.path("os/name"))),
    (Other, "a file of the parent", |p| p.write("os/name", "~os, other\n")),
    (Other, "the parent of another stage", |p| p.write("tool/Dockerfile", "FROM ~os\nRUN echo other >/tool\n")),
    (Same, "another stage's parent, but not what is copied", |p| p.write("tool/Dockerfile", "FROM ~os\nRUN echo tool >/tool\nENV X=1\n")),
    (Other, "what an upstream tag points at", |p| {
        docker(&["tag", &p.name("~old:1"), &p.name("~up:1")]).unwrap();
    }),
    (Other, "a command that fills the context", |p| {
        p.write_script("app/fill.sh", "#!/bin/sh\necho made >made\n");
        p.edit("hierarchy.yaml", "context: app,", "context: app, prepare: [./fill.sh],");
    }),
];

fn touch(path: &Path) {
    let file = fs::File::options().write(true).open(path).unwrap();
    file.set_modified(SystemTime::now() - Duration::from_secs(86_400)).unwrap();
}

fn mode(project: &Project, path: &str, mode: u32) {
    fs::set_permissions(project.path(path), fs::Permissions::from_mode(mode)).unwrap();
}

fn link(project: &Project, target: &str) {
    fs::remove_file(project.path("app/link")).unwrap();
    symlink(target, project.path("app/link")).unwrap();
}

/// A project with an upstream that only the engine has, built and published.
fn project() -> Project {
    let project = Project::new();
    project.write("hierarchy.yaml", HIERARCHY);
    project.write("app/Dockerfile", DOCKERFILE);
    project.write("app/file", "one\n");
    project.write("app/ignored", "one\n");
    project.write("app/.dockerignore", "ignored\n.dockerignore\nDockerfile\n");
    project.write("app/folder/file", "one\n");
    project.write_script("app/script", "#!/bin/sh\n");
    symlink("file", project.path("app/link")).unwrap();
    project.write("beside", "one\n");
    for (upstream, content) in [("~up:1", "~ up"), ("~old:1", "~ old")] {
        project.write("upstream/Dockerfile", "FROM scratch\nCOPY name /etc/name\n");
        project.write("upstream/name", content);
        engine::build(&project.path("upstream"), &project.name(upstream));
    }
    project
}

/// What became of `~app` in a run that publishes nothing.
fn outcome(project: &Project, arguments: &str) -> String {
    let ended = project.rebuild(&format!("--no-push --progress json {arguments}")).run().exits(0);
    let last = ended.events().pop().unwrap();
    let steps = last["steps"].as_array().unwrap().clone();
    let app = steps.iter().find(|step| step["node"] == "~app").unwrap();
    app["outcome"].as_str().unwrap().to_owned()
}

fn becomes(project: &Project) -> Result<Becomes, String> {
    match outcome(project, "").as_str() {
        "kept" | "reused" => stays(project),
        "unchanged" => Ok(Same),
        "built" => Ok(Other),
        other => Err(other.to_owned()),
    }
}

/// What a build by force says to a fingerprint that is the same.
fn stays(project: &Project) -> Result<Becomes, String> {
    match outcome(project, "--from ~app").as_str() {
        "unchanged" => Ok(Kept),
        forced => Err(format!("the fingerprint is the same, and built it is {forced}")),
    }
}

/// Makes each of these changes to a project that is built and published, and judges what becomes of it.
fn check(changes: impl Iterator<Item = &'static (Becomes, &'static str, Change)>) {
    let project = project();
    project.rebuild("").run().exits(0);
    let folder = project.path("");
    let original = folder.with_file_name("original");
    let copy = |from: &Path, to: &Path| {
        let status = Command::new("cp").arg("-a").args([from, to]).status().unwrap();
        assert!(status.success());
    };
    copy(&folder, &original);
    docker(&["tag", &project.name("~up:1"), &project.name("~spare:1")]).unwrap();
    let mut wrong = Vec::new();
    for (expected, what, change) in changes {
        change(&project);
        let found = becomes(&project);
        let is_right = match expected {
            Anew => matches!(found, Ok(Same | Other)),
            expected => found == Ok(*expected),
        };
        if !is_right {
            wrong.push(format!("{what}: {found:?}, not {expected:?}"));
        }
        fs::remove_dir_all(&folder).unwrap();
        copy(&original, &folder);
        docker(&["tag", &project.name("~spare:1"), &project.name("~up:1")]).unwrap();
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// Of so many changes one is tried each time.
const EACH: usize = 5;

#[test]
fn a_change_that_can_matter_changes_the_fingerprint() {
    let matter = CHANGES.iter().filter(|(expected, ..)| *expected != Kept);
    check(matter.step_by(EACH));
}

#[test]
#[ignore = "slow: CONTRIBUTING.md"]
fn a_change_that_cannot_matter_keeps_the_fingerprint() {
    let kept = CHANGES.iter().filter(|(expected, ..)| *expected == Kept);
    check(kept.step_by(EACH));
}

#[test]
#[ignore = "takes minutes: CONTRIBUTING.md"]
fn each_change_in_the_table_is_as_it_says_for_minutes() {
    check(CHANGES.iter());
}
