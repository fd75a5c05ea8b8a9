//! A plan, as people and as programs read it.

use std::{
    collections::BTreeMap,
    io::{self, Write},
};

use serde::Serialize;

use super::{
    Paint,
    numbers::{about, count, size},
    sanitize,
    width::{pad, width},
};
use crate::{
    hierarchy::NodeName,
    image::{Digest, Tag},
    plan::{
        Action, Plan, Reason, Step,
        order::{BlastRadius, Destination},
    },
};

/// Of the JSON of a plan, and of the events: counts up when a field goes or changes its meaning.
pub const VERSION: u32 = 1;

/// Writes a plan as a tree: each image below the one that it waits for, with action and reason; and in
/// the end what it would touch.
pub fn text(
    plan: &Plan,
    radius: &BlastRadius,
    (colour, out): (bool, &mut dyn Write),
) -> io::Result<()> {
    let paint = Paint { colour };
    let lines = tree(plan);
    let indented =
        |depth: usize, step: &Step| "  ".repeat(depth) + &sanitize::text(step.node.as_str());
    let widest = lines.iter().map(|&(depth, step)| width(&indented(depth, step))).max();
    for &(depth, step) in &lines {
        let name = pad(&indented(depth, step), widest.unwrap_or(0));
        let action = pad(verb(&step.action), "promote".len());
        let action = match step.action {
            Action::Build { .. } => paint.active(action),
            Action::Promote { .. } => paint.good(action),
            Action::Keep { .. } => paint.faint(action),
        };
        writeln!(out, "{action}  {name}  {}", sanitize::text(&step.reason.to_string()))?;
    }
    if !lines.is_empty() {
        writeln!(out)?;
    }
    writeln!(out, "{}", counts(plan))?;
    if radius.images() > 0 {
        writeln!(out, "{}", touched(radius))?;
    }
    Ok(())
}

/// `5 images, 7 tags, about 3 min, about 120 MB to push`.
fn touched(radius: &BlastRadius) -> String {
    let mut parts = vec![count(radius.images(), "image"), count(radius.tags, "tag")];
    if radius.time.builds == 0 {
        parts.push("nothing to build".to_owned());
        return parts.join(", ");
    }
    let is_timed = radius.time.is_fair();
    parts.push(if is_timed { about(radius.time.left) } else { "time unknown".to_owned() });
    let new = match radius.destination {
        Destination::Registry => "to push",
        Destination::Engine => "of new layers",
    };
    parts.push(if radius.is_size_fair() {
        format!("about {} {new}", size(radius.size.bytes))
    } else {
        "size unknown".to_owned()
    });
    let known = radius.time.timed.min(radius.size.sized);
    let guessed = match radius.time.builds - known {
        0 => String::new(),
        n => format!(" ({n} not timed here)"),
    };
    parts.join(", ") + &guessed
}

/// Writes a plan as one JSON object: see `docs/events.md`.
pub fn json(plan: &Plan, radius: &BlastRadius, out: &mut dyn Write) -> io::Result<()> {
    #[derive(Serialize)]
    struct Document<'a> {
        v: u32,
        #[serde(flatten)]
        plan: PlanView<'a>,
        blast_radius: RadiusView,
    }
    let plan = PlanView::new(plan);
    let blast_radius = RadiusView::new(radius);
    super::json::write(&Document { v: VERSION, plan, blast_radius }, out)
}

/// `3 to build, 1 to promote, 12 up to date`.
pub(super) fn counts(plan: &Plan) -> String {
    let Counts { build, promote, keep } = Counts::of(plan);
    let part = |n: usize, what: &str| (n > 0).then(|| format!("{n} {what}"));
    let parts = [part(build, "to build"), part(promote, "to promote"), part(keep, "up to date")];
    let parts: Vec<String> = parts.into_iter().flatten().collect();
    if parts.is_empty() { "no images".to_owned() } else { parts.join(", ") }
}

fn verb(action: &Action) -> &'static str {
    match action {
        Action::Build { .. } => "build",
        Action::Promote { .. } => "promote",
        Action::Keep { .. } => "keep",
    }
}

