//! Refreshes for package updates: which images are rebuilt, and what the run reports.

use jiff::ToSpan as _;

use super::EventKind;
use crate::{
    plan::Selection,
    testing::scenario::{Scenario, ScenarioEnd, scenario},
};

const STACK: &str = "
    os : refresh={every: 1d, packages: apt}
    web < os : refresh={every: 1d, packages: apt}
    app < web
    job < os
";

const CURRENT: &str = "os: keep: up to date\nweb: keep: up to date\napp: keep: up to date\n\
                       job: keep: up to date\n";

/// A stack that is built and published, two days later: `os` installs libc and libssl, `web` curl.
async fn published() -> Scenario {
    let mut stack = scenario(STACK);
    stack.engine(|engine| {
        engine.repository = [("libc", "2.36"), ("libssl", "3.0.15"), ("curl", "1:7.88")]
            .map(|(name, version)| (name.to_owned(), version.to_owned()))
            .into();
        engine.installs.insert("os".to_owned(), vec!["libc", "libssl"]);
        engine.installs.insert("web".to_owned(), vec!["curl"]);
    });
    stack.run(&Selection::OutOfDate).await;
    stack.built();
    stack.now += 48.hours();
    stack
}

fn release(stack: &Scenario, package: &str, version: &str) {
    stack.engine(|engine| _ = engine.repository.insert(package.to_owned(), version.to_owned()));
}

fn said(ended: &ScenarioEnd) -> Vec<String> {
    let lines = ended.events.iter().filter_map(|event| match &event.kind {
        EventKind::PackagesFixed { lines } => Some(lines),
        _ => None,
    });
    lines.flatten().map(ToString::to_string).collect()
}

#[tokio::test(start_paused = true)]
async fn nothing_newer_is_nothing_to_do() {
    let mut stack = published().await;
    let checked = "os: keep: up to date, and so are its packages\n\
                   web: keep: up to date, and so are its packages\n\
                   app: keep: up to date\njob: keep: up to date\n";
    assert_eq!(stack.planned(&Selection::OutOfDate).await, checked);
    let ended = stack.run(&Selection::OutOfDate).await;
    assert!(stack.built().is_empty() && said(&ended).is_empty());
    // A change is built in the epoch that the image is of.
    stack.write("app/new", "1");
    assert_eq!(
        stack.planned(&Selection::OutOfDate).await,
        "os: keep: up to date\nweb: keep: up to date\napp: build: `new` is new\n\
         job: keep: up to date\n",
        "a run notes that it has looked"
    );
    stack.run(&Selection::OutOfDate).await;
    stack.now += 24.hours();
    assert_eq!(stack.planned(&Selection::OutOfDate).await, checked);
}

#[tokio::test(start_paused = true)]
async fn a_package_is_the_concern_of_the_image_that_added_it() {
    let stack = published().await;
    release(&stack, "curl", "1:7.89");
    assert_eq!(
        stack.planned(&Selection::OutOfDate).await,
        "os: keep: up to date, and so are its packages\n\
         web: build: curl 1:7.88 → 1:7.89 is available\n\
         app: build: `web` is rebuilt\njob: keep: up to date\n"
    );
    let ended = stack.run(&Selection::OutOfDate).await;
    assert_eq!(said(&ended), ["curl 1:7.88 → 1:7.89 in 2 images"]);
    assert_eq!(ended.moved(), ["web:latest", "app:latest"]);
    assert_eq!(stack.planned(&Selection::OutOfDate).await, CURRENT);
}

#[tokio::test(start_paused = true)]
async fn what_is_fixed_is_verified_in_every_descendant() {
    let stack = published().await;
    release(&stack, "libc", "2.37");
    release(&stack, "libssl", "3.0.16");
    stack.engine(|engine| _ = engine.installs.insert("job".to_owned(), vec!["libssl=3.0.15"]));
    let plan = stack.planned(&Selection::OutOfDate).await;
    let first = plan.lines().next();
    assert_eq!(first, Some("os: build: libc 2.36 → 2.37 and 1 more are available"));
    let ended = stack.run(&Selection::OutOfDate).await;
    assert_eq!(
        said(&ended),
        [
            "libc 2.36 → 2.37 in 4 images",
            "libssl 3.0.15 → 3.0.16 in 3 images",
            "libssl is still 3.0.15 in `job`, not 3.0.16",
        ]
    );
    let fixed =
        ended.events.iter().position(|it| matches!(it.kind, EventKind::PackagesFixed { .. }));
    let moved = ended.events.iter().position(|it| matches!(it.kind, EventKind::TagMoved { .. }));
    assert!(fixed.unwrap() < moved.unwrap());
}

#[tokio::test(start_paused = true)]
async fn what_does_not_answer_is_refreshed() {
    let stack = published().await;
    stack.engine(|engine| _ = engine.unreachable.insert("os".to_owned()));
    let plan = stack.planned(&Selection::OutOfDate).await;
    let first = plan.lines().next().unwrap();
    assert!(first.starts_with("os: build: its refresh is due: every 1d, last "), "{first}");
    assert_eq!(
        *stack.warnings.lock().unwrap(),
        [
            "`os` is refreshed, as what is newer of its packages is not known: `apt-get update` failed \
          with exit code 100: E: Failed to fetch http://fake/"
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn without_an_age_each_run_asks() {
    let mut stack = scenario("os : refresh={packages: apt}\n app < os");
    stack.engine(|engine| {
        engine.installs.insert("os".to_owned(), vec!["libssl"]);
        engine.repository = [("libssl".to_owned(), "1".to_owned())].into();
    });
    stack.run(&Selection::OutOfDate).await;
    let current = "os: keep: up to date, and so are its packages\napp: keep: up to date\n";
    for version in ["2", "3"] {
        assert_eq!(stack.planned(&Selection::OutOfDate).await, current);
        let before = stack.published();
        release(&stack, "libssl", version);
        stack.now += 1.hours();
        let plan = stack.planned(&Selection::OutOfDate).await;
        assert!(plan.starts_with("os: build: libssl "), "{plan}");
        let ended = stack.run(&Selection::OutOfDate).await;
        assert_eq!(ended.moved(), ["os:latest", "app:latest"]);
        assert_ne!(stack.published(), before);
    }
    assert_eq!(stack.planned(&Selection::OutOfDate).await, current);
}

#[tokio::test(start_paused = true)]
async fn before_it_is_due_nobody_is_asked() {
    let mut stack = published().await;
    stack.now -= 47.hours();
    release(&stack, "libc", "2.37");
    assert_eq!(stack.planned(&Selection::OutOfDate).await, CURRENT);
}
