//! A registry as the store: the engine pushes images in, tags are moved by manifest PUT.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use futures_util::{StreamExt as _, TryStreamExt as _, stream};

use super::{
    BuildTags, Description, Holding, Inventory, RecordStage, Recorded, RemoteTags, Sight, Store,
    StoreError, Tags, built_at, manifest::Contents, read, remote_tags::HEADS_AT_ONCE, run_record,
};
use crate::{
    engine::Engine,
    image::{Digest, Platform, Repository, Tag, Tagged},
    registry::{Client, PlatformImages, images_of_index},
};

/// [`RemoteTags`] does everything that needs no engine.
#[derive(Debug)]
pub struct Remote<E> {
    client: Client,
    tags: RemoteTags,
    engine: Arc<E>,
}

impl<E: Engine> Remote<E> {
    pub fn new(client: Client, prefix: &Repository, engine: Arc<E>) -> Self {
        Self { tags: RemoteTags::new(client.clone(), prefix), client, engine }
    }

    /// Reads build tags that earlier commands read only if no moving tag shows their image.
    pub fn with_build_tags(mut self, known: Arc<BuildTags>) -> Self {
        self.tags.known = known;
        self
    }
}

impl<E: Engine> Remote<E> {
    async fn holding(
        &self,
        repository: Repository,
        digest: Digest,
        tags: BTreeSet<Tag>,
    ) -> Result<Holding, StoreError> {
        let manifest = self.client.manifest(&repository, digest.as_str()).await?;
        let bytes = manifest.map(|manifest| manifest.bytes).unwrap_or_default();
        let contents: Contents = serde_json::from_slice(&bytes).unwrap_or_default();
        let images = images_of_index(&bytes).unwrap_or_default();
        let mut description = self.describe(&repository, &digest).await?;
        // An index of several platforms is of the node that its first image is of.
        if let (None, Some(first)) = (&description, images.values().next()) {
            description = self.describe(&repository, first).await?;
        }
        let images = images.into_values();
        let (labels, created) =
            description.map(|found| (found.labels, found.created)).unwrap_or_default();
        let created = built_at(&labels).or(created);
        let blobs = contents.config.into_iter().chain(contents.layers);
        Ok(Holding {
            repository,
            digest,
            tags,
            labels,
            created,
            pieces: blobs.map(|blob| (blob.digest, blob.size)).collect(),
            members: contents
                .manifests
                .into_iter()
                .map(|member| member.digest)
                .chain(images)
                .collect(),
        })
    }
}

impl<E: Engine> Tags for Remote<E> {
    async fn heads(&self, tags: Vec<Tagged>) -> Result<BTreeMap<Tagged, Digest>, StoreError> {
        self.tags.heads(tags).await
    }

    async fn head(&self, tag: &Tagged) -> Result<Option<Digest>, StoreError> {
        self.tags.head(tag).await
    }

    async fn has(&self, repository: &Repository, digest: &Digest) -> Result<bool, StoreError> {
        self.tags.has(repository, digest).await
    }

    async fn describe(
        &self,
        repository: &Repository,
        digest: &Digest,
    ) -> Result<Option<Description>, StoreError> {
        self.tags.describe(repository, digest).await
    }

    async fn platform_images(
        &self,
        repository: &Repository,
        digest: &Digest,
    ) -> Result<Option<PlatformImages>, StoreError> {
        self.tags.platform_images(repository, digest).await
    }

    async fn store_index(
        &self,
        repository: &Repository,
        images: &BTreeMap<Platform, Digest>,
    ) -> Result<Digest, StoreError> {
        self.tags.store_index(repository, images).await
    }

    async fn put(&self, tag: &Tagged, digest: &Digest) -> Result<(), StoreError> {
        self.tags.put(tag, digest).await
    }

