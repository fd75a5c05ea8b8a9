//! Small cache files for the next run.
//!
//! **Invariant:** a file is complete, old or missing: each is written under another name and renamed. If
//! several processes write at once, the last one wins.

use std::{
    fs,
    io::{self, Read as _, Write as _},
    path::Path,
    time::Duration,
};

use super::StateFolder;

/// `rebuild` writes no larger file.
const LARGEST: u64 = 64 * 1024 * 1024;
/// The name of an incomplete file.
const UNFINISHED: &str = ".new-";
/// An incomplete file of this age was left by a killed process.
const LEFT_OVER_AFTER: Duration = Duration::from_secs(60 * 60);

impl StateFolder {
    /// The content of a file: empty if it is missing or unreadable.
    pub fn recall(&self, name: &str) -> Vec<u8> {
        let mut bytes = Vec::new();
        let read = fs::File::open(self.root.join(name))
            .and_then(|file| file.take(LARGEST).read_to_end(&mut bytes));
        if let Err(error) = read {
            tracing::debug!(name, %error, "nothing is recalled");
            bytes.clear();
        }
        bytes
    }

    /// Writes a file. If that fails, the next run is slower.
    pub fn keep(&self, name: &str, bytes: &[u8]) {
        if let Err(error) = self.try_keep(name, bytes) {
            tracing::debug!(name, %error, "nothing is kept");
        }
    }

    fn try_keep(&self, name: &str, bytes: &[u8]) -> io::Result<()> {
        super::make(&self.root)?;
        remove_left_over(&self.root);
        let mut file = tempfile::Builder::new().prefix(UNFINISHED).tempfile_in(&self.root)?;
        file.write_all(bytes)?;
        file.persist(self.root.join(name))?;
        Ok(())
    }
}

fn remove_left_over(folder: &Path) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    for entry in entries.flatten() {
        let is_unfinished = entry.file_name().to_string_lossy().starts_with(UNFINISHED);
        let age = entry.metadata().and_then(|meta| meta.modified()).map(|time| time.elapsed());
        if is_unfinished && matches!(age, Ok(Ok(age)) if age > LEFT_OVER_AFTER) {
            _ = fs::remove_file(entry.path());
        }
    }
}

/// Identifies this machine, since another machine may share or copy the folder.
pub fn machine() -> String {
    let read = |path| fs::read_to_string(path).unwrap_or_default();
    // Containers often have no ID, but always a name.
    ["/etc/machine-id", "/proc/sys/kernel/hostname"].map(read).concat()
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;

    fn names(folder: &Path) -> Vec<String> {
        let entries = fs::read_dir(folder).unwrap();
        let name = |entry: io::Result<fs::DirEntry>| entry.unwrap().file_name();
        let mut names: Vec<String> =
            entries.map(|entry| name(entry).into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn what_is_kept_is_recalled() {
        let folder = tempfile::TempDir::new().unwrap();
        let state = StateFolder { root: folder.path().join("a/b") };
        assert_eq!(state.recall("x"), b"");
        state.keep("x", b"one");
        state.keep("x", b"two");
        assert_eq!(state.recall("x"), b"two");
        assert_eq!(names(&state.root), ["x"], "nothing unfinished is left");
    }

    #[test]
    fn where_nothing_can_be_kept_nothing_is() {
        let folder = tempfile::TempDir::new().unwrap();
        fs::write(folder.path().join("file"), "").unwrap();
        let state = StateFolder { root: folder.path().join("file/below") };
        state.keep("x", b"one");
        assert_eq!(state.recall("x"), b"");
    }

    #[test]
    fn what_a_broken_disk_does_not_give_is_not_there() {
        let folder = tempfile::TempDir::new().unwrap();
        // Reading it fails with EIO, because no process has memory at address 0.
        std::os::unix::fs::symlink("/proc/self/mem", folder.path().join("x")).unwrap();
        let state = StateFolder { root: folder.path().to_owned() };
        assert_eq!(state.recall("x"), b"");
        state.keep("x", b"one");
        assert_eq!(state.recall("x"), b"one");
    }

    #[test]
    fn what_a_killed_process_left_is_removed() {
        let folder = tempfile::TempDir::new().unwrap();
        for (name, hours) in [(".new-old", 2), (".new-young", 0), ("old", 2)] {
            let file = fs::File::create(folder.path().join(name)).unwrap();
            let age = Duration::from_secs(hours * 3600);
            file.set_modified(SystemTime::now() - age).unwrap();
        }
        StateFolder { root: folder.path().to_owned() }.keep("x", b"");
        assert_eq!(names(folder.path()), [".new-young", "old", "x"]);
    }

    #[test]
    fn several_at_once_leave_one_whole_file() {
        let folder = tempfile::TempDir::new().unwrap();
        let state = StateFolder { root: folder.path().to_owned() };
        std::thread::scope(|scope| {
            for letter in b"abcd" {
                let state = &state;
                scope.spawn(move || (0..50).for_each(|_| state.keep("x", &[*letter; 10_000])));
            }
            for _ in 0..200 {
                let found = state.recall("x");
                assert!(found.is_empty() || found == vec![found[0]; 10_000]);
            }
        });
        assert_eq!(names(folder.path()), ["x"]);
    }
}
