//! Reads a file that may be anything: for example of a repository that others wrote.
//!
//! **Invariant:** nothing but a regular file is read, and never more of it than the limit. A fifo, a
//! device or a file without end takes neither time nor memory.

use std::{
    fs::File,
    io::{self, Read as _},
    path::Path,
};

use rustix::fs::{FileType, Mode, OFlags};

/// Of hierarchy.yaml, a Dockerfile, an ignore file, a compose or a bake file.
pub const TEXT: u64 = 4 * 1024 * 1024;

/// The content of a regular file of at most `limit` bytes. Links are followed.
pub fn read(path: &Path, limit: u64) -> io::Result<Vec<u8>> {
    // Opening a fifo without NONBLOCK waits for a writer.
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC | OFlags::NOCTTY;
    content(rustix::fs::open(path, flags, Mode::empty())?.into(), limit)
}

/// The same as text of at most [`TEXT`] bytes.
pub fn text(path: &Path) -> io::Result<String> {
    let bytes = read(path, TEXT)?;
    String::from_utf8(bytes)
        .map_err(|_| io::Error::new(io::ErrorKind::InvalidData, "it is not UTF-8 text"))
}

/// The same of a file that is open.
pub fn content(file: File, limit: u64) -> io::Result<Vec<u8>> {
    let kind = FileType::from_raw_mode(rustix::fs::fstat(&file)?.st_mode);
    if kind != FileType::RegularFile {
        return Err(io::Error::other(format!("it is a {}, not a file", name(kind))));
    }
    let mut bytes = Vec::new();
    file.take(limit + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > limit {
        return Err(io::Error::other(format!("it is larger than {}", size(limit))));
    }
    Ok(bytes)
}

fn name(kind: FileType) -> &'static str {
    match kind {
        FileType::Directory => "folder",
        FileType::Fifo => "fifo",
        FileType::Socket => "socket",
        FileType::CharacterDevice | FileType::BlockDevice => "device",
        _ => "special file",
    }
}

fn size(bytes: u64) -> String {
    match bytes / (1024 * 1024) {
        0 => format!("{} KiB", bytes / 1024),
        mebibytes => format!("{mebibytes} MiB"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_regular_files_within_the_limit_are_read() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        std::fs::write(at("file"), [b'x'; 2048]).unwrap();
        std::os::unix::fs::symlink("file", at("link")).unwrap();
        rustix::fs::mkfifoat(rustix::fs::CWD, at("fifo"), Mode::RWXU).unwrap();
        let outcome = |path: &Path, limit| match read(path, limit) {
            Ok(bytes) => bytes.len().to_string(),
            Err(error) => error.to_string(),
        };
        for (path, limit, expected) in [
            (at("file"), 2048, "2048"),
            (at("link"), 2048, "2048"),
            (at("file"), 1024, "it is larger than 1 KiB"),
            (at("fifo"), 1024, "it is a fifo, not a file"),
            (at(""), 1024, "it is a folder, not a file"),
            ("/dev/zero".into(), 2 * 1024 * 1024, "it is a device, not a file"),
        ] {
            assert_eq!(outcome(&path, limit), expected, "{}", path.display());
        }
        assert_eq!(read(&at("no"), 1).unwrap_err().kind(), io::ErrorKind::NotFound);
    }
}
