//! One image in a few words: what is being done with it, and what became of it.

use super::{
    Paint,
    numbers::{count, names, seconds, size, size_change},
    sanitize,
};
use crate::{
    event::{Outcome, Phase, StepFailure, StopReason},
    image::packages,
};

/// `builder `: before the number of a step, where there are several stages.
pub(super) fn stage(name: Option<&str>) -> String {
    name.map_or(String::new(), |name| format!("{} ", sanitize::text(name)))
}

/// What failed, for a column: `test failed`.
pub(super) fn failed(failure: &StepFailure) -> &'static str {
    match failure.phase {
        Phase::Prepare => "prepare failed",
        Phase::Pull => "pull failed",
        Phase::Build | Phase::WaitForParents | Phase::WaitForTestJob => "build failed",
        Phase::Flatten => "flatten failed",
        Phase::Test { .. } => "test failed",
        Phase::Tags => "tags failed",
        Phase::Gate { .. } => "gate failed",
        Phase::Measure => "over budget",
        Phase::Compare => "compare failed",
        Phase::Push => "push failed",
    }
}

/// What became of a newer package: `fixed: libssl3 3.0.15-1 → 3.0.16-1 in 14 images`.
pub(super) fn package(line: &packages::UpdateLine, paint: Paint) -> String {
    let text = sanitize::text(&line.to_string());
    match line {
        packages::UpdateLine::Fixed { .. } => format!("{}: {text}", paint.good("fixed")),
        packages::UpdateLine::Left { .. } => format!("{}: {text}", paint.warning("not fixed")),
    }
}

/// What the engine no longer has: `removed 3 old images from the engine, about 12 MB`.
pub(super) fn removed(images: usize, bytes: u64) -> String {
    format!("removed {} from the engine, about {}", count(images, "old image"), size(bytes))
}

/// What became of a step, for a line: `built in 42 s, 118 MB (+1.2 MB)`.
pub(super) fn outcome(outcome: &Outcome, took: std::time::Duration, paint: Paint) -> String {
    let took = seconds(took);
    match outcome {
        Outcome::Built { size: bytes, before, different, .. } => {
            let change = size_change(*bytes, *before);
            let different = different.as_ref().map_or(String::new(), |different| {
                format!(": {}", sanitize::text(&different.to_string()))
            });
            format!("{} in {took}, {} ({change}){different}", paint.good("built"), size(*bytes))
        }
        Outcome::Unchanged { .. } => {
            format!("{} in {took}, {}", paint.good("built"), paint.good("unchanged"))
        }
        Outcome::Reused { digest } => {
            format!("{} (found {})", paint.good("already built"), digest.short())
        }
        Outcome::Failed(failure) => {
            // The block about the failure has the other lines, such as a hint.
            let mut lines = failure.message.lines().filter(|line| !line.trim().is_empty());
            let message = sanitize::text(lines.next().unwrap_or_default());
            format!("{} after {took}: {message}", paint.bad(failed(failure)))
        }
        Outcome::Kept { .. } | Outcome::Held { .. } => paint.faint(outcome),
        Outcome::Skipped { .. } | Outcome::Cancelled => {
            paint.warning(sanitize::text(&outcome.to_string()))
        }
    }
}

/// Why a run stops: `an image failed`.
pub(super) fn stop(reason: StopReason) -> &'static str {
    match reason {
        StopReason::Overtaken => "newer changes made builds obsolete",
        StopReason::StepFailed => "an image failed",
        StopReason::ReportFailed => "the output is closed",
        StopReason::Interrupted => "interrupted",
        StopReason::Terminated => "terminated",
    }
}

/// Of a run that gets a signal while it moves tags.
pub(super) const STOP_LATER: &str = "stopping after the remaining tags are moved";

/// Names of nodes, sanitised, at most ten of them.
pub(super) fn nodes<'a>(nodes: impl IntoIterator<Item = &'a crate::hierarchy::NodeName>) -> String {
    let all: Vec<String> = nodes.into_iter().map(|node| sanitize::text(node.as_str())).collect();
    names(&all, 10)
}
