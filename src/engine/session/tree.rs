//! What is listed to the engine: each file, folder and link, as it is to be in the image.
//!
//! **Invariant:** in order of path, every folder before what is in it; the engine refuses any
//! other order.

use std::{
    collections::HashMap,
    fs,
    os::unix::{ffi::OsStrExt as _, fs::MetadataExt as _},
    path::{Component, Path, PathBuf},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use bytes::Bytes;

use super::{follow::Followed, requested_files::RequestedFiles, wire::Stat};
use crate::{
    fingerprint::context::{ContextEntry, ContextError, EntryKind},
    image::Digest,
};

/// Go's `os.ModeDir` and its like (package `io/fs`).
const GO_FOLDER: u32 = 1 << 31;
const GO_LINK: u32 = 1 << 27;
const GO_SETUID: u32 = 1 << 23;
const GO_SETGID: u32 = 1 << 22;
const GO_STICKY: u32 = 1 << 20;

/// The time of everything in an image, in seconds since 1970: the one that entries of a tar have.
const MODIFIED: i64 = 315_532_800;

const NANOSECONDS: u64 = 1_000_000_000;

pub(super) type Error = ContextError;

/// One line of the list, and where its content is.
#[derive(Clone, Debug)]
pub(super) struct ListedFile {
    pub(super) stat: Stat,
    pub(super) content: ItemContent,
}

#[derive(Clone, Debug)]
pub(super) enum ItemContent {
    /// A folder or a link.
    None,
    Memory(Bytes),
    File {
        entry: ContextEntry,
        version: FileVersion,
    },
}

/// What cannot stay the same when a file is written to or replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct FileVersion {
    device: u64,
    inode: u64,
    size: u64,
    modified: (i64, i64),
}

impl FileVersion {
    /// The version of a file as it now is.
    pub(super) fn now(root: &Path, entry: &ContextEntry) -> Result<Self, Error> {
        Self::and_time(root, entry).map(|(version, _)| version)
    }

    /// A version, and a time for the engine to know it by.
    ///
    /// The engine takes a file for unchanged if size, mode and time are the same, so a constant
    /// time would have it build with old content. But the time also ends up in the image, where it
    /// must not depend on when the files were checked out. Layers have no fractions of seconds:
    /// those tell the versions apart, and the seconds are always [`MODIFIED`].
    fn and_time(root: &Path, entry: &ContextEntry) -> Result<(Self, i64), Error> {
        let metadata = fs::symlink_metadata(root.join(&entry.path))
            .map_err(|source| Error::Io { path: entry.path.clone(), source })?;
        let version = Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            size: metadata.size(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
        };
        if !metadata.is_file() || entry.kind != (EntryKind::File { size: version.size }) {
            return Err(Error::Changed { path: entry.path.clone() });
        }
        // Programs can set the time of modification, but not this one.
        let changed = (metadata.ctime(), metadata.ctime_nsec());
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let time = MODIFIED * signed(NANOSECONDS) + signed(fraction(&version, changed, now));
        Ok((version, time))
    }
}

/// The fraction of a second that stands for a version of a file. (Two versions of the same size
/// share one in a thousand million.)
fn fraction(version: &FileVersion, changed: (i64, i64), now: Duration) -> u64 {
    let mut seed = format!("{version:?} {changed:?}");
    // Clocks of file systems tick slowly: another write within the same tick would not show. So
    // a version that young is like no other, and is sent again the next time. Linux ticks every
    // ten milliseconds at least; file systems without fractions every one or two seconds.
    let tick = if changed.1 == 0 { Duration::from_secs(2) } else { Duration::from_millis(20) };
    let (seconds, nanoseconds) = (u64::try_from(changed.0), u32::try_from(changed.1));
    let changed = Duration::new(seconds.unwrap_or_default(), nanoseconds.unwrap_or_default());
    if now < changed + tick {
        seed = format!("{seed} {now:?}");
    }
    number(seed.as_bytes()) % NANOSECONDS
}

/// The part of a context that the engine asks for. `entries` are in order of path.
pub(super) fn of_context(
    root: &Path,
    entries: &[ContextEntry],
    asked: &RequestedFiles,
) -> Result<Vec<ListedFile>, Error> {
    let followed = Followed::of(asked, entries);
    // Of files whose first name is not sent, the name that is sent in its place.
    let mut instead: HashMap<&Path, &Path> = HashMap::new();
    let kept = entries.iter().filter(|entry| followed.keeps(&entry.path));
    kept.map(|entry| {
        let hard_link = entry.extras.hard_link.as_deref().and_then(|first| {
            if followed.keeps(first) {
                return Some(first);
            }
            let sent = instead.get(first).copied();
            sent.or_else(|| instead.insert(first, &entry.path))
        });
        item(root, entry, hard_link)
    })
    .collect()
}

fn item(root: &Path, entry: &ContextEntry, hard_link: Option<&Path>) -> Result<ListedFile, Error> {
    let mode = go_permissions(entry.mode);
    let stat = match &entry.kind {
        EntryKind::Folder => stat(&entry.path, GO_FOLDER | mode),
        EntryKind::Link { target } => {
            let link = target.as_os_str().as_bytes().to_vec();
            let size = signed(link.len() as u64);
            Stat { size, link, ..stat(&entry.path, GO_LINK | mode) }
        }
        EntryKind::File { size } => {
            let (version, modified) = FileVersion::and_time(root, entry)?;
            let stat = Stat { modified, ..stat(&entry.path, mode) };
            if let Some(first) = hard_link {
                let link = first.as_os_str().as_bytes().to_vec();
                return Ok(ListedFile { stat: Stat { link, ..stat }, content: ItemContent::None });
            }
            let stat = Stat { size: signed(*size), ..stat };
            return Ok(ListedFile {
                stat,
                content: ItemContent::File { entry: entry.clone(), version },
            });
        }
    };
    Ok(ListedFile { stat, content: ItemContent::None })
}

