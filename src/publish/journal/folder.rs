//! Finds the journals of runs in their folders.

use std::{
    fs,
    path::{Path, PathBuf},
};

use super::{Journal, PastRun};
use crate::{host::bounded, image::Tagged};

/// The extension of a journal file.
const SUFFIX: &str = "jsonl";
/// How many journals of a hierarchy are kept. A journal with 300 tags has 100 kB.
const KEPT: usize = 100;
/// In bytes. A larger file is not read.
pub(super) const LARGEST: u64 = 64 * 1024 * 1024;

/// The journal of a run.
pub fn file(folder: &Path, run: &str) -> PathBuf {
    folder.join(format!("{run}.{SUFFIX}"))
}

/// Removes the oldest journals, but no unfinished ones.
pub fn forget_old(folder: &Path) {
    for path in files(folder).into_iter().rev().skip(KEPT) {
        if matches!(Journal::reopen(&path), Ok(None)) {
            _ = fs::remove_file(path);
        }
    }
}

/// The journals of runs that were cut off while they published to this target, the oldest first. Ignores
/// journals with another target, and journals that would move a tag of another repository.
pub fn open(folders: &[PathBuf], place: &str, is_ours: impl Fn(&Tagged) -> bool) -> Vec<Journal> {
    let mut open: Vec<Journal> = folders
        .iter()
        .flat_map(|folder| files(folder))
        .filter_map(|path| match Journal::reopen(&path) {
            Ok(journal) => journal,
            Err(error) => {
                tracing::debug!(path = %path.display(), %error, "a journal cannot be read");
                None
            }
        })
        .filter(|journal| {
            let past = journal.past();
            past.began.place == place && past.moves.iter().flatten().all(|one| is_ours(&one.tag))
        })
        .collect();
    open.sort_by(|a, b| a.past().began.run.cmp(&b.past().began.run));
    open
}

/// Every run of a folder with this target, the newest first.
pub fn find(folder: &Path, place: &str) -> Vec<PastRun> {
    all(folder).filter(|past| past.began.place == place).collect()
}

/// Every run of a folder, the newest first.
pub fn all(folder: &Path) -> impl Iterator<Item = PastRun> {
    let files = files(folder).into_iter().rev();
    files.filter_map(|path| PastRun::read(&bounded::read(&path, LARGEST).ok()?))
}

/// Sorted by name, which is by time.
fn files(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    let mut files: Vec<PathBuf> = entries
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|extension| extension == SUFFIX))
        .collect();
    files.sort();
    files
}
