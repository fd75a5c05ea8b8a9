//! The facts a plan is made of: what is published, and what today's inputs are.

use std::{collections::BTreeMap, time::Duration};

use jiff::Timestamp;

use super::Hold;
use crate::{
    fingerprint::{BuiltFrom, Detail, Epoch, Fingerprint, Inputs, Parents},
    hierarchy::NodeName,
    image::{Digest, Reference, Tag, packages::Update},
};

/// Everything that was asked of the store, the upstreams and the files, at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Observed {
    /// Of nodes in view: those selected and what is below them.
    pub nodes: BTreeMap<NodeName, NodeFacts>,
    /// The published images of nodes out of view that nodes in view are based on.
    pub outside: Parents,
    /// Each upstream as it is written in a Dockerfile.
    pub upstreams: BTreeMap<String, Upstream>,
    /// Upstreams that neither the engine nor a registry gives. Only the images that name one fail.
    pub missing: BTreeMap<String, Missing>,
}

/// What is known of one node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeFacts {
    pub inputs: Inputs,
    /// What the inputs consist of, to say which of it changed.
    pub detail: Detail,
    /// Of today's inputs; `None` while a parent's own image is still to be built.
    pub fingerprint: Option<Fingerprint>,
    /// The image under the build tag of [`fingerprint`](Self::fingerprint).
    pub staged: Option<Digest>,
    /// Where each moving tag that can already be named points.
    pub moving: BTreeMap<Tag, Option<Digest>>,
    /// The first moving tag that is the same every day, and those like it: they decide whether
    /// the node is published.
    pub stable: Vec<Tag>,
    /// Its image is to be refreshed, by its age.
    pub due: Option<Due>,
    /// What is newer of the packages that the published image itself has added; `None` if it was
    /// not asked, or did not answer.
    pub updates: Option<Vec<Update>>,
    /// It was due for this epoch, and there is nothing newer.
    pub checked: Option<Epoch>,
    /// The image people pull today.
    pub published: Option<Published>,
    /// Its tags were rolled back, and stay there.
    pub hold: Option<Hold>,
}

/// A refresh that is due by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Due {
    Age {
        /// As the node has it.
        every: Duration,
        /// When its packages were last taken in.
        last: Timestamp,
    },
    /// A tick of its schedule has come.
    Tick {
        at: Timestamp,
        /// When its packages were last taken in.
        last: Timestamp,
    },
    /// It has newer packages, whatever its age.
    Updates,
}

/// The image under a node's first moving tag.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Published {
    pub digest: Digest,
    /// What it was built from; `None` if it does not say, or was not asked.
    pub built_from: Option<BuiltFrom>,
    /// Inputs of later builds whose result was this image, the newest first.
    pub taken_in: Vec<BuiltFrom>,
}

/// What a published image says of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LastBuild {
    /// When it was built, if it says.
    pub created: Option<Timestamp>,
    /// In bytes: in an engine unpacked, in a registry packed.
    pub size: Option<u64>,
    /// `None` if it does not say, or not in a way that we can read.
    pub built_from: Option<BuiltFrom>,
}

/// Of nodes that were asked about, and are published.
pub type LastBuilds = BTreeMap<NodeName, LastBuild>;

/// An image from outside the hierarchy, resolved once for the whole run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Upstream {
    pub reference: Reference,
    /// What the fingerprint of its children contains, and what they are pinned to.
    pub digest: Digest,
    pub place: Place,
}

/// Why an upstream cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Missing {
    /// A sentence that names the upstream.
    pub why: String,
    /// The registry refuses to give it; otherwise it does not exist.
    pub is_refused: bool,
    pub hint: Option<String>,
}

impl Missing {
    /// Neither the engine nor a registry has it.
    pub fn gone(reference: &Reference) -> Self {
        let why =
            format!("`{reference}` does not exist: neither the engine nor its registry has it");
        Self { why, is_refused: false, hint: None }
    }
}

/// Where an upstream's digest was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// A manifest in its registry, to be pulled by digest.
    Registry,
    /// An image of the engine, named by its ID.
    Engine,
}
