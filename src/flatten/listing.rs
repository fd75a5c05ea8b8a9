//! The entries of one layer, without the content of its files.

use std::{
    collections::BTreeMap,
    io::{self, Read},
    sync::Arc,
};

use ::tar::EntryType;

use super::header::header;
use crate::layers::{DataSegment, Entries, EntryEffect, TarHeader, malformed};

/// A file, folder, symbolic link, device or FIFO. Hard links share one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FlatFile<C> {
    pub(super) kind: EntryType,
    /// The permissions and the three bits above them.
    pub(super) mode: u32,
    pub(super) user: u64,
    pub(super) group: u64,
    /// In seconds since 1970, a decimal number as in pax records.
    pub(super) modified: String,
    /// Extended attributes, such as `security.capability`.
    pub(super) attributes: BTreeMap<Vec<u8>, Vec<u8>>,
    /// Of a symbolic link.
    pub(super) target: Vec<u8>,
    /// Major and minor number.
    pub(super) device: (u32, u32),
    pub(super) size: u64,
    /// Where the content of a file is; `None` if it is empty.
    pub(super) content: Option<C>,
    /// Of a file with holes: what the content has.
    pub(super) segments: Option<Vec<DataSegment>>,
}

/// What one layer does, in the order of its tar. `C` says where the content of a file is.
#[derive(Clone, Debug)]
pub struct FlatListing<C>(pub(super) Vec<FlatChange<C>>);

#[derive(Clone, Debug)]
pub(super) enum FlatChange<C> {
    Put(Vec<u8>, Arc<FlatFile<C>>),
    Effect(EntryEffect),
}

impl<C> FlatFile<C> {
    /// A regular file for an archive, owned by root.
    pub fn document(size: u64) -> Self {
        Self { kind: EntryType::Regular, mode: 0o644, size, ..Self::folder() }
    }

    /// The blocks before its content in an archive.
    pub fn header(&self, path: &[u8]) -> Vec<u8> {
        header(path, self, None)
    }

    /// A folder that no layer describes. Engines create it in this way.
    pub(super) fn folder() -> Self {
        Self {
            kind: EntryType::Directory,
            mode: 0o755,
            user: 0,
            group: 0,
            modified: "0".to_owned(),
            attributes: BTreeMap::new(),
            target: Vec::new(),
            device: (0, 0),
            size: 0,
            content: None,
            segments: None,
        }
    }

    pub(super) fn is_folder(&self) -> bool {
        self.kind == EntryType::Directory
    }

    fn read(path: &[u8], header: TarHeader) -> io::Result<Self> {
        let shown = path.escape_ascii();
        let kind = match header.kind() {
            EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse => EntryType::Regular,
            kind @ (EntryType::Directory
            | EntryType::Symlink
            | EntryType::Char
            | EntryType::Block
            | EntryType::Fifo) => kind,
            other => {
                let kind = other.as_byte();
                return Err(malformed(format!(
                    "`{shown}`, an entry of the unknown type {kind:#04x}"
                )));
            }
        };
        let device = match kind {
            EntryType::Char | EntryType::Block => header.device()?,
            _ => (0, 0),
        };
        Ok(Self {
            kind,
            // The permissions of a symbolic link have no meaning.
            mode: if kind == EntryType::Symlink { 0o777 } else { header.mode()? },
            user: header.user,
            group: header.group,
            modified: header.modified,
            target: if kind == EntryType::Symlink { header.target } else { Vec::new() },
            device,
            size: if kind == EntryType::Regular { header.sparse.unwrap_or(header.size) } else { 0 },
            attributes: header.attributes,
            content: None,
            segments: None,
        })
    }
}

impl<C> FlatListing<C> {
    /// Reads the tar of a layer. `locate` is called for each file that is not empty, before its content is read.
    pub fn read<R: Read>(
        entries: &mut Entries<R>,
        mut locate: impl FnMut(&mut Entries<R>) -> io::Result<C>,
    ) -> io::Result<Self> {
        let mut changes = Vec::new();
        while let Some(header) = entries.next()? {
            let Some(effect) = EntryEffect::of(&header)? else { continue };
            changes.push(match effect {
                EntryEffect::Put { path } => {
                    let mut file = FlatFile::read(&path, header)?;
                    if file.size > 0 {
                        file.segments = entries.segments(file.size)?;
                        file.content = Some(locate(entries)?);
                    }
                    FlatChange::Put(path, Arc::new(file))
                }
                effect => FlatChange::Effect(effect),
            });
        }
        Ok(Self(changes))
    }
}
