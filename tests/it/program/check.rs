//! `rebuild check` and `rebuild explain`: without an engine, and as a pipeline uses them.

use std::{path::Path, process::Command};

use serde_json::Value;

use crate::support::{git::git, project::Project};

const NOBODY: &str = "unix:///nowhere/docker.sock";

fn project() -> Project {
    let project = Project::empty();
    project.write(
        "deep/er/hierarchy.yaml",
        "version: 1\nimages:\n  ~a:\n    context: a\n    build_args: { VERISON: 1 }\n",
    );
    project.write("deep/er/a/Dockerfile", "ARG VERSION\nFROM debian\n");
    project
}

#[test]
fn an_excluded_file_that_a_dockerfile_copies_is_a_warning() {
    let project = Project::empty();
    project.write("hierarchy.yaml", "version: 1\nimages:\n  a: { test: [{ run: [x] }] }\n");
    project.write("a/Dockerfile", "FROM scratch\nCOPY sent out/x in/* /d/\n");
    project.write("a/.dockerignore", "out\nin/y\n");
    for path in ["a/sent", "a/out/x", "a/in/y", "a/in/z"] {
        project.write(path, "");
    }
    let ended = project.rebuild("check").env("DOCKER_HOST", NOBODY).run().exits(0);
    assert_eq!(ended.stdout.matches("RB054").count(), 1, "{}", ended.stdout);
    let expected = "`out/x` is not in the context of `a`: `.dockerignore` excludes it";
    assert!(ended.stdout.contains(expected), "{}", ended.stdout);
    assert!(ended.stdout.contains("add `!out/x` to the end"), "{}", ended.stdout);
}

#[test]
fn an_empty_submodule_is_named_and_not_taken_for_deleted_files() {
    let (certificates, project) = (Project::empty(), Project::empty());
    let commit = |folder: &Path| {
        git(folder, "init -q");
        git(folder, "add .");
        git(folder, "commit -qm first");
    };
    certificates.write("certs/Dockerfile", "FROM scratch\nCOPY . /\n");
    certificates.write("Dockerfile", "FROM scratch\nCOPY . /\n");
    commit(&certificates.path(""));
    let entries = "{ certs: { context: shared/certs }, all: { context: shared } }";
    project.write("hierarchy.yaml", &format!("version: 1\nimages: {entries}\n"));
    let root = project.path("");
    git(&root, "init -q");
    let url = certificates.path("");
    git(
        &root,
        &format!("-c protocol.file.allow=always submodule --quiet add {} shared", url.display()),
    );
    commit(&root);
    let check = || project.rebuild("check").env("DOCKER_HOST", NOBODY).run();
    check().exits(0);

    git(&root, "submodule --quiet deinit --force shared");
    let told = check().exits(2).stdout;
    let hint =
        "the submodule `shared` is empty: `git submodule update --init --recursive` fills it";
    assert_eq!(told.matches(hint).count(), 2, "{told}");
}

#[test]
fn a_pipeline_chooses_what_fails_it() {
    let project = project();
    let check = |arguments: &str| {
        project.rebuild(&format!("-C deep/er check {arguments}")).env("DOCKER_HOST", NOBODY).run()
    };
    let ended = check("").exits(0);
    assert_eq!(
        ended.stdout,
        "\
warning[RB042]: no `ARG` declares the build arg `VERISON`
 --> deep/er/hierarchy.yaml:5:19
  |
5 | …                 VERISON …
  |                   ^^^^^^^
  |
  = hint: did you mean `VERSION`?

warning[RB040]: `debian` may be any version: it has no tag
 --> deep/er/a/Dockerfile:2:6
  |
2 | FROM debian
  |      ^^^^^^
  |
  = hint: name a line of versions by its tag, such as `12` or `3.4`

2 warnings in 1 image (1 note not shown: `--severity note`)
"
    );
    assert_eq!(ended.stderr, "");
    assert_eq!(
        check("--severity error").exits(0).stdout,
        "no problems in 1 image (2 warnings and 1 note not shown: `--severity note`)\n"
    );
    check("--fail-on warning").exits(2);
    check("--fail-on note").exits(2);
    project.write("deep/er/a/Dockerfile", "FRM debian\n");
    check("").exits(2);
    check("--fail-on never").exits(0);
    assert!(check("--severity error --fail-on warning").exits(2).stdout.contains("RB022"));
    project.rebuild("plan -f nowhere.yaml").run().exits(2);
}

#[test]
fn programs_get_paths_below_the_root_of_the_repository() {
    let project = project();
    let git = Command::new("git").args(["init", "-q"]).arg(project.path("")).status().unwrap();
    assert!(git.success());
    let check = |format: &str| {
        let command = format!("-C deep/er check --severity note --format {format}");
        project.rebuild(&command).env("DOCKER_HOST", NOBODY).run().exits(0).stdout
    };
    let log: Value = serde_json::from_str(&check("sarif")).unwrap();
    let uri = |result: &Value| {
        let place = &result["locations"][0]["physicalLocation"];
        format!("{} {}", result["ruleId"], place["artifactLocation"]["uri"]).replace('"', "")
    };
    let found: Vec<String> =
        log["runs"][0]["results"].as_array().unwrap().iter().map(uri).collect();
    let expected = [
        "RB042 deep/er/hierarchy.yaml",
        "RB040 deep/er/a/Dockerfile",
        "RB049 deep/er/hierarchy.yaml",
    ];
    assert_eq!(found, expected);
    let lines = check("github");
    let second = lines.lines().nth(1).unwrap();
    assert!(
        second.starts_with(
            "::warning file=deep/er/a/Dockerfile,line=2,endLine=2,col=6,endColumn=12,title=RB040%3A"
        ),
        "{lines}"
    );
    let answer: Value = serde_json::from_str(&check("json")).unwrap();
    assert_eq!(answer["problems"][1]["file"], "deep/er/a/Dockerfile");
}

#[test]
fn rules_are_explained() {
    let project = Project::empty();
    let all = project.rebuild("explain").run().exits(0).stdout;
    assert!(all.contains("\nRB040  warning  an upstream has no tag, or `latest`\n"), "{all}");
    let one = project.rebuild("explain rb040").run().exits(0).stdout;
    assert!(
        one.starts_with("RB040: an upstream") && one.contains("\n    FROM debian:12-slim\n"),
        "{one}"
    );
    project.rebuild("explain RB4").run().exits(2).says(&["no rule `RB4`", "did you mean `RB004`?"]);
    project.rebuild("explain RB99").run().exits(2).says(&["`rebuild explain` lists all rules"]);
}

#[test]
fn files_that_cannot_be_sent_are_reported() {
    let project = project();
    let check = || project.rebuild("-C deep/er check").env("DOCKER_HOST", NOBODY).run();
    let text = std::os::unix::ffi::OsStrExt::from_bytes(b"deep/er/a/\xff");
    std::fs::write(project.path("").join::<&std::ffi::OsStr>(text), "").unwrap();
    let ended = check().exits(0);
    assert!(ended.stdout.contains("warning[RB027]: the name of `\\xff`"), "{ended}");
    let made = Command::new("mkfifo").arg(project.path("deep/er/a/pipe")).status().unwrap();
    assert!(made.success());
    let ended = check().exits(2);
    assert!(
        ended.stdout.contains("error[RB027]: `pipe` of the build context is a fifo"),
        "{ended}"
    );
    project.write("deep/er/a/.dockerignore", "pipe\n");
    check().exits(0);
}
