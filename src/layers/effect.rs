//! What an entry of a layer does to the layers below.
//!
//! <https://github.com/opencontainers/image-spec/blob/v1.1.0/layer.md>

use std::io;

use ::tar::EntryType;

use super::{TarHeader, malformed};

/// Paths have no leading `./` or `/` and no `..`. The root is empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EntryEffect {
    /// A file, folder, symbolic link, device or FIFO is at this path.
    Put { path: Vec<u8> },
    /// A hard link to the file at another path, in this layer or below.
    HardLink { path: Vec<u8>, target: Vec<u8> },
    /// Whatever the layers below have at this path is deleted.
    Whiteout { path: Vec<u8> },
    /// Whatever the layers below have in this folder is deleted.
    Opaque { folder: Vec<u8> },
}

const WHITEOUT: &[u8] = b".wh.";
const OPAQUE: &[u8] = b".wh..wh..opq";
/// Files that AUFS kept for itself. Engines leave them out.
const OF_AUFS: &[u8] = b".wh..wh.";

impl EntryEffect {
    /// `None`: engines ignore the entry.
    pub fn of(header: &TarHeader) -> io::Result<Option<Self>> {
        let path = clean(&header.path)?;
        let (folder, name) = match path.iter().rposition(|byte| *byte == b'/') {
            Some(slash) => (&path[..slash], &path[slash + 1..]),
            None => (&b""[..], &path[..]),
        };
        Ok(Some(if name == OPAQUE {
            Self::Opaque { folder: folder.to_vec() }
        } else if path.split(|byte| *byte == b'/').any(|part| part.starts_with(OF_AUFS)) {
            return Ok(None);
        } else if let Some(name) = name.strip_prefix(WHITEOUT) {
            let slash = if folder.is_empty() { &b""[..] } else { b"/" };
            Self::Whiteout { path: [folder, slash, name].concat() }
        } else if header.kind() == EntryType::Link {
            Self::HardLink { target: clean(&header.target)?, path }
        } else {
            Self::Put { path }
        }))
    }
}

fn clean(path: &[u8]) -> io::Result<Vec<u8>> {
    let parts = path.split(|byte| *byte == b'/').filter(|part| !matches!(*part, b"" | b"."));
    let parts: Vec<&[u8]> = parts.collect();
    if parts.contains(&&b".."[..]) {
        return Err(malformed(format!("`{}`, a path with `..`", path.escape_ascii())));
    }
    Ok(parts.join(&b'/'))
}
