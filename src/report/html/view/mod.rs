//! A run as its events describe it: `docs/events.md`.
//!
//! **Invariant:** no event makes it panic, and its size does not grow with what builds print.

mod image;
mod json;
mod log;

use std::{collections::BTreeMap, time::Duration};

use jiff::Timestamp;
use serde_json::Value;

use self::{
    image::phase_words,
    json::{list, number, seconds, text, words},
};
pub use self::{
    image::{BarPart, ImageFailure, ImageOutcome, ImageSize, ImageView, PackageRow, outcome_word},
    log::LogTail,
};
use crate::{exit::Exit, report::run_data};

/// The most warnings and moved tags that are kept.
const MOST: usize = 10_000;
/// The size of the logs of all images.
const LOGS: isize = 16 * 1024 * 1024;

/// A run, also while it is not finished.
#[derive(Clone, Debug, Default)]
pub struct RunView {
    pub run: String,
    /// The flags that select images; empty for everything that is out of date.
    pub asked: String,
    pub commit: Option<String>,
    pub began: Option<Timestamp>,
    pub registry: Option<String>,
    pub jobs: usize,
    /// In build order.
    pub images: Vec<ImageView>,
    /// The name of an image, if a warning is about one, and the text.
    pub warnings: Vec<(Option<String>, String)>,
    pub moved: Vec<MovedTag>,
    pub packages: Vec<PackageRow>,
    /// A task of the whole run, after the last image.
    pub task: Option<String>,
    /// The most severe reason to stop early.
    pub stopped: Option<String>,
    /// The estimate of the remaining seconds.
    pub left: Option<f64>,
    pub end: Option<RunEnd>,
    /// The time of the last event, in seconds since the run began.
    pub now: f64,
    places: BTreeMap<String, usize>,
    log_bytes: isize,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MovedTag {
    pub node: String,
    pub tag: String,
    pub from: Option<String>,
    pub to: Option<String>,
}

/// How a run ended.
#[derive(Clone, Debug, Default)]
pub struct RunEnd {
    pub exit: String,
    pub code: u8,
    pub seconds: f64,
    pub promotion: PromotionResult,
    /// Why it could not begin or continue.
    pub error: Option<String>,
}

/// See `promotion` in `docs/events.md`.
#[derive(Clone, Debug, Default)]
pub struct PromotionResult {
    pub result: String,
    pub is_stored: bool,
    pub moved: usize,
    pub of: usize,
    pub seconds: f64,
    pub why: String,
    /// Images that keep their tags, each with the one whose failure holds it back.
    pub held: BTreeMap<String, String>,
}

impl RunView {
    /// Adds an event: one line of `--progress=json`. Unknown events change nothing.
    pub fn take(&mut self, event: &Value) {
        let at = seconds(event, "at").unwrap_or(self.now);
        self.now = self.now.max(at);
        match event.get("event").and_then(Value::as_str).unwrap_or_default() {
            "run-started" => self.begin(event),
            "estimate" => self.left = seconds(event, "seconds_left"),
            "warning" if self.warnings.len() < MOST => {
                self.warnings.push((text(event, "node"), words(event, "message")));
            }
            "stop-began" => self.stopped = text(event, "reason"),
            "packages-fixed" => self.packages = PackageRow::all(event),
            "task-started" => self.task = text(event, "task"),
            "promotion-started" => self.task = Some("promote".to_owned()),
            "tag-moved" if self.moved.len() < MOST => self.moved.push(MovedTag {
                node: words(event, "node"),
                tag: words(event, "tag"),
                from: text(event, "from"),
                to: text(event, "to"),
            }),
            "run-finished" => self.finish(event),
            "log" => {
                if let Some(line) = text(event, "line") {
                    self.add_line(&words(event, "node"), &line, false);
                }
            }
            name => self.take_step(name, event, at),
        }
    }

    fn take_step(&mut self, name: &str, event: &Value, at: f64) {
        let node = words(event, "node");
        if name == "build-step" {
            let place =
                [number(event, "number"), number(event, "total")].map(Option::unwrap_or_default);
            let stage = text(event, "stage").map_or(String::new(), |stage| format!("{stage} "));
            let [number, total] = place;
            let heading = format!("[{stage}{number}/{total}] {}", words(event, "text"));
            self.add_line(&node, &heading, true);
            return;
        }
        let Some(image) = self.image_mut(&node) else { return };
        match name {
            "step-started" => {
                image.started = Some(at);
                image.engine = text(event, "engine");
                image.turn(Some(BarPart::Build), at);
            }
            "phase-started" => {
                let phase = event.get("phase").unwrap_or(&Value::Null);
                image.turn(Some(BarPart::of(&words(phase, "name"))), at);
                let words = phase_words(phase);
                image.phase = Some(words.clone());
                if words.starts_with("test ") || words.starts_with("gate ") {
                    self.add_line(&node, &words, true);
                }
            }
            "step-finished" => {
                image.take_end(event);
                if image.started.is_some() {
                    image.ended = Some(at);
                    image.turn(None, at);
                }
            }
            _ => {}
        }
    }

    fn begin(&mut self, event: &Value) {
        self.run = words(event, "run");
        self.asked = words(event, "asked");
        self.commit = text(event, "commit");
        self.began = text(event, "began").and_then(|began| began.parse().ok());
        self.registry = text(event, "registry");
        self.jobs = number(event, "jobs").unwrap_or_default();
        let steps = event.get("plan").map(|plan| list(plan, "steps")).unwrap_or_default();
        self.images = steps.iter().filter_map(ImageView::planned).collect();
        let places = self.images.iter().enumerate();
        self.places = places.map(|(place, image)| (image.name.clone(), place)).collect();
    }

