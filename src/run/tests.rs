use std::{collections::BTreeSet, num::NonZeroUsize};

use super::*;
use crate::{
    exit::Exit,
    plan::{
        Selection,
        order::{BuildSizes, History},
    },
    testing::scenario::{ScenarioEnd, names, scenario},
};

const DIAMOND: &str = "
    base
    go < base
    python < base
    ml < python
";

/// The run as a line for each event that is not about a tag.
fn told(ended: &ScenarioEnd) -> String {
    let lines = ended.events.iter().filter_map(|event| match &event.kind {
        EventKind::StepStarted { node, .. } => Some(format!("{node} starts")),
        EventKind::PhaseStarted { node, phase } => Some(format!("{node}: {phase:?}")),
        EventKind::BuildStep { node, number, total, text, .. } => {
            Some(format!("{node}: {number}/{total} {text}"))
        }
        EventKind::Log { node, line } => {
            Some(format!("{node} | {}", String::from_utf8_lossy(line)))
        }
        EventKind::StepFinished { node, outcome, took, .. } => {
            Some(format!("{node}: {outcome} after {} s", took.as_secs()))
        }
        EventKind::StopBegan { reason, running } => Some(format!("{reason:?}, {running} running")),
        _ => None,
    });
    lines.collect::<Vec<_>>().join("\n")
}

#[tokio::test(start_paused = true)]
async fn a_step_tells_what_it_does() {
    let ended = scenario("base").run(&Selection::OutOfDate).await;
    assert_eq!(
        told(&ended),
        "\
base starts
base: Build
base: 1/1 RUN make base
base | making base
base: Test { number: 1, total: 1 }
base | checking
base: built after 1 s"
    );
}

#[tokio::test(start_paused = true)]
async fn no_more_steps_run_at_once_than_allowed() {
    for (jobs, seconds) in [(1, 4), (2, 3), (8, 3)] {
        let mut diamond = scenario(DIAMOND);
        diamond.options.jobs = NonZeroUsize::new(jobs).unwrap();
        let ended = diamond.run(&Selection::OutOfDate).await;
        assert_eq!(ended.summary.took.as_secs(), seconds, "{jobs} jobs");
    }
}

#[tokio::test(start_paused = true)]
async fn an_image_that_the_engine_writes_takes_no_place() {
    // With two jobs, no image starts while four are written: the sixth waits. With one job, none is built
    // while another one is written.
    for (jobs, lines, seconds) in
        [(2, "a\nb", 11), (2, "a\nb\nc\nd", 12), (2, "a\nb\nc\nd\ne\nf", 22), (1, "a\nb", 22)]
    {
        let mut flat = scenario(lines);
        flat.options.jobs = NonZeroUsize::new(jobs).unwrap();
        flat.engine(|engine| {
            let export = std::time::Duration::from_secs(10);
            engine.exports_take =
                ["a", "b", "c", "d", "e", "f"].map(|node| (node.to_owned(), export)).into();
        });
        let ended = flat.run(&Selection::OutOfDate).await;
        assert_eq!(ended.summary.took.as_secs(), seconds, "{jobs} jobs: {lines}");
    }
}

/// What earlier builds took, in seconds.
fn history(builds: &[(&str, u64)]) -> History {
    let mut history = History::default();
    for (node, seconds) in builds {
        history.record(&(*node).into(), Duration::from_secs(*seconds), BuildSizes::default());
    }
    history
}

#[tokio::test(start_paused = true)]
async fn what_took_longest_is_begun_first() {
    let order = async |builds: &[(&str, u64)]| {
        let mut flat = scenario(
            "a
b
c
d < a",
        );
        flat.options.jobs = NonZeroUsize::MIN;
        flat.history = history(builds);
        let ended = flat.run(&Selection::OutOfDate).await;
        let started = ended.events.iter().filter_map(|event| match &event.kind {
            EventKind::StepStarted { node, .. } => Some(node.to_string()),
            _ => None,
        });
        started.collect::<Vec<_>>().join(" ")
    };
    // Nothing is known: by depth, and then by name.
    assert_eq!(order(&[]).await, "a b c d");
    assert_eq!(order(&[("a", 1), ("b", 9), ("c", 30), ("d", 7)]).await, "c b a d");
    assert_eq!(order(&[("a", 1), ("b", 9), ("c", 30), ("d", 10)]).await, "c a d b");
    // An unknown one is taken for a usual one.
    assert_eq!(order(&[("a", 4), ("b", 9)]).await, "a b c d");
    assert_eq!(order(&[("b", 1), ("c", 3), ("a", 2)]).await, "a c d b");
}