/// A single file that is nowhere on the disk.
pub(super) fn of_memory(name: &str, text: &[u8]) -> Vec<ListedFile> {
    let mut items = Vec::new();
    let mut path = PathBuf::new();
    let names = Path::new(name).components().filter(|it| matches!(it, Component::Normal(_)));
    for name in names {
        if !path.as_os_str().is_empty() {
            items.push(ListedFile {
                stat: stat(&path, GO_FOLDER | 0o755),
                content: ItemContent::None,
            });
        }
        path.push(name);
    }
    // Two pinned Dockerfiles mostly have the same size, so the time must tell them apart. It is in
    // no image: all of it can. Every file system has times up to 2006, which is 60 bits.
    let modified = signed(number(text) >> 4);
    let stat = Stat { size: signed(text.len() as u64), modified, ..stat(&path, 0o644) };
    items.push(ListedFile { stat, content: ItemContent::Memory(Bytes::copy_from_slice(text)) });
    items
}

fn stat(path: &Path, mode: u32) -> Stat {
    let path = path.as_os_str().as_bytes().to_vec();
    Stat { path, mode, modified: MODIFIED * signed(NANOSECONDS), ..Stat::default() }
}

fn go_permissions(unix: u32) -> u32 {
    [(0o4000, GO_SETUID), (0o2000, GO_SETGID), (0o1000, GO_STICKY)]
        .into_iter()
        .filter(|(bit, _)| unix & bit != 0)
        .fold(unix & 0o777, |mode, (_, go)| mode | go)
}

/// Go has signed numbers for sizes and times.
fn signed(number: u64) -> i64 {
    i64::try_from(number).expect("no file is that long, no time that late")
}

/// 64 bits of a hash.
fn number(bytes: &[u8]) -> u64 {
    u64::from_str_radix(&Digest::of(bytes).hex()[..16], 16).expect("a digest is hexadecimal")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fingerprint::context::Context;

    #[test]
    fn versions_are_told_apart_by_all_that_changes_with_them() {
        let version = FileVersion { device: 1, inode: 2, size: 3, modified: (4, 5) };
        let base = fraction(&version, (100, 7), Duration::from_secs(200));
        for (other, changed, now, same) in [
            (version, (100, 7), Duration::from_secs(300), true),
            (version, (100, 7), Duration::new(100, 20_000_007), true),
            (version, (100, 7), Duration::new(100, 20_000_006), false),
            (version, (100, 7), Duration::from_secs(99), false),
            (version, (100, 8), Duration::from_secs(200), false),
            (version, (101, 7), Duration::from_secs(200), false),
            (FileVersion { device: 0, ..version }, (100, 7), Duration::from_secs(200), false),
            (FileVersion { inode: 0, ..version }, (100, 7), Duration::from_secs(200), false),
            (
                FileVersion { modified: (4, 6), ..version },
                (100, 7),
                Duration::from_secs(200),
                false,
            ),
        ] {
            let equal = fraction(&other, changed, now) == base;
            assert_eq!(equal, same, "{other:?} {changed:?} {now:?}");
        }
        let whole_seconds = |now| fraction(&version, (100, 0), Duration::from_millis(now));
        assert_ne!(whole_seconds(101_998), whole_seconds(101_999));
        assert_eq!(whole_seconds(102_000), whole_seconds(200_000));
    }

    #[test]
    fn hard_links_lead_to_a_name_that_is_sent() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["a", "b", "c"] {
            fs::create_dir(folder.path().join(name)).unwrap();
        }
        fs::write(folder.path().join("a/1"), "text").unwrap();
        for name in ["b/2", "b/3", "c/4"] {
            fs::hard_link(folder.path().join("a/1"), folder.path().join(name)).unwrap();
        }
        let context = Context::open(folder.path(), Path::new("Dockerfile")).unwrap();
        let entries = context.entries().unwrap();
        for (follow, expected) in [
            (&[][..], "a/1 4, b/2 = a/1, b/3 = a/1, c/4 = a/1"),
            (&["b", "c"], "b/2 4, b/3 = b/2, c/4 = b/2"),
            (&["a", "c"], "a/1 4, c/4 = a/1"),
            (&["c"], "c/4 4"),
        ] {
            let follow = follow.iter().map(|path| path.as_bytes().to_vec()).collect();
            let asked = RequestedFiles { follow, ..RequestedFiles::default() };
            let items = of_context(folder.path(), &entries, &asked).unwrap();
            let files = items.iter().filter(|item| item.stat.mode & GO_FOLDER == 0);
            let shown = files.map(|ListedFile { stat, .. }| {
                let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
                match &stat.link[..] {
                    [] => format!("{} {}", text(&stat.path), stat.size),
                    link => format!("{} = {}", text(&stat.path), text(link)),
                }
            });
            assert_eq!(shown.collect::<Vec<_>>().join(", "), expected);
        }
    }

    #[test]
    fn modes_are_go_modes() {
        for (unix, go) in
            [(0o644, 0o644), (0o4755, 1 << 23 | 0o755), (0o3770, 1 << 22 | 1 << 20 | 0o770)]
        {
            assert_eq!(go_permissions(unix), go, "{unix:o}");
        }
    }
}
