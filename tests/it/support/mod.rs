//! What several tests stand on: real registries, and servers that misbehave on purpose.

pub(crate) mod buildkitd;
pub(crate) mod busybox;
pub(crate) mod certificates;
pub(crate) mod containers;
pub(crate) mod debian;
pub(crate) mod engine;
pub(crate) mod gate;
pub(crate) mod git;
pub(crate) mod http;
pub(crate) mod invariants;
pub(crate) mod judges;
pub(crate) mod project;
pub(crate) mod proxy;
pub(crate) mod registry;
pub(crate) mod repositories;
pub(crate) mod running;
pub(crate) mod saved;
pub(crate) mod scripted;
pub(crate) mod small_disk;

use std::{env, path::Path};

use tempfile::TempDir;

/// Fails a test that cannot run here: if it passed, nobody would notice.
#[track_caller]
pub(crate) fn missing(what: &str) -> ! {
    panic!(
        "this test cannot run here: {what}. CONTRIBUTING.md says what tests need; `cargo test --lib` needs nothing"
    )
}

/// Whether a test tries all of its cases, as in CI, and not only the quick ones: CONTRIBUTING.md.
pub(crate) fn is_whole() -> bool {
    env::var_os("REBUILD_TEST_WHOLE").is_some()
}

/// A folder that goes away; in memory where there is enough of it, for the disk has enough to do.
pub(crate) fn folder() -> TempDir {
    const ENOUGH: u64 = 1 << 30;
    let shared = Path::new("/dev/shm");
    let free = rustix::fs::statvfs(shared).map_or(0, |stat| stat.f_bavail * stat.f_frsize);
    if free > ENOUGH { tempfile::tempdir_in(shared).unwrap() } else { tempfile::tempdir().unwrap() }
}

/// Whether a program can be started from `PATH`.
pub(crate) fn is_installed(program: &str) -> bool {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path).any(|directory| directory.join(program).is_file())
}
