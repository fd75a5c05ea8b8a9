//! Copies images to the other registries that they are published in, before any tag moves.
//!
//! **Invariant:** a tag of another registry moves in the same promotion as those of the main one, and only to an image
//! that is there whole.

use std::collections::BTreeSet;

use futures_util::{StreamExt as _, TryStreamExt as _, stream};

use super::{journal::Move, store::Tags};
use crate::{
    hierarchy::{Hierarchy, Node},
    image::{Digest, Platform, Repository},
    registry::{Copier, CopyError},
};

/// How many images are copied at once. Their blobs share the limits of the copier.
const COPIED_AT_ONCE: usize = 4;

/// Whether any of these moves is in another registry.
pub fn has_any(hierarchy: &Hierarchy, moves: &[Move]) -> bool {
    moves.iter().any(|one| node_elsewhere(hierarchy, one).is_some())
}

/// The node of a move in another registry.
fn node_elsewhere<'h>(hierarchy: &'h Hierarchy, one: &Move) -> Option<&'h Node> {
    // The platforms of an image have the same repositories.
    let node = hierarchy.nodes_of(one.node.as_str()).into_iter().next();
    node.filter(|node| node.destinations.contains(&one.tag.repository))
}

/// Copies the images of these moves, and fills in where the tags are. Empty if each tag is where it belongs.
///
/// # Errors
/// A sentence with the repository, and what to do.
pub async fn copied<S: Tags>(
    (store, copier): (&S, &Copier),
    (hierarchy, platform): (&Hierarchy, &Platform),
    moves: Vec<Move>,
) -> Result<Vec<Move>, String> {
    let nodes: Vec<Option<&Node>> =
        moves.iter().map(|one| node_elsewhere(hierarchy, one)).collect();
    let mut images: BTreeSet<(&Repository, &Repository, &Digest)> = BTreeSet::new();
    for (one, node) in moves.iter().zip(&nodes) {
        if let (Some(node), Some(to)) = (node, &one.to) {
            images.insert((&node.repository, &one.tag.repository, to));
        }
    }
    let platforms: BTreeSet<Platform> = nodes
        .iter()
        .flatten()
        .flat_map(|node| hierarchy.nodes_of(node.name.image()))
        .map(|node| node.platform.as_ref().unwrap_or(platform).clone())
        .collect();
    stream::iter(images)
        .map(async |(from, to, digest)| {
            let failed = |error: &dyn std::fmt::Display, hint: Option<String>| {
                let hint = hint.map(|hint| format!("; {hint}")).unwrap_or_default();
                format!("`{to}`: {error}{hint}")
            };
            if copier.has(to, digest, &platforms).await.map_err(|it| failed(&it, it.hint()))? {
                return Ok(());
            }
            let ended = copier.copy_by_digest((from, digest), to, &platforms).await;
            ended.map(drop).map_err(|error| {
                let (CopyError::Source(inner) | CopyError::Target(inner)) = &error;
                failed(&error, inner.hint())
            })
        })
        .buffer_unordered(COPIED_AT_ONCE)
        .try_collect::<()>()
        .await?;
    let tags = moves.iter().zip(&nodes).filter(|(_, node)| node.is_some());
    let heads = store.heads(tags.map(|(one, _)| one.tag.clone()).collect()).await;
    let heads = heads.map_err(|error| error.to_string())?;
    let is_elsewhere: Vec<bool> = nodes.iter().map(Option::is_some).collect();
    let mut moves = moves;
    for (one, _) in moves.iter_mut().zip(is_elsewhere).filter(|(_, is_elsewhere)| *is_elsewhere) {
        one.from = heads.get(&one.tag).cloned();
    }
    if moves.iter().all(Move::is_check) {
        moves.clear();
    }
    Ok(moves)
}
