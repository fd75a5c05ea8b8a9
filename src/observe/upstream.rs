//! Resolves every upstream to a digest, once, at the start.

use std::collections::{BTreeMap, BTreeSet};

use futures_util::{StreamExt as _, TryStreamExt as _, stream};

use crate::{
    engine::{Engine, EngineError, LocalImage},
    hierarchy::{Base, Node},
    image::Reference,
    plan::{Place, Upstream},
    registry::{Client, RegistryError},
};

/// Few enough for Docker Hub's limits, which count manifest requests.
const ASKED_AT_ONCE: usize = 8;

#[derive(Debug, thiserror::Error)]
pub enum UpstreamError {
    #[error("cannot resolve `{reference}`: {source}")]
    Registry { reference: Reference, source: RegistryError },
    #[error("`{reference}` does not exist: neither the engine nor its registry has it")]
    NotFound { reference: Reference },
    #[error(transparent)]
    Engine(#[from] EngineError),
}

pub(super) async fn resolve<E: Engine>(
    nodes: &[&Node],
    engine: &E,
    registries: &Client,
) -> Result<(BTreeMap<String, Upstream>, Vec<String>), UpstreamError> {
    let references: BTreeSet<&Reference> = nodes
        .iter()
        .flat_map(|node| &node.dockerfile.uses)
        .filter_map(|used| match &used.base {
            Base::Upstream(reference) => Some(reference),
            Base::Node(_) => None,
        })
        .collect();
    let resolved: Vec<(Upstream, Option<String>)> = stream::iter(references)
        .map(|reference| resolve_one(reference, engine, registries))
        .buffer_unordered(ASKED_AT_ONCE)
        .try_collect()
        .await?;
    let warnings = resolved.iter().filter_map(|(_, warning)| warning.clone()).collect();
    let upstreams = resolved
        .into_iter()
        .map(|(upstream, _)| (upstream.reference.to_string(), upstream))
        .collect();
    Ok((upstreams, warnings))
}

/// An image that only this engine has is taken as it is; everything else is looked up in its
/// registry, and taken from the engine, with a warning, when the registry does not answer.
async fn resolve_one<E: Engine>(
    reference: &Reference,
    engine: &E,
    registries: &Client,
) -> Result<(Upstream, Option<String>), UpstreamError> {
    let found = |digest, place| Upstream { reference: reference.clone(), digest, place };
    let Some(tag) = reference.tag_or_latest().filter(|_| reference.digest.is_none()) else {
        let digest = reference.digest.clone().expect("no tag means a digest");
        return Ok((found(digest, Place::Registry), None));
    };
    let local = engine.inspect(&reference.to_string()).await?;
    if let Some(image) = &local
        && image.repo_digests.is_empty()
    {
        return Ok((found(image.id.clone(), Place::Engine), None));
    }
    let asked = registries.head(&reference.repository, tag.as_str()).await;
    match (asked, local) {
        (Ok(Some(digest)), _) => Ok((found(digest, Place::Registry), None)),
        (Ok(None), Some(image)) => {
            let warning = format!(
                "`{reference}` is not in its registry any more: using the image that the engine has"
            );
            Ok((from_engine(reference, &image), Some(warning)))
        }
        (Err(error), Some(image)) => {
            let warning = format!(
                "cannot ask whether `{reference}` moved: {error}: using the image that the engine \
                 has"
            );
            Ok((from_engine(reference, &image), Some(warning)))
        }
        (Ok(None), None) => Err(UpstreamError::NotFound { reference: reference.clone() }),
        (Err(source), None) => {
            Err(UpstreamError::Registry { reference: reference.clone(), source })
        }
    }
}

/// By the digest under which it was pulled, so that the fingerprint is that of other machines.
fn from_engine(reference: &Reference, image: &LocalImage) -> Upstream {
    let pulled = image
        .repo_digests
        .iter()
        .find(|pulled| pulled.repository.is_same(&reference.repository))
        .and_then(|pulled| pulled.digest.clone());
    let reference = reference.clone();
    match pulled {
        Some(digest) => Upstream { reference, digest, place: Place::Registry },
        None => Upstream { reference, digest: image.id.clone(), place: Place::Engine },
    }
}
