//! A text under a tag of a registry: an OCI artifact with one layer.

use serde::Deserialize;
use serde_json::json;

use crate::{
    image::{Digest, Tagged},
    registry::{Client, Manifest, RegistryError},
};

/// <https://github.com/opencontainers/image-spec/blob/v1.1.0/manifest.md#guidance-for-an-empty-descriptor>
const EMPTY: (&str, &[u8]) = ("application/vnd.oci.empty.v1+json", b"{}");
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

/// The media types of an artifact.
#[derive(Clone, Copy)]
pub(super) struct ArtifactKind {
    pub(super) artifact: &'static str,
    pub(super) layer: &'static str,
}

pub(super) async fn push(
    client: &Client,
    tag: &Tagged,
    (kind, text): (ArtifactKind, &[u8]),
) -> Result<(), RegistryError> {
    let config = client.put_blob(&tag.repository, EMPTY.1).await?;
    let layer = client.put_blob(&tag.repository, text).await?;
    let bytes = json!({
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "artifactType": kind.artifact,
        "config": {"mediaType": EMPTY.0, "digest": config, "size": EMPTY.1.len()},
        "layers": [{"mediaType": kind.layer, "digest": layer, "size": text.len()}],
    });
    let bytes = bytes.to_string().into_bytes();
    let digest = Digest::of(&bytes);
    let manifest = Manifest { media_type: MANIFEST.to_owned(), bytes, digest };
    client.put_manifest(&tag.repository, &tag.tag, &manifest).await
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
