//! One image of a run.

use std::{collections::BTreeMap, time::Duration};

use serde_json::Value;

use super::{
    json::{bytes, list, number, seconds, text, texts, words},
    log::LogTail,
};
use crate::event::SizeBefore;

/// More phases are counted as one.
const PHASES: usize = 200;

#[derive(Clone, Debug, Default)]
pub struct ImageView {
    pub name: String,
    pub why: String,
    /// The images of this run that must succeed first.
    pub after: Vec<String>,
    /// The image or upstream that it is `FROM`.
    pub base: Option<String>,
    pub upstreams: Vec<String>,
    /// The moving tags.
    pub tags: Vec<String>,
    /// Tags that this run moved to it.
    pub promoted: Vec<String>,
    pub outcome: Option<ImageOutcome>,
    pub seconds: Option<f64>,
    pub attempts: usize,
    pub engine: Option<String>,
    pub digest: Option<String>,
    pub size: Option<ImageSize>,
    pub failure: Option<ImageFailure>,
    pub over_budget: Vec<String>,
    /// Files that gates wrote.
    pub reports: Vec<String>,
    /// When its step began and ended, in seconds since the run began.
    pub started: Option<f64>,
    pub ended: Option<f64>,
    pub phases: Vec<PhaseSpan>,
    /// The present phase in words.
    pub phase: Option<String>,
    pub log: LogTail,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ImageOutcome {
    Failed,
    Skipped,
    Cancelled,
    Built,
    Unchanged,
    Reused,
    Held,
    Kept,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ImageSize {
    pub unpacked: u64,
    pub before: SizeBefore,
}

#[derive(Clone, Debug, Default)]
pub struct ImageFailure {
    pub phase: String,
    pub message: String,
    pub on_failure: String,
    /// `images/app/Dockerfile:4` and the instruction.
    pub at: Option<(String, String)>,
    pub tail: Vec<String>,
    /// The path of the whole log.
    pub log: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PhaseSpan {
    pub part: BarPart,
    pub began: f64,
    /// `None`: it goes on.
    pub ended: Option<f64>,
}

/// What a step spends its time with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum BarPart {
    /// For tests of its parents, or for a test job.
    Wait,
    Build,
    Test,
    Store,
}

impl BarPart {
    pub(super) fn of(phase: &str) -> Self {
        match phase {
            "wait" => Self::Wait,
            "test" | "gate" | "measure" => Self::Test,
            "push" | "tags" => Self::Store,
            _ => Self::Build,
        }
    }

    pub fn word(self) -> &'static str {
        match self {
            Self::Wait => "wait",
            Self::Build => "build",
            Self::Test => "test",
            Self::Store => "store",
        }
    }
}

/// The word that people read for an outcome of an event.
pub fn outcome_word(outcome: &str) -> &str {
    ImageOutcome::of(outcome).map_or(outcome, |known| known.word())
}

impl ImageOutcome {
    fn of(word: &str) -> Option<Self> {
        Some(match word {
            "failed" => Self::Failed,
            "skipped" => Self::Skipped,
            "cancelled" => Self::Cancelled,
            "built" => Self::Built,
            "unchanged" => Self::Unchanged,
            "reused" => Self::Reused,
            "held" => Self::Held,
            "kept" => Self::Kept,
            _ => return None,
        })
    }

    pub fn word(self) -> &'static str {
        match self {
            Self::Failed => "failed",
            Self::Skipped => "skipped",
            Self::Cancelled => "cancelled",
            Self::Built => "built",
            Self::Unchanged => "unchanged",
            Self::Reused => "already built",
            Self::Held => "held",
            Self::Kept => "up to date",
        }
    }
}

impl ImageView {
    /// From a step of the plan.
    pub(super) fn planned(step: &Value) -> Option<Self> {
        let moving = step.get("moving").and_then(Value::as_object);
        Some(Self {
            name: text(step, "node")?,
            why: words(step, "why"),
            after: texts(step, "after"),
            base: text(step, "base"),
            upstreams: texts(step, "upstreams"),
            tags: moving.map(|tags| tags.keys().cloned().collect()).unwrap_or_default(),
            digest: text(step, "published"),
            ..Self::default()
        })
    }

    /// From `step-finished`, or from a step of `run-finished`.
    pub(super) fn take_end(&mut self, step: &Value) {
        self.outcome = ImageOutcome::of(&words(step, "outcome")).or(self.outcome);
        self.seconds = seconds(step, "seconds").or(self.seconds);
        self.attempts = number(step, "attempts").unwrap_or(self.attempts);
        if let Some(digest) = text(step, "digest") {
            self.digest = Some(digest);
        }
        if let Some(unpacked) = bytes(step, "size") {
            self.size = Some(ImageSize { unpacked, before: before(step) });
        }
        if let Some(failure) = step.get("failure") {
            self.failure = Some(ImageFailure::of(failure));
            self.digest = None;
        }
        let lists = [
            ("over_budget", &mut self.over_budget),
            ("reports", &mut self.reports),
            ("promoted", &mut self.promoted),
        ];
        for (field, list) in lists {
            let texts = texts(step, field);
            if !texts.is_empty() {
                *list = texts;
            }
        }
        self.phase = None;
    }

