//! Reads the labels of published images.

use std::collections::{BTreeMap, BTreeSet};

use futures_util::{StreamExt as _, TryStreamExt as _, stream};

use super::DESCRIBED_AT_ONCE;
use crate::{
    fingerprint::{BuiltFrom, TakenIn, node_of},
    hierarchy::{Hierarchy, Node, NodeName},
    image::{Digest, Tagged},
    plan::{LastBuild, LastBuilds, Plan},
    publish::store::{Description, HIERARCHY, Store, StoreError, Tags, built_at},
};

/// Describes the published images of these nodes.
pub async fn describe<S: Tags>(
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
        .map(async |(node, digest)| {
            Ok((node.name.clone(), last_build(store, (hierarchy, node), digest).await?))
        })
        .buffer_unordered(DESCRIBED_AT_ONCE)
        .try_filter_map(async |(name, last_build)| Ok(last_build.map(|found| (name, found))))
        .try_collect()
        .await
}

/// For each node without a stable tag, the newest image under one of its tags, by its labels and its time.
pub(super) async fn newest<'n, S: Store>(
    store: &S,
    hierarchy: &Hierarchy,
    nodes: impl Iterator<Item = &'n Node>,
) -> Result<BTreeMap<NodeName, Digest>, StoreError> {
    let mut newest = BTreeMap::new();
    let mut listed: BTreeMap<String, BTreeMap<Tagged, Digest>> = BTreeMap::new();
    for node in nodes.filter(|node| node.stable_tags().next().is_none()) {
        let repository = &node.repository;
        if !listed.contains_key(repository.as_str()) {
            let tags = match store.tags(repository).await {
                // Listing tags is optional for a registry.
                Err(error) if error.is_for_good() => BTreeMap::new(),
                tags => tags?,
            };
            listed.insert(repository.to_string(), tags);
        }
        let is_of_node =
            |tagged: &&Tagged| node.tags.iter().any(|template| template.matches(&tagged.tag));
        let tags = listed[repository.as_str()].iter().filter(|(tagged, _)| is_of_node(tagged));
        let images: BTreeSet<&Digest> = tags.map(|(_, digest)| digest).collect();
        let images: Vec<_> = stream::iter(images)
            .map(async |digest| {
                let Some(digest) = member(store, (hierarchy, node), digest).await? else {
                    return Ok((None, digest.clone()));
                };
                Ok::<_, StoreError>((store.describe(repository, &digest).await?, digest))
            })
            .buffered(DESCRIBED_AT_ONCE)
            .try_collect()
            .await?;
        let own = images.into_iter().filter_map(|(image, digest)| {
            let image =
                image.filter(|image| node_of(&image.labels).as_ref() == Some(&node.name))?;
            Some((built_at(&image.labels).or(image.created), digest))
        });
        newest.extend(own.max().map(|(_, digest)| (node.name.clone(), digest)));
    }
    Ok(newest)
}

/// The image of a node under a digest that a tag has: a member of an index, if its image has several platforms.
async fn member<S: Tags>(
    store: &S,
    (hierarchy, node): (&Hierarchy, &Node),
    digest: &Digest,
) -> Result<Option<Digest>, StoreError> {
    if hierarchy.group(&node.name).is_empty() {
        return Ok(Some(digest.clone()));
    }
    let found = store.platform_images(&node.repository, digest).await?;
    Ok(found.and_then(|mut found| found.images.remove(hierarchy.platform_of(node))))
}

/// The inputs of later builds that left the published image unchanged.
pub(super) async fn taken_in<S: Tags>(
    store: &S,
    published: impl Iterator<Item = (NodeName, Digest)>,
) -> Result<BTreeMap<NodeName, Vec<BuiltFrom>>, StoreError> {
    stream::iter(published)
        .map(async |(node, digest)| {
            let note = store.note(node.as_str()).await?.unwrap_or_default();
            Ok((node, TakenIn::read(&note).of(&digest)))
        })
        .buffer_unordered(DESCRIBED_AT_ONCE)
        .try_collect()
        .await
}

/// Describes one published image of a node; `None` if it was deleted, or has no such labels.
pub(super) async fn last_build<S: Tags>(
    store: &S,
    (hierarchy, node): (&Hierarchy, &Node),
    published: &Digest,
) -> Result<Option<LastBuild>, StoreError> {
    let description = store.describe(&node.repository, published).await?;
    // A user may have moved a tag to the image of another node. An image of a former name of this node is its own.
    let is_of_other = |image: &Description| {
        node_of(&image.labels)
            .is_some_and(|of| of.image() != node.name.image() && hierarchy.get(&of).is_some())
    };
    Ok(description.map(|image| LastBuild {
        created: image.created,
        built: built_at(&image.labels),
        size: Some(image.size),
        built_from: BuiltFrom::from_labels(&image.labels).filter(|_| !is_of_other(&image)),
        hierarchy: image.labels.get(HIERARCHY).cloned(),
    }))
}
