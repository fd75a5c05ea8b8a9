//! Finds out before the first build whether a run would publish older files over newer ones.

use std::{collections::BTreeSet, path::Path};

use super::error::CommandError;
use crate::{
    exit::Exit,
    fingerprint::Revision,
    hierarchy::Hierarchy,
    host::git::{self, GitHead},
    plan::LastBuilds,
};

/// Refuses if an image that would be replaced was built from a commit that comes after the one that is
/// checked out. Of a commit that this clone does not have, as a shallow one has few, its time decides.
///
/// Returns a warning if that is not known: of an image that was built later, from files that were not committed.
pub(super) fn refuse(
    hierarchy: &Hierarchy,
    published: &LastBuilds,
    ours: &GitHead,
) -> Result<Option<String>, CommandError> {
    let mut seen = BTreeSet::new();
    let mut uncommitted = Vec::new();
    for (node, last_build) in published {
        let Some(built_from) = &last_build.built_from else { continue };
        let Some(theirs) = &built_from.revision else {
            let is_later = last_build.at().is_some_and(|at| at.as_second() > ours.committed);
            uncommitted.extend((ours.is_clean && is_later).then(|| format!("`{node}`")));
            continue;
        };
        if !seen.insert(&theirs.commit) {
            continue;
        }
        if let Some(why) = newer(hierarchy.root(), ours, theirs) {
            return Err(refused(node.as_str(), ours, (theirs, why)));
        }
    }
    Ok((!uncommitted.is_empty()).then(|| {
        let was = if uncommitted.len() == 1 { "was" } else { "were" };
        format!(
            "{} {was} published from uncommitted files, after commit {} was made: this checkout may have older files",
            uncommitted.join(", "),
            git::short(&ours.commit)
        )
    }))
}

/// In what way theirs is newer, if it is.
fn newer(folder: &Path, ours: &GitHead, theirs: &Revision) -> Option<&'static str> {
    if git::is_ancestor(folder, &ours.commit, &theirs.commit) {
        return Some("comes after");
    }
    let is_known = git::commit(folder, &theirs.commit).is_ok_and(|commit| commit.is_some());
    let is_later = theirs.committed.is_some_and(|at| at.as_second() > ours.committed);
    (!is_known && is_later).then_some("this clone does not have and which was made after")
}

fn refused(node: &str, ours: &GitHead, (theirs, why): (&Revision, &str)) -> CommandError {
    CommandError::new(
        Exit::PromotionFailed,
        format!(
            "the published `{node}` was built from commit {}, which {why} {}, the one that is \
             checked out; nothing was built",
            git::short(&theirs.commit),
            git::short(&ours.commit)
        ),
    )
    .hint("check out the newer commit, or publish the older one with `--allow-older`")
}
