//! Recognizes the compression of a layer, and hashes what passes.

use std::io::{self, BufReader, Chain, Cursor, Read};

use flate2::read::MultiGzDecoder;

use super::{malformed, zstd::ZstdFrames};
use crate::image::{Digest, Hasher};

/// The start of a stream that was read to recognize it, and the rest.
type Recognized<R> = Chain<Cursor<Vec<u8>>, R>;

/// What a stream is, by its first bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Compression {
    None,
    Gzip,
    Zstd,
}

impl Compression {
    /// # Errors
    /// Compressions that engines accept and that are not supported.
    pub(super) fn of(first: &[u8]) -> io::Result<Self> {
        let unsupported = |name: &str| {
            Err(malformed(format!("a layer compressed with {name}, which is not supported")))
        };
        match first {
            [0x1f, 0x8b, ..] => Ok(Self::Gzip),
            // A frame, or one to skip: <https://github.com/facebook/zstd/blob/dev/doc/zstd_compression_format.md>.
            [0x28, 0xb5, 0x2f, 0xfd, ..] | [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => Ok(Self::Zstd),
            [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => unsupported("xz"),
            [b'B', b'Z', b'h', b'1'..=b'9', b'1', b'A', b'Y', b'&', ..] => unsupported("bzip2"),
            _ => Ok(Self::None),
        }
    }
}

/// The uncompressed bytes of a stream.
pub struct Decompressed<R: Read>(Decoder<R>);

enum Decoder<R: Read> {
    Plain(Recognized<R>),
    Gzip(Box<MultiGzDecoder<Recognized<R>>>),
    Zstd(Box<ZstdFrames<BufReader<Recognized<R>>>>),
}

/// Decompresses a stream if it is compressed. A stream may consist of several gzip members or zstd frames.
pub fn decompress<R: Read>(mut input: R) -> io::Result<Decompressed<R>> {
    let mut first = Vec::with_capacity(16);
    (&mut input).take(16).read_to_end(&mut first)?;
    let compression = Compression::of(&first)?;
    let input = Cursor::new(first).chain(input);
    Ok(Decompressed(match compression {
        Compression::None => Decoder::Plain(input),
        Compression::Gzip => Decoder::Gzip(Box::new(MultiGzDecoder::new(input))),
        Compression::Zstd => Decoder::Zstd(Box::new(ZstdFrames::new(BufReader::new(input)))),
    }))
}

impl<R: Read> Decompressed<R> {
    /// The compressed stream, behind what was read ahead.
    pub fn into_inner(self) -> R {
        match self.0 {
            Decoder::Plain(input) => input,
            Decoder::Gzip(decoder) => decoder.into_inner(),
            Decoder::Zstd(frames) => frames.into_inner().into_inner(),
        }
        .into_inner()
        .1
    }
}

impl<R: Read> Read for Decompressed<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match &mut self.0 {
            Decoder::Plain(input) => input.read(buffer),
            Decoder::Gzip(decoder) => decoder.read(buffer),
            Decoder::Zstd(frames) => frames.read(buffer),
        }
    }
}

/// Computes the digest of what is read through it.
pub struct Hashed<R> {
    hasher: Hasher,
    input: R,
}

impl<R: Read> Hashed<R> {
    pub fn new(input: R) -> Self {
        Self { hasher: Hasher::default(), input }
    }

    /// Reads the rest, and returns the digest of everything.
    pub fn finish(mut self) -> io::Result<Digest> {
        io::copy(&mut self, &mut io::sink())?;
        Ok(self.hasher.finish())
    }
}

impl<R: Read> Read for Hashed<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.input.read(buffer)?;
        self.hasher.update(&buffer[..read]);
        Ok(read)
    }
}
