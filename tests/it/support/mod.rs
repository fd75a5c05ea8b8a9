//! What several tests stand on: real registries, and servers that misbehave on purpose.

pub(crate) mod busybox;
pub(crate) mod certificates;
pub(crate) mod debian;
pub(crate) mod engine;
pub(crate) mod gate;
pub(crate) mod http;
pub(crate) mod invariants;
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

/// Says that a test cannot run here. In CI nothing may be missing, or nobody would notice.
pub(crate) fn skipped(reason: &str) {
    assert!(env::var_os("CI").is_none(), "cannot be skipped in CI: {reason}");
    println!("skipped: {reason}");
}

/// Whether to try all, as CI does, and not the quick part of it: CONTRIBUTING.md.
pub(crate) fn is_whole() -> bool {
    env::var_os("REBUILD_TEST_WHOLE").is_some()
}

/// Whether a test is no part of the quick suite; says so if it is not.
pub(crate) fn is_left_out() -> bool {
    if !is_whole() {
        println!("left to the whole suite: CONTRIBUTING.md");
    }
    !is_whole()
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
