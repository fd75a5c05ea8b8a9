//! Finds out before the first build whether a run would publish older files over newer ones.

use std::collections::BTreeSet;

use super::error::CommandError;
use crate::{
    exit::Exit,
    git,
    hierarchy::Hierarchy,
    observe::describe,
    plan::{Action, Plan},
    store::Store,
};

/// Refuses if an image that would be replaced was built from a commit that comes after the one that is
/// checked out. What this clone does not know of, such as the other side of a shallow one, is allowed.
pub(super) async fn refuse<S: Store>(
    store: &S,
    hierarchy: &Hierarchy,
    plan: &Plan,
    ours: &str,
) -> Result<(), CommandError> {
    let replaced: BTreeSet<_> = plan
        .steps
        .iter()
        .filter(|step| !matches!(step.action, Action::Keep { .. }))
        .map(|step| step.node.clone())
        .collect();
    if replaced.is_empty() {
        return Ok(());
    }
    let published = describe(store, hierarchy, plan, &replaced).await?;
    let mut seen = BTreeSet::new();
    for (node, last_build) in &published {
        let built_from = last_build.built_from.as_ref();
        let Some(theirs) = built_from.and_then(|it| it.revision.as_deref()) else { continue };
        if seen.insert(theirs) && git::is_ancestor(hierarchy.root(), ours, theirs) {
            return Err(refused(node.as_str(), theirs, ours));
        }
    }
    Ok(())
}

fn refused(node: &str, theirs: &str, ours: &str) -> CommandError {
    CommandError::new(
        Exit::PromotionFailed,
        format!(
            "the published `{node}` was built from commit {}, which comes after {}, the one that is \
             checked out; nothing was built",
            git::short(theirs),
            git::short(ours)
        ),
    )
    .hint("check out the newer commit, or publish the older one with `--allow-older`")
}
