//! Events as JSON lines, for programs. `docs/events.md` documents every field; a test compares.
//!
//! **Invariant:** each line is one whole JSON object, and safe to print: what a terminal or a CI system
//! could obey is written as `\u` escapes, so that a program still reads exactly what was printed.

use std::{
    collections::BTreeMap,
    io::{self, Write},
    path::Path,
    time::Duration,
};

use serde::Serialize;

use super::{
    Out,
    plan::{PlanView, ReasonView, VERSION},
    sanitize::reorders,
};
use crate::{
    exit::Exit,
    hierarchy::{NodeName, OnFailure},
    image::{Digest, Tag},
    run::{Event, EventKind, Failure, Outcome, Phase, Promotion, Reporter, StopReason, Summary},
};

pub(super) struct Json {
    out: Out,
}

impl Json {
    pub(super) fn new(out: Out) -> Self {
        Self { out }
    }
}

impl Reporter for Json {
    fn report(&mut self, event: &Event) -> io::Result<()> {
        let line = Line { v: VERSION, at: seconds(event.at), body: body(&event.kind) };
        write(&line, &mut self.out)?;
        // Whoever reads along wants to see it now.
        self.out.flush()
    }
}

/// Writes one line of JSON, harmless to terminals and CI systems.
pub(super) fn write(value: &impl Serialize, out: &mut dyn Write) -> io::Result<()> {
    let mut line = harmless(&serde_json::to_string(value)?);
    line.push('\n');
    out.write_all(line.as_bytes())
}

/// Rewrites characters within the strings of a JSON text: nothing of this occurs outside of strings.
fn harmless(json: &str) -> String {
    let mut out = String::with_capacity(json.len() + 1);
    let mut last = ' ';
    for c in json.chars() {
        // `##[`, `##vso[`, `::error::`, `section_start:`: none is left without one of these.
        let marker = matches!((last, c), ('#', '#') | (':', ':'))
            || (c == ':' && (out.ends_with("section_start") || out.ends_with("section_end")));
        if c.is_control() || reorders(c) || marker {
            let mut units = [0; 2];
            for unit in c.encode_utf16(&mut units) {
                out.push_str(&format!("\\u{unit:04x}"));
            }
            last = ' ';
        } else {
            out.push(c);
            last = c;
        }
    }
    out
}

#[derive(Serialize)]
struct Line<'a> {
    v: u32,
    at: f64,
    #[serde(flatten)]
    body: Body<'a>,
}

#[derive(Serialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
enum Body<'a> {
    RunStarted {
        run: &'a str,
        registry: Option<&'a str>,
        jobs: usize,
        plan: PlanView<'a>,
    },
    Warning {
        node: Option<&'a NodeName>,
        message: &'a str,
    },
    StepStarted {
        node: &'a NodeName,
    },
    PhaseStarted {
        node: &'a NodeName,
        phase: PhaseView,
    },
    BuildStep {
        node: &'a NodeName,
        number: usize,
        total: usize,
        text: &'a str,
    },
    Log {
        node: &'a NodeName,
        line: String,
    },
    StepFinished {
        node: &'a NodeName,
        seconds: f64,
        #[serde(flatten)]
        outcome: OutcomeView<'a>,
    },
    StopBegan {
        reason: StopReason,
        running: usize,
    },
    PromotionStarted {
        tags: usize,
    },
    TagMoved {
        node: &'a NodeName,
        tag: String,
        from: Option<&'a Digest>,
        to: &'a Digest,
    },
    RunFinished(SummaryView<'a>),
}

#[derive(Serialize)]
#[serde(tag = "name", rename_all = "kebab-case")]
enum PhaseView {
    Prepare,
    Pull,
    Build,
    Test { number: usize, total: usize },
    Push,
}

