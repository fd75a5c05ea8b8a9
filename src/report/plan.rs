//! A plan, as people and as programs read it.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::{self, Write},
};

use serde::Serialize;

use super::{
    Paint,
    flatten::{self, FlattenView},
    numbers::{about, count},
    sanitize,
    width::{pad, width},
};
use crate::{
    hierarchy::NodeName,
    image::{Digest, Repository, Tag},
    plan::{
        Action, Plan, Reason, Step,
        order::{BlastRadius, Destination},
    },
    size::FlattenForecast,
};

/// Of the JSON of a plan, and of the events: counts up when a field goes or changes its meaning.
pub const VERSION: u32 = 1;

/// The width of the line that names the tags that a run would move.
const COLUMNS: usize = 80;

/// What `rebuild plan` answers.
#[derive(Clone, Copy)]
pub struct Planned<'a> {
    /// All of the run.
    pub run: &'a Plan,
    /// The images to print, of that plan.
    pub shown: &'a Plan,
    /// Of the run.
    pub radius: &'a BlastRadius,
    /// The registry, or the engine.
    pub place: &'a str,
    /// The images that the run flattens for the first time.
    pub flattened: &'a [FlattenForecast],
    pub tags: TagList,
}

/// Which of the tags that would move the text names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TagList {
    /// Those that have room in a line.
    Line,
    All,
}

/// Writes where a run would publish; a plan as a tree, each image below the one that it waits for, with
/// action and reason; and in the end what the run would touch.
pub fn text(planned: Planned<'_>, (colour, out): (bool, &mut dyn Write)) -> io::Result<()> {
    let Planned { run, shown, radius, place, flattened, tags } = planned;
    let paint = Paint { colour };
    writeln!(out, "{}", sanitize::text(&target(radius, place)))?;
    let lines = tree(shown);
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
    let hidden = match run.steps.len() - shown.steps.len() {
        0 => String::new(),
        n => format!(" ({n} not shown)"),
    };
    // A reader takes totals for those of the images above.
    let (of_run, indent) =
        if shows_all_work(run, shown) { ("", "") } else { ("the whole run: ", "  ") };
    writeln!(out, "{of_run}{}{hidden}", counts(run))?;
    if radius.images() > 0 {
        writeln!(out, "{indent}{}", touched(radius))?;
        // One text for each tag, because a long text is cut.
        let names: Vec<String> = radius.tags.iter().map(|tag| sanitize::text(tag)).collect();
        let names = if names.is_empty() { "no tag".to_owned() } else { moves(&names, tags) };
        writeln!(out, "{indent}moves {}", names.replace('\n', &format!("\n{indent}")))?;
    }
    for forecast in flattened {
        writeln!(out, "flattens {}", flatten::sentences(forecast).join("; "))?;
    }
    Ok(())
}

/// Whether the images that are not shown stay as they are.
fn shows_all_work(run: &Plan, shown: &Plan) -> bool {
    let work = |plan: &Plan| {
        plan.steps.iter().filter(|step| !matches!(step.action, Action::Keep { .. })).count()
    };
    work(run) == work(shown)
}

/// `publishes to registry.example.com/base`: where the images of the run go.
pub(super) fn target(radius: &BlastRadius, place: &str) -> String {
    match radius.destination {
        Destination::Registry => {
            let is_below = |repository: &str| {
                repository.strip_prefix(place).is_some_and(|rest| rest.starts_with('/'))
            };
            let folder = |repository: &str| match repository.rsplit_once('/') {
                Some((folder, _)) if !is_below(repository) => folder.to_owned(),
                None => "docker.io/library".to_owned(),
                Some(_) => place.to_owned(),
            };
            let repositories = radius.repositories.values();
            let places: BTreeSet<String> = repositories.map(|one| folder(one.as_str())).collect();
            match places.into_iter().collect::<Vec<_>>().as_slice() {
                [] => format!("publishes to {place}"),
                [all @ .., last] if !all.is_empty() => {
                    format!("publishes to {} and {last}", all.join(", "))
                }
                [only, ..] => format!("publishes to {only}"),
            }
        }
        Destination::Engine => format!("tags images in the engine at {place} (no registry)"),
    }
}

