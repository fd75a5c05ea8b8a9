//! What a run leaves for a CI system: reports in files, a summary, annotations, and a program that is told.

use std::fs;

use serde_json::Value;

use super::everywhere;
use crate::support::{
    project::{Place, Project},
    running::Ended,
};

/// Breaks `~web`'s build in its third line.
fn break_web(project: &Project) {
    project.edit(
        "web/Dockerfile",
        "COPY page /page\n",
        "COPY page /page\nRUN echo '::error::x'; exit 7\n",
    );
}

fn json(project: &Project, path: &str) -> Value {
    serde_json::from_str(&project.shown(&fs::read_to_string(project.path(path)).unwrap())).unwrap()
}

fn outcomes(report: &Value) -> Vec<String> {
    let steps = report["steps"].as_array().unwrap();
    let text = |step: &Value, field: &str| step[field].as_str().unwrap().to_owned();
    steps.iter().map(|step| format!("{} {}", text(step, "node"), text(step, "outcome"))).collect()
}

#[test]
#[ignore = "slow: CONTRIBUTING.md"]
fn without_a_promotion_images_are_stored_and_no_tag_moves() {
    everywhere(|project, place| {
        project.rebuilt(place);
        let before = project.tags(place);
        project.edit("web/page", "one", "two");
        let ended = project.rebuild("--no-promote").to(place).run().exits(0);
        assert_eq!(ended.result(), "done in _: 2 built, 2 up to date", "{ended}");
        let ended = ended.says(&["no tag was moved: `--no-promote` was given"]);
        assert_eq!(project.tags(place), before, "{ended}");

        // What the run after the merge finds it does not build.
        let merged = project.rebuilt(place);
        assert_eq!(merged.result(), "done in _: 2 already built, 2 up to date", "{merged}");
        let after = project.tags(place);
        assert_ne!(after["~app:latest"], before["~app:latest"]);
        assert_eq!(after["~os:1"], before["~os:1"]);
    });
}

#[test]
fn reports_are_written_whatever_comes_of_the_run() {
    let project = Project::new();
    let arguments = "--junit out/junit.xml --json-report out/report.json";
    project.rebuild(arguments).run().exits(0);
    let report = json(&project, "out/report.json");
    assert_eq!(report["exit"], "done");
    assert_eq!(outcomes(&report), ["~os built", "~web built", "~app built", "~tool built"]);
    let xml = fs::read_to_string(project.path("out/junit.xml")).unwrap();
    let xml = project.shown(&xml);
    assert!(xml.contains("tests=\"5\" skipped=\"0\" errors=\"0\" failures=\"0\""), "{xml}");
    assert!(
        xml.contains("<testcase name=\"test 1: cat /page\" classname=\"~app\" time=\""),
        "{xml}"
    );

    break_web(&project);
    project.rebuild(arguments).run().exits(10);
    let report = json(&project, "out/report.json");
    assert_eq!((&report["exit"], &report["exit_code"]), (&"build-failed".into(), &10.into()));
    let steps = ["~os kept", "~web failed", "~app skipped", "~tool kept"];
    assert_eq!(outcomes(&report), steps);
    let xml = project.shown(&fs::read_to_string(project.path("out/junit.xml")).unwrap());
    assert!(xml.contains("tests=\"4\" skipped=\"3\" errors=\"0\" failures=\"1\""), "{xml}");
    assert!(xml.contains("type=\"build-failed\""), "{xml}");

    // A test that fails: what came before it is well.
    project.edit("web/Dockerfile", "; exit 7", "");
    project.edit("hierarchy.yaml", "run: [cat, /page]", "run: [cat, /no-page]");
    project.rebuild(arguments).run().exits(11);
    let xml = project.shown(&fs::read_to_string(project.path("out/junit.xml")).unwrap());
    let (_, app) = xml.split_once("<testcase name=\"build\" classname=\"~app\"").unwrap();
    let (build, test) = app.split_once("<testcase name=\"test 1: cat /no-page\"").unwrap();
    assert!(!build.contains("<failure") && test.contains("type=\"test-failed\""), "{xml}");
    assert!(test.contains("can&apos;t open") || test.contains("No such file"), "{xml}");

    // No run at all.
    project.write("hierarchy.yaml", "version: 1\nimages: { ~os: { contxt: os } }\n");
    project.rebuild(arguments).run().exits(2);
    let report = json(&project, "out/report.json");
    assert_eq!(report["exit"], "usage");
    let cause = "has a problem: hierarchy.yaml:2: unknown field `contxt` of an image";
    assert!(report["error"].as_str().unwrap().contains(cause), "{report}");
    let xml = fs::read_to_string(project.path("out/junit.xml")).unwrap();
    assert!(xml.contains("tests=\"1\" skipped=\"0\" errors=\"1\""), "{xml}");
}

