//! A layer that is written once.

use std::{
    collections::HashMap,
    io::{self, Read as _, Write},
    sync::Arc,
};

use super::{
    header::{BLOCK, header},
    listing::FlatFile,
};

/// The end of a tar.
const END: [u8; 2 * BLOCK] = [0; 2 * BLOCK];

/// A path, and what is there.
pub(super) type FlatEntry<C> = (Vec<u8>, FlatItem<C>);

#[derive(Debug)]
pub(super) enum FlatItem<C> {
    File(Arc<FlatFile<C>>),
    /// The path is deleted.
    Whiteout,
    /// What the layers below have in this folder is deleted.
    Opaque,
}

/// The entries of a layer in the order of its tar: sorted, a folder before its whiteouts and its content, a file before the hard links to it.
#[derive(Debug)]
pub struct FlatLayer<C> {
    entries: Vec<FlatEntry<C>>,
}

impl<C> FlatLayer<C> {
    pub(super) fn new(entries: Vec<FlatEntry<C>>) -> Self {
        Self { entries }
    }

    /// The exact number of bytes that [`write`](Self::write) writes.
    pub fn size(&self) -> u64 {
        let mut size = END.len() as u64;
        let counted = self.each(|header, file| {
            let content = file.map_or(0, |(file, _)| file.size);
            size += header.len() as u64 + content.next_multiple_of(BLOCK as u64);
            Ok(())
        });
        counted.expect("counting does not fail");
        size
    }

    /// Writes the tar. `copy` writes a part of the content of a file: its offset in the content, and its length.
    pub fn write<W: Write>(
        &self,
        out: &mut W,
        mut copy: impl FnMut(&C, (u64, u64), &mut W) -> io::Result<()>,
    ) -> io::Result<()> {
        self.each(|header, file| {
            out.write_all(&header)?;
            if let Some((file, content)) = file {
                match &file.segments {
                    None => copy(content, (0, file.size), out)?,
                    Some(segments) => {
                        let (mut at, mut read) = (0, 0);
                        for (offset, length) in segments {
                            zeros(offset - at, out)?;
                            copy(content, (read, *length), out)?;
                            (at, read) = (offset + length, read + length);
                        }
                        zeros(file.size - at, out)?;
                    }
                }
                let rest = file.size.next_multiple_of(BLOCK as u64) - file.size;
                out.write_all(&END[..usize::try_from(rest).unwrap_or_default()])?;
            }
            Ok(())
        })?;
        out.write_all(&END)
    }

    /// The header of each entry, and its file if content follows.
    fn each<'s>(
        &'s self,
        mut visit: impl FnMut(Vec<u8>, Option<(&'s FlatFile<C>, &'s C)>) -> io::Result<()>,
    ) -> io::Result<()> {
        let mut first: HashMap<*const FlatFile<C>, &[u8]> = HashMap::new();
        for (path, what) in &self.entries {
            match what {
                FlatItem::File(file) if file.is_folder() => visit(header(path, file, None), None)?,
                FlatItem::File(file) => {
                    if let Some(target) = first.get(&Arc::as_ptr(file)) {
                        visit(header(path, file, Some(target)), None)?;
                    } else {
                        first.insert(Arc::as_ptr(file), path);
                        let content = file.content.as_ref().map(|content| (&**file, content));
                        visit(header(path, file, None), content)?;
                    }
                }
                FlatItem::Whiteout | FlatItem::Opaque => {
                    let mark = FlatFile::<C>::document(0);
                    visit(
                        header(&marker(path, matches!(what, FlatItem::Opaque)), &mark, None),
                        None,
                    )?;
                }
            }
        }
        Ok(())
    }
}

fn zeros(count: u64, out: &mut impl Write) -> io::Result<()> {
    io::copy(&mut io::repeat(0).take(count), out).map(drop)
}

/// <https://github.com/opencontainers/image-spec/blob/v1.1.0/layer.md#whiteouts>
fn marker(path: &[u8], is_opaque: bool) -> Vec<u8> {
    let slash = path.iter().rposition(|byte| *byte == b'/');
    match slash {
        _ if is_opaque && path.is_empty() => b".wh..wh..opq".to_vec(),
        _ if is_opaque => [path, b"/.wh..wh..opq"].concat(),
        Some(slash) => [&path[..=slash], b".wh.", &path[slash + 1..]].concat(),
        None => [b".wh.", path].concat(),
    }
}
