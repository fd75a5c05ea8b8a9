//! Reads the sizes of published images: manifests and configurations, no layers.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use tokio::time::timeout;

use super::{DESCRIBED_AT_ONCE, ObserveError, indexes::PlatformIndexes, moving_tags, published};
use crate::{
    hierarchy::{Hierarchy, Mirror, Node, NodeName, TagValues, this_machine},
    image::{Digest, Repository},
    publish::store::{Description, Store, StoreError, Tags},
    registry::Client,
    run::labels::BASE_DIGEST,
    size::{Facts, MeasuredImage},
};

/// An upstream may be in a registry that this machine cannot reach, and only its layers are asked for.
const UPSTREAM: Duration = Duration::from_secs(5);

/// The published image of each node.
pub async fn published_images<S: Store>(
    store: &S,
    hierarchy: &Hierarchy,
    values: &TagValues,
) -> Result<BTreeMap<NodeName, Digest>, ObserveError> {
    let moving = moving_tags(hierarchy, values)?;
    let heads = store.heads(moving.values().flatten().cloned().collect()).await?;
    let indexes = PlatformIndexes::read(store, hierarchy, &heads).await?;
    Ok(published(store, hierarchy, (&moving, &heads, &indexes)).await?)
}

/// The published images, their bases and the images to compare them with. A base that cannot be read is
/// missing; an upstream is only read from a registry if `registries` is given.
pub async fn sizes<S: Tags>(
    store: &S,
    hierarchy: &Hierarchy,
    (published, before): (BTreeMap<NodeName, Digest>, BTreeMap<NodeName, Digest>),
    registries: Option<&Client>,
) -> Result<Facts, StoreError> {
    let nodes = || published.keys().filter_map(|name| hierarchy.get(name));
    let of_nodes = nodes().flat_map(|node| {
        let digests = [published.get(&node.name), before.get(&node.name)];
        digests.into_iter().flatten().map(|digest| (node.repository.clone(), digest.clone()))
    });
    let mut images = BTreeMap::new();
    let mut wanted: BTreeSet<(Repository, Digest)> = of_nodes.collect();
    // Each round reads the bases of the last one that are no longer published.
    while !wanted.is_empty() {
        let read: Vec<(Repository, Digest, Option<Description>)> = stream::iter(wanted)
            .map(async |(repository, digest)| {
                let found = store.describe(&repository, &digest).await?;
                Ok::<_, StoreError>((repository, digest, found))
            })
            .buffer_unordered(DESCRIBED_AT_ONCE)
            .try_collect()
            .await?;
        wanted = BTreeSet::new();
        let mut bases = Vec::new();
        for (repository, digest, found) in read {
            let Some(found) = found else { continue };
            let image = image(found);
            bases.extend(image.base.clone().map(|base| (repository, base)));
            images.insert(digest, image);
        }
        for (repository, base) in bases.into_iter().filter(|(_, base)| !images.contains_key(base)) {
            let parents = nodes().filter(|node| node.repository == repository);
            let parents = parents.filter_map(|node| hierarchy.get(node.base()?));
            wanted.extend(parents.map(|parent| (parent.repository.clone(), base.clone())));
        }
    }
    let asked = (registries, hierarchy.mirror.as_ref());
    for (digest, image) in upstreams(store, nodes(), (&published, &images), asked).await {
        images.insert(digest, image);
    }
    Ok(Facts { images, published, before, unpacked: BTreeMap::new() })
}

fn image(found: Description) -> MeasuredImage {
    let Description { labels, layers, size, stored, .. } = found;
    let unpacked = stored.is_none().then_some(size);
    // A manifest that names other layers than its configuration is not ours.
    let stored = stored.filter(|stored| stored.layers.len() == layers.len());
    MeasuredImage {
        layers,
        stored: stored.map(|stored| (stored.layers, stored.documents)),
        unpacked,
        base: labels.get(BASE_DIGEST).and_then(|digest| digest.parse().ok()),
    }
}

/// The upstream images that were built on, by the digests in the labels.
async fn upstreams<'h, S: Tags>(
    store: &S,
    nodes: impl Iterator<Item = &'h Node>,
    (published, images): (&BTreeMap<NodeName, Digest>, &BTreeMap<Digest, MeasuredImage>),
    (registries, mirror): (Option<&Client>, Option<&Mirror>),
) -> Vec<(Digest, MeasuredImage)> {
    let wanted: BTreeMap<Digest, (Repository, &Node)> = nodes
        .filter_map(|node| {
            let upstream = node.upstream()?;
            let base = images.get(published.get(&node.name)?)?.base.clone()?;
            (!images.contains_key(&base)).then(|| (base, (upstream.repository.clone(), node)))
        })
        .collect();
    stream::iter(wanted)
        .map(async |(digest, (repository, node))| {
            let read = async {
                let Some(client) = registries else {
                    return store.describe(&repository, &digest).await.ok()?;
                };
                let platform = node.platform.clone().unwrap_or_else(this_machine);
                for place in Mirror::places(mirror, &repository) {
                    let member = client.manifest_for(&place, &digest, &platform).await;
                    if let Ok(Some(member)) = member
                        && let Ok(Some(found)) = store.describe(&place, &member).await
                    {
                        return Some(found);
                    }
                }
                None
            };
            let found = timeout(UPSTREAM, read).await.ok()??;
            Some((digest.clone(), MeasuredImage { base: None, ..image(found) }))
        })
        .buffer_unordered(DESCRIBED_AT_ONCE)
        .filter_map(async |found| found)
        .collect()
        .await
}
