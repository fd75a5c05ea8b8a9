//! Reads the content of one file, and detects changes during the read.

use std::{
    fs::File,
    io::{self, Read},
    os::fd::OwnedFd,
    path::{Component, Path, PathBuf},
};

use rustix::fs::{FileType, Mode, OFlags};

use super::{
    ContextEntry, ContextError, EntryKind,
    stamp::Stamp,
    walk::{FOLDER, failed},
};

/// An open file of a context. It yields exactly the bytes of its entry's size, or an error.
///
/// The error inside the [`io::Error`] is a [`ContextError`]: [`ContextError::from_read`].
#[derive(Debug)]
pub struct ContentReader {
    file: File,
    path: PathBuf,
    size: u64,
    stamp: Stamp,
    /// The remaining bytes; `None` after a successful end.
    left: Option<u64>,
}

impl ContentReader {
    pub(super) fn open(root: &Path, entry: &ContextEntry) -> Result<Self, ContextError> {
        let error = |source| failed(entry.path.clone(), source);
        let EntryKind::File { size } = entry.kind else {
            return Err(error(io::Error::other("it is not a file")));
        };
        let fd = open_beneath(root, &entry.path).map_err(error)?;
        let stat = rustix::fs::fstat(&fd).map_err(|errno| error(errno.into()))?;
        let is_regular = FileType::from_raw_mode(stat.st_mode).is_file();
        let is_as_long = u64::try_from(stat.st_size).is_ok_and(|now| now == size);
        if !is_regular || !is_as_long {
            return Err(ContextError::Changed { path: entry.path.clone() });
        }
        let (file, stamp) = (File::from(fd), Stamp::of(&stat));
        Ok(Self { file, path: entry.path.clone(), size, stamp, left: Some(size) })
    }

    /// In bytes.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// The present metadata of the file.
    pub(super) fn stamp(&self) -> io::Result<Stamp> {
        Ok(Stamp::of(&rustix::fs::fstat(&self.file)?))
    }

    fn changed(&self) -> io::Error {
        io::Error::other(ContextError::Changed { path: self.path.clone() })
    }
}

impl Read for ContentReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let Some(left) = self.left.filter(|_| !buffer.is_empty()) else {
            return Ok(0);
        };
        if left == 0 {
            let unchanged = self.stamp()?.has_content_of(&self.stamp);
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
    /// The error inside a read error of [`ContentReader`]; any other error gets this path.
    pub fn from_read(error: io::Error, path: &Path) -> Self {
        match error.downcast::<Self>() {
            Ok(error) => error,
            Err(source) => Self::Io { path: path.to_owned(), source },
        }
    }
}

/// Opens a regular file without following any link.
pub(super) fn regular_file(root: &Path, path: &Path) -> Result<File, ContextError> {
    let error = |source| failed(path.to_owned(), source);
    let fd = open_beneath(root, path).map_err(error)?;
    let stat = rustix::fs::fstat(&fd).map_err(|errno| error(errno.into()))?;
    if !FileType::from_raw_mode(stat.st_mode).is_file() {
        return Err(error(io::Error::other("it is not a file")));
    }
    Ok(File::from(fd))
}

/// Opens a file without following any link, even if its parent folders change meanwhile.
fn open_beneath(root: &Path, path: &Path) -> io::Result<OwnedFd> {
    // Without NONBLOCK, opening a fifo that replaced the file would wait for a writer.
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
