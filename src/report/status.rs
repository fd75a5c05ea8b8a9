//! `rebuild status`: how each image stands, since when, and why.

use std::io::{self, Write};

use jiff::Timestamp;
use serde::Serialize;

use super::{
    Paint, failure, json,
    numbers::ago,
    plan::{ReasonView, VERSION},
    sanitize,
    width::{pad, width},
};
use crate::{
    hierarchy::NodeName,
    image::Digest,
    plan::{ImageState, LastBuilds, Plan, Reason, Step},
    publish::failures::{Failures, LastFailure},
};

/// How images stand.
#[derive(Clone, Copy)]
pub struct StatusReport<'a> {
    /// Of all images: what is above an image may be why it is behind.
    pub plan: &'a Plan,
    /// Those to tell of, in build order.
    pub shown: &'a [&'a Step],
    pub last_builds: &'a LastBuilds,
    /// Of this machine.
    pub failures: &'a Failures,
}

/// Writes a line for each image, in build order, and the count.
pub fn text(
    standing: StatusReport<'_>,
    now: Timestamp,
    (colour, out): (bool, &mut dyn Write),
) -> io::Result<()> {
    let StatusReport { plan, shown, last_builds, failures } = standing;
    let paint = Paint { colour };
    let rows: Vec<(&Step, [String; 4])> = shown
        .iter()
        .map(|step| {
            let since = built(step, last_builds).map_or(String::new(), |then| ago(then, now));
            let mut why = sanitize::text(&why(plan, step));
            // A failure of its own has a line of its own.
            if let Some(failure) = failure::last(step, failures).filter(|last| !last.is_own()) {
                why = format!("{why}; {}", sanitize::text(&failure::told(step, failure, now)));
            }
            let name = sanitize::text(step.node.as_str());
            (*step, [name, step.state().to_string(), since, why])
        })
        .collect();
    let widest = |column: usize| rows.iter().map(|(_, row)| width(&row[column])).max().unwrap_or(0);
    let widths = [widest(0), widest(1), widest(2)];
    for (step, [name, state, since, why]) in &rows {
        let state = pad(state, widths[1]);
        let state = match step.state() {
            ImageState::Current => paint.good(state),
            ImageState::Behind => paint.active(state),
            ImageState::NotPromoted | ImageState::Held => paint.warning(state),
            ImageState::NeverBuilt | ImageState::Missing => paint.bad(state),
        };
        let (name, since) = (pad(name, widths[0]), pad(since, widths[2]));
        writeln!(out, "{name}  {state}  {since}  {why}")?;
        if let Some(failure) = failure::last(step, failures).filter(|last| last.is_own()) {
            writeln!(
                out,
                "{:1$}  {2}",
                "",
                widths[0],
                sanitize::text(&failure::told(step, failure, now))
            )?;
        }
    }
    if !rows.is_empty() {
        writeln!(out)?;
    }
    writeln!(out, "{}", count(shown))
}

/// `2 of 4 images are current`.
fn count(shown: &[&Step]) -> String {
    let all = NodeName::images(shown.iter().map(|step| &step.node));
    // All platforms of a current image are current.
    let others = shown.iter().filter(|step| step.state() != ImageState::Current);
    let current = all - NodeName::images(others.map(|step| &step.node));
    match (current, all) {
        (_, 0) => "no images".to_owned(),
        (1, 1) => "the image is current".to_owned(),
        (0, 1) => "the image is not current".to_owned(),
        (n, all) if n == all => format!("all {n} images are current"),
        (1, all) => format!("1 of {all} images is current"),
        (n, all) => format!("{n} of {all} images are current"),
    }
}

/// The cause where there is one: of an image below a changed one, what changed there.
pub(super) fn why(plan: &Plan, step: &Step) -> String {
    match plan.causes(&step.node).first() {
        // The state says that it was never built, and so may its parents.
        _ if step.state() == ImageState::NeverBuilt && step.reason == Reason::NeverBuilt => {
            "none of its tags exists".to_owned()
        }
        Some(cause) if cause.node != step.node => cause.to_string(),
        _ => step.reason.to_string(),
    }
}

/// When the published image was built.
fn built(step: &Step, last_builds: &LastBuilds) -> Option<Timestamp> {
    last_builds.get(&step.node)?.at()
}

/// Writes one JSON object: see `docs/why.md`.
pub fn json(standing: StatusReport<'_>, out: &mut dyn Write) -> io::Result<()> {
    #[derive(Serialize)]
    struct StatusDocument<'a> {
        v: u32,
        nodes: Vec<StatusNodeView<'a>>,
    }
    #[derive(Serialize)]
    struct StatusNodeView<'a> {
        node: &'a NodeName,
        state: ImageState,
        since: Option<String>,
        published: Option<&'a Digest>,
        size: Option<u64>,
        #[serde(flatten)]
        why: ReasonView<'a>,
        cause: String,
        last_failure: Option<&'a LastFailure>,
    }
    let StatusReport { plan, shown, last_builds, failures } = standing;
    let nodes = shown.iter().map(|step| StatusNodeView {
        node: &step.node,
        state: step.state(),
        since: built(step, last_builds).map(json::whole_seconds),
        published: step.published.as_ref(),
        size: last_builds.get(&step.node).and_then(|last| last.size),
        why: ReasonView::new(&step.reason),
        cause: why(plan, step),
        last_failure: failure::last(step, failures),
    });
    json::write(&StatusDocument { v: VERSION, nodes: nodes.collect() }, out)
}