/// Each build takes a second and `seconds` were expected: what was said of the rest, and when.
async fn estimated(keep_going: bool, broken: &str, seconds: &[(&str, u64)]) -> Vec<String> {
    let mut diamond = scenario(DIAMOND);
    diamond.history = history(seconds);
    diamond.options.jobs = NonZeroUsize::MIN;
    diamond.options.keep_going = keep_going;
    diamond.engine(|engine| _ = engine.builds_fail.insert(broken.to_owned()));
    let ended = diamond.run(&Selection::OutOfDate).await;
    let said = ended.events.iter().filter_map(|event| match &event.kind {
        EventKind::Estimated { left: Some(left) } => {
            Some(format!("{} of {}", left.as_secs(), event.at.as_secs()))
        }
        EventKind::Estimated { left: None } => Some(format!("none of {}", event.at.as_secs())),
        _ => None,
    });
    said.collect()
}

#[tokio::test(start_paused = true)]
async fn how_long_the_rest_takes_is_told_if_it_is_known() {
    let all = [("base", 2), ("go", 1), ("python", 2), ("ml", 5)];
    // Base, python, ml, go: one after the other, and each over after a second.
    assert_eq!(
        estimated(false, "", &all).await,
        ["10 of 0", "8 of 1", "6 of 2", "1 of 3", "none of 4"]
    );
    assert_eq!(estimated(false, "", &[]).await, [""; 0]);
    // One in four may be guessed, but not two; in the end only what is known is left.
    assert_eq!(estimated(false, "", &all[..3]).await[0], "7 of 0");
    assert_eq!(estimated(false, "", &all[..2]).await, ["1 of 3", "none of 4"]);
    // A run that stops has no end to wait for; one that goes on has what is left to do.
    let stopped = ["10 of 0", "8 of 1", "6 of 2", "1 of 2", "none of 2"];
    assert_eq!(estimated(false, "python", &all).await, stopped);
    let went_on = ["10 of 0", "8 of 1", "6 of 2", "1 of 2", "none of 3"];
    assert_eq!(estimated(true, "python", &all).await, went_on);
}

#[tokio::test(start_paused = true)]
async fn what_was_built_is_there_to_be_remembered() {
    let stack = scenario(
        "base
app < base
kept",
    );
    stack.run(&Selection::Only(names(&["kept"]))).await;
    stack.engine(|engine| _ = engine.constant.insert("kept".to_owned()));
    let ended = stack.run(&Selection::OutOfDate).await;
    let built = ended.summary.steps.iter().map(|step| match &step.outcome {
        Outcome::Built { size, added, .. } => format!("{} {size} {added}", step.node),
        other => format!("{} {other}", step.node),
    });
    // An image of the engine of these tests has a thousand bytes a layer.
    assert_eq!(built.collect::<Vec<_>>(), ["base 1000 1000", "app 2000 1000", "kept up to date"]);
}

