//! Which folder a Dockerfile is built in: the one that has the files it copies.

use std::path::{Path, PathBuf};

use super::candidate::ImageCandidate;

/// A build context, and the files that are copied from it and are not there.
pub(super) struct InitContext {
    pub(super) folder: PathBuf,
    pub(super) missing: Vec<String>,
}

/// The Dockerfile's own folder if it has what is copied; else the nearest above it that does.
pub(super) fn context(root: &Path, candidate: &ImageCandidate) -> InitContext {
    if let Some(folder) = &candidate.given.context {
        return InitContext { folder: folder.clone(), missing: Vec::new() };
    }
    let named: Vec<&str> = candidate
        .survey
        .copies
        .iter()
        .map(String::as_str)
        .filter(|source| !fixed(source).as_os_str().is_empty())
        .collect();
    let mut best: Option<InitContext> = None;
    for folder in candidate.folder().ancestors() {
        let is_there = |source: &&str| root.join(folder).join(fixed(source)).exists();
        let missing: Vec<String> =
            named.iter().filter(|source| !is_there(source)).map(|one| (*one).to_owned()).collect();
        if best.as_ref().is_none_or(|best| missing.len() < best.missing.len()) {
            best = Some(InitContext { folder: folder.to_owned(), missing });
        }
    }
    best.unwrap_or(InitContext { folder: candidate.folder().to_owned(), missing: Vec::new() })
}

/// What of a source stands before its first wildcard.
fn fixed(source: &str) -> PathBuf {
    let parts = source.split('/').filter(|part| !part.is_empty() && *part != ".");
    parts.take_while(|part| !part.contains(['*', '?', '['])).collect()
}
