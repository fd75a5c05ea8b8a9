//! The files of a build context, in the same walk for hashing and for sending.
//!
//! **Invariant:** the hashed entries are the sent entries. A [`ContextEntry`] has exactly the fields for both: a
//! path, a kind, a [mode](ContextEntry::mode). It has no times and owners: the sender sends the same ones for every
//! entry.
//!
//! **Invariant:** nothing outside the context is read. Each folder is opened relative to its parent, and no
//! symbolic link is followed, even if it replaces a folder during the walk.

mod content;
mod manifest;
mod modes;
mod stamp;
#[cfg(test)]
mod tests;
mod walk;

use std::{
    fs, io,
    path::{Path, PathBuf},
};

pub use content::ContentReader;
pub use manifest::{ContextManifest, Tally};

use walk::Walked;

use super::{
    cache::HashCache,
    ignore::{Ignore, IgnoreError},
    listing::readable,
};
use crate::{hierarchy::Node, host::bounded, image::Digest};

/// A build context: a folder and its ignore patterns.
#[derive(Clone, Debug)]
pub struct Context {
    /// Absolute, with symbolic links resolved.
    pub root: PathBuf,
    pub ignore: Ignore,
    pub modes: Modes,
}

/// The modes of its entries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Modes {
    /// Tracked files have the mode of git: [`ContextEntry::mode`].
    Git,
    /// Every file has its own mode: for a prepared copy of a context.
    Own,
}

/// A file, folder or link that is not ignored, or a folder that contains one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ContextEntry {
    /// Relative to the root, separated by `/`, without a leading `/`.
    pub path: PathBuf,
    pub kind: EntryKind,
    /// The permission bits in the image.
    ///
    /// A tracked file is `0755` if its owner may execute it, else `0644`. A folder with a tracked file is
    /// `0755`. Git keeps only that; other bits depend on the umask of the checkout. A link is `0777`. Every
    /// other entry has its own mode, and so does a tracked file with a bit that no checkout sets: setuid,
    /// setgid, sticky. Setgid on a tracked folder is dropped, because it is inherited from the folder of the
    /// checkout.
    pub mode: u32,
    /// What git does not store, so tracked files have none of it.
    pub extras: EntryExtras,
}

/// What a file may have besides its content and mode.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EntryExtras {
    /// An earlier path of the same file, if this is a hard link.
    pub hard_link: Option<PathBuf>,
    /// The extended attribute `security.capability`, which `setcap` writes to programs. Engines without BuildKit
    /// keep it.
    pub capabilities: Option<Vec<u8>>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EntryKind {
    File {
        size: u64,
    },
    Folder,
    /// Never followed.
    Link {
        target: PathBuf,
    },
}

impl ContextEntry {
    /// Whether its path and its link target are UTF-8.
    pub fn is_text(&self) -> bool {
        let target = match &self.kind {
            EntryKind::Link { target } => target.to_str(),
            EntryKind::File { .. } | EntryKind::Folder => Some(""),
        };
        self.path.to_str().and(target).is_some()
    }
}

#[derive(Debug, thiserror::Error)]
pub enum ContextError {
    #[error("cannot read `{}` of the build context", path.display())]
    Io {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error(
        "`{}` of the build context is a {what}; docker takes files, folders and symbolic links\n\
         hint: name it in `.dockerignore`", path.display()
    )]
    Unsupported { path: PathBuf, what: &'static str },
    #[error(
        "the name of `{}` in the build context, or what it links to, is not UTF-8, and BuildKit \
         takes no other names\nhint: rename it, or name it in `.dockerignore`",
        readable(path)
    )]
    NotText { path: PathBuf },
    #[error("`{}` changed while it was read", path.display())]
    Changed { path: PathBuf },
    #[error("`{}`, {error}", path.display())]
    Ignore { path: PathBuf, error: IgnoreError },
    #[error("`{}` is a link that leads out of the build context", path.display())]
    Outside { path: PathBuf },
    #[error(
        "the build context `{}` is not what it was when the plan was made\n\
         hint: run `rebuild` again", root.display()
    )]
    Stale { root: PathBuf },
}

