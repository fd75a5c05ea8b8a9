//! Reads a tar as it passes.
//!
//! The `tar` crate reads the headers. It does not read the pax records between them: it takes each
//! line for one (0.4.46), while a capability of a program, as any binary value, may hold a line end,
//! and would hide the records behind it, among them the file's size.
//!
//! **Invariant:** a tar that is cut off is an error wherever the cut is.

use std::{
    collections::BTreeMap,
    io::{self, Read},
};

use ::tar::{EntryType, Header};

use super::{
    malformed,
    sparse::{SparseMap, map_of_records, old_map},
};

const BLOCK: usize = 512;
/// Go's `archive/tar`, with which engines read and write tars, takes no longer ones either.
const LONGEST_RECORDS: u64 = 1 << 20;

/// The entries of a tar, one after the other. Reading from it reads the content of the last entry.
pub struct Entries<R> {
    input: R,
    /// Of the last entry, not yet read.
    content: u64,
    padding: u64,
    /// Of the last entry, if it is a file with holes.
    map: Option<SparseMap>,
}

/// What a tar says of an entry, but for its content.
#[derive(Debug)]
pub struct TarHeader {
    /// As it is written. The fields below win: they include the records before the header.
    pub header: Header,
    /// As it is written, possibly with a leading `./`.
    pub path: Vec<u8>,
    /// What a link points at.
    pub target: Vec<u8>,
    /// Bytes of content that follow.
    pub size: u64,
    /// The size of a file with holes. Its content is without them, and may begin with a map of them.
    pub sparse: Option<u64>,
    pub user: u64,
    pub group: u64,
    /// In seconds since 1970, a decimal number. A fraction does not end in zeros.
    pub modified: String,
    /// Extended attributes, such as `security.capability`.
    pub attributes: BTreeMap<Vec<u8>, Vec<u8>>,
}

/// What comes before an entry because its header has no room for it.
#[derive(Default)]
struct Extension {
    path: Option<Vec<u8>>,
    target: Option<Vec<u8>>,
    records: BTreeMap<Vec<u8>, Vec<u8>>,
}

impl<R: Read> Entries<R> {
    pub fn new(input: R) -> Self {
        Self { input, content: 0, padding: 0, map: None }
    }

    /// Skips what is left of the last entry. `None` at the end that the tar says it has.
    pub fn next(&mut self) -> io::Result<Option<TarHeader>> {
        let mut extension = Extension::default();
        loop {
            let Some(header) = self.header()? else { return Ok(None) };
            match header.entry_type() {
                EntryType::XHeader => extension.records = records(&self.whole()?)?,
                // It is about all that follow, and only comments and times are said so.
                EntryType::XGlobalHeader => {}
                EntryType::GNULongName => extension.path = Some(self.text()?),
                EntryType::GNULongLink => extension.target = Some(self.text()?),
                _ => return self.head(header, extension).map(Some),
            }
        }
    }

    /// What follows the end of the tar, if anything does, up to the end of the input.
    pub fn into_rest(self) -> R {
        self.input
    }

    fn header(&mut self) -> io::Result<Option<Header>> {
        let rest = self.content + self.padding;
        if io::copy(&mut (&mut self.input).take(rest), &mut io::sink())? < rest {
            return Err(cut_off());
        }
        (self.content, self.padding) = (0, 0);
        let mut header = Header::new_old();
        self.input.read_exact(header.as_mut_bytes()).map_err(|error| match error.kind() {
            io::ErrorKind::UnexpectedEof => cut_off(),
            _ => error,
        })?;
        if header.as_bytes().iter().all(|byte| *byte == 0) {
            return Ok(None);
        }
        if !is_header(header.as_bytes()) {
            return Err(malformed("an entry without its checksum"));
        }
        self.begin(header.entry_size()?)?;
        Ok(Some(header))
    }

    fn begin(&mut self, size: u64) -> io::Result<()> {
        let end = size.checked_next_multiple_of(BLOCK as u64);
        self.padding = end.ok_or_else(|| malformed("an entry without an end"))? - size;
        self.content = size;
        Ok(())
    }

    /// The content of an entry that is about the next one.
    fn whole(&mut self) -> io::Result<Vec<u8>> {
        if self.content > LONGEST_RECORDS {
            return Err(malformed("an entry with a header of more than 1 MiB"));
        }
        let mut whole = Vec::new();
        self.read_to_end(&mut whole)?;
        Ok(whole)
    }

    fn text(&mut self) -> io::Result<Vec<u8>> {
        let mut text = self.whole()?;
        text.truncate(text.iter().position(|byte| *byte == 0).unwrap_or(text.len()));
        Ok(text)
    }

