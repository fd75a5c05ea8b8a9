//! The published history of the bases.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;

use super::ImageFacts;
use crate::image::{Digest, Repository, Tag, Tagged};

/// The label with the node of an image that `rebuild` built.
const NODE: &str = "rebuild.node";
const FINGERPRINT: &str = "rebuild.fingerprint";
/// A year before which no image was built: reproducible builds have such times.
const EARLIEST: i64 = 1_262_304_000;

/// A present or former version of a base, for one platform.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KnownBase {
    pub repository: Repository,
    /// Under which a child may name it: its manifest, and the index that contains it.
    pub digests: BTreeSet<Digest>,
    /// What tags of this version point at: the index, if there is one.
    pub version: Digest,
    /// Its present tags that users pull.
    pub tags: BTreeSet<Tag>,
    pub facts: ImageFacts,
    /// When it was built, if `rebuild` built it.
    pub built: Option<Timestamp>,
}

/// A move of a moving tag in the past.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BaseMove {
    pub tag: Tagged,
    pub to: Digest,
    pub at: Timestamp,
}

/// Everything that is known of bases.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BaseHistory {
    pub images: Vec<KnownBase>,
    /// What the tags point at now.
    pub present: BTreeMap<Tagged, Digest>,
    /// From run records, the oldest first.
    pub moves: Vec<BaseMove>,
    /// The moving tag of each node of the hierarchy.
    pub nodes: BTreeMap<(Repository, String), Tag>,
    /// The moving tag of a repository, as the user named it.
    pub moving: BTreeMap<Repository, Tag>,
    /// The repositories that were read.
    pub repositories: BTreeSet<Repository>,
}

impl KnownBase {
    /// The node of the hierarchy that it was built for.
    pub(super) fn node(&self) -> Option<&str> {
        node_of(&self.facts)
    }

    pub(super) fn fingerprint(&self) -> Option<&str> {
        fingerprint_of(&self.facts)
    }

    /// When it was built, as far as that is known.
    pub(super) fn at(&self) -> Option<Timestamp> {
        self.built.or(self.facts.created).filter(|at| at.as_second() > EARLIEST)
    }
}

pub(super) fn node_of(facts: &ImageFacts) -> Option<&str> {
    facts.labels.get(NODE).map(String::as_str).filter(|node| !node.is_empty())
}

pub(super) fn fingerprint_of(facts: &ImageFacts) -> Option<&str> {
    facts.labels.get(FINGERPRINT).map(String::as_str).filter(|print| !print.is_empty())
}

impl BaseHistory {
    /// The repository that was read under this or another spelling of its name.
    pub(super) fn repository(&self, repository: &Repository) -> Option<&Repository> {
        self.repositories.get(repository).or_else(|| {
            let same = |known: &&Repository| known.is_same(repository);
            self.repositories.iter().find(same)
        })
    }

    /// The version with this digest.
    pub(super) fn with_digest(&self, digest: &Digest) -> Vec<&KnownBase> {
        self.images.iter().filter(|base| base.digests.contains(digest)).collect()
    }

    /// The present tags of a repository.
    pub(super) fn tags_of<'a>(
        &'a self,
        repository: &'a Repository,
    ) -> impl Iterator<Item = &'a Tag> {
        self.present.keys().filter(move |tag| tag.repository == *repository).map(|tag| &tag.tag)
    }
}
