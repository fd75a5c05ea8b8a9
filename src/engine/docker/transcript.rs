//! What a build says, from its first message to the verdict. No I/O.
//!
//! **Invariant:** only positive evidence is success. The classic builder names an ID at the end of
//! every stage, so there the last one counts once `Successfully built` confirms it.

use std::sync::LazyLock;

use regex::Regex;
use serde::Deserialize;

use super::{
    message::EngineMessage,
    trace::{StatusResponse, Trace},
};
use crate::{
    engine::{BuildProgress, EngineError},
    image::Digest,
};

/// Wrapping of BuildKit's that tells the user nothing.
const WRAPPING: [&str; 5] = [
    "failed to solve with frontend dockerfile.v0: ",
    "failed to solve with frontend gateway.v0: ",
    "failed to solve: ",
    "rpc error: code = Unknown desc = ",
    "failed to create LLB definition: ",
];

#[derive(Debug, Default)]
pub(in crate::engine) struct Transcript {
    trace: Trace,
    /// The classic builder's step that runs: number, total, text.
    step: Option<(usize, usize, String)>,
    /// Of a build of several stages, buildah says which one it is in.
    stage: usize,
    /// Whether the line end of a step's announcement is still to come.
    swallow_line_end: bool,
    id: Option<Digest>,
    confirmed: bool,
}

#[derive(Deserialize)]
struct ImageId {
    #[serde(rename = "ID")]
    id: String,
}

impl Transcript {
    pub(super) fn take(
        &mut self,
        message: &EngineMessage,
        progress: &mut impl FnMut(BuildProgress),
    ) -> Result<(), EngineError> {
        if let Some((text, code)) = message.error() {
            return Err(self.failure(&text, code));
        }
        if let Some(text) = &message.stream {
            self.classic(text, progress);
        }
        if let Some(aux) = &message.aux {
            self.aux(aux).map_err(answer)?;
        }
        if let Some(status) = message.status.as_ref().filter(|_| message.aux.is_none()) {
            // The classic builder pulls a base; layers' progress bars have an ID and are left out.
            if message.id.is_none() {
                progress(BuildProgress::Output(format!("{status}\n").into()));
            }
        }
        Ok(())
    }

    /// The image's ID, if the end of the stream was the end of the build.
    pub(in crate::engine) fn finish(self) -> Result<Digest, EngineError> {
        match self.id {
            Some(id) if self.confirmed => Ok(id),
            _ => Err(answer("the end of the build's messages, and no image".to_owned())),
        }
    }

    /// What an error of the engine means for the build.
    pub(in crate::engine) fn failure(&self, text: &str, code: Option<i64>) -> EngineError {
        let classic = || self.step.as_ref().map(|(_, _, text)| text.clone());
        EngineError::Build {
            message: unwrap(text).to_owned(),
            step: self.trace.failed().map(str::to_owned).or_else(classic),
            exit_code: exit_code(text).or(code),
        }
    }

    /// Takes what BuildKit reports of its steps.
    pub(in crate::engine) fn status(
        &mut self,
        status: StatusResponse,
        progress: &mut impl FnMut(BuildProgress),
    ) {
        self.trace.take(status, progress);
    }

    fn aux(&mut self, aux: &serde_json::Value) -> Result<(), String> {
        let Ok(ImageId { id }) = ImageId::deserialize(aux) else { return Ok(()) };
        let id = if id.contains(':') { id } else { format!("sha256:{id}") };
        self.id = Some(id.parse().map_err(|error| format!("{error}"))?);
        self.confirmed = false;
        Ok(())
    }

    fn classic(&mut self, text: &str, progress: &mut impl FnMut(BuildProgress)) {
        if std::mem::take(&mut self.swallow_line_end) && text == "\n" {
            return;
        }
        if let Some(step) = self.classic_step(text) {
            let (number, total, text) = step.clone();
            progress(BuildProgress::CountedStep { number, total, text });
            self.step = Some(step);
            self.swallow_line_end = true;
            return;
        }
        if let (Some(built), Some(id)) = (text.strip_prefix("Successfully built "), &self.id) {
            let built = built.trim_end();
            self.confirmed |= built.len() >= 12 && id.hex().starts_with(built);
        }
        progress(BuildProgress::Output(text.as_bytes().to_vec()));
    }

    /// `Step 2/3 : RUN make`, with no line end. A `RUN` may print such a thing too; only the next
    /// number of the same total is believed.
    fn classic_step(&mut self, text: &str) -> Option<(usize, usize, String)> {
        static STEP: LazyLock<Regex> = LazyLock::new(|| {
            Regex::new(r"(?s)^(?:\[(\d+)/\d+\] )?(?:Step|STEP) (\d+)/(\d+) ?: (.*)$")
                .expect("a valid pattern")
        });
        let parts = STEP.captures(text)?;
        let stage = parts.get(1).map_or(Some(0), |stage| stage.as_str().parse().ok())?;
        let number: usize = parts[2].parse().ok()?;
        let total: usize = parts[3].parse().ok()?;
        let expected = match &self.step {
            Some((before, of, _)) if stage == self.stage => number == before + 1 && total == *of,
            _ => number == 1 && stage >= self.stage,
        };
        self.stage = if expected { stage } else { self.stage };
        // Podman ends the line in the same message.
        expected.then(|| (number, total, parts[4].trim_end().to_owned()))
    }
}

fn answer(message: String) -> EngineError {
    EngineError::Answer { doing: "building".to_owned(), message }
}

fn unwrap(mut text: &str) -> &str {
    while let Some(rest) = WRAPPING.iter().find_map(|wrapping| text.strip_prefix(wrapping)) {
        text = rest;
    }
    without_step(text)
}

/// buildah names the step, which we name ourselves, and shows what it made of the line.
fn without_step(text: &str) -> &str {
    static STEP: LazyLock<Regex> = LazyLock::new(|| {
        let pattern = concat!(
            r#"(?s)^building at STEP "(?:[^"\\]|\\.)*": (?:Build error: )?"#,
            r"(.*?)(?: &imagebuilder\.Step\{.*)?$",
        );
        Regex::new(pattern).expect("a valid pattern")
    });
    let said = STEP.captures(text).and_then(|parts| parts.get(1));
    said.map_or(text, |said| said.as_str().trim_end())
}

/// Classic, BuildKit and Podman each say it in their own words; only the text has it in all three.
fn exit_code(text: &str) -> Option<i64> {
    static CODE: LazyLock<Regex> = LazyLock::new(|| {
        Regex::new(r"(?:returned a non-zero code: |exit code: |exit status )(\d+)\s*$")
            .expect("a valid pattern")
    });
    CODE.captures(text)?[1].parse().ok()
}

#[cfg(test)]
#[path = "transcript_tests.rs"]
mod tests;
