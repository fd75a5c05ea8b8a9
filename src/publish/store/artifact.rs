//! A text in a registry, under a tag or attached to an image: an OCI artifact with one layer, or several for a long
//! text.

use serde::Deserialize;
use serde_json::{Value, json};

use crate::{
    image::{Digest, Repository, Tagged},
    registry::{Client, Manifest, RegistryError},
};

/// <https://github.com/opencontainers/image-spec/blob/v1.1.0/manifest.md#guidance-for-an-empty-descriptor>
const EMPTY: (&str, &[u8]) = ("application/vnd.oci.empty.v1+json", b"{}");
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

/// In bytes. Registry answers are read up to 4 MiB.
const LONGEST_LAYER: usize = 3 << 20;

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
    let mut layers = Vec::new();
    for piece in text.chunks(LONGEST_LAYER) {
        let digest = client.put_blob(repository, piece).await?;
        layers.push(json!({"mediaType": kind.layer, "digest": digest, "size": piece.len()}));
    }
    Ok(json!({
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "artifactType": kind.artifact,
        "config": {"mediaType": EMPTY.0, "digest": config, "size": EMPTY.1.len()},
        "layers": layers,
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
    let mut text = None;
    for layer in artifact.layers.iter().filter(|layer| layer.media_type == kind.layer) {
        let Some(piece) = client.blob(repository, &layer.digest).await? else { return Ok(None) };
        text.get_or_insert_with(Vec::new).extend(piece);
    }
    Ok(text)
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
