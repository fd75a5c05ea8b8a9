//! Images whose tags were rolled back: their published images stay, also as parents of other images.

use std::collections::BTreeMap;

use super::{ADDED, Question};
use crate::{
    check::diagnostic::names,
    fingerprint::Parents,
    hierarchy::{Node, NodeName},
    image::Digest,
    plan::{HOLDS, Hold, Holds},
    publish::store::{Store, StoreError},
};

/// Images that were rolled back and that the command line does not name.
pub(super) async fn holds<S: Store>(
    store: &S,
    question: &Question<'_>,
) -> Result<BTreeMap<NodeName, Hold>, StoreError> {
    let note = store.note(HOLDS).await?.unwrap_or_default();
    let holds = Holds::read(&note).nodes.into_iter();
    let is_held = |(name, hold): &(NodeName, Hold)| {
        question.hierarchy.get(name).is_some()
            && hold.is_for(question.committed)
            && !question.request.selection.forces(name)
    };
    Ok(holds.filter(is_held).collect())
}

/// A notice with their names.
pub(super) fn told(holds: &BTreeMap<NodeName, Hold>) -> Option<String> {
    let held: Vec<&NodeName> = holds.keys().collect();
    let (list, are) = (names(&held, ADDED), if held.len() == 1 { "is" } else { "are" });
    let message = || format!("{list} {are} held since a rollback: `rebuild resume` ends that");
    (!held.is_empty()).then(message)
}

/// The other nodes, and the digests of held nodes and of nodes outside the view, for their children.
pub(super) fn apart<'n>(
    nodes: &[&'n Node],
    (holds, published): (&BTreeMap<NodeName, Hold>, &BTreeMap<NodeName, Digest>),
    outside: &Parents,
) -> (Vec<&'n Node>, Parents) {
    let is_held =
        |node: &&Node| holds.contains_key(&node.name) && published.contains_key(&node.name);
    let (held, open): (Vec<&Node>, Vec<&Node>) = nodes.iter().copied().partition(is_held);
    let held = held.iter().map(|node| (node.name.clone(), published[&node.name].clone()));
    (open, outside.clone().into_iter().chain(held).collect())
}