#[derive(Serialize)]
#[serde(tag = "outcome", rename_all = "kebab-case")]
enum OutcomeView<'a> {
    Built { digest: &'a Digest, size: u64, size_before: Option<u64> },
    Unchanged { digest: &'a Digest },
    Reused { digest: &'a Digest },
    Kept { digest: &'a Digest },
    Failed { failure: Box<FailureView<'a>> },
    Skipped { failed: &'a NodeName },
    Cancelled,
}

#[derive(Serialize)]
struct FailureView<'a> {
    phase: PhaseView,
    message: &'a str,
    exit: Exit,
    exit_code: u8,
    on_failure: OnFailure,
    at: Option<Place<'a>>,
    tail: Vec<String>,
    log: Option<String>,
}

#[derive(Serialize)]
struct Place<'a> {
    path: String,
    line: usize,
    text: &'a str,
}

#[derive(Serialize)]
struct SummaryView<'a> {
    run: &'a str,
    exit: Exit,
    exit_code: u8,
    stopped: Option<StopReason>,
    seconds: f64,
    promotion: PromotionView<'a>,
    steps: Vec<StepView<'a>>,
}

#[derive(Serialize)]
struct StepView<'a> {
    node: &'a NodeName,
    #[serde(flatten)]
    why: ReasonView<'a>,
    #[serde(flatten)]
    outcome: OutcomeView<'a>,
    seconds: f64,
    promoted: &'a [Tag],
}

#[derive(Serialize)]
#[serde(tag = "result", rename_all = "kebab-case")]
enum PromotionView<'a> {
    Nothing,
    NotAsked,
    Withheld,
    Done { moved: usize, seconds: f64, held: &'a BTreeMap<NodeName, NodeName> },
    Incomplete { moved: usize, of: usize, why: &'a str },
}

fn body(kind: &EventKind) -> Body<'_> {
    match kind {
        EventKind::RunStarted { run, plan, registry, jobs } => Body::RunStarted {
            run,
            registry: registry.as_deref(),
            jobs: *jobs,
            plan: PlanView::new(plan),
        },
        EventKind::Warning { node, message } => Body::Warning { node: node.as_ref(), message },
        EventKind::StepStarted { node } => Body::StepStarted { node },
        EventKind::PhaseStarted { node, phase } => {
            Body::PhaseStarted { node, phase: phase_view(phase) }
        }
        EventKind::BuildStep { node, number, total, text } => {
            Body::BuildStep { node, number: *number, total: *total, text }
        }
        EventKind::Log { node, line } => Body::Log { node, line: lossy(line) },
        EventKind::StepFinished { node, outcome, took } => {
            Body::StepFinished { node, seconds: seconds(*took), outcome: outcome_view(outcome) }
        }
        EventKind::StopBegan { reason, running } => {
            Body::StopBegan { reason: *reason, running: *running }
        }
        EventKind::PromotionStarted { tags } => Body::PromotionStarted { tags: *tags },
        EventKind::TagMoved { node, tag, from, to } => {
            Body::TagMoved { node, tag: tag.to_string(), from: from.as_ref(), to }
        }
        EventKind::RunFinished { summary } => Body::RunFinished(summary_view(summary)),
    }
}

fn phase_view(phase: &Phase) -> PhaseView {
    match *phase {
        Phase::Prepare => PhaseView::Prepare,
        Phase::Pull => PhaseView::Pull,
        Phase::Build => PhaseView::Build,
        Phase::Test { number, total } => PhaseView::Test { number, total },
        Phase::Push => PhaseView::Push,
    }
}

fn outcome_view(outcome: &Outcome) -> OutcomeView<'_> {
    match outcome {
        Outcome::Built { digest, size, size_before } => {
            OutcomeView::Built { digest, size: *size, size_before: *size_before }
        }
        Outcome::Unchanged { digest } => OutcomeView::Unchanged { digest },
        Outcome::Reused { digest } => OutcomeView::Reused { digest },
        Outcome::Kept { digest } => OutcomeView::Kept { digest },
        Outcome::Failed(failure) => {
            OutcomeView::Failed { failure: Box::new(failure_view(failure)) }
        }
        Outcome::Skipped { failed } => OutcomeView::Skipped { failed },
        Outcome::Cancelled => OutcomeView::Cancelled,
    }
}

fn failure_view(failure: &Failure) -> FailureView<'_> {
    let text = |path: &Path| path.to_string_lossy().into_owned();
    FailureView {
        phase: phase_view(&failure.phase),
        message: &failure.message,
        exit: failure.exit,
        exit_code: failure.exit.code(),
        on_failure: failure.on_failure,
        at: failure.at.as_ref().map(|(path, line, instruction)| Place {
            path: text(path),
            line: *line,
            text: instruction,
        }),
        tail: failure.tail.iter().map(|line| lossy(line)).collect(),
        log: failure.log.as_deref().map(text),
    }
}

