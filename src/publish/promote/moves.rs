//! Which tags may move after a run, and in what order. Pure.

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    event::{ContentTag, Executed, Outcome},
    fingerprint::Parents,
    hierarchy::{Hierarchy, NodeName, OnFailure, TagTemplate, TagValues, TemplateError},
    image::Tagged,
    plan::{Action, Plan, Step},
    publish::journal::Move,
};

/// Which moving tags a run may move.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// None, because of `--no-push`, or `--no-promote` if the images are stored.
    NotAsked { stored: bool },
    /// None, because a step failed or never ran.
    Withhold,
    /// These may move, parents before children.
    Move {
        moves: Vec<Move>,
        /// Nodes that keep their old tags, each with the node whose failure holds it back.
        held: BTreeMap<NodeName, NodeName>,
    },
}

/// Applies each failed node's policy.
pub fn verdict(
    hierarchy: &Hierarchy,
    plan: &Plan,
    executed: &Executed,
    values: &TagValues,
) -> Result<Verdict, TemplateError> {
    let mut held = BTreeMap::new();
    for step in &plan.steps {
        match executed.outcomes.get(&step.node).map(|(outcome, _)| outcome) {
            Some(Outcome::Failed(failure)) if failure.on_failure == OnFailure::Block => {
                return Ok(Verdict::Withhold);
            }
            Some(Outcome::Failed(_)) => _ = held.insert(step.node.clone(), step.node.clone()),
            Some(Outcome::Skipped { failed }) => _ = held.insert(step.node.clone(), failed.clone()),
            Some(Outcome::Cancelled) | None => return Ok(Verdict::Withhold),
            Some(_) => {}
        }
    }
    if executed.stopped.is_some() {
        return Ok(Verdict::Withhold);
    }

    let mut moves = Vec::new();
    // Nodes with a move, and their descendants.
    let mut moving: BTreeSet<&NodeName> = BTreeSet::new();
    let mut level: BTreeMap<NodeName, usize> = BTreeMap::new();
    for step in &plan.steps {
        let above = step.after.iter().map(|parent| level[parent] + 1).max().unwrap_or(0);
        level.insert(step.node.clone(), above);
        let outcome = executed.outcomes.get(&step.node).map(|(outcome, _)| outcome);
        let is_kept = matches!(outcome, Some(Outcome::Kept { .. }));
        let digest = match outcome {
            Some(Outcome::Held { .. }) | None => continue,
            Some(outcome) => outcome.digest(),
        };
        let follows = step.after.iter().any(|parent| moving.contains(parent));
        if follows {
            moving.insert(&step.node);
        } else if is_kept {
            // All stable tags already point at the image.
            continue;
        }
        let (Some(node), Some(digest)) = (hierarchy.get(&step.node), digest) else { continue };
        let fingerprint = match outcome {
            Some(Outcome::Built { fingerprint, .. }) => fingerprint.clone(),
            _ => step.inputs.fingerprint(&parents(hierarchy, plan, executed, &step.node)),
        };
        let stays = is_kept || is_refresh_without_news(step, outcome);
        for template in node.tags.iter().filter(|template| !stays || template.is_stable()) {
            let known = executed.content_tags.get(&node.name).and_then(|tags| tags.get(template));
            let (tag, from) = if let Some(ContentTag { tag, from }) = known {
                (tag.clone(), from.clone())
            } else {
                let tag = template.expand(values, node.name.as_str(), fingerprint.hex())?;
                let from = step.moving.get(&tag).cloned().flatten();
                (tag, from)
            };
            let is_right = from.as_ref() == Some(digest);
            if !is_right {
                moving.insert(&step.node);
            }
            // Where these are is read when the image is there: `destinations::copied`.
            let elsewhere = node.destinations.iter().filter(|_| hierarchy.registry.is_some());
            moves.extend(elsewhere.map(|repository| Move {
                node: node.name.clone(),
                tag: repository.tagged(tag.clone()),
                from: None,
                to: Some(digest.clone()),
                wave: 2 * above + wave_in_node(template),
            }));
            // A tag that is right below one that moves is checked: another run may move it meanwhile.
            if follows || !is_right {
                moves.push(Move {
                    node: node.name.clone(),
                    tag: node.repository.tagged(tag),
                    from,
                    to: Some(digest.clone()),
                    wave: 2 * above + wave_in_node(template),
                });
            }
        }
    }
    refuse_same_tag(&moves)?;
    moves.sort_by_key(|tag| tag.wave);
    Ok(Verdict::Move { moves, held })
}

/// What is in images may give two of one repository the same tag.
fn refuse_same_tag(moves: &[Move]) -> Result<(), TemplateError> {
    let mut taken: BTreeMap<&Tagged, &NodeName> = BTreeMap::new();
    for one in moves {
        if let Some(other) = taken.insert(&one.tag, &one.node).filter(|other| **other != one.node) {
            let (other, node) = (other.clone(), one.node.clone());
            return Err(TemplateError::PublishedTwice(other, node, one.tag.clone()));
        }
    }
    Ok(())
}

/// A refresh that changes nothing publishes nothing, not even a tag with a date.
fn is_refresh_without_news(step: &Step, outcome: Option<&Outcome>) -> bool {
    let is_fresh = matches!(step.action, Action::Build { fresh: true, .. });
    is_fresh && matches!(outcome, Some(Outcome::Unchanged { .. }))
}

/// Stable tags move last: if a client sees them, it sees all tags.
fn wave_in_node(template: &TagTemplate) -> usize {
    usize::from(template.is_stable())
}

/// The new image of each parent.
fn parents(hierarchy: &Hierarchy, plan: &Plan, executed: &Executed, node: &NodeName) -> Parents {
    hierarchy
        .parents(node)
        .filter_map(|parent| {
            let made = executed.outcomes.get(&parent.name);
            let digest = match made {
                Some((outcome, _)) => outcome.digest(),
                None => plan.given.get(&parent.name),
            };
            Some((parent.name.clone(), digest?.clone()))
        })
        .collect()
}
