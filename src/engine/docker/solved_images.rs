//! Results of builds, as bases of later builds in the same process.
//!
//! **Invariant:** an image contains the layers of its base. BuildKit repeats those steps of the base that are no
//! longer in its cache, and the layers of the result are others then. [`Docker::build_image`](super::Docker) builds
//! such an image again, from the base in the engine's store.

use std::{
    collections::{HashMap, HashSet},
    sync::{Mutex, MutexGuard, PoisonError},
};

use bytes::Bytes;
use prost::Message as _;

use crate::{engine::control::Definition, image::Digest};

/// The results are forgotten beyond this number of bytes.
const MOST: usize = 64 << 20;

/// What BuildKit needs to continue a build.
#[derive(Clone, Debug)]
pub(super) struct BuildResult {
    /// How it made the files (LLB).
    pub(super) definition: Bytes,
    /// The image's configuration as JSON.
    pub(super) config: Bytes,
}

#[derive(Clone, Debug)]
pub(super) struct SolvedImage {
    pub(super) result: BuildResult,
    /// The layers of the image in the store, the lowest first.
    pub(super) layers: Vec<Digest>,
}

/// By the image's ID.
#[derive(Debug, Default)]
pub(super) struct SolvedImages(Mutex<Remembered>);

#[derive(Debug, Default)]
struct Remembered {
    images: HashMap<Digest, SolvedImage>,
    bytes: usize,
}

impl BuildResult {
    /// The digests of its vertices, as BuildKit reports them.
    pub(super) fn vertices(&self) -> HashSet<String> {
        let definition = Definition::decode(self.definition.clone()).unwrap_or_default();
        definition.operations.iter().map(|one| Digest::of(one).to_string()).collect()
    }
}

impl SolvedImages {
    pub(super) fn learn(&self, id: &Digest, image: SolvedImage) {
        let bytes = image.result.definition.len() + image.result.config.len();
        let mut known = self.known();
        if known.bytes + bytes > MOST {
            *known = Remembered::default();
        }
        known.bytes += bytes;
        known.images.insert(id.clone(), image);
    }

    pub(super) fn get(&self, id: &Digest) -> Option<SolvedImage> {
        self.known().images.get(id).cloned()
    }

    pub(super) fn forget(&self, id: &Digest) {
        self.known().images.remove(id);
    }

    fn known(&self) -> MutexGuard<'_, Remembered> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
