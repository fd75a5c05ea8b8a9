//! What published images say of themselves.

use std::collections::BTreeSet;

use futures_util::{StreamExt as _, TryStreamExt as _, stream};

use super::DESCRIBED_AT_ONCE;
use crate::{
    fingerprint::BuiltFrom,
    hierarchy::{Hierarchy, Node, NodeName},
    image::Digest,
    plan::{LastBuild, LastBuilds, Plan},
    store::{Store, StoreError},
};

/// Asks about the published images of these nodes.
pub async fn describe<S: Store>(
    store: &S,
    hierarchy: &Hierarchy,
    plan: &Plan,
    nodes: &BTreeSet<NodeName>,
) -> Result<LastBuilds, StoreError> {
    let asked = plan.steps.iter().filter(|step| nodes.contains(&step.node)).filter_map(|step| {
        let node = hierarchy.get(&step.node)?;
        Some((node, step.published.as_ref()?))
    });
    stream::iter(asked)
        .map(async |(node, digest)| Ok((node.name.clone(), last_build(store, node, digest).await?)))
        .buffer_unordered(DESCRIBED_AT_ONCE)
        .try_filter_map(async |(name, last_build)| Ok(last_build.map(|found| (name, found))))
        .try_collect()
        .await
}

/// Asks one published image of a node; `None` if it is no image that says anything, or is gone.
pub(super) async fn last_build<S: Store>(
    store: &S,
    node: &Node,
    published: &Digest,
) -> Result<Option<LastBuild>, StoreError> {
    let description = store.describe(&node.repository, published).await?;
    Ok(description.map(|image| LastBuild {
        created: image.created,
        size: Some(image.size),
        built_from: BuiltFrom::from_labels(&image.labels),
    }))
}
