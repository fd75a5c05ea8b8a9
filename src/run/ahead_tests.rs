use std::{collections::BTreeSet, num::NonZeroUsize, time::Duration};

use crate::{
    event::{EventKind, Phase},
    exit::Exit,
    plan::Selection,
    testing::scenario::{Scenario, ScenarioEnd, names, scenario},
};

const ALL: Selection = Selection::OutOfDate;
const CHAIN: &str = "a\nb < a\nc < b\nd < c";

/// Every test takes so long; a build takes a second.
fn tested_for(seconds: u64, lines: &str) -> Scenario {
    let stack = scenario(lines);
    let names: Vec<String> =
        stack.hierarchy().in_build_order().map(|n| n.name.to_string()).collect();
    let takes = Duration::from_secs(seconds);
    stack.engine(|engine| engine.tests_take.extend(names.into_iter().map(|name| (name, takes))));
    stack
}

/// When each step began and ended, in seconds, in the order of the ends.
fn times(ended: &ScenarioEnd) -> String {
    let began = |of: &str| {
        ended.events.iter().find_map(|event| match &event.kind {
            EventKind::StepStarted { node, .. } if node.as_str() == of => Some(event.at.as_secs()),
            _ => None,
        })
    };
    let ends = ended.events.iter().filter_map(|event| match &event.kind {
        EventKind::StepFinished { node, .. } => {
            let began = began(node.as_str()).map_or("-".to_owned(), |at| at.to_string());
            Some(format!("{node} {began}-{}", event.at.as_secs()))
        }
        _ => None,
    });
    ends.collect::<Vec<_>>().join(", ")
}

/// Every tag that was set before this moment of the engine, build tags too.
fn tagged(stack: &Scenario) -> usize {
    stack.engine.state.lock().unwrap().tagged.len()
}

#[tokio::test(start_paused = true)]
async fn children_are_built_while_their_parents_are_tested() {
    let stack = tested_for(5, CHAIN);
    let ended = stack.run(&ALL).await;
    assert_eq!(times(&ended), "a 0-6, b 1-7, c 2-8, d 3-9");
    assert_eq!(ended.outcomes(), "a: built\nb: built\nc: built\nd: built\n");
    assert_eq!(stack.run(&ALL).await.summary.took, Duration::ZERO, "all of it is current");

    let mut stack = tested_for(5, CHAIN);
    stack.options.speculate = false;
    let ended = stack.run(&ALL).await;
    assert_eq!(times(&ended), "a 0-6, b 6-12, c 12-18, d 18-24");
}

#[tokio::test(start_paused = true)]
async fn an_image_waits_for_the_longer_tests_of_its_parents() {
    let stack = tested_for(0, CHAIN);
    stack.engine(|engine| _ = engine.tests_take.insert("a".to_owned(), Duration::from_secs(9)));
    let ended = stack.run(&ALL).await;
    assert_eq!(times(&ended), "a 0-10, b 1-10, c 2-10, d 3-10");
    let waits = ended.events.iter().filter_map(|event| match &event.kind {
        EventKind::PhaseStarted { node, phase: Phase::WaitForParents } => Some(node.to_string()),
        _ => None,
    });
    assert_eq!(waits.collect::<Vec<_>>(), ["b", "c", "d"]);
    // Waiting is no part of what a build takes.
    let took: Vec<u64> = ended.summary.steps.iter().map(|step| step.took.as_secs()).collect();
    assert_eq!(took, [10, 1, 1, 1]);
}

#[tokio::test(start_paused = true)]
async fn a_failed_test_cancels_the_children_and_nothing_is_stored() {
    for keep_going in [false, true] {
        let mut stack = tested_for(3, CHAIN);
        stack.options.keep_going = keep_going;
        stack.engine(|engine| _ = engine.tests_fail.insert("a".to_owned()));
        // Its own build fails, while `a` is tested: that may be the fault of `a`.
        stack.engine(|engine| _ = engine.builds_fail.insert("c".to_owned()));
        let ended = stack.run(&ALL).await;
        assert_eq!(
            ended.outcomes(),
            "a: failed: test 1 of 1, `check`: exit code 1\n\
             b: skipped: `a` failed\nc: skipped: `a` failed\nd: skipped: `a` failed\n"
        );
        assert_eq!(ended.summary.exit, Exit::TestFailed);
        assert_eq!(ended.summary.took.as_secs(), 4, "nothing is waited for");
        assert_eq!(tagged(&stack), 0);
    }
}

#[tokio::test(start_paused = true)]
async fn a_build_that_fails_is_reported_when_its_parents_have_passed() {
    let stack = tested_for(3, CHAIN);
    stack.engine(|engine| _ = engine.builds_fail.insert("b".to_owned()));
    let ended = stack.run(&ALL).await;
    assert_eq!(times(&ended), "a 0-4, b 1-4, c --4, d --4");
    assert_eq!(
        ended.outcomes(),
        "a: built\nb: failed: `RUN make b` ended with exit code 2\n\
         c: skipped: `b` failed\nd: skipped: `b` failed\n"
    );
}

