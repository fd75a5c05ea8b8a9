//! The content of one file, read so that a change meanwhile is noticed.

use std::{
    fs::File,
    io::{self, Read},
    os::{fd::OwnedFd, unix::fs::MetadataExt},
    path::{Component, Path, PathBuf},
};

use rustix::fs::{Mode, OFlags};

use super::{
    ContextError, Entry, Kind,
    walk::{FOLDER, failed, normalised_mode},
};

/// A file of a context, open. It yields exactly the bytes of its entry's size, or an error.
///
/// The error inside the [`io::Error`] is a [`ContextError`]: [`ContextError::from_read`].
#[derive(Debug)]
pub struct Content {
    file: File,
    path: PathBuf,
    stamp: Stamp,
    /// Bytes still to come; `None` once the end was reached and found well.
    left: Option<u64>,
}

/// What tells that a file was written to. Not its ctime: a hard link made by a backup or by git
/// changes that one, and no byte of the content.
#[derive(Debug, PartialEq, Eq)]
struct Stamp {
    device: u64,
    inode: u64,
    size: u64,
    modified: (i64, i64),
}

impl Stamp {
    fn of(file: &File) -> io::Result<Self> {
        let meta = file.metadata()?;
        Ok(Self {
            device: meta.dev(),
            inode: meta.ino(),
            size: meta.len(),
            modified: (meta.mtime(), meta.mtime_nsec()),
        })
    }
}

impl Content {
    pub(super) fn open(root: &Path, entry: &Entry) -> Result<Self, ContextError> {
        let error = |source| failed(entry.path.clone(), source);
        let Kind::File { size } = entry.kind else {
            return Err(error(io::Error::other("it is not a file")));
        };
        let fd = open_beneath(root, &entry.path).map_err(error)?;
        let stat = rustix::fs::fstat(&fd).map_err(|errno| error(errno.into()))?;
        let file = File::from(fd);
        let stamp = Stamp::of(&file).map_err(error)?;
        let regular = file.metadata().map_err(error)?.is_file();
        if !regular || stamp.size != size || normalised_mode(&stat, &entry.kind) != entry.mode {
            return Err(ContextError::Changed { path: entry.path.clone() });
        }
        Ok(Self { file, path: entry.path.clone(), stamp, left: Some(size) })
    }

    /// In bytes.
    pub fn size(&self) -> u64 {
        self.stamp.size
    }

    fn changed(&self) -> io::Error {
        io::Error::other(ContextError::Changed { path: self.path.clone() })
    }
}

impl Read for Content {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let Some(left) = self.left.filter(|_| !buffer.is_empty()) else {
            return Ok(0);
        };
        if left == 0 {
            let unchanged = Stamp::of(&self.file)? == self.stamp;
            if !unchanged || self.file.read(&mut [0])? > 0 {
                return Err(self.changed());
            }
            self.left = None;
            return Ok(0);
        }
        let most = usize::try_from(left).unwrap_or(usize::MAX).min(buffer.len());
        let read = self.file.read(&mut buffer[..most]).map_err(|source| {
            let path = self.path.clone();
            match source.kind() {
                io::ErrorKind::Interrupted => source,
                _ => io::Error::other(ContextError::Io { path, source }),
            }
        })?;
        if read == 0 {
            return Err(self.changed());
        }
        self.left = Some(left - read as u64);
        Ok(read)
    }
}

impl ContextError {
    /// The error inside an error of reading [`Content`]; any other is about this path.
    pub fn from_read(error: io::Error, path: &Path) -> Self {
        match error.downcast::<Self>() {
            Ok(error) => error,
            Err(source) => Self::Io { path: path.to_owned(), source },
        }
    }
}

/// Opens a file through no link at all, whatever happens to the folders above it meanwhile.
fn open_beneath(root: &Path, path: &Path) -> io::Result<OwnedFd> {
    // Without NONBLOCK, a fifo that has taken the file's place would wait for its writer.
    let file = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let mut fd = rustix::fs::open(root, FOLDER, Mode::empty())?;
    let mut parts = path.components().peekable();
    while let Some(part) = parts.next() {
        let Component::Normal(name) = part else {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a path of the context"));
        };
        let flags = if parts.peek().is_some() { FOLDER } else { file };
        fd = rustix::fs::openat(&fd, name, flags, Mode::empty())?;
    }
    Ok(fd)
}
