//! One entry of the tar, byte for byte.
//!
//! Not with the `tar` crate's own `append_data` and `append_link`: they tidy names and targets up
//! (`a//b` becomes `a/b`), and an image must hold the link that the context holds.

use std::{
    io::{self, Read, Write},
    os::unix::ffi::OsStrExt,
};

use ::tar::{Builder, EntryType, Header};

use super::MODIFIED;
use crate::fingerprint::context::{ContextEntry, EntryKind};

/// What a header has room for. Longer names go before it, in an entry of their own (GNU's way).
const ROOM: usize = 100;

/// Writes what comes first in every tar: a global header that says nothing (`git archive` writes the
/// commit into its).
///
/// BuildKit takes a body for a tar only if the first 1024 bytes hold a whole entry; else for a
/// Dockerfile, and complains about the instruction `././@LONGLINK`. A long name is no whole entry.
pub(super) fn begin(tar: &mut Builder<impl Write>) -> io::Result<()> {
    let record = b"19 comment=rebuild\n";
    let mut header = blank(EntryType::XGlobalHeader, record.len() as u64);
    let label = b"pax_global_header";
    header.as_old_mut().name[..label.len()].copy_from_slice(label);
    header.set_mode(0o644);
    header.set_mtime(MODIFIED);
    header.set_cksum();
    tar.append(&header, &record[..])
}

/// `data` is its size and the bytes.
pub(super) fn append(
    tar: &mut Builder<impl Write>,
    entry: &ContextEntry,
    (size, data): (u64, impl Read),
) -> io::Result<()> {
    let mut name = entry.path.as_os_str().as_bytes().to_vec();
    let (kind, target) = match &entry.kind {
        EntryKind::File { .. } => match &entry.extras.hard_link {
            Some(target) => (EntryType::Link, target.as_os_str().as_bytes()),
            None => (EntryType::Regular, &b""[..]),
        },
        EntryKind::Folder => {
            name.push(b'/');
            (EntryType::Directory, &b""[..])
        }
        EntryKind::Link { target } => (EntryType::Symlink, target.as_os_str().as_bytes()),
    };
    if let Some(capabilities) = &entry.extras.capabilities {
        tar.append_pax_extensions([("SCHILY.xattr.security.capability", &capabilities[..])])?;
    }
    long(tar, EntryType::GNULongName, &name)?;
    long(tar, EntryType::GNULongLink, target)?;

    let mut header = blank(kind, size);
    header.set_mode(entry.mode);
    header.set_mtime(MODIFIED);
    let fields = header.as_old_mut();
    for (field, value) in [(&mut fields.name, &name[..]), (&mut fields.linkname, target)] {
        let length = value.len().min(ROOM);
        field[..length].copy_from_slice(&value[..length]);
    }
    header.set_cksum();
    tar.append(&header, data)
}

/// Writes the entry that holds a name which is too long for the header after it.
fn long(tar: &mut Builder<impl Write>, kind: EntryType, name: &[u8]) -> io::Result<()> {
    if name.len() <= ROOM {
        return Ok(());
    }
    let mut header = blank(kind, name.len() as u64 + 1);
    let label = b"././@LongLink";
    header.as_old_mut().name[..label.len()].copy_from_slice(label);
    header.set_mode(0o644);
    header.set_mtime(0);
    header.set_cksum();
    tar.append(&header, name.chain(&b"\0"[..]))
}

/// A size of more than 8 GiB is written in base 256, as GNU tar does.
fn blank(kind: EntryType, size: u64) -> Header {
    let mut header = Header::new_gnu();
    header.set_entry_type(kind);
    header.set_uid(0);
    header.set_gid(0);
    header.set_size(size);
    header
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_beyond_octal() {
        for size in [0, 0o77_777_777_777, 0o100_000_000_000, 1 << 40] {
            assert_eq!(blank(EntryType::Regular, size).size().unwrap(), size);
        }
    }
}
