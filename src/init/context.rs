//! Which folder a Dockerfile is built in: the one that has the files it copies.

use std::path::{Path, PathBuf};

use super::{candidate::ImageCandidate, evidence::tidy};

/// A build context, and the files that are copied from it and are not there.
pub(super) struct InitContext {
    pub(super) folder: PathBuf,
    pub(super) missing: Vec<String>,
}

/// The Dockerfile's own folder if it has what is copied; else the nearest above it that does, at most
/// `above` folders above that of the hierarchy.
pub(super) fn context(root: &Path, candidate: &ImageCandidate, above: usize) -> InitContext {
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
    let inside = candidate.folder().ancestors().map(Path::to_owned);
    let outside = (1..=above).map(|count| PathBuf::from_iter(vec![".."; count]));
    for folder in inside.chain(outside) {
        let is_there = |source: &&str| root.join(&folder).join(fixed(source)).exists();
        let missing: Vec<String> =
            named.iter().filter(|source| !is_there(source)).map(|one| (*one).to_owned()).collect();
        if best.as_ref().is_none_or(|best| missing.len() < best.missing.len()) {
            best = Some(InitContext { folder, missing });
        }
    }
    best.unwrap_or(InitContext { folder: candidate.folder().to_owned(), missing: Vec::new() })
}

/// Whether a context of an image has the files of other images in it, and no `.dockerignore` leaves files out.
pub(super) fn is_shared(
    root: &Path,
    (context, candidate): (&Path, &ImageCandidate),
    all: &[ImageCandidate],
) -> bool {
    let whole = |path: &Path| tidy(&root.join(path).to_string_lossy());
    let (context, own) = (whole(context), whole(candidate.folder()));
    let mut ignore = candidate.dockerfile.clone().into_os_string();
    ignore.push(".dockerignore");
    let has_ignore = context.join(".dockerignore").exists() || root.join(ignore).exists();
    let is_other = |other: &ImageCandidate| {
        let folder = whole(other.folder());
        let is_root = context == root && other.dockerfile != candidate.dockerfile;
        let is_apart = !own.starts_with(&folder) && !folder.starts_with(&own);
        folder.starts_with(&context) && (is_root || is_apart)
    };
    !has_ignore && all.iter().any(is_other)
}

/// What of a source stands before its first wildcard.
fn fixed(source: &str) -> PathBuf {
    let parts = source.split('/').filter(|part| !part.is_empty() && *part != ".");
    parts.take_while(|part| !part.contains(['*', '?', '['])).collect()
}
