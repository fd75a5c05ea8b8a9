//! The digest of a context, and of each file in it.

use std::{
    io::Read as _,
    num::NonZero,
    os::unix::ffi::OsStrExt,
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
    thread,
};

use super::{
    Context, ContextEntry, ContextError, EntryExtras, EntryKind, stamp::Stamp, walk::Seen,
};
use crate::{
    fingerprint::cache::{HashCache, Key, key},
    image::{Digest, Hasher},
};

/// Every entry of a context; files with the digest of their content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ContextManifest {
    pub entries: Vec<(ContextEntry, Option<Digest>)>,
}

impl ContextManifest {
    /// The digest of the whole context.
    pub fn digest(&self) -> Digest {
        let mut tally = Tally::default();
        for (entry, content) in &self.entries {
            tally.add(entry, content.as_ref());
        }
        tally.finish()
    }
}

/// Computes the digest of a context from its entries in order.
#[derive(Clone, Debug)]
pub struct Tally(Hasher);

impl Default for Tally {
    fn default() -> Self {
        let mut hasher = Hasher::default();
        // The version of the encoding. Changing it rebuilds every image.
        hasher.update(b"rebuild context 1\n");
        Self(hasher)
    }
}

impl Tally {
    /// `content` is the digest of a file's content; `None` for other kinds.
    ///
    /// Every part has a fixed length or contains its length, so different lists of entries have different
    /// encodings.
    pub fn add(&mut self, entry: &ContextEntry, content: Option<&Digest>) {
        let path = entry.path.as_os_str().as_bytes();
        let (kind, size, value) = match &entry.kind {
            EntryKind::File { size } => (b'f', *size, content.map_or("", Digest::hex).as_bytes()),
            EntryKind::Folder => (b'd', 0, &b""[..]),
            EntryKind::Link { target } => (b'l', 0, target.as_os_str().as_bytes()),
        };
        self.0.update(&[kind]);
        self.0.update(&entry.mode.to_be_bytes());
        self.0.update(&size.to_be_bytes());
        for text in [path, value] {
            self.text(text);
        }
        let EntryExtras { hard_link, capabilities } = &entry.extras;
        if let Some(first) = hard_link {
            self.0.update(b"h");
            self.text(first.as_os_str().as_bytes());
        }
        if let Some(capabilities) = capabilities {
            self.0.update(b"c");
            self.text(capabilities);
        }
    }

    fn text(&mut self, text: &[u8]) {
        self.0.update(&(text.len() as u64).to_be_bytes());
        self.0.update(text);
    }

    pub fn finish(self) -> Digest {
        self.0.finish()
    }
}

/// Reads every file without a known hash, several at a time. Returns the problem of the first path.
pub(super) fn read(
    context: &Context,
    seen: Vec<Seen>,
    hashes: &HashCache,
) -> Result<ContextManifest, ContextError> {
    let is_file = |(entry, _): &Seen| matches!(entry.kind, EntryKind::File { .. });
    let device = Stamp::trusted_device(&context.root);
    let key_of = |seen: &Seen| {
        let (entry, stamp) = seen;
        let is_trusted = is_file(seen) && device.is_some_and(|device| stamp.is_on(device));
        is_trusted.then(|| key(&context.root, &entry.path, &stamp.bytes()))
    };
    let keys: Vec<Option<Key>> = seen.iter().map(key_of).collect();
    let mut known: Vec<Option<Digest>> = keys.iter().map(|key| hashes.get(key.as_ref()?)).collect();
    let is_unknown = |i: &usize| known[*i].is_none() && is_file(&seen[*i]);
    let files: Vec<usize> = (0..seen.len()).filter(is_unknown).collect();
    let threads = threads(files.iter().map(|&i| &seen[i].0));
    let (next, stop) = (AtomicUsize::new(0), AtomicBool::new(false));
    let work = || {
        let mut buffer = vec![0; 64 * 1024];
        let mut read = Vec::new();
        while !stop.load(Ordering::Relaxed) {
            let Some(&i) = files.get(next.fetch_add(1, Ordering::Relaxed)) else { break };
            let digest = hash(context, (&seen[i], keys[i]), hashes, &mut buffer);
            stop.fetch_or(digest.is_err(), Ordering::Relaxed);
            read.push((i, digest));
        }
        read
    };
    let mut read = thread::scope(|scope| {
        if files.is_empty() {
            return Vec::new();
        }
        if threads < 2 {
            return work();
        }
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        let join = |worker: thread::ScopedJoinHandle<'_, _>| match worker.join() {
            Ok(read) => read,
            Err(panic) => std::panic::resume_unwind(panic),
        };
        workers.into_iter().flat_map(join).collect::<Vec<_>>()
    });
    read.sort_unstable_by_key(|(i, _)| *i);

    for (i, digest) in read {
        known[i] = Some(digest?);
    }
    let entries = seen.into_iter().map(|(entry, _)| entry).zip(known).collect();
    Ok(ContextManifest { entries })
}

/// The number of useful threads. Starting two costs as much as reading a small context: with threads, a plan
/// of 10,000 contexts of two files took four times as long.
fn threads<'a>(files: impl Iterator<Item = &'a ContextEntry>) -> usize {
    /// Opening a file costs about as much as hashing this many bytes.
    const OPENING: u64 = 16 * 1024;
    const WORTH_A_THREAD: u64 = 1024 * 1024;
    let cost = |entry: &ContextEntry| match entry.kind {
        EntryKind::File { size } => size.saturating_add(OPENING),
        _ => 0,
    };
    let cost = files.map(cost).fold(0, u64::saturating_add);
    // Reading the number of processors takes a dozen system calls, so it is skipped if one thread is enough.
    match usize::try_from(cost / WORTH_A_THREAD).unwrap_or(usize::MAX) {
        0 | 1 => 1,
        most => thread::available_parallelism().map_or(1, NonZero::get).min(most),
    }
}

/// Reads a file, and caches its hash if the walk's stamp would show every write.
fn hash(
    context: &Context,
    ((entry, stamp), key): (&Seen, Option<Key>),
    cache: &HashCache,
    buffer: &mut [u8],
) -> Result<Digest, ContextError> {
    let began = cache.now();
    let mut file = context.read(entry)?;
    let mut hasher = Hasher::default();
    loop {
        match file.read(buffer) {
            Ok(0) => break,
            Ok(n) => hasher.update(&buffer[..n]),
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(ContextError::from_read(error, &entry.path)),
        }
    }
    let digest = hasher.finish();
    // Compares the ctime at the end too: between the walk and the end, no program may have restored a time.
    if let Some(key) = key
        && stamp.is_settled_at(began)
        && file.stamp().is_ok_and(|now| now == *stamp)
    {
        cache.put(key, &digest);
    }
    Ok(digest)
}
