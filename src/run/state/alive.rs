//! Which runs of this machine are still running.
//!
//! **Invariant:** a run's file is locked while its process lives, and unlocked after any kind of end.

use std::{
    fs::{self, File, TryLockError},
    path::{Path, PathBuf},
    time::Duration,
};

use crate::host::owner;

/// After this time, an unknown run of another machine or user on the same engine counts as dead. No build
/// takes a day.
const UNKNOWN_FOR: Duration = Duration::from_secs(24 * 60 * 60);

/// A run locks its file within milliseconds.
const BEGINNING: u64 = 10_000;

/// Held by a run while it lives.
#[derive(Debug)]
pub struct Alive {
    path: PathBuf,
    _file: File,
}

impl Alive {
    /// Marks a run as alive. Without a state folder, the age of the run decides.
    pub(super) fn declare(home: &Path, run: &str) -> Option<Self> {
        let folder = home.join("alive");
        super::make(&folder).ok()?;
        let path = folder.join(run);
        let mut options = owner::private();
        let file = options.write(true).create(true).truncate(true).open(&path).ok()?;
        file.try_lock().ok()?;
        Some(Self { path, _file: file })
    }
}

impl Drop for Alive {
    fn drop(&mut self) {
        _ = fs::remove_file(&self.path);
    }
}

/// Whether a run has ended, so that its leftovers may be removed.
pub(super) fn is_over(home: &Path, run: &str, now: u64) -> bool {
    let Some(began) = began(run) else { return false };
    let Ok(file) = File::open(home.join("alive").join(run)) else {
        let age = Duration::from_millis(now.saturating_sub(began));
        return age > UNKNOWN_FOR || was_of_this_machine(home, run);
    };
    !matches!(file.try_lock(), Err(TryLockError::WouldBlock))
}

/// Forgets the runs of this machine that were killed: their leftovers are removed. A run that begins now may
/// not have locked its file yet.
pub(super) fn forget_killed(home: &Path, now: u64) {
    let Ok(runs) = fs::read_dir(home.join("alive")) else { return };
    for run in runs.flatten() {
        let id = run.file_name().to_str().and_then(began);
        if id.is_some_and(|began| now.saturating_sub(began) > BEGINNING) && is_unlocked(&run.path())
        {
            _ = fs::remove_file(run.path());
        }
    }
}

fn is_unlocked(path: &Path) -> bool {
    let file = File::open(path);
    file.is_ok_and(|file| !matches!(file.try_lock(), Err(TryLockError::WouldBlock)))
}

/// In milliseconds since 1970.
fn began(run: &str) -> Option<u64> {
    Some(ulid::Ulid::from_string(&run.to_uppercase()).ok()?.timestamp_ms())
}

/// Whether a run of this machine was killed and left its file.
pub(super) fn any_is_over(home: &Path) -> bool {
    let Ok(runs) = fs::read_dir(home.join("alive")) else { return false };
    runs.flatten().any(|run| is_unlocked(&run.path()))
}

/// Whether a run has marked itself as alive, and still lives.
pub(super) fn is_going_on(home: &Path, run: &str) -> bool {
    // The ID may come from a record in a registry, and be any path.
    if began(run).is_none() {
        return false;
    }
    let file = File::open(home.join("alive").join(run));
    file.is_ok_and(|file| matches!(file.try_lock(), Err(TryLockError::WouldBlock)))
}

/// A run of this machine that ended removed its file, so its remains are leftovers.
fn was_of_this_machine(home: &Path, run: &str) -> bool {
    let Ok(hierarchies) = fs::read_dir(home) else { return false };
    hierarchies.flatten().any(|hierarchy| hierarchy.path().join("runs").join(run).is_dir())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_is_over_when_its_process_is() {
        let home = tempfile::TempDir::new().unwrap();
        let home = home.path();
        let began = 1_700_000_000_000;
        let run = ulid::Ulid::from_parts(began, 7).to_string().to_lowercase();
        let alive = Alive::declare(home, &run).unwrap();
        assert!(!is_over(home, &run, began), "it is alive");
        assert!(!is_over(home, &run, began + 48 * 3_600_000), "however long it takes");
        // A process that is killed does not take its file away, and the system takes its lock.
        let path = alive.path.clone();
        drop(alive);
        fs::write(&path, "").unwrap();
        assert!(is_over(home, &run, began) && any_is_over(home));
        forget_killed(home, began + 1);
        assert!(path.exists(), "it may be about to lock it");
        forget_killed(home, began + 60_000);
        assert!(!path.exists() && !any_is_over(home));
    }

    #[test]
    fn a_run_of_elsewhere_is_over_after_a_day() {
        let home = tempfile::TempDir::new().unwrap();
        let began = 1_700_000_000_000;
        let run = ulid::Ulid::from_parts(began, 7).to_string().to_lowercase();
        assert!(!is_over(home.path(), &run, began + 3_600_000));
        assert!(is_over(home.path(), &run, began + 25 * 3_600_000));
        assert!(!is_over(home.path(), "not-a-run", began + 25 * 3_600_000));
        fs::create_dir_all(home.path().join("shop-1234/runs").join(&run)).unwrap();
        assert!(is_over(home.path(), &run, began), "it ran here, and has no lock any more");
    }
}
