//! The engine's own tags on top of a registry's: for local builds on published parents.
//!
//! **Invariant:** it writes nothing to the registry.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use super::{Description, Local, RecordStage, Remote, Store, StoreError, Tags};
use crate::{
    engine::Engine,
    image::{Digest, Platform, Repository, Tagged},
};

/// An image that was pulled from the registry keeps the registry's digest. So fingerprints equal those of
/// other machines, and a pulled parent counts as the published one.
#[derive(Debug)]
pub struct Layered<E> {
    engine: Arc<E>,
    local: Local<E>,
    published: Remote<E>,
    /// Repositories whose moving tags are read from the engine only.
    wanted: BTreeSet<Repository>,
    /// The registry's digest of an image in the engine, by repository and ID.
    digests: Mutex<HashMap<(Repository, Digest), Digest>>,
}

impl<E: Engine> Layered<E> {
    /// `wanted`: repositories whose images are pulled into the engine under their tags.
    pub fn new(
        engine: Arc<E>,
        (local, published): (Local<E>, Remote<E>),
        wanted: BTreeSet<Repository>,
    ) -> Self {
        Self { engine, local, published, wanted, digests: Mutex::default() }
    }

    async fn digest_of(&self, repository: &Repository, id: Digest) -> Result<Digest, StoreError> {
        let key = (repository.clone(), id);
        let lock = || self.digests.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = lock().get(&key) {
            return Ok(known.clone());
        }
        let image = self.engine.inspect(key.1.as_str()).await?;
        let names = image.map(|image| image.repo_digests).unwrap_or_default();
        let of_repository = names.into_iter().find(|name| name.repository.is_same(repository));
        let digest = of_repository.and_then(|name| name.digest).unwrap_or_else(|| key.1.clone());
        lock().insert(key, digest.clone());
        Ok(digest)
    }

    /// The ID of an image in the engine, by either digest.
    async fn here(
        &self,
        repository: &Repository,
        digest: &Digest,
    ) -> Result<Option<Digest>, StoreError> {
        for name in [format!("{repository}@{digest}"), digest.to_string()] {
            if let Some(image) = self.engine.inspect(&name).await? {
                return Ok(Some(image.id));
            }
        }
        Ok(None)
    }

    fn is_wanted(&self, tag: &Tagged) -> bool {
        !tag.tag.as_str().starts_with("rb-") && self.wanted.contains(&tag.repository)
    }
}

impl<E: Engine> Tags for Layered<E> {
    async fn heads(&self, tags: Vec<Tagged>) -> Result<BTreeMap<Tagged, Digest>, StoreError> {
        let mut heads = BTreeMap::new();
        for (tag, id) in self.local.heads(tags.clone()).await? {
            let digest = self.digest_of(&tag.repository, id).await?;
            heads.insert(tag, digest);
        }
        let open = tags.into_iter().filter(|tag| !heads.contains_key(tag) && !self.is_wanted(tag));
        let published = self.published.heads(open.collect()).await?;
        heads.extend(published);
        Ok(heads)
    }

    async fn head(&self, tag: &Tagged) -> Result<Option<Digest>, StoreError> {
        Ok(self.heads(vec![tag.clone()]).await?.remove(tag))
    }

    async fn has(&self, repository: &Repository, digest: &Digest) -> Result<bool, StoreError> {
        Ok(self.here(repository, digest).await?.is_some()
            || self.published.has(repository, digest).await?)
    }

    async fn describe(
        &self,
        repository: &Repository,
        digest: &Digest,
    ) -> Result<Option<Description>, StoreError> {
        match self.here(repository, digest).await? {
            Some(id) => self.local.describe(repository, &id).await,
            None => self.published.describe(repository, digest).await,
        }
    }

    async fn put(&self, tag: &Tagged, digest: &Digest) -> Result<(), StoreError> {
        let id = self.fetch(&tag.repository, digest, None).await?;
        self.local.put(tag, &id).await
    }

    fn pauses(&self) -> &'static [Duration] {
        self.local.pauses()
    }

    fn can_remove(&self) -> bool {
        self.local.can_remove()
    }

    async fn remove(&self, tag: &Tagged) -> Result<bool, StoreError> {
        self.local.remove(tag).await
    }

    async fn record(&self, run: &str, stage: RecordStage, text: &[u8]) -> Result<(), StoreError> {
        self.local.record(run, stage, text).await
    }

    async fn ended(&self) -> Result<BTreeSet<String>, StoreError> {
        self.local.ended().await
    }

    async fn records(&self, newest: usize) -> Result<Vec<Vec<u8>>, StoreError> {
        self.local.records(newest).await
    }

    async fn keep_note(&self, name: &str, text: &[u8]) -> Result<(), StoreError> {
        self.local.keep_note(name, text).await
    }

    async fn note(&self, name: &str) -> Result<Option<Vec<u8>>, StoreError> {
        self.local.note(name).await
    }
}

impl<E: Engine> Store for Layered<E> {
    async fn upload(&self, image: &Digest, tag: &Tagged) -> Result<Digest, StoreError> {
        self.local.upload(image, tag).await?;
        self.digest_of(&tag.repository, image.clone()).await
    }

    async fn fetch(
        &self,
        repository: &Repository,
        digest: &Digest,
        platform: Option<&Platform>,
    ) -> Result<Digest, StoreError> {
        match self.here(repository, digest).await? {
            Some(id) => Ok(id),
            None => self.published.fetch(repository, digest, platform).await,
        }
    }

    async fn tags(&self, repository: &Repository) -> Result<BTreeMap<Tagged, Digest>, StoreError> {
        let mut tags = self.published.tags(repository).await?;
        for (tag, id) in self.local.tags(repository).await? {
            let digest = self.digest_of(repository, id).await?;
            tags.insert(tag, digest);
        }
        Ok(tags)
    }
}
