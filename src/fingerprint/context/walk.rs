//! Walks a build context, and opens each folder by its name relative to its parent.

use std::{
    collections::HashMap,
    ffi::{CString, OsString},
    io,
    os::{
        fd::{AsFd, BorrowedFd, OwnedFd},
        unix::ffi::{OsStrExt, OsStringExt},
    },
    path::{Path, PathBuf},
};

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, Stat};

use super::{ContextEntry, ContextError, EntryExtras, EntryKind, stamp::Stamp};
use crate::fingerprint::ignore::{Ignore, Matched};

/// The flags for opening folders: never follow a link.
pub(super) const FOLDER: OFlags =
    OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// An entry with its metadata.
pub(super) type Seen = (ContextEntry, Stamp);

pub(super) struct Walked {
    pub(super) seen: Vec<Seen>,
    pub(super) linked: Linked,
}

/// The files with several names, by path: device and inode.
#[derive(Default)]
pub(super) struct Linked(HashMap<PathBuf, (i128, i128)>);

impl Linked {
    pub(super) fn remove(&mut self, path: &Path) {
        self.0.remove(path);
    }

    /// Links each of these to the first one. `entries` are in order.
    pub(super) fn link<'e>(&self, entries: impl Iterator<Item = &'e mut ContextEntry>) {
        let mut first: HashMap<(i128, i128), PathBuf> = HashMap::new();
        for entry in entries.filter(|_| !self.0.is_empty()) {
            let Some(file) = self.0.get(&entry.path) else { continue };
            entry.extras.hard_link = first.get(file).cloned();
            if entry.extras.hard_link.is_none() {
                first.insert(*file, entry.path.clone());
            }
        }
    }
}

pub(super) fn walk(root: &Path, ignore: &Ignore) -> Result<Walked, ContextError> {
    let io = |source: rustix::io::Errno| ContextError::Io {
        path: root.to_owned(),
        source: source.into(),
    };
    let fd = rustix::fs::open(root, FOLDER, Mode::empty()).map_err(io)?;
    let (path, held, entries) = (Vec::new(), Vec::new(), Vec::new());
    let mut walk = ContextWalk { ignore, path, held, entries, linked: Linked::default() };
    let names = names(fd.as_fd()).map_err(io)?;
    walk.folder(fd.as_fd(), names, &Matched::default())?;
    // Differs from the order of the walk: `a-b` is between `a` and `a/b`.
    walk.entries.sort_unstable_by(|(a, _), (b, _)| {
        a.path.as_os_str().as_bytes().cmp(b.path.as_os_str().as_bytes())
    });
    Ok(Walked { seen: walk.entries, linked: walk.linked })
}

struct ContextWalk<'a> {
    ignore: &'a Ignore,
    /// The present path.
    path: Vec<u8>,
    /// The ignored parent folders: they are sent only if an entry in them is sent.
    held: Vec<Seen>,
    entries: Vec<Seen>,
    linked: Linked,
}

