//! The program that images of tests are made from.

use std::{
    env, fs,
    path::{Path, PathBuf},
};

use super::missing;

/// A busybox that needs no loader, as Debian's `busybox-static` has it.
pub(crate) fn busybox() -> PathBuf {
    let path = env::var_os("PATH").unwrap_or_default();
    let found =
        env::split_paths(&path).map(|folder| folder.join("busybox")).find(|file| is_static(file));
    found.unwrap_or_else(|| missing("there is no static busybox"))
}

fn is_static(file: &Path) -> bool {
    // A dynamic program names its loader in its first page.
    fs::read(file).is_ok_and(|program| {
        let first = &program[..program.len().min(4096)];
        program.starts_with(b"\x7fELF") && !first.windows(4).any(|four| four == b"/ld-")
    })
}
