//! Identity: one hash over everything that can change what a node's build produces.
//!
//! **Invariant:** two machines with the same files, arguments, parents and upstreams compute the
//! same fingerprint; times, owners and the place of the checkout never enter it.

mod built_from;
mod cache;
pub mod context;
mod detail;
pub mod encoding;
mod epoch;
pub mod ignore;
mod listing;
mod source;
mod taken_in;

use std::{collections::BTreeMap, fmt};

use serde::{Deserialize, Serialize};

pub use self::{
    built_from::{BuiltFrom, LABEL_PREFIX, Revision, node_of},
    cache::HashCache,
    detail::Detail,
    epoch::Epoch,
    listing::{Difference, Listing, readable},
    source::{Source, source},
    taken_in::TakenIn,
};
use crate::{
    hierarchy::NodeName,
    image::{Digest, Platform, Tag},
};

/// The identity of a build. Its [build tag](Self::build_tag) is where the tested image is stored.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Fingerprint(Digest);

/// Whether a tag is one that only we make.
pub fn is_build_tag(tag: &Tag) -> bool {
    let is_hex = |digit: char| matches!(digit, '0'..='9' | 'a'..='f');
    let digits = tag.as_str().strip_prefix("rb-");
    digits.is_some_and(|digits| digits.len() == 32 && digits.chars().all(is_hex))
}

/// Everything that a node's build depends on but its parents' digests, which are known only once
/// the parents are built.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Inputs {
    /// The Dockerfile's bytes.
    pub dockerfile: Digest,
    /// The context after `.dockerignore`: [`context::Context::digest`].
    pub context: Digest,
    /// Build arguments, target, declared labels, the command that fills the context, and for
    /// each secret its ID and source. Never its value, which differs from one machine to the next;
    /// unless it is in a file that git tracks, which is no secret and enters by content.
    pub settings: Digest,
    /// Own and inherited tests.
    pub tests: Digest,
    pub platform: Platform,
    /// Each upstream as it is written, and what it was resolved to.
    pub upstreams: BTreeMap<String, Digest>,
    /// As of when its packages are; none if it was never refreshed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub epoch: Option<Epoch>,
}

/// The digest of each parent that a node was, or is to be, pinned to.
pub type Parents = BTreeMap<NodeName, Digest>;

impl Inputs {
    pub fn fingerprint(&self, parents: &Parents) -> Fingerprint {
        Fingerprint(encoding::fingerprint(self, parents))
    }
}

impl Fingerprint {
    /// `rb-` and the first 32 digits. It never moves once it is pushed.
    pub fn build_tag(&self) -> Tag {
        format!("rb-{}", &self.0.hex()[..32]).parse().expect("hexadecimal digits make a tag")
    }

    pub fn hex(&self) -> &str {
        self.0.hex()
    }

    pub fn short(&self) -> &str {
        self.0.short()
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.0.hex())
    }
}
