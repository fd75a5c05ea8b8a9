//! The bytes of a [`LayerIndex`] in the cache.
//!
//! **Invariant:** bytes of another version, or with one wrong bit, decode to nothing.

use super::{
    index::{IndexedEntry, IndexedFile, IndexedItem, LayerIndex},
    packages::PackageDatabase,
};
use crate::image::Digest;

/// The version of the format.
const HEAD: &[u8] = b"rebuild layer 2\n";
const DIGEST: usize = 32;

/// About 50 bytes for each file: paths begin as the one before does.
pub fn encode(index: &LayerIndex) -> Vec<u8> {
    let mut out = Output(HEAD.to_vec());
    out.number(index.entries.len() as u64);
    let mut last: &[u8] = b"";
    for IndexedEntry { path, item } in &index.entries {
        let shared = last.iter().zip(path).take_while(|(a, b)| a == b).count();
        out.number(shared as u64);
        out.bytes(&path[shared..]);
        last = path;
        match item {
            IndexedItem::File(IndexedFile { size, content, mode, user, group }) => {
                out.0.push(0);
                out.0.extend(content);
                for number in [*size, u64::from(*mode), *user, *group] {
                    out.number(number);
                }
            }
            IndexedItem::Folder => out.0.push(1),
            IndexedItem::Special => out.0.push(2),
            IndexedItem::HardLink { target } => {
                out.0.push(3);
                out.bytes(target);
            }
            IndexedItem::Whiteout => out.0.push(4),
            IndexedItem::Opaque => out.0.push(5),
        }
    }
    out.number(index.databases.len() as u64);
    for PackageDatabase { path, packages } in &index.databases {
        out.bytes(path);
        out.number(packages.len() as u64);
        for (name, size) in packages {
            out.bytes(name.as_bytes());
            out.number(*size);
        }
    }
    let sum = Digest::of(&out.0);
    out.0.extend(sum.bytes());
    out.0
}

/// `None` unless these are exactly the bytes of an index.
pub fn decode(bytes: &[u8]) -> Option<LayerIndex> {
    let (text, sum) = bytes.split_last_chunk::<DIGEST>()?;
    if Digest::of(text).bytes() != *sum {
        return None;
    }
    let mut input = Input(text.strip_prefix(HEAD)?);
    let mut index = LayerIndex::default();
    let mut last = Vec::new();
    for _ in 0..input.number()? {
        let shared = usize::try_from(input.number()?).ok()?;
        let mut path = last.get(..shared)?.to_vec();
        path.extend(input.bytes()?);
        let item = match input.byte()? {
            0 => {
                let (content, rest) = input.0.split_first_chunk::<16>()?;
                input.0 = rest;
                IndexedItem::File(IndexedFile {
                    content: *content,
                    size: input.number()?,
                    mode: input.number()?.try_into().ok()?,
                    user: input.number()?,
                    group: input.number()?,
                })
            }
            1 => IndexedItem::Folder,
            2 => IndexedItem::Special,
            3 => IndexedItem::HardLink { target: input.bytes()?.to_vec() },
            4 => IndexedItem::Whiteout,
            5 => IndexedItem::Opaque,
            _ => return None,
        };
        last.clone_from(&path);
        index.entries.push(IndexedEntry { path, item });
    }
    for _ in 0..input.number()? {
        let path = input.bytes()?.to_vec();
        let mut packages = Vec::new();
        for _ in 0..input.number()? {
            packages.push((String::from_utf8(input.bytes()?.to_vec()).ok()?, input.number()?));
        }
        index.databases.push(PackageDatabase { path, packages });
    }
    input.0.is_empty().then_some(index)
}

struct Output(Vec<u8>);

impl Output {
    /// Seven bits a byte, the lowest first; the last byte has no high bit.
    fn number(&mut self, mut number: u64) {
        loop {
            let seven = (number & 0x7f) as u8;
            number >>= 7;
            if number == 0 {
                return self.0.push(seven);
            }
            self.0.push(seven | 0x80);
        }
    }

    fn bytes(&mut self, bytes: &[u8]) {
        self.number(bytes.len() as u64);
        self.0.extend(bytes);
    }
}

struct Input<'b>(&'b [u8]);

impl<'b> Input<'b> {
    fn byte(&mut self) -> Option<u8> {
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*first)
    }

    fn number(&mut self) -> Option<u64> {
        let mut number = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            number |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Some(number);
            }
        }
        None
    }

    fn bytes(&mut self) -> Option<&'b [u8]> {
        let length = usize::try_from(self.number()?).ok()?;
        let (bytes, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn example() -> LayerIndex {
        let file = |size| {
            IndexedItem::File(IndexedFile {
                size,
                content: [7; 16],
                mode: 0o4755,
                user: 1000,
                group: u64::MAX,
            })
        };
        let entries = [
            ("usr", IndexedItem::Folder),
            ("usr/bin/a", file(0)),
            ("usr/bin/ab", file(u64::MAX)),
            ("usr/bin/c", IndexedItem::HardLink { target: b"usr/bin/a".to_vec() }),
            ("usr/lib", IndexedItem::Special),
            ("\u{ff}", IndexedItem::Whiteout),
            ("", IndexedItem::Opaque),
        ];
        let entries = entries.map(|(path, item)| IndexedEntry { path: path.into(), item });
        let packages = vec![("gcc".to_owned(), 300), (String::new(), 0)];
        let databases = vec![PackageDatabase { path: b"var/lib/dpkg/status".to_vec(), packages }];
        LayerIndex { entries: entries.into(), databases }
    }

    #[test]
    fn an_index_survives_the_cache() {
        for index in [example(), LayerIndex::default()] {
            assert_eq!(decode(&encode(&index)), Some(index));
        }
    }

    #[test]
    fn damaged_bytes_are_nothing() {
        let bytes = encode(&example());
        for length in 0..bytes.len() {
            assert_eq!(decode(&bytes[..length]), None, "{length}");
        }
        for at in 0..bytes.len() {
            let mut other = bytes.clone();
            other[at] ^= 1;
            assert_eq!(decode(&other), None, "{at}");
        }
        // With a right sum, as another program might write it.
        let body = bytes.len() - DIGEST;
        for at in HEAD.len()..body {
            let mut other = bytes[..body].to_vec();
            other[at] ^= 0xff;
            let sum = Digest::of(&other);
            other.extend(sum.bytes());
            _ = decode(&other);
        }
    }
}
