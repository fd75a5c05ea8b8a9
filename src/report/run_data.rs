//! What is kept of a run for those who read of it when it is over.
//!
//! **Invariant:** nothing in it grows with what builds print.

use std::{collections::BTreeMap, io, sync::Arc, time::Duration};

use jiff::Timestamp;

use crate::{
    event::{Event, EventKind, Phase, Reporter, StopReason, Summary},
    exit::Exit,
    hierarchy::NodeName,
    image::packages,
    plan::Plan,
};

/// A run from its command to its end.
#[derive(Debug)]
pub struct Record {
    pub began: Timestamp,
    /// The flags that select, as they could be typed; empty for everything that is out of date.
    pub asked: String,
    /// The commit that is checked out, `-dirty` behind it if anything differs.
    pub commit: Option<String>,
    pub registry: Option<String>,
    /// None if it ended before there was one.
    pub plan: Option<Arc<Plan>>,
    pub warnings: Vec<(Option<NodeName>, String)>,
    pub packages: Vec<packages::UpdateLine>,
    pub summary: Option<Summary>,
    /// The gravest reason to stop that came, if only to be noted until the tags were moved.
    pub stopped: Option<StopReason>,
    /// Why it could not begin, or not go on.
    pub error: Option<(Exit, String)>,
    /// How long each image spent in each phase; of several tries all together.
    pub(super) phases: BTreeMap<(NodeName, StepPart), Duration>,
    under_way: BTreeMap<NodeName, (StepPart, Duration)>,
}

/// What a step is divided into.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum StepPart {
    /// Up to the first test.
    Build,
    /// The `n`th test, from 1.
    Test(usize),
    /// The comparison with its budget.
    Measure,
    /// The `n`th gate, from 1.
    Gate(usize),
    /// What comes after that.
    Store,
}

impl StepPart {
    pub(super) fn of(phase: &Phase) -> Self {
        match phase {
            Phase::Prepare
            | Phase::Pull
            | Phase::Build
            | Phase::Flatten
            | Phase::Compare
            | Phase::WaitForParents
            | Phase::WaitForTestJob => Self::Build,
            Phase::Test { number, .. } => Self::Test(*number),
            Phase::Measure => Self::Measure,
            Phase::Gate { number, .. } => Self::Gate(*number),
            Phase::Tags | Phase::Push => Self::Store,
        }
    }
}

impl Record {
    /// Of a run that is asked for now.
    pub fn new(asked: String) -> Self {
        Self {
            began: Timestamp::now(),
            asked,
            commit: None,
            registry: None,
            plan: None,
            warnings: Vec::new(),
            packages: Vec::new(),
            summary: None,
            stopped: None,
            error: None,
            phases: BTreeMap::new(),
            under_way: BTreeMap::new(),
        }
    }

    /// How it ended.
    pub fn exit(&self) -> Exit {
        match (&self.error, &self.summary) {
            (Some((exit, _)), _) => *exit,
            (None, Some(summary)) => summary.exit,
            (None, None) => Exit::Interrupted,
        }
    }

    fn take(&mut self, event: &Event) {
        match &event.kind {
            EventKind::RunStarted { plan, registry, .. } => {
                self.plan = Some(plan.clone());
                self.registry.clone_from(registry);
            }
            EventKind::Warning { node, message } => {
                self.warnings.push((node.clone(), message.clone()));
            }
            EventKind::StepStarted { node } => self.turn(node, Some(StepPart::Build), event.at),
            EventKind::PhaseStarted { node, phase } => {
                let part = (!phase.is_wait()).then(|| StepPart::of(phase));
                self.turn(node, part, event.at);
            }
            EventKind::StepFinished { node, .. } => self.turn(node, None, event.at),
            EventKind::StopBegan { reason, .. } => self.stopped = self.stopped.max(Some(*reason)),
            EventKind::PackagesFixed { lines } => self.packages.extend(lines.iter().cloned()),
            EventKind::RunFinished { summary } => self.summary = Some(summary.clone()),
            EventKind::Estimated { .. }
            | EventKind::RegistryDelayed { .. }
            | EventKind::BuildStep { .. }
            | EventKind::Log { .. }
            | EventKind::TaskStarted { .. }
            | EventKind::PromotionStarted { .. }
            | EventKind::ImagesRemoved { .. }
            | EventKind::TagMoved { .. } => {}
        }
    }

    /// What a node was busy with is over, and something else begins.
    fn turn(&mut self, node: &NodeName, next: Option<StepPart>, at: Duration) {
        if let Some((part, since)) = self.under_way.remove(node) {
            *self.phases.entry((node.clone(), part)).or_default() += at.saturating_sub(since);
        }
        if let Some(part) = next {
            self.under_way.insert(node.clone(), (part, at));
        }
    }
}

/// Shows a run, and keeps a record of it.
pub struct Recorder<'a> {
    shown: Box<dyn Reporter>,
    record: &'a mut Record,
}

impl<'a> Recorder<'a> {
    pub fn new(shown: Box<dyn Reporter>, record: &'a mut Record) -> Self {
        Self { shown, record }
    }
}

impl Reporter for Recorder<'_> {
    fn report(&mut self, event: &Event) -> io::Result<()> {
        self.record.take(event);
        self.shown.report(event)
    }

    fn tick(&mut self) -> io::Result<()> {
        self.shown.tick()
    }
}
