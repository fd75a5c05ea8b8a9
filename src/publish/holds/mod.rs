//! The note beside the images that lists the images that were rolled back.

use std::collections::{BTreeMap, BTreeSet};

use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use jiff::Timestamp;

use super::{
    journal::Move,
    store::{StoreError, Tags},
};
use crate::{
    event::{Outcome, Promotion, Summary},
    fingerprint::{BuiltFrom, TakenIn},
    hierarchy::NodeName,
    image::{Digest, Repository},
    plan::{Hold, Holds, RolledBack},
};

/// The name of the note. No image can have it.
const NOTE: &str = ":holds";
/// How many images are read at once.
const DESCRIBED_AT_ONCE: usize = 16;

pub async fn read<S: Tags>(store: &S) -> Result<Holds, StoreError> {
    Ok(Holds::read(&store.note(NOTE).await?.unwrap_or_default()))
}

/// Writes the note only if it changes.
pub async fn change<S: Tags>(store: &S, change: impl FnOnce(&mut Holds)) -> Result<(), StoreError> {
    let before = read(store).await?;
    let mut holds = before.clone();
    change(&mut holds);
    if holds == before {
        return Ok(());
    }
    store.keep_note(NOTE, &holds.written()).await
}

/// Holds the images that these moves of a rollback replaced, and returns their names. An image whose tags were
/// deleted is not held: nothing is left to keep.
pub async fn add<S: Tags>(
    store: &S,
    (run, at): (&str, Timestamp),
    moves: &[Move],
) -> Result<Vec<NodeName>, StoreError> {
    // Stable tags move first in a rollback.
    let mut replaced: BTreeMap<&NodeName, (&Move, &Digest, &Digest)> = BTreeMap::new();
    for one in moves {
        if let (Some(bad), Some(before)) = (&one.from, &one.to) {
            replaced.entry(&one.node).or_insert((one, bad, before));
        }
    }
    let held: Vec<Vec<(NodeName, Hold)>> = stream::iter(replaced.into_values())
        .map(async |(one, bad, before)| {
            let mut held = Vec::new();
            for (node, bad, before) in by_platform(store, one, (bad, before)).await? {
                let of = (&node, &one.tag.repository);
                let image = rolled_back(store, of, (&bad, &before)).await?;
                held.push((node, Hold { run: run.to_owned(), at, image }));
            }
            Ok::<_, StoreError>(held)
        })
        .buffered(DESCRIBED_AT_ONCE)
        .try_collect()
        .await?;
    let held: Vec<(NodeName, Hold)> = held.into_iter().flatten().collect();
    let names = held.iter().map(|(node, _)| node.clone()).collect();
    change(store, |holds| {
        // A process that died may have written them already.
        holds.remove_run(run);
        for (node, hold) in held {
            holds.nodes.entry(node).or_default().push(hold);
        }
    })
    .await?;
    Ok(names)
}

/// An image that a run made and published is not held any longer.
pub async fn end<S: Tags>(store: &S, summary: &Summary) -> Result<(), StoreError> {
    let is_published = |node: &NodeName| match &summary.promotion {
        Promotion::Done { held, .. } => !held.contains_key(node),
        Promotion::Nothing => true,
        _ => false,
    };
    let is_made = |outcome: &Outcome| {
        matches!(
            outcome,
            Outcome::Built { .. } | Outcome::Unchanged { .. } | Outcome::Reused { .. }
        )
    };
    let steps = summary.steps.iter();
    let made = steps.filter(|step| is_made(&step.outcome) && is_published(&step.node));
    let made: BTreeSet<&NodeName> = made.map(|step| &step.node).collect();
    if made.is_empty() {
        return Ok(());
    }
    change(store, |holds| holds.nodes.retain(|node, _| !made.contains(node))).await
}

/// The nodes whose image a move replaced, with the images after and before: of an index, those of each platform that
/// differ.
async fn by_platform<S: Tags>(
    store: &S,
    one: &Move,
    (bad, before): (&Digest, &Digest),
) -> Result<Vec<(NodeName, Digest, Digest)>, StoreError> {
    let repository = &one.tag.repository;
    let bad_images = store.platform_images(repository, bad).await?.unwrap_or_default();
    if !bad_images.is_index || bad_images.images.len() < 2 {
        return Ok(vec![(one.node.clone(), bad.clone(), before.clone())]);
    }
    let before = store.platform_images(repository, before).await?.unwrap_or_default();
    let nodes = bad_images.images.into_iter().filter_map(|(platform, bad)| {
        let before = before.images.get(&platform).filter(|before| **before != bad)?.clone();
        Some((NodeName::of_platform(one.node.as_str(), &platform), bad, before))
    });
    Ok(nodes.collect())
}

async fn rolled_back<S: Tags>(
    store: &S,
    (node, repository): (&NodeName, &Repository),
    (bad, before): (&Digest, &Digest),
) -> Result<Option<RolledBack>, StoreError> {
    let built_from = async |image: &Digest| {
        let image = store.describe(repository, image).await?;
        Ok::<_, StoreError>(image.and_then(|image| BuiltFrom::from_labels(&image.labels)))
    };
    let kept = store.note(node.as_str()).await?.unwrap_or_default();
    let also = TakenIn::read(&kept).of(bad);
    let before = built_from(before).await?;
    Ok(built_from(bad).await?.map(|bad| RolledBack::new(&bad, before.as_ref(), &also)))
}

#[cfg(test)]
mod tests;