fn summary_view(summary: &Summary) -> SummaryView<'_> {
    let steps = summary.steps.iter().map(|step| StepView {
        node: &step.node,
        why: ReasonView::new(&step.reason),
        outcome: outcome_view(&step.outcome),
        seconds: seconds(step.took),
        promoted: &step.promoted,
    });
    SummaryView {
        run: &summary.run,
        exit: summary.exit,
        exit_code: summary.exit.code(),
        stopped: summary.stopped,
        seconds: seconds(summary.took),
        promotion: match &summary.promotion {
            Promotion::Nothing => PromotionView::Nothing,
            Promotion::NotAsked => PromotionView::NotAsked,
            Promotion::Withheld => PromotionView::Withheld,
            Promotion::Done { moved, took, held } => {
                PromotionView::Done { moved: *moved, seconds: seconds(*took), held }
            }
            Promotion::Incomplete { moved, of, why } => {
                PromotionView::Incomplete { moved: *moved, of: *of, why }
            }
        },
        steps: steps.collect(),
    }
}

fn lossy(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Seconds with three decimals.
fn seconds(duration: Duration) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "exact for 285,000 years")]
    let millis = duration.as_millis() as f64;
    millis / 1000.0
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;
    use crate::report::scenario::{self, Paper, tell};

    /// The lines of a run in which everything happens.
    fn everything() -> Vec<Value> {
        let paper = Paper::default();
        for events in [scenario::success(), scenario::failure(), scenario::held()] {
            tell(&mut Json::new(paper.out()), &events);
        }
        paper.text().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// Each `### `name`` of the page, with the first cells of the table below it.
    fn documented() -> BTreeMap<String, BTreeSet<String>> {
        let page = include_str!("../../docs/events.md");
        let code = |text: &str| text.split('`').nth(1).unwrap_or_default().to_owned();
        let mut sections: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        let mut section = String::new();
        for line in page.lines() {
            if line.starts_with('#') {
                section = if line.starts_with("### `") { code(line) } else { String::new() };
                sections.entry(section.clone()).or_default();
            } else if line.starts_with("| `") {
                sections.entry(section.clone()).or_default().insert(code(line));
            }
        }
        sections.remove("");
        sections
    }

    #[test]
    fn every_event_and_field_is_documented() {
        let mut emitted: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for line in everything() {
            let fields = line.as_object().unwrap();
            let names = fields.keys().filter(|key| !["v", "at", "event"].contains(&key.as_str()));
            let name = line["event"].as_str().unwrap().to_owned();
            emitted.entry(name).or_default().extend(names.cloned());
        }
        assert_eq!(emitted, documented());
    }

    /// A new kind of event does not compile here until the scenarios are asked to contain it.
    #[test]
    fn the_scenarios_contain_every_kind() {
        let number = |kind: &EventKind| match kind {
            EventKind::RunStarted { .. } => 0,
            EventKind::Warning { .. } => 1,
            EventKind::StepStarted { .. } => 2,
            EventKind::PhaseStarted { .. } => 3,
            EventKind::BuildStep { .. } => 4,
            EventKind::Log { .. } => 5,
            EventKind::StepFinished { .. } => 6,
            EventKind::StopBegan { .. } => 7,
            EventKind::PromotionStarted { .. } => 8,
            EventKind::TagMoved { .. } => 9,
            EventKind::RunFinished { .. } => 10,
        };
        let events = [scenario::success(), scenario::failure()].concat();
        let kinds: BTreeSet<i32> = events.iter().map(|event| number(&event.kind)).collect();
        assert_eq!(kinds, (0..11).collect());
    }

    proptest! {
        #[test]
        fn harmless_lines_say_the_same(text in "(#|:|e|\\[|vso|section_start|\u{9b}|\u{1b}|\u{202e}|\\\\|\"|\\PC)*") {
            let mut out = Vec::new();
            write(&text, &mut out).unwrap();
            let line = String::from_utf8(out).unwrap();
            prop_assert_eq!(serde_json::from_str::<String>(&line).unwrap(), text);
            let line = line.trim_end_matches('\n');
            prop_assert!(!line.chars().any(|c| c.is_control() || reorders(c)));
            for marker in ["::", "##", "section_start:", "section_end:"] {
                prop_assert!(!line.contains(marker), "{}", line);
            }
        }
    }
}
