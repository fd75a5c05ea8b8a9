//! The indexes that the tags of images with several platforms point at.

use std::collections::{BTreeMap, BTreeSet};

use futures_util::{StreamExt as _, TryStreamExt as _, stream};

use super::DESCRIBED_AT_ONCE;
use crate::{
    hierarchy::{Hierarchy, Node, NodeName},
    image::{Digest, Platform, Repository, Tagged},
    plan::Members,
    publish::store::{StoreError, Tags},
    registry::PlatformImages,
};

/// By repository and digest. Only for images with several platforms.
#[derive(Debug, Default)]
pub(super) struct PlatformIndexes(BTreeMap<(Repository, Digest), PlatformImages>);

impl PlatformIndexes {
    /// Reads what these tags point at.
    pub(super) async fn read<S: Tags>(
        store: &S,
        hierarchy: &Hierarchy,
        heads: &BTreeMap<Tagged, Digest>,
    ) -> Result<Self, StoreError> {
        let groups =
            hierarchy.in_build_order().filter(|node| !hierarchy.group(&node.name).is_empty());
        let repositories: BTreeSet<&Repository> = groups.flat_map(Node::repositories).collect();
        let asked: BTreeSet<(Repository, Digest)> = heads
            .iter()
            .filter(|(tagged, _)| repositories.contains(&tagged.repository))
            .map(|(tagged, digest)| (tagged.repository.clone(), digest.clone()))
            .collect();
        let found = stream::iter(asked)
            .map(async |(repository, digest)| {
                let images = store.platform_images(&repository, &digest).await?;
                Ok::<_, StoreError>(((repository, digest), images.unwrap_or_default()))
            })
            .buffer_unordered(DESCRIBED_AT_ONCE)
            .try_collect();
        Ok(Self(found.await?))
    }

    /// The image of a node under a digest that one of its tags has.
    pub(super) fn image_of(
        &self,
        (hierarchy, node): (&Hierarchy, &Node),
        tagged: &Tagged,
        digest: &Digest,
    ) -> Option<Digest> {
        if hierarchy.group(&node.name).is_empty() {
            return Some(digest.clone());
        }
        let key = (tagged.repository.clone(), digest.clone());
        self.0.get(&key)?.images.get(hierarchy.platform_of(node)).cloned()
    }

    /// The image of a node under each digest that its tags have.
    pub(super) fn members<'t>(
        &self,
        (hierarchy, node): (&Hierarchy, &Node),
        tags: impl Iterator<Item = &'t Tagged>,
        heads: &BTreeMap<Tagged, Digest>,
    ) -> Members {
        let group = hierarchy.group(&node.name);
        let Some(first) = group.first() else { return Members::new() };
        let platforms: BTreeSet<&Platform> =
            group.iter().map(|node| hierarchy.platform_of(node)).collect();
        let empty = PlatformImages::default();
        let mut members = Members::new();
        for (tagged, digest) in tags.filter_map(|tagged| Some((tagged, heads.get(tagged)?))) {
            let key = (tagged.repository.clone(), digest.clone());
            let found = self.0.get(&key).unwrap_or(&empty);
            let has_others = found.images.keys().any(|platform| !platforms.contains(platform));
            // One node is enough to make the index again.
            let is_stale = first.name == node.name && (has_others || !found.is_index);
            let image = found.images.get(hierarchy.platform_of(node)).filter(|_| !is_stale);
            members.insert(digest.clone(), image.cloned());
        }
        members
    }
}

/// The published images of the platforms that are not in view, of images that are.
pub(super) fn other_platforms<'a>(
    hierarchy: &'a Hierarchy,
    nodes: &'a [&Node],
    published: &'a BTreeMap<NodeName, Digest>,
) -> impl Iterator<Item = (NodeName, Digest)> + 'a {
    let siblings = nodes.iter().flat_map(|node| hierarchy.group(&node.name));
    siblings.filter_map(|node| Some((node.name.clone(), published.get(&node.name)?.clone())))
}
