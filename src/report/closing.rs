//! How a report ends: the table, the failures, the promotion, and one line that says it all.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::{self, Write},
};

use super::{
    Paint, failure,
    numbers::{count, names, seconds},
    sanitize, step, table,
    width::wrap,
};
use crate::{
    event::{Outcome, Promotion, StepSummary, StopReason, Summary, WithoutPromotion},
    exit::Exit,
    hierarchy::{NodeName, OnFailure},
};

/// More tags that did not move are counted only.
const LEFT: usize = 5;

/// Everything, the most important last, where people look first.
pub(super) fn write(
    summary: &Summary,
    verbose: bool,
    columns: Option<usize>,
    (paint, out): (Paint, &mut dyn Write),
) -> io::Result<()> {
    table::write(summary, verbose, columns, (paint, out))?;
    let mut text = Vec::new();
    failure::all(summary, paint, &mut text)?;
    writeln!(text)?;
    for line in promotion(summary) {
        writeln!(text, "{line}")?;
    }
    writeln!(text, "{}", result(summary, paint))?;
    out.write_all(wrap(&String::from_utf8_lossy(&text), columns).as_bytes())
}

/// `done in 42 s: 3 built, 12 up to date`.
pub(super) fn result(summary: &Summary, paint: Paint) -> String {
    if had_nothing_to_do(summary) {
        let held = summary.steps.iter().filter(|step| matches!(step.outcome, Outcome::Held { .. }));
        let held = held.count();
        let nothing = paint.good("nothing to do");
        let all = NodeName::images(summary.steps.iter().map(|step| &step.node));
        return match (all.saturating_sub(held), held) {
            (0, 0) => nothing,
            (1, 0) => format!("{nothing}: the image is up to date"),
            (n, 0) => format!("{nothing}: all {n} images are up to date"),
            _ => format!("{nothing}: {}", totals(summary)),
        };
    }
    let took = seconds(summary.took);
    let head = match (summary.stopped, summary.exit) {
        (Some(StopReason::Interrupted), _) => {
            format!("{} after {took}", paint.bad("interrupted"))
        }
        (Some(StopReason::Overtaken), Exit::Interrupted) => {
            format!("{} after {took}", paint.warning("overtaken"))
        }
        (_, Exit::Done) => format!("{} in {took}", paint.good("done")),
        (_, exit) => format!("{} after {took} (exit code {})", paint.bad("failed"), exit.code()),
    };
    let totals = totals(summary);
    if totals.is_empty() { head } else { format!("{head}: {totals}") }
}

fn had_nothing_to_do(summary: &Summary) -> bool {
    let is_kept =
        |outcome: &Outcome| matches!(outcome, Outcome::Kept { .. } | Outcome::Held { .. });
    summary.exit == Exit::Done && summary.steps.iter().all(|step| is_kept(&step.outcome))
}

/// How many images came to which end, the ends that matter first.
fn totals(summary: &Summary) -> String {
    let ends = ["failed", "skipped", "cancelled", "built", "unchanged", "already built", "held"];
    let end = |outcome: &Outcome| match outcome {
        Outcome::Failed(_) => ends[0],
        Outcome::Skipped { .. } => ends[1],
        Outcome::Cancelled => ends[2],
        Outcome::Built { .. } => ends[3],
        Outcome::Unchanged { .. } => ends[4],
        Outcome::Reused { .. } => ends[5],
        Outcome::Held { .. } => ends[6],
        Outcome::Kept { .. } => "up to date",
    };
    let mut counted: BTreeMap<&str, usize> = BTreeMap::new();
    for step in &summary.steps {
        *counted.entry(end(&step.outcome)).or_default() += 1;
    }
    let some = |name: &&str| counted.get(name).map(|n| format!("{n} {name}"));
    let parts: Vec<String> = ends.iter().chain([&"up to date"]).filter_map(some).collect();
    parts.join(", ")
}

/// Why there was nothing to move though images were built.
fn came_out_the_same(summary: &Summary) -> Option<String> {
    let same = |step: &&StepSummary| matches!(step.outcome, Outcome::Unchanged { .. });
    // With `rebuild promote`, tags may point at new images already.
    if summary.steps.iter().any(|step| matches!(step.outcome, Outcome::Built { .. })) {
        return None;
    }
    let n = summary.steps.iter().filter(same).count();
    let what = match n {
        0 => return None,
        1 => "the built image is unchanged".to_owned(),
        n => format!("the {n} built images are unchanged"),
    };
    Some(format!("nothing was promoted: {what}"))
}

