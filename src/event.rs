//! The events of a run: the interface between running and reporting.

use std::{collections::BTreeMap, fmt, io, path::PathBuf, sync::Arc, time::Duration};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use tokio::{sync::mpsc, time::Instant};

use crate::{
    check::diagnostic::names,
    engine::PathDifference,
    exit::Exit,
    fingerprint::Fingerprint,
    hierarchy::{NodeName, OnFailure, TagTemplate},
    image::{Digest, Tag, Tagged, packages::UpdateLine},
    plan::{
        Plan, Reason,
        order::{BuildSizes, Pushed},
    },
    size::OverBudget,
};

/// The interval at which a reporter may redraw animations.
pub const TICK: Duration = Duration::from_millis(100);

/// How many failed images the sentence of a skipped one names; it counts the others.
const NAMED: usize = 3;

/// Receives the events in order. An error stops the run.
pub trait Reporter: Send {
    fn report(&mut self, event: &Event) -> io::Result<()>;

    /// Called several times a second, for animations.
    fn tick(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[derive(Clone, Debug)]
pub struct Event {
    /// Since the run began.
    pub at: Duration,
    pub kind: EventKind,
}

#[derive(Clone, Debug)]
pub enum EventKind {
    RunStarted {
        run: String,
        plan: Arc<Plan>,
        /// The registry prefix of published images, or `None` for the engine.
        registry: Option<String>,
        jobs: usize,
        /// The time of the event.
        began: Timestamp,
        /// The flags that select images; empty for everything that is out of date.
        asked: String,
        /// The checked-out commit, followed by `-dirty` if files differ.
        commit: Option<String>,
    },
    /// The estimated remaining time, from earlier builds; `None`: the last estimate is no longer valid.
    Estimated {
        left: Option<Duration>,
    },
    /// A problem that does not stop the run.
    Warning {
        node: Option<NodeName>,
        message: String,
    },
    /// A registry keeps the run waiting: a progress line.
    RegistryDelayed {
        registry: String,
        /// The registry's failure and the next attempt, or its silence.
        message: String,
    },
    StepStarted {
        node: NodeName,
        /// The address of its engine, if the run has several.
        engine: Option<String>,
    },
    /// The step begins this phase.
    PhaseStarted {
        node: NodeName,
        phase: Phase,
    },
    /// A Dockerfile step begins: number `number` of `total`.
    BuildStep {
        node: NodeName,
        /// The name of the stage, if the Dockerfile has several stages and this one has a name.
        stage: Option<String>,
        number: usize,
        total: usize,
        text: String,
    },
    /// A line that a build, a test or a prepare command printed, without its end. Any bytes.
    Log {
        node: NodeName,
        line: Vec<u8>,
    },
    StepFinished {
        node: NodeName,
        outcome: Outcome,
        took: Duration,
        attempts: usize,
        /// The limits that it exceeds: its failure, or warnings.
        over_budget: Vec<OverBudget>,
    },
    StopBegan {
        reason: StopReason,
        running: usize,
    },
    /// The present package versions of images that were rebuilt for updates.
    PackagesFixed {
        lines: Vec<UpdateLine>,
    },
    /// A task of the whole run begins, after the last step.
    TaskStarted {
        task: RunTask,
    },
    /// All images to promote are stored. Tags move after this event.
    PromotionStarted {
        tags: usize,
    },
    /// Old images of this hierarchy were removed from the engine.
    ImagesRemoved {
        images: usize,
        /// Their approximate size, uncompressed.
        bytes: u64,
    },
    /// A moving tag was written and read back.
    TagMoved {
        node: NodeName,
        tag: Tagged,
        from: Option<Digest>,
        /// `None`: it was deleted.
        to: Option<Digest>,
    },
    RunFinished {
        summary: Summary,
    },
}

/// A task of the whole run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum RunTask {
    /// Images that were rebuilt for updates are asked for the present versions.
    Packages,
    /// Images are copied to the other registries of the hierarchy.
    Copy,
    /// Their provenance is attached.
    Provenance,
    Sign,
}

impl fmt::Display for RunTask {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Packages => "checking package versions",
            Self::Copy => "copying to other registries",
            Self::Provenance => "attaching provenance",
            Self::Sign => "signing",
        })
    }
}