/// Of more tags, each has a line of its own where all are listed.
const IN_A_LINE: usize = 6;

/// `os:1, os:latest and 3 more tags`, in at most [`COLUMNS`], or all of them.
pub(super) fn moves(tags: &[String], list: TagList) -> String {
    if list == TagList::All && tags.len() > IN_A_LINE {
        return format!("{}:\n  {}", count(tags.len(), "tag"), tags.join("\n  "));
    }
    if list == TagList::All {
        return tags.join(", ");
    }
    let mut text = String::new();
    for (n, tag) in tags.iter().enumerate() {
        let is_last = n + 1 == tags.len();
        let comma = if n == 0 { "" } else { ", " };
        let more = if is_last { 0 } else { " and 000 more tags".len() };
        let is_full = "moves ".len() + width(&text) + comma.len() + width(tag) + more > COLUMNS;
        if n > 0 && is_full {
            let more = count(tags.len() - n, "more tag");
            return format!("{text} and {more}");
        }
        text = text + comma + tag;
    }
    text
}

/// `5 images, 7 tags, about 3 min, about 120 MB to push`.
pub(super) fn touched(radius: &BlastRadius) -> String {
    let mut parts = vec![count(radius.images(), "image"), count(radius.tags.len(), "tag")];
    let (time, size) = (&radius.time, &radius.size);
    if time.builds == 0 {
        parts.push("nothing to build".to_owned());
        return parts.join(", ");
    }
    parts.push(match time.builds - time.timed {
        _ if !time.is_fair() => "time unknown".to_owned(),
        0 => about(time.left),
        n => format!("{} ({n} not timed here)", about(time.left)),
    });
    let new = match radius.destination {
        Destination::Registry => "to push (packed)",
        Destination::Engine => "of new layers (unpacked)",
    };
    let bytes = super::numbers::size(size.bytes);
    parts.push(match time.builds - size.sized {
        _ if size.sized == 0 => "size unknown".to_owned(),
        0 => format!("about {bytes} {new}"),
        n => format!("at least {bytes} {new}, the size of {} is unknown", count(n, "image")),
    });
    parts.join(", ")
}

/// Writes a plan as one JSON object: see `docs/events.md`.
pub fn json(planned: Planned<'_>, out: &mut dyn Write) -> io::Result<()> {
    #[derive(Serialize)]
    struct PlanDocument<'a> {
        v: u32,
        target: TargetView<'a>,
        #[serde(flatten)]
        plan: PlanView<'a>,
        blast_radius: RadiusView<'a>,
        #[serde(skip_serializing_if = "Vec::is_empty")]
        flatten: Vec<FlattenView<'a>>,
    }
    let flatten = planned.flattened.iter().map(FlattenView::new).collect();
    let target = match planned.radius.destination {
        Destination::Registry => TargetView::Registry(planned.place),
        Destination::Engine => TargetView::Engine(planned.place),
    };
    let plan = PlanView { counts: StateCounts::of(planned.run), ..PlanView::new(planned.shown) };
    let blast_radius = RadiusView::new(planned.radius);
    super::json::write(&PlanDocument { v: VERSION, target, plan, blast_radius, flatten }, out)
}

/// `{"registry":"registry.example.com/base"}`.
#[derive(Serialize)]
#[serde(rename_all = "lowercase")]
enum TargetView<'a> {
    Registry(&'a str),
    Engine(&'a str),
}

/// `3 to build, 1 to promote, 12 up to date`; `at most 3 to build` if some of them are only built if a parent
/// changes.
pub(super) fn counts(plan: &Plan) -> String {
    let StateCounts { build, promote, keep, held } = StateCounts::of(plan);
    let part = |n: usize, what: &str| (n > 0).then(|| format!("{n} {what}"));
    let is_bound = plan.steps.iter().any(Step::may_be_cut_off);
    let parts = [
        part(build, "to build").map(|part| if is_bound { format!("at most {part}") } else { part }),
        part(promote, "to promote"),
        part(held, "held"),
        part(keep - held, "up to date"),
    ];
    let parts: Vec<String> = parts.into_iter().flatten().collect();
    if parts.is_empty() { "no image is selected".to_owned() } else { parts.join(", ") }
}

pub(super) fn verb(action: &Action) -> &'static str {
    match action {
        Action::Build { .. } => "build",
        Action::Promote { .. } => "promote",
        Action::Keep { .. } => "keep",
    }
}

