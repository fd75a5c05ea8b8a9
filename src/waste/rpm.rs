//! The database of rpm 4.16 and later: the `SQLite` file `rpmdb.sqlite`, as far as the names and sizes of packages.
//!
//! Formats: <https://www.sqlite.org/fileformat2.html>, and `lib/header.c` of rpm for the blobs of `Packages`. The
//! databases of earlier versions, `BerkeleyDB` and ndb, are not read.
//!
//! **Invariant:** no bytes make it panic, or read a page more often than the file has pages.

/// Tags of a header: `include/rpm/rpmtag.h`.
const NAME: u32 = 1000;
const SIZE: u32 = 1009;
const LONG_SIZE: u32 = 5009;
/// Types of values.
const INT32: u32 = 4;
const INT64: u32 = 5;
const STRING: u32 = 6;

/// The names and installed bytes of all packages; `None` if it is no such file.
pub(super) fn packages(file: &[u8]) -> Option<Vec<(String, u64)>> {
    let database = SqliteFile::new(file)?;
    let tables = database.rows(1)?;
    // type, name, tbl_name, rootpage, sql
    let root = tables.iter().find_map(|row| {
        let (name, page) = (row.value(1)?, row.value(3)?);
        (name == b"Packages")
            .then(|| page.iter().fold(0, |page, byte| page << 8 | u32::from(*byte)))
    })?;
    let rows = database.rows(root)?;
    // hnum, which is the key of the row, and blob
    Some(rows.iter().filter_map(|row| package(row.value(1)?)).collect())
}

/// The header of a package. `None` for public keys, which have no size.
fn package(header: &[u8]) -> Option<(String, u64)> {
    let count = usize::try_from(number(header, 0)?).ok()?;
    let store = header.get(8 + count.checked_mul(16)?..)?;
    let find = |wanted: u32, kind: u32| {
        let entries = header.get(8..)?.chunks_exact(16).take(count);
        let mut found = entries.filter(|entry| number(entry, 0) == Some(wanted));
        let entry = found.find(|entry| number(entry, 4) == Some(kind))?;
        store.get(usize::try_from(number(entry, 8)?).ok()?..)
    };
    let name = find(NAME, STRING)?.split(|byte| *byte == 0).next()?;
    let long = || {
        let value = find(LONG_SIZE, INT64)?;
        Some(u64::from(number(value, 0)?) << 32 | u64::from(number(value, 4)?))
    };
    let size = find(SIZE, INT32).and_then(|value| number(value, 0)).map(u64::from).or_else(long)?;
    Some((String::from_utf8_lossy(name).into_owned(), size))
}

fn number(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_be_bytes(*bytes.get(at..)?.first_chunk()?))
}

/// The pages of an `SQLite` file.
struct SqliteFile<'f> {
    file: &'f [u8],
    page: usize,
    /// Without the reserved bytes at the end of each page.
    usable: usize,
}

/// A row of a table: its record, joined from its pages.
struct Row(Vec<u8>);

impl<'f> SqliteFile<'f> {
    fn new(file: &'f [u8]) -> Option<Self> {
        if !file.starts_with(b"SQLite format 3\0") {
            return None;
        }
        let page = match u16::from_be_bytes(*file.get(16..)?.first_chunk()?) {
            1 => 65536,
            page => usize::from(page),
        };
        let usable = page.checked_sub(usize::from(*file.get(20)?))?;
        (page >= 512 && usable >= 480).then_some(Self { file, page, usable })
    }

