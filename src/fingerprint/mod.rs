//! The identity of a build: one hash over everything that can change its result.
//!
//! **Invariant:** two machines with the same files, arguments, parents and upstreams compute the same
//! fingerprint. Times, owners and the path of the checkout never enter it.

mod built_from;
mod cache;
mod checks;
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
    built_from::{BuiltFrom, LABEL_PREFIX, NODE, Revision, node_of},
    cache::HashCache,
    checks::Checks,
    detail::Detail,
    epoch::Epoch,
    listing::{Listing, ListingDifference, readable},
    source::{NodeFiles, source},
    taken_in::TakenIn,
};
use crate::{
    hierarchy::NodeName,
    image::{Digest, Platform, Tag},
};

/// The identity of a build. The tested image is stored under its [build tag](Self::build_tag).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Fingerprint(Digest);

/// Whether a tag is a build tag.
pub fn is_build_tag(tag: &Tag) -> bool {
    let is_hex = |digit: char| matches!(digit, '0'..='9' | 'a'..='f');
    let digits = tag.as_str().strip_prefix("rb-");
    digits.is_some_and(|digits| digits.len() == 32 && digits.chars().all(is_hex))
}

/// All inputs of a node's build except its parents' digests, which are known only after the parents are
/// built.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Inputs {
    /// The Dockerfile's bytes.
    pub dockerfile: Digest,
    /// The context after `.dockerignore`: [`context::Context::digest`].
    pub context: Digest,
    /// Build arguments, target, declared labels, the prepare command, and for each secret its ID and source.
    /// Not its value, which differs from machine to machine, unless git tracks its file: then the content is
    /// not secret and is included.
    pub settings: Digest,
    /// Own and inherited tests.
    pub tests: Digest,
    pub platform: Platform,
    /// Each upstream as it is written, and its digest.
    pub upstreams: BTreeMap<String, Digest>,
    /// The last refresh; `None` if it was never refreshed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub epoch: Option<Epoch>,
}

/// The digest of each parent to which a node is pinned.
pub type Parents = BTreeMap<NodeName, Digest>;

impl Inputs {
    pub fn fingerprint(&self, parents: &Parents) -> Fingerprint {
        Fingerprint(encoding::fingerprint(self, parents))
    }
}

impl Fingerprint {
    /// `rb-` and the first 32 digits. It never moves after the push.
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
