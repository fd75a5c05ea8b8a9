//! Which Dockerfiles a folder holds.

use std::{
    fs,
    path::{Path, PathBuf},
};

/// Folders of what other people wrote.
const SKIPPED: [&str; 3] = ["node_modules", "vendor", "testdata"];
/// Endings of files that become, or were, or go with a Dockerfile.
const NOT_ENDINGS: [&str; 17] = [
    "dockerignore",
    "template",
    "tmpl",
    "tpl",
    "j2",
    "jinja",
    "jinja2",
    "erb",
    "in",
    "m4",
    "md",
    "bak",
    "orig",
    "swp",
    "txt",
    "sh",
    "py",
];

/// What was found, all of it relative to the folder and in order.
#[derive(Debug, Default)]
pub(super) struct Found {
    pub(super) dockerfiles: Vec<PathBuf>,
    /// Folders with a hierarchy of their own.
    pub(super) hierarchies: Vec<PathBuf>,
    /// Bake files in HCL, which only `docker buildx bake` can read.
    pub(super) bake_files: Vec<PathBuf>,
    /// What could not be looked into, and why.
    pub(super) unreadable: Vec<String>,
}

/// Looks through a folder as git sees it: what `.gitignore` names is not there. Hidden folders and
/// the files of other people's packages are passed by, links are not followed.
pub(super) fn find(root: &Path) -> Found {
    let mut found = Found::default();
    let walk = ignore::WalkBuilder::new(root)
        .require_git(false)
        .parents(false)
        .sort_by_file_name(Ord::cmp)
        .filter_entry(|entry| {
            let is_folder = entry.file_type().is_some_and(|kind| kind.is_dir());
            let name = entry.file_name().to_string_lossy();
            // A folder below with a hierarchy of its own is a question of its own.
            !is_folder
                || entry.depth() == 0
                || !(SKIPPED.contains(&name.as_ref()) || has_hierarchy(entry.path()))
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
        if entry.file_type().is_some_and(|kind| kind.is_dir()) {
            found.hierarchies.extend(nested(entry.path(), root));
            continue;
        }
        if !entry.file_type().is_some_and(|kind| kind.is_file()) {
            continue;
        }
        let name = entry.file_name().to_string_lossy();
        if is_dockerfile(&name) {
            found.dockerfiles.push(path.to_owned());
        } else if name.starts_with("docker-bake") && name.ends_with(".hcl") {
            found.bake_files.push(path.to_owned());
        }
    }
    found
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

/// `Dockerfile`, `Dockerfile.x`, `x.Dockerfile`, and the same with `Containerfile`.
fn is_dockerfile(name: &str) -> bool {
    ["dockerfile", "containerfile"].iter().any(|kind| {
        let name = name.to_ascii_lowercase();
        if name.ends_with('~') {
            return false;
        }
        match name.strip_prefix(kind) {
            Some("") => true,
            Some(rest) => rest.strip_prefix('.').is_some_and(|ending| {
                !NOT_ENDINGS.contains(&ending.rsplit('.').next().unwrap_or(ending))
            }),
            None => {
                name.strip_suffix(kind).is_some_and(|rest| rest.ends_with('.') && rest.len() > 1)
            }
        }
    })
}

/// What a Dockerfile's own name says of its image: `web` of `web.Dockerfile` and `Dockerfile.web`.
pub(super) fn stem(path: &Path) -> Option<String> {
    let name = path.file_name()?.to_str()?;
    let small = name.to_ascii_lowercase();
    for kind in ["dockerfile", "containerfile"] {
        if let Some(rest) = small.strip_prefix(kind) {
            let from = name.len() - rest.len();
            return name[from..].strip_prefix('.').map(str::to_owned);
        }
        if let Some(rest) = small.strip_suffix(kind) {
            return name[..rest.len()].strip_suffix('.').map(str::to_owned);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_dockerfiles() {
        for (name, is_one, expected) in [
            ("Dockerfile", true, None),
            ("dockerfile", true, None),
            ("Dockerfile.web", true, Some("web")),
            ("Dockerfile.3.11-slim", true, Some("3.11-slim")),
            ("web.Dockerfile", true, Some("web")),
            ("web.dockerfile", true, Some("web")),
            ("Containerfile", true, None),
            ("Containerfile.web", true, Some("web")),
            ("Dockerfile.dockerignore", false, None),
            ("web.Dockerfile.dockerignore", false, None),
            ("Dockerfile.j2", false, None),
            ("Dockerfile.web.j2", false, None),
            ("Dockerfile~", false, None),
            ("Dockerfile-linux.template", false, None),
            (".Dockerfile", false, None),
            ("Makefile", false, None),
        ] {
            assert_eq!(is_dockerfile(name), is_one, "{name}");
            if is_one {
                assert_eq!(stem(Path::new(name)).as_deref(), expected, "{name}");
            }
        }
    }
}
