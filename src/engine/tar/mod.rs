//! A build context as the tar that an engine takes, made while it is sent.
//!
//! **Invariant:** the whole tar is never in memory, and a stream that ended well was a whole tar of
//! exactly the files that were hashed. Everything that could differ between two machines with the
//! same files is set to one value: owner 0, mode [normalised](crate::fingerprint::context::Entry),
//! and time [`MODIFIED`].

mod dockerfile;
mod header;
#[cfg(test)]
mod tests;

use std::io::{self, Read, Write};

use ::tar::Builder;
use bytes::{Bytes, BytesMut};
use futures_util::{Stream, stream};
use tokio::{sync::mpsc, task::JoinHandle};

pub(super) use dockerfile::Dockerfile;

use crate::{
    fingerprint::context::{
        ContentReader, Context, ContextEntry, ContextError, EntryExtras, EntryKind, Tally,
    },
    image::{Digest, Hasher},
};

/// The time of every entry: 1980-01-01 00:00:00 UTC, in seconds.
///
/// `COPY` takes a file's time into the layer, so that the time of a checkout would make another
/// layer on each machine. Any constant would do; this is the first moment that a zip file can hold
/// (`zip` and Python's wheels refuse anything earlier), and what reproducible builds use for it.
const MODIFIED: u64 = 315_532_800;

/// Large enough that a chunk costs nothing, small enough that eight in flight are 2 MiB.
const CHUNK: usize = 256 * 1024;
const IN_FLIGHT: usize = 8;

/// Sends a context, with the pinned Dockerfile in it. Dropping the stream ends all work on it.
///
/// `expected` is the context's digest when the build was planned. The stream fails, before the tar
/// is whole, if what it sent was anything else: an image must never be stored under the fingerprint of
/// other files than it was built from.
///
/// Never compressed: on a local socket that only costs time (gzip -1 three times as much), and
/// engines have been attacked through compressed contexts (CVE-2026-41567).
///
/// # Errors
/// The last item, if any; a [`ContextError`] is inside the [`io::Error`].
///
/// # Panics
/// Outside of a tokio runtime.
pub(super) fn stream(
    context: Context,
    dockerfile: Dockerfile,
    expected: Option<Digest>,
) -> impl Stream<Item = io::Result<Bytes>> + Send + 'static {
    written(move |chunks| write(chunks, &context, &dockerfile, expected.as_ref()))
}

/// What is written, as a stream. Dropping the stream makes the next write fail.
///
/// # Errors
/// The last item, if any: the error of the writer.
///
/// # Panics
/// Outside of a tokio runtime.
pub(super) fn written(
    write: impl FnOnce(&mut Chunks) -> io::Result<()> + Send + 'static,
) -> impl Stream<Item = io::Result<Bytes>> + Send + 'static {
    let (sender, receiver) = mpsc::channel(IN_FLIGHT);
    let writer = tokio::task::spawn_blocking(move || {
        let mut chunks = Chunks { buffer: BytesMut::with_capacity(CHUNK), sender };
        write(&mut chunks)?;
        chunks.flush()
    });
    stream::unfold(Some((receiver, writer)), next)
}

type Source = (mpsc::Receiver<Bytes>, JoinHandle<io::Result<()>>);

/// The next chunk. That the channel is closed is no sign of success: the writer must say so.
async fn next(source: Option<Source>) -> Option<(io::Result<Bytes>, Option<Source>)> {
    let (mut chunks, writer) = source?;
    if let Some(chunk) = chunks.recv().await {
        return Some((Ok(chunk), Some((chunks, writer))));
    }
    match writer.await {
        Ok(Ok(())) => None,
        Ok(Err(error)) => Some((Err(error), None)),
        Err(panic) => Some((Err(io::Error::other(panic)), None)),
    }
}

/// Cuts what is written into chunks, and waits while too many are on their way.
pub(super) struct Chunks {
    buffer: BytesMut,
    sender: mpsc::Sender<Bytes>,
}

impl Write for Chunks {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let taken = bytes.len().min(CHUNK - self.buffer.len());
        self.buffer.extend_from_slice(&bytes[..taken]);
        if self.buffer.len() == CHUNK {
            self.flush()?;
        }
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.buffer.is_empty() {
            return Ok(());
        }
        let full = std::mem::replace(&mut self.buffer, BytesMut::with_capacity(CHUNK));
        let gone = |_| io::Error::from(io::ErrorKind::BrokenPipe);
        self.sender.blocking_send(full.freeze()).map_err(gone)
    }
}

/// Writes the whole tar.
fn write(
    out: &mut impl Write,
    context: &Context,
    dockerfile: &Dockerfile,
    expected: Option<&Digest>,
) -> io::Result<()> {
    let mut tar = Builder::new(out);
    let written = write_entries(&mut tar, context, dockerfile, expected);
    if written.is_err() {
        // Dropping it would finish the tar, and the engine would take it for a whole one.
        std::mem::forget(tar);
        return written;
    }
    tar.finish()
}

fn write_entries(
    tar: &mut Builder<impl Write>,
    context: &Context,
    dockerfile: &Dockerfile,
    expected: Option<&Digest>,
) -> io::Result<()> {
    let mut tally = Tally::default();
    let entries = context.entries().map_err(io::Error::other)?;
    header::begin(tar)?;
    for entry in &entries {
        let digest = if matches!(entry.kind, EntryKind::File { .. }) {
            let file = context.read(entry).map_err(io::Error::other)?;
            Some(write_file(tar, &dockerfile.unlinked(entry), file, dockerfile)?)
        } else {
            header::append(tar, entry, (0, io::empty()))?;
            None
        };
        tally.add(entry, digest.as_ref());
    }
    for (path, text) in dockerfile.extras(&entries) {
        let size = text.len() as u64;
        let kind = EntryKind::File { size };
        let entry = ContextEntry { path, kind, mode: 0o644, extras: EntryExtras::default() };
        header::append(tar, &entry, (size, text.as_bytes()))?;
    }
    if expected.is_some_and(|expected| *expected != tally.finish()) {
        return Err(io::Error::other(ContextError::Stale { root: context.root.clone() }));
    }
    Ok(())
}

/// Writes one file, or what takes its place, and returns the digest of the file.
fn write_file(
    tar: &mut Builder<impl Write>,
    entry: &ContextEntry,
    content: ContentReader,
    dockerfile: &Dockerfile,
) -> io::Result<Digest> {
    let size = content.size();
    let mut content = HashedTar { hasher: Hasher::default(), content };
    if dockerfile.replaces(entry) {
        io::copy(&mut content, &mut io::sink())?;
        let text = dockerfile.text.as_bytes();
        header::append(tar, entry, (text.len() as u64, text))?;
    } else if let Some(appended) = dockerfile.appended_to(entry) {
        let size = size + appended.len() as u64;
        header::append(tar, entry, (size, content.by_ref().chain(appended.as_bytes())))?;
    } else if entry.extras.hard_link.is_some() {
        io::copy(&mut content, &mut io::sink())?;
        header::append(tar, entry, (0, io::empty()))?;
    } else {
        header::append(tar, entry, (size, &mut content))?;
    }
    Ok(content.hasher.finish())
}

/// Hashes what is read.
struct HashedTar {
    hasher: Hasher,
    content: ContentReader,
}

impl Read for HashedTar {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.content.read(buffer)?;
        self.hasher.update(&buffer[..read]);
        Ok(read)
    }
}
