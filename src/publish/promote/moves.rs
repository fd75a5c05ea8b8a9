//! Which tags may move after a run, and in what order. Pure.

use std::collections::{BTreeMap, BTreeSet};

use super::held::{is_changed, is_withheld};
use crate::{
    event::{ContentTag, Executed, Outcome, WithoutPromotion},
    fingerprint::Parents,
    hierarchy::{Hierarchy, Node, NodeName, TagTemplate, TagValues, TemplateError},
    image::{Digest, Tag, Tagged},
    plan::{Action, Plan, Step},
    publish::{indexes::Indexes, journal::Move},
};

/// Of nodes with one platform, the first pass over units finds all levels. Units may depend on each other by different
/// platforms, so the passes have a limit.
const PASSES: usize = 8;

/// Which moving tags a run may move.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// None, because of an argument.
    NotAsked(WithoutPromotion),
    /// None, because a step failed or never ran.
    Withhold,
    /// These may move, parents before children.
    Move {
        moves: Vec<Move>,
        /// Nodes that keep their old tags, each with the node whose failure holds it back.
        held: BTreeMap<NodeName, NodeName>,
    },
}

/// Decides which tags move. `held` are the nodes that keep theirs, by [`held_back`](super::held_back); `indexes` those
/// of images with several platforms.
pub fn verdict(
    hierarchy: &Hierarchy,
    (plan, executed): (&Plan, &Executed),
    values: &TagValues,
    (held, indexes): (Option<BTreeMap<NodeName, NodeName>>, &Indexes),
) -> Result<Verdict, TemplateError> {
    let Some(held) = held else { return Ok(Verdict::Withhold) };
    let units = units(hierarchy, plan);
    let mut moves = Vec::new();
    // Units with a move, and their descendants.
    let mut moving: BTreeSet<&str> = BTreeSet::new();
    for unit in &units {
        let of_unit = UnitMoves { hierarchy, plan, executed, values, indexes, unit };
        if unit.nodes.iter().any(|node| is_withheld(hierarchy, &node.name, &held))
            || of_unit.is_rolled_back()
        {
            continue;
        }
        let follows = unit.parents.iter().any(|parent| moving.contains(parent));
        if follows {
            moving.insert(unit.name);
        }
        let (of_tags, is_moving) = of_unit.moves(follows)?;
        if is_moving {
            moving.insert(unit.name);
        }
        moves.extend(of_tags);
    }
    refuse_same_tag(&moves)?;
    moves.sort_by_key(|tag| tag.wave);
    Ok(Verdict::Move { moves, held })
}

/// A node, or the nodes of an image that share its tags.
struct Unit<'a> {
    /// Of the node or of the image.
    name: &'a str,
    nodes: Vec<&'a Node>,
    /// Those in the plan.
    steps: Vec<&'a Step>,
    parents: BTreeSet<&'a str>,
    level: usize,
}

/// The name of the unit of a node.
fn unit_of<'a>(hierarchy: &Hierarchy, name: &'a NodeName) -> &'a str {
    if hierarchy.group(name).is_empty() { name.as_str() } else { name.image() }
}

/// Parents before children; otherwise in the order of the plan.
fn units<'a>(hierarchy: &'a Hierarchy, plan: &'a Plan) -> Vec<Unit<'a>> {
    let mut units: Vec<Unit<'a>> = Vec::new();
    let mut places: BTreeMap<&str, usize> = BTreeMap::new();
    for step in &plan.steps {
        let Some(node) = hierarchy.get(&step.node) else { continue };
        let name = unit_of(hierarchy, &step.node);
        let place = *places.entry(name).or_insert_with(|| {
            let group = hierarchy.group(&step.node);
            let nodes = if group.is_empty() { vec![node] } else { group };
            units.push(Unit { name, nodes, steps: vec![], parents: BTreeSet::new(), level: 0 });
            units.len() - 1
        });
        let parents = step.after.iter().map(|parent| unit_of(hierarchy, parent));
        units[place].parents.extend(parents.filter(|parent| *parent != name));
        units[place].steps.push(step);
    }
    for _ in 0..PASSES {
        let mut has_changed = false;
        for place in 0..units.len() {
            let above = units[place].parents.iter().map(|parent| units[places[parent]].level + 1);
            let level = above.max().unwrap_or(0);
            has_changed |= units[place].level != level;
            units[place].level = level;
        }
        if !has_changed {
            break;
        }
    }
    units.sort_by_key(|unit| unit.level);
    units
}

