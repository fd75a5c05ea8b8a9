//! What several tests stand on: real registries, and servers that misbehave on purpose.

pub(crate) mod certificates;
pub(crate) mod debian;
pub(crate) mod gate;
pub(crate) mod http;
pub(crate) mod invariants;
pub(crate) mod project;
pub(crate) mod proxy;
pub(crate) mod registry;
pub(crate) mod repositories;
pub(crate) mod scripted;
pub(crate) mod small_disk;

use std::env;

/// Says that a test cannot run here. In CI nothing may be missing, or nobody would notice.
pub(crate) fn skipped(reason: &str) {
    assert!(env::var_os("CI").is_none(), "cannot be skipped in CI: {reason}");
    println!("skipped: {reason}");
}

/// Whether a program can be started from `PATH`.
pub(crate) fn is_installed(program: &str) -> bool {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path).any(|directory| directory.join(program).is_file())
}
