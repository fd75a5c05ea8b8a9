//! Why an image is built, promoted or left alone: data first, a sentence second.

use std::fmt;

use serde::Serialize;

use super::sentence::sentence;
use crate::{
    fingerprint::Difference,
    hierarchy::NodeName,
    image::{Digest, Tag},
};

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "reason")]
pub enum Reason {
    /// Named on the command line.
    Requested,
    /// None of its tags exists.
    NeverBuilt,
    /// Something of its own changed since the published image was built.
    Changed {
        what: Vec<Change>,
        /// Which files and settings, where the published image tells; sorted by `what`.
        #[serde(skip_serializing_if = "Vec::is_empty")]
        parts: Vec<Part>,
    },
    /// Something of its own differs from a commit that was named on the command line.
    ChangedSince {
        since: String,
        what: Vec<Change>,
        #[serde(skip_serializing_if = "Vec::is_empty")]
        parts: Vec<Part>,
    },
    /// An upstream tag points at another image now.
    UpstreamMoved { upstream: String, was: Digest, now: Digest },
    /// A parent's step comes first and may change it.
    ParentRebuilt { parent: NodeName },
    /// Its published image stands on an older image of the parent.
    ParentMoved { parent: NodeName },
    /// The published image does not say what it was built from.
    Unknown,
    /// The published image is of today's inputs, but the tag it was stored under is gone.
    BuildTagGone,
    /// The tested image is stored, and these tags do not point at it yet.
    TagsBehind { tags: Vec<Tag> },
    /// Every tag points at the image of today's inputs.
    UpToDate,
}

/// A kind of input of one node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Change {
    Dockerfile,
    Context,
    Settings,
    Tests,
    Platform,
    Upstreams,
    Refresh,
    /// Any field of its entry in the file.
    Entry,
}

/// One thing of a change.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Part {
    pub what: Change,
    #[serde(rename = "is")]
    pub difference: Difference,
    /// A path in the context, `build_args.NAME`, `labels.NAME`, `target`, `prepare`.
    pub name: String,
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Dockerfile => "its Dockerfile",
            Self::Context => "its build context",
            Self::Settings => "its settings in the hierarchy",
            Self::Tests => "its tests",
            Self::Platform => "its platform",
            Self::Upstreams => "its list of upstream images",
            Self::Refresh => "its refresh epoch",
            Self::Entry => "its entry in hierarchy.yaml",
        })
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Requested => f.write_str("asked for"),
            Self::NeverBuilt => f.write_str("never built"),
            Self::Changed { what, parts } => f.write_str(&sentence(what, parts, None)),
            Self::ChangedSince { since, what, parts } => {
                write!(f, "{} since `{since}`", sentence(what, parts, None))
            }
            Self::UpstreamMoved { upstream, was, now } => {
                write!(f, "`{upstream}` moved from {} to {}", was.short(), now.short())
            }
            Self::ParentRebuilt { parent } => write!(f, "`{parent}` is rebuilt"),
            Self::ParentMoved { parent } => write!(f, "it stands on an older `{parent}`"),
            Self::Unknown => f.write_str("what it was built from is not known"),
            Self::BuildTagGone => f.write_str("its build tag is gone"),
            Self::TagsBehind { tags } => {
                let tags: Vec<String> = tags.iter().map(|tag| format!("`{tag}`")).collect();
                let verb = if tags.len() == 1 { "does" } else { "do" };
                write!(f, "built and tested, but {} {verb} not point at it", tags.join(", "))
            }
            Self::UpToDate => f.write_str("up to date"),
        }
    }
}

impl Reason {
    /// Whether it holds whatever becomes of the parents.
    pub(super) fn is_its_own(&self) -> bool {
        matches!(self, Self::NeverBuilt | Self::Changed { .. } | Self::UpstreamMoved { .. })
    }

    /// The same of a node that is named in it: `` `files/x` of `os-base` changed ``.
    pub fn of(&self, node: &NodeName) -> String {
        match self {
            Self::Requested => format!("`{node}` was asked for"),
            Self::NeverBuilt => format!("`{node}` was never built"),
            Self::Changed { what, parts } => sentence(what, parts, Some(node)),
            Self::ChangedSince { since, what, parts } => {
                format!("{} since `{since}`", sentence(what, parts, Some(node)))
            }
            Self::UpstreamMoved { .. } => format!("{self} below `{node}`"),
            Self::ParentMoved { parent } => format!("`{node}` stands on an older `{parent}`"),
            Self::Unknown => format!("what `{node}` was built from is not known"),
            Self::BuildTagGone => format!("the build tag of `{node}` is gone"),
            Self::UpToDate => format!("`{node}` is up to date"),
            other => format!("`{node}`: {other}"),
        }
    }
}
