//! The facts for a plan: the published images and the present inputs.

use std::{collections::BTreeMap, time::Duration};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::Hold;
use crate::{
    fingerprint::{BuiltFrom, Detail, Epoch, Fingerprint, Inputs, Parents},
    hierarchy::{Mirror, NodeName},
    image::{Digest, Reference, Repository, Tag, Tagged, packages::PackageUpdate},
};

/// The state of the store, the upstreams and the files at one time.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Observed {
    /// The nodes in view: the selected ones and their descendants.
    pub nodes: BTreeMap<NodeName, NodeFacts>,
    /// The published images of parents outside the view, and of the other platforms of images in view.
    pub outside: Parents,
    /// Each upstream as it is written in a Dockerfile.
    pub upstreams: BTreeMap<String, Upstream>,
    /// Upstreams that neither the engine nor a registry has. Only the images that name one fail.
    pub missing: BTreeMap<String, Missing>,
}

/// The facts about one node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeFacts {
    pub inputs: Inputs,
    /// Details of the inputs, to name the changed ones.
    pub detail: Detail,
    /// The fingerprint of the present inputs; `None` if a parent's image must be built first.
    pub fingerprint: Option<Fingerprint>,
    /// The image under the build tag of [`fingerprint`](Self::fingerprint).
    pub staged: Option<Digest>,
    /// The digest of each moving tag that does not contain the fingerprint.
    pub moving: BTreeMap<Tag, Option<Digest>>,
    /// For an image with several platforms: the image for this platform under each of the digests that its tags have.
    pub members: Members,
    /// The stable tags in other registries.
    pub elsewhere: BTreeMap<Tagged, Option<Digest>>,
    /// The stable tags: they decide whether the node is published.
    pub stable: Vec<Tag>,
    /// Whether a refresh is due.
    pub due: Option<Due>,
    /// Updates of packages that the published image added; `None` if the query was not made or failed.
    pub updates: Option<Vec<PackageUpdate>>,
    /// It was due for this epoch, and no updates are available.
    pub checked: Option<Epoch>,
    /// The published image.
    pub published: Option<Published>,
    /// Its tags were rolled back, and are held.
    pub hold: Option<Hold>,
}

/// For each index, the image of one platform. `None`: the index must be made again. A digest that is not in it is an
/// image itself.
pub type Members = BTreeMap<Digest, Option<Digest>>;

/// The image that a tag with this digest has for a node.
pub(super) fn image_under<'m>(
    members: &'m Members,
    head: Option<&'m Digest>,
) -> Option<&'m Digest> {
    let head = head?;
    members.get(head).map_or(Some(head), Option::as_ref)
}

/// A refresh that is due without a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Due {
    Age {
        /// The field of the node.
        every: Duration,
        /// The last refresh.
        last: Timestamp,
    },
    /// A tick of its schedule has passed.
    Tick {
        at: Timestamp,
        /// The last refresh.
        last: Timestamp,
    },
    /// Updates are available, at any age.
    Updates,
}

/// The image under a node's first moving tag.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Published {
    pub digest: Digest,
    /// Its inputs; `None` if they are unknown or were not read.
    pub built_from: Option<BuiltFrom>,
    /// Inputs of later builds that left this image unchanged, the newest first.
    pub taken_in: Vec<BuiltFrom>,
}

/// The labels of a published image.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LastBuild {
    /// The time of the image, which may be that of a cached layer.
    pub created: Option<Timestamp>,
    /// When the run began that built it.
    pub built: Option<Timestamp>,
    /// In bytes: unpacked in an engine, compressed in a registry.
    pub size: Option<u64>,
    /// `None` if the label is missing or has an unknown format.
    pub built_from: Option<BuiltFrom>,
    /// The hierarchy that it was built by; `None` if the label is missing.
    pub hierarchy: Option<String>,
}

impl LastBuild {
    /// When it was built, as far as that is known.
    pub fn at(&self) -> Option<Timestamp> {
        self.built.or(self.created)
    }
}

/// For nodes that were read and are published.
pub type LastBuilds = BTreeMap<NodeName, LastBuild>;

/// How an upstream and its copy in the mirror differ; those that need an action first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum CopyState {
    /// Neither its registry nor the mirror has it.
    Missing,
    /// Its registry does not answer, and the mirror has no copy.
    Unreachable,
    /// Its registry does not have it any longer.
    OnlyCopy,
    /// Its registry does not answer.
    Unconfirmed,
    /// Its tag points at another image than the copy.
    Moved,
    /// The mirror has no copy yet.
    New,
    /// This command copied it.
    Copied,
    Current,
}

/// An image from outside the hierarchy, resolved once for the whole run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Upstream {
    pub reference: Reference,
    /// The digest in the fingerprint of its children, to which they are pinned.
    pub digest: Digest,
    pub place: DigestSource,
}

impl Upstream {
    /// The repository that the engine pulls it from.
    pub fn repository(&self, mirror: Option<&Mirror>) -> Repository {
        let copy = mirror.filter(|_| self.place == DigestSource::Mirror);
        let copy = copy.and_then(|mirror| mirror.repository_of(&self.reference.repository));
        copy.unwrap_or_else(|| self.reference.repository.clone())
    }
}

/// Why an upstream cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Missing {
    /// A sentence that names the upstream.
    pub why: String,
    /// The registry denies access or does not answer; otherwise the upstream does not exist.
    pub is_of_registry: bool,
    pub hint: Option<String>,
}

impl Missing {
    /// Neither the engine nor a registry has it.
    pub fn gone(reference: &Reference) -> Self {
        let why =
            format!("`{reference}` does not exist: neither the engine nor its registry has it");
        Self { why, is_of_registry: false, hint: None }
    }
}

/// The source of an upstream's digest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DigestSource {
    /// A manifest in its registry; pulled by digest.
    Registry,
    /// The same manifest in the mirror.
    Mirror,
    /// An image of the engine, named by its ID.
    Engine,
}
