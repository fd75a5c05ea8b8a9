//! Events as they stand in JSON: field for field what `docs/events.md` says.
//!
//! The types of a run are free to change; these are not, without a new [`VERSION`].

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    time::Duration,
};

use jiff::Timestamp;
use serde::Serialize;

use super::{
    super::plan::{PlanView, ReasonView, VERSION},
    budget::BudgetViews,
};
use crate::{
    event::{
        Different, Event, EventKind, Outcome, Phase, Promotion, RunTask, SizeBefore, StepFailure,
        StepSummary, StopReason, Summary,
    },
    exit::Exit,
    fingerprint::Fingerprint,
    hierarchy::{NodeName, OnFailure},
    host::moment,
    image::{
        Digest, Tag,
        packages::{self, PackageUpdate},
    },
};

#[derive(Serialize)]
pub(super) struct EventLine<'a> {
    v: u32,
    at: f64,
    #[serde(flatten)]
    body: EventBody<'a>,
}

#[derive(Serialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
enum EventBody<'a> {
    RunStarted {
        run: &'a str,
        registry: Option<&'a str>,
        jobs: usize,
        began: String,
        asked: &'a str,
        commit: Option<&'a str>,
        plan: PlanView<'a>,
    },
    Estimate {
        seconds_left: Option<f64>,
    },
    Warning {
        node: Option<&'a NodeName>,
        message: &'a str,
    },
    RegistryDelayed {
        registry: &'a str,
        message: &'a str,
    },
    StepStarted {
        node: &'a NodeName,
        #[serde(skip_serializing_if = "Option::is_none")]
        engine: Option<&'a str>,
    },
    PhaseStarted {
        node: &'a NodeName,
        phase: PhaseView,
    },
    BuildStep {
        node: &'a NodeName,
        #[serde(skip_serializing_if = "Option::is_none")]
        stage: Option<&'a str>,
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
        #[serde(skip_serializing_if = "Option::is_none")]
        attempts: Option<usize>,
        #[serde(flatten)]
        budget: BudgetViews<'a>,
        #[serde(flatten)]
        outcome: OutcomeView<'a>,
    },
    StopBegan {
        reason: StopReason,
        running: usize,
    },
    PackagesFixed {
        fixed: Vec<FixedView<'a>>,
        left: Vec<LeftView<'a>>,
    },
    TaskStarted {
        task: RunTask,
    },
    PromotionStarted {
        tags: usize,
    },
    ImagesRemoved {
        images: usize,
        bytes: u64,
    },
    TagMoved {
        node: &'a NodeName,
        tag: String,
        from: Option<&'a Digest>,
        to: Option<&'a Digest>,
    },
    RunFinished(SummaryView<'a>),
}

#[derive(Serialize)]
pub(super) struct FixedView<'a> {
    #[serde(flatten)]
    update: &'a PackageUpdate,
    images: &'a [String],
}

#[derive(Serialize)]
pub(super) struct LeftView<'a> {
    #[serde(flatten)]
    update: &'a PackageUpdate,
    version: &'a str,
    images: &'a [String],
}

#[derive(Serialize)]
#[serde(tag = "name", rename_all = "kebab-case")]
enum PhaseView {
    Prepare,
    Pull,
    Build,
    Flatten,
    Tags,
    Measure,
    Test { number: usize, total: usize },
    Gate { number: usize, total: usize },
    Compare,
    Wait,
    Push,
}

#[derive(Serialize)]
#[serde(tag = "outcome", rename_all = "kebab-case")]
enum OutcomeView<'a> {
    Built {
        digest: &'a Digest,
        fingerprint: &'a Fingerprint,
        size: u64,
        added: u64,
        /// Unpacked, as `size`.
        size_before: Option<u64>,
        /// In the registry, if the unpacked size before is not known.
        #[serde(skip_serializing_if = "Option::is_none")]
        packed_before: Option<u64>,
        #[serde(skip_serializing_if = "Option::is_none")]
        packed: Option<u64>,
        #[serde(skip_serializing_if = "Option::is_none")]
        different: Option<&'a Different>,
    },
    Unchanged {
        digest: &'a Digest,
    },
    Reused {
        digest: &'a Digest,
    },
    Kept {
        digest: &'a Digest,
    },
    Held {
        digest: &'a Digest,
    },
    Failed {
        failure: Box<FailureView<'a>>,
    },
    Skipped {
        failed: Option<&'a NodeName>,
        #[serde(skip_serializing_if = "<[NodeName]>::is_empty")]
        others: &'a [NodeName],
    },
    Cancelled,
}

