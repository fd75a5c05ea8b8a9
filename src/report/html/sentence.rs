//! A run in a few sentences.

use std::{collections::BTreeMap, fmt::Write as _, time::Duration};

use super::view::{ImageOutcome, ImageView, PromotionResult, RunEnd, RunView};
use crate::report::numbers::{about, count, names, seconds};

/// The result of a run, or how far it is.
pub(super) fn result(run: &RunView) -> String {
    let Some(end) = &run.end else { return progress(run) };
    if let Some(error) = &end.error {
        let verb = if run.run.is_empty() { "begin" } else { "continue" };
        return format!("The run could not {verb}: {error}.");
    }
    let all = run.images.len();
    let kept = run.images.iter().filter(|image| !image.is_touched()).count();
    if end.code == 0 && kept == all {
        return match all {
            0 => "Nothing to do.".to_owned(),
            1 => "Nothing to do: the image is up to date.".to_owned(),
            n => format!("Nothing to do: all {n} images are up to date."),
        };
    }
    let stopped = match run.stopped.as_deref() {
        Some("interrupted") => "The run was interrupted. ",
        Some("terminated") => "The run was terminated. ",
        Some("overtaken") => "Newer changes replaced some builds. ",
        Some("report-failed") => "The run stopped because its output was closed. ",
        _ => "",
    };
    let failed: Vec<&str> = with(run, ImageOutcome::Failed).map(|image| &*image.name).collect();
    let failed = match &failed[..] {
        [] => String::new(),
        failed => format!("{} failed. ", names(failed, 3)),
    };
    let sentences = format!("{stopped}{failed}{}{}", images(run), promotion(run, end));
    sentences.trim_end().to_owned()
}

fn with(run: &RunView, outcome: ImageOutcome) -> impl Iterator<Item = &ImageView> {
    run.images.iter().filter(move |image| image.outcome == Some(outcome))
}

/// `5 images: 3 built, 2 up to date. `
fn images(run: &RunView) -> String {
    let order = [
        (ImageOutcome::Built, "built"),
        (ImageOutcome::Unchanged, "built and unchanged"),
        (ImageOutcome::Reused, "already built"),
        (ImageOutcome::Skipped, "skipped"),
        (ImageOutcome::Cancelled, "cancelled"),
        (ImageOutcome::Held, "held since a rollback"),
        (ImageOutcome::Kept, "up to date"),
    ];
    let parts: Vec<String> = order
        .iter()
        .filter_map(|&(outcome, word)| match with(run, outcome).count() {
            0 => None,
            n => Some(format!("{n} {word}")),
        })
        .collect();
    let all = count(run.images.len(), "image");
    if parts.is_empty() { String::new() } else { format!("{all}: {}. ", parts.join(", ")) }
}

fn promotion(run: &RunView, end: &RunEnd) -> String {
    let PromotionResult { result, is_stored, moved, of, seconds: took, why, held } = &end.promotion;
    match result.as_str() {
        "nothing" => "No tag had to move.".to_owned(),
        "not-asked" if *is_stored => {
            "No tag moved, because of `--no-promote`; the built images are stored.".to_owned()
        }
        "not-asked" => "No tag moved, because of `--no-push`.".to_owned(),
        "staged" => "The stored images wait for `rebuild promote`; no tag moved.".to_owned(),
        "withheld" => "No tag moved: every tag is where it was.".to_owned(),
        "incomplete" => {
            format!("The promotion is incomplete: {moved} of {} moved: {why}.", count(*of, "tag"))
        }
        "done" => {
            let images = run.images.iter().filter(|image| !image.promoted.is_empty()).count();
            let mut text = if *moved == 0 {
                "No tag moved.".to_owned()
            } else {
                let took = seconds(Duration::try_from_secs_f64(*took).unwrap_or_default());
                let (tags, images) = (count(*moved, "tag"), count(images, "image"));
                format!("{tags} of {images} moved in {took}.")
            };
            for (because, n) in branches(held) {
                let more = match n {
                    0 => String::new(),
                    n => format!(" and {}", count(n, "descendant")),
                };
                let get = if n == 0 { "gets" } else { "get" };
                _ = write!(text, " `{because}`{more} {get} no new tags, because it failed.");
            }
            text
        }
        _ => String::new(),
    }
}