    /// Another part of its step begins; `None`: the step ends.
    pub(super) fn turn(&mut self, part: Option<BarPart>, at: f64) {
        let is_full = self.phases.len() >= PHASES && part.is_some();
        let open = self.phases.last_mut().filter(|last| last.ended.is_none());
        if is_full || open.as_ref().is_some_and(|last| Some(last.part) == part) {
            return;
        }
        if let Some(last) = open {
            last.ended = Some(at.max(last.began));
        }
        if let Some(part) = part {
            self.phases.push(PhaseSpan { part, began: at, ended: None });
        }
    }

    pub fn is_running(&self) -> bool {
        self.started.is_some() && self.ended.is_none() && self.outcome.is_none()
    }

    /// `failed`, `building`, `waiting`, … in one or two words.
    pub fn state(&self) -> &str {
        match self.outcome {
            Some(outcome) => outcome.word(),
            None if self.is_running() => self.phase.as_deref().unwrap_or("running"),
            None => "waiting",
        }
    }

    /// A class of the style sheet, by what became of it.
    pub fn class(&self) -> &'static str {
        match self.outcome {
            Some(ImageOutcome::Failed) => "failed",
            Some(ImageOutcome::Skipped | ImageOutcome::Cancelled) => "not-built",
            Some(ImageOutcome::Built) => "built",
            Some(ImageOutcome::Unchanged | ImageOutcome::Reused) => "same",
            Some(ImageOutcome::Held | ImageOutcome::Kept) => "kept",
            None if self.is_running() => "running",
            None => "waiting",
        }
    }

    /// How long it took, or how long it has been running.
    pub fn took(&self, now: f64) -> Option<Duration> {
        let seconds = match (self.seconds, self.started) {
            (Some(seconds), _) => seconds,
            (None, Some(started)) => (self.ended.unwrap_or(now) - started).max(0.0),
            (None, None) => return None,
        };
        Duration::try_from_secs_f64(seconds).ok()
    }

    /// Whether the run did something with it.
    pub fn is_touched(&self) -> bool {
        !matches!(self.outcome, Some(ImageOutcome::Kept | ImageOutcome::Held))
    }

    /// The times of its parts, in their order.
    pub fn parts(&self, now: f64) -> BTreeMap<BarPart, f64> {
        let mut parts = BTreeMap::new();
        for PhaseSpan { part, began, ended } in &self.phases {
            *parts.entry(*part).or_default() += (ended.unwrap_or(now) - began).max(0.0);
        }
        parts
    }
}

fn before(step: &Value) -> SizeBefore {
    let packed = bytes(step, "packed_before").zip(bytes(step, "packed"));
    match (packed, bytes(step, "size_before")) {
        (Some((before, now)), _) => SizeBefore::Packed { before, now },
        (None, Some(before)) => SizeBefore::Unpacked(before),
        (None, None) => SizeBefore::Unknown,
    }
}

impl ImageFailure {
    fn of(failure: &Value) -> Self {
        let at = failure.get("at").filter(|at| at.is_object());
        let place = |at: &Value| {
            let line = number(at, "line").map_or(String::new(), |line| format!(":{line}"));
            (words(at, "path") + &line, words(at, "text"))
        };
        Self {
            phase: failure.get("phase").map(phase_words).unwrap_or_default(),
            message: words(failure, "message"),
            on_failure: words(failure, "on_failure"),
            at: at.map(place),
            tail: texts(failure, "tail"),
            log: text(failure, "log"),
        }
    }
}

/// A phase in words, such as `test 2 of 3`.
pub(super) fn phase_words(phase: &Value) -> String {
    let name = words(phase, "name");
    match (name.as_str(), number(phase, "number"), number(phase, "total")) {
        ("test" | "gate", Some(number), Some(total)) => format!("{name} {number} of {total}"),
        ("prepare", ..) => "preparing".to_owned(),
        ("pull", ..) => "pulling its bases".to_owned(),
        ("build", ..) => "building".to_owned(),
        ("flatten", ..) => "flattening".to_owned(),
        ("measure", ..) => "measuring".to_owned(),
        ("tags", ..) => "reading its tags".to_owned(),
        ("compare", ..) => "comparing".to_owned(),
        ("wait", ..) => "waiting for tests".to_owned(),
        ("push", ..) => "pushing".to_owned(),
        _ => name,
    }
}

/// A package that was updated, or that was left.
#[derive(Clone, Debug, Default)]
pub struct PackageRow {
    pub package: String,
    pub from: String,
    pub to: String,
    /// The present version of a package without the update.
    pub left: Option<String>,
    pub images: Vec<String>,
}

impl PackageRow {
    pub(super) fn all(event: &Value) -> Vec<Self> {
        let view = |one: &Value| Self {
            package: words(one, "package"),
            from: words(one, "from"),
            to: words(one, "to"),
            left: text(one, "version"),
            images: texts(one, "images"),
        };
        list(event, "fixed").iter().chain(list(event, "left")).map(view).collect()
    }
}
