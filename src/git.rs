//! Asks the user's own git, so that it behaves as theirs does.

use std::{
    io,
    path::Path,
    process::{Command, Stdio},
};

/// How many digits of a commit a tag carries.
const SHORT: &str = "--short=12";

#[derive(Debug, thiserror::Error)]
pub enum GitError {
    #[error("cannot run git")]
    Start(#[source] io::Error),
    #[error("git {command}: {message}")]
    Failed { command: String, message: String },
}

/// The commit that is checked out, `-dirty` behind it if anything in this folder differs from it;
/// `None` outside a repository, and before its first commit.
pub fn describe(folder: &Path) -> Result<Option<String>, GitError> {
    let Ok(commit) = git(folder, &["rev-parse", SHORT, "--verify", "--quiet", "HEAD"]) else {
        return Ok(None);
    };
    let changes = git(folder, &["status", "--porcelain", "-z", "--", "."])?;
    let dirty = if changes.is_empty() { "" } else { "-dirty" };
    Ok(Some(format!("{}{dirty}", commit.trim())))
}

/// Runs git without prompts, optional locks or a pager, and returns what it prints.
fn git(folder: &Path, arguments: &[&str]) -> Result<String, GitError> {
    let output = Command::new("git")
        .arg("-C")
        .arg(folder)
        .args(arguments)
        .env("GIT_TERMINAL_PROMPT", "0")
        .env("GIT_OPTIONAL_LOCKS", "0")
        .stdin(Stdio::null())
        .output()
        .map_err(GitError::Start)?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let message = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    Err(GitError::Failed { command: arguments.join(" "), message })
}