#[tokio::test(start_paused = true)]
async fn a_failure_cancels_what_runs_and_skips_what_is_below() {
    let diamond = scenario(DIAMOND);
    diamond.engine(|engine| _ = engine.builds_fail.insert("python".to_owned()));
    let text = told(&diamond.run(&Selection::OutOfDate).await);
    let end = text.split_once("python: 1/1 RUN make python").unwrap().1;
    assert!(
        end.contains(
            "python: failed: `RUN make python` ended with exit code 2 after 1 s\n\
             ml: skipped: `python` failed after 0 s\nStepFailed, "
        ),
        "{text}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_signal_cancels_what_runs_and_starts_no_more() {
    for (reason, exit) in
        [(StopReason::Interrupted, Exit::Interrupted), (StopReason::Terminated, Exit::Terminated)]
    {
        let mut diamond = scenario(DIAMOND);
        diamond.stop_at(1500, reason);
        let ended = diamond.run(&Selection::OutOfDate).await;
        assert_eq!(ended.summary.exit, exit);
        assert_eq!(
            ended.outcomes(),
            "base: built\ngo: cancelled\npython: cancelled\nml: cancelled\n"
        );
        assert!(ended.summary.took < Duration::from_secs(2), "{:?}", ended.summary.took);
    }
}

#[tokio::test(start_paused = true)]
async fn with_keep_going_the_rest_is_built_and_nothing_is_promoted() {
    let mut diamond = scenario(DIAMOND);
    diamond.options.keep_going = true;
    diamond.engine(|engine| _ = engine.builds_fail.insert("go".to_owned()));
    let ended = diamond.run(&Selection::OutOfDate).await;
    assert_eq!(diamond.built(), BTreeSet::from(["base", "python", "ml"].map(str::to_owned)));
    assert_eq!(ended.summary.exit, Exit::BuildFailed);
    assert_eq!(ended.moved(), Vec::<String>::new());
}

#[tokio::test(start_paused = true)]
async fn a_reporter_that_fails_stops_the_run() {
    let diamond = scenario(DIAMOND);
    let ended = diamond.run_unheard(&Selection::OutOfDate).await;
    assert_eq!(ended.summary.stopped, Some(StopReason::ReportFailed));
    assert_eq!(ended.summary.exit, Exit::Internal);
    assert!(diamond.published().is_empty());
}

#[tokio::test(start_paused = true)]
async fn the_whole_log_is_on_disk_before_a_failure_is_told() {
    let diamond = scenario(DIAMOND);
    diamond.engine(|engine| _ = engine.builds_fail.insert("base".to_owned()));
    let ended = diamond.run(&Selection::OutOfDate).await;
    let Outcome::Failed(failure) = &ended.summary.steps[0].outcome else { panic!() };
    assert_eq!(failure.tail, [b"making base".to_vec()]);
    assert_eq!(failure.at.as_ref().unwrap().1, 2, "the line of the Dockerfile");
    let log = std::fs::read_to_string(failure.log.as_ref().unwrap()).unwrap();
    assert_eq!(
        regex::Regex::new("(?m)^--- [0-9TZ:-]{20} ").unwrap().replace_all(&log, "--- TIME "),
        "--- TIME building\n--- TIME [1/1] RUN make base\nmaking base\n\
         --- TIME failed: `RUN make base` ended with exit code 2\n"
    );
}

#[tokio::test(start_paused = true)]
async fn what_newer_changes_made_pointless_is_cancelled_and_nothing_else() {
    let stack = scenario(
        "os
        web < os
        app < web
        tool < os",
    );
    let sender = stack.overtaken.clone();
    // The build of os takes a second, then web and tool run at once.
    tokio::spawn(async move {
        tokio::time::sleep(Duration::from_millis(1500)).await;
        _ = sender.send(names(&["web", "app"]));
    });
    let ended = stack.run(&Selection::OutOfDate).await;
    assert_eq!(ended.outcomes(), "os: built\nweb: cancelled\napp: cancelled\ntool: built\n");
    // No tag moves that stands beside an older one.
    assert_eq!(ended.moved(), [""; 0]);
    assert_eq!(ended.summary.exit, Exit::Interrupted);
    assert_eq!(ended.summary.stopped, Some(StopReason::Overtaken));
    stack.overtaken.send_replace(names(&[]));
    let next = stack.run(&Selection::OutOfDate).await;
    assert_eq!(next.outcomes(), "os: already built\nweb: built\napp: built\ntool: already built\n");
    assert_eq!(next.moved().len(), 4);
}

/// Who watches the files sees that they changed a moment after the build has: it has not failed.
#[tokio::test(start_paused = true)]
async fn a_build_that_found_its_files_changed_waits_to_be_overtaken() {
    let stack = scenario("os\nweb < os");
    let (sender, page) = (stack.overtaken.clone(), stack.file("os/page"));
    tokio::spawn(async move {
        tokio::time::sleep(Duration::from_millis(500)).await;
        std::fs::write(page, "changed").unwrap();
        tokio::time::sleep(Duration::from_secs(5)).await;
        _ = sender.send(names(&["os", "web"]));
    });
    let ended = stack.run(&Selection::OutOfDate).await;
    assert_eq!(ended.outcomes(), "os: cancelled\nweb: cancelled\n");

    // Nobody sees it: then it is told.
    stack.overtaken.send_replace(names(&[]));
    let page = stack.file("os/page");
    tokio::spawn(async move {
        tokio::time::sleep(Duration::from_millis(500)).await;
        std::fs::write(page, "changed again").unwrap();
    });
    let ended = stack.run(&Selection::OutOfDate).await;
    let why = "its build context changed while it was built; run again";
    assert_eq!(ended.outcomes(), format!("os: failed: {why}\nweb: skipped: `os` failed\n"));
}

#[tokio::test(start_paused = true)]
async fn what_is_pointless_before_it_begins_is_not_begun() {
    let stack = scenario("os\nweb < os\ntool");
    stack.overtaken.send_replace(names(&["os", "web"]));
    let ended = stack.run(&Selection::OutOfDate).await;
    assert_eq!(ended.outcomes(), "os: cancelled\nweb: cancelled\ntool: built\n");
    assert_eq!(stack.built(), ["tool".to_owned()].into());
}

#[tokio::test(start_paused = true)]
async fn the_failure_of_an_inherited_test_names_its_image() {
    let stack = scenario("os\nweb < os");
    stack.write(
        "hierarchy.yaml",
        "version: 1\nimages:\n  os: { test: [{ run: [check] }] }\n  web: { test: [{ run: [own] }] }\n",
    );
    stack.engine(|engine| _ = engine.tests_fail.insert("web".to_owned()));
    let ended = stack.run(&Selection::OutOfDate).await;
    let failure = "test 1 of 2 (of `os`), `check`: exit code 1";
    assert_eq!(ended.outcomes(), format!("os: built\nweb: failed: {failure}\n"));
    let Outcome::Failed(failure) = &ended.summary.steps[1].outcome else { panic!() };
    let log = std::fs::read_to_string(failure.log.as_ref().unwrap()).unwrap();
    assert!(log.contains(" test 1 of 2 (of `os`): check\n"), "{log}");

    stack.engine(|engine| engine.tests_fail = ["os".to_owned()].into());
    stack.write("os/Dockerfile", "FROM scratch\nRUN make os again\n");
    let ended = stack.run(&Selection::OutOfDate).await;
    let own = "os: failed: test 1 of 1, `check`: exit code 1\n";
    assert!(ended.outcomes().starts_with(own), "{}", ended.outcomes());
}
