//! The store of published images, the only database of `rebuild`.
//!
//! With `registry:` it is that registry. Without one it is the engine's own tags, with image IDs as digests.

pub(super) mod artifact;
mod build_tags;
mod hierarchy_id;
mod layered;
mod local;
mod manifest;
mod note;
mod pipeline_records;
mod read;
mod run_record;
mod remote;
mod remote_tags;
mod streamed;

use std::{
    collections::{BTreeMap, BTreeSet},
    future::Future,
    time::Duration,
};

use jiff::Timestamp;

pub use self::{
    build_tags::BuildTags,
    hierarchy_id::{HIERARCHY, HierarchyId},
    layered::Layered,
    local::Local,
    pipeline_records::PipelineRecords,
    read::{Sight, read, read_in_doubt, write},
    remote::Remote,
    remote_tags::RemoteTags,
    run_record::{RecordStage, Recorded},
    streamed::{StreamNames, Streamed},
};
use crate::{
    engine::{EngineError, LocalImage},
    image::{Digest, Platform, Repository, Tag, Tagged},
    publish::journal::is_run_id,
    registry::{PlatformImages, RegistryError},
    size::Blob,
};

/// The label with the run that built an image. Its ID begins with the time of the run; the time of an image may
/// be that of a cached layer. Containers inherit the labels of their image, so this must not be the label of the
/// containers that a run starts: later runs remove those.
pub const BUILT_BY: &str = "rebuild.built-by";

/// When `rebuild` built the image with these labels.
pub fn built_at(labels: &BTreeMap<String, String>) -> Option<Timestamp> {
    began_at(labels.get(BUILT_BY)?)
}

/// When the run with this ID began.
pub fn began_at(run: &str) -> Option<Timestamp> {
    let id = Some(run).filter(|run| is_run_id(run))?.to_uppercase();
    let milliseconds = ulid::Ulid::from_string(&id).ok()?.timestamp_ms();
    Timestamp::from_millisecond(milliseconds.try_into().ok()?).ok()
}

/// Tags and their digests: enough to move tags.
pub trait Tags: Send + Sync + 'static {
    /// Reads many tags at once. Tags that do not exist are missing in the answer. It may contain other tags
    /// of the same images.
    fn heads(
        &self,
        tags: Vec<Tagged>,
    ) -> impl Future<Output = Result<BTreeMap<Tagged, Digest>, StoreError>> + Send;

    /// The present digest of a tag.
    fn head(&self, tag: &Tagged)
    -> impl Future<Output = Result<Option<Digest>, StoreError>> + Send;

    /// Whether a repository still has an image, under any tag.
    fn has(
        &self,
        repository: &Repository,
        digest: &Digest,
    ) -> impl Future<Output = Result<bool, StoreError>> + Send;

    /// Labels, layers and configuration of a stored image, without pulling it.
    fn describe(
        &self,
        _repository: &Repository,
        _digest: &Digest,
    ) -> impl Future<Output = Result<Option<Description>, StoreError>> + Send {
        async { Ok(None) }
    }

    /// The images under a digest, by platform. `None` if the store has no indexes, or does not have this digest.
    fn platform_images(
        &self,
        _repository: &Repository,
        _digest: &Digest,
    ) -> impl Future<Output = Result<Option<PlatformImages>, StoreError>> + Send {
        async { Ok(None) }
    }

    /// Stores an index of images that the repository has, under a build tag of its own.
    fn store_index(
        &self,
        repository: &Repository,
        _images: &BTreeMap<Platform, Digest>,
    ) -> impl Future<Output = Result<Digest, StoreError>> + Send {
        async { Err(StoreError::NoIndexes(repository.clone())) }
    }

    /// Moves a tag to an image that its repository already has. Reads may show that later.
    fn put(
        &self,
        tag: &Tagged,
        digest: &Digest,
    ) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// As [`put`](Self::put), and waits until a read shows it.
    fn point(
        &self,
        tag: &Tagged,
        digest: &Digest,
    ) -> impl Future<Output = Result<(), StoreError>> + Send
    where
        Self: Sized,
    {
        write(self, tag, digest, None)
    }

    /// The pauses before a possibly outdated tag is read again. Empty if a read always shows the last write.
    fn pauses(&self) -> &'static [Duration];

    /// Whether a moving tag can be deleted.
    fn can_remove(&self) -> bool;

    /// Deletes a moving tag; `false` if the store cannot do that.
    fn remove(&self, tag: &Tagged) -> impl Future<Output = Result<bool, StoreError>> + Send;

    /// Stores the record of a run beside the images, if the store is on another machine.
    fn record(
        &self,
        run: &str,
        stage: RecordStage,
        text: &[u8],
    ) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// The runs that have ended according to their records.
    fn ended(&self) -> impl Future<Output = Result<BTreeSet<String>, StoreError>> + Send;

    /// The records of the newest runs, the newest first.
    fn records(
        &self,
        newest: usize,
    ) -> impl Future<Output = Result<Vec<Vec<u8>>, StoreError>> + Send;

    /// Keeps a note of this name, such as that of a node, in place of the last one.
    fn keep_note(
        &self,
        _name: &str,
        _text: &[u8],
    ) -> impl Future<Output = Result<(), StoreError>> + Send {
        async { Ok(()) }
    }

    /// The note of this name.
    fn note(
        &self,
        _name: &str,
    ) -> impl Future<Output = Result<Option<Vec<u8>>, StoreError>> + Send {
        async { Ok(None) }
    }
}

