//! Deletes images.

use std::collections::BTreeSet;

use super::Going;
use crate::{
    image::{Digest, Tag},
    publish::store::{Inventory, StoreError},
};

/// The result for one image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Removed {
    Gone,
    /// Another user has meanwhile tagged or deleted it.
    Changed,
}

/// Reads all tags of the repository again, and deletes the image if its tags have not changed since the
/// decision: a registry deletes by digest, with every tag.
pub async fn remove<S: Inventory>(store: &S, going: &Going) -> Result<Removed, StoreError> {
    let now = store.tags(&going.repository).await?;
    let pointing = |digest: &Digest| -> BTreeSet<Tag> {
        let here = now.iter().filter(|(_, at)| *at == digest);
        here.map(|(tagged, _)| tagged.tag.clone()).collect()
    };
    if pointing(&going.digest) != going.tags {
        return Ok(Removed::Changed);
    }
    store.forget(&going.repository, &going.digest, &going.tags).await?;
    Ok(Removed::Gone)
}
