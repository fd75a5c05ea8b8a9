//! What is listed to the engine: each file, folder and link, as it is to be in the image.
//!
//! **Invariant:** in order of path, every folder before what is in it; the engine refuses any
//! other order.

use std::{
    collections::HashSet,
    fs, io,
    os::unix::{ffi::OsStrExt as _, fs::MetadataExt as _},
    path::{Path, PathBuf},
};

use bytes::Bytes;

use super::{diffcopy::Asked, follow::Followed, wire::Stat};
use crate::{
    fingerprint::context::{Context, ContextError, Entry, Kind},
    image::Digest,
};

/// Go's `os.ModeDir` and its like (package `io/fs`).
const GO_FOLDER: u32 = 1 << 31;
const GO_LINK: u32 = 1 << 27;
const GO_SETUID: u32 = 1 << 23;
const GO_SETGID: u32 = 1 << 22;
const GO_STICKY: u32 = 1 << 20;

const SECOND: u64 = 1_000_000_000;

pub(super) type Error = ContextError;

/// One line of the list, and where its content is.
#[derive(Clone, Debug)]
pub(super) struct Item {
    pub(super) stat: Stat,
    pub(super) content: Content,
}

#[derive(Clone, Debug)]
pub(super) enum Content {
    /// A folder or a link.
    None,
    Memory(Bytes),
    File {
        path: PathBuf,
        version: Version,
    },
}

/// What cannot stay the same when a file is written to or replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Version {
    device: u64,
    inode: u64,
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Version {
    pub(super) fn of(metadata: &fs::Metadata) -> Self {
        Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            size: metadata.size(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        }
    }

    pub(super) fn size(&self) -> u64 {
        self.size
    }

    /// A time for the engine to know this version by.
    ///
    /// It takes a file for unchanged if size, mode and time are the same, so a constant time would
    /// have it build with old content. But the time also ends up in the image, where it must not
    /// depend on when the files were checked out. Layers have no fractions of seconds: those tell
    /// the versions apart, and the seconds stay constant.
    fn time(&self) -> i64 {
        nanoseconds(number(format!("{self:?}").as_bytes()) % SECOND)
    }
}

/// The part of a context that the engine asks for.
pub(super) fn of_context(context: &Context, asked: &Asked) -> Result<Vec<Item>, Error> {
    let mut entries = context.entries()?;
    entries.sort_unstable_by(|a, b| a.path.cmp(&b.path));
    let followed = Followed::of(asked, &entries);
    let mut items = Vec::with_capacity(entries.len());
    let mut folders = HashSet::new();
    for entry in entries {
        if followed.keeps(&entry.path) {
            list_parents(&entry.path, &mut folders, &mut items);
            if entry.kind == Kind::Folder {
                folders.insert(entry.path.clone());
            }
            items.push(item(&context.root, &entry)?);
        }
    }
    Ok(items)
}

/// A folder may be ignored but something in it not; the engine needs the folder too.
fn list_parents(path: &Path, folders: &mut HashSet<PathBuf>, items: &mut Vec<Item>) {
    let mut missing: Vec<_> = path
        .ancestors()
        .skip(1)
        .take_while(|folder| !folder.as_os_str().is_empty() && !folders.contains(*folder))
        .collect();
    while let Some(folder) = missing.pop() {
        folders.insert(folder.to_owned());
        items.push(Item { stat: stat(folder, GO_FOLDER | 0o755), content: Content::None });
    }
}

fn item(root: &Path, entry: &Entry) -> Result<Item, Error> {
    let mode = go_permissions(entry.mode);
    match &entry.kind {
        Kind::Folder => {
            Ok(Item { stat: stat(&entry.path, GO_FOLDER | mode), content: Content::None })
        }
        Kind::Link { target } => {
            let link = target.as_os_str().as_bytes().to_vec();
            let size = length(link.len() as u64);
            let stat = Stat { size, link, ..stat(&entry.path, GO_LINK | 0o777) };
            Ok(Item { stat, content: Content::None })
        }
        Kind::File { size } => {
            let path = root.join(&entry.path);
            let metadata = fs::symlink_metadata(&path).map_err(|error| unreadable(entry, error))?;
            let version = Version::of(&metadata);
            if !metadata.is_file() || version.size != *size {
                return Err(Error::Changed { path: entry.path.clone() });
            }
            let stat =
                Stat { size: length(*size), modified: version.time(), ..stat(&entry.path, mode) };
            Ok(Item { stat, content: Content::File { path, version } })
        }
    }
}

fn unreadable(entry: &Entry, source: io::Error) -> Error {
    Error::Io { path: entry.path.clone(), source }
}

/// A single file that is nowhere on the disk.
pub(super) fn of_memory(name: &str, text: &[u8]) -> Vec<Item> {
    let path: PathBuf = Path::new(name)
        .components()
        .filter(|part| matches!(part, std::path::Component::Normal(_)))
        .collect();
    // Two pinned Dockerfiles mostly have the same size, so the time must tell them apart. It is in
    // no image: all of it can.
    let time = nanoseconds(number(text) >> 2);
    let stat = Stat { size: length(text.len() as u64), modified: time, ..stat(&path, 0o644) };
    let mut items = Vec::new();
    list_parents(&path, &mut HashSet::new(), &mut items);
    items.push(Item { stat, content: Content::Memory(Bytes::copy_from_slice(text)) });
    items
}

fn stat(path: &Path, mode: u32) -> Stat {
    Stat { path: path.as_os_str().as_bytes().to_vec(), mode, ..Stat::default() }
}

fn go_permissions(unix: u32) -> u32 {
    [(0o4000, GO_SETUID), (0o2000, GO_SETGID), (0o1000, GO_STICKY)]
        .into_iter()
        .filter(|(bit, _)| unix & bit != 0)
        .fold(unix & 0o777, |mode, (_, go)| mode | go)
}

fn length(size: u64) -> i64 {
    i64::try_from(size).expect("no file is that long")
}

fn nanoseconds(number: u64) -> i64 {
    i64::try_from(number).expect("it was cut to fit")
}

fn number(bytes: &[u8]) -> u64 {
    u64::from_str_radix(&Digest::of(bytes).hex()[..16], 16).expect("a digest is hexadecimal")
}
