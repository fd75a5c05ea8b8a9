use std::{fs, path::Path};

use serde_json::Value;

use super::*;
use crate::{
    check::{
        diagnostic::{RuleCode, SourceFile},
        rules,
    },
    hierarchy::{Hierarchy, LoadOptions},
};

fn checked() -> CheckedHierarchy {
    let file =
        SourceFile::new("/repo/base images/hierarchy.yaml", "version: 1\nimages:\n  café: {}\n");
    let other = SourceFile::new("/elsewhere/Dockerfile", "FROM a\nFROM b");
    let at = file.text.find("café").unwrap();
    let problems = vec![
        Diagnostic::of(RuleCode::WrongName, "`café`, 100%: no\n::error::name")
            .at(&file, at..at + "café".len(), "")
            .hint("plain, letters"),
        Diagnostic::of(RuleCode::Unreadable, "unreadable").in_file("/repo/a,b:c"),
        Diagnostic::of(RuleCode::Floating, "two lines").at(&other, 0..13, ""),
        Diagnostic::of(RuleCode::NoTest, "a note").at(&file, 0..1, ""),
    ];
    CheckedHierarchy { problems, ignored: 2, images: 1 }
}

fn written(
    checked: &CheckedHierarchy,
    least: Severity,
    write: fn(Findings<'_>, &mut dyn std::io::Write) -> std::io::Result<()>,
) -> String {
    let mut out = Vec::new();
    write(Findings { checked, least, root: Path::new("/repo") }, &mut out).unwrap();
    String::from_utf8(out).unwrap()
}

#[test]
fn github_shows_each_at_its_line_and_obeys_nothing_in_it() {
    insta::assert_snapshot!(written(&checked(), Severity::Warning, github), @r"
    ::error file=base images/hierarchy.yaml,line=3,endLine=3,col=3,endColumn=7,title=RB009%3A a name%2C a repository or a tag is invalid::`café`, 100%25: no ::·error::name%0Ahint: plain, letters
    ::error file=a%2Cb%3Ac,title=RB001%3A the hierarchy file cannot be read::unreadable
    ::warning file=/elsewhere/Dockerfile,line=1,endLine=2,col=1,endColumn=7,title=RB040%3A an upstream has no tag%2C or `latest`::two lines
    2 errors, 1 warning in 1 image (2 ignored; 1 note not shown: `--severity note`)
    ");
}

#[test]
fn programs_get_places() {
    insta::assert_snapshot!(written(&checked(), Severity::Note, json), @r#"{"v":1,"images":1,"counts":{"error":2,"warning":1,"note":1,"ignored":2},"problems":[{"code":"RB009","severity":"error","message":"`café`, 100%: no\n:\u003aerror:\u003aname","hint":"plain, letters","file":"base images/hierarchy.yaml","line":3,"column":3,"end_line":3,"end_column":7},{"code":"RB001","severity":"error","message":"unreadable","hint":null,"file":"a,b:c"},{"code":"RB040","severity":"warning","message":"two lines","hint":null,"file":"/elsewhere/Dockerfile","line":1,"column":1,"end_line":2,"end_column":7},{"code":"RB049","severity":"note","message":"a note","hint":null,"file":"base images/hierarchy.yaml","line":1,"column":1,"end_line":1,"end_column":2}]}"#);
}

#[test]
fn the_last_line_counts() {
    let summary = |problems: &[RuleCode], least, ignored| {
        let problems = problems.iter().map(|code| Diagnostic::of(*code, "x")).collect();
        let checked = CheckedHierarchy { problems, ignored, images: 3 };
        Findings { checked: &checked, least, root: Path::new("/") }.summary()
    };
    let some = [RuleCode::Ring, RuleCode::Floating, RuleCode::Floating, RuleCode::NoTest];
    for (problems, least, ignored, expected) in [
        (&[][..], Severity::Warning, 0, "no problems in 3 images"),
        (&some, Severity::Note, 0, "1 error, 1 warning, 1 note at 4 places in 3 images"),
        (
            &some,
            Severity::Warning,
            1,
            "1 error, 1 warning at 3 places in 3 images (1 ignored; 1 note not shown: `--severity note`)",
        ),
        (
            &some[1..],
            Severity::Error,
            0,
            "no problems in 3 images (1 warning and 1 note not shown: `--severity note`)",
        ),
        (
            &some[..3],
            Severity::Error,
            0,
            "1 error in 3 images (1 warning not shown: `--severity warning`)",
        ),
    ] {
        assert_eq!(summary(problems, least, ignored), expected);
    }
}

/// The members that SARIF 2.1.0 requires, and what they may be: §3.13, §3.14, §3.18, §3.19, §3.27, §3.28, §3.30.
fn assert_sarif(log: &Value) {
    assert_eq!(log["version"], "2.1.0");
    let runs = log["runs"].as_array().unwrap();
    for run in runs {
        let driver = &run["tool"]["driver"];
        assert!(driver["name"].is_string());
        let rules = driver["rules"].as_array().unwrap();
        for rule in rules {
            assert!(rule["id"].is_string() && rule["help"]["text"].is_string(), "{rule}");
            for text in ["shortDescription", "fullDescription"] {
                assert!(rule[text]["text"].as_str().is_some_and(|text| !text.is_empty()), "{rule}");
            }
        }
        for result in run["results"].as_array().unwrap() {
            assert!(result["message"]["text"].is_string(), "{result}");
            assert!(
                ["none", "note", "warning", "error"].contains(&result["level"].as_str().unwrap())
            );
            let index = usize::try_from(result["ruleIndex"].as_u64().unwrap()).unwrap();
            assert_eq!(rules[index]["id"], result["ruleId"], "{result}");
            for location in result["locations"].as_array().unwrap() {
                let physical = &location["physicalLocation"];
                let uri = physical["artifactLocation"]["uri"].as_str().unwrap();
                let base = url::Url::parse("file:///repo/").unwrap();
                assert!(base.join(uri).is_ok() && !uri.contains([' ', '\\']), "{uri}");
                if let Some(region) = physical.get("region") {
                    let [line, column, end_line, end_column] =
                        ["startLine", "startColumn", "endLine", "endColumn"]
                            .map(|name| region[name].as_u64().unwrap());
                    assert!(
                        line >= 1 && column >= 1 && (line, column) <= (end_line, end_column),
                        "{region}"
                    );
                }
            }
        }
    }
}

#[test]
fn sarif_has_what_it_must() {
    let text = written(&checked(), Severity::Warning, sarif);
    let log: Value = serde_json::from_str(&text).unwrap();
    assert_sarif(&log);
    let run = &log["runs"][0];
    assert_eq!(run["tool"]["driver"]["rules"].as_array().unwrap().len(), rules::all().count());
    insta::assert_snapshot!(serde_json::to_string_pretty(&run["results"]).unwrap());
}

/// Whatever a file holds, its log is one.
#[test]
fn sarif_of_real_problems() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("hierarchy.yaml");
    for text in [
        "",
        "version: 2\nimages: {a: {}, B: 1}\n",
        "\u{feff}images: [",
        "version: 1\nimages: {ü: {}}",
    ] {
        fs::write(&file, text).unwrap();
        let checked = Hierarchy::check(&file, &LoadOptions::default());
        assert!(!checked.problems.is_empty());
        assert_sarif(&serde_json::from_str(&written(&checked, Severity::Note, sarif)).unwrap());
    }
}
