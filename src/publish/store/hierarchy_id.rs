//! Which hierarchy published an image: two hierarchies with images of the same name would replace each other's.

use std::path::Path;

use crate::{host::git, image::Digest};

/// The label with the hierarchy that built an image.
pub const HIERARCHY: &str = "rebuild.hierarchy";

/// The name of a hierarchy, the same in each clone of its repository: the repository and the path of the file in it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HierarchyId(String);

impl HierarchyId {
    /// Without a git repository, that of the file's folder.
    pub fn of(file: &Path) -> Self {
        let file = file.canonicalize().unwrap_or_else(|_| file.to_owned());
        let folder = file.parent().unwrap_or(Path::new("/"));
        let in_git = || {
            let path = file.strip_prefix(git::work_tree(folder).ok()?).ok()?;
            Some(format!("{}/{}", git::repository_name(folder)?, path.display()))
        };
        let outside_git = || {
            let last = file.components().rev().take(2).collect::<Vec<_>>();
            let names = last.iter().rev().map(|part| part.as_os_str().to_string_lossy());
            names.collect::<Vec<_>>().join("/")
        };
        Self(in_git().unwrap_or_else(outside_git))
    }

    /// Its label. A digest if labels are to name no files.
    pub fn label(&self, names_files: bool) -> String {
        if names_files || self.0.is_empty() { self.0.clone() } else { self.digest() }
    }

    /// Whether a label may be of this hierarchy. A clone without the remote `origin` knows only the last part of the
    /// repository's address.
    pub fn is(&self, label: &str) -> bool {
        let is_end =
            |end: &str, of: &str| of.strip_suffix(end).is_some_and(|rest| rest.ends_with('/'));
        label.is_empty()
            || self.0.is_empty()
            || label == self.0
            || label == self.digest()
            || is_end(label, &self.0)
            || is_end(&self.0, label)
    }

    fn digest(&self) -> String {
        Digest::of(self.0.as_bytes()).short().to_owned()
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, process::Command};

    use super::*;

    #[test]
    fn clones_and_work_trees_of_a_repository_are_one_hierarchy() {
        let folder = tempfile::tempdir().unwrap();
        let git = |at: &str, arguments: &str| {
            let identity = ["-c", "user.name=a", "-c", "user.email=a@example.com"];
            let output = Command::new("git")
                .args(identity)
                .args(arguments.split(' '))
                .current_dir(folder.path().join(at))
                .output()
                .unwrap();
            assert!(output.status.success(), "{output:?}");
        };
        let id = |file: &str| HierarchyId::of(&folder.path().join(file));
        fs::create_dir_all(folder.path().join("images/base")).unwrap();
        for file in ["images/hierarchy.yaml", "images/base/hierarchy.yaml"] {
            fs::write(folder.path().join(file), "version: 1\n").unwrap();
        }
        let outside_git = id("images/hierarchy.yaml");
        assert_eq!(outside_git.0, "images/hierarchy.yaml");
        git("images", "init -q -b main");
        git("images", "add .");
        git("images", "commit -qm one");
        git("images", "worktree add -q ../feature -b feature");
        git(".", "clone -q images copy");
        assert_eq!(id("images/hierarchy.yaml"), outside_git);
        assert_eq!(id("feature/hierarchy.yaml"), outside_git);
        assert_eq!(id("copy/hierarchy.yaml"), outside_git);
        assert_eq!(id("copy/base/hierarchy.yaml").0, "images/base/hierarchy.yaml");
        git("copy", "remote set-url origin https://me:token@git.example.com/acme/images.git");
        let published = id("copy/hierarchy.yaml");
        assert_eq!(published.0, "git.example.com/acme/images/hierarchy.yaml");
        git("copy", "remote set-url origin git@git.example.com:acme/images");
        assert_eq!(id("copy/hierarchy.yaml"), published);

        for same in [&published.0, &outside_git.0, "", &published.label(false)] {
            assert!(published.is(same), "{same}");
        }
        assert!(outside_git.is(&published.0));
        for other in ["git.example.com/acme/images/base/hierarchy.yaml", "other/hierarchy.yaml"] {
            assert!(!published.is(other), "{other}");
        }
        assert_eq!(published.label(false).len(), 12);
    }
}