/// A phase of a step.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Phase {
    /// Its prepare command fills the context.
    Prepare,
    /// Its bases are brought into the engine.
    Pull,
    Build,
    /// Its layers become one.
    Flatten,
    /// Its tags are read from it.
    Tags,
    /// It is compared with its budget.
    Measure,
    /// Its files are compared with those of the published image.
    Compare,
    /// Test `number` of `total`.
    Test {
        number: usize,
        total: usize,
    },
    /// Waiting for the tests of its parents, or until they are stored.
    WaitForParents,
    WaitForTestJob,
    /// Gate `number` of `total` runs on this machine.
    Gate {
        number: usize,
        total: usize,
    },
    /// It is pushed under its build tag.
    Push,
}

impl Phase {
    /// Whether nothing of the image's own happens.
    pub fn is_wait(&self) -> bool {
        matches!(self, Self::WaitForParents | Self::WaitForTestJob)
    }
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Prepare => "preparing the context",
            Self::Pull => "pulling its bases",
            Self::Build => "building",
            Self::Flatten => "flattening",
            Self::Test { number, total } => return write!(f, "test {number} of {total}"),
            Self::Tags => "reading its tags",
            Self::Gate { number, total } => return write!(f, "gate {number} of {total}"),
            Self::Measure => "measuring",
            Self::Compare => "comparing with the published image",
            Self::WaitForParents => "waiting for its parents",
            Self::WaitForTestJob => "waiting for a test job",
            Self::Push => "pushing",
        })
    }
}

/// The outcome of a step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Built, tested and stored.
    Built {
        digest: Digest,
        fingerprint: Fingerprint,
        /// The size of all layers in bytes, uncompressed.
        size: u64,
        /// In bytes, the layers above its base, uncompressed.
        added: u64,
        /// Its size in a registry.
        pushed: Option<Pushed>,
        before: SizeBefore,
        /// The difference from the previously published image, if they were compared.
        different: Option<Different>,
    },
    /// Built and equal to the published image, which stays, as do its children.
    Unchanged {
        digest: Digest,
    },
    /// Not built: the image of these inputs was already stored.
    Reused {
        digest: Digest,
    },
    /// Nothing to do.
    Kept {
        digest: Digest,
    },
    /// Its tags were rolled back, and its published image stays.
    Held {
        digest: Digest,
    },
    Failed(StepFailure),
    /// Not started, or cancelled, because a step that it waits for failed.
    Skipped {
        /// At least one. During the run the first, at its end all.
        failed: Vec<NodeName>,
    },
    /// Not started, or cancelled, because the run stopped.
    Cancelled,
}

/// The size of the previously published image, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SizeBefore {
    /// Nothing was published.
    New,
    /// Of all layers, uncompressed.
    Unpacked(u64),
    /// In the registry, with that of the new image: the engine does not have the published image.
    Packed {
        before: u64,
        now: u64,
    },
    Unknown,
}

impl SizeBefore {
    /// The sizes before and now, of an image that has this size now, by the same measure.
    pub fn compared(self, unpacked: u64) -> Option<(u64, u64)> {
        match self {
            Self::Unpacked(before) => Some((before, unpacked)),
            Self::Packed { before, now } => Some((before, now)),
            Self::New | Self::Unknown => None,
        }
    }
}

/// The difference of a refreshed image from the published one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Different {
    /// Entrypoint, environment, labels of its own, …
    Configuration,
    Files {
        count: usize,
        /// The first few paths, from the image's root. Any bytes.
        first: Vec<String>,
    },
}

impl Different {
    /// `None`: no such image.
    pub(super) fn files(differences: &[PathDifference]) -> Option<Self> {
        const FIRST: usize = 3;
        let first = differences.iter().take(FIRST);
        let first = first.map(|one| format!("/{}", one.path.display())).collect();
        let count = differences.len();
        (count > 0).then_some(Self::Files { count, first })
    }
}

impl fmt::Display for Different {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self::Files { count, first } = self else {
            return f.write_str("its configuration differs");
        };
        let named: Vec<String> = first.iter().map(|path| format!("`{path}`")).collect();
        let verb = if *count == 1 { "differs" } else { "differ" };
        match count - named.len() {
            0 => write!(f, "{} {verb}", named.join(", ")),
            more => write!(f, "{} and {more} more {verb}", named.join(", ")),
        }
    }
}