impl Context {
    /// Reads `<dockerfile>.dockerignore`, else `.dockerignore` of the context.
    ///
    /// `root` is absolute; `dockerfile` is absolute or relative to it.
    pub fn open(root: &Path, dockerfile: &Path) -> Result<Self, ContextError> {
        let io = |source| ContextError::Io { path: root.to_owned(), source };
        let root = root.canonicalize().map_err(io)?;
        if !root.is_dir() {
            return Err(io(io::ErrorKind::NotADirectory.into()));
        }
        let mut beside = root.join(dockerfile).into_os_string();
        beside.push(".dockerignore");
        let ignore = match read_ignore(Path::new(&beside), &root)? {
            Some(ignore) => ignore,
            None => read_ignore(&root.join(".dockerignore"), &root)?.unwrap_or_default(),
        };
        Ok(Self { root, ignore, modes: Modes::Git })
    }

    /// The context of a node, without the files that only other platforms of its image use.
    pub fn of(node: &Node) -> Result<Self, ContextError> {
        let context = Self::open(&node.context, &node.dockerfile.path)?;
        if node.other_platforms_files.is_empty() {
            return Ok(context);
        }
        let lines = node.other_platforms_files.join("\n");
        let ignore = context.ignore.with(lines.as_bytes());
        let file = || node.context.clone();
        let ignore = ignore.map_err(|error| ContextError::Ignore { path: file(), error })?;
        Ok(Self { ignore, ..context })
    }

    /// A folder under a name of `contexts`: without a Dockerfile, and with the `.dockerignore` in it.
    pub fn named(root: &Path) -> Result<Self, ContextError> {
        Self::open(root, Path::new(".rebuild-context"))
    }

    /// Every entry that is not ignored, in order of the paths' bytes: a folder before its entries.
    pub fn entries(&self) -> Result<Vec<ContextEntry>, ContextError> {
        Ok(self.walk()?.into_iter().map(|(entry, _)| entry).collect())
    }

    /// Every entry with the digest of its content, with which a later run finds the changed ones. Files with
    /// a known hash are not read.
    pub fn manifest(&self, hashes: &HashCache) -> Result<ContextManifest, ContextError> {
        manifest::read(self, self.walk()?, hashes)
    }

    fn walk(&self) -> Result<Vec<walk::Seen>, ContextError> {
        let Walked { mut seen, mut linked } = walk::walk(&self.root, &self.ignore)?;
        if self.modes == Modes::Git {
            modes::normalise(&self.root, seen.iter_mut().map(|(entry, _)| entry), &mut linked);
        }
        linked.link(seen.iter_mut().map(|(entry, _)| entry));
        Ok(seen)
    }

    /// A digest over sorted paths, types, modes, sizes, contents and targets of links. Reads all files.
    pub fn digest(&self) -> Result<Digest, ContextError> {
        Ok(self.manifest(&HashCache::default())?.digest())
    }

    /// Opens a file of the context. Reading it to its end fails if it differs from the file of the walk.
    pub fn read(&self, entry: &ContextEntry) -> Result<ContentReader, ContextError> {
        ContentReader::open(&self.root, entry)
    }

    /// Opens a file that may not be an entry, without following links.
    pub fn script(&self, path: &Path) -> Result<fs::File, ContextError> {
        content::regular_file(&self.root, path)
    }
}

/// The patterns of a file, if it exists. It may be a link within the context and its own folder, but not to
/// another place, because messages quote it.
fn read_ignore(path: &Path, root: &Path) -> Result<Option<Ignore>, ContextError> {
    let io = |source| ContextError::Io { path: path.to_owned(), source };
    // Resolving a path reads each of its folders, so it is done only if necessary.
    let resolve = |found: fs::Metadata| {
        if !found.is_symlink() {
            return Ok((path.to_owned(), true));
        }
        let real = path.canonicalize()?;
        let folder = path.parent().and_then(|folder| folder.canonicalize().ok());
        let is_inside =
            real.starts_with(root) || folder.is_some_and(|folder| real.starts_with(folder));
        Ok((real, is_inside))
    };
    let (real, is_inside) = match fs::symlink_metadata(path).and_then(resolve) {
        Ok(resolved) => resolved,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        // The parent of the Dockerfile is a file: reading the Dockerfile reports that.
        Err(error) if error.kind() == io::ErrorKind::NotADirectory => return Ok(None),
        Err(error) => return Err(io(error)),
    };
    if !is_inside {
        return Err(ContextError::Outside { path: path.to_owned() });
    }
    let text = bounded::read(&real, bounded::TEXT).map_err(io)?;
    let ignore = Ignore::parse(&text);
    ignore.map(Some).map_err(|error| ContextError::Ignore { path: path.to_owned(), error })
}
