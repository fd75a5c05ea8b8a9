//! The git command, without the settings of the machine.

use std::{path::Path, process::Command};

/// What git prints in a folder, without the last line end.
#[track_caller]
pub(crate) fn git(folder: &Path, arguments: &str) -> String {
    try_git(folder, arguments).unwrap_or_else(|error| panic!("git {arguments}: {error}"))
}

/// The same, or what git says is wrong.
pub(crate) fn try_git(folder: &Path, arguments: &str) -> Result<String, String> {
    let output = Command::new("git")
        .args(arguments.split_whitespace())
        .current_dir(folder)
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .env("GIT_AUTHOR_NAME", "Somebody")
        .env("GIT_AUTHOR_EMAIL", "somebody@example.com")
        .env("GIT_COMMITTER_NAME", "Somebody")
        .env("GIT_COMMITTER_EMAIL", "somebody@example.com")
        .output()
        .unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
    if output.status.success() { Ok(text(&output.stdout)) } else { Err(text(&output.stderr)) }
}
