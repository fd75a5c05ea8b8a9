//! `rebuild why`: the chain from the cause to an image, now and at its last build.

use std::{
    fmt::Write as _,
    io::{self, Write},
};

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
    fingerprint::Parents,
    hierarchy::NodeName,
    image::Digest,
    plan::{Action, ImageState, LastBuild, LastBuilds, Plan, Reason, RootCause, Step},
    publish::failures::{Failures, LastFailure},
};

/// More causes than these are counted only.
const TOLD: usize = 10;

/// What earlier runs left behind.
#[derive(Clone, Copy)]
pub struct PastRuns<'a> {
    pub last_builds: &'a LastBuilds,
    /// Of this machine.
    pub failures: &'a Failures,
    pub now: Timestamp,
}

/// Writes why an image is or is not out of date, and what its published image was built from.
pub fn text(
    plan: &Plan,
    node: &NodeName,
    past: PastRuns<'_>,
    (colour, out): (bool, &mut dyn Write),
) -> io::Result<()> {
    let PastRuns { last_builds, failures, now } = past;
    let Some(step) = plan.step(node) else { return Ok(()) };
    let paint = Paint { colour };
    let mut causes = plan.causes(node);
    // Of an image that was never built, all above it that was not either says nothing more.
    let is_news = |cause: &RootCause| cause.node == *node || !cause.reason.is_unpublished();
    causes.retain(|cause| !step.reason.is_unpublished() || is_news(cause));
    let (head, rest) = verdict(step, &causes);
    let head =
        if step.state() == ImageState::Current { paint.good(head) } else { paint.active(head) };
    writeln!(out, "`{}` {head}{}", sanitize::text(node.as_str()), sanitize::text(&rest))?;
    for (n, cause) in causes.iter().enumerate().take(TOLD) {
        if n > 0 {
            writeln!(out, "  also because {}", sanitize::text(&told(cause)))?;
        }
        if let Some(earlier) = earlier(cause, plan, last_builds) {
            writeln!(out, "  {}", sanitize::text(&earlier))?;
        }
    }
    if causes.len() > TOLD {
        writeln!(out, "  and for {} more reasons", causes.len() - TOLD)?;
    }
    if let Some(failure) = failure::last(step, failures) {
        let told = failure::told(step, failure, now);
        let run = format!(" (run {})", failure.run);
        let run = if told.contains(&failure.run) { "" } else { &run };
        writeln!(out, "\n{}", sanitize::text(&format!("{told}{run}")))?;
        for line in failure::next(&step.node, failure) {
            writeln!(out, "  {}", sanitize::text(&line))?;
        }
    }
    last_build(step, (last_builds, now), (paint, out))
}

/// What is said of it, the part that is coloured first.
fn verdict(step: &Step, causes: &[RootCause]) -> (&'static str, String) {
    match (step.state(), causes.first()) {
        (ImageState::Current, _) => {
            ("is up to date", ": its tags point at the image of the present inputs".to_owned())
        }
        (ImageState::NotPromoted, _) => {
            let reason = step.reason.to_string();
            match reason.strip_prefix("built, not promoted") {
                Some(rest) => ("is built", format!(", but not promoted{rest}")),
                None => ("is not promoted", format!(": {reason}")),
            }
        }
        (ImageState::Held, _) => {
            ("is held", format!(": {}, until its inputs change or `rebuild resume`", step.reason))
        }
        (ImageState::Missing, _) => ("is missing", format!(": {}", step.reason)),
        (_, Some(cause)) if cause.node == step.node && cause.reason == Reason::NeverBuilt => {
            ("was never built", String::new())
        }
        (ImageState::NeverBuilt, _) => {
            let is_missing = matches!(step.reason, Reason::UpstreamMissing { .. });
            let why = if is_missing { format!(": {}", step.reason) } else { String::new() };
            ("was never built", why)
        }
        (_, Some(cause)) => ("is out of date", format!(" because {}", told(cause))),
        (ImageState::Behind, None) => ("is out of date", format!(": {}", step.reason)),
    }
}

