//! Decides what to rebuild, and why. Pure: facts in, a [`Plan`] out.

mod reason;

use std::collections::BTreeMap;

use serde::Serialize;

pub use self::reason::{Change, Reason};
use crate::{
    fingerprint::{Inputs, Parents},
    hierarchy::NodeName,
    image::{Digest, Tag},
};

/// What a run will do. Printing it is `rebuild plan`; executing it is `rebuild run`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// The closure, in build order: every step stands after those it waits for.
    pub steps: Vec<Step>,
    /// What is published of the parents outside the closure.
    pub given: Parents,
}

/// One image of the closure.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    pub node: NodeName,
    pub action: Action,
    pub reason: Reason,
    /// The steps of this plan that must succeed first.
    pub after: Vec<NodeName>,
    pub inputs: Inputs,
    /// What its moving tags point at now. Promotion makes sure that it is still so.
    pub moving: BTreeMap<Tag, Option<Digest>>,
    /// The image that is published now.
    pub published: Option<Digest>,
}

/// What is to be done with an image.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase", tag = "action")]
pub enum Action {
    /// Build, unless its parents come out such that its build tag already exists.
    Build {
        /// Build it even if the build tag exists.
        forced: bool,
    },
    /// The tested image is stored; only its moving tags are not there yet.
    Promote { digest: Digest },
    /// Nothing.
    Keep { digest: Digest },
}
