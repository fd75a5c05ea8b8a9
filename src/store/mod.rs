//! Where images are published: the only database there is.
//!
//! With a `registry:` it is that registry; without one the engine's own tags play the same part,
//! with image IDs as digests.

mod local;
mod remote;

use std::{collections::BTreeMap, future::Future};

use jiff::Timestamp;

pub use self::{local::Local, remote::Remote};
use crate::{
    engine::EngineError,
    image::{Digest, Platform, Repository, Tagged},
    registry::RegistryError,
};

/// Tags and the tested images they point at.
pub trait Store: Send + Sync + 'static {
    /// Asks for many tags at once; a tag that does not exist is not in the answer.
    fn heads(
        &self,
        tags: Vec<Tagged>,
    ) -> impl Future<Output = Result<BTreeMap<Tagged, Digest>, StoreError>> + Send;

    /// What a tag points at right now.
    fn head(&self, tag: &Tagged)
    -> impl Future<Output = Result<Option<Digest>, StoreError>> + Send;

    /// Takes in an image of the engine under a tag, and reads it back.
    fn upload(
        &self,
        image: &Digest,
        tag: &Tagged,
    ) -> impl Future<Output = Result<Digest, StoreError>> + Send;

    /// Points a tag at an image that its repository already has, and reads it back.
    fn point(
        &self,
        tag: &Tagged,
        digest: &Digest,
    ) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// Takes a moving tag away; `false` if the store cannot do that.
    fn remove(&self, tag: &Tagged) -> impl Future<Output = Result<bool, StoreError>> + Send;

    /// Brings an image into the engine, and says its ID there.
    fn fetch(
        &self,
        repository: &Repository,
        digest: &Digest,
        platform: Option<&Platform>,
    ) -> impl Future<Output = Result<Digest, StoreError>> + Send;

    /// Labels, layers and configuration of a stored image, without fetching it.
    fn describe(
        &self,
        repository: &Repository,
        digest: &Digest,
    ) -> impl Future<Output = Result<Option<Description>, StoreError>> + Send;
}

/// What an image is, wherever it lies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Description {
    pub labels: BTreeMap<String, String>,
    /// The uncompressed layers' digests (`diff_ids`), the base's first.
    pub layers: Vec<Digest>,
    /// As [`LocalImage::config`](crate::engine::LocalImage::config).
    pub config: String,
    /// When it was built, if it says.
    pub created: Option<Timestamp>,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    #[error(transparent)]
    Registry(#[from] RegistryError),
    #[error(transparent)]
    Engine(#[from] EngineError),
    #[error("`{tag}` was written, and read back it {found}")]
    Lost { tag: Tagged, found: String },
    #[error("`{repository}@{digest}` is not there any more")]
    Gone { repository: Repository, digest: Digest },
}

/// A tag that was written must now be read as what was written.
fn confirm(tag: &Tagged, wrote: &Digest, found: Option<Digest>) -> Result<(), StoreError> {
    match found {
        Some(found) if found == *wrote => Ok(()),
        Some(found) => Err(StoreError::Lost {
            tag: tag.clone(),
            found: format!("points at {} and not at {}", found.short(), wrote.short()),
        }),
        None => Err(StoreError::Lost { tag: tag.clone(), found: "does not exist".to_owned() }),
    }
}