    fn finish(&mut self, event: &Value) {
        for step in list(event, "steps") {
            if let Some(image) = self.image_mut(&words(step, "node")) {
                image.take_end(step);
                if image.why.is_empty() {
                    image.why = words(step, "why");
                }
            }
        }
        let promotion = event.get("promotion").unwrap_or(&Value::Null);
        let held = promotion.get("held").and_then(Value::as_object);
        let held = held.into_iter().flatten();
        self.stopped = text(event, "stopped").or(self.stopped.take());
        self.end = Some(RunEnd {
            exit: words(event, "exit"),
            code: number(event, "exit_code").and_then(|n| n.try_into().ok()).unwrap_or_default(),
            seconds: seconds(event, "seconds").unwrap_or(self.now),
            promotion: PromotionResult {
                result: words(promotion, "result"),
                is_stored: promotion.get("stored") == Some(&Value::Bool(true)),
                moved: number(promotion, "moved").unwrap_or_default(),
                of: number(promotion, "of").unwrap_or_default(),
                seconds: seconds(promotion, "seconds").unwrap_or_default(),
                why: words(promotion, "why"),
                held: held
                    .filter_map(|(node, by)| Some((node.clone(), by.as_str()?.to_owned())))
                    .collect(),
            },
            error: None,
        });
    }

    /// The run could not begin or continue, for this reason.
    pub fn fail(&mut self, exit: Exit, message: &str) {
        let exit_name = serde_json::to_value(exit).ok();
        let exit_name = exit_name.and_then(|name| name.as_str().map(str::to_owned));
        self.end = Some(RunEnd {
            exit: exit_name.unwrap_or_default(),
            code: exit.code(),
            seconds: self.now,
            error: Some(message.to_owned()),
            ..RunEnd::default()
        });
    }

    #[cfg(test)]
    pub fn image(&self, name: &str) -> Option<&ImageView> {
        self.images.get(*self.places.get(name)?)
    }

    fn image_mut(&mut self, name: &str) -> Option<&mut ImageView> {
        self.images.get_mut(*self.places.get(name)?)
    }

    /// The place of an image in `images`.
    pub fn place(&self, name: &str) -> Option<usize> {
        self.places.get(name).copied()
    }

    /// Adds a line of the log of an image.
    fn add_line(&mut self, node: &str, line: &str, is_heading: bool) {
        let Some(image) = self.image_mut(node) else { return };
        let grew = image.log.push(line, is_heading);
        self.log_bytes += grew;
        while self.log_bytes > LOGS {
            // A failure is why people read logs.
            let least = |image: &&mut ImageView| (image.failure.is_none(), image.log.bytes());
            let Some(longest) = self.images.iter_mut().max_by_key(least) else { return };
            if longest.log.bytes() == 0 {
                return;
            }
            self.log_bytes += longest.log.halve();
        }
    }

    /// Replaces the log of an image by the end of its log file, of which the first `unread` bytes are missing.
    pub fn take_log_file(&mut self, node: &str, end: &[u8], unread: u64) {
        let Some(image) = self.image_mut(node) else { return };
        let replaced = std::mem::take(&mut image.log).bytes();
        self.log_bytes -= isize::try_from(replaced).unwrap_or_default();
        // The first line is cut.
        let end = match end.iter().position(|byte| *byte == b'\n') {
            Some(cut) if unread > 0 => &end[cut + 1..],
            _ => end,
        };
        let end = end.strip_suffix(b"\n").unwrap_or(end);
        for line in end.split(|byte| *byte == b'\n').filter(|_| !end.is_empty()) {
            let line = String::from_utf8_lossy(line);
            self.add_line(node, line.trim_end_matches('\r'), line.starts_with("--- "));
        }
        if let Some(image) = self.image_mut(node) {
            image.log.unread = unread;
        }
    }

    /// An image that a job of a pipeline built, from `began` to `ended`, in milliseconds since the first job began.
    pub(in crate::report) fn take_job(
        &mut self,
        node: &str,
        (began, ended): (i64, i64),
        parts: impl Iterator<Item = (run_data::StepPart, Duration)>,
    ) {
        let Some(image) = self.image_mut(node) else { return };
        let seconds =
            |millis: i64| Duration::from_millis(millis.max(0).unsigned_abs()).as_secs_f64();
        let (began, ended) = (seconds(began), seconds(ended));
        (image.started, image.ended) = (Some(began), Some(ended));
        image.phases.clear();
        let mut at = began;
        for (part, took) in parts {
            let part = match part {
                run_data::StepPart::Build => BarPart::Build,
                run_data::StepPart::Store => BarPart::Store,
                _ => BarPart::Test,
            };
            image.turn(Some(part), at);
            at = (at + took.as_secs_f64()).min(ended);
        }
        image.turn(None, at);
    }

    /// Whether there was a plan.
    pub fn is_started(&self) -> bool {
        !self.run.is_empty()
    }

    /// The first image that failed, in build order.
    pub fn first_failed(&self) -> Option<&ImageView> {
        self.images.iter().find(|image| image.outcome == Some(ImageOutcome::Failed))
    }
}

#[cfg(test)]
mod tests;
