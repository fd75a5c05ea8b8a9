//! What happens in a run. The interface between running and reporting.

use std::{collections::BTreeMap, fmt, io, path::PathBuf, sync::Arc, time::Duration};

use serde::Serialize;
use tokio::time::Instant;

use crate::{
    engine::Difference,
    exit::Exit,
    fingerprint::Fingerprint,
    hierarchy::{NodeName, OnFailure},
    image::{Digest, Tag, Tagged, packages::Line},
    plan::{Plan, Reason, order::Pushed},
};

/// Is told of each event, in order, as it happens. An error stops the run.
pub trait Reporter: Send {
    fn report(&mut self, event: &Event) -> io::Result<()>;

    /// Called a few times a second, for whatever moves without an event.
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
        /// Where images are published: a registry prefix, or `None` for the engine itself.
        registry: Option<String>,
        jobs: usize,
    },
    /// How long the rest will take, going by earlier builds; `None`: that cannot be said any more.
    Estimated {
        left: Option<Duration>,
    },
    /// Something a person should know, and the run goes on.
    Warning {
        node: Option<NodeName>,
        message: String,
    },
    StepStarted {
        node: NodeName,
    },
    /// The step is now doing this.
    PhaseStarted {
        node: NodeName,
        phase: Phase,
    },
    /// A Dockerfile step has begun, the `number`th of `total`.
    BuildStep {
        node: NodeName,
        /// Of a Dockerfile with several stages, if it has a name.
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
    },
    StopBegan {
        reason: StopReason,
        running: usize,
    },
    /// Images were rebuilt for newer packages, and this is what is in them now.
    PackagesFixed {
        lines: Vec<Line>,
    },
    /// Every image that may be is staged; from here on tags move.
    PromotionStarted {
        tags: usize,
    },
    /// Old images of this hierarchy were removed from the engine.
    ImagesRemoved {
        images: usize,
        /// About how much room they took, uncompressed.
        bytes: u64,
    },
    /// A moving tag was written and read back.
    TagMoved {
        node: NodeName,
        tag: Tagged,
        from: Option<Digest>,
        /// `None`: it was taken away.
        to: Option<Digest>,
    },
    RunFinished {
        summary: Summary,
    },
}

/// What a step is busy with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Phase {
    /// Its prepare command fills the context.
    Prepare,
    /// Its bases are brought into the engine.
    Pull,
    Build,
    /// Its size is compared with its `max_size`.
    Measure,
    /// Its files are compared with those of the published image.
    Compare,
    /// The `number`th of `total` tests.
    Test {
        number: usize,
        total: usize,
    },
    /// For a place among the tests, or for the tests of its parents.
    Wait,
    /// It is pushed under its build tag.
    Push,
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Prepare => "preparing the context",
            Self::Pull => "pulling its bases",
            Self::Build => "building",
            Self::Test { number, total } => return write!(f, "test {number} of {total}"),
            Self::Measure => "measuring",
            Self::Compare => "comparing with the published image",
            Self::Wait => "waiting for tests",
            Self::Push => "pushing",
        })
    }
}

/// What became of a step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Built, tested and stored.
    Built {
        digest: Digest,
        fingerprint: Fingerprint,
        /// In bytes, all layers together, uncompressed.
        size: u64,
        /// In bytes, the layers above its base, uncompressed.
        added: u64,
        /// What it takes in a registry.
        pushed: Option<Pushed>,
        /// The size of the image published before.
        size_before: Option<u64>,
        /// From the image published before, where that was looked at.
        different: Option<Different>,
    },
    /// Built, and it came out as the published image: that one is kept, and its children too.
    Unchanged {
        digest: Digest,
    },
    /// Nothing to build: the image of these inputs was already stored.
    Reused {
        digest: Digest,
    },
    /// Nothing to do.
    Kept {
        digest: Digest,
    },
    Failed(Failure),
    /// Never started or cut short, because a step it waits for failed.
    Skipped {
        failed: NodeName,
    },
    /// Never started or cut short, because the run stopped.
    Cancelled,
}

/// In what a refreshed image differs from the published one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Different {
    /// Entrypoint, environment, labels of its own, …
    Configuration,
    Files {
        count: usize,
        /// The first few, from the image's root on. Anything that a build can call a file.
        first: Vec<String>,
    },
}

impl Different {
    /// `None`: no such image.
    pub(super) fn files(differences: &[Difference]) -> Option<Self> {
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

/// A step that failed, with what a person needs to see first.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(
    clippy::struct_field_names,
    reason = "`on_failure` is the name of the field in hierarchy.yaml"
)]
pub struct Failure {
    pub phase: Phase,
    /// What is wrong: `RUN make: exit code 2`, `test 2 of 3, sh -c …: exit code 1`.
    pub message: String,
    pub exit: Exit,
    pub on_failure: OnFailure,
    /// The place in the Dockerfile, where there is one: path, line from 1, the instruction.
    pub at: Option<(PathBuf, usize, String)>,
    /// The last lines that the failing step printed, at most 20. Any bytes.
    pub tail: Vec<Vec<u8>>,
    /// The whole log, on disk before this failure is told.
    pub log: Option<PathBuf>,
    /// The name in the engine of the image that was built, for `rebuild shell`.
    pub kept: Option<Tagged>,
}

