//! Attaches the provenance of images in a registry, where the engine's BuildKit cannot.
//!
//! The statement is the layer of an artifact that refers to the image. **Invariant:** all of it is in the registry
//! before a tag moves to the image.

mod statement;

use std::collections::BTreeMap;

use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use serde_json::json;

use self::statement::{PREDICATE, Statement};
use super::{
    journal::Move,
    store::{
        BUILT_BY, StoreError, Tags,
        artifact::{self, ArtifactKind},
    },
};
use crate::{
    fingerprint::BuiltFrom,
    hierarchy::{Hierarchy, Node},
    image::{Digest, Repository},
    plan::Plan,
    registry::{Client, only_image},
};

/// <https://github.com/in-toto/attestation/blob/v1.1.0/spec/v1/bundle.md>, of one statement without a signature.
const IN_TOTO: &str = "application/vnd.in-toto+json";
const KIND: ArtifactKind = ArtifactKind { artifact: IN_TOTO, layer: IN_TOTO };
/// The annotation that BuildKit has, too.
const PREDICATE_TYPE: &str = "in-toto.io/predicate-type";
/// The annotation with `min` or `max`, by which a later run knows its own artifact.
const MODE: &str = "rebuild.provenance";
const ATTACHED_AT_ONCE: usize = 4;

/// Whether the image of any of these moves has a provenance.
pub fn has_any(hierarchy: &Hierarchy, moves: &[Move]) -> bool {
    !images(hierarchy, moves).is_empty()
}

/// Each image with a provenance and a tag that moves, in each repository.
fn images<'a>(
    hierarchy: &'a Hierarchy,
    moves: &'a [Move],
) -> BTreeMap<(&'a Repository, &'a Digest), (&'a Node, &'static str)> {
    let moving = moves.iter().filter(|one| !one.is_check());
    let with_node = moving.filter_map(|one| {
        let node = *hierarchy.nodes_of(one.node.as_str()).first()?;
        let mode = node.settings.attest.provenance.mode()?;
        Some(((&one.tag.repository, one.to.as_ref()?), (node, mode)))
    });
    with_node.collect()
}

/// The images themselves: of an index, that of each platform.
async fn of_platforms<'a, S: Tags>(
    store: &S,
    hierarchy: &'a Hierarchy,
    images: BTreeMap<(&'a Repository, &'a Digest), (&'a Node, &'static str)>,
) -> Result<Vec<(&'a Repository, Digest, &'a Node, &'static str)>, StoreError> {
    let mut all = Vec::new();
    for ((repository, digest), (node, mode)) in images {
        let group = hierarchy.group(&node.name);
        if group.is_empty() {
            all.push((repository, digest.clone(), node, mode));
            continue;
        }
        let mut found = store.platform_images(repository, digest).await?.unwrap_or_default();
        all.extend(group.into_iter().filter_map(|node| {
            let image = found.images.remove(hierarchy.platform_of(node))?;
            Some((repository, image, node, mode))
        }));
    }
    Ok(all)
}

/// Attaches the provenance to each image that has none.
///
/// # Errors
/// A sentence with the image.
pub async fn attach<S: Tags>(
    (store, client): (&S, &Client),
    (hierarchy, plan): (&Hierarchy, &Plan),
    moves: &[Move],
) -> Result<(), String> {
    let images = of_platforms(store, hierarchy, images(hierarchy, moves)).await;
    stream::iter(images.map_err(|error| error.to_string())?)
        .map(async |(repository, digest, node, mode)| {
            let digest = &digest;
            let failed = |error: StoreError| {
                let hint = error.hint().map(|hint| format!("; {hint}")).unwrap_or_default();
                format!("`{}` has no provenance: {error}{hint}", node.name)
            };
            let referrers = client.referrers(repository, digest).await;
            let referrers = referrers.map_err(|error| failed(error.into()))?;
            if referrers.iter().any(|one| one["annotations"][MODE] == mode) {
                return Ok(());
            }
            let image = client.manifest(repository, digest.as_str()).await;
            let image = image.map_err(|error| failed(error.into()))?.ok_or_else(|| {
                failed(StoreError::Gone { repository: repository.clone(), digest: digest.clone() })
            })?;
            if only_image(&image.bytes).is_some() {
                // Another engine has built it: BuildKit's own attestation is in the index.
                return Ok(());
            }
            let described = store.describe(&node.repository, digest).await.map_err(failed)?;
            let labels = described.map(|found| found.labels).unwrap_or_default();
            let Some(built) = BuiltFrom::from_labels(&labels) else {
                let why = "its labels do not say what it was built from";
                return Err(format!("`{}` has no provenance: {why}", node.name));
            };
            let run = labels.get(BUILT_BY).map(String::as_str);
            let inputs = plan.step(&node.name).map(|step| &step.inputs);
            let statement =
                Statement { hierarchy, node, built: &built, inputs, run, repository, digest };
            let text = statement.json().to_string();
            let annotations = json!({ PREDICATE_TYPE: PREDICATE, MODE: mode });
            let artifact = (KIND, text.as_bytes());
            let attached = artifact::attach(client, (repository, &image), artifact, annotations);
            attached.await.map_err(|error| failed(error.into()))
        })
        .buffer_unordered(ATTACHED_AT_ONCE)
        .try_collect()
        .await
}
