//! The submodules of the work tree: a clone without them has empty folders.
//!
//! **Invariant:** git lists them at most once for a hierarchy, and only if a file is missing.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::OnceLock,
};

use crate::host::git;

/// Their folders, read at the first question. None outside of a git repository.
#[derive(Debug, Default)]
pub(super) struct Submodules(OnceLock<Vec<PathBuf>>);

impl Submodules {
    /// What to do about a path in a submodule that a clone left out.
    pub(super) fn empty_at(&self, path: &Path, root: &Path) -> Option<String> {
        // git resolves links in its answer.
        let path = root.canonicalize().ok()?.join(path.strip_prefix(root).ok()?);
        let submodules = self.0.get_or_init(|| git::submodules(root).unwrap_or_default());
        let submodule = submodules.iter().find(|submodule| path.starts_with(submodule))?;
        let is_empty = fs::read_dir(submodule).map_or(true, |mut files| files.next().is_none());
        let name = submodule.file_name()?.display();
        is_empty.then(|| {
            format!(
                "the submodule `{name}` is empty: `git submodule update --init --recursive` fills it"
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn git_is_asked_once() {
        let folder = tempfile::tempdir().unwrap();
        let missing = folder.path().join("shared/app");
        let none = Submodules::default();
        assert_eq!(none.empty_at(&missing, folder.path()), None);

        let commit = "0123456789abcdef0123456789abcdef01234567";
        let link = format!("160000,{commit},shared");
        for arguments in
            [&["init", "--quiet"][..], &["update-index", "--add", "--cacheinfo", &link]]
        {
            let git = Command::new("git").args(arguments).current_dir(folder.path()).status();
            assert!(git.unwrap().success());
        }
        assert_eq!(none.empty_at(&missing, folder.path()), None);
        let found = Submodules::default().empty_at(&missing, folder.path()).unwrap();
        assert!(found.starts_with("the submodule `shared` is empty"), "{found}");
    }
}
