//! Decides which stored images are no longer needed, and deletes them.
//!
//! **Invariant:** an image is deleted only if each of its tags is a build tag of a node of this hierarchy,
//! and no index contains it. In doubt it stays.

mod freed;
mod records;
mod remove;
mod stored;

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use jiff::Timestamp;

pub use self::{
    freed::freed,
    records::{KEPT_RUNS, old_records},
    remove::{Removed, remove},
    stored::{Stored, StoredImage},
};
use crate::{
    fingerprint::{is_build_tag, node_of},
    hierarchy::NodeName,
    image::{Digest, Repository, Tag},
    publish::store::Holding,
};

/// How many images of each node stay at any age: those of the last promotions.
pub const KEPT_OF_EACH: usize = 3;

/// Which images are still needed, and which count as old.
#[derive(Clone, Debug)]
pub struct Needs {
    /// The nodes of the hierarchy. Images of other nodes stay.
    pub nodes: BTreeSet<NodeName>,
    /// Images of the present inputs.
    pub today: BTreeSet<Digest>,
    /// The images that the last runs moved tags from and to: `rebuild rollback` may need them.
    pub rollback: BTreeSet<Digest>,
    /// Build tags that stay in the registry: their images stay in the engine too.
    pub tags: BTreeSet<Tag>,
    /// Younger images stay.
    pub keep: Duration,
    pub now: Timestamp,
}

/// Why an image with a build tag stays.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stays {
    /// Another tag than a build tag points at it, or an index with such a tag contains it.
    Published,
    Today,
    /// Of the engine: the registry keeps its build tag.
    InRegistry,
    Rollback,
    Young,
    /// It is one of the last images of its node.
    Recent,
    /// It belongs to no node of this hierarchy, or does not name one.
    Foreign,
    AgeUnknown,
}

/// An image to delete, with all of its tags.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Going {
    pub node: NodeName,
    pub repository: Repository,
    pub digest: Digest,
    pub tags: BTreeSet<Tag>,
    pub age: Duration,
}

/// The decision for a store.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sweep {
    /// By repository, the oldest first.
    pub going: Vec<Going>,
    /// How many images stay, and why.
    pub staying: BTreeMap<Stays, usize>,
    /// In bytes: the pieces that only deleted images contain.
    pub freed: u64,
    /// Every build tag that stays.
    pub kept_tags: BTreeSet<Tag>,
}

/// Decides which images of the hierarchy's repositories to delete.
pub fn decide(holdings: &[Holding], needs: &Needs) -> Sweep {
    let in_an_index: BTreeSet<(&Repository, &Digest)> = holdings
        .iter()
        .flat_map(|holding| holding.members.iter().map(|digest| (&holding.repository, digest)))
        .collect();
    let recent = recent(holdings);
    let mut sweep = Sweep::default();
    for holding in holdings.iter().filter(|holding| holding.tags.iter().any(is_build_tag)) {
        let fate = if in_an_index.contains(&(&holding.repository, &holding.digest)) {
            Err(Stays::Published)
        } else {
            fate(holding, needs, &recent)
        };
        match fate {
            Ok((node, age)) => sweep.going.push(Going {
                node,
                repository: holding.repository.clone(),
                digest: holding.digest.clone(),
                tags: holding.tags.clone(),
                age,
            }),
            Err(stays) => {
                *sweep.staying.entry(stays).or_default() += 1;
                let build_tags = holding.tags.iter().filter(|tag| is_build_tag(tag));
                sweep.kept_tags.extend(build_tags.cloned());
            }
        }
    }
    sweep.going.sort_by(|a, b| a.repository.cmp(&b.repository).then(b.age.cmp(&a.age)));
    let goes = |holding: &&Holding| {
        let is_it = |going: &Going| {
            going.digest == holding.digest && going.repository == holding.repository
        };
        sweep.going.iter().any(is_it)
    };
    let (going, staying): (Vec<&Holding>, Vec<&Holding>) = holdings.iter().partition(goes);
    sweep.freed = freed(&going, &staying);
    sweep
}

fn fate(
    holding: &Holding,
    needs: &Needs,
    recent: &BTreeSet<(&Repository, &Digest)>,
) -> Result<(NodeName, Duration), Stays> {
    if !holding.tags.iter().all(is_build_tag) {
        return Err(Stays::Published);
    }
    if needs.today.contains(&holding.digest) {
        return Err(Stays::Today);
    }
    if holding.tags.iter().any(|tag| needs.tags.contains(tag)) {
        return Err(Stays::InRegistry);
    }
    if needs.rollback.contains(&holding.digest) {
        return Err(Stays::Rollback);
    }
    let node = node_of(&holding.labels).ok_or(Stays::Foreign)?;
    if !needs.nodes.contains(&node) {
        return Err(Stays::Foreign);
    }
    let created = holding.created.ok_or(Stays::AgeUnknown)?;
    let age = Duration::try_from(needs.now.duration_since(created)).unwrap_or_default();
    if age <= needs.keep {
        return Err(Stays::Young);
    }
    if recent.contains(&(&holding.repository, &holding.digest)) {
        return Err(Stays::Recent);
    }
    Ok((node, age))
}

/// The newest images of each node in each repository.
fn recent(holdings: &[Holding]) -> BTreeSet<(&Repository, &Digest)> {
    // Indexes are counted apart from the images in them.
    let mut of_nodes: BTreeMap<(&Repository, NodeName, bool), Vec<&Holding>> = BTreeMap::new();
    for holding in holdings.iter().filter(|holding| holding.tags.iter().any(is_build_tag)) {
        if let Some(node) = node_of(&holding.labels) {
            let is_index = !holding.members.is_empty();
            of_nodes.entry((&holding.repository, node, is_index)).or_default().push(holding);
        }
    }
    let newest = |mut images: Vec<_>| {
        images.sort_by_key(|holding: &&Holding| std::cmp::Reverse(holding.created));
        images.truncate(KEPT_OF_EACH);
        images
    };
    let all = of_nodes.into_values().flat_map(newest);
    all.map(|holding| (&holding.repository, &holding.digest)).collect()
}

#[cfg(test)]
mod tests;