/// Every step once with its depth, below the parent that it is `FROM`, as in `rebuild tree`; else below another
/// parent of the plan.
fn tree(plan: &Plan) -> Vec<(usize, &Step)> {
    let index: BTreeMap<&NodeName, usize> =
        plan.steps.iter().enumerate().map(|(n, step)| (&step.node, n)).collect();
    let mut depths: Vec<usize> = Vec::with_capacity(plan.steps.len());
    let mut below: Vec<Vec<usize>> = vec![Vec::new(); plan.steps.len()];
    let mut roots = Vec::new();
    for (n, step) in plan.steps.iter().enumerate() {
        // Build order: what it waits for was seen before.
        let mut seen = step.after.iter().filter_map(|parent| index.get(parent).copied());
        let parent = seen.find(|&p| p < n);
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
    counts: StateCounts,
    steps: Vec<PlanStepView<'a>>,
}

/// What a plan would touch, as it stands in JSON.
#[derive(Serialize)]
struct RadiusView<'a> {
    build: usize,
    promote: usize,
    tags: usize,
    moves: &'a [String],
    /// Of each image to build or promote.
    repositories: &'a BTreeMap<NodeName, Repository>,
    seconds: Option<f64>,
    timed: usize,
    bytes: Option<u64>,
    sized: usize,
}

impl<'a> RadiusView<'a> {
    fn new(radius: &'a BlastRadius) -> Self {
        let time = &radius.time;
        Self {
            build: time.builds,
            promote: radius.promoted,
            tags: radius.tags.len(),
            moves: &radius.tags,
            repositories: &radius.repositories,
            seconds: time.is_fair().then(|| super::json::seconds(time.left)),
            timed: time.timed,
            bytes: (radius.size.sized > 0).then_some(radius.size.bytes),
            sized: radius.size.sized,
        }
    }
}

#[derive(Serialize)]
struct StateCounts {
    build: usize,
    promote: usize,
    keep: usize,
    /// Of those to keep.
    #[serde(skip_serializing_if = "is_zero")]
    held: usize,
}

#[derive(Serialize)]
struct PlanStepView<'a> {
    node: &'a NodeName,
    action: &'static str,
    #[serde(skip_serializing_if = "is_false")]
    forced: bool,
    #[serde(skip_serializing_if = "is_false")]
    fresh: bool,
    #[serde(flatten)]
    why: ReasonView<'a>,
    after: &'a [NodeName],
    #[serde(skip_serializing_if = "Option::is_none")]
    base: Option<&'a str>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    upstreams: Vec<&'a str>,
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
        let view = |step: &'a Step| PlanStepView {
            node: &step.node,
            action: verb(&step.action),
            forced: matches!(step.action, Action::Build { again: Some(_), .. }),
            fresh: matches!(step.action, Action::Build { fresh: true, .. }),
            why: ReasonView::new(&step.reason),
            after: &step.after,
            base: step.base.as_deref(),
            upstreams: step.inputs.upstreams.keys().map(String::as_str).collect(),
            published: step.published.as_ref(),
            moving: &step.moving,
        };
        Self { counts: StateCounts::of(plan), steps: plan.steps.iter().map(view).collect() }
    }
}