/// Why a run stops early. The order is the severity.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum StopReason {
    /// Newer changes made some of its builds pointless; the others went on.
    Overtaken,
    /// A step failed: start no more, cancel what runs.
    StepFailed,
    /// Nobody reads the reports any more.
    ReportFailed,
    /// The first ctrl-C: cancel what runs, clean up.
    Interrupted,
    /// SIGTERM: the same.
    Terminated,
}

/// Everything that came of a run.
#[derive(Clone, Debug)]
pub struct Summary {
    pub run: String,
    pub steps: Vec<StepSummary>,
    pub stopped: Option<StopReason>,
    pub promotion: Promotion,
    pub took: Duration,
    pub exit: Exit,
}

/// A row of the closing table.
#[derive(Clone, Debug)]
pub struct StepSummary {
    pub node: NodeName,
    pub reason: Reason,
    pub outcome: Outcome,
    pub took: Duration,
    /// More than one if it failed and was tried again, as its `retries` allow.
    pub attempts: usize,
    /// The tags that now point at it because of this run.
    pub promoted: Vec<Tag>,
}

/// What became of the moving tags.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Promotion {
    /// There was nothing to move.
    Nothing,
    /// `--no-push` or `--no-promote`: images were built and tested, and no tag was to be moved.
    NotAsked {
        /// Whether what was built is under its build tag.
        stored: bool,
    },
    /// A step failed, so no tag was moved.
    Withheld,
    /// All that may move has moved.
    Done {
        moved: usize,
        /// How long old and new stood side by side.
        took: Duration,
        /// Nodes that keep their old tags, each with the node whose failure holds it back.
        held: BTreeMap<NodeName, NodeName>,
    },
    /// It began and could not be finished.
    Incomplete { moved: usize, of: usize, why: String },
}

impl StepSummary {
    /// Whether it failed and then succeeded, with nothing changed in between.
    pub fn is_flaky(&self) -> bool {
        self.attempts > 1 && self.outcome.digest().is_some()
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Built { .. } => f.write_str("built"),
            Self::Unchanged { .. } => f.write_str("built, unchanged"),
            Self::Reused { .. } => f.write_str("already built"),
            Self::Kept { .. } => f.write_str("up to date"),
            Self::Failed(failure) => write!(f, "failed: {}", failure.message),
            Self::Skipped { failed } => write!(f, "skipped: `{failed}` failed"),
            Self::Cancelled => f.write_str("cancelled"),
        }
    }
}

impl Outcome {
    /// The image that now stands for the node, if there is one.
    pub fn digest(&self) -> Option<&Digest> {
        match self {
            Self::Built { digest, .. }
            | Self::Unchanged { digest }
            | Self::Reused { digest }
            | Self::Kept { digest } => Some(digest),
            Self::Failed(_) | Self::Skipped { .. } | Self::Cancelled => None,
        }
    }
}

/// What became of every step, before anything is promoted.
#[derive(Debug, Default)]
pub struct Executed {
    pub outcomes: BTreeMap<NodeName, (Outcome, Duration)>,
    /// Of those steps that were tried more than once.
    pub attempts: BTreeMap<NodeName, usize>,
    /// From the start of each step to the end of its build.
    pub built: BTreeMap<NodeName, Duration>,
    pub stopped: Option<StopReason>,
}

impl Executed {
    /// What was built, how long its children had to wait for it, and the size of what is new of it, here and
    /// in a registry.
    pub fn builds(
        &self,
    ) -> impl Iterator<Item = (&NodeName, Duration, (Option<u64>, Option<Pushed>))> {
        self.outcomes.iter().filter_map(|(node, (outcome, took))| {
            let built = *self.built.get(node).unwrap_or(took);
            match outcome {
                Outcome::Built { added, pushed, .. } => {
                    Some((node, built, (Some(*added), *pushed)))
                }
                Outcome::Unchanged { .. } => Some((node, built, (None, None))),
                _ => None,
            }
        })
    }
}

/// Tells the reporter, and remembers whether it still listens.
pub struct Telling<'a> {
    reporter: &'a mut dyn Reporter,
    started: Instant,
    /// Set by the first report that failed.
    pub broken: bool,
}

impl<'a> Telling<'a> {
    pub fn new(reporter: &'a mut dyn Reporter) -> Self {
        Self { reporter, started: Instant::now(), broken: false }
    }

    pub fn emit(&mut self, kind: EventKind) {
        let event = Event { at: self.started.elapsed(), kind };
        self.broken |= self.reporter.report(&event).is_err();
    }

    pub fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }

    pub fn tick(&mut self) {
        self.broken |= self.reporter.tick().is_err();
    }
}
