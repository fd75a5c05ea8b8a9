//! What stands at one path of an image.

use std::collections::BTreeMap;

use crate::image::Digest;

/// Equal entries cannot be told apart, but for their times.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct TreeEntry {
    pub(super) kind: FileKind,
    pub(super) rights: Rights,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum FileKind {
    File {
        content: Digest,
    },
    Folder,
    /// A symbolic link, with its target as it is written. A hard link is a file like the others.
    Link {
        target: Vec<u8>,
    },
    Device {
        kind: DeviceKind,
        major: u32,
        minor: u32,
    },
    Fifo,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum DeviceKind {
    Character,
    Block,
}

/// Who may do what with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Rights {
    /// The permissions and the three bits above them. A link has none that count.
    pub(super) mode: u32,
    pub(super) user: u64,
    pub(super) group: u64,
    /// Extended attributes, such as `security.capability`.
    pub(super) attributes: BTreeMap<Vec<u8>, Vec<u8>>,
}