/// A failed step, with the facts that the user needs first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StepFailure {
    pub phase: Phase,
    /// The error: `RUN make: exit code 2`, `test 2 of 3, sh -c …: exit code 1`.
    pub message: String,
    pub exit: Exit,
    pub on_failure: OnFailure,
    /// The place in the Dockerfile, if it is known: path, line from 1, the instruction.
    pub at: Option<(PathBuf, usize, String)>,
    /// The last lines of the step's output, at most 20. Any bytes.
    pub tail: Vec<Vec<u8>>,
    /// The whole log, on disk before this failure is reported.
    pub log: Option<PathBuf>,
    /// The name in the engine of the image that was built, for `rebuild shell`.
    pub kept: Option<Tagged>,
}

/// Why a run stops early. The order is the severity.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum StopReason {
    /// Newer changes made some of its builds obsolete; the others continued.
    Overtaken,
    /// A step failed: start no more steps, cancel the running ones.
    StepFailed,
    /// The reader of the reports is closed.
    ReportFailed,
    /// The first Ctrl-C: cancel the running steps, clean up.
    Interrupted,
    /// SIGTERM: the same.
    Terminated,
}

/// The result of a run.
#[derive(Clone, Debug)]
pub struct Summary {
    pub run: String,
    /// Tags are those of the engine; no registry is written.
    pub is_local: bool,
    pub steps: Vec<StepSummary>,
    pub stopped: Option<StopReason>,
    pub promotion: Promotion,
    pub took: Duration,
    pub exit: Exit,
}

/// A row of the final table.
#[derive(Clone, Debug)]
pub struct StepSummary {
    pub node: NodeName,
    pub reason: Reason,
    pub outcome: Outcome,
    pub took: Duration,
    /// More than one if it was retried, as its `retries` allow.
    pub attempts: usize,
    /// The limits that it exceeds: its failure, or warnings.
    pub over_budget: Vec<OverBudget>,
    /// The reports that its gates wrote.
    pub reports: Vec<PathBuf>,
    /// The tags that this run moved to it.
    pub promoted: Vec<Tag>,
    /// The tags that were read from it.
    pub content_tags: ContentTags,
}

/// The result for the moving tags.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Promotion {
    /// No tag had to move.
    Nothing,
    /// The run built and tested images, and moves no tag.
    NotAsked(WithoutPromotion),
    /// A job of a pipeline stored its images; `rebuild promote` moves their tags.
    Staged,
    /// A step failed, so no tag moved.
    Withheld,
    /// All other tags moved.
    Done {
        moved: usize,
        /// The time from the first to the last move.
        took: Duration,
        /// Nodes that keep their old tags, each with the node whose failure holds it back.
        held: BTreeMap<NodeName, NodeName>,
    },
    /// The promotion began and did not finish.
    Incomplete {
        moved: usize,
        of: usize,
        why: String,
        /// The tags that did not move, or moved back.
        left: Vec<Tagged>,
    },
}

/// Why a run moves no tag, whatever happens in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WithoutPromotion {
    /// `--no-push`: its images have no build tags either.
    NoPush,
    /// `--no-promote`.
    NoPromote,
    /// `--platform`: it has only a part of the images of an index.
    Platform,
}

impl WithoutPromotion {
    /// Whether the images have build tags.
    pub fn are_stored(self) -> bool {
        self != Self::NoPush
    }
}

impl StepSummary {
    /// Whether it failed and then succeeded without a change.
    pub fn is_flaky(&self) -> bool {
        self.attempts > 1 && self.outcome.digest().is_some()
    }

    /// Whether it exceeds its budget with `on_excess: warn`.
    pub fn is_warned(&self) -> bool {
        !self.over_budget.is_empty() && self.outcome.digest().is_some()
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Built { .. } => f.write_str("built"),
            Self::Unchanged { .. } => f.write_str("built, unchanged"),
            Self::Reused { .. } => f.write_str("already built"),
            Self::Kept { .. } => f.write_str("up to date"),
            Self::Held { .. } => f.write_str("held since a rollback"),
            Self::Failed(failure) => write!(f, "failed: {}", failure.message),
            Self::Skipped { failed } => write!(f, "skipped: {} failed", names(failed, NAMED)),
            Self::Cancelled => f.write_str("cancelled"),
        }
    }
}

