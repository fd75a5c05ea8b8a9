//! Which Dockerfiles a folder holds.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use super::path_words::is_one_of;
use crate::dockerfile::file_name::{self, is_dockerfile, is_template};

/// Folders of what other people wrote.
const SKIPPED: [&str; 3] = ["node_modules", "vendor", "testdata"];

/// What was found, all of it relative to the folder and in order.
#[derive(Debug, Default)]
pub(super) struct FoundFiles {
    pub(super) dockerfiles: Vec<PathBuf>,
    /// What Dockerfiles are generated from.
    pub(super) templates: Vec<PathBuf>,
    /// Dockerfiles in [`SKIPPED`] folders.
    pub(super) skipped: Vec<PathBuf>,
    /// Folders with a hierarchy of their own.
    pub(super) hierarchies: Vec<PathBuf>,
    /// Files that may say how images are built.
    pub(super) texts: BTreeSet<(PathBuf, BuildFileKind)>,
    /// What could not be looked into, and why.
    pub(super) unreadable: Vec<String>,
}

/// How a file says how images are built.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum BuildFileKind {
    Bake,
    Compose,
    ImageBuilder,
    Workflow,
    Makefile,
    Script,
    Skaffold,
    /// `scripts` of a package.json.
    PackageScripts,
}

impl BuildFileKind {
    fn of(path: &Path) -> Option<Self> {
        let name = path.file_name()?.to_str()?.to_ascii_lowercase();
        let ending = name.rsplit_once('.').map_or("", |(_, ending)| ending);
        let is_yaml = ["yaml", "yml"].contains(&ending);
        let begins = |all: &[&str]| all.iter().any(|one| name.starts_with(one));
        if ["json", "hcl"].contains(&ending) && name.contains("bake") {
            Some(Self::Bake)
        } else if ending == "json" && name.starts_with("manifest") {
            Some(Self::ImageBuilder)
        } else if name == "package.json" {
            Some(Self::PackageScripts)
        } else if is_yaml && name.contains("compose") {
            Some(Self::Compose)
        } else if is_yaml && begins(&["skaffold"]) {
            Some(Self::Skaffold)
        } else if is_yaml {
            Some(Self::Workflow)
        } else if begins(&["makefile", "gnumakefile"]) || is_one_of(ending, "mk mak make") {
            Some(Self::Makefile)
        } else if is_one_of(ending, "sh bash zsh ps1")
            || begins(&["jenkinsfile"])
            || (ending.is_empty() && begins(&["justfile", "build", "make", "push", "release"]))
        {
            Some(Self::Script)
        } else {
            None
        }
    }
}

/// Finds every Dockerfile that git tracks, and every other one that `.gitignore` does not name, in
/// hidden folders too. Skips [`SKIPPED`] folders, and links that leave the folder.
pub(super) fn find(root: &Path, tracked: &[PathBuf]) -> FoundFiles {
    let mut found = FoundFiles::default();
    let walk = ignore::WalkBuilder::new(root)
        .require_git(false)
        .parents(false)
        .hidden(false)
        .sort_by_file_name(Ord::cmp)
        .filter_entry(|entry| {
            let is_folder = entry.file_type().is_some_and(|kind| kind.is_dir());
            let name = entry.file_name().to_string_lossy();
            // A folder below with a hierarchy of its own is a question of its own.
            !is_folder || entry.depth() == 0 || !(name == ".git" || has_hierarchy(entry.path()))
        })
        .build();
    for entry in walk {
        let entry = match entry {
            Ok(entry) => entry,
            Err(error) => {
                found.unreadable.push(error.to_string());
                continue;
            }
        };
        let Ok(path) = entry.path().strip_prefix(root) else { continue };
        if path
            .parent()
            .is_some_and(|folder| folder.iter().any(|part| SKIPPED.iter().any(|one| part == *one)))
        {
            let is_one = is_dockerfile(&entry.file_name().to_string_lossy());
            if is_one && entry.file_type().is_some_and(|kind| kind.is_file()) {
                found.skipped.push(path.to_owned());
            }
            continue;
        }
        if entry.file_type().is_some_and(|kind| kind.is_dir()) {
            found.hierarchies.extend(nested(entry.path(), root));
            continue;
        }
        found.add(root, path);
        if entry.path_is_symlink() {
            found.follow(root, path);
        }
    }
    for path in tracked.iter().filter(|path| !is_inside_skipped(root, path)) {
        found.add(root, path);
    }
    for all in [&mut found.dockerfiles, &mut found.templates, &mut found.skipped] {
        all.sort();
        all.dedup();
    }
    found
}

