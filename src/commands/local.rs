//! `--local`: a run or a plan that publishes nothing, and takes what is up to date from the registry.

use super::{connections::LocalOnly, error::CommandError, project::nodes};
use crate::{
    hierarchy::{Hierarchy, NodeName},
    plan::{PlanRequest, Selection},
};

/// Takes its registry away from the hierarchy if `--local` is given, with the images that it names.
pub(super) fn local_only(
    hierarchy: &mut Hierarchy,
    names: Option<&Vec<String>>,
) -> Result<Option<LocalOnly>, CommandError> {
    let Some(names) = names else { return Ok(None) };
    let wanted = nodes(hierarchy, names)?;
    Ok(Some(LocalOnly::of(hierarchy, wanted)))
}

/// Narrows the request to the named images and what they need.
pub(super) fn narrow(request: &mut PlanRequest, hierarchy: &Hierarchy, local: Option<&LocalOnly>) {
    let Some(LocalOnly { wanted, .. }) = local.filter(|local| !local.wanted.is_empty()) else {
        return;
    };
    let above = wanted.iter().flat_map(|name| hierarchy.ancestors(name));
    let above = above.map(|node| node.name.clone());
    let all: std::collections::BTreeSet<NodeName> = above.chain(wanted.clone()).collect();
    request.selection = Selection::Within(all);
}
