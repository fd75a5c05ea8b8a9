//! The calls a run makes of a registry: HEAD, GET and PUT of manifests, GET of small blobs.

use super::{Credentials, Login, RegistryError};
use crate::image::{Digest, Repository, Tag};

/// Talks to any number of registries. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Client {}

/// A manifest as the registry stores it, byte for byte.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Manifest {
    pub media_type: String,
    pub bytes: Vec<u8>,
    pub digest: Digest,
}

impl Client {
    pub fn new(_credentials: Credentials) -> Result<Self, RegistryError> {
        todo!()
    }

    /// The digest that a tag or digest stands for; `None` if the registry does not have it.
    pub async fn head(
        &self,
        _repository: &Repository,
        _reference: &str,
    ) -> Result<Option<Digest>, RegistryError> {
        todo!()
    }

    pub async fn manifest(
        &self,
        _repository: &Repository,
        _reference: &str,
    ) -> Result<Option<Manifest>, RegistryError> {
        todo!()
    }

    /// Points a tag at a manifest whose blobs the repository already has.
    pub async fn put_manifest(
        &self,
        _repository: &Repository,
        _tag: &Tag,
        _manifest: &Manifest,
    ) -> Result<(), RegistryError> {
        todo!()
    }

    /// A blob of at most 4 MiB, checked against its digest: an image's configuration.
    pub async fn blob(
        &self,
        _repository: &Repository,
        _digest: &Digest,
    ) -> Result<Option<Vec<u8>>, RegistryError> {
        todo!()
    }

    /// Asks whether a push to this repository would be allowed, by opening an upload and cancelling it.
    pub async fn may_push(&self, _repository: &Repository) -> Result<(), RegistryError> {
        todo!()
    }

    /// What docker would log in with, for calls that the engine makes on our behalf.
    pub async fn login(&self, _host: &str) -> Result<Option<Login>, RegistryError> {
        todo!()
    }
}