/// Tags and the tested images they point at.
pub trait Store: Tags {
    /// Stores an image of the engine under a tag, and reads it back.
    fn upload(
        &self,
        image: &Digest,
        tag: &Tagged,
    ) -> impl Future<Output = Result<Digest, StoreError>> + Send;

    /// Brings an image into the engine, and returns its ID there.
    fn fetch(
        &self,
        repository: &Repository,
        digest: &Digest,
        platform: Option<&Platform>,
    ) -> impl Future<Output = Result<Digest, StoreError>> + Send;

    /// The digest of every tag of a repository.
    fn tags(
        &self,
        repository: &Repository,
    ) -> impl Future<Output = Result<BTreeMap<Tagged, Digest>, StoreError>> + Send;
}

/// What a store has, to list and to delete it. A run has only a [`Store`], which deletes nothing but moving tags.
pub trait Inventory: Store {
    /// Every image of these repositories that has a tag.
    fn holdings(
        &self,
        repositories: Vec<Repository>,
    ) -> impl Future<Output = Result<Vec<Holding>, StoreError>> + Send;

    /// Deletes an image with all of its tags, which must be these.
    fn forget(
        &self,
        repository: &Repository,
        digest: &Digest,
        tags: &BTreeSet<Tag>,
    ) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// Every run whose record is beside the images, the newest first.
    fn recorded(&self) -> impl Future<Output = Result<Vec<Recorded>, StoreError>> + Send;

    /// The last record of a run; `None` if it was deleted, or has an unknown format.
    fn read_record(
        &self,
        run: &Recorded,
    ) -> impl Future<Output = Result<Option<Vec<u8>>, StoreError>> + Send;

    /// Deletes the record of a run.
    fn forget_record(&self, run: &Recorded) -> impl Future<Output = Result<(), StoreError>> + Send;
}

/// An image with a tag, and the facts that decide whether `gc` deletes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holding {
    pub repository: Repository,
    pub digest: Digest,
    /// Every tag of the repository that points at it.
    pub tags: BTreeSet<Tag>,
    pub labels: BTreeMap<String, String>,
    /// When it was built, if it has that time.
    pub created: Option<Timestamp>,
    /// Its pieces with their sizes in bytes. Images share pieces.
    pub pieces: BTreeMap<Digest, u64>,
    /// The images of an index.
    pub members: BTreeSet<Digest>,
}

/// An image in any store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Description {
    pub labels: BTreeMap<String, String>,
    /// The uncompressed layers' digests (`diff_ids`), the base's first.
    pub layers: Vec<Digest>,
    /// As [`LocalImage::config`](crate::engine::LocalImage::config).
    pub config: String,
    /// When it was built, if it has that time.
    pub created: Option<Timestamp>,
    /// In bytes: unpacked in an engine, compressed in a registry.
    pub size: u64,
    /// In a registry.
    pub stored: Option<StoredSize>,
}

/// The size of an image in a registry, in bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredSize {
    /// Each compressed layer, the base's first.
    pub layers: Vec<Blob>,
    /// Manifest and configuration.
    pub documents: u64,
}

impl StoredSize {
    pub fn total(&self) -> u64 {
        Blob::sum(&self.layers).saturating_add(self.documents)
    }
}

impl From<LocalImage> for Description {
    fn from(image: LocalImage) -> Self {
        let LocalImage { labels, layers, config, created, size, .. } = image;
        Self { labels, layers, config, created, size, stored: None }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    #[error(transparent)]
    Registry(#[from] RegistryError),
    #[error(transparent)]
    Engine(#[from] EngineError),
    #[error("`{tag}` was written, and read back it {}", read_back(.found.as_ref(), .wrote.as_ref()))]
    Lost { tag: Tagged, wrote: Option<Digest>, found: Option<Digest> },
    #[error("`{0}` cannot have an index: it is not in a registry")]
    NoIndexes(Repository),
    #[error("`{repository}@{digest}` is not there any more")]
    Gone { repository: Repository, digest: Digest },
}

impl StoreError {
    /// The hint for the user.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Registry(error) => error.hint(),
            Self::Engine(error) => error.hint(),
            Self::Lost { .. } | Self::Gone { .. } | Self::NoIndexes(_) => None,
        }
    }

    /// Whether a later attempt would get the same answer: a refusal instead of a temporary error.
    pub fn is_for_good(&self) -> bool {
        match self {
            Self::Registry(RegistryError::Unreachable { .. })
            | Self::Engine(
                EngineError::Unreachable { .. }
                | EngineError::Hangs { .. }
                | EngineError::Silent { .. }
                | EngineError::Refused { status: 500.., .. }
                | EngineError::TimedOut { .. },
            ) => false,
            // Temporary errors of a registry were already retried.
            Self::Registry(RegistryError::Answer { status, .. }) => {
                *status < 500 && !matches!(status, 408 | 429)
            }
            Self::Registry(RegistryError::Refused { .. } | RegistryError::Credentials { .. })
            | Self::Engine(_)
            | Self::Lost { .. }
            | Self::NoIndexes(_)
            | Self::Gone { .. } => true,
        }
    }
}

fn read_back(found: Option<&Digest>, wrote: Option<&Digest>) -> String {
    match (found, wrote) {
        (None, _) => "does not exist".to_owned(),
        (Some(found), None) => format!("still points at {}", found.short()),
        (Some(found), Some(wrote)) => {
            format!("points at {} and not at {}", found.short(), wrote.short())
        }
    }
}
