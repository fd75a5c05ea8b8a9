//! Two trees, side by side.

use std::{collections::BTreeSet, ffi::OsStr, os::unix::ffi::OsStrExt as _, path::Path};

use super::{
    PathDifference,
    entry::{FileKind, TreeEntry},
    fold::Tree,
    volatile::Volatile,
};
use crate::fingerprint;

/// Sorted by path.
pub(super) fn differences(
    old: &Tree<'_>,
    new: &Tree<'_>,
    volatile: &Volatile,
) -> Vec<PathDifference> {
    let paths: BTreeSet<&[u8]> = old.0.keys().chain(new.0.keys()).copied().collect();
    let mut differences: Vec<PathDifference> = paths
        .into_iter()
        .filter_map(|bytes| {
            let path = Path::new(OsStr::from_bytes(if bytes.is_empty() { b"." } else { bytes }));
            let (old, new) = (old.0.get(bytes).copied(), new.0.get(bytes).copied());
            let what = what(path, old, new, volatile)?;
            Some(PathDifference { path: path.to_owned(), what })
        })
        .collect();
    differences.sort();
    differences
}

/// The patterns are asked only about what differs, which is little.
fn what(
    path: &Path,
    old: Option<&TreeEntry>,
    new: Option<&TreeEntry>,
    volatile: &Volatile,
) -> Option<fingerprint::ListingDifference> {
    use fingerprint::ListingDifference::{Changed, Gone, New};

    let is_file = |entry: &TreeEntry| matches!(entry.kind, FileKind::File { .. });
    let what = match (old, new) {
        (Some(old), Some(new)) if old == new => return None,
        (Some(old), Some(new)) => {
            let only_content = is_file(old) && is_file(new) && old.rights == new.rights;
            if only_content && volatile.leaves_out_content(path) {
                return None;
            }
            Changed
        }
        (Some(only), None) | (None, Some(only)) => {
            if is_file(only) && volatile.leaves_out_content(path) {
                return None;
            }
            if new.is_some() { New } else { Gone }
        }
        (None, None) => return None,
    };
    (!volatile.leaves_out(path)).then_some(what)
}
