//! What BuildKit reports of its steps.
//!
//! The structs are the fields we read of `StatusResponse` in github.com/moby/buildkit,
//! `api/services/control/control.proto`; protobuf skips the others.

use std::{collections::BTreeMap, sync::LazyLock};

use prost::Message;
use regex::Regex;

use crate::engine::BuildProgress;

#[derive(Clone, PartialEq, Message)]
pub(in crate::engine) struct StatusResponse {
    #[prost(message, repeated, tag = "1")]
    vertexes: Vec<Vertex>,
    #[prost(message, repeated, tag = "3")]
    logs: Vec<VertexLog>,
    #[prost(message, repeated, tag = "4")]
    warnings: Vec<VertexWarning>,
}

#[derive(Clone, PartialEq, Message)]
struct Vertex {
    #[prost(string, tag = "1")]
    digest: String,
    #[prost(string, tag = "3")]
    name: String,
    #[prost(bool, tag = "4")]
    cached: bool,
    #[prost(message, optional, tag = "5")]
    started: Option<Timestamp>,
    #[prost(string, tag = "7")]
    error: String,
}

/// Only whether there is one matters.
#[derive(Clone, Copy, PartialEq, Message)]
struct Timestamp {}

#[derive(Clone, PartialEq, Message)]
struct VertexLog {
    #[prost(bytes = "vec", tag = "4")]
    msg: Vec<u8>,
}

#[derive(Clone, PartialEq, Message)]
struct VertexWarning {
    #[prost(bytes = "vec", tag = "3")]
    short: Vec<u8>,
}

/// A step's place in its stage, and its text.
#[derive(Clone, Debug, PartialEq, Eq)]
struct TracedStep {
    /// If the Dockerfile names it.
    stage: Option<String>,
    number: usize,
    total: usize,
    text: String,
}

/// The last vertex of a build for an image store: `exporter/containerimage/export.go` of BuildKit, and
/// `daemon/internal/builder-next/exporter` of moby.
const EXPORT: &str = "exporting to image";

/// `exporting cache to registry`: a failure there is not one of the build.
const EXPORT_CACHE: &str = "exporting cache to ";

/// What is known of the steps so far. A vertex is told of two or three times; its digest says it
/// is the same.
#[derive(Debug, Default)]
pub(in crate::engine) struct Trace {
    /// Whether each vertex was announced.
    seen: BTreeMap<String, bool>,
    /// The first step with an error of its own.
    failed: Option<String>,
}

impl Trace {
    pub(in crate::engine) fn take(
        &mut self,
        status: StatusResponse,
        progress: &mut impl FnMut(BuildProgress),
    ) {
        for vertex in status.vertexes {
            self.take_vertex(vertex, progress);
        }
        for log in status.logs {
            progress(BuildProgress::Output(log.msg));
        }
        for warning in status.warnings {
            let text = [b"warning: ", &warning.short[..], b"\n"].concat();
            progress(BuildProgress::Output(text));
        }
    }

    fn take_vertex(&mut self, vertex: Vertex, progress: &mut impl FnMut(BuildProgress)) {
        let step = TracedStep::parse(&vertex.name);
        let announced = self.seen.entry(vertex.digest).or_default();
        let begun = vertex.started.is_some() || vertex.cached;
        if begun && !*announced {
            *announced = true;
            if let Some(TracedStep { stage, number, total, text }) = step.clone() {
                progress(BuildProgress::Step { stage, number, total, text });
            } else if vertex.name == EXPORT {
                progress(BuildProgress::Exporting);
            }
        }
        if vertex.name.starts_with(EXPORT_CACHE) && !vertex.error.is_empty() {
            let text = format!("warning: {}: {}\n", vertex.name, vertex.error);
            progress(BuildProgress::Output(text.into()));
        }
        // A step that was cancelled because another failed says so as an error too.
        let own = !vertex.error.is_empty() && !vertex.error.contains("context canceled");
        if own && self.failed.is_none() {
            self.failed = step.map(|step| step.text);
        }
    }

    /// The step that failed, as the Dockerfile has it: `RUN make`.
    pub(in crate::engine) fn failed(&self) -> Option<&str> {
        self.failed.as_deref()
    }
}

impl TracedStep {
    /// `[2/3] RUN make`, `[build 2/3] RUN make`, `[linux/arm64 build 2/3] RUN make`.
    fn parse(name: &str) -> Option<Self> {
        static STEP: LazyLock<Regex> = LazyLock::new(|| {
            Regex::new(r"(?s)^\[([^\]]* )?(\d+)/(\d+)\] (.*)$").expect("a valid pattern")
        });
        let parts = STEP.captures(name)?;
        let stage = parts.get(1).and_then(|before| before.as_str().split_whitespace().last());
        // A stage without a name is called by its number.
        let stage = stage.filter(|stage| !stage.starts_with("stage-") && !stage.contains('/'));
        Some(Self {
            stage: stage.map(str::to_owned),
            number: parts[2].parse().ok()?,
            total: parts[3].parse().ok()?,
            text: parts[4].to_owned(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_place_is_taken_off_the_name() {
        for (name, expected) in [
            ("[2/3] RUN make", Some((2, 3, "RUN make"))),
            ("[stage-0 10/12] COPY a b", Some((10, 12, "COPY a b"))),
            ("[linux/arm64 build 1/2] FROM x", Some((1, 2, "FROM x"))),
            ("[2/3] RUN echo [4/5] six", Some((2, 3, "RUN echo [4/5] six"))),
            ("[internal] load metadata for x", None),
            ("exporting to image", None),
        ] {
            let step = TracedStep::parse(name);
            let step = step.as_ref().map(|step| (step.number, step.total, step.text.as_str()));
            assert_eq!(step, expected, "{name}");
        }
    }
}