/// What became of the moving tags, a sentence a line. Nothing if there was nothing to move.
pub(super) fn promotion(summary: &Summary) -> Vec<String> {
    match &summary.promotion {
        Promotion::Nothing => came_out_the_same(summary).into_iter().collect(),
        Promotion::NotAsked(_) if had_nothing_to_do(summary) => Vec::new(),
        Promotion::NotAsked(why) => vec![not_asked(*why).to_owned()],
        Promotion::Staged if summary.steps.iter().all(|step| step.outcome.digest().is_none()) => {
            Vec::new()
        }
        Promotion::Staged => {
            vec!["the stored images wait for `rebuild promote`; no tag was moved".to_owned()]
        }
        Promotion::Withheld => vec![format!("nothing was promoted: {}", withheld(summary))],
        Promotion::Done { moved, took, held } => {
            let promoted = summary.steps.iter().filter(|step| !step.promoted.is_empty());
            // The platforms of an image share its tags.
            let images: BTreeSet<&str> = promoted.map(|step| step.node.image()).collect();
            let images = images.len();
            let mut lines = Vec::new();
            if *moved > 0 {
                lines.push(format!(
                    "promoted {} of {}{} in {}, parents first",
                    count(*moved, "tag"),
                    count(images, "image"),
                    if summary.is_local { " in the engine" } else { "" },
                    seconds(*took)
                ));
            }
            lines.extend(keep_their_tags(held, summary));
            lines
        }
        Promotion::Incomplete { moved, of, why, left } => {
            let mut lines = vec![format!(
                "promotion incomplete: {moved} of {} moved: {}",
                count(*of, "tag"),
                sanitize::text(why)
            )];
            // If no tag moved, or all of them, the first line says it.
            if left.len() < *of && !left.is_empty() {
                lines.push(format!("not moved: {}", sanitize::text(&names(left, LEFT))));
            }
            lines.push("hint: run `rebuild` again: what is stored is not built again".to_owned());
            lines
        }
    }
}

fn not_asked(why: WithoutPromotion) -> &'static str {
    match why {
        WithoutPromotion::NoPush => "nothing was promoted: `--no-push` was given",
        WithoutPromotion::NoPromote => {
            "no tag was moved: `--no-promote` was given; the built images are stored"
        }
        WithoutPromotion::Platform => {
            "no tag was moved: a run with `--platform` builds a part of each image; the built images are stored, and \
             `rebuild` without it moves the tags"
        }
    }
}

fn withheld(summary: &Summary) -> String {
    let blocks = |outcome: &Outcome| matches!(outcome, Outcome::Failed(failure) if failure.on_failure == OnFailure::Block);
    let failed: Vec<String> = summary
        .steps
        .iter()
        .filter(|step| blocks(&step.outcome))
        .map(|step| sanitize::text(step.node.as_str()))
        .collect();
    match (failed.is_empty(), summary.stopped) {
        (false, _) => format!("{} failed, every tag is where it was", names(&failed, 3)),
        (true, Some(reason)) => format!("{}, every tag is where it was", step::stop(reason)),
        (true, None) => "every tag is where it was".to_owned(),
    }
}

/// A line for each failure that holds back its branch.
fn keep_their_tags(held: &BTreeMap<NodeName, NodeName>, summary: &Summary) -> Vec<String> {
    let new = summary.steps.iter().filter(|step| step.reason.is_unpublished());
    let new: BTreeSet<&NodeName> = new.map(|step| &step.node).collect();
    // Other platforms of the image, descendants, and whether one of all has no tags yet.
    let mut branches: BTreeMap<&NodeName, (usize, usize, bool)> = BTreeMap::new();
    for (node, because) in held {
        let step = summary.steps.iter().find(|step| step.node == *node);
        let all = match step.map(|step| &step.outcome) {
            Some(Outcome::Skipped { failed }) => &failed[..],
            _ => std::slice::from_ref(because),
        };
        for because in all {
            let (platforms, below, has_new) = branches.entry(because).or_default();
            *has_new |= new.contains(node);
            let is_sibling = node.image() == because.image();
            *platforms += usize::from(is_sibling && node != because);
            *below += usize::from(!is_sibling);
        }
    }
    let line = |(because, (platforms, below, has_new)): (&NodeName, (usize, usize, bool))| {
        let name = sanitize::text(because.as_str());
        let with = match (platforms, below) {
            (0, 0) if has_new => return format!("`{name}` gets no tags: it failed"),
            (0, 0) => return format!("`{name}` keeps its tags: it failed"),
            (0, below) => format!(" and {}", count(below, "descendant")),
            (platforms, 0) => format!(" and {}", count(platforms, "other platform")),
            (platforms, below) => {
                let platforms = count(platforms, "other platform");
                format!(", {platforms} and {}", count(below, "descendant"))
            }
        };
        let tags = if has_new { "get no new tags" } else { "keep their tags" };
        format!("`{name}`{with} {tags}: `{name}` failed")
    };
    branches.into_iter().map(line).collect()
}
