//! What is printed: lines that parse, lines without escapes, and a build that cannot act through them.

use crate::support::{
    project::{Place, Project},
    registry::Registry,
    running::{Ended, timeless},
};

#[test]
fn json_is_one_object_a_line() {
    let project = Project::new();
    let ended = project.rebuild("--progress json --verbose").run().exits(0);
    let events = ended.events();
    let name = |event: &serde_json::Value| event["event"].as_str().unwrap().to_owned();
    assert!(events.iter().all(|event| event["v"] == 1), "{ended}");
    assert_eq!(name(&events[0]), "run-started");
    assert_eq!(name(events.last().unwrap()), "run-finished");
    assert_eq!(events.last().unwrap()["exit_code"], 0);
    assert_eq!(ended.stderr, "");
    let moved: Vec<&str> = events
        .iter()
        .filter(|event| event["event"] == "tag-moved")
        .map(|event| event["tag"].as_str().unwrap())
        .collect();
    // Parents before children.
    let place = |tag: &str| moved.iter().position(|moved| *moved == tag).unwrap();
    assert_eq!(moved.len(), project.tags(Place::Engine).len());
    assert!(place("~os:1") < place("~web:latest"), "{moved:?}");
    assert!(place("~web:latest") < place("~app:latest"), "{moved:?}");
}

#[test]
fn the_whole_output_of_a_run() {
    let (project, registry) = (Project::new(), Registry::start());
    let place = Place::Registry(&registry);
    project.rebuilt(place);
    project.edit("app/Dockerfile", "cp /page /app", "cp /page /other");
    let ended = project.rebuild("").to(place).run().exits(0);
    let text = timeless(&ended.stderr).replace(registry.host(), "HOST");
    // What is different each time: the run's ID, digests, times, and the spaces that fill columns.
    let hide = |pattern: &str, with: &str, text: &str| {
        regex::Regex::new(pattern).unwrap().replace_all(text, with).into_owned()
    };
    let text = hide(r"\b[0-9a-f]{12}\b", "DIGEST", &text);
    let text = hide(r"run [0-9a-z]{26}", "run ID", &text);
    let text = hide(r"(?m)^\d\d:\d\d:\d\d  ", "", &text);
    let text = hide(r"\d{4}-\d\d-\d\d \w+", "DATE", &text);
    let text = hide(" {2,}", "  ", &text);
    let text = hide(r"\d+ at once", "N at once", &text);
    assert_eq!(
        text,
        "run ID: 1 to build, 3 up to date · N at once · HOST/demo · DATE\n\
         about _ left\n\
         ~app  pulling its bases\n\
         ~app  building\n\
         ~app  [1/2] FROM ~web\n\
         ~app  [2/2] RUN cp /page /other\n\
         ~app  test 1 of 1\n\
         ~app  pushing\n\
         ~app  built in _, 2.0 MB (unchanged)\n\
         promoting 1 tag, parents first\n\
         ~app  HOST/demo/~app:latest moved from DIGEST to DIGEST\n\
         removed 1 old image from the engine, about 4 B\n\
         \n\
         image  result  why  time  size  change  tags\n\
         ~app  built  its Dockerfile changed  _  2.0 MB  unchanged  latest\n\
         \n\
         promoted 1 tag of 1 image in _, parents first\n\
         done in _: 1 built, 3 up to date\n"
    );
    assert_eq!(ended.stdout, "");
}

/// Each would do something to a terminal or a CI system that obeyed it.
const HOSTILE: &str = "printf '\\033]0;owned\\007\\033[2J\\033[31mred\\033[0m\\r overwritten\\n\
                       ::error::forged\\n  ::set-output name=x::y\\n##[error]forged\\n\
                       ##vso[task.complete]\\nsection_start:1:x\\n\\302\\233 c1 \\377\\n'";

