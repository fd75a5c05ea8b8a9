//! Files with holes, as GNU tar writes them: <https://www.gnu.org/software/tar/manual/html_node/Sparse-Formats.html>.
//!
//! Engines write holes as zeros. A layer that another program made may have them, and stays as it is.

use std::{
    collections::BTreeMap,
    io::{self, Read},
};

use ::tar::{GnuExtSparseHeader, GnuSparseHeader, Header};

use super::{entries::Entries, malformed};

const BLOCK: usize = 512;
/// The largest map, in bytes.
const LARGEST: u64 = 1 << 20;

/// A part of a file that is not a hole: its offset in the file and its length. The content of the entry has these
/// parts one after the other.
pub type DataSegment = (u64, u64);

/// Where the map of a file is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum SparseMap {
    Known(Vec<DataSegment>),
    /// Format 1.0: before the data.
    InContent,
    /// Format 0.0, which repeats the keys of its records.
    Unsupported,
}

/// The map in the header of GNU tar's old format. It may continue behind the header.
pub(super) fn old_map(
    header: &Header,
    input: &mut impl Read,
) -> io::Result<Option<(u64, SparseMap)>> {
    let Some(gnu) = header.as_gnu() else { return Ok(None) };
    let mut segments = Vec::new();
    let mut take = |all: &[GnuSparseHeader]| {
        for one in all.iter().filter(|one| !one.is_empty()) {
            segments.push((one.offset()?, one.length()?));
        }
        Ok::<_, io::Error>(())
    };
    take(&gnu.sparse)?;
    let mut is_extended = gnu.is_extended();
    let mut left = LARGEST;
    while is_extended {
        left = left
            .checked_sub(BLOCK as u64)
            .ok_or_else(|| malformed("a file with a map of holes of more than 1 MiB"))?;
        let mut more = GnuExtSparseHeader::new();
        input.read_exact(more.as_mut_bytes())?;
        take(&more.sparse)?;
        is_extended = more.is_extended();
    }
    Ok(Some((gnu.real_size()?, SparseMap::Known(segments))))
}

/// The map in the records of GNU tar's newer formats.
pub(super) fn map_of_records(records: &BTreeMap<Vec<u8>, Vec<u8>>) -> SparseMap {
    let record = |key: &str| std::str::from_utf8(records.get(key.as_bytes())?).ok();
    if record("GNU.sparse.major") == Some("1") {
        return SparseMap::InContent;
    }
    let numbers = record("GNU.sparse.map").map(|map| map.split(',').map(str::parse).collect());
    match numbers {
        Some(Ok(numbers)) => segments(&numbers).map_or(SparseMap::Unsupported, SparseMap::Known),
        Some(Err::<Vec<u64>, _>(_)) | None => SparseMap::Unsupported,
    }
}

impl<R: Read> Entries<R> {
    /// The parts of the last entry, if it is a file with holes. Reads a map before the data, so that the content that
    /// remains is the data. `size` is that of the whole file.
    ///
    /// # Errors
    /// A map that does not fit the file.
    pub fn segments(&mut self, size: u64) -> io::Result<Option<Vec<DataSegment>>> {
        let map = match self.take_map() {
            None => return Ok(None),
            Some(SparseMap::Known(map)) => map,
            Some(SparseMap::InContent) => self.map_in_content()?,
            Some(SparseMap::Unsupported) => {
                return Err(malformed("a file with holes in a format of 2004 or before"));
            }
        };
        let mut end = 0;
        let mut data: u64 = 0;
        for (offset, length) in &map {
            let next = offset.checked_add(*length).filter(|_| *offset >= end);
            end = next.filter(|next| *next <= size).ok_or_else(|| malformed(MISFIT))?;
            data += length;
        }
        if data != self.left() {
            return Err(malformed(MISFIT));
        }
        Ok(Some(map))
    }

    /// Decimal numbers, each on a line, in whole blocks: the number of parts, then offset and length of each.
    fn map_in_content(&mut self) -> io::Result<Vec<DataSegment>> {
        let mut text = Vec::new();
        let (mut lines, mut wanted) = (0, None);
        while wanted.is_none_or(|wanted| lines < wanted) {
            let mut block = [0; BLOCK];
            self.read_exact(&mut block)?;
            text.extend(block);
            lines = text.split(|byte| *byte == b'\n').count() - 1;
            if wanted.is_none() && lines > 0 {
                let first = text.split(|byte| *byte == b'\n').next().unwrap_or_default();
                let count = std::str::from_utf8(first).ok().and_then(|text| text.parse().ok());
                let count: usize = count.ok_or_else(|| malformed(MISFIT))?;
                wanted = Some(count.saturating_mul(2).saturating_add(1));
            }
            if text.len() as u64 > LARGEST {
                return Err(malformed("a file with a map of holes of more than 1 MiB"));
            }
        }
        let numbers = text.split(|byte| *byte == b'\n').take(wanted.unwrap_or(0)).skip(1);
        let number = |text: &[u8]| std::str::from_utf8(text).ok()?.parse().ok();
        let numbers: Option<Vec<u64>> = numbers.map(number).collect();
        numbers.and_then(|numbers| segments(&numbers)).ok_or_else(|| malformed(MISFIT))
    }
}

const MISFIT: &str = "a file with a map of holes that does not fit it";

fn segments(numbers: &[u64]) -> Option<Vec<DataSegment>> {
    let pairs = numbers.chunks_exact(2);
    pairs.remainder().is_empty().then(|| pairs.map(|pair| (pair[0], pair[1])).collect())
}
