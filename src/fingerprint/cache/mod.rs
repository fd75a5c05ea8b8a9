//! Caches the hashes of unchanged files, so that a large context is read only once.
//!
//! **Invariant:** a cached hash equals the hash of the file's present content. The key contains all metadata
//! of the file, including the ctime, which no program can set. Files that were written moments ago are not
//! stored. If the cache file has one wrong bit, all of it is ignored.

use std::{
    collections::HashMap,
    fmt,
    path::Path,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, SystemTime},
};

use crate::image::{Digest, Hasher};

/// The version of the file. Other versions count as empty.
const HEAD: &[u8] = b"rebuild hashes 1\n";
const DIGEST: usize = 32;
/// A key, a content's digest, and the day of the last use.
const ENTRY: usize = DIGEST + DIGEST + 4;
/// The maximal number of entries; the most recently used ones stay. 7 MB, read in a hundredth of a second.
const MOST: usize = 100_000;
/// An entry without use for this time belongs to a deleted or changed file.
const DAYS_KEPT: u32 = 30;
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// A digest of a file's path and metadata.
pub(super) type Key = [u8; DIGEST];

/// The known hashes, shared by several threads.
pub struct HashCache {
    /// Entries are valid only on the machine that wrote them.
    machine: Digest,
    /// The time since 1970.
    clock: fn() -> Duration,
    known: Mutex<KnownHashes>,
}

#[derive(Default)]
struct KnownHashes {
    entries: HashMap<Key, (Key, u32)>,
    /// Whether entries have changed since the last write.
    is_new: bool,
}

/// An empty cache that is never written.
impl Default for HashCache {
    fn default() -> Self {
        Self::read(&[], "")
    }
}

impl fmt::Debug for HashCache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "HashCache of {} files", self.known().entries.len())
    }
}

impl HashCache {
    /// Parses the bytes of [`kept`](Self::kept) of this machine. Anything else counts as empty.
    pub fn read(kept: &[u8], machine: &str) -> Self {
        let now = || SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default();
        Self::with_clock(kept, machine, now)
    }

    fn with_clock(kept: &[u8], machine: &str, clock: fn() -> Duration) -> Self {
        let machine = Digest::of(machine.as_bytes());
        let entries = entries(kept, &machine).unwrap_or_default();
        Self { machine, clock, known: Mutex::new(KnownHashes { entries, is_new: false }) }
    }

    /// The bytes to store for the next run; `None` if nothing has changed.
    pub fn kept(&self) -> Option<Vec<u8>> {
        let today = self.today();
        let mut known = self.known();
        if !std::mem::take(&mut known.is_new) {
            return None;
        }
        // After a wrong clock, entries may have days in the future.
        let is_fresh = |day: u32| day <= today && today - day <= DAYS_KEPT;
        let mut entries: Vec<(&Key, &Key, u32)> = known
            .entries
            .iter()
            .filter(|(_, (_, day))| is_fresh(*day))
            .map(|(key, (content, day))| (key, content, *day))
            .collect();
        entries.sort_unstable_by_key(|(key, _, day)| (std::cmp::Reverse(*day), *key));
        entries.truncate(MOST);
        let mut kept = Vec::with_capacity(HEAD.len() + 2 * DIGEST + entries.len() * ENTRY);
        kept.extend_from_slice(HEAD);
        kept.extend_from_slice(&self.machine.bytes());
        for (key, content, day) in entries {
            kept.extend_from_slice(key);
            kept.extend_from_slice(content);
            kept.extend_from_slice(&day.to_be_bytes());
        }
        let sum = Digest::of(&kept);
        kept.extend_from_slice(&sum.bytes());
        Some(kept)
    }

    /// The time since 1970.
    pub(super) fn now(&self) -> Duration {
        (self.clock)()
    }

    pub(super) fn get(&self, key: &Key) -> Option<Digest> {
        let today = self.today();
        let mut known = self.known();
        let (content, day) = known.entries.get_mut(key)?;
        let digest = Digest::from_bytes(content);
        let is_first_today = std::mem::replace(day, today) != today;
        known.is_new |= is_first_today;
        Some(digest)
    }

    pub(super) fn put(&self, key: Key, content: &Digest) {
        let entry = (content.bytes(), self.today());
        let mut known = self.known();
        known.entries.insert(key, entry);
        known.is_new = true;
    }

    fn today(&self) -> u32 {
        u32::try_from(self.now().as_secs() / DAY.as_secs()).unwrap_or(u32::MAX)
    }

    fn known(&self) -> MutexGuard<'_, KnownHashes> {
        // Each change is a single insertion, so a panic elsewhere leaves a consistent map.
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The key of a file of a context.
pub(super) fn key(root: &Path, path: &Path, stamp: &[u8]) -> Key {
    let mut hasher = Hasher::default();
    // The stamp has a fixed length, and names contain no NUL.
    for part in [stamp, root.as_os_str().as_encoded_bytes(), &[0]] {
        hasher.update(part);
    }
    hasher.update(path.as_os_str().as_encoded_bytes());
    hasher.finish_bytes()
}

/// The entries of the file, if it is complete, of this version and of this machine.
fn entries(kept: &[u8], machine: &Digest) -> Option<HashMap<Key, (Key, u32)>> {
    let (text, sum) = kept.split_last_chunk::<DIGEST>()?;
    let body = text.strip_prefix(HEAD)?.strip_prefix(&machine.bytes()[..])?;
    if Digest::of(text).bytes() != *sum || body.len() % ENTRY != 0 {
        return None;
    }
    body.chunks_exact(ENTRY)
        .map(|entry| {
            let (key, rest) = entry.split_first_chunk::<DIGEST>()?;
            let (content, day) = rest.split_first_chunk::<DIGEST>()?;
            Some((*key, (*content, u32::from_be_bytes(day.try_into().ok()?))))
        })
        .collect()
}

#[cfg(test)]
mod tests;
