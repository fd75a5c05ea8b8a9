//! The files of one layer, without their content.

use std::io::{self, Read};

use super::packages::PackageDatabase;
use crate::{
    image::Hasher,
    layers::{Entries, EntryEffect, FileType, TarHeader},
};

/// The first half of a SHA-256: enough to tell that two files are equal.
pub type ContentId = [u8; 16];

/// A layer as it was read. About 100 bytes for each file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LayerIndex {
    /// In the order of the tar.
    pub entries: Vec<IndexedEntry>,
    /// The package databases that the layer writes.
    pub databases: Vec<PackageDatabase>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IndexedEntry {
    /// As [`EntryEffect`] gives it.
    pub path: Vec<u8>,
    pub item: IndexedItem,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum IndexedItem {
    File(IndexedFile),
    Folder,
    /// A symbolic link, device or FIFO.
    Special,
    HardLink {
        target: Vec<u8>,
    },
    Whiteout,
    Opaque,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IndexedFile {
    /// Bytes in the layer. Holes do not count.
    pub size: u64,
    pub content: ContentId,
    pub mode: u32,
    pub user: u64,
    pub group: u64,
}

const BUFFER: usize = 64 * 1024;

impl LayerIndex {
    /// Reads an uncompressed layer to its end.
    pub fn read(tar: impl Read) -> io::Result<Self> {
        let mut index = Self::default();
        let mut entries = Entries::new(tar);
        let mut buffer = vec![0; BUFFER];
        while let Some(head) = entries.next()? {
            let Some(effect) = EntryEffect::of(&head)? else { continue };
            let (path, item) = match effect {
                EntryEffect::Opaque { folder } => (folder, IndexedItem::Opaque),
                EntryEffect::Whiteout { path } => (path, IndexedItem::Whiteout),
                EntryEffect::HardLink { path, target } => (path, IndexedItem::HardLink { target }),
                EntryEffect::Put { path } => {
                    let item = match head.file_type() {
                        FileType::File => {
                            let content = if PackageDatabase::is_at(&path, head.size) {
                                let mut text = Vec::new();
                                entries.read_to_end(&mut text)?;
                                index.databases.extend(PackageDatabase::read(&path, &text));
                                id(&mut &text[..], &mut buffer)?
                            } else {
                                id(&mut entries, &mut buffer)?
                            };
                            IndexedItem::File(file(&head, content)?)
                        }
                        FileType::Folder => IndexedItem::Folder,
                        FileType::Special => IndexedItem::Special,
                    };
                    (path, item)
                }
            };
            index.entries.push(IndexedEntry { path, item });
        }
        io::copy(&mut entries.into_rest(), &mut io::sink())?;
        Ok(index)
    }

    /// The bytes of all files.
    pub fn bytes(&self) -> u64 {
        let size = |entry: &IndexedEntry| match &entry.item {
            IndexedItem::File(file) => file.size,
            _ => 0,
        };
        self.entries.iter().map(size).fold(0, u64::saturating_add)
    }
}

fn file(head: &TarHeader, content: ContentId) -> io::Result<IndexedFile> {
    let TarHeader { size, user, group, .. } = *head;
    Ok(IndexedFile { size, content, mode: head.mode()?, user, group })
}

fn id(content: &mut impl Read, buffer: &mut [u8]) -> io::Result<ContentId> {
    let mut hasher = Hasher::default();
    loop {
        match content.read(buffer)? {
            0 => break,
            read => hasher.update(&buffer[..read]),
        }
    }
    let mut half = ContentId::default();
    half.copy_from_slice(&hasher.finish_bytes()[..16]);
    Ok(half)
}
