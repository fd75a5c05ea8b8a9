//! One layer: what it changes in the layers below.
//!
//! <https://github.com/opencontainers/image-spec/blob/main/layer.md>

use std::io::{self, Read};

use ::tar::EntryType;

use super::{
    entry::{DeviceKind, FileKind, Rights, TreeEntry},
    shadow,
};
use crate::{
    image::{Digest, Hasher},
    layers::{Entries, EntryEffect, TarHeader, malformed},
};

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

impl LayerChanges {
    /// Reads the tar of a layer.
    pub(super) fn read<R: Read>(entries: &mut Entries<R>) -> io::Result<Self> {
        let mut layer = Self::default();
        while let Some(head) = entries.next()? {
            let Some(effect) = EntryEffect::of(&head)? else { continue };
            layer.changes.push(match effect {
                EntryEffect::Opaque { folder } => (folder, LayerChange::Opaque),
                EntryEffect::Whiteout { path } => (path, LayerChange::Whiteout),
                EntryEffect::HardLink { path, target } => (path, LayerChange::Same(target)),
                EntryEffect::Put { path } => {
                    let entry = entry(&path, head, entries)?;
                    (path, LayerChange::Put(entry))
                }
            });
        }
        Ok(layer)
    }
}

fn entry(path: &[u8], head: TarHeader, content: &mut impl Read) -> io::Result<TreeEntry> {
    if head.sparse.is_some() {
        return Err(malformed(format!("`{}`, a file with holes", path.escape_ascii())));
    }
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
