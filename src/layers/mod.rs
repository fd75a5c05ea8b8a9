//! The layers of images, as streams: decompression, tar entries, whiteouts, and the archives in which engines
//! export images. Pure: reads from any [`Read`](std::io::Read), for `spawn_blocking` and for tests.
//!
//! The reading code is still in `engine/tree`, and moves here with this interface:
//!
//! ```text
//! blob of a registry ─▶ decompress ─────────────────────┐
//!                                                       ├─▶ Hashed ─▶ Entries ─▶ TarHeader ─▶ EntryEffect
//! GET /images/get ───▶ each_file ─▶ ArchivedFile::Layer ┘               └─ Read: content of the entry
//!
//! pub fn decompress<R: Read>(input: R) -> io::Result<Decompressed<R>>     // plain, gzip, zstd; impl Read
//! impl<R> Decompressed<R> { pub fn into_inner(self) -> R }
//! pub struct Hashed<R>; new(input); impl Read; finish(self) -> io::Result<Digest>   // reads the rest, too
//!
//! pub struct Entries<R>; new(input); impl Read for the content of the last entry
//!     next(&mut self) -> io::Result<Option<TarHeader>>; into_rest(self) -> R
//! pub struct TarHeader { header: tar::Header, path, target, size, sparse: Option<u64>, user, group,
//!                        attributes: BTreeMap<Vec<u8>, Vec<u8>> }   // records before the header included
//!     kind() -> EntryType; mode() -> io::Result<u32>; device() -> io::Result<(u32, u32)>
//!
//! pub enum EntryEffect { Put { path }, HardLink { path, target }, Whiteout { path }, Opaque { folder } }
//!     of(&TarHeader) -> io::Result<Option<Self>>     // normalized paths; None: engines ignore the entry
//!
//! pub enum ArchivedFile<'a> { Layer(&'a mut dyn Read), Document { path: String, content: Vec<u8> } }
//! pub fn each_file(archive: impl Read, visit: &mut dyn FnMut(ArchivedFile<'_>) -> io::Result<()>)
//!     -> io::Result<()>      // one pass; a Layer is an uncompressed tar
//! pub fn malformed(what: impl Into<String>) -> io::Error
//! ```
//!
//! An archive is read in one pass, without a temporary file: the archives of Docker 20.10, of Docker 25 and
//! later, of containerd and of podman differ in names and order, and `manifest.json` comes last. A layer is found
//! by its diff ID instead, the digest of its uncompressed tar. A reader that needs the layers in their order
//! writes each to a temporary file.
