//! The summary of a run: the outcome of every step, and the exit code.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use super::Promoted;
use crate::{
    event::{Executed, Outcome, Promotion, StepSummary, StopReason, Summary},
    exit::Exit,
    hierarchy::{NodeName, OnFailure},
    plan::{Action, Plan, Reason, Step},
};

/// Builds the summary.
pub fn conclude(
    run: String,
    plan: &Plan,
    executed: Executed,
    promoted: Promoted,
    took: Duration,
) -> Summary {
    let Promoted { promotion, mut tags } = promoted;
    let exit = exit(&executed, &promotion);
    let Executed {
        outcomes,
        attempts,
        mut over_budget,
        mut reports,
        mut content_tags,
        stopped,
        ..
    } = executed;
    let mut blocked = blocked(plan, &outcomes);
    let steps = plan
        .steps
        .iter()
        .map(|step| {
            let (mut outcome, took) =
                outcomes.get(&step.node).cloned().unwrap_or((Outcome::Cancelled, Duration::ZERO));
            // The run stopped before it came to an image that an earlier run had built.
            if let (Outcome::Cancelled, Action::Promote { digest }) = (&outcome, &step.action) {
                outcome = Outcome::Reused { digest: digest.clone() };
            }
            if let Outcome::Skipped { failed } = &mut outcome {
                failed.extend(blocked.remove(&step.node).unwrap_or_default());
                let mut seen = BTreeSet::new();
                failed.retain(|node| seen.insert(node.clone()));
            }
            let (node, reason) = (step.node.clone(), why(step, &outcomes));
            // The platforms of an image share its tags.
            let of_image = tags.get(node.image()).filter(|_| outcome.digest().is_some()).cloned();
            let promoted = tags.remove(&node).or(of_image).unwrap_or_default();
            let attempts = attempts.get(&node).copied().unwrap_or(1);
            let over_budget = over_budget.remove(&node).unwrap_or_default();
            let reports = reports.remove(&node).unwrap_or_default();
            let content_tags = content_tags.remove(&node).unwrap_or_default();
            StepSummary {
                node,
                reason,
                outcome,
                took,
                attempts,
                over_budget,
                reports,
                promoted,
                content_tags,
            }
        })
        .collect();
    Summary { run, is_local: false, steps, stopped, promotion, took, exit }
}

/// The failed ancestors of each skipped image. When the run skipped it, only the first of them had failed.
fn blocked(
    plan: &Plan,
    outcomes: &BTreeMap<NodeName, (Outcome, Duration)>,
) -> BTreeMap<NodeName, BTreeSet<NodeName>> {
    let mut blocked: BTreeMap<NodeName, BTreeSet<NodeName>> = BTreeMap::new();
    for step in &plan.steps {
        let by = step.after.iter().flat_map(|parent| match outcomes.get(parent) {
            Some((Outcome::Failed(_), _)) => [parent.clone()].into(),
            _ => blocked.get(parent).cloned().unwrap_or_default(),
        });
        let by: BTreeSet<NodeName> = by.collect();
        if let Some((Outcome::Skipped { .. }, _)) = outcomes.get(&step.node) {
            blocked.insert(step.node.clone(), by);
        }
    }
    blocked
}

/// The reason of the plan, unless the run found it void: the parent was built, and is unchanged. Another parent may
/// have changed.
fn why(step: &Step, outcomes: &BTreeMap<NodeName, (Outcome, Duration)>) -> Reason {
    let outcome = |node: &NodeName| outcomes.get(node).map(|(outcome, _)| outcome);
    let Reason::ParentRebuilt { parent, besides } = &step.reason else {
        return step.reason.clone();
    };
    let is_unchanged = |parent: &NodeName| {
        matches!(outcome(parent), Some(Outcome::Unchanged { .. } | Outcome::Reused { .. }))
    };
    let is_built = |parent: &&NodeName| matches!(outcome(parent), Some(Outcome::Built { .. }));
    match outcome(&step.node) {
        Some(Outcome::Reused { .. }) if is_unchanged(parent) => {
            Reason::ParentUnchanged { parent: parent.clone() }
        }
        Some(Outcome::Built { .. } | Outcome::Unchanged { .. }) if is_unchanged(parent) => {
            match (step.after.iter().find(is_built), besides) {
                (None, Some(besides)) => (**besides).clone(),
                (built, besides) => {
                    let parent = built.unwrap_or(parent).clone();
                    Reason::ParentRebuilt { parent, besides: besides.clone() }
                }
            }
        }
        _ => step.reason.clone(),
    }
}

/// The most severe reason decides: a stop signal, then a failed step, then an incomplete promotion.
fn exit(executed: &Executed, promotion: &Promotion) -> Exit {
    match executed.stopped {
        Some(StopReason::Terminated) => return Exit::Terminated,
        Some(StopReason::Interrupted) => return Exit::Interrupted,
        Some(StopReason::ReportFailed) => return Exit::Internal,
        Some(StopReason::Overtaken | StopReason::StepFailed) | None => {}
    }
    let failures = executed.outcomes.values().filter_map(|(outcome, _)| match outcome {
        Outcome::Failed(failure) if failure.on_failure != OnFailure::Optional => Some(failure),
        _ => None,
    });
    // A failure that blocks the run takes precedence over one that only holds images back.
    if let Some(first) = failures.min_by_key(|failure| failure.on_failure != OnFailure::Block) {
        return first.exit;
    }
    match promotion {
        Promotion::Incomplete { .. } => Exit::PromotionFailed,
        _ if executed.stopped == Some(StopReason::Overtaken) => Exit::Interrupted,
        _ => Exit::Done,
    }
}
