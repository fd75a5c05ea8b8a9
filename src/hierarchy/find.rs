//! Finds the hierarchy file of a folder.
//!
//! **Invariant:** a file that another user could have put above this folder is not obeyed.

use std::{
    fs::{self, Metadata},
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

use super::Hierarchy;
use crate::host::owner;

/// What a hierarchy file is called, the first choice first.
const NAMES: [&str; 2] = ["hierarchy.yaml", "hierarchy.yml"];

/// A hierarchy file of another user, in a folder above or in a folder that is not that user's.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{}` belongs to another user", .0.display())]
pub struct Foreign(pub PathBuf);

impl Hierarchy {
    /// The hierarchy file of a folder, or of the nearest one above it. The search ends at the root of
    /// a git repository and at a mount point.
    pub fn find_file(start: &Path) -> Result<Option<PathBuf>, Foreign> {
        let device = |folder: &Path| fs::metadata(folder).ok().map(|found| found.dev());
        let start_device = device(start);
        for folder in start.ancestors() {
            // The folder above a mount point may be of anybody.
            if device(folder) != start_device {
                break;
            }
            if let Some(file) =
                NAMES.map(|name| folder.join(name)).into_iter().find(|file| file.is_file())
            {
                let found = fs::metadata(folder).ok().zip(fs::metadata(&file).ok());
                let is_good = found.is_some_and(|(folder_data, file_data)| {
                    is_good(folder == start, &folder_data, &file_data)
                });
                return if is_good { Ok(Some(file)) } else { Err(Foreign(file)) };
            }
            if folder.join(".git").exists() {
                break;
            }
        }
        Ok(None)
    }
}

/// The user chose the current folder, so its owner does not matter.
fn is_good(is_start: bool, folder: &Metadata, file: &Metadata) -> bool {
    let is_of_folder = file.uid() == folder.uid() && is_start;
    is_of_folder || owner::is_trusted(file) && (is_start || owner::is_trusted(folder))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::chown;

    use super::*;

    #[test]
    fn the_search_ends_at_the_root_of_the_repository() {
        let folder = tempfile::tempdir().unwrap();
        let at = |path: &str| folder.path().join(path);
        fs::create_dir_all(at("repository/sub")).unwrap();
        fs::write(at("hierarchy.yaml"), "").unwrap();
        let found = |path: &str| Hierarchy::find_file(&at(path)).unwrap();
        assert_eq!(found("repository/sub"), Some(at("hierarchy.yaml")));
        fs::write(at("repository/.git"), "gitdir: elsewhere").unwrap();
        assert_eq!(found("repository/sub"), None);
        fs::write(at("repository/hierarchy.yml"), "").unwrap();
        assert_eq!(found("repository/sub"), Some(at("repository/hierarchy.yml")));
    }

    #[test]
    fn a_file_of_another_user_above_is_not_obeyed() {
        // Only root can give a file away.
        if owner::user() != 0 {
            return;
        }
        let folder = tempfile::tempdir().unwrap();
        let at = |path: &str| folder.path().join(path);
        fs::create_dir_all(at("above/here")).unwrap();
        let file = at("above/hierarchy.yaml");
        fs::write(&file, "").unwrap();
        let (above, below) = (at("above"), at("above/here"));
        for (folder, its, start, expected) in [
            (0, 0, &below, true),
            (0, 1000, &below, false),
            (1000, 1000, &below, false),
            (1000, 0, &below, false),
            // As in `/tmp`: root owns the folder, and any user may own the file.
            (0, 1000, &above, false),
            (1000, 1000, &above, true),
            (1000, 0, &above, true),
        ] {
            chown(at("above"), Some(folder), None).unwrap();
            chown(&file, Some(its), None).unwrap();
            let found = Hierarchy::find_file(start);
            let expected =
                if expected { Ok(Some(file.clone())) } else { Err(Foreign(file.clone())) };
            assert_eq!(found, expected, "{folder} {its} {}", start.display());
        }
    }
}
