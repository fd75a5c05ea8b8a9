//! What is kept of a run for those who read of it when it is over.
//!
//! **Invariant:** nothing in it grows with what builds print.

use std::{borrow::Cow, collections::BTreeMap, fmt, io, str::FromStr, sync::Arc, time::Duration};

use jiff::Timestamp;

use super::{html::RunView, json, timeline::JobTime};
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
    /// When the run's clock began, of a run that had a plan.
    pub began_running: Option<Timestamp>,
    /// The jobs of a pipeline whose images were promoted.
    pub jobs: Vec<JobTime>,
    /// For `--html`; it limits what it holds of logs.
    pub page: Option<Box<RunView>>,
    /// From the start of a step to its end, by the run's clock.
    spans: BTreeMap<NodeName, (Duration, Duration)>,
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

impl fmt::Display for StepPart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Build => f.write_str("build"),
            Self::Test(number) => write!(f, "test {number}"),
            Self::Measure => f.write_str("budget"),
            Self::Gate(number) => write!(f, "gate {number}"),
            Self::Store => f.write_str("store"),
        }
    }
}

impl FromStr for StepPart {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let number = |text: &str| text.parse().map_err(|_| ());
        Ok(match (text, text.split_once(' ')) {
            ("build", _) => Self::Build,
            ("budget", _) => Self::Measure,
            ("store", _) => Self::Store,
            (_, Some(("test", n))) => Self::Test(number(n)?),
            (_, Some(("gate", n))) => Self::Gate(number(n)?),
            _ => return Err(()),
        })
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
            began_running: None,
            jobs: Vec::new(),
            page: None,
            spans: BTreeMap::new(),
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

    /// The page of the run, if the record was asked for one.
    pub fn whole_page(&self) -> Option<Cow<'_, RunView>> {
        let page = &**self.page.as_ref()?;
        let error = self.error.as_ref().filter(|_| page.end.is_none());
        if page.is_started() && error.is_none() && self.jobs.is_empty() {
            return Some(Cow::Borrowed(page));
        }
        let mut page = page.clone();
        if !page.is_started() {
            page.asked.clone_from(&self.asked);
            page.commit.clone_from(&self.commit);
            page.began = Some(self.began);
        }
        if let Some((exit, message)) = error {
            page.fail(*exit, message);
        }
        let first = self.jobs.iter().map(|job| job.began).min();
        for job in &self.jobs {
            let since = |at: Timestamp| {
                first.map_or(0, |first| at.as_millisecond() - first.as_millisecond())
            };
            let parts = job.parts.iter().filter_map(|(name, millis)| {
                Some((name.parse::<StepPart>().ok()?, Duration::from_millis(*millis)))
            });
            page.take_job(job.node.as_str(), (since(job.began), since(job.ended)), parts);
        }
        Some(Cow::Owned(page))
    }

    fn take(&mut self, event: &Event) {
        if let Some(page) = &mut self.page {
            page.take(&json::value(event));
        }
        match &event.kind {
            EventKind::RunStarted { plan, registry, .. } => {
                let millis = i64::try_from(event.at.as_millis()).unwrap_or_default();
                let began = Timestamp::now().as_millisecond().saturating_sub(millis);
                self.began_running = Timestamp::from_millisecond(began).ok();
                self.plan = Some(plan.clone());
                self.registry.clone_from(registry);
            }
            EventKind::Warning { node, message } => {
                self.warnings.push((node.clone(), message.clone()));
            }
            EventKind::StepStarted { node, .. } => {
                self.spans.insert(node.clone(), (event.at, Duration::ZERO));
                self.turn(node, Some(StepPart::Build), event.at);
            }
            EventKind::PhaseStarted { node, phase } => {
                let part = (!phase.is_wait()).then(|| StepPart::of(phase));
                self.turn(node, part, event.at);
            }
            EventKind::StepFinished { node, .. } => {
                self.spans.entry(node.clone()).or_default().1 = event.at;
                self.turn(node, None, event.at);
            }
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

    /// From the start of a step to its end, by the run's clock.
    pub fn span_of(&self, node: &NodeName) -> Option<(Duration, Duration)> {
        self.spans.get(node).copied()
    }

    /// How long each part of a step took, in milliseconds.
    pub fn parts_of(&self, node: &NodeName) -> Vec<(String, u64)> {
        let of_node = self.phases.iter().filter(|((other, _), _)| other == node);
        let millis = |took: &Duration| u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
        of_node.map(|((_, part), took)| (part.to_string(), millis(took))).collect()
    }

    /// Adds the parts of a step that another job has run.
    pub fn add_parts(&mut self, node: &NodeName, parts: &[(String, u64)]) {
        for (name, millis) in parts {
            if let Ok(part) = name.parse() {
                self.phases.insert((node.clone(), part), Duration::from_millis(*millis));
            }
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