/// `` `files/x` of `os-base` changed: os-base → webapp-base → app ``.
fn told(cause: &RootCause) -> String {
    let mut said = cause.to_string();
    if cause.path.len() > 1 {
        let path: Vec<&str> = cause.path.iter().map(NodeName::as_str).collect();
        _ = write!(said, ": {}", path.join(" → "));
    }
    said
}

/// Of a parent that moved on by itself: why it did.
fn earlier(cause: &RootCause, plan: &Plan, last_builds: &LastBuilds) -> Option<String> {
    let Reason::ParentMoved { parent, .. } = &cause.reason else { return None };
    // The last build is that of the published image, which an image without its tags has not replaced.
    if plan.step(parent).is_some_and(|step| matches!(step.action, Action::Promote { .. })) {
        return Some(format!("the newer image of `{parent}` is not promoted"));
    }
    let record = last_builds.get(parent)?.built_from.as_ref()?;
    (!record.cause.is_empty())
        .then(|| format!("`{parent}` was built meanwhile, because {}", record.cause))
}

/// What the published image says of itself.
fn last_build(
    step: &Step,
    (last_builds, now): (&LastBuilds, Timestamp),
    (paint, out): (Paint, &mut dyn Write),
) -> io::Result<()> {
    let Some(digest) = &step.published else { return Ok(()) };
    writeln!(out)?;
    let last_build = last_builds.get(&step.node);
    let mut line = format!("its published image {}", digest.short());
    if let Some(built) = last_build.and_then(LastBuild::at) {
        let at = built.strftime("%Y-%m-%d %H:%M UTC");
        _ = write!(line, " was built {} ({at})", ago(built, now));
    }
    let Some(record) = last_build.and_then(|found| found.built_from.as_ref()) else {
        return writeln!(out, "{line} and does not say what it was built from");
    };
    writeln!(out, "{line}")?;
    if record.cause == Reason::NeverBuilt.of(&step.node) {
        writeln!(out, "  the first image of `{}`", sanitize::text(step.node.as_str()))?;
    } else if !record.cause.is_empty() {
        writeln!(out, "  because {}", sanitize::text(&record.cause))?;
    }
    let parents = record.parents.iter().map(|(name, digest)| (name.to_string(), digest));
    let upstreams = record.inputs.upstreams.iter().map(|(name, digest)| (name.clone(), digest));
    let bases: Vec<(String, &Digest)> =
        parents.chain(upstreams).map(|(name, digest)| (sanitize::text(&name), digest)).collect();
    let widest = bases.iter().map(|(name, _)| width(name)).max().unwrap_or(0);
    for (n, (name, digest)) in bases.iter().enumerate() {
        let on = if n == 0 { "on" } else { "  " };
        writeln!(out, "  {on} {}  {}", pad(name, widest), paint.faint(digest.short()))?;
    }
    Ok(())
}

/// Writes one JSON object about several images: see `docs/why.md`.
pub fn json(
    plan: &Plan,
    nodes: &[NodeName],
    (last_builds, failures): (&LastBuilds, &Failures),
    out: &mut dyn Write,
) -> io::Result<()> {
    #[derive(Serialize)]
    struct WhyDocument<'a> {
        v: u32,
        nodes: Vec<WhyNodeView<'a>>,
    }
    let steps = nodes.iter().filter_map(|node| plan.step(node));
    let nodes = steps.map(|step| WhyNodeView {
        last_failure: failure::last(step, failures),
        ..WhyNodeView::new(plan, step, last_builds)
    });
    let nodes = nodes.collect();
    json::write(&WhyDocument { v: VERSION, nodes }, out)
}

