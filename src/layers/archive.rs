//! The archives in which engines export images: `GET /images/get`, `docker save`.
//!
//! The names of the layers have changed twice (`ID/layer.tar`, `blobs/sha256/DIGEST`, sometimes compressed), and
//! a layer of two images may be there once and linked to. So every file that is a tar is a layer, and a layer is
//! known by the digest of what was read.

use std::io::{self, Cursor, Read};

use super::{Entries, compression::Compression, decompress, entries::is_header, malformed};

/// The largest document. Configurations with a long history have about 100 kB.
const DOCUMENT: u64 = 16 << 20;
const BLOCK: usize = 512;

/// A file of an exported archive.
pub enum ArchivedFile<'a> {
    /// The uncompressed tar of a layer. What the visitor does not read is skipped.
    Layer(&'a mut dyn Read),
    /// Anything else, such as `manifest.json` or a configuration: its path in the archive, and its content.
    Document { path: String, content: Vec<u8> },
}

/// Reads an archive to its end. Links between files of the archive are left out.
pub fn each_file(
    archive: impl Read,
    visit: &mut dyn FnMut(ArchivedFile<'_>) -> io::Result<()>,
) -> io::Result<()> {
    let mut files = Entries::new(archive);
    while let Some(header) = files.next()? {
        if !header.kind().is_file() {
            continue;
        }
        let path = String::from_utf8_lossy(&header.path).into_owned();
        let named = |error: io::Error| io::Error::new(error.kind(), format!("`{path}`: {error}"));
        let mut first = Vec::new();
        (&mut files).take(BLOCK as u64).read_to_end(&mut first)?;
        let is_layer = is_layer(&first).map_err(named)?;
        let mut file = Cursor::new(first).chain(&mut files);
        if is_layer {
            let mut layer = decompress(file).map_err(named)?;
            visit(ArchivedFile::Layer(&mut layer))?;
        } else if header.size <= DOCUMENT {
            let mut content = Vec::new();
            file.read_to_end(&mut content)?;
            visit(ArchivedFile::Document { path, content })?;
        } else {
            return Err(malformed(format!(
                "`{path}`, a file of {} bytes that is not a layer",
                header.size
            )));
        }
    }
    Ok(())
}

fn is_layer(first: &[u8]) -> io::Result<bool> {
    if Compression::of(first)? != Compression::None {
        return Ok(true);
    }
    let block = <&[u8; BLOCK]>::try_from(first);
    // A layer that changes nothing is nothing but the end of a tar.
    Ok(block.is_ok_and(|block| is_header(block) || block.iter().all(|byte| *byte == 0)))
}