impl StateCounts {
    fn of(plan: &Plan) -> Self {
        let count = |name| plan.steps.iter().filter(|step| verb(&step.action) == name).count();
        let held = plan.steps.iter().filter(|step| step.is_held()).count();
        Self { build: count("build"), promote: count("promote"), keep: count("keep"), held }
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_false(value: &bool) -> bool {
    !value
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_zero(count: &usize) -> bool {
    *count == 0
}

#[cfg(test)]
mod tests {
    use super::{super::scenario, *};
    use crate::plan::order::{Estimate, blast_radius::Size};

    fn radius(builds: usize, promoted: usize, known: usize) -> BlastRadius {
        let left = std::time::Duration::from_secs(170);
        BlastRadius {
            promoted,
            tags: (1..=7).map(|n| format!("os-base:{n}")).collect(),
            time: Estimate { left, timed: known, builds },
            size: Size { bytes: 120_400_000, sized: known },
            destination: Destination::Registry,
            repositories: BTreeMap::new(),
        }
    }

    fn planned<'a>(plan: &'a Plan, radius: &'a BlastRadius) -> Planned<'a> {
        let place = "registry.example.com/base";
        let tags = TagList::Line;
        Planned { run: plan, shown: plan, radius, place, flattened: &[], tags }
    }

    #[test]
    fn the_first_line_names_where_the_images_of_the_run_go() {
        let first = |repositories: &[&str]| {
            let repositories = repositories.iter().map(|one| ((*one).into(), one.parse().unwrap()));
            let radius = BlastRadius { repositories: repositories.collect(), ..radius(1, 0, 1) };
            target(&radius, "registry.example.com/base")
        };
        assert_eq!(first(&[]), "publishes to registry.example.com/base");
        let both = ["registry.example.com/team/a", "registry.example.com/base/b"];
        assert_eq!(first(&both[..1]), "publishes to registry.example.com/team");
        assert_eq!(
            first(&both),
            "publishes to registry.example.com/base and registry.example.com/team"
        );
    }

    /// The last stage of `shop` is `FROM` `web`, the other one is `FROM` `job`.
    #[tokio::test(start_paused = true)]
    async fn an_image_of_several_parents_is_below_its_base_as_in_the_tree() {
        let stack = crate::testing::scenario::scenario(
            "os\nweb < os\ntool < os\njob < tool\nshop < job web",
        );
        stack.run(&crate::plan::Selection::OutOfDate).await;
        stack.write("tool/a", "");
        let (plan, radius) =
            (stack.plan(&crate::plan::Selection::OutOfDate).await, radius(3, 0, 0));
        let mut out = Vec::new();
        text(planned(&plan, &radius), (false, &mut out)).unwrap();
        let text = String::from_utf8(out).unwrap();
        let lines: Vec<&str> = text.lines().skip(1).take(7).collect();
        insta::assert_snapshot!(lines.join("\n"), @"
        keep     os        up to date
        keep       web     up to date
        build        shop  `job` is rebuilt
        build      tool    `a` is new
        build        job   `tool` is rebuilt

        at most 3 to build, 2 up to date
        ");
    }

    #[test]
    fn a_plan_is_a_tree() {
        let mut out = Vec::new();
        let (plan, radius4) = (scenario::plan(), radius(4, 1, 4));
        text(planned(&plan, &radius4), (false, &mut out)).unwrap();
        insta::assert_snapshot!(String::from_utf8(out).unwrap(), @"
        publishes to registry.example.com/base
        build    os-base        its Dockerfile changed
        build      webapp-base  `os-base` is rebuilt
        build        ruby-3.4   `webapp-base` is rebuilt
        build      tools        `os-base` is rebuilt
        promote  cron           built, not promoted to `latest`
        keep     mirror         up to date

        at most 4 to build, 1 to promote, 1 up to date
        5 images, 7 tags, about 3 min, about 120 MB to push (packed)
        moves os-base:1, os-base:2, os-base:3, os-base:4, os-base:5 and 2 more tags
        ");
        let mut out = Vec::new();
        let shown = plan.clone().narrowed(&["tools".into()].into());
        text(Planned { shown: &shown, ..planned(&plan, &radius4) }, (false, &mut out)).unwrap();
        insta::assert_snapshot!(String::from_utf8(out).unwrap(), @"
        publishes to registry.example.com/base
        build    tools  `os-base` is rebuilt

        the whole run: at most 4 to build, 1 to promote, 1 up to date (5 not shown)
          5 images, 7 tags, about 3 min, about 120 MB to push (packed)
          moves os-base:1, os-base:2, os-base:3, os-base:4, os-base:5 and 2 more tags
        ");
        let mut out = Vec::new();
        let engine = BlastRadius { destination: Destination::Engine, ..radius(0, 0, 0) };
        text(planned(&Plan::default(), &engine), (true, &mut out)).unwrap();
        let expected = "tags images in the engine at registry.example.com/base (no registry)\nno image is selected\n";
        assert_eq!(String::from_utf8(out).unwrap(), expected);
    }

    #[test]
    fn many_tags_are_counted() {
        let tags: Vec<String> = (1..=14).map(|n| format!("os:{n}")).collect();
        assert_eq!(moves(&tags[..2], TagList::Line), "os:1, os:2");
        assert_eq!(
            moves(&tags, TagList::Line),
            "os:1, os:2, os:3, os:4, os:5, os:6, os:7, os:8, os:9 and 5 more tags"
        );
        let long = ["a".repeat(100), "b".to_owned()];
        assert_eq!(moves(&long, TagList::All), long.join(", "));
        assert_eq!(moves(&long, TagList::Line), format!("{} and 1 more tag", long[0]));
    }

    #[test]
    fn what_is_not_known_is_not_told() {
        let mut engine = radius(5, 0, 4);
        engine.destination = Destination::Engine;
        let no_time = Estimate { timed: 1, ..radius(5, 0, 5).time };
        let cases = [
            (radius(1, 0, 1), "1 image, 7 tags, about 3 min, about 120 MB to push (packed)"),
            (
                engine,
                "5 images, 7 tags, about 3 min (1 not timed here), \
                 at least 120 MB of new layers (unpacked), the size of 1 image is unknown",
            ),
            (
                radius(5, 1, 3),
                "6 images, 7 tags, time unknown, at least 120 MB to push (packed), the size of 2 images is unknown",
            ),
            (radius(5, 1, 0), "6 images, 7 tags, time unknown, size unknown"),
            (
                BlastRadius { time: no_time, ..radius(5, 0, 5) },
                "5 images, 7 tags, time unknown, about 120 MB to push (packed)",
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
            json(planned(plan, radius), &mut out).unwrap();
            String::from_utf8(out).unwrap()
        };
        insta::assert_snapshot!(json(&Plan::default(), &radius(5, 1, 4)), @r#"{"v":1,"target":{"registry":"registry.example.com/base"},"counts":{"build":0,"promote":0,"keep":0},"steps":[],"blast_radius":{"build":5,"promote":1,"tags":7,"moves":["os-base:1","os-base:2","os-base:3","os-base:4","os-base:5","os-base:6","os-base:7"],"repositories":{},"seconds":170.0,"timed":4,"bytes":120400000,"sized":4}}"#);
        insta::assert_snapshot!(json(&plan, &radius(0, 1, 0)), @r#"{"v":1,"target":{"registry":"registry.example.com/base"},"counts":{"build":0,"promote":1,"keep":1},"steps":[{"node":"cron","action":"promote","reason":"tags-behind","tags":["latest"],"why":"built, not promoted to `latest`","after":[],"base":"debian:12","published":"sha256:cba06b5736faf67e54b07b561eae94395e774c517a7d910a54369e1263ccfbd4","moving":{"latest":"sha256:cba06b5736faf67e54b07b561eae94395e774c517a7d910a54369e1263ccfbd4"}},{"node":"mirror","action":"keep","reason":"up-to-date","why":"up to date","after":[],"base":"debian:12","published":"sha256:cba06b5736faf67e54b07b561eae94395e774c517a7d910a54369e1263ccfbd4","moving":{"latest":"sha256:cba06b5736faf67e54b07b561eae94395e774c517a7d910a54369e1263ccfbd4"}}],"blast_radius":{"build":0,"promote":1,"tags":7,"moves":["os-base:1","os-base:2","os-base:3","os-base:4","os-base:5","os-base:6","os-base:7"],"repositories":{},"seconds":null,"timed":0,"bytes":null,"sized":0}}"#);
    }
}
