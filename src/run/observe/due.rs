//! Which images are due for a refresh, by their age or by their schedule.

use std::collections::BTreeSet;

use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use jiff::Timestamp;

use super::{
    DESCRIBED_AT_ONCE, ObserveError, described::last_build, indexes::PlatformIndexes, moving_tags,
    published,
};
use crate::{
    fingerprint::Epoch,
    hierarchy::{Hierarchy, Node, NodeName, TagValues},
    publish::store::Store,
};

/// For published images only.
pub async fn due<S: Store>(
    store: &S,
    (hierarchy, tag_values): (&Hierarchy, &TagValues),
    now: Timestamp,
) -> Result<BTreeSet<NodeName>, ObserveError> {
    let nodes: Vec<&Node> = hierarchy
        .in_build_order()
        .filter(|node| node.refresh.every.is_some() || node.schedule.is_some())
        .collect();
    if nodes.is_empty() {
        return Ok(BTreeSet::new());
    }
    let moving = moving_tags(hierarchy, tag_values)?;
    let tags = nodes.iter().flat_map(|node| moving[&node.name].clone()).collect();
    let heads = store.heads(tags).await?;
    let indexes = PlatformIndexes::read(store, hierarchy, &heads).await?;
    let published = &published(store, hierarchy, (&moving, &heads, &indexes)).await?;
    let asked: Vec<Option<NodeName>> = stream::iter(nodes)
        .map(async |node| {
            let Some(digest) = published.get(&node.name) else { return Ok(None) };
            let last = last_build(store, (hierarchy, node), digest).await?.unwrap_or_default();
            let epoch = last.built_from.as_ref().and_then(|record| record.inputs.epoch);
            let last = epoch.map(Epoch::time).or(last.created);
            let is_due = last.is_some_and(|last| is_due(node, last, now));
            Ok::<_, ObserveError>(is_due.then(|| node.name.clone()))
        })
        .buffered(DESCRIBED_AT_ONCE)
        .try_collect()
        .await?;
    Ok(asked.into_iter().flatten().collect())
}

fn is_due(node: &Node, last: Timestamp, now: Timestamp) -> bool {
    let age = node.refresh.every.and_then(|every| Epoch::due(last, every, now));
    let tick = node.schedule.as_ref().and_then(|schedule| schedule.due(last, now));
    age.is_some() || tick.is_some()
}