impl ContextWalk<'_> {
    fn folder(
        &mut self,
        folder: BorrowedFd<'_>,
        names: Vec<CString>,
        parent: &Matched,
    ) -> Result<(), ContextError> {
        let length = self.path.len();
        for name in names {
            if length > 0 {
                self.path.push(b'/');
            }
            self.path.extend_from_slice(name.as_bytes());
            self.entry(folder, &name, parent)?;
            self.path.truncate(length);
        }
        Ok(())
    }

    fn entry(
        &mut self,
        folder: BorrowedFd<'_>,
        name: &CString,
        parent: &Matched,
    ) -> Result<(), ContextError> {
        let stat = rustix::fs::statat(folder, name, AtFlags::SYMLINK_NOFOLLOW);
        let stat = stat.map_err(|error| self.error(error))?;
        let kind = FileType::from_raw_mode(stat.st_mode);
        let (ignored, matched) = self.ignore.judge(&self.path, parent);
        if ignored && !(kind.is_dir() && self.ignore.may_except_below(&self.path)) {
            return Ok(());
        }
        let kind = self.kind(folder, name, &stat)?;
        let is_folder = kind == EntryKind::Folder;
        let mode = match kind {
            EntryKind::Link { .. } => 0o777,
            _ => Mode::from_raw_mode(stat.st_mode).bits() & 0o7777,
        };
        let is_file = matches!(kind, EntryKind::File { .. });
        let capabilities = (is_file && mode & 0o111 != 0).then(|| capabilities(folder, name));
        let extras = EntryExtras { capabilities: capabilities.flatten(), ..EntryExtras::default() };
        let entry = ContextEntry { path: self.path(), mode, kind, extras };
        if stat.st_nlink > 1 && is_file {
            let file = (i128::from(stat.st_dev), i128::from(stat.st_ino));
            self.linked.0.insert(entry.path.clone(), file);
        }
        let seen = (entry, Stamp::of(&stat));
        if !is_folder {
            self.entries.append(&mut self.held);
            self.entries.push(seen);
            return Ok(());
        }

        let opened = rustix::fs::openat(folder, name, FOLDER, Mode::empty())
            .and_then(|fd| Ok((names(fd.as_fd())?, fd)));
        let (names, fd): (_, OwnedFd) = match opened {
            // Ignored entries may be unreadable.
            Err(rustix::io::Errno::ACCESS) if ignored => return Ok(()),
            opened => opened.map_err(|error| self.error(error))?,
        };
        let depth = self.held.len();
        self.held.push(seen);
        if !ignored {
            self.entries.append(&mut self.held);
        }
        self.folder(fd.as_fd(), names, &matched)?;
        self.held.truncate(depth);
        Ok(())
    }

    fn kind(
        &self,
        folder: BorrowedFd<'_>,
        name: &CString,
        stat: &Stat,
    ) -> Result<EntryKind, ContextError> {
        let what = match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile => {
                return Ok(EntryKind::File { size: u64::try_from(stat.st_size).unwrap_or(0) });
            }
            FileType::Directory => return Ok(EntryKind::Folder),
            FileType::Symlink => {
                let target = rustix::fs::readlinkat(folder, name, Vec::new());
                let target = target.map_err(|error| self.error(error))?.into_bytes();
                return Ok(EntryKind::Link { target: OsString::from_vec(target).into() });
            }
            FileType::Fifo => "fifo",
            FileType::Socket => "socket",
            FileType::CharacterDevice | FileType::BlockDevice => "device",
            FileType::Unknown => "file of an unknown type",
        };
        Err(ContextError::Unsupported { path: self.path(), what })
    }

    fn path(&self) -> PathBuf {
        OsString::from_vec(self.path.clone()).into()
    }

    fn error(&self, error: rustix::io::Errno) -> ContextError {
        failed(self.path(), error.into())
    }
}

/// Of a program. A file system without extended attributes has none.
fn capabilities(folder: BorrowedFd<'_>, name: &CString) -> Option<Vec<u8>> {
    const FILE: OFlags =
        OFlags::RDONLY.union(OFlags::NOFOLLOW).union(OFlags::NONBLOCK).union(OFlags::CLOEXEC);
    let fd = rustix::fs::openat(folder, name, FILE, Mode::empty()).ok()?;
    // Version 3 of the attribute has 24 bytes.
    let mut value = [0; 64];
    let length = rustix::fs::fgetxattr(&fd, c"security.capability", &mut value[..]).ok()?;
    Some(value[..length].to_owned())
}

/// A name that disappeared, or became another kind of entry, has changed.
pub(super) fn failed(path: PathBuf, source: io::Error) -> ContextError {
    use rustix::io::Errno;
    let changed = [Errno::NOENT, Errno::NOTDIR, Errno::LOOP, Errno::INVAL, Errno::NXIO]
        .iter()
        .any(|errno| source.raw_os_error() == Some(errno.raw_os_error()));
    if changed { ContextError::Changed { path } } else { ContextError::Io { path, source } }
}

/// The names in a folder, sorted so that the same one of several problems is always reported.
fn names(folder: BorrowedFd<'_>) -> rustix::io::Result<Vec<CString>> {
    let mut names = Vec::new();
    for entry in Dir::read_from(folder)? {
        let entry = entry?;
        if !matches!(entry.file_name().to_bytes(), b"." | b"..") {
            names.push(entry.file_name().to_owned());
        }
    }
    names.sort_unstable();
    Ok(names)
}
