//! A registry as the store: the engine pushes images in, tags are moved by manifest PUT.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex, PoisonError},
};

use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use serde::Deserialize;
use tokio::sync::OnceCell;

use super::{Description, Store, StoreError, confirm};
use crate::{
    engine::{Engine, canonical_config, created},
    image::{Digest, Platform, Repository, Tagged},
    registry::{Client, Manifest},
};

/// How many tags are asked for at once.
const HEADS_AT_ONCE: usize = 16;

#[derive(Debug)]
pub struct Remote<E> {
    client: Client,
    engine: Arc<E>,
    /// What a tag is pointed at, read once for all the tags of an image.
    manifests: Mutex<HashMap<Stored, Arc<OnceCell<Manifest>>>>,
}

/// An image of a repository. Its bytes never change.
type Stored = (Repository, Digest);

impl<E: Engine> Remote<E> {
    pub fn new(client: Client, engine: Arc<E>) -> Self {
        Self { client, engine, manifests: Mutex::default() }
    }

    async fn manifest(
        &self,
        repository: &Repository,
        digest: &Digest,
    ) -> Result<Manifest, StoreError> {
        let key = (repository.clone(), digest.clone());
        let cell = {
            let mut manifests = self.manifests.lock().unwrap_or_else(PoisonError::into_inner);
            manifests.entry(key).or_default().clone()
        };
        let manifest = cell.get_or_try_init(async || {
            self.client.manifest(repository, digest.as_str()).await?.ok_or_else(|| {
                StoreError::Gone { repository: repository.clone(), digest: digest.clone() }
            })
        });
        manifest.await.cloned()
    }
}

impl<E: Engine> Store for Remote<E> {
    async fn heads(&self, tags: Vec<Tagged>) -> Result<BTreeMap<Tagged, Digest>, StoreError> {
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

    async fn head(&self, tag: &Tagged) -> Result<Option<Digest>, StoreError> {
        Ok(self.client.head(&tag.repository, tag.tag.as_str()).await?)
    }

    async fn upload(&self, image: &Digest, tag: &Tagged) -> Result<Digest, StoreError> {
        let login = self.client.login(tag.repository.host()).await?;
        self.engine.tag(image, tag).await?;
        if let Err(error) = self.engine.push(tag, login).await {
            self.engine.untag(tag).await?;
            return Err(error.into());
        }
        // The local tag stays: it is what keeps the next run from pulling its own parents.
        match self.head(tag).await? {
            Some(digest) => Ok(digest),
            None => Err(StoreError::Lost { tag: tag.clone(), found: "does not exist".to_owned() }),
        }
    }

    async fn point(&self, tag: &Tagged, digest: &Digest) -> Result<(), StoreError> {
        let repository = &tag.repository;
        let manifest = self.manifest(repository, digest).await?;
        self.client.put_manifest(repository, &tag.tag, &manifest).await?;
        confirm(tag, digest, self.head(tag).await?)
    }

    async fn remove(&self, _tag: &Tagged) -> Result<bool, StoreError> {
        // DELETE by tag is optional in the specification, and by digest it takes every tag of
        // that digest with it: neither is safe here.
        Ok(false)
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
        let login = self.client.login(repository.host()).await?;
        Ok(self.engine.pull(repository, digest, platform, login).await?)
    }

    async fn describe(
        &self,
        repository: &Repository,
        digest: &Digest,
    ) -> Result<Option<Description>, StoreError> {
        let Some(manifest) = self.client.manifest(repository, digest.as_str()).await? else {
            return Ok(None);
        };
        // An index, or something that is no image: it says nothing about itself.
        let Ok(manifest) = serde_json::from_slice::<ImageManifest>(&manifest.bytes) else {
            return Ok(None);
        };
        let Some(blob) = self.client.blob(repository, &manifest.config.digest).await? else {
            return Ok(None);
        };
        let Ok(image) = serde_json::from_slice::<ImageConfig>(&blob) else { return Ok(None) };
        let labels = image.config.get("Labels").cloned().unwrap_or_default();
        Ok(Some(Description {
            labels: serde_json::from_value(labels).unwrap_or_default(),
            layers: image.rootfs.diff_ids,
            config: canonical_config(&image.config, &image.os),
            created: image.created.as_deref().and_then(created),
        }))
    }
}

/// The part of an image manifest that leads to the configuration:
/// <https://github.com/opencontainers/image-spec/blob/v1.1.0/manifest.md>.
#[derive(Deserialize)]
struct ImageManifest {
    config: Descriptor,
}

#[derive(Deserialize)]
struct Descriptor {
    digest: Digest,
}

/// <https://github.com/opencontainers/image-spec/blob/v1.1.0/config.md>.
#[derive(Deserialize)]
struct ImageConfig {
    os: String,
    #[serde(default)]
    created: Option<String>,
    #[serde(default)]
    config: serde_json::Map<String, serde_json::Value>,
    rootfs: RootFs,
}

#[derive(Deserialize)]
struct RootFs {
    diff_ids: Vec<Digest>,
}
