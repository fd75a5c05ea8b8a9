//! The files of a build context: walked in one way for hashing and for sending.

use std::{
    io,
    path::{Path, PathBuf},
};

use super::ignore::Ignore;
use crate::image::Digest;

/// A build context: a folder, and what is left out of it.
#[derive(Clone, Debug)]
pub struct Context {
    /// Absolute.
    pub root: PathBuf,
    pub ignore: Ignore,
}

/// One thing in a context that is not ignored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Relative to the root, with `/`, never starting with it.
    pub path: PathBuf,
    pub kind: Kind,
    /// The permission bits, `0o7777`.
    pub mode: u32,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    File {
        size: u64,
    },
    Folder,
    /// Never followed.
    Link {
        target: PathBuf,
    },
}

#[derive(Debug, thiserror::Error)]
pub enum ContextError {
    #[error("cannot read `{}` of the build context", path.display())]
    Io {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("`{}` of the build context is a {what}; docker takes files, folders and symbolic links", path.display())]
    Unsupported { path: PathBuf, what: &'static str },
    #[error("`{}` changed while it was read", path.display())]
    Changed { path: PathBuf },
}

impl Context {
    /// Reads `<dockerfile>.dockerignore`, else `.dockerignore` of the context.
    pub fn open(_root: &Path, _dockerfile: &Path) -> Result<Self, ContextError> {
        todo!()
    }

    /// Every entry that is not ignored, in order of path; a folder before what is in it.
    pub fn entries(&self) -> Result<Vec<Entry>, ContextError> {
        todo!()
    }

    /// A digest over sorted paths, types, exec bits, sizes, contents and link targets.
    pub fn digest(&self) -> Result<Digest, ContextError> {
        todo!()
    }
}