#[tokio::test(start_paused = true)]
async fn what_fails_apart_from_it_goes_on() {
    let mut stack = tested_for(3, "a\nb < a\nx : on_failure=hold\ny < x\nz < y b");
    stack.options.jobs = NonZeroUsize::new(8).unwrap();
    stack.engine(|engine| _ = engine.tests_fail.insert("x".to_owned()));
    let ended = stack.run(&ALL).await;
    assert_eq!(
        ended.outcomes(),
        "a: built\nb: built\nx: failed: test 1 of 1, `check`: exit code 1\n\
         y: skipped: `x` failed\nz: skipped: `x` failed\n"
    );
    assert_eq!(ended.moved(), ["a:latest", "b:latest"]);
}

#[tokio::test(start_paused = true)]
async fn a_test_that_passes_the_second_time_keeps_the_children() {
    let stack = tested_for(2, "a : retries=1\nb < a");
    stack.engine(|engine| _ = engine.next_tests.insert("a".to_owned(), 1));
    let ended = stack.run(&ALL).await;
    assert_eq!(times(&ended), "a 0-5, b 1-5");
    assert_eq!(ended.outcomes(), "a: built\nb: built\n");
    assert_eq!(stack.engine.state.lock().unwrap().built, ["a", "b"], "each once");
}

#[tokio::test(start_paused = true)]
async fn below_an_unchanged_image_nothing_is_built_ahead() {
    let stack = tested_for(3, CHAIN);
    stack.run(&ALL).await;
    stack.built();
    stack.engine(|engine| _ = engine.constant.insert("a".to_owned()));
    stack.write("a/x", "a change");
    stack.run(&ALL).await;
    stack.built();
    stack.write("a/x", "a change that makes no difference");
    let ended = stack.run(&ALL).await;
    assert_eq!(
        ended.outcomes(),
        "a: built, unchanged\nb: already built\nc: already built\nd: already built\n"
    );
    assert_eq!(stack.built(), BTreeSet::from(["a".to_owned()]));
    // Its tests fail: then the children are not current either, as nobody knows.
    stack.write("a/x", "a third");
    stack.engine(|engine| _ = engine.tests_fail.insert("a".to_owned()));
    let ended = stack.run(&ALL).await;
    assert!(
        ended
            .outcomes()
            .ends_with("b: skipped: `a` failed\nc: skipped: `a` failed\nd: skipped: `a` failed\n")
    );
}

#[tokio::test(start_paused = true)]
async fn no_more_images_are_tested_at_once_than_allowed() {
    for (test_jobs, seconds) in [(1, 13), (2, 7), (4, 5)] {
        let mut stack = tested_for(3, "a\nb\nc\nd");
        stack.options.test_jobs = NonZeroUsize::new(test_jobs).unwrap();
        let ended = stack.run(&ALL).await;
        assert_eq!(ended.summary.took.as_secs(), seconds, "{test_jobs}");
        assert_eq!(stack.engine.state.lock().unwrap().testing.1, test_jobs);
    }
}

#[tokio::test(start_paused = true)]
async fn a_signal_cancels_tests_and_what_is_ahead_of_them() {
    let mut stack = tested_for(9, CHAIN);
    stack.stop_at(2500, crate::event::StopReason::Interrupted);
    let ended = stack.run(&ALL).await;
    assert_eq!(ended.outcomes(), "a: cancelled\nb: cancelled\nc: cancelled\nd: cancelled\n");
    assert_eq!(ended.summary.took, Duration::from_millis(2500));
    assert_eq!((tagged(&stack), ended.summary.exit), (0, Exit::Interrupted));
}

#[tokio::test(start_paused = true)]
async fn an_overtaken_image_takes_along_what_is_ahead_of_its_tests() {
    let stack = tested_for(5, "a\nb < a\nx\ny < x");
    let sender = stack.overtaken.clone();
    tokio::spawn(async move {
        tokio::time::sleep(Duration::from_millis(1500)).await;
        _ = sender.send(names(&["a", "b"]));
    });
    let ended = stack.run(&ALL).await;
    assert_eq!(ended.outcomes(), "a: cancelled\nb: cancelled\nx: built\ny: built\n");
}

/// Another run stores the parent's image while that is still tested here: the child is built again, on
/// the one that is stored.
#[tokio::test(start_paused = true)]
async fn a_parent_that_another_run_stores_first_is_built_on_anew() {
    let stack = tested_for(5, "a\nb < a");
    stack.engine(|engine| _ = engine.drifting.insert("a".to_owned()));
    stack.run(&ALL).await;
    let (tag, other) = {
        let mut state = stack.engine.state.lock().unwrap();
        state.built.clear();
        let is_build_tag = |tag: &str| tag.starts_with("a:rb-");
        let tag = state.tags.keys().find(|tag| is_build_tag(&tag.to_string())).unwrap().clone();
        let other = state.tags[&tag].clone();
        state.tags.retain(|name, _| name.repository.host() == "rebuild.invalid");
        (tag, other)
    };
    let engine = stack.engine.clone();
    tokio::spawn(async move {
        tokio::time::sleep(Duration::from_secs(4)).await;
        engine.state.lock().unwrap().tags.insert(tag, other);
    });
    let ended = stack.run(&ALL).await;
    assert_eq!(ended.outcomes(), "a: already built\nb: built\n");
    let state = stack.engine.state.lock().unwrap();
    assert_eq!(state.built, ["a", "b", "b"]);
    let published = |name: &str| {
        let tagged = state.tags.iter().find(|(tag, _)| tag.to_string() == name).unwrap();
        &state.images[tagged.1].layers
    };
    assert!(published("b:latest").starts_with(published("a:latest")));
}
