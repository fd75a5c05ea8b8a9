//! Which nodes keep their old tags after a run, because of a failure. Pure.
//!
//! **Invariant:** no tag moves to an image that is based on an image without its tags.

use std::collections::BTreeMap;

use crate::{
    event::{Executed, Outcome},
    hierarchy::{Hierarchy, NodeName, OnFailure},
    plan::Plan,
};

/// Applies each failed node's policy: the nodes that keep their old tags, each with the node whose failure holds it
/// back. `None`: nothing of the run may be promoted.
pub fn held_back(
    hierarchy: &Hierarchy,
    plan: &Plan,
    executed: &Executed,
) -> Option<BTreeMap<NodeName, NodeName>> {
    let mut held = BTreeMap::new();
    for step in &plan.steps {
        match executed.outcomes.get(&step.node).map(|(outcome, _)| outcome) {
            Some(Outcome::Failed(failure)) if failure.on_failure == OnFailure::Block => {
                return None;
            }
            Some(Outcome::Failed(_)) => _ = held.insert(step.node.clone(), step.node.clone()),
            Some(Outcome::Skipped { failed }) => {
                held.extend(failed.first().map(|failed| (step.node.clone(), failed.clone())));
            }
            Some(Outcome::Cancelled) | None => return None,
            Some(_) => {}
        }
    }
    if executed.stopped.is_some() {
        return None;
    }
    hold_other_platforms(hierarchy, plan, (executed, &mut held));
    Some(held)
}

/// If a platform of an image failed, its other platforms wait for it, and so does everything that is based on them.
fn hold_other_platforms(
    hierarchy: &Hierarchy,
    plan: &Plan,
    (executed, held): (&Executed, &mut BTreeMap<NodeName, NodeName>),
) {
    if held.is_empty() || !held.keys().any(|name| name.platform().is_some()) {
        return;
    }
    loop {
        let before = held.len();
        for step in &plan.steps {
            let outcome = executed.outcomes.get(&step.node).map(|(outcome, _)| outcome);
            if held.contains_key(&step.node) || !outcome.is_some_and(is_changed) {
                continue;
            }
            let group = hierarchy.group(&step.node);
            let siblings = group.iter().filter(|node| !node.is_optional_platform);
            let mut causes = siblings.map(|node| &node.name).chain(&step.after);
            let cause = causes.find_map(|name| held.get(name)).cloned();
            held.extend(cause.map(|cause| (step.node.clone(), cause)));
        }
        if held.len() == before {
            return;
        }
    }
}

/// Whether the tags of a node stay: it is held itself, or another platform of its image that is not optional.
pub fn is_withheld(
    hierarchy: &Hierarchy,
    node: &NodeName,
    held: &BTreeMap<NodeName, NodeName>,
) -> bool {
    let group = hierarchy.group(node);
    if group.is_empty() {
        return held.contains_key(node);
    }
    group.iter().any(|node| !node.is_optional_platform && held.contains_key(&node.name))
}

/// Whether the run made an image, or found one that is not published yet.
pub(super) fn is_changed(outcome: &Outcome) -> bool {
    !matches!(outcome, Outcome::Kept { .. } | Outcome::Held { .. })
}
