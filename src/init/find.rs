//! Which Dockerfiles a folder holds.

use std::{
    collections::BTreeSet,
    fs,
    io::Read as _,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

use super::path_words::is_one_of;
use crate::dockerfile::file_name::{self, is_dockerfile, is_template};

/// Folders of what other people wrote.
const SKIPPED: [&str; 3] = ["node_modules", "vendor", "testdata"];

/// More executable files without an ending are not opened.
const MOST_PROGRAMS: usize = 1000;
/// A file that is larger is no build script.
pub(super) const LARGEST_SCRIPT: u64 = 256 * 1024;
/// How much of a file is read to see whether it is a script.
const FIRST_BYTES: u64 = 128;

/// What was found, all of it relative to the folder and in order.
#[derive(Debug, Default)]
pub(super) struct FoundFiles {
    pub(super) dockerfiles: Vec<PathBuf>,
    /// Dockerfiles outside of the folder, which make no image here.
    pub(super) outside: Vec<PathBuf>,
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
    let tracked = || tracked.iter().filter(|path| !is_inside_skipped(root, path));
    tracked().for_each(|path| found.add(root, path));
    found.texts.extend(texts(root, tracked()));
    for all in [&mut found.dockerfiles, &mut found.templates, &mut found.skipped] {
        all.sort();
        all.dedup();
    }
    found
}

/// Those of some files that may say how images are built.
pub(super) fn texts<'p>(
    root: &Path,
    files: impl Iterator<Item = &'p PathBuf>,
) -> BTreeSet<(PathBuf, BuildFileKind)> {
    let mut opened = 0;
    let text = |path: &'p PathBuf| match BuildFileKind::of(path) {
        Some(kind) => is_file_inside(root, path).then_some((path.clone(), kind)),
        None if opened < MOST_PROGRAMS && is_program(root, path) => {
            opened += 1;
            let is_script = is_shell_script(&root.join(path));
            is_script.then_some((path.clone(), BuildFileKind::Script))
        }
        None => None,
    };
    files.filter_map(text).collect()
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

/// An executable file whose name has no ending.
fn is_program(root: &Path, path: &Path) -> bool {
    let is_executable = |data: fs::Metadata| {
        data.is_file() && data.len() <= LARGEST_SCRIPT && data.permissions().mode() & 0o111 != 0
    };
    path.extension().is_none() && root.join(path).symlink_metadata().is_ok_and(is_executable)
}

/// Whether the first line of a file names a shell: `#!/bin/sh`, `#!/usr/bin/env bash`.
fn is_shell_script(path: &Path) -> bool {
    let mut first = Vec::new();
    let read = fs::File::open(path).and_then(|file| file.take(FIRST_BYTES).read_to_end(&mut first));
    let text = String::from_utf8_lossy(&first);
    let line = text.lines().next().unwrap_or_default();
    let words = line.strip_prefix("#!").into_iter().flat_map(|line| line.split([' ', '/', '\t']));
    let mut shells = words.filter(|word| is_one_of(word, "sh bash dash ash zsh ksh"));
    read.is_ok() && shells.next().is_some()
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

pub(super) fn has_hierarchy(folder: &Path) -> bool {
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
        assert_eq!(found.texts, BTreeSet::new());
        let expected = [".devcontainer/Dockerfile", "Dockerfile-link", "kept/Dockerfile"];
        assert_eq!(found.dockerfiles, expected.map(PathBuf::from));
    }

    #[test]
    fn tracked_programs_that_begin_with_a_shell_are_scripts() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        let files = [
            ("ship", "#!/bin/sh\n", 0o755),
            ("pack", "#!/usr/bin/env -S bash -e\n", 0o755),
            ("other", "#!/usr/bin/env python3\n# sh", 0o755),
            ("text", "#!/bin/sh\n", 0o644),
            ("ship.py", "#!/bin/sh\n", 0o755),
            ("untracked", "#!/bin/sh\n", 0o755),
        ];
        for (path, text, mode) in files {
            fs::write(root.join(path), text).unwrap();
            fs::set_permissions(root.join(path), fs::Permissions::from_mode(mode)).unwrap();
        }
        let tracked: Vec<PathBuf> = files[..5].iter().map(|(path, ..)| path.into()).collect();
        let found = find(root, &tracked).texts.into_iter();
        let expected = ["pack", "ship"].map(|path| (path.into(), BuildFileKind::Script));
        assert_eq!(found.collect::<Vec<_>>(), expected);
    }
}
