//! The published images that a run replaces: what it warns of, and what it refuses, before its first build.

use std::collections::{BTreeMap, BTreeSet};

use futures_util::{StreamExt as _, TryStreamExt as _, stream};

use super::{error::CommandError, older_commit};
use crate::{
    check::diagnostic::names,
    hierarchy::{Hierarchy, NodeName},
    host::git::GitHead,
    image::Digest,
    plan::{Action, Plan, Step},
    publish::store::{HIERARCHY, HierarchyId, StoreError, Tags},
    run::observe::describe,
};

/// How many images are described at once.
const AT_ONCE: usize = 8;
/// How many images a warning names; it counts the others.
const NAMED: usize = 3;

/// Warnings about the images that the plan replaces. `ours`: the checked-out commit, if an older one is to be refused.
pub(super) async fn check<S: Tags>(
    store: &S,
    hierarchy: &Hierarchy,
    plan: &Plan,
    ours: Option<&GitHead>,
) -> Result<Vec<String>, CommandError> {
    let replaced = plan.steps.iter().filter(|step| !matches!(step.action, Action::Keep { .. }));
    let replaced: Vec<&Step> = replaced.collect();
    if replaced.is_empty() {
        return Ok(Vec::new());
    }
    let nodes: BTreeSet<NodeName> = replaced.iter().map(|step| step.node.clone()).collect();
    let published = describe(store, hierarchy, plan, &nodes).await?;
    let mut others: BTreeMap<String, BTreeSet<NodeName>> = BTreeMap::new();
    let own = HierarchyId::of(&hierarchy.file);
    let mut add = |node: &NodeName, label: Option<&String>| {
        if let Some(label) = label.filter(|label| !own.is(label)) {
            others.entry(label.clone()).or_default().insert(node.clone());
        }
    };
    for (node, last_build) in &published {
        add(node, last_build.hierarchy.as_ref());
    }
    for (node, label) in further(store, hierarchy, &replaced).await? {
        add(&node, label.as_ref());
    }
    let mut warnings: Vec<String> = others.iter().map(other_hierarchy).collect();
    if let Some(ours) = ours {
        warnings.extend(older_commit::refuse(hierarchy, &published, ours)?);
    }
    Ok(warnings)
}

/// The hierarchies of other images to which tags of these nodes point.
async fn further<S: Tags>(
    store: &S,
    hierarchy: &Hierarchy,
    replaced: &[&Step],
) -> Result<Vec<(NodeName, Option<String>)>, StoreError> {
    let mut images: BTreeSet<(&NodeName, &Digest)> = BTreeSet::new();
    for step in replaced {
        let kept = match &step.action {
            Action::Promote { digest } => Some(digest),
            _ => None,
        };
        let at_tags = step.moving.values().flatten();
        let at_tags = at_tags.filter(|digest| step.published.as_ref() != Some(*digest));
        let at_tags = at_tags.filter(|digest| kept != Some(*digest));
        images.extend(at_tags.map(|digest| (&step.node, digest)));
    }
    stream::iter(images)
        .map(async |(name, digest)| {
            let Some(node) = hierarchy.get(name) else { return Ok((name.clone(), None)) };
            let image = store.describe(&node.repository, digest).await?;
            Ok((name.clone(), image.and_then(|image| image.labels.get(HIERARCHY).cloned())))
        })
        .buffer_unordered(AT_ONCE)
        .try_collect()
        .await
}

fn other_hierarchy((label, nodes): (&String, &BTreeSet<NodeName>)) -> String {
    let nodes: Vec<&NodeName> = nodes.iter().collect();
    let (was, them) = if nodes.len() == 1 { ("was", "its tags") } else { ("were", "their tags") };
    format!(
        "{} {was} last published by another hierarchy, `{label}`: this run moves {them}\n  \
         hint: give the images of one of them other names, or another `repository` or `registry`",
        names(&nodes, NAMED)
    )
}
