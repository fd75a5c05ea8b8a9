//! The layers of images, as streams: decompression, tar entries, whiteouts, and the archives in which engines
//! export images. Pure: reads from any [`Read`](std::io::Read), for `spawn_blocking` and for tests.
//!
//! ```text
//! blob of a registry ─▶ decompress ─────────────────────┐
//!                                                       ├─▶ Hashed ─▶ Entries ─▶ TarHeader ─▶ EntryEffect
//! GET /images/get ───▶ each_file ─▶ ArchivedFile::Layer ┘               └─ Read: content of the entry
//! ```
//!
//! - [`decompress`] recognizes plain tar, gzip and zstd by the first bytes. Media types are not always right.
//! - [`each_file`] reads an exported archive in one pass, without a temporary file: the archives of Docker 20.10
//!   (`ID/layer.tar`, links between equal layers), of Docker 25 and later, of containerd and of podman differ in
//!   names and order, and `manifest.json` comes last. A layer is found by its diff ID instead, the digest of its
//!   uncompressed tar, which [`Hashed`] computes. A reader that needs the layers in their order writes each to a
//!   temporary file.
//! - [`oci_archive`] writes an exported image as an OCI archive.
//! - [`Entries`] reads one tar: pax records, GNU long names, extended attributes, files with holes. It is also a
//!   `Read` of the content of the last entry, so a file of 10 GB passes in pieces.
//! - [`EntryEffect::of`] gives the normalized path (no leading `./` or `/`, no `..`) and says whether the entry
//!   is a whiteout.
//!
//! **Invariant:** memory is bounded: 1 MiB for the header of an entry, 16 MiB for a document, 64 MiB for the
//! window of zstd. A cut or damaged stream is an error, never a short layer.

mod archive;
mod compression;
mod effect;
mod entries;
mod oci_archive;
mod sparse;
mod zstd;
#[cfg(test)]
mod tests;

use std::io;

pub use self::{
    archive::{ArchivedFile, each_file},
    compression::{Hashed, decompress},
    effect::EntryEffect,
    entries::{Entries, FileType, TarHeader},
    oci_archive::oci_archive,
    sparse::DataSegment,
};

/// An error of malformed content.
pub fn malformed(what: impl Into<String>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what.into())
}
