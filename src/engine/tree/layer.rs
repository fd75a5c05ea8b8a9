//! One layer: what it changes in the layers below.
//!
//! <https://github.com/opencontainers/image-spec/blob/main/layer.md>

use std::io::{self, Read};

use ::tar::EntryType;

use super::{
    entries::{Entries, TarHeader},
    entry::{DeviceKind, FileKind, Rights, TreeEntry},
    malformed, shadow,
};
use crate::image::{Digest, Hasher};

/// The changes in their order.
#[derive(Debug, Default)]
pub(super) struct LayerChanges {
    pub(super) changes: Vec<(Vec<u8>, LayerChange)>,
}

#[derive(Debug, PartialEq)]
pub(super) enum LayerChange {
    Put(TreeEntry),
    /// A hard link to what stands at this path, in this layer or below.
    Same(Vec<u8>),
    /// Whatever is below at this path is not there.
    Whiteout,
    /// Whatever is below in this folder is not there.
    Opaque,
}

const WHITEOUT: &[u8] = b".wh.";
const OPAQUE: &[u8] = b".wh..wh..opq";
/// What AUFS kept for itself, and engines leave out.
const OF_AUFS: &[u8] = b".wh..wh.";

impl LayerChanges {
    /// Reads the tar of a layer.
    pub(super) fn read<R: Read>(entries: &mut Entries<R>) -> io::Result<Self> {
        let mut layer = Self::default();
        while let Some(head) = entries.next()? {
            let path = clean(&head.path)?;
            let (folder, name) = match path.iter().rposition(|byte| *byte == b'/') {
                Some(slash) => (&path[..slash], &path[slash + 1..]),
                None => (&b""[..], &path[..]),
            };
            let change = if name == OPAQUE {
                (folder.to_vec(), LayerChange::Opaque)
            } else if path.split(|byte| *byte == b'/').any(|part| part.starts_with(OF_AUFS)) {
                continue;
            } else if let Some(name) = name.strip_prefix(WHITEOUT) {
                let slash = if folder.is_empty() { &b""[..] } else { b"/" };
                ([folder, slash, name].concat(), LayerChange::Whiteout)
            } else if head.kind() == EntryType::Link {
                (path, LayerChange::Same(clean(&head.target)?))
            } else {
                let entry = entry(&path, head, entries)?;
                (path, LayerChange::Put(entry))
            };
            layer.changes.push(change);
        }
        Ok(layer)
    }
}

fn entry(path: &[u8], head: TarHeader, content: &mut impl Read) -> io::Result<TreeEntry> {
    let mut mode = head.mode()?;
    let kind = match head.kind() {
        EntryType::Regular | EntryType::Continuous => {
            FileKind::File { content: digest(path, head.size, content)? }
        }
        EntryType::Directory => FileKind::Folder,
        EntryType::Symlink => {
            mode = 0o777;
            FileKind::Link { target: head.target }
        }
        kind @ (EntryType::Char | EntryType::Block) => {
            let (major, minor) = head.device()?;
            let is_block = kind == EntryType::Block;
            let kind = if is_block { DeviceKind::Block } else { DeviceKind::Character };
            FileKind::Device { kind, major, minor }
        }
        EntryType::Fifo => FileKind::Fifo,
        other => {
            return Err(malformed(format!(
                "`{}`, an entry of the unknown type {:#04x}",
                path.escape_ascii(),
                other.as_byte()
            )));
        }
    };
    let rights = Rights { mode, user: head.user, group: head.group, attributes: head.attributes };
    Ok(TreeEntry { kind, rights })
}

fn digest(path: &[u8], size: u64, content: &mut impl Read) -> io::Result<Digest> {
    if path == shadow::PATH && size <= shadow::LONGEST {
        let mut text = Vec::new();
        content.read_to_end(&mut text)?;
        return Ok(Digest::of(&shadow::without_days(&text)));
    }
    let mut hasher = Hasher::default();
    let mut buffer = vec![0; 64 * 1024];
    loop {
        match content.read(&mut buffer)? {
            0 => return Ok(hasher.finish()),
            read => hasher.update(&buffer[..read]),
        }
    }
}

/// Without `./`, a leading `/` and what else says nothing. The root is empty.
fn clean(path: &[u8]) -> io::Result<Vec<u8>> {
    let parts = path.split(|byte| *byte == b'/').filter(|part| !matches!(*part, b"" | b"."));
    let parts: Vec<&[u8]> = parts.collect();
    if parts.contains(&&b".."[..]) {
        return Err(malformed(format!("`{}`, a path with `..`", path.escape_ascii())));
    }
    Ok(parts.join(&b'/'))
}
