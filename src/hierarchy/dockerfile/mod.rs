//! Reads a Dockerfile as its builder does, for one purpose: which images does it name, and where?
//!
//! This is our own scanner because everything hangs on it. An image that it misses is an edge that
//! is missing in the graph; a span that is off by one is a broken Dockerfile sent to the engine.
//! The rules are those of `BuildKit`'s `frontend/dockerfile`: `parser` for lines and flags, `shell`
//! for variables, `instructions` and `dockerfile2llb` for stages.
//!
//! **Invariant:** nothing is read but the text given, and no text makes it panic.

mod flags;
mod lex;
mod lines;
mod pattern;
mod stages;
mod steps;
mod survey;
#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Range,
};

pub(super) use self::stages::is_stage_name;
pub use self::survey::{Mention, Survey, Unreadable, expand, survey};
use super::node::Instruction;
use crate::image::Platform;

/// What decides how the variables of a Dockerfile are expanded, and which stage is built.
#[derive(Clone, Copy, Debug)]
pub(super) struct Settings<'a> {
    pub(super) build_args: &'a BTreeMap<String, String>,
    pub(super) target: Option<&'a str>,
    /// What is built for: `TARGETPLATFORM`, `TARGETARCH` and so on.
    pub(super) platform: &'a Platform,
    /// Where it is built: `BUILDPLATFORM` and so on.
    pub(super) build_platform: &'a Platform,
}

#[derive(Debug)]
pub(super) struct Scan {
    /// In order of place.
    pub(super) uses: Vec<ImageUse>,
    /// What the `ONBUILD` instructions of the stage that becomes the image name: images or stages of the
    /// Dockerfiles that are `FROM` it.
    pub(super) triggers: Vec<Trigger>,
    /// Names of its stages, in small letters.
    pub(super) stages: BTreeSet<String>,
    /// The last stage that a `--from` counts, instead of naming it, and where it does.
    pub(super) counted: Option<(usize, Range<usize>)>,
    pub(super) instructions: Vec<Instruction>,
}

/// An image that the build needs, named as the builder will see it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct ImageUse {
    /// In the file.
    pub(super) span: Range<usize>,
    pub(super) line: usize,
    /// With its variables expanded; not yet known to be a good reference.
    pub(super) image: String,
    /// The stage it belongs to, counted from 0.
    pub(super) stage: usize,
    pub(super) is_final: bool,
    /// Whether it is the `FROM` of its stage.
    pub(super) is_from: bool,
}

/// A name in an `ONBUILD` instruction.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Trigger {
    /// In the file.
    pub(super) span: Range<usize>,
    pub(super) image: String,
}

/// Why a Dockerfile cannot be built, and where it says so.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Problem {
    pub(super) span: Range<usize>,
    pub(super) message: String,
    /// Beside the span, where the message alone does not say what to look at.
    pub(super) label: String,
    pub(super) hint: Option<String>,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) enum ScanError {
    /// All that was found, in order of place.
    Problems(Vec<Problem>),
    /// The target is none of these stages. The fault is not in the Dockerfile.
    UnknownTarget { stages: Vec<String> },
}

impl Problem {
    fn at(span: Range<usize>, message: impl Into<String>) -> Self {
        Self { span, message: message.into(), label: String::new(), hint: None }
    }

    fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

pub(super) fn scan(text: &str, settings: Settings<'_>) -> Result<Scan, ScanError> {
    let lines = lines::read(text).map_err(|problem| ScanError::Problems(vec![problem]))?;
    let stages::Found { uses, triggers, stages, counted } = stages::read(&lines, settings)?;
    let instructions = lines
        .all
        .iter()
        .map(|line| Instruction { line: line.number, text: steps::normal(&line.text) })
        .collect();
    Ok(Scan { uses, triggers, stages, counted, instructions })
}

/// A Dockerfile that has bytes which are not UTF-8 outside its comments.
#[derive(Debug, PartialEq, Eq)]
pub struct NotText {
    /// With U+FFFD for each such byte.
    pub text: String,
    /// The first of them, in that text.
    pub span: Range<usize>,
}

/// The text of a Dockerfile. In comments, which no builder reads, U+FFFD stands for bytes that are not
/// UTF-8.
pub fn decode(bytes: Vec<u8>) -> Result<String, NotText> {
    let bytes = match String::from_utf8(bytes) {
        Ok(text) => return Ok(text),
        Err(error) => error.into_bytes(),
    };
    let (mut text, mut replaced) = (String::with_capacity(bytes.len()), Vec::new());
    for chunk in bytes.utf8_chunks() {
        text.push_str(chunk.valid());
        if !chunk.invalid().is_empty() {
            let start = text.len();
            text.push(char::REPLACEMENT_CHARACTER);
            replaced.push(start..text.len());
        }
    }
    let comments = lines::read(&text).map_or(Vec::new(), |lines| lines.comments);
    let is_comment = |span: &Range<usize>| {
        let before = comments.partition_point(|comment| comment.start <= span.start);
        before > 0 && comments[before - 1].contains(&span.start)
    };
    match replaced.into_iter().find(|span| !is_comment(span)) {
        Some(span) => Err(NotText { text, span }),
        None => Ok(text),
    }
}

/// The instruction's name and what follows it. Always a suffix of the text.
fn split_instruction(text: &str) -> (&str, &str) {
    let text = text.trim_start();
    match text.find(is_blank) {
        Some(end) => (&text[..end], text[end..].trim_start_matches(is_blank)),
        None => (text, ""),
    }
}

/// What separates the arguments of a `FROM`.
fn is_blank(c: char) -> bool {
    matches!(c, '\t' | '\x0b' | '\x0c' | '\r' | ' ')
}
