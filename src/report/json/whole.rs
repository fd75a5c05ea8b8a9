//! A whole run as one JSON object: `--json-report`, and what `--notify` gets.
//!
//! `docs/ci.md` documents every field; a test compares.

use std::io::{self, Write};

use serde::Serialize;

use super::{
    super::{plan::VERSION, run_data::Record},
    view::{
        EventStepView, FixedView, LeftView, PromotionView, packages, promotion, seconds, steps,
        whole_seconds,
    },
    write,
};
use crate::{event::StopReason, exit::Exit, hierarchy::NodeName};

#[derive(Serialize)]
struct Whole<'a> {
    v: u32,
    run: Option<&'a str>,
    began: String,
    asked: &'a str,
    commit: Option<&'a str>,
    registry: Option<&'a str>,
    exit: Exit,
    exit_code: u8,
    error: Option<&'a str>,
    stopped: Option<StopReason>,
    seconds: f64,
    promotion: PromotionView<'a>,
    steps: Vec<EventStepView<'a>>,
    warnings: Vec<WarningView<'a>>,
    fixed: Vec<FixedView<'a>>,
    left: Vec<LeftView<'a>>,
    jobs: Vec<JobView<'a>>,
}

/// One image of a job of a pipeline.
#[derive(Serialize)]
struct JobView<'a> {
    node: &'a NodeName,
    began: String,
    ended: String,
    failed: bool,
    job: Option<&'a str>,
    runner: Option<&'a str>,
}

#[derive(Serialize)]
struct WarningView<'a> {
    node: Option<&'a NodeName>,
    message: &'a str,
}

/// Writes what came of a run that is over, however it ended.
pub fn whole(record: &Record, out: &mut dyn Write) -> io::Result<()> {
    let summary = record.summary.as_ref();
    let exit = record.exit();
    let (fixed, left) = packages(&record.packages);
    let whole = Whole {
        v: VERSION,
        run: summary.map(|summary| summary.run.as_str()),
        began: whole_seconds(record.began),
        asked: &record.asked,
        commit: record.commit.as_deref(),
        registry: record.registry.as_deref(),
        exit,
        exit_code: exit.code(),
        error: record.error.as_ref().map(|(_, message)| message.as_str()),
        stopped: summary.and_then(|summary| summary.stopped),
        seconds: summary.map_or(0.0, |summary| seconds(summary.took)),
        promotion: summary.map_or(PromotionView::Nothing, |it| promotion(&it.promotion)),
        steps: summary.map_or_else(Vec::new, steps),
        warnings: record
            .warnings
            .iter()
            .map(|(node, message)| WarningView { node: node.as_ref(), message })
            .collect(),
        fixed,
        left,
        jobs: record
            .jobs
            .iter()
            .map(|job| JobView {
                node: &job.node,
                began: whole_seconds(job.began),
                ended: whole_seconds(job.ended),
                failed: job.has_failed,
                job: job.job.as_deref(),
                runner: job.runner.as_deref(),
            })
            .collect(),
    };
    write(&whole, out)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use serde_json::Value;

    use super::*;
    use crate::report::scenario::{self, recorded};

    fn json(record: &Record) -> Value {
        let mut out = Vec::new();
        whole(record, &mut out).unwrap();
        serde_json::from_slice(&out).unwrap()
    }

    #[test]
    fn every_field_of_the_report_is_documented() {
        let page = include_str!("../../../docs/ci.md");
        let table = page.split("## The JSON report").nth(1).unwrap().split("\n## ").next().unwrap();
        let rows = table.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next());
        let documented: BTreeSet<&str> = rows.collect();
        let report = json(&recorded(&scenario::refreshed()));
        let written = report.as_object().unwrap().keys().map(String::as_str).collect();
        assert_eq!(documented, written);
    }

    #[test]
    fn it_says_what_the_last_event_says() {
        for events in [scenario::success(), scenario::failure(), scenario::held()] {
            let paper = scenario::Paper::default();
            scenario::tell(&mut super::super::Json::new(paper.out()), &events);
            let last: Value = serde_json::from_str(paper.text().lines().last().unwrap()).unwrap();
            let report = json(&recorded(&events));
            for field in ["run", "exit", "exit_code", "stopped", "seconds", "promotion", "steps"] {
                assert_eq!(report[field], last[field], "{field}");
            }
        }
    }

    #[test]
    fn a_run_that_did_not_begin_has_a_report() {
        let mut record = Record::new("--from x".to_owned());
        record.error = Some((Exit::EngineUnreachable, "nobody answers".to_owned()));
        let report = json(&record);
        assert_eq!(report["exit"], "engine-unreachable");
        assert_eq!(report["exit_code"], 20);
        assert_eq!(report["error"], "nobody answers");
        assert_eq!(report["steps"], Value::Array(vec![]));
        assert_eq!(report["run"], Value::Null);
    }
}
