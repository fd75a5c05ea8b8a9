//! Where images are published: the only database there is.
//!
//! With a `registry:` it is that registry; without one the engine's own tags play the same part,
//! with image IDs as digests.

mod local;
mod remote;

use std::{collections::BTreeMap, future::Future};

use crate::{
    engine::{EngineError, LocalImage},
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

    /// Points a tag at an image that its repository already has.
    fn point(
        &self,
        tag: &Tagged,
        digest: &Digest,
    ) -> impl Future<Output = Result<(), StoreError>> + Send;

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
    ) -> impl Future<Output = Result<Option<LocalImage>, StoreError>> + Send;
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    #[error(transparent)]
    Registry(#[from] RegistryError),
    #[error(transparent)]
    Engine(#[from] EngineError),
    #[error("`{tag}` was pushed, and the registry then {found}")]
    Lost { tag: Tagged, found: String },
}