    fn pauses(&self) -> &'static [Duration] {
        self.tags.pauses()
    }

    fn can_remove(&self) -> bool {
        self.tags.can_remove()
    }

    async fn remove(&self, tag: &Tagged) -> Result<bool, StoreError> {
        self.tags.remove(tag).await
    }

    async fn record(&self, run: &str, stage: RecordStage, text: &[u8]) -> Result<(), StoreError> {
        self.tags.record(run, stage, text).await
    }

    async fn ended(&self) -> Result<BTreeSet<String>, StoreError> {
        self.tags.ended().await
    }

    async fn records(&self, newest: usize) -> Result<Vec<Vec<u8>>, StoreError> {
        self.tags.records(newest).await
    }

    async fn keep_note(&self, name: &str, text: &[u8]) -> Result<(), StoreError> {
        self.tags.keep_note(name, text).await
    }

    async fn note(&self, name: &str) -> Result<Option<Vec<u8>>, StoreError> {
        self.tags.note(name).await
    }
}

impl<E: Engine> Store for Remote<E> {
    async fn upload(&self, image: &Digest, tag: &Tagged) -> Result<Digest, StoreError> {
        self.engine.tag(image, tag).await?;
        let push = |login| async move { Ok(self.engine.push(tag, login).await?) };
        if let Err(error) = self.client.with_login(tag.repository.host(), push).await {
            self.engine.untag(tag).await?;
            return Err(error);
        }
        // The local tag stays, so that the next run does not pull its own parents.
        let judge = |found: Option<&Digest>| found.map_or(Sight::Late, |_| Sight::Expected);
        match read(self, tag, judge).await? {
            Some(digest) => Ok(digest),
            None => {
                Err(StoreError::Lost { tag: tag.clone(), wrote: Some(image.clone()), found: None })
            }
        }
    }

    async fn fetch(
        &self,
        repository: &Repository,
        digest: &Digest,
        platform: Option<&Platform>,
    ) -> Result<Digest, StoreError> {
        if let Some(image) = self.engine.inspect(&format!("{repository}@{digest}")).await? {
            return Ok(image.id);
        }
        let pull =
            |login| async move { Ok(self.engine.pull(repository, digest, platform, login).await?) };
        self.client.with_login(repository.host(), pull).await
    }

    async fn tags(&self, repository: &Repository) -> Result<BTreeMap<Tagged, Digest>, StoreError> {
        let tags = self.client.tags(repository).await?;
        self.tags.read(tags.into_iter().map(|tag| repository.tagged(tag)).collect()).await
    }
}

impl<E: Engine> Inventory for Remote<E> {
    async fn holdings(&self, repositories: Vec<Repository>) -> Result<Vec<Holding>, StoreError> {
        let mut images: BTreeMap<(Repository, Digest), BTreeSet<Tag>> = BTreeMap::new();
        for repository in repositories {
            for (tagged, digest) in self.tags(&repository).await? {
                images.entry((repository.clone(), digest)).or_default().insert(tagged.tag);
            }
        }
        stream::iter(images)
            .map(|((repository, digest), tags)| self.holding(repository, digest, tags))
            .buffered(HEADS_AT_ONCE)
            .try_collect()
            .await
    }

    async fn forget(
        &self,
        repository: &Repository,
        digest: &Digest,
        _tags: &BTreeSet<Tag>,
    ) -> Result<(), StoreError> {
        // DELETE by tag is optional in the specification. DELETE by digest deletes all tags of the image.
        self.client.delete(repository, digest.as_str()).await?;
        Ok(self.client.delete_referrers(repository, digest).await?)
    }

    async fn recorded(&self) -> Result<Vec<Recorded>, StoreError> {
        self.tags.recorded().await
    }

    async fn read_record(&self, run: &Recorded) -> Result<Option<Vec<u8>>, StoreError> {
        Ok(run_record::read(&self.client, run).await?)
    }

    async fn forget_record(&self, run: &Recorded) -> Result<(), StoreError> {
        Ok(run_record::forget(&self.client, run).await?)
    }
}
