//! The engine's own tags as the store, for hierarchies without a registry.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use super::{
    Description, Holding, Inventory, RecordStage, Recorded, Store, StoreError, Tags, built_at,
};
use crate::{
    engine::{Engine, LocalImage},
    host::{bounded, owner},
    image::{Digest, Platform, Repository, Tag, Tagged},
};

/// Image IDs replace digests, `docker tag` replaces PUT and `docker inspect` replaces HEAD.
#[derive(Debug)]
pub struct Local<E> {
    engine: Arc<E>,
    /// Cached answers by ID: the containerd image store takes 10 to 60 ms for each.
    described: Mutex<HashMap<Digest, Description>>,
    /// The folder for notes on this machine.
    notes: Option<PathBuf>,
}

impl<E: Engine> Local<E> {
    pub fn new(engine: Arc<E>) -> Self {
        Self { engine, described: Mutex::default(), notes: None }
    }

    /// Sets the folder for notes.
    #[must_use]
    pub fn with_notes(self, folder: PathBuf) -> Self {
        Self { notes: Some(folder), ..self }
    }
}

impl<E: Engine> Tags for Local<E> {
    async fn heads(&self, tags: Vec<Tagged>) -> Result<BTreeMap<Tagged, Digest>, StoreError> {
        Ok(self.engine.resolve(tags).await?)
    }

    async fn head(&self, tag: &Tagged) -> Result<Option<Digest>, StoreError> {
        Ok(self.engine.resolve(vec![tag.clone()]).await?.remove(tag))
    }

    async fn has(&self, _: &Repository, digest: &Digest) -> Result<bool, StoreError> {
        Ok(self.engine.inspect(digest.as_str()).await?.is_some())
    }

    async fn describe(
        &self,
        _repository: &Repository,
        digest: &Digest,
    ) -> Result<Option<Description>, StoreError> {
        let lock = || self.described.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = lock().get(digest) {
            return Ok(Some(known.clone()));
        }
        let image = self.engine.describe(digest).await?.map(Description::from);
        lock().extend(image.iter().map(|image| (digest.clone(), image.clone())));
        Ok(image)
    }

    async fn put(&self, tag: &Tagged, digest: &Digest) -> Result<(), StoreError> {
        Ok(self.engine.tag(digest, tag).await?)
    }

    fn pauses(&self) -> &'static [Duration] {
        &[]
    }

    fn can_remove(&self) -> bool {
        true
    }

    async fn remove(&self, tag: &Tagged) -> Result<bool, StoreError> {
        self.engine.untag(tag).await?;
        match self.head(tag).await? {
            None => Ok(true),
            found => Err(StoreError::Lost { tag: tag.clone(), wrote: None, found }),
        }
    }

    /// Records are not necessary: the journal is on this machine, like the images.
    async fn record(
        &self,
        _run: &str,
        _stage: RecordStage,
        _text: &[u8],
    ) -> Result<(), StoreError> {
        Ok(())
    }

    async fn ended(&self) -> Result<BTreeSet<String>, StoreError> {
        Ok(BTreeSet::new())
    }

    async fn records(&self, _newest: usize) -> Result<Vec<Vec<u8>>, StoreError> {
        Ok(Vec::new())
    }

    /// If the write fails, only a sentence of `why` is less exact.
    async fn keep_note(&self, node: &str, text: &[u8]) -> Result<(), StoreError> {
        let Some(folder) = &self.notes else { return Ok(()) };
        let write = || {
            owner::make_folder(folder)?;
            owner::replace(&folder.join(file(node)), text)
        };
        write().unwrap_or_else(|error| tracing::debug!(node, %error, "no note is kept"));
        Ok(())
    }

    async fn note(&self, node: &str) -> Result<Option<Vec<u8>>, StoreError> {
        let path = self.notes.as_ref().map(|folder| folder.join(file(node)));
        Ok(path.and_then(|path| bounded::read(&path, bounded::TEXT).ok()))
    }
}

impl<E: Engine> Store for Local<E> {
    async fn upload(&self, image: &Digest, tag: &Tagged) -> Result<Digest, StoreError> {
        self.point(tag, image).await?;
        Ok(image.clone())
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

    async fn tags(&self, repository: &Repository) -> Result<BTreeMap<Tagged, Digest>, StoreError> {
        Ok(self.engine.tags_of(vec![repository.to_string()]).await?)
    }
}

impl<E: Engine> Inventory for Local<E> {
    async fn holdings(&self, repositories: Vec<Repository>) -> Result<Vec<Holding>, StoreError> {
        let names = repositories.iter().map(ToString::to_string).collect();
        let tags = self.engine.tags_of(names).await?;
        let ids: BTreeSet<&Digest> = tags.values().collect();
        let mut images: BTreeMap<&Digest, LocalImage> = BTreeMap::new();
        for id in ids {
            if let Some(image) = self.engine.inspect(id.as_str()).await? {
                images.insert(id, image);
            }
        }
        let pieces = SizePieces::of(images.values());
        let mut holdings: BTreeMap<(&Repository, &Digest), Holding> = BTreeMap::new();
        for (tagged, id) in &tags {
            let Some(image) = images.get(id) else { continue };
            let holding = holdings.entry((&tagged.repository, id)).or_insert_with(|| Holding {
                repository: tagged.repository.clone(),
                digest: id.clone(),
                tags: BTreeSet::new(),
                labels: image.labels.clone(),
                created: built_at(&image.labels).or(image.created),
                pieces: pieces.of_image(image),
                members: BTreeSet::new(),
            });
            holding.tags.insert(tagged.tag.clone());
        }
        Ok(holdings.into_values().collect())
    }

    async fn forget(
        &self,
        repository: &Repository,
        _digest: &Digest,
        tags: &BTreeSet<Tag>,
    ) -> Result<(), StoreError> {
        for tag in tags {
            self.engine.untag(&repository.tagged(tag.clone())).await?;
        }
        Ok(())
    }

    async fn recorded(&self) -> Result<Vec<Recorded>, StoreError> {
        Ok(Vec::new())
    }

    async fn read_record(&self, _run: &Recorded) -> Result<Option<Vec<u8>>, StoreError> {
        Ok(None)
    }

    async fn forget_record(&self, _run: &Recorded) -> Result<(), StoreError> {
        Ok(())
    }
}

/// The name of a node may contain a slash.
fn file(node: &str) -> String {
    format!("{}.json", Digest::of(node.as_bytes()).short())
}

/// The engine reports the size of an image, not of its layers. The difference from its largest base image
/// counts as one piece, named by the layers up to there.
struct SizePieces(BTreeMap<Vec<Digest>, u64>);

impl SizePieces {
    fn of<'i>(images: impl Iterator<Item = &'i LocalImage>) -> Self {
        Self(images.map(|image| (image.layers.clone(), image.size)).collect())
    }

    fn of_image(&self, image: &LocalImage) -> BTreeMap<Digest, u64> {
        let mut pieces = BTreeMap::new();
        let mut below = 0;
        for length in 1..=image.layers.len() {
            let layers = &image.layers[..length];
            if let Some(&size) = self.0.get(layers) {
                let names: Vec<&str> = layers.iter().map(Digest::as_str).collect();
                pieces.insert(Digest::of(names.join(" ").as_bytes()), size.saturating_sub(below));
                below = size;
            }
        }
        pieces
    }
}
