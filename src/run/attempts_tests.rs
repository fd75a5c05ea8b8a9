use std::collections::BTreeMap;

use super::*;
use crate::{
    engine::EngineError,
    event::EventKind,
    exit::Exit,
    plan::Selection,
    testing::scenario::{ScenarioEnd, scenario},
};

fn build(message: &str, exit_code: Option<i64>) -> EngineError {
    EngineError::Build { message: message.to_owned(), step: None, exit_code }
}

fn gone() -> EngineError {
    EngineError::Unreachable { endpoint: "unix:///x".to_owned(), reason: "it broke".to_owned() }
}

fn pushing(message: &str) -> EngineError {
    EngineError::Transfer {
        doing: "pushing `x`".to_owned(),
        message: message.to_owned(),
        cause: None,
    }
}

fn gone_image() -> EngineError {
    let message = format!("No such image: {}", crate::image::Digest::of(b"x"));
    EngineError::Refused { doing: "creating a container".to_owned(), status: 404, message }
}

/// The warnings of a run, without the length of pauses, which are random.
fn warnings(ended: &ScenarioEnd) -> Vec<String> {
    let said = ended.events.iter().filter_map(|event| match &event.kind {
        EventKind::Warning { node: Some(node), message } => {
            Some(format!("{node}: {}", message.split(" in ").next().unwrap()))
        }
        _ => None,
    });
    said.collect()
}

#[test]
fn each_trouble_has_its_class() {
    let silent = EngineError::Silent { doing: "building".to_owned(), after: ENGINE.first };
    let refused = |status| EngineError::Refused {
        doing: "looking at the image `x`".to_owned(),
        status,
        message: "try again".to_owned(),
    };
    let hangs = EngineError::Hangs {
        endpoint: "unix:///x".to_owned(),
        doing: "inspecting a container".to_owned(),
        after: ENGINE.first,
        is_repeated: true,
    };
    let answer =
        EngineError::Answer { doing: "building".to_owned(), message: "no image".to_owned() };
    let full = "write /x: no space left on device";
    for (error, expected) in [
        (gone(), StepRetry::Gone),
        (hangs, StepRetry::Never),
        (silent, StepRetry::Asked),
        (answer, StepRetry::Unsure),
        (refused(500), StepRetry::Unsure),
        (refused(503), StepRetry::Passing),
        (gone_image(), StepRetry::Race),
        (EngineError::Context("`a` is a socket".to_owned()), StepRetry::Never),
        (build("failed", Some(2)), StepRetry::Asked),
        (build("dockerfile parse error line 2", None), StepRetry::Unsure),
        // Words of a parser and of a command, and not of a network.
        (
            build("dockerfile parse error on line 2: unknown instruction: EOF", None),
            StepRetry::Unsure,
        ),
        (
            build("dockerfile parse error on line 3: unknown instruction: connection", None),
            StepRetry::Unsure,
        ),
        (build("failed to read dockerfile: connection refused by policy", None), StepRetry::Unsure),
        (build("curl: connection reset by peer", Some(56)), StepRetry::Asked),
        (build("context canceled", Some(1)), StepRetry::Asked),
        (
            build("failed to do request: Head \"https://r.example/v2/x/manifests/1\": EOF", None),
            StepRetry::Passing,
        ),
        (
            build("read tcp 127.0.0.1:1->127.0.0.1:2: read: connection reset by peer", None),
            StepRetry::Passing,
        ),
        (build(full, None), StepRetry::Never),
        (build("failed to solve: Canceled: context canceled", None), StepRetry::Race),
        (build("failed to compute cache key: no active sessions", None), StepRetry::Race),
        (build("identifier is not a container", None), StepRetry::Race),
        (
            build(
                "building at STEP \"COPY name /etc/\": mounting build container \"1f\": layer not known",
                None,
            ),
            StepRetry::Race,
        ),
        (
            build(
                "deleting build container \"1f\": identifier is not a container: \
                 building at STEP \"COPY name /etc/\": chdir /x: no such file or directory",
                None,
            ),
            StepRetry::Race,
        ),
        (pushing("An image does not exist locally with the tag: r/x"), StepRetry::Race),
        (
            pushing("errors: digest invalid manifest blob unknown: blob unknown to registry"),
            StepRetry::Race,
        ),
        (pushing("received unexpected HTTP status: 503 Service Unavailable"), StepRetry::Passing),
        (pushing("received unexpected HTTP status: 403 Forbidden"), StepRetry::Never),
        (
            pushing("Put \"http://r/v2/\": dial tcp 127.0.0.1:1: connect: connection refused"),
            StepRetry::Passing,
        ),
        (pushing("toomanyrequests: slow down"), StepRetry::Passing),
        (pushing("error from registry: unavailable\nunavailable"), StepRetry::Passing),
        (pushing("writing manifest: uploading manifest 1 to r/x: unavailable"), StepRetry::Passing),
        (pushing("denied: the repository `unavailable` is read-only"), StepRetry::Never),
        (pushing("Get \"http://r/v2/\": EOF"), StepRetry::Passing),
        (pushing("Get http://r/v2/: EOF"), StepRetry::Passing),
        (
            pushing("Get \"http://r/v2/\": dial tcp: lookup r on 127.0.0.1:53: no such host"),
            StepRetry::Never,
        ),
        (pushing("denied: requested access to the resource is denied"), StepRetry::Never),
        (pushing("unauthorized: authentication required"), StepRetry::Never),
        (pushing(full), StepRetry::Never),
    ] {
        assert_eq!(StepRetry::after_engine(&error), expected, "{error}");
        let stored = StepRetry::after_store(&StoreError::Engine(error));
        let is_image = matches!(expected, StepRetry::Asked | StepRetry::Unsure);
        assert_eq!(stored, if is_image { StepRetry::Never } else { expected });
    }
}