#[test]
fn a_run_has_a_page_then_and_later() {
    let project = Project::new();
    break_web(&project);
    let page = |path: &str| project.shown(&fs::read_to_string(project.path(path)).unwrap());
    project.rebuild("--only ~os --html out/first.html").run().exits(0);
    project.rebuild("--html out/second.html").run().exits(10);
    let second = page("out/second.html");
    // The first log is that of the failed image, and open; its lines are escaped and complete no command.
    let log = second.split("<details class=\"log\"").nth(1).unwrap();
    assert!(log.starts_with(" open") && log.contains("~web"), "{log}");
    assert!(log.contains("::·error::x") && log.contains("exit code"), "{log}");
    for text in ["<strong>10</strong> build-failed", "No tag moved", "~tool"] {
        assert!(second.contains(text), "{text}: {second}");
    }

    // What the run has left on the disk says the same.
    project.rebuild("report --html later.html").run().exits(0).says(&["wrote `later.html`: run "]);
    let later = page("later.html");
    let part = |page: &str, class: &str| {
        let (_, part) = page.split_once(&format!("<section class=\"{class}\"")).unwrap();
        part.split_once("</section>").unwrap().0.to_owned()
    };
    for class in ["summary", "picture-part", "images", "timeline"] {
        assert_eq!(part(&later, class), part(&second, class), "{class}");
    }
    assert!(part(&later, "logs").contains("::·error::x"), "{later}");

    let run = page("out/first.html").split_once("<h1>Run ").unwrap().1[..10].to_owned();
    project.rebuild(&format!("report {run} --html earlier.html")).run().exits(0);
    assert_eq!(part(&page("earlier.html"), "summary"), part(&page("out/first.html"), "summary"));
    let unknown = project.rebuild("report 7zz --html never.html").run().exits(2);
    unknown.says(&[
        "keeps no report of a run `7zz`",
        "hint: it keeps those of the last 20 runs that built an image: ",
    ]);

    // No run at all.
    project.write("hierarchy.yaml", "version: 1\nimages: { ~os: { contxt: os } }\n");
    project.rebuild("--html out/third.html").run().exits(2);
    assert!(page("out/third.html").contains("The run could not begin: "));
}

#[test]
fn no_engine_is_reported_too() {
    let project = Project::new();
    let start = project.rebuild("--json-report report.json");
    start.env("DOCKER_HOST", "unix:///nonexistent.sock").run().exits(20);
    let report = json(&project, "report.json");
    assert_eq!(report["exit"], "engine-unreachable");
    assert_eq!(report["run"], Value::Null);
}

#[test]
fn a_report_that_cannot_be_written_is_a_warning() {
    let project = Project::new();
    let ended = project.rebuild("--junit os/Dockerfile/x.xml").run().exits(0);
    ended.says(&["warning: `--junit`: `", "os/Dockerfile/x.xml` cannot be written: "]);
}