    fn head(&mut self, header: Header, mut extension: Extension) -> io::Result<TarHeader> {
        let mut records = extension.records;
        let old = header.entry_type() == EntryType::GNUSparse;
        let old = if old { old_map(&header, &mut self.input).map_err(at_end)? } else { None };
        let newer = records.keys().any(|key| key.starts_with(b"GNU.sparse."));
        self.map = newer.then(|| map_of_records(&records));
        let mut sparse = None;
        if let Some((whole, map)) = old {
            (sparse, self.map) = (Some(whole), Some(map));
        }
        let mut number = |key: &str| {
            let text = records.remove(key.as_bytes());
            text.map(|text| {
                let number = std::str::from_utf8(&text).ok().and_then(|text| text.parse().ok());
                number.ok_or_else(|| malformed(format!("an entry whose `{key}` is no number")))
            })
        };
        let (size, user, group) = (number("size"), number("uid"), number("gid"));
        let size = size.unwrap_or_else(|| header.entry_size())?;
        // GNU tar's formats 1.0, and 0.0 and 0.1.
        for key in ["GNU.sparse.realsize", "GNU.sparse.size"] {
            if let Some(whole) = number(key) {
                sparse = Some(whole?);
            }
        }
        self.begin(size)?;
        let sparse_name = records.remove(b"GNU.sparse.name".as_slice());
        let path = records.remove(b"path".as_slice()).or(extension.path.take());
        let path = sparse_name.or(path);
        let target = records.remove(b"linkpath".as_slice()).or(extension.target.take());
        let modified = match records.remove(b"mtime".as_slice()) {
            Some(text) => seconds(&text)?,
            None => or_zero(&header.as_old().mtime, header.mtime())?.to_string(),
        };
        let attribute = |(key, value): (Vec<u8>, Vec<u8>)| {
            Some((key.strip_prefix(b"SCHILY.xattr.")?.to_vec(), value))
        };
        Ok(TarHeader {
            path: path.unwrap_or_else(|| header.path_bytes().into_owned()),
            target: target
                .or_else(|| header.link_name_bytes().map(std::borrow::Cow::into_owned))
                .unwrap_or_default(),
            size,
            sparse,
            user: user.unwrap_or_else(|| or_zero(&header.as_old().uid, header.uid()))?,
            group: group.unwrap_or_else(|| or_zero(&header.as_old().gid, header.gid()))?,
            modified,
            attributes: records.into_iter().filter_map(attribute).collect(),
            header,
        })
    }
}

impl<R: Read> Entries<R> {
    /// Where the map of holes of the last entry is. It is taken once.
    pub(super) fn take_map(&mut self) -> Option<SparseMap> {
        self.map.take()
    }

    /// Bytes of content that were not read yet.
    pub(super) fn left(&self) -> u64 {
        self.content
    }
}

impl<R: Read> Read for Entries<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = (&mut self.input).take(self.content).read(buffer)?;
        if read == 0 && self.content > 0 && !buffer.is_empty() {
            return Err(cut_off());
        }
        self.content -= read as u64;
        Ok(read)
    }
}

/// What stands at a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileType {
    File,
    Folder,
    /// A link, device, FIFO or an unknown type.
    Special,
}

impl TarHeader {
    pub fn file_type(&self) -> FileType {
        match self.kind() {
            EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse => FileType::File,
            EntryType::Directory => FileType::Folder,
            _ => FileType::Special,
        }
    }

    pub fn kind(&self) -> EntryType {
        match self.header.entry_type() {
            // How folders were written before there was a type for them.
            EntryType::Regular if self.path.ends_with(b"/") => EntryType::Directory,
            kind => kind,
        }
    }

    /// The permissions and the three bits above them.
    pub fn mode(&self) -> io::Result<u32> {
        Ok(self.header.mode()? & 0o7777)
    }

    /// Major and minor number.
    pub fn device(&self) -> io::Result<(u32, u32)> {
        let number =
            |number: Option<u32>| number.ok_or_else(|| malformed("a device without a number"));
        Ok((number(self.header.device_major()?)?, number(self.header.device_minor()?)?))
    }
}

/// Whether this is the header of an entry: its checksum says so.
pub(super) fn is_header(block: &[u8; BLOCK]) -> bool {
    // The checksum's own field counts as spaces.
    let sum: u32 = block[..148].iter().chain(&block[156..]).map(|byte| u32::from(*byte)).sum();
    let header = Header::from_byte_slice(block);
    header.cksum().is_ok_and(|written| written == sum + 8 * u32::from(b' '))
}

/// A blank field is 0 for Go's `archive/tar`.
fn or_zero(field: &[u8], number: io::Result<u64>) -> io::Result<u64> {
    if field.iter().all(|byte| matches!(byte, 0 | b' ')) { Ok(0) } else { number }
}

/// A time of a pax record: `1700000000.5`, possibly negative.
fn seconds(text: &[u8]) -> io::Result<String> {
    let text = std::str::from_utf8(text).unwrap_or_default();
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let is_number = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if whole.parse::<i64>().is_err() || !is_number(fraction) {
        return Err(malformed("an entry whose `mtime` is not a number"));
    }
    let fraction = fraction.trim_end_matches('0');
    let point = if fraction.is_empty() { "" } else { "." };
    Ok(format!("{whole}{point}{fraction}"))
}

/// `<length> <key>=<value>\n`, where the length is that of it all.
fn records(mut text: &[u8]) -> io::Result<BTreeMap<Vec<u8>, Vec<u8>>> {
    let mut records = BTreeMap::new();
    while !text.is_empty() {
        let (record, rest) = record(text).ok_or_else(|| malformed("a malformed pax record"))?;
        records.insert(record.0.to_vec(), record.1.to_vec());
        text = rest;
    }
    Ok(records)
}

type Record<'a> = (&'a [u8], &'a [u8]);

fn record(text: &[u8]) -> Option<(Record<'_>, &[u8])> {
    let space = text.iter().position(|byte| *byte == b' ')?;
    let length: usize = std::str::from_utf8(&text[..space]).ok()?.parse().ok()?;
    let (record, rest) = text.split_at_checked(length)?;
    let record = record.get(space + 1..)?.strip_suffix(b"\n")?;
    let equals = record.iter().position(|byte| *byte == b'=')?;
    Some(((&record[..equals], &record[equals + 1..]), rest))
}

fn at_end(error: io::Error) -> io::Error {
    if error.kind() == io::ErrorKind::UnexpectedEof { cut_off() } else { error }
}

fn cut_off() -> io::Error {
    io::Error::new(io::ErrorKind::UnexpectedEof, "the archive is cut off")
}
