//! The files of a git repository as evidence for one of its folders: CI files and scripts stand at the root.
//!
//! **Invariant:** paths are relative to the folder of the hierarchy when they leave this file.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
};

use super::{
    candidate::ContextSource,
    entry::relative,
    evidence::{Evidence, Values, tidy},
    find::{self, FoundFiles},
    readers,
};
use crate::dockerfile::file_name::is_dockerfile;

/// A folder, and the repository that it is in.
pub(super) struct FolderOfTree {
    /// The folder itself outside of a repository.
    pub(super) repository: PathBuf,
    /// The folder, relative to the repository.
    below: PathBuf,
}

impl FolderOfTree {
    pub(super) fn new(folder: &Path, repository: Option<&Path>) -> Self {
        let below = repository.and_then(|root| Some((root, folder.strip_prefix(root).ok()?)));
        let (repository, below) = below.unwrap_or((folder, Path::new("")));
        Self { repository: repository.to_owned(), below: below.to_owned() }
    }

    /// How many folders of the repository are above it.
    pub(super) fn depth(&self) -> usize {
        self.below.iter().count()
    }

    /// The tracked files of the folder.
    pub(super) fn inside(&self, tracked: &[PathBuf]) -> Vec<PathBuf> {
        tracked
            .iter()
            .filter_map(|path| path.strip_prefix(&self.below).ok().map(Path::to_owned))
            .collect()
    }

    /// What all files of the repository say of the Dockerfiles of the folder. Outside of it, only tracked files count.
    pub(super) fn evidence(
        &self,
        found: &FoundFiles,
        tracked: &[PathBuf],
        environment: &Values,
        notes: &mut Vec<String>,
    ) -> Vec<Evidence> {
        if self.depth() == 0 {
            return readers::read(&self.repository, found, environment, notes);
        }
        let outside = tracked.iter().filter(|path| !path.starts_with(&self.below));
        let outside = || outside.clone().filter(|path| !self.is_of_another_hierarchy(path));
        let mut texts = find::texts(&self.repository, outside());
        let inside = found.texts.iter().map(|(path, kind)| (self.below.join(path), *kind));
        texts.extend(inside);
        let dockerfiles = found.dockerfiles.iter().map(|path| self.below.join(path)).collect();
        let is_one = |path: &&PathBuf| {
            path.file_name().is_some_and(|name| is_dockerfile(&name.to_string_lossy()))
        };
        let outside = outside().filter(is_one).cloned().collect();
        let all = FoundFiles { dockerfiles, outside, texts, ..FoundFiles::default() };
        let evidence = readers::read(&self.repository, &all, environment, notes);
        evidence.into_iter().filter_map(|one| self.seen_from_folder(one)).collect()
    }

    fn is_of_another_hierarchy(&self, path: &Path) -> bool {
        let folders: BTreeSet<&Path> = path.ancestors().skip(1).collect();
        let others = folders.into_iter().filter(|folder| !self.below.starts_with(folder));
        others.into_iter().any(|folder| find::has_hierarchy(&self.repository.join(folder)))
    }

    fn seen_from_folder(&self, one: Evidence) -> Option<Evidence> {
        let Evidence { rule, place, dockerfile, mut given } = one;
        let dockerfile = dockerfile.strip_prefix(&self.below).ok()?.to_owned();
        let seen = |path: &Path| relative(path, &self.below);
        given.context = given.context.map(|context| seen(&context));
        for source in given.contexts.values_mut() {
            if let ContextSource::Files(files) = source
                && self.repository.join(&*files).is_dir()
            {
                *files = seen(&tidy(files)).to_string_lossy().into_owned();
            }
        }
        let place = if place.is_empty() {
            place
        } else {
            seen(Path::new(&place)).to_string_lossy().into_owned()
        };
        Some(Evidence { rule, place, dockerfile, given })
    }
}
