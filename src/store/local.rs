//! The engine's own tags as the store: the whole flow works without any registry.

use std::{collections::BTreeMap, sync::Arc};

use super::{Description, Store, StoreError, confirm};
use crate::{
    engine::Engine,
    image::{Digest, Platform, Repository, Tagged},
};

/// Image IDs stand for digests, `docker tag` for a PUT and `docker inspect` for a HEAD.
#[derive(Debug)]
pub struct Local<E> {
    engine: Arc<E>,
}

impl<E: Engine> Local<E> {
    pub fn new(engine: Arc<E>) -> Self {
        Self { engine }
    }
}

impl<E: Engine> Store for Local<E> {
    async fn heads(&self, tags: Vec<Tagged>) -> Result<BTreeMap<Tagged, Digest>, StoreError> {
        // From a few tags on, one list is quicker than asking for each.
        if tags.len() < 4 {
            let mut heads = BTreeMap::new();
            for tag in tags {
                if let Some(digest) = self.head(&tag).await? {
                    heads.insert(tag, digest);
                }
            }
            return Ok(heads);
        }
        let all = self.engine.list().await?;
        Ok(tags.into_iter().filter_map(|tag| Some((tag.clone(), all.get(&tag)?.clone()))).collect())
    }

    async fn head(&self, tag: &Tagged) -> Result<Option<Digest>, StoreError> {
        Ok(self.engine.inspect(&tag.to_string()).await?.map(|image| image.id))
    }

    async fn upload(&self, image: &Digest, tag: &Tagged) -> Result<Digest, StoreError> {
        self.point(tag, image).await?;
        Ok(image.clone())
    }

    async fn point(&self, tag: &Tagged, digest: &Digest) -> Result<(), StoreError> {
        self.engine.tag(digest, tag).await?;
        confirm(tag, digest, self.head(tag).await?)
    }

    async fn remove(&self, tag: &Tagged) -> Result<bool, StoreError> {
        self.engine.untag(tag).await?;
        Ok(true)
    }

    async fn fetch(
        &self,
        repository: &Repository,
        digest: &Digest,
        _platform: Option<&Platform>,
    ) -> Result<Digest, StoreError> {
        match self.engine.inspect(digest.as_str()).await? {
            Some(image) => Ok(image.id),
            None => {
                Err(StoreError::Gone { repository: repository.clone(), digest: digest.clone() })
            }
        }
    }

    async fn describe(
        &self,
        _repository: &Repository,
        digest: &Digest,
    ) -> Result<Option<Description>, StoreError> {
        let image = self.engine.inspect(digest.as_str()).await?;
        Ok(image.map(|image| Description {
            labels: image.labels,
            layers: image.layers,
            config: image.config,
            created: image.created,
        }))
    }
}