/// Every step once with its depth, below the deepest of the steps that it waits for.
fn tree(plan: &Plan) -> Vec<(usize, &Step)> {
    let index: BTreeMap<&NodeName, usize> =
        plan.steps.iter().enumerate().map(|(n, step)| (&step.node, n)).collect();
    let mut depths: Vec<usize> = Vec::with_capacity(plan.steps.len());
    let mut below: Vec<Vec<usize>> = vec![Vec::new(); plan.steps.len()];
    let mut roots = Vec::new();
    for (n, step) in plan.steps.iter().enumerate() {
        // Build order: what it waits for was seen before. Of equally deep ones, the first.
        let seen = step.after.iter().filter_map(|parent| index.get(parent).copied());
        let parent = seen.filter(|&p| p < n).max_by_key(|&p| (depths[p], std::cmp::Reverse(p)));
        depths.push(parent.map_or(0, |p| depths[p] + 1));
        match parent {
            Some(parent) => below[parent].push(n),
            None => roots.push(n),
        }
    }
    // No recursion: a chain may be as long as the hierarchy.
    let mut lines = Vec::with_capacity(plan.steps.len());
    let mut stack: Vec<usize> = roots.into_iter().rev().collect();
    while let Some(n) = stack.pop() {
        lines.push((depths[n], &plan.steps[n]));
        stack.extend(below[n].iter().rev());
    }
    lines
}

/// A plan as it stands in JSON.
#[derive(Serialize)]
pub(super) struct PlanView<'a> {
    counts: Counts,
    steps: Vec<StepView<'a>>,
}

/// What a plan would touch, as it stands in JSON.
#[derive(Serialize)]
struct RadiusView {
    build: usize,
    promote: usize,
    tags: usize,
    seconds: Option<f64>,
    timed: usize,
    bytes: Option<u64>,
    sized: usize,
}

impl RadiusView {
    fn new(radius: &BlastRadius) -> Self {
        let time = &radius.time;
        Self {
            build: time.builds,
            promote: radius.promoted,
            tags: radius.tags,
            seconds: time.is_fair().then(|| super::json::seconds(time.left)),
            timed: time.timed,
            bytes: radius.is_size_fair().then_some(radius.size.bytes),
            sized: radius.size.sized,
        }
    }
}

#[derive(Serialize)]
struct Counts {
    build: usize,
    promote: usize,
    keep: usize,
}

#[derive(Serialize)]
struct StepView<'a> {
    node: &'a NodeName,
    action: &'static str,
    #[serde(skip_serializing_if = "is_false")]
    forced: bool,
    #[serde(skip_serializing_if = "is_false")]
    fresh: bool,
    #[serde(flatten)]
    why: ReasonView<'a>,
    after: &'a [NodeName],
    published: Option<&'a Digest>,
    moving: &'a BTreeMap<Tag, Option<Digest>>,
}

/// The reason as data and as a sentence.
#[derive(Serialize)]
pub(super) struct ReasonView<'a> {
    /// Its kind under `reason`, its data beside it.
    #[serde(flatten)]
    reason: &'a Reason,
    why: String,
}

impl<'a> ReasonView<'a> {
    pub(super) fn new(reason: &'a Reason) -> Self {
        Self { reason, why: reason.to_string() }
    }
}

impl<'a> PlanView<'a> {
    pub(super) fn new(plan: &'a Plan) -> Self {
        let view = |step: &'a Step| StepView {
            node: &step.node,
            action: verb(&step.action),
            forced: matches!(step.action, Action::Build { again: Some(_), .. }),
            fresh: matches!(step.action, Action::Build { fresh: true, .. }),
            why: ReasonView::new(&step.reason),
            after: &step.after,
            published: step.published.as_ref(),
            moving: &step.moving,
        };
        Self { counts: Counts::of(plan), steps: plan.steps.iter().map(view).collect() }
    }
}

