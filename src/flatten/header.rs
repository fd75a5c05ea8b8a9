//! One entry of a tar, byte for byte: ustar, with pax records for what does not fit.
//!
//! Engines read and write tars with Go's `archive/tar`, which takes any bytes in these fields. User and group names
//! are left out: engines ignore them, and they differ from machine to machine.

use std::{collections::BTreeMap, io::Write as _};

use ::tar::{EntryType, Header};

use super::listing::FlatFile;

pub(super) const BLOCK: usize = 512;
/// The room of a header for a path, and for the target of a link.
const PATH: usize = 100;
/// Seven octal digits.
const LARGEST_ID: u64 = 0o7_777_777;
/// Eleven octal digits.
const LARGEST_NUMBER: u64 = 0o77_777_777_777;

/// The blocks of an entry before its content. `link`: the path of the file that it is a hard link to.
pub(super) fn header<C>(path: &[u8], file: &FlatFile<C>, link: Option<&[u8]>) -> Vec<u8> {
    let mut name = if path.is_empty() { b".".to_vec() } else { path.to_vec() };
    if file.is_folder() {
        name.push(b'/');
    }
    let (kind, target, size) = match link {
        Some(link) => (EntryType::Link, link, 0),
        None => (file.kind, &file.target[..], file.size),
    };
    let mut records: BTreeMap<Vec<u8>, Vec<u8>> = BTreeMap::new();
    for (key, value) in &file.attributes {
        records.insert([b"SCHILY.xattr.", &key[..]].concat(), value.clone());
    }
    let mut number = |key: &str, value: u64, largest: u64| {
        if value <= largest {
            return value;
        }
        records.insert(key.into(), value.to_string().into());
        0
    };
    let user = number("uid", file.user, LARGEST_ID);
    let group = number("gid", file.group, LARGEST_ID);
    let stored = number("size", size, LARGEST_NUMBER);
    let modified = file.modified.parse().ok().filter(|seconds| *seconds <= LARGEST_NUMBER);
    if modified.is_none() {
        records.insert(b"mtime".to_vec(), file.modified.clone().into());
    }
    for (key, value) in [("path", &name[..]), ("linkpath", target)] {
        if value.len() > PATH {
            records.insert(key.into(), value.to_vec());
        }
    }
    let mut blocks = Vec::new();
    if !records.is_empty() {
        let text = records_text(&records);
        let extension = block(EntryType::XHeader, (b"PaxHeaders", b""), |header| {
            header.set_mode(0o644);
            header.set_size(text.len() as u64);
        });
        blocks.extend(extension);
        blocks.extend(&text);
        blocks.resize(blocks.len().next_multiple_of(BLOCK), 0);
    }
    blocks.extend(block(kind, (&name, target), |header| {
        header.set_mode(file.mode);
        header.set_uid(user);
        header.set_gid(group);
        header.set_size(stored);
        header.set_mtime(modified.unwrap_or(0));
        if matches!(kind, EntryType::Char | EntryType::Block) {
            // Both fields are there in a ustar header.
            _ = header.set_device_major(file.device.0);
            _ = header.set_device_minor(file.device.1);
        }
    }));
    blocks
}

fn block(
    kind: EntryType,
    (name, target): (&[u8], &[u8]),
    fill: impl FnOnce(&mut Header),
) -> [u8; BLOCK] {
    let mut header = Header::new_ustar();
    header.set_entry_type(kind);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header.set_size(0);
    // Not with the `tar` crate's own setters, which tidy paths up and refuse some.
    let fields = header.as_old_mut();
    for (field, value) in [(&mut fields.name, name), (&mut fields.linkname, target)] {
        let length = value.len().min(PATH);
        field[..length].copy_from_slice(&value[..length]);
    }
    fill(&mut header);
    header.set_cksum();
    *header.as_bytes()
}

/// `<length> <key>=<value>\n`, where the length is that of all of it.
fn records_text(records: &BTreeMap<Vec<u8>, Vec<u8>>) -> Vec<u8> {
    let mut text = Vec::new();
    for (key, value) in records {
        let rest = key.len() + value.len() + 3;
        let mut length = rest + rest.to_string().len();
        // One more digit may make one more digit.
        while rest + length.to_string().len() != length {
            length = rest + length.to_string().len();
        }
        _ = write!(text, "{length} ");
        text.extend([&key[..], b"=", value, b"\n"].concat());
    }
    text
}
