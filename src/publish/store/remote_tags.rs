//! The tags of a registry, moved by manifest PUT, without an engine.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use tokio::sync::OnceCell;

use super::{
    BuildTags, Description, RecordStage, Recorded, StoreError, Tags, manifest, note, read::PAUSES,
    run_record,
};
use crate::{
    image::{Digest, Platform, Repository, Tagged},
    registry::{Client, Manifest, PlatformImages},
};

/// How many tags are read at once.
pub(super) const HEADS_AT_ONCE: usize = 16;

#[derive(Debug)]
pub struct RemoteTags {
    client: Client,
    /// The repository of run records.
    runs: Option<Repository>,
    /// The manifests to write, read once for all tags of an image.
    manifests: Mutex<HashMap<Stored, Arc<OnceCell<Manifest>>>>,
    /// The images that were described.
    described: Mutex<HashMap<Stored, Description>>,
    pub(super) known: Arc<BuildTags>,
}

/// An image of a repository. Its bytes never change.
type Stored = (Repository, Digest);

impl RemoteTags {
    /// `prefix` is the prefix of the hierarchy's repositories.
    pub fn new(client: Client, prefix: &Repository) -> Self {
        let runs = run_record::repository(prefix);
        let (manifests, described, known) = Default::default();
        Self { client, runs, manifests, described, known }
    }

    /// Reads each of these tags.
    pub(super) async fn read(
        &self,
        tags: Vec<Tagged>,
    ) -> Result<BTreeMap<Tagged, Digest>, StoreError> {
        let heads: Vec<(Tagged, Option<Digest>)> = stream::iter(tags)
            .map(async |tag| {
                let digest = self.head(&tag).await?;
                Ok::<_, StoreError>((tag, digest))
            })
            .buffer_unordered(HEADS_AT_ONCE)
            .try_collect()
            .await?;
        Ok(heads.into_iter().filter_map(|(tag, digest)| Some((tag, digest?))).collect())
    }

    pub(super) async fn recorded(&self) -> Result<Vec<Recorded>, StoreError> {
        let Some(runs) = &self.runs else { return Ok(Vec::new()) };
        Ok(run_record::all(&self.client, runs).await?)
    }

    fn known(&self, repository: &Repository, digest: &Digest) -> Arc<OnceCell<Manifest>> {
        let mut manifests = self.manifests.lock().unwrap_or_else(PoisonError::into_inner);
        manifests.entry((repository.clone(), digest.clone())).or_default().clone()
    }

    async fn manifest(
        &self,
        repository: &Repository,
        digest: &Digest,
    ) -> Result<Manifest, StoreError> {
        let cell = self.known(repository, digest);
        let manifest = cell.get_or_try_init(async || {
            self.client.manifest(repository, digest.as_str()).await?.ok_or_else(|| {
                StoreError::Gone { repository: repository.clone(), digest: digest.clone() }
            })
        });
        manifest.await.cloned()
    }
}

impl Tags for RemoteTags {
    async fn heads(&self, tags: Vec<Tagged>) -> Result<BTreeMap<Tagged, Digest>, StoreError> {
        let (mut known, mut open) = (BTreeMap::new(), Vec::new());
        for tag in tags {
            match self.known.digest(&tag) {
                Some(digest) => _ = known.insert(tag, digest),
                None => open.push(tag),
            }
        }
        known.extend(self.read(open).await?);
        Ok(known)
    }

    async fn head(&self, tag: &Tagged) -> Result<Option<Digest>, StoreError> {
        let digest = self.client.head(&tag.repository, tag.tag.as_str()).await?;
        self.known.learn(tag, digest.as_ref());
        Ok(digest)
    }

    async fn has(&self, repository: &Repository, digest: &Digest) -> Result<bool, StoreError> {
        Ok(self.client.head(repository, digest.as_str()).await?.is_some())
    }

    async fn describe(
        &self,
        repository: &Repository,
        digest: &Digest,
    ) -> Result<Option<Description>, StoreError> {
        let lock = || self.described.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (repository.clone(), digest.clone());
        if let Some(known) = lock().get(&key) {
            return Ok(Some(known.clone()));
        }
        let manifest = match self.manifest(repository, digest).await {
            Ok(manifest) => manifest,
            Err(StoreError::Gone { .. }) => return Ok(None),
            Err(error) => return Err(error),
        };
        let found = manifest::describe(&self.client, repository, manifest).await?;
        if let Some(found) = &found {
            lock().insert(key, found.clone());
        }
        Ok(found)
    }

    async fn platform_images(
        &self,
        repository: &Repository,
        digest: &Digest,
    ) -> Result<Option<PlatformImages>, StoreError> {
        Ok(self.client.platform_images(repository, digest).await?)
    }

    async fn store_index(
        &self,
        repository: &Repository,
        images: &BTreeMap<Platform, Digest>,
    ) -> Result<Digest, StoreError> {
        let index = self.client.index_of(repository, images).await?;
        let index =
            index.map_err(|digest| StoreError::Gone { repository: repository.clone(), digest })?;
        let digest = index.digest.clone();
        // The tag keeps it for a rollback.
        let tag = format!("rb-{}", &digest.hex()[..32]);
        let tag = repository.tagged(tag.parse().expect("hexadecimal digits make a tag"));
        if self.head(&tag).await?.as_ref() != Some(&digest) {
            self.known(repository, &digest).set(index).ok();
            self.point(&tag, &digest).await?;
        }
        Ok(digest)
    }

    async fn put(&self, tag: &Tagged, digest: &Digest) -> Result<(), StoreError> {
        let repository = &tag.repository;
        let manifest = self.manifest(repository, digest).await?;
        Ok(self.client.put_manifest(repository, &tag.tag, &manifest).await?)
    }

    fn pauses(&self) -> &'static [Duration] {
        &PAUSES
    }

    /// DELETE by tag is optional in the specification, and DELETE by digest deletes every tag of that digest.
    /// Neither is safe here.
    fn can_remove(&self) -> bool {
        false
    }

    async fn remove(&self, _tag: &Tagged) -> Result<bool, StoreError> {
        Ok(false)
    }

    async fn record(&self, run: &str, stage: RecordStage, text: &[u8]) -> Result<(), StoreError> {
        let tag = self.runs.as_ref().and_then(|runs| stage.tag(runs, run));
        let Some(tag) = tag else { return Ok(()) };
        Ok(run_record::push(&self.client, &tag, text).await?)
    }

    async fn ended(&self) -> Result<BTreeSet<String>, StoreError> {
        let runs = self.recorded().await?.into_iter();
        Ok(runs.filter(Recorded::has_ended).map(|run| run.run).collect())
    }

    async fn records(&self, newest: usize) -> Result<Vec<Vec<u8>>, StoreError> {
        let Some(runs) = &self.runs else { return Ok(Vec::new()) };
        Ok(run_record::newest(&self.client, runs, newest).await?)
    }

    async fn keep_note(&self, name: &str, text: &[u8]) -> Result<(), StoreError> {
        let Some(runs) = &self.runs else { return Ok(()) };
        note::push(&self.client, runs, (name, text)).await
    }

    async fn note(&self, name: &str) -> Result<Option<Vec<u8>>, StoreError> {
        let Some(runs) = &self.runs else { return Ok(None) };
        note::read(&self.client, runs, name).await
    }
}