impl FoundFiles {
    /// The Dockerfiles of a folder that a link names, if it is inside.
    fn follow(&mut self, root: &Path, link: &Path) {
        let (Ok(whole), Ok(target)) = (root.canonicalize(), root.join(link).canonicalize()) else {
            return;
        };
        if !target.starts_with(&whole) || !target.is_dir() {
            return;
        }
        for entry in fs::read_dir(target).into_iter().flatten().flatten() {
            let is_one = is_dockerfile(&entry.file_name().to_string_lossy());
            if is_one && entry.file_type().is_ok_and(|kind| kind.is_file()) {
                self.dockerfiles.push(link.join(entry.file_name()));
            }
        }
    }

    fn add(&mut self, root: &Path, path: &Path) {
        let Some(name) = path.file_name().map(|name| name.to_string_lossy()) else { return };
        if let Some(kind) = BuildFileKind::of(path).filter(|_| is_file_inside(root, path)) {
            self.texts.insert((path.to_owned(), kind));
        }
        if is_dockerfile(&name) && is_file_inside(root, path) {
            self.dockerfiles.push(path.to_owned());
        } else if is_template(&name) {
            self.templates.push(path.to_owned());
        }
    }
}

/// A file, or a link to a file of the same folder.
fn is_file_inside(root: &Path, path: &Path) -> bool {
    let whole = root.join(path);
    let Ok(data) = whole.symlink_metadata() else { return false };
    if !data.is_symlink() {
        return data.is_file();
    }
    match (root.canonicalize(), whole.canonicalize()) {
        (Ok(root), Ok(target)) => target.starts_with(root) && target.is_file(),
        _ => false,
    }
}

fn is_skipped(name: &str) -> bool {
    name == ".git" || SKIPPED.contains(&name)
}

fn is_inside_skipped(root: &Path, path: &Path) -> bool {
    let folders = path.ancestors().skip(1).filter(|folder| !folder.as_os_str().is_empty());
    folders.into_iter().any(|folder| {
        let name = folder.file_name().unwrap_or_default().to_string_lossy();
        is_skipped(&name) || has_hierarchy(&root.join(folder))
    })
}

fn has_hierarchy(folder: &Path) -> bool {
    ["hierarchy.yaml", "hierarchy.yml"].iter().any(|name| folder.join(name).is_file())
}

/// The folders right below that the walk passes by because they have a hierarchy.
fn nested(folder: &Path, root: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    let paths = entries.flatten().filter(|entry| {
        entry.file_type().is_ok_and(|kind| kind.is_dir()) && has_hierarchy(&entry.path())
    });
    let mut below: Vec<PathBuf> = paths
        .filter_map(|entry| entry.path().strip_prefix(root).map(Path::to_owned).ok())
        .filter(|path| !path.iter().any(|part| part.to_string_lossy().starts_with('.')))
        .collect();
    below.sort();
    below
}

/// What a Dockerfile's own name says of its image: `web` of `web.Dockerfile` and `Dockerfile-web`.
pub(super) fn stem(path: &Path) -> Option<String> {
    let stem = file_name::stem(path.file_name()?.to_str()?)?;
    (!stem.is_empty()).then(|| stem.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hidden_linked_and_tracked_files_are_found_and_ignored_ones_are_not() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        for path in
            [".devcontainer/Dockerfile", "kept/Dockerfile", "lost/Dockerfile", ".git/Dockerfile"]
        {
            fs::create_dir_all(root.join(path).parent().unwrap()).unwrap();
            fs::write(root.join(path), "FROM scratch").unwrap();
        }
        fs::write(root.join(".gitignore"), "kept\nlost\n").unwrap();
        std::os::unix::fs::symlink("kept/Dockerfile", root.join("Dockerfile-link")).unwrap();
        std::os::unix::fs::symlink("/etc/hosts", root.join("Dockerfile-outside")).unwrap();
        let found = find(root, &["kept/Dockerfile".into()]);
        let expected = [".devcontainer/Dockerfile", "Dockerfile-link", "kept/Dockerfile"];
        assert_eq!(found.dockerfiles, expected.map(PathBuf::from));
    }
}
