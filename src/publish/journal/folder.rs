//! Finds the journals of runs in their folders.

use std::{
    fs::{self, File},
    io::{BufRead as _, BufReader},
    path::{Path, PathBuf},
};

use super::{Journal, PastRun};
use crate::{host::bounded, image::Tagged};

/// The extension of a journal file.
const SUFFIX: &str = "jsonl";
/// How many journals of a hierarchy are kept, of runs that moved tags, and of others. A journal with 300 tags has
/// 100 kB.
const KEPT: usize = 100;
/// The line of a run that moves tags: `JournalLine::Committed`.
const COMMITTED: &[u8] = b"{\"committed\":";
/// In bytes. A larger file is not read.
pub(super) const LARGEST: u64 = 64 * 1024 * 1024;

/// The journal of a run.
pub fn file(folder: &Path, run: &str) -> PathBuf {
    folder.join(format!("{run}.{SUFFIX}"))
}

/// Removes the oldest journals, but no unfinished ones.
pub fn forget_old(folder: &Path) {
    let all = files(folder);
    if all.len() <= KEPT {
        return;
    }
    // A rollback needs those of runs that moved tags.
    let (promotions, others): (Vec<PathBuf>, Vec<PathBuf>) =
        all.into_iter().rev().partition(|path| moved_tags(path));
    for path in [promotions, others].iter().flat_map(|paths| paths.iter().skip(KEPT)) {
        if matches!(Journal::reopen(path), Ok(None)) {
            _ = fs::remove_file(path);
        }
    }
}

/// Reads no more than the first block of a promotion: each run asks this of up to 200 journals.
fn moved_tags(path: &Path) -> bool {
    let is_file = path.metadata().is_ok_and(|found| found.is_file());
    let Some(file) = is_file.then(|| File::open(path).ok()).flatten() else { return false };
    let mut lines = BufReader::new(file).split(b'\n').map_while(Result::ok);
    lines.any(|line| line.starts_with(COMMITTED))
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        exit::Exit,
        image::{Digest, Tagged},
        publish::journal::{Began, Move, RunRequest},
    };

    #[test]
    fn runs_that_move_no_tag_do_not_displace_promotions() {
        let folder = tempfile::tempdir().unwrap();
        let begin = |run: &str| {
            let asked = RunRequest::Run { flags: String::new() };
            Journal::begin(&file(folder.path(), run), Began::new(run, "here", asked))
        };
        let mut promotion = begin("01m8mdceb39jn4adyn2z700000");
        let tag = Tagged { repository: "os".parse().unwrap(), tag: "latest".parse().unwrap() };
        let (node, to) = ("os".into(), Some(Digest::of(b"")));
        promotion.commit(&[Move { node, tag, from: None, to, wave: 0 }]).unwrap();
        promotion.moved(0);
        promotion.end(Exit::Done, false);
        for number in 0..KEPT + 5 {
            begin(&format!("01m8mdceb39jn4adyn2z7q{number:04}")).end(Exit::Done, false);
        }
        forget_old(folder.path());
        let runs: Vec<PastRun> = find(folder.path(), "here");
        assert_eq!(runs.len(), KEPT + 1);
        assert_eq!(runs.iter().filter(|past| past.moves.is_some()).count(), 1);
    }
}