/// How a reporter may be asked for, and something in the environment that it heeds.
const REPORTERS: [(&str, (&str, &str)); 6] = [
    ("plain", ("NO_COLOR", "1")),
    ("plain", ("CLICOLOR_FORCE", "1")),
    ("plain", ("GITHUB_ACTIONS", "true")),
    ("quiet", ("GITHUB_ACTIONS", "true")),
    ("tty", ("TERM", "xterm")),
    ("json", ("NO_COLOR", "1")),
];

#[test]
fn help_takes_the_name_of_a_command() {
    let project = Project::empty();
    let expected = project.rebuild("plan --help").run().exits(0).stdout;
    assert_eq!(project.rebuild("help plan").run().exits(0).stdout, expected);
    let all = project.rebuild("--help").run().exits(0).stdout;
    assert_eq!(project.rebuild("help").run().exits(0).stdout, all);
}

#[test]
fn messages_break_between_words_in_a_terminal() {
    let project = Project::empty();
    project.write("hierarchy.yaml", "version: 1\nimages: { descendant: { context: os } }\n");
    project.write_os();
    let run = "script -qec 'stty rows 24 cols 40; \"$REBUILD\" descendant' /dev/null";
    let ended = project.shell(&project.path(""), run).run().exits(2);
    let (_, hint) = ended.stdout.split_once("hint: ").unwrap_or_else(|| panic!("{ended}"));
    assert!(hint.contains("--only"), "{ended}");
    assert!(hint.lines().all(|line| line.trim_end().len() <= 40), "{ended}");
}

#[test]
fn a_build_cannot_act_through_its_output() {
    let project = Project::empty();
    project.write(
        "hierarchy.yaml",
        "version: 1\nimages: { ~os: { context: os }, ~web: { context: web } }\n",
    );
    project.write_os();
    for (number, (progress, (name, value))) in REPORTERS.into_iter().enumerate() {
        for exit in [0, 1] {
            // A step that the engine remembers would print nothing.
            let step = format!("RUN : {number}; {HOSTILE}; exit {exit}");
            project.write("web/Dockerfile", &format!("FROM ~os\n{step}\n"));
            let start = project.rebuild(&format!("--verbose --progress {progress}"));
            let ended = start.env(name, value).run().exits(10 * exit);
            assert_harmless(&ended);
            if progress == "plain" && name != "CLICOLOR_FORCE" {
                let ended = ended.never_says(&["\u{1b}"]);
                ended.says(&["forged", "overwritten"]);
            }
            // The log has the bytes as they came.
            let log = project.logs().remove("~web").unwrap();
            for text in ["\u{1b}]0;owned\u{7}", "\n::error::forged\n"] {
                assert!(log.contains(text), "{log}");
            }
        }
    }
}

#[track_caller]
fn assert_harmless(ended: &Ended) {
    // But for our own guard, whose token no build can know.
    let is_ours = |line: &&str| {
        ["::stop-commands::rebuild-", "::rebuild-"].iter().any(|own| line.starts_with(own))
    };
    // Of an annotation of ours, what the build had to say.
    let said = |line| match line {
        line if ["::error file=", "::error title="]
            .iter()
            .any(|own| str::starts_with(line, own)) =>
        {
            line.trim_start_matches("::error ").split_once("::").map_or(line, |(_, said)| said)
        }
        line => line,
    };
    let lines = ended.stdout.lines().chain(ended.stderr.lines()).filter(|line| !is_ours(line));
    for line in lines.map(said) {
        for text in [
            "\u{1b}]",
            "\u{1b}[2J",
            "\u{7}",
            "\u{9b}",
            "##[",
            "##vso[",
            "section_start:",
            "\r overwritten",
        ] {
            assert!(!line.contains(text), "{text:?} in {line:?}\n{ended}");
        }
        assert!(!line.trim_start().starts_with("::"), "{line:?}\n{ended}");
    }
}

#[test]
fn plain_has_no_escapes_where_nobody_looks() {
    let project = Project::new();
    for arguments in ["", "--progress plain", "--progress quiet", "plan"] {
        project.rebuild(arguments).run().exits(0).never_says(&["\u{1b}"]);
    }
}
