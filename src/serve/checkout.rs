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
    let cannot = |error: git::GitError| {
        format!("cannot fetch {}: {}", source.shown(), without_login(&error.to_string(), url))
    };
    fetched.map(Some).map_err(cannot)
}

/// What git says, without the user and the password of an address.
fn without_login(text: &str, url: &str) -> String {
    let host = url.split_once("://").map_or(url, |(_, rest)| rest);
    let host = host.split('/').next().unwrap_or(host);
    match host.rsplit_once('@') {
        Some((login, _)) if !login.is_empty() => text.replace(&format!("{login}@"), ""),
        _ => text.to_owned(),
    }
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
    git::clone(url, branch, &partial)
        .map_err(|error| format!("cannot clone: {}", without_login(&error.to_string(), url)))?;
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

#[cfg(test)]
mod tests {
    use super::without_login;

    #[test]
    fn an_error_of_git_has_no_login() {
        let url = "https://user:pass@git.example.com/a.git";
        let said = format!("git clone {url}: unable to access '{url}/': no answer");
        assert_eq!(
            without_login(&said, url),
            "git clone https://git.example.com/a.git: unable to access 'https://git.example.com/a.git/': no answer"
        );
        for url in ["/srv/a@b.git", "https://git.example.com/a@b.git"] {
            assert_eq!(without_login(url, url), url);
        }
    }
}
