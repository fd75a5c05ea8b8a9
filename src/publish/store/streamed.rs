//! The engines of a pool without a registry: the tags of all images are in the first one.
//!
//! **Invariant:** an image is in the first engine when it has a tag. The other engines get it from there.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::sync::OnceCell;

use super::{Description, Local, RecordStage, Store, StoreError, Tags};
use crate::{
    engine::{Docker, Engine as _, EngineError},
    image::{Digest, Platform, Repository, Tagged},
};

/// Names that images have while they move, and after it as long as the command runs.
#[derive(Debug)]
pub struct StreamNames {
    repository: Repository,
    used: Mutex<Vec<(Docker, Tagged)>>,
}

impl StreamNames {
    pub fn new(repository: Repository) -> Self {
        Self { repository, used: Mutex::default() }
    }

    /// A name for an image, which two engines get.
    fn of(&self, image: &Digest, engines: [&Docker; 2]) -> Tagged {
        let tag = image.hex()[..16].parse().expect("hexadecimal digits make a tag");
        let name = self.repository.tagged(tag);
        let used = engines.map(|engine| (engine.clone(), name.clone()));
        self.used.lock().unwrap_or_else(PoisonError::into_inner).extend(used);
        name
    }

    /// Removes all of them.
    pub async fn release(&self) -> Result<(), EngineError> {
        let used = std::mem::take(&mut *self.used.lock().unwrap_or_else(PoisonError::into_inner));
        let mut released = Ok(());
        for (engine, name) in used {
            released = released.and(engine.untag(&name).await);
        }
        released
    }
}

/// The store for one engine of the pool.
#[derive(Debug)]
pub struct Streamed {
    home: Local<Docker>,
    home_engine: Docker,
    /// The engine; `None` for the first one.
    away: Option<Docker>,
    names: Arc<StreamNames>,
    /// The IDs in this engine of images of the first one. The first use brings the image.
    here: Mutex<HashMap<Digest, Arc<OnceCell<Digest>>>>,
}

impl Streamed {
    pub fn new(
        (home, home_engine): (Local<Docker>, Docker),
        away: Option<Docker>,
        names: Arc<StreamNames>,
    ) -> Self {
        Self { home, home_engine, away, names, here: Mutex::default() }
    }

    fn cell(&self, image: &Digest) -> Arc<OnceCell<Digest>> {
        let mut here = self.here.lock().unwrap_or_else(PoisonError::into_inner);
        here.entry(image.clone()).or_default().clone()
    }

    /// Brings an image of the first engine here.
    async fn bring(&self, away: &Docker, image: &Digest) -> Result<Digest, EngineError> {
        // An image of the same kind of store has the same ID.
        if let Some(found) = away.inspect(image.as_str()).await? {
            return Ok(found.id);
        }
        let name = self.names.of(image, [&self.home_engine, away]);
        self.home_engine.tag(image, &name).await?;
        Ok(self.home_engine.stream_to(&name, away).await?.id)
    }

    /// Takes an image of this engine to the first one.
    async fn take_home(&self, away: &Docker, image: &Digest) -> Result<Digest, EngineError> {
        if let Some(found) = self.home_engine.inspect(image.as_str()).await? {
            return Ok(found.id);
        }
        let name = self.names.of(image, [away, &self.home_engine]);
        away.tag(image, &name).await?;
        Ok(away.stream_to(&name, &self.home_engine).await?.id)
    }
}

impl Tags for Streamed {
    async fn heads(&self, tags: Vec<Tagged>) -> Result<BTreeMap<Tagged, Digest>, StoreError> {
        self.home.heads(tags).await
    }

    async fn head(&self, tag: &Tagged) -> Result<Option<Digest>, StoreError> {
        self.home.head(tag).await
    }

    async fn has(&self, repository: &Repository, digest: &Digest) -> Result<bool, StoreError> {
        self.home.has(repository, digest).await
    }

    async fn describe(
        &self,
        repository: &Repository,
        digest: &Digest,
    ) -> Result<Option<Description>, StoreError> {
        self.home.describe(repository, digest).await
    }

    async fn put(&self, tag: &Tagged, digest: &Digest) -> Result<(), StoreError> {
        self.home.put(tag, digest).await
    }

    fn pauses(&self) -> &'static [Duration] {
        self.home.pauses()
    }

    fn can_remove(&self) -> bool {
        self.home.can_remove()
    }

    async fn remove(&self, tag: &Tagged) -> Result<bool, StoreError> {
        self.home.remove(tag).await
    }

    async fn record(&self, run: &str, stage: RecordStage, text: &[u8]) -> Result<(), StoreError> {
        self.home.record(run, stage, text).await
    }

    async fn ended(&self) -> Result<BTreeSet<String>, StoreError> {
        self.home.ended().await
    }

    async fn records(&self, newest: usize) -> Result<Vec<Vec<u8>>, StoreError> {
        self.home.records(newest).await
    }

    async fn keep_note(&self, name: &str, text: &[u8]) -> Result<(), StoreError> {
        self.home.keep_note(name, text).await
    }

    async fn note(&self, name: &str) -> Result<Option<Vec<u8>>, StoreError> {
        self.home.note(name).await
    }
}

impl Store for Streamed {
    async fn upload(&self, image: &Digest, tag: &Tagged) -> Result<Digest, StoreError> {
        let Some(away) = &self.away else { return self.home.upload(image, tag).await };
        let at_home = self.take_home(away, image).await?;
        // The tag stays here, so that the next run does not bring its own parents.
        away.tag(image, tag).await?;
        _ = self.cell(&at_home).set(image.clone());
        self.home.upload(&at_home, tag).await
    }

    async fn fetch(
        &self,
        repository: &Repository,
        digest: &Digest,
        platform: Option<&Platform>,
    ) -> Result<Digest, StoreError> {
        let Some(away) = &self.away else {
            return self.home.fetch(repository, digest, platform).await;
        };
        let cell = self.cell(digest);
        let brought = cell.get_or_try_init(async || self.bring(away, digest).await).await;
        Ok(brought?.clone())
    }

    async fn tags(&self, repository: &Repository) -> Result<BTreeMap<Tagged, Digest>, StoreError> {
        self.home.tags(repository).await
    }
}