impl Counts {
    fn of(plan: &Plan) -> Self {
        let count = |name| plan.steps.iter().filter(|step| verb(&step.action) == name).count();
        Self { build: count("build"), promote: count("promote"), keep: count("keep") }
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_false(value: &bool) -> bool {
    !value
}

#[cfg(test)]
mod tests {
    use super::{super::scenario, *};
    use crate::plan::order::{Estimate, blast_radius::Size};

    fn radius(builds: usize, promoted: usize, known: usize) -> BlastRadius {
        let left = std::time::Duration::from_secs(170);
        BlastRadius {
            promoted,
            tags: 7,
            time: Estimate { left, timed: known, builds },
            size: Size { bytes: 120_400_000, sized: known },
            destination: Destination::Registry,
        }
    }

    #[test]
    fn a_plan_is_a_tree() {
        let mut out = Vec::new();
        text(&scenario::plan(), &radius(4, 1, 4), (false, &mut out)).unwrap();
        insta::assert_snapshot!(String::from_utf8(out).unwrap(), @"
        build    os-base        its Dockerfile changed
        build      webapp-base  `os-base` is rebuilt
        build        ruby-3.4   `webapp-base` is rebuilt
        build      tools        `os-base` is rebuilt
        promote  cron           built and tested, but `latest` does not point at it
        keep     mirror         up to date

        4 to build, 1 to promote, 1 up to date
        5 images, 7 tags, about 3 min, about 120 MB to push
        ");
        let mut out = Vec::new();
        text(&Plan::default(), &radius(0, 0, 0), (true, &mut out)).unwrap();
        assert_eq!(String::from_utf8(out).unwrap(), "no images\n");
    }

    #[test]
    fn what_is_not_known_is_not_told() {
        let mut engine = radius(5, 0, 4);
        engine.destination = Destination::Engine;
        let no_time = Estimate { timed: 1, ..radius(5, 0, 5).time };
        let cases = [
            (radius(1, 0, 1), "1 image, 7 tags, about 3 min, about 120 MB to push"),
            (
                engine,
                "5 images, 7 tags, about 3 min, about 120 MB of new layers (1 not timed here)",
            ),
            (radius(5, 1, 3), "6 images, 7 tags, time unknown, size unknown (2 not timed here)"),
            (
                BlastRadius { time: no_time, ..radius(5, 0, 5) },
                "5 images, 7 tags, time unknown, about 120 MB to push (4 not timed here)",
            ),
            (radius(0, 2, 0), "2 images, 7 tags, nothing to build"),
        ];
        for (radius, expected) in cases {
            assert_eq!(touched(&radius), expected);
        }
    }

    #[test]
    fn a_plan_is_json() {
        let mut plan = scenario::plan();
        plan.steps.drain(..4);
        let json = |plan: &Plan, radius: &BlastRadius| {
            let mut out = Vec::new();
            json(plan, radius, &mut out).unwrap();
            String::from_utf8(out).unwrap()
        };
        insta::assert_snapshot!(json(&Plan::default(), &radius(5, 1, 4)), @r#"{"v":1,"counts":{"build":0,"promote":0,"keep":0},"steps":[],"blast_radius":{"build":5,"promote":1,"tags":7,"seconds":170.0,"timed":4,"bytes":120400000,"sized":4}}"#);
        insta::assert_snapshot!(json(&plan, &radius(0, 1, 0)), @r#"{"v":1,"counts":{"build":0,"promote":1,"keep":1},"steps":[{"node":"cron","action":"promote","reason":"tags-behind","tags":["latest"],"why":"built and tested, but `latest` does not point at it","after":[],"published":"sha256:cba06b5736faf67e54b07b561eae94395e774c517a7d910a54369e1263ccfbd4","moving":{"latest":"sha256:cba06b5736faf67e54b07b561eae94395e774c517a7d910a54369e1263ccfbd4"}},{"node":"mirror","action":"keep","reason":"up-to-date","why":"up to date","after":[],"published":"sha256:cba06b5736faf67e54b07b561eae94395e774c517a7d910a54369e1263ccfbd4","moving":{"latest":"sha256:cba06b5736faf67e54b07b561eae94395e774c517a7d910a54369e1263ccfbd4"}}],"blast_radius":{"build":0,"promote":1,"tags":7,"seconds":null,"timed":0,"bytes":null,"sized":0}}"#);
    }
}
