//! Clones of repositories, which the server keeps up to date with the user's git.

use std::{fs, io, path::Path};

use super::served::HierarchySource;
use crate::host::git;

/// Clones the repository if that has not been done, and fetches its branch. Returns the newest commit of the branch, or
/// `None` for files that are not a clone.
pub fn fetch(source: &HierarchySource) -> Result<Option<String>, String> {
    let HierarchySource::Clone { url, branch, folder, .. } = source else { return Ok(None) };
    if !folder.join(".git").exists() {
        clone(url, branch.as_deref(), folder)?;
    }
    let branch = branch.clone().or_else(|| default_branch(folder));
    let branch = branch.ok_or_else(|| format!("{}: unknown branch", source.shown()))?;
    let fetched = git::fetch(folder, &branch);
    fetched.map(Some).map_err(|error| format!("cannot fetch {}: {error}", source.shown()))
}

/// Into a folder beside it first, so that a clone that was cut off is not used.
fn clone(url: &str, branch: Option<&str>, folder: &Path) -> Result<(), String> {
    let cannot = |error: io::Error| format!("cannot create `{}`: {error}", folder.display());
    let partial = folder.with_extension("partial");
    match fs::remove_dir_all(&partial) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(cannot(error)),
        _ => {}
    }
    if let Some(parent) = folder.parent() {
        fs::create_dir_all(parent).map_err(cannot)?;
    }
    git::clone(url, branch, &partial).map_err(|error| format!("cannot clone: {error}"))?;
    fs::rename(&partial, folder).map_err(cannot)
}

/// Checks out a commit of a clone.
pub fn switch(source: &HierarchySource, commit: &str) -> Result<(), String> {
    let HierarchySource::Clone { folder, .. } = source else { return Ok(()) };
    git::switch(folder, commit)
        .map_err(|error| format!("cannot check out {commit} of {}: {error}", source.shown()))
}

/// The branch that the server of the repository calls the default one.
pub fn default_branch(folder: &Path) -> Option<String> {
    let head = fs::read_to_string(folder.join(".git/refs/remotes/origin/HEAD")).ok()?;
    Some(head.trim().strip_prefix("ref: refs/remotes/origin/")?.to_owned())
}