#[test]
#[ignore = "slow: CONTRIBUTING.md"]
fn a_program_is_told_what_came_of_the_run() {
    let project = Project::new();
    project.write_script(
        "hooks/tell.sh",
        "#!/bin/sh\ncat >\"$1\"\necho \"told: $REBUILD_EXIT_CODE\"\nsleep 600 ~left &\n",
    );
    // In the file: from its folder, wherever the command is started.
    let file = fs::read_to_string(project.path("hierarchy.yaml")).unwrap();
    let with_hook =
        file.replace("images:", "notify: [./hooks/tell.sh, hooks/by file.json]\nimages:");
    fs::write(project.path("hierarchy.yaml"), with_hook).unwrap();
    let ended = project.rebuild("-C web").run().exits(0).says(&["told: 0\n"]);
    assert_eq!(ended.stdout, "");
    assert_eq!(outcomes(&json(&project, "hooks/by file.json")).len(), 4);
    // What it left in the background is gone with it.
    assert_eq!(project.under_way(), [""; 0]);

    break_web(&project);
    let arguments = "--notify [\"./hooks/tell.sh\",\"flag.json\"]";
    project.rebuild(arguments).run().exits(10).says(&["told: 10\n"]);
    assert_eq!(json(&project, "flag.json")["exit"], "build-failed");
    project.rebuild("--notify []").run().exits(10).never_says(&["told"]);
}

#[test]
fn a_program_that_fails_changes_nothing() {
    let project = Project::new();
    let failing = "--notify [\"sh\",\"-c\",\"exit\\t3\"]";
    let ended = project.rebuild(failing).run().exits(0);
    ended.says(&["ended with exit code 3"]);
    let ended = project.rebuild("--notify no-such-program-anywhere").run().exits(0);
    ended.says(&["warning: no notification was sent: cannot run `no-such-program-anywhere`: "]);
    let ended = project.rebuild("--notify [1]").run().exits(2);
    ended.says(&["it is not a JSON list of texts"]);
}

/// As a job of GitHub Actions.
fn on_github(project: &Project, arguments: &str) -> Ended {
    fs::write(project.path("summary.md"), "# before\n").unwrap();
    project
        .rebuild(arguments)
        .env("GITHUB_ACTIONS", "true")
        .env("GITHUB_WORKSPACE", project.path(""))
        .env("GITHUB_STEP_SUMMARY", project.path("summary.md"))
        .run()
}

#[test]
fn github_gets_groups_annotations_and_a_summary() {
    let project = Project::new();
    on_github(&project, "").exits(0).says(&["::group::what ~app printed\n"]);
    let summary = project.shown(&fs::read_to_string(project.path("summary.md")).unwrap());
    assert!(summary.starts_with("# before\n### rebuild: done in "), "{summary}");
    assert!(summary.contains("| ~web | built | never built | "), "{summary}");

    break_web(&project);
    let ended = on_github(&project, "").exits(10);
    let annotation = "::error file=web/Dockerfile,line=3,title=~web%3A build failed::";
    let ended = ended.says(&[annotation]).never_says(&["\n::error::x"]);
    let summary = project.shown(&fs::read_to_string(project.path("summary.md")).unwrap());
    assert!(summary.contains("```mermaid\n"), "{summary}");
    let web = summary.lines().find_map(|line| line.trim().strip_suffix("[\"~web\"]")).unwrap();
    assert!(summary.contains(&format!("  class {web} failed\n")), "{summary}");
    for text in ["| ~web | build failed | its Dockerfile changed | ", "<summary>~web: build failed"]
    {
        assert!(summary.contains(text), "{summary}\n{ended}");
    }
}

#[test]
fn gitlab_gets_sections() {
    let project = Project::new();
    let ended = project.rebuild("").env("GITLAB_CI", "true").run().exits(0);
    let begun = ended.stderr.matches("[collapsed=true]\r\u{1b}[0Kwhat ~").count();
    assert_eq!(begun, 4, "{ended}");
    assert_eq!(ended.stderr.matches("section_end:").count(), begun, "{ended}");
    assert_eq!(project.tags(Place::Engine).len(), 5);
}