#[derive(Serialize)]
struct FailureView<'a> {
    phase: PhaseView,
    message: &'a str,
    exit: Exit,
    exit_code: u8,
    on_failure: OnFailure,
    at: Option<PathView<'a>>,
    tail: Vec<String>,
    log: Option<String>,
}

#[derive(Serialize)]
struct PathView<'a> {
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
    steps: Vec<EventStepView<'a>>,
}

#[derive(Serialize)]
pub(super) struct EventStepView<'a> {
    node: &'a NodeName,
    #[serde(flatten)]
    why: ReasonView<'a>,
    #[serde(flatten)]
    outcome: OutcomeView<'a>,
    seconds: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    attempts: Option<usize>,
    #[serde(flatten)]
    budget: BudgetViews<'a>,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    reports: &'a [PathBuf],
    promoted: &'a [Tag],
}

#[derive(Serialize)]
#[serde(tag = "result", rename_all = "kebab-case")]
pub(super) enum PromotionView<'a> {
    Nothing,
    NotAsked { stored: bool },
    Staged,
    Withheld,
    Done { moved: usize, seconds: f64, held: &'a BTreeMap<NodeName, NodeName> },
    Incomplete { moved: usize, of: usize, why: &'a str, left: Vec<String> },
}

impl<'a> EventLine<'a> {
    pub(super) fn new(event: &'a Event) -> Self {
        Self { v: VERSION, at: seconds(event.at), body: body(&event.kind) }
    }
}

fn body(kind: &EventKind) -> EventBody<'_> {
    match kind {
        EventKind::RunStarted { run, plan, registry, jobs, began, asked, commit } => {
            EventBody::RunStarted {
                run,
                registry: registry.as_deref(),
                jobs: *jobs,
                began: whole_seconds(*began),
                asked,
                commit: commit.as_deref(),
                plan: PlanView::new(plan),
            }
        }
        EventKind::Estimated { left } => EventBody::Estimate { seconds_left: left.map(seconds) },
        EventKind::Warning { node, message } => EventBody::Warning { node: node.as_ref(), message },
        EventKind::RegistryDelayed { registry, message } => {
            EventBody::RegistryDelayed { registry, message }
        }
        EventKind::StepStarted { node, engine } => {
            EventBody::StepStarted { node, engine: engine.as_deref() }
        }
        EventKind::PhaseStarted { node, phase } => {
            EventBody::PhaseStarted { node, phase: phase_view(phase) }
        }
        EventKind::BuildStep { node, stage, number, total, text } => {
            let stage = stage.as_deref();
            EventBody::BuildStep { node, stage, number: *number, total: *total, text }
        }
        EventKind::Log { node, line } => EventBody::Log { node, line: lossy(line) },
        EventKind::StepFinished { node, outcome, took, attempts, over_budget } => {
            EventBody::StepFinished {
                node,
                seconds: seconds(*took),
                attempts: several(*attempts),
                budget: BudgetViews::new(node, outcome, over_budget),
                outcome: outcome_view(outcome),
            }
        }
        EventKind::StopBegan { reason, running } => {
            EventBody::StopBegan { reason: *reason, running: *running }
        }
        EventKind::PackagesFixed { lines } => {
            let (fixed, left) = packages(lines);
            EventBody::PackagesFixed { fixed, left }
        }
        EventKind::TaskStarted { task } => EventBody::TaskStarted { task: *task },
        EventKind::PromotionStarted { tags } => EventBody::PromotionStarted { tags: *tags },
        EventKind::ImagesRemoved { images, bytes } => {
            EventBody::ImagesRemoved { images: *images, bytes: *bytes }
        }
        EventKind::TagMoved { node, tag, from, to } => {
            EventBody::TagMoved { node, tag: tag.to_string(), from: from.as_ref(), to: to.as_ref() }
        }
        EventKind::RunFinished { summary } => EventBody::RunFinished(summary_view(summary)),
    }
}

pub(super) fn packages(lines: &[packages::UpdateLine]) -> (Vec<FixedView<'_>>, Vec<LeftView<'_>>) {
    let (mut fixed, mut left) = (Vec::new(), Vec::new());
    for line in lines {
        match line {
            packages::UpdateLine::Fixed { update, images } => {
                fixed.push(FixedView { update, images });
            }
            packages::UpdateLine::Left { update, version, images } => {
                left.push(LeftView { update, version, images });
            }
        }
    }
    (fixed, left)
}