    fn page(&self, number: u32) -> Option<&'f [u8]> {
        let start = usize::try_from(number).ok()?.checked_sub(1)?.checked_mul(self.page)?;
        self.file.get(start..start.checked_add(self.usable)?)
    }

    fn pages(&self) -> usize {
        self.file.len() / self.page
    }

    /// All rows of the table whose tree begins at this page.
    fn rows(&self, root: u32) -> Option<Vec<Row>> {
        let (mut rows, mut open, mut read) = (Vec::new(), vec![root], 0);
        while let Some(number) = open.pop() {
            read += 1;
            // A damaged file may have a ring.
            if read > self.pages() {
                return None;
            }
            let page = self.page(number)?;
            // The file begins with a header of 100 bytes.
            let start = if number == 1 { 100 } else { 0 };
            let kind = *page.get(start)?;
            let cells = usize::from(u16::from_be_bytes(*page.get(start + 3..)?.first_chunk()?));
            let begin = match kind {
                0x05 => start + 12,
                0x0d => start + 8,
                _ => return None,
            };
            for cell in 0..cells {
                let at = u16::from_be_bytes(*page.get(begin + 2 * cell..)?.first_chunk()?);
                let cell = page.get(usize::from(at)..)?;
                if kind == 0x05 {
                    open.push(u32::from_be_bytes(*cell.first_chunk()?));
                } else {
                    rows.push(self.row(cell)?);
                }
            }
            if kind == 0x05 {
                open.push(u32::from_be_bytes(*page.get(start + 8..)?.first_chunk()?));
            }
        }
        Some(rows)
    }

    /// A cell of a leaf. What does not fit is in a list of other pages.
    fn row(&self, cell: &[u8]) -> Option<Row> {
        let mut rest = cell;
        let size = usize::try_from(varint(&mut rest)?).ok()?;
        varint(&mut rest)?;
        if size > self.file.len() {
            return None;
        }
        let most = self.usable - 35;
        if size <= most {
            return Some(Row(rest.get(..size)?.to_vec()));
        }
        let least = (self.usable - 12) * 32 / 255 - 23;
        let some = least + (size - least) % (self.usable - 4);
        let here = if some <= most { some } else { least };
        let mut record = rest.get(..here)?.to_vec();
        let mut next = number(rest, here)?;
        while record.len() < size {
            let page = self.page(next)?;
            next = number(page, 0)?;
            record.extend(page[4..].iter().take(size - record.len()));
        }
        Some(Row(record))
    }
}

impl Row {
    /// The bytes of a column. An empty one is a NULL, or a constant.
    fn value(&self, column: usize) -> Option<&[u8]> {
        let mut header = &self.0[..];
        let length = usize::try_from(varint(&mut header)?).ok()?;
        let mut kinds = header.get(..length.checked_sub(self.0.len() - header.len())?)?;
        let mut at = length;
        for _ in 0..column {
            at = at.checked_add(size_of(varint(&mut kinds)?)?)?;
        }
        self.0.get(at..at.checked_add(size_of(varint(&mut kinds)?)?)?)
    }
}

/// The bytes of a value, by its serial type.
fn size_of(kind: u64) -> Option<usize> {
    Some(match kind {
        0 | 8 | 9 => 0,
        1..=4 => usize::try_from(kind).ok()?,
        5 => 6,
        6 | 7 => 8,
        10 | 11 => return None,
        _ => usize::try_from((kind - 12) / 2).ok()?,
    })
}

/// Seven bits a byte, the highest first; the ninth byte has eight.
fn varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut number = 0;
    for n in 0..9 {
        let (&byte, rest) = bytes.split_first()?;
        *bytes = rest;
        if n == 8 {
            return Some(number << 8 | u64::from(byte));
        }
        number = number << 7 | u64::from(byte & 0x7f);
        if byte < 0x80 {
            return Some(number);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use super::*;

    /// As rpm 4.18.0 wrote it: `gcc` with a file of 30 000 bytes, `bash`, `zlib-devel`, and `lib1` to `lib30`.
    fn file() -> Vec<u8> {
        let packed: &[u8] = include_bytes!("../../tests/testdata/rpmdb.sqlite.gz");
        let mut file = Vec::new();
        flate2::read::GzDecoder::new(packed).read_to_end(&mut file).unwrap();
        file
    }

    #[test]
    fn packages_of_rpm() {
        let mut found = packages(&file()).unwrap();
        assert_eq!(found.len(), 33);
        found.sort_by_key(|(_, size)| std::cmp::Reverse(*size));
        let largest: Vec<String> =
            found[..3].iter().map(|(name, size)| format!("{name} {size}")).collect();
        assert_eq!(largest, ["gcc 30000", "bash 2000", "lib30 30"]);
        assert!(found.contains(&("zlib-devel".to_owned(), 7)));
    }

    #[test]
    fn a_ring_of_pages_ends() {
        let mut file = file();
        let page = usize::from(u16::from_be_bytes([file[16], file[17]]));
        // Each page becomes an inner one whose children are the first page.
        for start in (0..file.len()).step_by(page) {
            let start = if start == 0 { 100 } else { start };
            file[start..start + 5].copy_from_slice(&[5, 0, 0, 0, 0]);
            file[start + 8..start + 12].copy_from_slice(&1_u32.to_be_bytes());
        }
        assert_eq!(packages(&file), None);
    }

    #[test]
    fn fuzz_rpm() {
        crate::testing::fuzz::each(&[&file()], &["SQLite format 3\0", "\r", "\u{5}"], |bytes| {
            _ = packages(bytes);
        });
    }
}
