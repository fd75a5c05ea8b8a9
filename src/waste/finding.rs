//! One finding: bytes of an image that it need not have.

use std::{collections::BTreeSet, fmt, path::PathBuf};

use serde::Serialize;

use crate::image::Digest;

/// Why an image need not have bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum WasteKind {
    /// A later layer deletes the file.
    Deleted,
    /// A later layer has other content at the same path.
    Replaced,
    /// A later layer has the same content at the same path.
    Rewritten(RewriteCause),
    /// A later layer has the same content at another path, and deletes this one.
    Moved,
    /// A cache of this program.
    Cache(&'static str),
    /// A repository of git, Mercurial or Subversion.
    VersionControl,
    Documentation,
    /// Packages that only builds need, in an image without descendants.
    BuildTools,
    /// Another file of the image has the same content.
    Duplicate,
    /// The name of the file looks like that of a secret.
    Secret,
}

/// What a later layer changed of a file, but for its content. Neither: its times, or extended attributes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct RewriteCause {
    pub mode: bool,
    pub owner: bool,
}

/// Files of one kind, in one layer, in one folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WasteFinding {
    /// The image whose Dockerfile causes it.
    pub owner: WasteOwner,
    pub kind: WasteKind,
    /// Absolute in the image. A folder ends with `/`. Of [`WasteKind::BuildTools`]: names of packages.
    pub path: String,
    /// How many files, or packages.
    pub files: usize,
    /// The largest files or packages, at most [`LISTED`](Self::LISTED).
    pub listed: Vec<FindingFile>,
    /// Unpacked bytes.
    pub bytes: u64,
    /// The layer that contains the bytes.
    pub layer: LayerPlace,
    /// The later layer that hides them.
    pub by: Option<LayerPlace>,
    /// Of a single file: where the same content is.
    pub same: Option<String>,
    /// How many other published images contain them.
    pub carried_by: usize,
    pub fix: WasteFix,
}

/// A file or a package of a finding.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FindingFile {
    /// Absolute in the image; of a package its name.
    pub path: String,
    /// Unpacked.
    pub bytes: u64,
}

impl WasteFinding {
    /// A repository of git may have a hundred thousand files.
    pub const LISTED: usize = 1000;
}

/// The image that has a layer.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum WasteOwner {
    /// An image of the hierarchy.
    Node(String),
    /// An earlier image of a node of the hierarchy.
    Older(String),
    /// An image from outside.
    Upstream(String),
}

/// A layer of an image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LayerPlace {
    pub owner: WasteOwner,
    /// Counted from 1, at the base.
    pub number: usize,
    /// The digest of the uncompressed layer.
    pub digest: Digest,
    /// The instruction that made it.
    pub source: Option<SourceLine>,
    /// Its entry in the history of the image, if it has one.
    pub history: Option<String>,
}

/// An instruction of a Dockerfile.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SourceLine {
    /// Absolute.
    pub file: PathBuf,
    /// Counted from 1.
    pub line: usize,
    /// On one line.
    pub text: String,
    /// Its number among the instructions of the file.
    #[serde(skip)]
    pub ordinal: usize,
}

/// What to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WasteFix {
    /// One sentence.
    pub advice: String,
    /// The line to write, if it can be known, and the place: an instruction that it replaces, or a file.
    pub write: Option<(WritePlace, String)>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WritePlace {
    /// In place of the instruction in this line.
    Instead(PathBuf, usize),
    /// At the end of this file.
    Append(PathBuf),
}

/// Findings of one kind and layer, before their places are known.
#[derive(Debug)]
pub(super) struct WasteGroup {
    pub(super) kind: WasteKind,
    pub(super) layer: usize,
    pub(super) by: Option<usize>,
    /// Without the leading `/`; a folder ends with `/`.
    pub(super) path: String,
    pub(super) files: usize,
    pub(super) listed: Vec<FindingFile>,
    /// Whether the layer has no other files.
    pub(super) is_whole: bool,
    pub(super) bytes: u64,
    /// Of a single file: where the same content is.
    pub(super) same: Option<String>,
    /// What the later layer made of the files.
    pub(super) modes: BTreeSet<u32>,
    pub(super) owners: BTreeSet<(u64, u64)>,
}

impl WasteKind {
    /// Whether the image loses nothing without the bytes. The other kinds are advice.
    pub fn is_certain(self) -> bool {
        match self {
            Self::Deleted
            | Self::Replaced
            | Self::Rewritten(_)
            | Self::Moved
            | Self::Cache(_)
            | Self::VersionControl => true,
            Self::Documentation | Self::BuildTools | Self::Duplicate | Self::Secret => false,
        }
    }

    /// The name in JSON.
    pub fn name(self) -> &'static str {
        match self {
            Self::Deleted => "deleted",
            Self::Replaced => "replaced",
            Self::Rewritten(_) => "rewritten",
            Self::Moved => "moved",
            Self::Cache(_) => "cache",
            Self::VersionControl => "version-control",
            Self::Documentation => "documentation",
            Self::BuildTools => "build-tools",
            Self::Duplicate => "duplicate",
            Self::Secret => "secret",
        }
    }
}

impl fmt::Display for WasteKind {
    /// In a few words.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = match self {
            Self::Deleted => "deleted by a later layer",
            Self::Replaced => "replaced by a later layer",
            Self::Rewritten(RewriteCause { mode: true, owner: false }) => {
                "same content again, with another mode"
            }
            Self::Rewritten(RewriteCause { mode: false, owner: true }) => {
                "same content again, with another owner"
            }
            Self::Rewritten(RewriteCause { mode: true, owner: true }) => {
                "same content again, with another mode and owner"
            }
            Self::Rewritten(RewriteCause { mode: false, owner: false }) => {
                "same content again, with another time or attribute"
            }
            Self::Moved => "same content again, at another path",
            Self::Cache(program) => return write!(f, "cache of {program}"),
            Self::VersionControl => "repository of version control",
            Self::Documentation => "documentation",
            Self::BuildTools => "build tools",
            Self::Duplicate => "same content as another file",
            Self::Secret => "looks like a secret",
        };
        f.write_str(text)
    }
}

impl WasteOwner {
    pub fn name(&self) -> &str {
        match self {
            Self::Node(name) | Self::Older(name) | Self::Upstream(name) => name,
        }
    }
}
