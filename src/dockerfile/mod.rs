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
pub mod file_name;
pub mod history;
mod image_stages;
mod lines;
mod pattern;
pub mod shell;
mod stages;
mod survey;
#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Range,
};

pub use self::survey::{DockerfileSurvey, Mention, UnreadableDockerfile, expand, survey};
pub use self::{
    image_stages::image_stages,
    lines::{BOM, frontend},
    stages::{is_stage_name, platform_variables, words},
};
use crate::image::Platform;

/// One instruction, on one line: continuations joined, white space single, comments gone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Instruction {
    /// Where it begins, counted from 1.
    pub line: usize,
    pub text: String,
    pub heredocs: Vec<HeredocText>,
}

/// The lines between `<<NAME` and `NAME`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeredocText {
    pub name: String,
    /// With the tabs that `<<-` takes off.
    pub body: String,
}

impl Instruction {
    pub fn new(line: usize, text: impl Into<String>) -> Self {
        Self { line, text: text.into(), heredocs: Vec::new() }
    }
}

/// What decides how the variables of a Dockerfile are expanded, and which stage is built.
#[derive(Clone, Copy, Debug)]
pub struct Settings<'a> {
    pub build_args: &'a BTreeMap<String, String>,
    pub target: Option<&'a str>,
    /// What is built for: `TARGETPLATFORM`, `TARGETARCH` and so on.
    pub platform: &'a Platform,
    /// Where it is built: `BUILDPLATFORM` and so on.
    pub build_platform: &'a Platform,
}

#[derive(Debug, Default)]
pub struct Scan {
    /// In order of place.
    pub uses: Vec<ImageUse>,
    /// What the `ONBUILD` instructions of the stage that becomes the image name: images or stages of the
    /// Dockerfiles that are `FROM` it.
    pub triggers: Vec<OnbuildTrigger>,
    /// Names of its stages, in small letters.
    pub stages: BTreeSet<String>,
    /// The last stage that a `--from` counts, instead of naming it, and where it does.
    pub counted: Option<(usize, Range<usize>)>,
    pub instructions: Vec<Instruction>,
}

/// An image that the build needs, named as the builder will see it.
#[derive(Debug, PartialEq, Eq)]
pub struct ImageUse {
    /// In the file.
    pub span: Range<usize>,
    pub line: usize,
    /// With its variables expanded; not yet known to be a good reference.
    pub image: String,
    /// The stage it belongs to, counted from 0.
    pub stage: usize,
    pub is_final: bool,
    /// Whether it is the `FROM` of its stage.
    pub is_from: bool,
    /// That of `FROM --platform`, with its variables expanded.
    pub platform: Option<Platform>,
}

impl ImageUse {
    /// Whether it may be meant to name a stage.
    pub fn is_word(&self) -> bool {
        self.image.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_')
    }
}

/// A name in an `ONBUILD` instruction.
#[derive(Debug, PartialEq, Eq)]
pub struct OnbuildTrigger {
    /// In the file.
    pub span: Range<usize>,
    pub image: String,
}

/// Why a Dockerfile cannot be built, and where it says so.
#[derive(Debug, PartialEq, Eq)]
pub struct DockerfileProblem {
    pub span: Range<usize>,
    pub message: String,
    /// Beside the span, where the message alone does not say what to look at.
    pub label: String,
    pub hint: Option<String>,
}

#[derive(Debug, PartialEq, Eq)]
pub enum ScanError {
    /// All that was found, in order of place.
    Problems(Vec<DockerfileProblem>),
    /// No stage has the name of the target. The fault is not in the Dockerfile.
    UnknownTarget { stages: Vec<String> },
}

impl DockerfileProblem {
    fn at(span: Range<usize>, message: impl Into<String>) -> Self {
        Self { span, message: message.into(), label: String::new(), hint: None }
    }

    fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

pub fn scan(text: &str, settings: Settings<'_>) -> Result<Scan, ScanError> {
    let lines = lines::read(text).map_err(|problem| ScanError::Problems(vec![problem]))?;
    let stages::StageNames { uses, triggers, stages, counted } = stages::read(&lines, settings)?;
    let instructions = lines
        .all
        .iter()
        .map(|line| Instruction {
            heredocs: line.heredocs.clone(),
            ..Instruction::new(line.number, normal(&line.text))
        })
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

/// One line, single spaces, the instruction's name in capitals.
pub fn normal(text: &str) -> String {
    let mut words = text.split_whitespace();
    let mut normal = words.next().unwrap_or_default().to_ascii_uppercase();
    for word in words {
        normal.push(' ');
        normal.push_str(word);
    }
    normal
}