impl Outcome {
    /// The new image of the node, if it has one.
    pub fn digest(&self) -> Option<&Digest> {
        match self {
            Self::Built { digest, .. }
            | Self::Unchanged { digest }
            | Self::Reused { digest }
            | Self::Kept { digest }
            | Self::Held { digest } => Some(digest),
            Self::Failed(_) | Self::Skipped { .. } | Self::Cancelled => None,
        }
    }
}

/// The tags that are known after a build, by their templates.
pub type ContentTags = BTreeMap<TagTemplate, ContentTag>;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ContentTag {
    pub tag: Tag,
    /// Its image when it became known.
    pub from: Option<Digest>,
}

/// The outcomes of all steps, before the promotion.
#[derive(Debug, Default)]
pub struct Executed {
    pub outcomes: BTreeMap<NodeName, (Outcome, Duration)>,
    /// The steps with more than one attempt.
    pub attempts: BTreeMap<NodeName, usize>,
    /// The limits that images exceed.
    pub over_budget: BTreeMap<NodeName, Vec<OverBudget>>,
    /// The reports that the gates of images wrote.
    pub reports: BTreeMap<NodeName, Vec<PathBuf>>,
    /// The tags that name something in the image.
    pub content_tags: BTreeMap<NodeName, ContentTags>,
    /// From the start of each step to the end of its build.
    pub built: BTreeMap<NodeName, Duration>,
    pub stopped: Option<StopReason>,
}

impl Executed {
    /// The built images, with the time until their children could start, and the size of their new layers in
    /// the engine and in a registry.
    pub fn builds(&self) -> impl Iterator<Item = (&NodeName, Duration, BuildSizes)> {
        self.outcomes.iter().filter_map(|(node, (outcome, took))| {
            let built = *self.built.get(node).unwrap_or(took);
            match outcome {
                Outcome::Built { digest, size, added, pushed, .. } => {
                    let unpacked = Some((digest.clone(), *size));
                    Some((
                        node,
                        built,
                        BuildSizes { added: Some(*added), pushed: *pushed, unpacked },
                    ))
                }
                Outcome::Unchanged { .. } => Some((node, built, BuildSizes::default())),
                _ => None,
            }
        })
    }
}

/// Sends events to the reporter, and stores its first error.
pub struct Telling<'a> {
    reporter: &'a mut dyn Reporter,
    /// Events from outside the run's steps, reported at the next event or tick.
    outside: Option<mpsc::UnboundedReceiver<EventKind>>,
    started: Instant,
    /// Set by the first failed report.
    pub broken: bool,
}

impl<'a> Telling<'a> {
    pub fn new(reporter: &'a mut dyn Reporter) -> Self {
        Self { reporter, outside: None, started: Instant::now(), broken: false }
    }

    /// Also reports what arrives here.
    #[must_use]
    pub fn with(self, outside: mpsc::UnboundedReceiver<EventKind>) -> Self {
        Self { outside: Some(outside), ..self }
    }

    pub fn emit(&mut self, kind: EventKind) {
        self.take_outside();
        self.report(kind);
    }

    /// Reports problems that are not of one image.
    pub fn warn(&mut self, messages: Vec<String>) {
        for message in messages {
            self.emit(EventKind::Warning { node: None, message });
        }
    }

    /// Reports events from outside the run's steps, and lets the reporter redraw, until it is dropped. Without
    /// such events, as in tests that have no clock, it does nothing.
    pub async fn wait(&mut self) {
        loop {
            let Some(outside) = &mut self.outside else { return std::future::pending().await };
            tokio::select! {
                kind = outside.recv() => match kind {
                    Some(kind) => self.report(kind),
                    None => self.outside = None,
                },
                () = tokio::time::sleep(TICK) => self.tick(),
            }
        }
    }

    fn take_outside(&mut self) {
        while let Some(Ok(kind)) = self.outside.as_mut().map(mpsc::UnboundedReceiver::try_recv) {
            self.report(kind);
        }
    }

    fn report(&mut self, kind: EventKind) {
        let event = Event { at: self.started.elapsed(), kind };
        self.broken |= self.reporter.report(&event).is_err();
    }

    pub fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }

    pub fn tick(&mut self) {
        self.take_outside();
        self.broken |= self.reporter.tick().is_err();
    }
}
