//! Notes about the images of a node in a registry, one for each node, under a tag that moves.

use super::{
    StoreError,
    artifact::{self, ArtifactKind},
};
use crate::{
    image::{Digest, Repository, Tagged},
    registry::Client,
};

const PREFIX: &str = "rb-note-";
const KIND: ArtifactKind = ArtifactKind {
    artifact: "application/vnd.rebuild.note.v1",
    layer: "application/vnd.rebuild.note.v1+json",
};

pub(super) async fn push(
    client: &Client,
    runs: &Repository,
    (node, text): (&str, &[u8]),
) -> Result<(), StoreError> {
    Ok(artifact::push(client, &tag(runs, node), (KIND, text)).await?)
}

/// `None` also if the registry denies access to anything but images.
pub(super) async fn read(
    client: &Client,
    runs: &Repository,
    node: &str,
) -> Result<Option<Vec<u8>>, StoreError> {
    match artifact::read(client, &tag(runs, node), KIND).await.map_err(StoreError::from) {
        Err(error) if error.is_for_good() => Ok(None),
        read => read,
    }
}

/// The name of a node may contain a slash.
fn tag(runs: &Repository, node: &str) -> Tagged {
    let name = Digest::of(node.as_bytes());
    runs.tagged(format!("{PREFIX}{}", name.short()).parse().expect("digits make a tag"))
}
