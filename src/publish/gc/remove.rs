//! Takes away what was decided to go.

use std::collections::BTreeSet;

use super::Going;
use crate::{
    image::{Digest, Tag},
    publish::store::{Store, StoreError},
};

/// What became of one image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Removed {
    Gone,
    /// Somebody has given it another tag meanwhile, or taken it away.
    Changed,
}

/// Looks once more at where every tag of the repository points, and takes the image away if that
/// is as it was when it was decided: by digest, a registry takes every tag of it along.
pub async fn remove<S: Store>(store: &S, going: &Going) -> Result<Removed, StoreError> {
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