fn phase_view(phase: &Phase) -> PhaseView {
    match *phase {
        Phase::Prepare => PhaseView::Prepare,
        Phase::Pull => PhaseView::Pull,
        Phase::Build => PhaseView::Build,
        Phase::Flatten => PhaseView::Flatten,
        Phase::Test { number, total } => PhaseView::Test { number, total },
        Phase::Tags => PhaseView::Tags,
        Phase::Gate { number, total } => PhaseView::Gate { number, total },
        Phase::Measure => PhaseView::Measure,
        Phase::Compare => PhaseView::Compare,
        Phase::WaitForParents | Phase::WaitForTestJob => PhaseView::Wait,
        Phase::Push => PhaseView::Push,
    }
}

fn outcome_view(outcome: &Outcome) -> OutcomeView<'_> {
    match outcome {
        Outcome::Built { digest, fingerprint, size, added, before, different, .. } => {
            let (size_before, packed) = match *before {
                SizeBefore::Unpacked(before) => (Some(before), None),
                SizeBefore::Packed { before, now } => (None, Some((before, now))),
                SizeBefore::New | SizeBefore::Unknown => (None, None),
            };
            OutcomeView::Built {
                digest,
                fingerprint,
                size: *size,
                added: *added,
                size_before,
                packed_before: packed.map(|(before, _)| before),
                packed: packed.map(|(_, now)| now),
                different: different.as_ref(),
            }
        }
        Outcome::Unchanged { digest } => OutcomeView::Unchanged { digest },
        Outcome::Reused { digest } => OutcomeView::Reused { digest },
        Outcome::Kept { digest } => OutcomeView::Kept { digest },
        Outcome::Held { digest } => OutcomeView::Held { digest },
        Outcome::Failed(failure) => {
            OutcomeView::Failed { failure: Box::new(failure_view(failure)) }
        }
        Outcome::Skipped { failed } => OutcomeView::Skipped {
            failed: failed.first(),
            others: failed.get(1..).unwrap_or_default(),
        },
        Outcome::Cancelled => OutcomeView::Cancelled,
    }
}

fn failure_view(failure: &StepFailure) -> FailureView<'_> {
    let text = |path: &Path| path.to_string_lossy().into_owned();
    FailureView {
        phase: phase_view(&failure.phase),
        message: &failure.message,
        exit: failure.exit,
        exit_code: failure.exit.code(),
        on_failure: failure.on_failure,
        at: failure.at.as_ref().map(|(path, line, instruction)| PathView {
            path: text(path),
            line: *line,
            text: instruction,
        }),
        tail: failure.tail.iter().map(|line| lossy(line)).collect(),
        log: failure.log.as_deref().map(text),
    }
}

fn summary_view(summary: &Summary) -> SummaryView<'_> {
    SummaryView {
        run: &summary.run,
        exit: summary.exit,
        exit_code: summary.exit.code(),
        stopped: summary.stopped,
        seconds: seconds(summary.took),
        promotion: promotion(&summary.promotion),
        steps: steps(summary),
    }
}

pub(super) fn steps(summary: &Summary) -> Vec<EventStepView<'_>> {
    let view = |step| {
        let step: &StepSummary = step;
        let StepSummary {
            node,
            reason,
            outcome,
            took,
            attempts,
            over_budget,
            reports,
            promoted,
            content_tags: _,
        } = step;
        EventStepView {
            node,
            why: ReasonView::new(reason),
            outcome: outcome_view(outcome),
            seconds: seconds(*took),
            attempts: several(*attempts),
            budget: BudgetViews::new(node, outcome, over_budget),
            reports,
            promoted,
        }
    };
    summary.steps.iter().map(view).collect()
}

pub(super) fn promotion(promotion: &Promotion) -> PromotionView<'_> {
    match promotion {
        Promotion::Nothing => PromotionView::Nothing,
        Promotion::NotAsked(why) => PromotionView::NotAsked { stored: why.are_stored() },
        Promotion::Staged => PromotionView::Staged,
        Promotion::Withheld => PromotionView::Withheld,
        Promotion::Done { moved, took, held } => {
            PromotionView::Done { moved: *moved, seconds: seconds(*took), held }
        }
        Promotion::Incomplete { moved, of, why, left } => PromotionView::Incomplete {
            moved: *moved,
            of: *of,
            why,
            left: left.iter().map(ToString::to_string).collect(),
        },
    }
}

/// One attempt goes without saying.
fn several(attempts: usize) -> Option<usize> {
    Some(attempts).filter(|attempts| *attempts > 1)
}

fn lossy(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// A moment in RFC 3339, in UTC.
pub(in crate::report) fn whole_seconds(at: Timestamp) -> String {
    moment::whole_seconds(at).to_string()
}

/// Seconds with three decimals.
pub(in crate::report) fn seconds(duration: Duration) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "exact for 285,000 years")]
    let millis = duration.as_millis() as f64;
    millis / 1000.0
}
