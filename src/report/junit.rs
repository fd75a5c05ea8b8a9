//! A run as `JUnit` XML: one suite, in which each build and each test of each image is a case.
//!
//! The form is the one that Jenkins, GitLab and others read (`junit-10.xsd` of Jenkins' xUnit plugin).

use std::{
    io::{self, Write},
    time::Duration,
};

use quick_junit::{NonSuccessKind, Report, TestCase, TestCaseStatus, TestSuite};

use super::{
    run_data::{Record, StepPart},
    sanitize,
};
use crate::{
    event::{Outcome, StepFailure, StepSummary},
    exit::Exit,
    hierarchy::Hierarchy,
};

/// What the suite is called, and what a run is that did not begin.
const NAME: &str = "rebuild";

/// Writes the suite of a run that is over, however it ended. Without a hierarchy, since that was not
/// valid, there is an error and nothing else.
pub fn write(
    record: &Record,
    hierarchy: Option<&Hierarchy>,
    out: &mut dyn Write,
) -> io::Result<()> {
    let mut suite = TestSuite::new(NAME);
    suite.extra.insert("timestamp".into(), timestamp(record).into());
    for (name, value) in [("asked", Some(&record.asked)), ("commit", record.commit.as_ref())] {
        if let Some(value) = value.filter(|value| !value.is_empty()) {
            suite.add_property((name, value.as_str()));
        }
    }
    if let Some(summary) = &record.summary {
        suite.set_time(summary.took);
        suite.add_property(("run", summary.run.as_str()));
        for step in &summary.steps {
            suite.add_test_cases(cases(step, record, hierarchy));
        }
    }
    if let Some((exit, message)) = &record.error {
        let mut status = TestCaseStatus::non_success(NonSuccessKind::Error);
        status.set_type(kind(*exit)).set_message(text(message));
        suite.add_test_case(case(NAME, "run", status, Duration::ZERO));
    }
    let mut report = Report::new(NAME);
    report.add_test_suite(suite);
    report.serialize(out).map_err(io::Error::other)
}

/// The build of an image, its tests, its budget, and what came after them if that failed.
fn cases(step: &StepSummary, record: &Record, hierarchy: Option<&Hierarchy>) -> Vec<TestCase> {
    let node = step.node.as_str();
    let time = |part| record.phases.get(&(step.node.clone(), part)).copied().unwrap_or_default();
    let skipped = |why: &str| {
        let mut status = TestCaseStatus::skipped();
        status.set_message(text(why));
        status
    };
    let failed = match &step.outcome {
        Outcome::Built { .. } | Outcome::Unchanged { .. } => None,
        Outcome::Failed(failure) => Some((failure, StepPart::of(&failure.phase))),
        other => {
            let status = skipped(&other.to_string());
            return vec![case(node, "build", status, step.took)];
        }
    };
    let status_of = |part| match failed {
        Some((failure, at)) if at == part => failure_of(failure),
        Some((_, at)) if at < part => skipped("not run, after a failure"),
        _ => TestCaseStatus::success(),
    };
    let mut cases = vec![case(node, "build", status_of(StepPart::Build), time(StepPart::Build))];
    let tests = hierarchy.filter(|it| it.get(&step.node).is_some());
    let tests = tests.into_iter().flat_map(|hierarchy| hierarchy.tests(&step.node));
    for (number, test) in (1..).zip(tests) {
        let what = test.check.shown();
        let (name, part) = (format!("test {number}: {}", text(&what)), StepPart::Test(number));
        cases.push(case(node, &name, status_of(part), time(part)));
    }
    let gates = hierarchy.filter(|it| it.get(&step.node).is_some());
    let gates = gates.into_iter().flat_map(|hierarchy| hierarchy.gates(&step.node));
    for (number, gate) in (1..).zip(gates) {
        let (name, part) =
            (format!("gate {number}: {}", text(&gate.run.join(" "))), StepPart::Gate(number));
        let mut gate = case(node, &name, status_of(part), time(part));
        let suffix = format!(".gate-{number}.report");
        let mut reports = step.reports.iter().map(|path| path.to_string_lossy());
        if let Some(report) = reports.find(|path| path.ends_with(&suffix)) {
            // Jenkins and GitLab read this form.
            gate.set_system_out(text(&format!("[[ATTACHMENT|{report}]]")));
        }
        cases.push(gate);
    }
    let has_budget =
        hierarchy.and_then(|it| it.get(&step.node)).is_some_and(|it| it.budget.has_limits());
    if has_budget || step.is_warned() || failed.is_some_and(|(_, at)| at == StepPart::Measure) {
        let (status, time) = (status_of(StepPart::Measure), time(StepPart::Measure));
        let mut budget = case(node, "budget", status, time);
        if step.is_warned() {
            let warnings: Vec<String> = step.over_budget.iter().map(ToString::to_string).collect();
            budget.set_system_out(text(&format!("warning: {}", warnings.join("; "))));
        }
        cases.push(budget);
    }
    if failed.is_some_and(|(_, at)| at == StepPart::Store) {
        cases.push(case(node, "store", status_of(StepPart::Store), time(StepPart::Store)));
    }
    cases
}

fn case(class: &str, name: &str, status: TestCaseStatus, time: Duration) -> TestCase {
    let mut case = TestCase::new(name, status);
    case.set_classname(text(class)).set_time(time);
    case
}