/// The images that hold others back, and how many.
fn branches(held: &BTreeMap<String, String>) -> BTreeMap<&str, usize> {
    let mut branches: BTreeMap<&str, usize> = BTreeMap::new();
    for (node, because) in held {
        *branches.entry(because).or_default() += usize::from(node != because);
    }
    branches
}

fn progress(run: &RunView) -> String {
    if run.images.is_empty() {
        return "The run is being planned.".to_owned();
    }
    let all = run.images.len();
    let done = run.images.iter().filter(|image| image.outcome.is_some()).count();
    let running = run.images.iter().filter(|image| image.is_running()).count();
    let mut text = format!("Running: {done} of {} done", count(all, "image"));
    if running > 0 {
        _ = write!(text, ", {running} in progress");
    }
    let left = run.left.and_then(|left| Duration::try_from_secs_f64(left).ok());
    if let Some(left) = left.filter(|_| running > 0) {
        _ = write!(text, ", {} left", about(left));
    }
    if let Some(task) = &run.task {
        text += match task.as_str() {
            "packages" => "; checking package versions",
            "copy" => "; copying images to other registries",
            "provenance" => "; attaching provenance",
            "sign" => "; signing",
            _ => "; moving tags",
        };
    }
    text + "."
}

/// How long it took, or how long it has been running.
pub(super) fn duration(run: &RunView) -> String {
    let took = run.end.as_ref().map_or(run.now, |end| end.seconds);
    seconds(Duration::try_from_secs_f64(took).unwrap_or_default())
}

/// What an exit code means: `docs/exit-codes.md` in short.
pub(super) fn exit_meaning(exit: &str) -> &'static str {
    match exit {
        "done" => "every tag is read back at its target, or there was nothing to do",
        "internal" => "a bug of rebuild, or a file that could not be written",
        "usage" => "wrong usage, or an invalid hierarchy",
        "work" => "images are out of date",
        "build-failed" => "a build failed, or an upstream image does not exist",
        "test-failed" => "a test failed, or an image exceeds its budget",
        "push-failed" => "an image could not be stored in the registry",
        "promotion-failed" => "not all tags moved",
        "engine-unreachable" => "the engine does not answer, or has no disk space",
        "registry-unreachable" => "the registry does not answer, or refuses access",
        "locked" => "another run publishes to the same target",
        "interrupted" => "the run was interrupted",
        "terminated" => "the run was terminated",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        exit::Exit,
        report::{html::tests::view, scenario},
    };

    #[test]
    fn the_result_is_a_sentence() {
        let runs = [
            scenario::success(),
            scenario::failure(),
            scenario::held(),
            scenario::nothing_to_do(),
            scenario::over_budget(),
        ];
        let results: Vec<String> = runs.iter().map(|events| result(&view(events))).collect();
        insta::assert_snapshot!(results.join("\n"));
    }

    #[test]
    fn a_run_that_is_not_finished_says_how_far_it_is() {
        let events = scenario::success();
        let results: Vec<String> =
            (0..events.len()).step_by(6).map(|end| result(&view(&events[..end]))).collect();
        insta::assert_snapshot!(results.join("\n"));
    }

    #[test]
    fn a_run_that_did_not_begin_says_why() {
        let mut run = RunView::default();
        run.fail(Exit::EngineUnreachable, "no engine answers");
        assert_eq!(result(&run), "The run could not begin: no engine answers.");
        assert_eq!(run.end.as_ref().unwrap().code, 20);
        assert!(exit_meaning(&run.end.unwrap().exit).starts_with("the engine"));
    }

    #[test]
    fn every_exit_code_of_a_run_has_a_meaning() {
        let page = include_str!("../../../docs/exit-codes.md");
        let names = page.lines().filter_map(|line| line.strip_prefix("| ")?.split('`').nth(1));
        for name in names.filter(|name| *name != "not-started") {
            assert!(!exit_meaning(name).is_empty(), "{name}");
        }
    }
}
