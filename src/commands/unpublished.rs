//! Why an image has no tags: the engine does not have it yet, or its tags were deleted.

use crate::{
    plan::{Plan, Reason, Step},
    publish::journal::PastRun,
};

/// Whether the plan has an image of which only past runs tell whether it was published.
pub(super) fn is_open(plan: &Plan) -> bool {
    plan.steps.iter().any(|step| step.reason == Reason::NeverBuilt)
}

/// A local run reads the tags of its images from the engine only: their images may be published.
pub(super) fn mark_local(plan: &mut Plan) {
    for step in &mut plan.steps {
        if matches!(step.reason, Reason::NeverBuilt | Reason::TagsBehind { .. }) {
            step.reason = Reason::NotInEngine;
        }
    }
}

/// Names the run that published an image of which no tag is left. Runs are the newest first.
pub(super) fn mark_deleted(plan: &mut Plan, runs: &[PastRun]) {
    for step in plan.steps.iter_mut().filter(|step| step.reason == Reason::NeverBuilt) {
        if let Some(run) = published_by(step, runs) {
            step.reason = Reason::TagsDeleted { run: run.to_owned() };
        }
    }
}

/// The run that moved one of its present tags to an image last. A tag that the file renamed was not deleted.
fn published_by<'r>(step: &Step, runs: &'r [PastRun]) -> Option<&'r str> {
    runs.iter().find_map(|past| {
        let mut moves = past.standing();
        let last = moves.find(|one| {
            one.node.image() == step.node.image() && step.moving.contains_key(&one.tag.tag)
        })?;
        // A rollback deletes tags that a run created.
        Some(last.to.as_ref().map(|_| past.began.run.as_str()))
    })?
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        exit::Exit,
        image::{Digest, Tagged},
        plan::Selection,
        publish::journal::{Began, Journal, Move, RunRequest, test_id},
        testing::scenario::scenario,
    };

    /// A run that moved a tag, or deleted it.
    fn run(number: usize, tag: &str, is_there: bool) -> PastRun {
        let asked = RunRequest::Run { flags: String::new() };
        let mut journal = Journal::none(Began::new(test_id(number), "here", asked));
        let image = Digest::of(tag.as_bytes());
        let tagged = Tagged { repository: "app".parse().unwrap(), tag: tag.parse().unwrap() };
        let (from, to) = if is_there { (None, Some(image)) } else { (Some(image), None) };
        journal.commit(&[Move { node: "app".into(), tag: tagged, from, to, wave: 0 }]).unwrap();
        journal.moved(0);
        journal.end(Exit::Done, false);
        journal.past().clone()
    }

    #[tokio::test(start_paused = true)]
    async fn an_image_that_a_run_has_published_was_built() {
        let plan = scenario("app").plan(&Selection::OutOfDate).await;
        for (runs, expected) in [
            (vec![], "never built".to_owned()),
            (
                vec![run(1, "latest", true)],
                format!("its tags were deleted after run {} published it", test_id(1)),
            ),
            (vec![run(1, "1.0", true)], "never built".to_owned()),
            (vec![run(2, "latest", false), run(1, "latest", true)], "never built".to_owned()),
        ] {
            let mut plan = plan.clone();
            assert!(is_open(&plan));
            mark_deleted(&mut plan, &runs);
            assert_eq!(plan.steps[0].reason.to_string(), expected);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_local_plan_never_says_that_an_image_was_never_built() {
        let stack = scenario("os\napp < os");
        let mut plan = stack.plan(&Selection::OutOfDate).await;
        mark_local(&mut plan);
        for step in &plan.steps {
            assert_eq!(step.reason.to_string(), "not in the local engine yet");
        }
    }
}