#[derive(Serialize)]
struct WhyNodeView<'a> {
    node: &'a NodeName,
    state: ImageState,
    #[serde(flatten)]
    why: ReasonView<'a>,
    causes: Vec<CauseView>,
    last_build: Option<LastBuildView<'a>>,
    last_failure: Option<&'a LastFailure>,
}

#[derive(Serialize)]
struct CauseView {
    node: NodeName,
    why: String,
    path: Vec<NodeName>,
}

#[derive(Serialize)]
struct LastBuildView<'a> {
    digest: &'a Digest,
    created: Option<String>,
    cause: Option<String>,
    parents: Parents,
    upstreams: std::collections::BTreeMap<String, Digest>,
}

impl<'a> WhyNodeView<'a> {
    fn new(plan: &'a Plan, step: &'a Step, last_builds: &LastBuilds) -> Self {
        let cause = |cause: RootCause| CauseView {
            why: cause.to_string(),
            node: cause.node,
            path: cause.path,
        };
        let found = last_builds.get(&step.node);
        let record = found.and_then(|found| found.built_from.clone());
        let last_build = step.published.as_ref().map(|digest| {
            let (cause, parents, upstreams) = match record {
                Some(record) => (
                    Some(record.cause).filter(|cause| !cause.is_empty()),
                    record.parents,
                    record.inputs.upstreams,
                ),
                None => Default::default(),
            };
            let created = found.and_then(LastBuild::at).map(json::whole_seconds);
            LastBuildView { digest, created, cause, parents, upstreams }
        });
        Self {
            node: &step.node,
            state: step.state(),
            why: ReasonView::new(&step.reason),
            causes: plan.causes(&step.node).into_iter().map(cause).collect(),
            last_build,
            last_failure: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        event::StopReason,
        image::Tagged,
        plan::Selection,
        publish::store::Local,
        report::status,
        run::observe::describe,
        testing::scenario::{Scenario, names, scenario},
    };

    const STACK: &str = "os\nweb < os\napp < web\ntool < os";
    /// When every image of the tests is looked at.
    const NOW: &str = "2026-11-23T12:00:00Z";

    /// What `why` says of a node, and what `status` says of all; the digests left out.
    async fn asked(stack: &Scenario, node: &str) -> (String, String) {
        asked_after(stack, node, &Failures::default()).await
    }

    async fn asked_after(stack: &Scenario, node: &str, failures: &Failures) -> (String, String) {
        let plan = stack.plan(&Selection::OutOfDate).await;
        let store = Local::new(stack.engine.clone());
        let all = plan.steps.iter().map(|step| step.node.clone()).collect();
        let last_builds = describe(&store, &stack.hierarchy(), &plan, &all).await.unwrap();
        let now = NOW.parse().unwrap();
        let (mut why, mut table) = (Vec::new(), Vec::new());
        let past = PastRuns { last_builds: &last_builds, failures, now };
        text(&plan, &node.into(), past, (false, &mut why)).unwrap();
        let shown: Vec<_> = plan.steps.iter().collect();
        let standing = status::StatusReport {
            plan: &plan,
            shown: &shown,
            last_builds: &last_builds,
            failures,
        };
        status::text(standing, now, (false, &mut table)).unwrap();
        let without_digests = |text: Vec<u8>| {
            let text = String::from_utf8(text).unwrap();
            regex::Regex::new("[0-9a-f]{12}").unwrap().replace_all(&text, "DIGEST").into_owned()
        };
        (without_digests(why), without_digests(table))
    }

    #[tokio::test(start_paused = true)]
    async fn the_cause_is_named_before_and_after() {
        let stack = scenario(STACK);
        let (why, status) = asked(&stack, "app").await;
        insta::assert_snapshot!(why, @"`app` was never built");
        insta::assert_snapshot!(status, @"
        os    never built    none of its tags exists
        web   never built    none of its tags exists
        app   never built    none of its tags exists
        tool  never built    none of its tags exists

        0 of 4 images are current
        ");

        stack.run(&Selection::OutOfDate).await;
        let (why, status) = asked(&stack, "app").await;
        insta::assert_snapshot!(why, @"
        `app` is up to date: its tags point at the image of the present inputs

        its published image DIGEST was built 3 days ago (2026-11-20 12:00 UTC)
          the first image of `app`
          on web  DIGEST
        ");
        insta::assert_snapshot!(status, @"
        os    current  3 days ago  up to date
        web   current  3 days ago  up to date
        app   current  3 days ago  up to date
        tool  current  3 days ago  up to date

        all 4 images are current
        ");

        stack.write("os/files/x", "new");
        let (why, status) = asked(&stack, "app").await;
        insta::assert_snapshot!(why, @"
        `app` is out of date because `files/x` of `os` is new: os → web → app

        its published image DIGEST was built 3 days ago (2026-11-20 12:00 UTC)
          the first image of `app`
          on web  DIGEST
        ");
        insta::assert_snapshot!(status, @"
        os    behind  3 days ago  `files/x` is new
        web   behind  3 days ago  `files/x` of `os` is new
        app   behind  3 days ago  `files/x` of `os` is new
        tool  behind  3 days ago  `files/x` of `os` is new

        0 of 4 images are current
        ");

        stack.run(&Selection::OutOfDate).await;
        insta::assert_snapshot!(asked(&stack, "app").await.0, @"
        `app` is up to date: its tags point at the image of the present inputs

        its published image DIGEST was built 3 days ago (2026-11-20 12:00 UTC)
          because `files/x` of `os` is new
          on web  DIGEST
        ");

        stack.write("os/files/x", "newer");
        stack.run(&Selection::Only(names(&["os"]))).await;
        let (why, status) = asked(&stack, "app").await;
        insta::assert_snapshot!(why, @"
        `app` is out of date because `web` is based on another `os`: web → app
          `os` was built meanwhile, because `files/x` of `os` changed

        its published image DIGEST was built 3 days ago (2026-11-20 12:00 UTC)
          because `files/x` of `os` is new
          on web  DIGEST
        ");
        insta::assert_snapshot!(status, @"
        os    current  3 days ago  up to date
        web   behind   3 days ago  it is based on another `os`
        app   behind   3 days ago  `web` is based on another `os`
        tool  behind   3 days ago  it is based on another `os`

        1 of 4 images is current
        ");
    }

    #[tokio::test(start_paused = true)]
    async fn a_change_without_effect_is_named_once() {
        let stack = scenario(STACK);
        stack.run(&Selection::OutOfDate).await;
        stack.engine(|engine| _ = engine.constant.insert("web".to_owned()));
        stack.run(&Selection::From(names(&["web"]))).await;
        for file in ["web/a", "web/b"] {
            stack.write(file, "");
            let ended = stack.run(&Selection::OutOfDate).await;
            assert!(ended.outcomes().contains("web: built, unchanged\n"), "{}", ended.outcomes());
        }
        stack.write("os/c", "");
        assert_eq!(
            stack.planned(&Selection::OutOfDate).await,
            "os: build: `c` is new\nweb: build: `os` is rebuilt\napp: build: `web` is rebuilt\n\
             tool: build: `os` is rebuilt\n"
        );
        stack.write("web/d", "");
        let planned = stack.planned(&Selection::OutOfDate).await;
        assert!(planned.contains("web: build: `d` is new\n"), "{planned}");
        // Without `b`, the result is the same as before.
        std::fs::remove_file(stack.file("web/d")).unwrap();
        std::fs::remove_file(stack.file("web/b")).unwrap();
        let planned = stack.planned(&Selection::OutOfDate).await;
        assert!(planned.contains("web: build: `os` is rebuilt\n"), "{planned}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_tag_that_points_at_the_image_of_another_node_is_no_build_that_waits() {
        let stack = scenario(STACK);
        stack.run(&Selection::OutOfDate).await;
        let tag = |node: &str| Tagged {
            repository: node.parse().unwrap(),
            tag: "latest".parse().unwrap(),
        };
        stack.engine(|engine| {
            let os = engine.tags[&tag("os")].clone();
            engine.tags.insert(tag("tool"), os);
        });
        let planned = stack.planned(&Selection::OutOfDate).await;
        let expected = "tool: promote: `latest` points at an image that was not built for it\n";
        assert!(planned.contains(expected), "{planned}");
    }

    #[tokio::test(start_paused = true)]
    async fn changed_tests_are_a_change_of_the_image_that_has_them() {
        let stack = scenario(STACK);
        let file = |test: &str| {
            let own = "{ test: [{ run: [check], inherit: false }] }";
            let images = format!(
                "  os: {{ test: [{{ run: [{test}] }}] }}\n  web: {own}\n  app: {{}}\n  tool: {{}}\n"
            );
            stack.write("hierarchy.yaml", &format!("version: 1\nimages:\n{images}"));
        };
        file("one");
        stack.run(&Selection::OutOfDate).await;
        file("two");
        let (why, status) = asked(&stack, "app").await;
        let first = why.lines().next().unwrap();
        assert_eq!(first, "`app` is out of date because the tests of `os` changed: os → web → app");
        insta::assert_snapshot!(status, @"
        os    behind  3 days ago  its tests changed
        web   behind  3 days ago  the tests of `os` changed
        app   behind  3 days ago  the tests of `os` changed
        tool  behind  3 days ago  the tests of `os` changed

        0 of 4 images are current
        ");

        // `os` passes, and is the same image.
        stack.run(&Selection::Only(names(&["os"]))).await;
        let (why, status) = asked(&stack, "app").await;
        let first = why.lines().next().unwrap();
        assert_eq!(first, "`app` is out of date because the tests of `os` changed: os → web → app");
        insta::assert_snapshot!(status, @"
        os    current  3 days ago  up to date
        web   behind   3 days ago  the tests of `os` changed
        app   behind   3 days ago  the tests of `os` changed
        tool  behind   3 days ago  the tests of `os` changed

        1 of 4 images is current
        ");
        let plan = stack.planned(&Selection::OutOfDate).await;
        assert!(plan.contains("web: build: the tests of `os` changed\n"), "{plan}");
    }

    #[tokio::test(start_paused = true)]
    async fn another_context_or_dockerfile_is_not_reported_as_files() {
        let stack = scenario("os");
        let file = |fields: &str| {
            let entry = format!("os: {{ {fields}, test: [{{ run: [check], inherit: false }}] }}");
            stack.write("hierarchy.yaml", &format!("version: 1\nimages:\n  {entry}\n"));
        };
        for path in ["os/a", "os/b", "legacy/a", "legacy/x"] {
            stack.write(path, "");
        }
        stack.write("os/Other", "FROM scratch\nRUN make other\n");
        stack.write("legacy/Dockerfile", "FROM scratch\nRUN make os\n");
        stack.run(&Selection::OutOfDate).await;
        for (fields, reason) in [
            ("dockerfile: Other", "its Dockerfile and its `dockerfile` setting changed"),
            ("context: legacy", "its `context` setting changed"),
            (
                "context: legacy, labels: { l: x }",
                "its `context` setting changed and label `l` is new",
            ),
        ] {
            file(fields);
            let planned = stack.planned(&Selection::OutOfDate).await;
            assert_eq!(planned, format!("os: build: {reason}\n"));
        }
        stack.write("legacy/a", "new");
        file("context: legacy");
        assert_eq!(
            stack.planned(&Selection::OutOfDate).await,
            "os: build: `a` and its `context` setting changed\n"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn several_causes_are_all_named() {
        let stack = scenario(STACK);
        stack.run(&Selection::OutOfDate).await;
        stack.write("os/Dockerfile", "FROM scratch\nRUN make os # now\n");
        stack.write("web/a", "");
        stack.write("app/b", "");
        insta::assert_snapshot!(asked(&stack, "app").await.0, @"
        `app` is out of date because `b` of `app` is new
          also because `a` of `web` is new: web → app
          also because the Dockerfile of `os` changed: os → web → app

        its published image DIGEST was built 3 days ago (2026-11-20 12:00 UTC)
          the first image of `app`
          on web  DIGEST
        ");
    }

    #[tokio::test(start_paused = true)]
    async fn a_rebuilt_parent_is_the_cause_before_tests_of_its_own() {
        let stack = scenario(STACK);
        stack.run(&Selection::OutOfDate).await;
        stack.write("os/files/x", "new");
        let text = std::fs::read_to_string(stack.file("hierarchy.yaml")).unwrap();
        let before = "  app:\n    test: [{ run: [check]";
        assert!(text.contains(before), "{text}");
        let after = "  app:\n    test: [{ run: [check, more]";
        stack.write("hierarchy.yaml", &text.replace(before, after));
        let planned = stack.planned(&Selection::OutOfDate).await;
        assert!(
            planned.contains("app: build: `web` is rebuilt, and its tests changed\n"),
            "{planned}"
        );
        insta::assert_snapshot!(asked(&stack, "app").await.0, @"
        `app` is out of date because `files/x` of `os` is new: os → web → app
          also because the tests of `app` changed

        its published image DIGEST was built 3 days ago (2026-11-20 12:00 UTC)
          the first image of `app`
          on web  DIGEST
        ");
        // The same if the parent was rebuilt before.
        stack.run(&Selection::Only(names(&["os", "web"]))).await;
        insta::assert_snapshot!(asked(&stack, "app").await.0, @"
        `app` is out of date because `app` is based on another `web`
          `web` was built meanwhile, because `files/x` of `os` is new
          also because the tests of `app` changed

        its published image DIGEST was built 3 days ago (2026-11-20 12:00 UTC)
          the first image of `app`
          on web  DIGEST
        ");
        stack.run(&Selection::OutOfDate).await;
        stack.write("hierarchy.yaml", &text);
        // Without the change of the parent, the tests are the cause.
        let (why, _) = asked(&stack, "app").await;
        assert!(
            why.starts_with("`app` is out of date because the tests of `app` changed\n"),
            "{why}"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn an_image_of_a_cancelled_run_is_built_and_names_the_run() {
        let mut stack = scenario(STACK);
        stack.stop_at(2500, StopReason::Interrupted);
        let ended = stack.run(&Selection::OutOfDate).await;
        assert!(ended.outcomes().starts_with("os: built\n"), "{}", ended.outcomes());
        let mut failures = Failures::default();
        failures.update(&ended.summary, NOW.parse().unwrap());
        let (why, status) = asked_after(&stack, "os", &failures).await;
        insta::assert_snapshot!(why, @"
        `os` is built, but not promoted to `latest`

        run run was cancelled just now, before the promotion
        ");
        insta::assert_snapshot!(status, @"
        os    not promoted    built, not promoted to `latest`; run run was cancelled just now, before the promotion
        web   not promoted    built, not promoted to `latest`; run run was cancelled just now, before the promotion
        app   never built     none of its tags exists; cancelled just now: interrupted
        tool  not promoted    built, not promoted to `latest`; run run was cancelled just now, before the promotion

        0 of 4 images are current
        ");
        // The next run is cancelled before it comes to the image: it is built all the same.
        stack.never_stop();
        stack.stop_at(0, StopReason::Interrupted);
        let ended = stack.run(&Selection::OutOfDate).await;
        assert!(ended.outcomes().starts_with("os: already built\n"), "{}", ended.outcomes());
        failures.update(&ended.summary, NOW.parse().unwrap());
        assert_eq!(asked_after(&stack, "os", &failures).await.1, status);
    }
}