#[tokio::test(start_paused = true)]
async fn a_flaky_image_is_tried_again_and_named() {
    let stack = scenario("os : retries=2\napp < os");
    let fails = || build("exit code: 2", Some(2));
    stack.engine(|engine| {
        engine.next_builds.insert("os".to_owned(), vec![fails()]);
        engine.next_tests.insert("os".to_owned(), 1);
    });
    let ended = stack.run(&Selection::OutOfDate).await;
    assert_eq!(ended.summary.exit, Exit::Done);
    assert_eq!(
        warnings(&ended),
        [
            "os: attempt 1 of 3 failed: exit code: 2",
            "os: attempt 2 of 3 failed: test 1 of 1, `check`: exit code 1",
            "os: failed 2 times and then succeeded: exit code: 2",
        ]
    );
    let attempts: Vec<_> =
        ended.summary.steps.iter().map(|step| (step.attempts, step.is_flaky())).collect();
    assert_eq!(attempts, [(3, true), (1, false)]);
    // A test that failed is run again on the image that it failed on.
    assert_eq!(stack.engine.state.lock().unwrap().built, ["os", "app"]);
}

#[tokio::test(start_paused = true)]
async fn what_fails_each_time_fails() {
    for (retries, attempts) in [(0, 1), (1, 2), (5, 6)] {
        let stack = scenario(&format!("os : retries={retries}"));
        stack.engine(|engine| _ = engine.builds_fail.insert("os".to_owned()));
        let ended = stack.run(&Selection::OutOfDate).await;
        assert_eq!(ended.summary.exit, Exit::BuildFailed);
        let step = &ended.summary.steps[0];
        assert_eq!((step.attempts, step.is_flaky()), (attempts, false));
        assert_eq!(warnings(&ended).len(), retries);
        assert!(stack.published().is_empty());
    }
}

#[tokio::test(start_paused = true)]
async fn an_engine_that_restarts_is_waited_for() {
    let stack = scenario("os");
    stack.engine(|engine| _ = engine.next_builds.insert("os".to_owned(), vec![gone(); 4]));
    let ended = stack.run(&Selection::OutOfDate).await;
    assert_eq!(ended.summary.exit, Exit::Done);
    // 1 + 2 + 4 + 8 s and their jitter, and the builds themselves; it is not the image's fault.
    let took = ended.summary.took.as_secs();
    assert!((20..=40).contains(&took), "{took}");
    assert_eq!(ended.summary.steps[0].attempts, 1);
    let said = "os: cannot reach the Docker engine at unix:///x: it broke: trying again";
    assert_eq!(warnings(&ended), [said; 4]);

    let stack = scenario("os : retries=5");
    stack.engine(|engine| _ = engine.next_builds.insert("os".to_owned(), vec![gone(); 99]));
    let ended = stack.run(&Selection::OutOfDate).await;
    assert_eq!(ended.summary.exit, Exit::EngineUnreachable);
    assert_eq!(warnings(&ended).len(), 4);
}

#[tokio::test(start_paused = true)]
async fn a_build_on_a_full_disk_is_not_retried() {
    let full = build("write /x: no space left on device", Some(1));
    let stack = scenario("os : retries=3");
    let next = BTreeMap::from([("os".to_owned(), vec![full])]);
    stack.engine(|engine| engine.next_builds = next);
    let ended = stack.run(&Selection::OutOfDate).await;
    assert_eq!((ended.summary.exit, warnings(&ended).len()), (Exit::BuildFailed, 0));
}

#[tokio::test(start_paused = true)]
async fn a_step_that_the_engine_took_down_with_itself_is_tried_again_when_it_is_back() {
    // What BuildKit says of a command that is killed with the engine is what it says of one that fails.
    for (pings, exit, attempts) in [(0, Exit::Done, 1), (10, Exit::Done, 1)] {
        let stack = scenario("os");
        stack.engine(|engine| _ = engine.builds_kill.insert("os".to_owned(), pings));
        let ended = stack.run(&Selection::OutOfDate).await;
        assert_eq!(ended.summary.exit, exit, "{pings}");
        assert_eq!(ended.summary.steps[0].attempts, attempts);
        let said = "os: the Docker engine went away: process did not complete: exit code: 137";
        let waits = format!("{said}: waiting for it for up to 60 s");
        let tries = format!("{said}: trying again");
        let expected = if pings > 1 { vec![waits, tries] } else { vec![tries] };
        assert_eq!(warnings(&ended), expected);
    }
    // Away for longer than a minute.
    let stack = scenario("os : retries=5");
    stack.engine(|engine| _ = engine.builds_kill.insert("os".to_owned(), 9999));
    let ended = stack.run(&Selection::OutOfDate).await;
    assert_eq!(ended.summary.exit, Exit::EngineUnreachable);
    let took = ended.summary.took.as_secs();
    assert!((60..=70).contains(&took), "{took}");
    assert!(stack.published().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_base_that_another_client_removed_is_brought_again() {
    let stack = scenario("os\napp < os");
    let forget = EngineError::Build {
        message: "rebuild.invalid/x/nos:1: not found".to_owned(),
        step: None,
        exit_code: None,
    };
    stack.engine(|engine| {
        engine.next_builds.insert("app".to_owned(), vec![forget]);
        engine.builds_unpin.insert("app".to_owned());
    });
    let ended = stack.run(&Selection::OutOfDate).await;
    assert_eq!(ended.summary.exit, Exit::Done, "{:?}", warnings(&ended));
    assert_eq!(warnings(&ended).len(), 1);
}
