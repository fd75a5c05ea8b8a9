//! Images whose tags were rolled back: their published images stay, also as parents of other images.

use std::collections::BTreeMap;

use super::{ADDED, Question, staged::Staged};
use crate::{
    check::diagnostic::names,
    hierarchy::{Node, NodeName},
    image::Digest,
    plan::Hold,
    publish::{
        holds,
        store::{StoreError, Tags},
    },
};

/// The rollbacks of published images that the command line does not name.
pub(super) async fn holds<S: Tags>(
    store: &S,
    (question, published): (&Question<'_>, &BTreeMap<NodeName, Digest>),
) -> Result<BTreeMap<NodeName, Vec<Hold>>, StoreError> {
    let mut holds = holds::read(store).await?.nodes;
    let selection = &question.request.selection;
    holds.retain(|name, _| {
        question.hierarchy.get(name).is_some()
            && published.contains_key(name)
            && !selection.forces(name)
    });
    Ok(holds)
}

/// A notice with the names of held images.
pub(super) fn told(nodes: &[&Node], staged: &BTreeMap<NodeName, Staged>) -> Option<String> {
    let is_held = |node: &&&Node| staged.get(&node.name).is_some_and(|it| it.hold.is_some());
    let held: Vec<&NodeName> = nodes.iter().filter(is_held).map(|node| &node.name).collect();
    let (list, are) = (names(&held, ADDED), if held.len() == 1 { "is" } else { "are" });
    let message = || format!("{list} {are} held since a rollback: `rebuild resume` ends that");
    (!held.is_empty()).then(message)
}
