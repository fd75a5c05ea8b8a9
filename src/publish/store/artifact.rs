//! A text in a registry, under a tag or attached to an image: an OCI artifact with one layer.

use serde::Deserialize;
use serde_json::{Value, json};

use crate::{
    image::{Digest, Repository, Tagged},
    registry::{Client, Manifest, RegistryError},
};

/// <https://github.com/opencontainers/image-spec/blob/v1.1.0/manifest.md#guidance-for-an-empty-descriptor>
const EMPTY: (&str, &[u8]) = ("application/vnd.oci.empty.v1+json", b"{}");
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

/// The media types of an artifact.
#[derive(Clone, Copy)]
pub(in crate::publish) struct ArtifactKind {
    pub(in crate::publish) artifact: &'static str,
    pub(in crate::publish) layer: &'static str,
}

pub(super) async fn push(
    client: &Client,
    tag: &Tagged,
    (kind, text): (ArtifactKind, &[u8]),
) -> Result<(), RegistryError> {
    let document = document(client, &tag.repository, (kind, text)).await?;
    client.put_manifest(&tag.repository, &tag.tag, &Manifest::new(MANIFEST, &document)).await
}

/// Stores an artifact that refers to an image of the repository, with annotations.
pub(in crate::publish) async fn attach(
    client: &Client,
    (repository, image): (&Repository, &Manifest),
    (kind, text): (ArtifactKind, &[u8]),
    annotations: Value,
) -> Result<(), RegistryError> {
    let mut document = document(client, repository, (kind, text)).await?;
    let Manifest { media_type, bytes, digest } = image;
    document["subject"] = json!({"mediaType": media_type, "digest": digest, "size": bytes.len()});
    document["annotations"] = annotations;
    client.put_referrer(repository, (digest, &Manifest::new(MANIFEST, &document))).await
}

/// Stores the blobs of an artifact. Returns its manifest, which is not stored.
async fn document(
    client: &Client,
    repository: &Repository,
    (kind, text): (ArtifactKind, &[u8]),
) -> Result<Value, RegistryError> {
    let config = client.put_blob(repository, EMPTY.1).await?;
    let layer = client.put_blob(repository, text).await?;
    Ok(json!({
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "artifactType": kind.artifact,
        "config": {"mediaType": EMPTY.0, "digest": config, "size": EMPTY.1.len()},
        "layers": [{"mediaType": kind.layer, "digest": layer, "size": text.len()}],
    }))
}

/// `None` if the tag does not exist, or is another kind of artifact.
pub(super) async fn read(
    client: &Client,
    tag: &Tagged,
    kind: ArtifactKind,
) -> Result<Option<Vec<u8>>, RegistryError> {
    let Tagged { repository, tag } = tag;
    let Some(manifest) = client.manifest(repository, tag.as_str()).await? else { return Ok(None) };
    let Ok(artifact) = serde_json::from_slice::<Artifact>(&manifest.bytes) else { return Ok(None) };
    let layer = artifact.layers.into_iter().find(|layer| layer.media_type == kind.layer);
    let Some(layer) = layer else { return Ok(None) };
    client.blob(repository, &layer.digest).await
}

#[derive(Deserialize)]
struct Artifact {
    layers: Vec<ArtifactLayer>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ArtifactLayer {
    media_type: String,
    digest: Digest,
}
