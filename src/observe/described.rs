//! What published images say of themselves.

use std::collections::{BTreeMap, BTreeSet};

use futures_util::{StreamExt as _, TryStreamExt as _, stream};

use super::DESCRIBED_AT_ONCE;
use crate::{
    hierarchy::{Hierarchy, NodeName},
    plan::Plan,
    store::{Description, Store, StoreError},
};

/// Asks about the published images of these nodes. One that is not published, or that says nothing,
/// is not in the answer.
pub async fn describe<S: Store>(
    store: &S,
    hierarchy: &Hierarchy,
    plan: &Plan,
    nodes: &BTreeSet<NodeName>,
) -> Result<BTreeMap<NodeName, Description>, StoreError> {
    let asked = plan.steps.iter().filter(|step| nodes.contains(&step.node)).filter_map(|step| {
        let node = hierarchy.get(&step.node)?;
        Some((node, step.published.as_ref()?))
    });
    stream::iter(asked)
        .map(async |(node, digest)| {
            let description = store.describe(&node.repository, digest).await?;
            Ok((node.name.clone(), description))
        })
        .buffer_unordered(DESCRIBED_AT_ONCE)
        .try_filter_map(async |(name, description)| Ok(description.map(|found| (name, found))))
        .try_collect()
        .await
}