/// What failed, with the last lines that it printed.
fn failure_of(failure: &StepFailure) -> TestCaseStatus {
    let mut status = TestCaseStatus::non_success(match failure.exit {
        Exit::BuildFailed | Exit::TestFailed => NonSuccessKind::Failure,
        _ => NonSuccessKind::Error,
    });
    status.set_type(kind(failure.exit)).set_message(text(&failure.message));
    let mut lines: Vec<String> = failure.message.lines().map(|one| line(one.as_bytes())).collect();
    if let Some((path, number, instruction)) = &failure.at {
        let path = text(&path.to_string_lossy());
        lines.push(format!("at {path}:{number}: {}", text(instruction)));
    }
    lines.extend(failure.tail.iter().map(|one| line(one)));
    if let Some(log) = &failure.log {
        lines.push(format!("whole log: {}", text(&log.to_string_lossy())));
    }
    status.set_description(lines.join("\n"));
    status
}

/// As in `docs/exit-codes.md`.
fn kind(exit: Exit) -> String {
    serde_json::to_value(exit)
        .ok()
        .and_then(|name| name.as_str().map(str::to_owned))
        .unwrap_or_default()
}

fn timestamp(record: &Record) -> String {
    record.began.strftime("%Y-%m-%dT%H:%M:%S+00:00").to_string()
}

fn text(text: &str) -> String {
    valid(&sanitize::text(text))
}

fn line(bytes: &[u8]) -> String {
    valid(&sanitize::line(bytes, false))
}

/// Without the two characters that XML 1.0 forbids and that are no control characters.
fn valid(text: &str) -> String {
    text.replace(['\u{fffe}', '\u{ffff}'], "\u{fffd}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        hierarchy::test_hierarchy,
        report::scenario::{self, recorded},
    };

    fn xml(events: &[crate::event::Event]) -> String {
        let hierarchy = test_hierarchy("os-base\nwebapp-base < os-base");
        let mut out = Vec::new();
        write(&recorded(events), Some(&hierarchy), &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn each_image_is_a_case_and_a_failure_has_its_log() {
        insta::assert_snapshot!(xml(&scenario::failure()), @r#"
        <?xml version="1.0" encoding="UTF-8"?>
        <testsuites name="rebuild" tests="6" skipped="4" failures="1" errors="0">
            <testsuite name="rebuild" tests="6" skipped="4" errors="0" failures="1" time="42.100" timestamp="2026-11-24T03:00:00+00:00">
                <properties>
                    <property name="asked" value="--since abc"/>
                    <property name="commit" value="0123456789ab"/>
                    <property name="run" value="r1"/>
                </properties>
                <testcase name="build" classname="os-base" time="2.000"/>
                <testcase name="build" classname="webapp-base" time="30.000">
                    <failure message="RUN make: exit code 2" type="build-failed">RUN make: exit code 2
        at images/webapp-base/Dockerfile:7: RUN make
        cc -o app app.c
        make: *** [app] Error 1\xff␛[2J
        whole log: /var/lib/rebuild/runs/r1/webapp-base.log</failure>
                </testcase>
                <testcase name="build" classname="ruby-3.4" time="0.000">
                    <skipped message="skipped: `webapp-base` failed"/>
                </testcase>
                <testcase name="build" classname="tools" time="30.000">
                    <skipped message="cancelled"/>
                </testcase>
                <testcase name="build" classname="cron" time="0.000">
                    <skipped message="already built"/>
                </testcase>
                <testcase name="build" classname="mirror" time="0.000">
                    <skipped message="up to date"/>
                </testcase>
            </testsuite>
        </testsuites>
        "#);
    }

    #[test]
    fn an_image_over_its_budget_is_no_failure_if_that_only_warns() {
        let text = xml(&scenario::over_budget());
        let (_, case) = text.split_once("<testcase name=\"budget\" classname=\"os-base\"").unwrap();
        let warning = "warning: it has 32 layers, 2 more than its `layers` budget of 30";
        assert!(case.contains(warning) && text.contains("failures=\"0\""), "{text}");
    }

    #[test]
    fn no_output_breaks_the_file() {
        let hostile = b"]]></failure> & \" \x00 \x1b[2J \xff \xef\xbf\xbe '--> <a/>";
        let text = xml(&scenario::hostile(hostile));
        let read = Report::deserialize_from_str(&text).unwrap();
        assert_eq!((read.tests, read.errors), (2, 1), "{text}");
        assert!(!text.contains(['\0', '\u{1b}', '\u{fffe}']), "{text}");
    }

    #[test]
    fn a_run_that_did_not_begin_is_an_error() {
        let mut record = Record::new(String::new());
        record.began = "2026-11-24T03:00:00Z".parse().unwrap();
        record.error = Some((Exit::Usage, "`hierarchy.yaml` has a problem".to_owned()));
        let mut out = Vec::new();
        write(&record, None, &mut out).unwrap();
        insta::assert_snapshot!(String::from_utf8(out).unwrap(), @r#"
        <?xml version="1.0" encoding="UTF-8"?>
        <testsuites name="rebuild" tests="1" skipped="0" failures="0" errors="1">
            <testsuite name="rebuild" tests="1" skipped="0" errors="1" failures="0" timestamp="2026-11-24T03:00:00+00:00">
                <testcase name="run" classname="rebuild" time="0.000">
                    <error message="`hierarchy.yaml` has a problem" type="usage"/>
                </testcase>
            </testsuite>
        </testsuites>
        "#);
    }
}