struct UnitMoves<'a> {
    hierarchy: &'a Hierarchy,
    plan: &'a Plan,
    executed: &'a Executed,
    values: &'a TagValues,
    indexes: &'a Indexes,
    unit: &'a Unit<'a>,
}

impl UnitMoves<'_> {
    /// Whether all of its images stay because of a rollback.
    fn is_rolled_back(&self) -> bool {
        self.unit.steps.iter().all(|step| {
            let outcome = self.executed.outcomes.get(&step.node).map(|(outcome, _)| outcome);
            matches!(outcome, Some(Outcome::Held { .. }) | None)
        })
    }

    /// The moves of a unit, and whether one of its tags is not where it belongs. `follows`: a parent's tag moves.
    fn moves(&self, follows: bool) -> Result<(Vec<Move>, bool), TemplateError> {
        let outcomes: Vec<(&Step, &Outcome)> = self
            .unit
            .steps
            .iter()
            .filter_map(|step| Some((*step, &self.executed.outcomes.get(&step.node)?.0)))
            .collect();
        let is_kept = !outcomes.iter().any(|(_, outcome)| is_changed(outcome));
        // All stable tags already point at the image.
        if is_kept && !follows {
            return Ok((vec![], false));
        }
        let (Some(node), Some((first, outcome))) = (self.unit.nodes.first(), outcomes.first())
        else {
            return Ok((vec![], false));
        };
        let index = self.indexes.get(node.name.image());
        let is_index = self.unit.nodes.len() > 1;
        let image = if is_index { index } else { outcome.digest() };
        let fingerprint = match (outcome, image) {
            // Its images have a fingerprint each.
            (_, Some(index)) if is_index => index.hex().to_owned(),
            (Outcome::Built { fingerprint, .. }, _) => fingerprint.hex().to_owned(),
            _ => {
                let parents = parents(self.hierarchy, self.plan, self.executed, &first.node);
                first.inputs.fingerprint(&parents).hex().to_owned()
            }
        };
        let changed = outcomes.iter().filter(|(_, outcome)| is_changed(outcome));
        let is_without_news =
            changed.clone().next().is_some() && changed.clone().all(is_refresh_without_news);
        let stays = is_kept || is_without_news;
        let (mut moves, mut is_moving) = (Vec::new(), false);
        for template in node.tags.iter().filter(|template| !stays || template.is_stable()) {
            for (tag, from) in self.tags(template, (first, &fingerprint))? {
                // An index without a change is the one that is there.
                let to = image.or(from.as_ref().filter(|_| is_index)).cloned();
                let Some(to) = to else { continue };
                let is_right = from.as_ref() == Some(&to);
                is_moving |= !is_right;
                let one = Move {
                    node: self.unit.name.into(),
                    tag: node.repository.tagged(tag.clone()),
                    from,
                    to: Some(to),
                    wave: 2 * self.unit.level + wave_in_node(template),
                };
                // Where these are is read when the image is there: `destinations::copied`.
                let has_registry = self.hierarchy.registry.is_some();
                let elsewhere = node.destinations.iter().filter(|_| has_registry);
                moves.extend(elsewhere.map(|repository| Move {
                    tag: repository.tagged(tag.clone()),
                    from: None,
                    ..one.clone()
                }));
                // A tag that is right below one that moves is checked: another run may move it meanwhile.
                if follows || !is_right {
                    moves.push(one);
                }
            }
        }
        Ok((moves, is_moving))
    }

    /// The tags of a template, and where they are. Images for several platforms may give it different tags.
    fn tags(
        &self,
        template: &TagTemplate,
        (step, fingerprint): (&Step, &str),
    ) -> Result<BTreeMap<Tag, Option<Digest>>, TemplateError> {
        let known = |step: &&Step| {
            let ContentTag { tag, from } =
                self.executed.content_tags.get(&step.node)?.get(template)?;
            Some((tag.clone(), from.clone()))
        };
        let known: BTreeMap<Tag, Option<Digest>> =
            self.unit.steps.iter().filter_map(known).collect();
        if !known.is_empty() {
            return Ok(known);
        }
        let tag = template.expand(self.values, step.node.image(), fingerprint)?;
        let from = step.moving.get(&tag).cloned().flatten();
        Ok([(tag, from)].into())
    }
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
fn is_refresh_without_news((step, outcome): &(&Step, &Outcome)) -> bool {
    let is_fresh = matches!(step.action, Action::Build { fresh: true, .. });
    is_fresh && matches!(outcome, Outcome::Unchanged { .. })
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
