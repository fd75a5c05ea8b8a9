//! Makes the indexes of images with several platforms, before any tag moves.
//!
//! **Invariant:** an index has an image for each platform of the file, except for optional ones that never succeeded.
//! The image of a platform that did not change is the one that is published.

use std::collections::BTreeMap;

use futures_util::{StreamExt as _, TryStreamExt as _, stream};

use super::{promote::withheld, store::Tags};
use crate::{
    event::{Executed, Outcome},
    hierarchy::{Hierarchy, NodeName},
    image::{Digest, Platform, Repository},
    plan::Plan,
};

/// How many indexes are made at once.
const MADE_AT_ONCE: usize = 8;

/// The index of each image with several platforms, by the name of the image.
pub type Indexes = BTreeMap<String, Digest>;

/// The images of one index.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IndexImages<'a> {
    image: &'a str,
    repository: &'a Repository,
    images: BTreeMap<Platform, Digest>,
    /// The index that is published.
    present: Option<Digest>,
}

/// The images of every index that a run changes. Nodes in `held` keep their published image.
pub fn changed<'a>(
    hierarchy: &'a Hierarchy,
    (plan, executed): (&'a Plan, &'a Executed),
    held: &BTreeMap<NodeName, NodeName>,
) -> Vec<IndexImages<'a>> {
    let mut found: Vec<IndexImages<'a>> = Vec::new();
    let outcome = |name: &NodeName| executed.outcomes.get(name).map(|(outcome, _)| outcome);
    for step in &plan.steps {
        let group = hierarchy.group(&step.node);
        let image = step.node.image();
        let Some(first) = group.first() else { continue };
        let is_kept = |name: &NodeName| {
            matches!(outcome(name), None | Some(Outcome::Kept { .. } | Outcome::Held { .. }))
        };
        if found.iter().any(|one| one.image == image)
            || group.iter().all(|node| is_kept(&node.name))
            || withheld(hierarchy, &step.node, held)
        {
            continue;
        }
        let published = |name: &NodeName| match plan.step(name) {
            Some(step) => step.published.as_ref(),
            None => plan.given.get(name),
        };
        let images = group.iter().filter_map(|node| {
            let made = outcome(&node.name).and_then(Outcome::digest);
            let made = made.filter(|_| !held.contains_key(&node.name));
            let digest = made.or_else(|| published(&node.name))?;
            Some((hierarchy.platform_of(node).clone(), digest.clone()))
        });
        let images: BTreeMap<Platform, Digest> = images.collect();
        let present = first.stable_tags().find_map(|template| {
            let tag = template.as_str().replace("{name}", image).parse().ok()?;
            step.moving.get(&tag).cloned().flatten()
        });
        found.push(IndexImages { image, repository: &first.repository, images, present });
    }
    found
}

/// Stores the indexes. The published index is used again if it has exactly these images.
///
/// # Errors
/// A sentence with the image.
pub async fn stored<S: Tags>(store: &S, indexes: Vec<IndexImages<'_>>) -> Result<Indexes, String> {
    stream::iter(indexes)
        .map(async |IndexImages { image, repository, images, present }| {
            let made = async {
                if let Some(present) = present
                    && let Some(found) = store.platform_images(repository, &present).await?
                    && found.is_index
                    && found.images == images
                {
                    return Ok(present);
                }
                store.store_index(repository, &images).await
            };
            match made.await {
                Ok(digest) => Ok((image.to_owned(), digest)),
                Err(error) => {
                    let hint = error.hint().map(|hint| format!("; {hint}")).unwrap_or_default();
                    Err(format!("the index of `{image}`: {error}{hint}"))
                }
            }
        })
        .buffer_unordered(MADE_AT_ONCE)
        .try_collect()
        .await
}
