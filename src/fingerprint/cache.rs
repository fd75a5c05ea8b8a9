//! Hashes of files that have not changed since they were read, so that a large context is read once.
//!
//! **Invariant:** what is found here is what reading the file would give. An entry is found by all that
//! the file system says of a file, ctime too, which no program can set; a file that was written to
//! moments ago is not taken in, and one bit wrong in what was kept makes all of it nothing.

use std::{
    collections::HashMap,
    fmt,
    path::Path,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, SystemTime},
};

use crate::image::{Digest, Hasher};

/// Its version. Another one is not understood, and so is nothing.
const HEAD: &[u8] = b"rebuild hashes 1\n";
const DIGEST: usize = 32;
/// A key, a content's digest, and the day on which it was last of use.
const ENTRY: usize = DIGEST + DIGEST + 4;
/// Of more files, those that were used last are kept. 7 MB, read in a hundredth of a second.
const MOST: usize = 100_000;
/// An entry that was of no use for so long is of a file that is gone or was changed.
const DAYS_KEPT: u32 = 30;
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// Where a file lies and all that the file system says of it, as a digest.
pub(super) type Key = [u8; DIGEST];

/// Which hashes are known. Filled and asked by several threads at once.
pub struct HashCache {
    /// What was kept on one machine means nothing on another.
    machine: Digest,
    /// The time since 1970.
    clock: fn() -> Duration,
    known: Mutex<Known>,
}

#[derive(Default)]
struct Known {
    entries: HashMap<Key, (Key, u32)>,
    /// Whether there is something to be kept that was not kept before.
    is_new: bool,
}

/// Nothing is known, and nothing will be kept.
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
    /// What was [`kept`](Self::kept) on this machine. Whatever is not exactly that is empty.
    pub fn read(kept: &[u8], machine: &str) -> Self {
        let now = || SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default();
        Self::with_clock(kept, machine, now)
    }

    fn with_clock(kept: &[u8], machine: &str, clock: fn() -> Duration) -> Self {
        let machine = Digest::of(machine.as_bytes());
        let entries = entries(kept, &machine).unwrap_or_default();
        Self { machine, clock, known: Mutex::new(Known { entries, is_new: false }) }
    }

    /// To be kept for the next time; `None` if that is what there is already.
    pub fn kept(&self) -> Option<Vec<u8>> {
        let today = self.today();
        let mut known = self.known();
        if !std::mem::take(&mut known.is_new) {
            return None;
        }
        // A clock that was wrong for a while has left days that are still to come.
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

    fn known(&self) -> MutexGuard<'_, Known> {
        // Each change is a single insertion, so that a panic elsewhere leaves nothing half done.
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The key of a file of a context, from whatever else tells it apart.
pub(super) fn key(root: &Path, path: &Path, stamp: &[u8]) -> Key {
    let mut hasher = Hasher::default();
    // The stamp's length is fixed, and no name has a NUL in it.
    for part in [stamp, root.as_os_str().as_encoded_bytes(), &[0]] {
        hasher.update(part);
    }
    hasher.update(path.as_os_str().as_encoded_bytes());
    hasher.finish_bytes()
}

/// The entries of what was kept, if it is whole, of this version, and of this machine.
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
