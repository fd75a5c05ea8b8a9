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
    let Ok(id) = ulid::Ulid::from_string(&run.to_uppercase()) else { return false };
    let path = home.join("alive").join(run);
    let Ok(file) = File::open(&path) else {
        let age = Duration::from_millis(now.saturating_sub(id.timestamp_ms()));
        return age > UNKNOWN_FOR || was_of_this_machine(home, run);
    };
    let over = !matches!(file.try_lock(), Err(TryLockError::WouldBlock));
    if over {
        _ = fs::remove_file(&path);
    }
    over
}

/// Whether a run of this machine was killed and left its file.
pub(super) fn any_is_over(home: &Path) -> bool {
    let Ok(runs) = fs::read_dir(home.join("alive")) else { return false };
    let is_over = |run: fs::DirEntry| {
        let file = File::open(run.path());
        file.is_ok_and(|file| !matches!(file.try_lock(), Err(TryLockError::WouldBlock)))
    };
    runs.flatten().any(is_over)
}

/// Whether a run has marked itself as alive, and still lives.
pub(super) fn is_going_on(home: &Path, run: &str) -> bool {
    // The ID may come from a record in a registry, and be any path.
    if ulid::Ulid::from_string(&run.to_uppercase()).is_err() {
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
        assert!(is_over(home, &run, began));
        assert!(!path.exists());
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
