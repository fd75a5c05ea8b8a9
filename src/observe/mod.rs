//! Asks files, store and upstreams about every node in view: the facts a plan needs.
//!
//! **Invariant:** nothing is changed anywhere, so `rebuild plan` may be run at any time.

mod described;
mod inputs;
mod upstream;

use std::collections::{BTreeMap, BTreeSet};

use futures_util::{StreamExt as _, TryStreamExt as _, stream};

pub use self::{described::describe, upstream::UpstreamError};
use crate::{
    diagnostic::names,
    engine::Engine,
    fingerprint::{BuiltFrom, Fingerprint, Inputs, Parents, context::ContextError},
    hierarchy::{Hierarchy, Node, NodeName, TagValues},
    image::{Digest, Platform, Tag, Tagged},
    plan::{NodeFacts, Observed, Published, Selection},
    registry::Client,
    store::{Store, StoreError},
};

/// How many published images are asked at once what they were built from.
const DESCRIBED_AT_ONCE: usize = 16;
/// So many nodes that are built besides are named, the others counted.
const ADDED: usize = 3;

/// Whom to ask.
#[derive(Debug)]
pub struct Sources<'a, E, S> {
    pub engine: &'a E,
    pub store: &'a S,
    /// For upstreams, which may lie in any registry.
    pub registries: &'a Client,
}

/// What to ask about.
#[derive(Debug)]
pub struct Question<'a> {
    pub hierarchy: &'a Hierarchy,
    pub selection: &'a Selection,
    /// Of nodes that do not say theirs: the engine's.
    pub platform: &'a Platform,
    pub tag_values: &'a TagValues,
    /// Take upstreams as the engine has them.
    pub offline: bool,
}

#[derive(Debug, thiserror::Error)]
pub enum ObserveError {
    #[error("`{node}`: {source}")]
    Context { node: NodeName, source: ContextError },
    #[error("`{node}`: {source}")]
    Tag { node: NodeName, source: crate::hierarchy::TemplateError },
    #[error(transparent)]
    Upstream(Box<UpstreamError>),
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// The facts, and what a person should know about how they were found.
pub async fn observe<E: Engine, S: Store>(
    sources: &Sources<'_, E, S>,
    question: &Question<'_>,
) -> Result<(Observed, Vec<String>), ObserveError> {
    let hierarchy = question.hierarchy;
    let moving = moving_tags(question)?;
    let heads = sources.store.heads(moving.values().flatten().cloned().collect()).await?;
    let published = published(hierarchy, &moving, &heads);
    let view = with_unpublished_ancestors(hierarchy, question.selection, &published);

    let nodes: Vec<&Node> =
        hierarchy.in_build_order().filter(|node| view.contains(&node.name)).collect();
    let mut warnings = added(hierarchy, question.selection, &view);
    let resolved =
        upstream::resolve(&nodes, sources.engine, sources.registries, question.offline).await;
    let (upstreams, more) = resolved.map_err(|error| ObserveError::Upstream(Box::new(error)))?;
    warnings.extend(more);
    let (inputs, mut details): (BTreeMap<_, _>, BTreeMap<_, _>) =
        inputs::read(&nodes, hierarchy, question.platform, &upstreams)?
            .into_iter()
            .map(|(name, (inputs, detail))| ((name.clone(), inputs), (name, detail)))
            .unzip();

    let outside: Parents = nodes
        .iter()
        .flat_map(|node| hierarchy.parents(&node.name))
        .filter(|parent| !view.contains(&parent.name))
        .filter_map(|parent| Some((parent.name.clone(), published.get(&parent.name)?.clone())))
        .collect();
    let staged = staged(sources.store, &nodes, hierarchy, &inputs, &outside).await?;

    let mut observed = Observed { nodes: BTreeMap::new(), outside, upstreams };
    for node in nodes {
        let (fingerprint, staged) = staged.get(&node.name).cloned().unwrap_or_default();
        let tags = &moving[&node.name];
        let facts = NodeFacts {
            inputs: inputs[&node.name].clone(),
            detail: details.remove(&node.name).unwrap_or_default(),
            fingerprint,
            staged,
            moving: tags
                .iter()
                .map(|tagged| (tagged.tag.clone(), heads.get(tagged).cloned()))
                .collect(),
            stable: stable_tags(node, tags, question.tag_values),
            published: published
                .get(&node.name)
                .map(|digest| Published { digest: digest.clone(), built_from: None }),
        };
        observed.nodes.insert(node.name.clone(), facts);
    }
    describe_published(sources.store, hierarchy, &mut observed).await?;
    Ok((observed, warnings))
}

/// Every moving tag that can be named before the fingerprint is known.
fn moving_tags(question: &Question<'_>) -> Result<BTreeMap<NodeName, Vec<Tagged>>, ObserveError> {
    let mut moving = BTreeMap::new();
    for node in question.hierarchy.in_build_order() {
        let mut tags = Vec::new();
        for template in node.tags.iter().filter(|template| !template.needs_fingerprint()) {
            let tag = template
                .expand(question.tag_values, node.name.as_str(), "")
                .map_err(|source| ObserveError::Tag { node: node.name.clone(), source })?;
            tags.push(node.repository.tagged(tag));
        }
        moving.insert(node.name.clone(), tags);
    }
    Ok(moving)
}

/// The tags that decide whether a node is published: those that are the same every day, or all of
/// them if none is. A dated tag is written with the others, and its absence on the next day does
/// not make an image out of date.
fn stable_tags(node: &Node, tags: &[Tagged], values: &TagValues) -> Vec<Tag> {
    let stable: Vec<Tag> = node
        .stable_tags()
        .filter_map(|template| template.expand(values, node.name.as_str(), "").ok())
        .collect();
    if stable.is_empty() { tags.iter().map(|tagged| tagged.tag.clone()).collect() } else { stable }
}

/// The image under each node's first moving tag, a stable one if it has one.
fn published(
    hierarchy: &Hierarchy,
    moving: &BTreeMap<NodeName, Vec<Tagged>>,
    heads: &BTreeMap<Tagged, Digest>,
) -> BTreeMap<NodeName, Digest> {
    let first = |node: &Node| {
        let tags = &moving[&node.name];
        let stable: Vec<String> = node.stable_tags().map(ToString::to_string).collect();
        let is_stable = |tagged: &&Tagged| stable.iter().any(|tag| tag == tagged.tag.as_str());
        tags.iter().filter(is_stable).chain(tags).find_map(|tagged| heads.get(tagged)).cloned()
    };
    hierarchy.in_build_order().filter_map(|node| Some((node.name.clone(), first(node)?))).collect()
}

/// What is selected, and each ancestor of it that was never published: without those there would
/// be nothing to build on.
fn with_unpublished_ancestors(
    hierarchy: &Hierarchy,
    selection: &Selection,
    published: &BTreeMap<NodeName, Digest>,
) -> BTreeSet<NodeName> {
    let mut view = selection.in_view(hierarchy);
    let mut open: Vec<NodeName> = view.iter().cloned().collect();
    while let Some(name) = open.pop() {
        for parent in hierarchy.parents(&name) {
            if !published.contains_key(&parent.name) && view.insert(parent.name.clone()) {
                open.push(parent.name.clone());
            }
        }
    }
    view
}

/// Says what is built though nobody selected it.
fn added(hierarchy: &Hierarchy, selection: &Selection, view: &BTreeSet<NodeName>) -> Vec<String> {
    let selected = selection.in_view(hierarchy);
    let added: Vec<&NodeName> = hierarchy
        .in_build_order()
        .map(|node| &node.name)
        .filter(|name| view.contains(*name) && !selected.contains(*name))
        .collect();
    let (was, is) = if added.len() == 1 { ("was", "it is") } else { ("were", "they are") };
    let message = || format!("{} {was} never published: {is} built first", names(&added, ADDED));
    (!added.is_empty()).then(message).into_iter().collect()
}

/// The fingerprint of each node whose parents' images exist, and the image under its build tag.
///
/// Asked level by level, since a child's fingerprint contains the digest of its parent's image.
async fn staged<S: Store>(
    store: &S,
    nodes: &[&Node],
    hierarchy: &Hierarchy,
    inputs: &BTreeMap<NodeName, Inputs>,
    outside: &Parents,
) -> Result<BTreeMap<NodeName, (Option<Fingerprint>, Option<Digest>)>, ObserveError> {
    let mut known = outside.clone();
    let mut found = BTreeMap::new();
    let mut waiting: Vec<&Node> = nodes.to_vec();
    while !waiting.is_empty() {
        let (level, rest): (Vec<&Node>, Vec<&Node>) = waiting.into_iter().partition(|node| {
            hierarchy.parents(&node.name).all(|parent| known.contains_key(&parent.name))
        });
        if level.is_empty() {
            break;
        }
        let fingerprint = |node: &Node| {
            let parents: Parents = hierarchy
                .parents(&node.name)
                .map(|parent| (parent.name.clone(), known[&parent.name].clone()))
                .collect();
            inputs[&node.name].fingerprint(&parents)
        };
        let asked: Vec<(&Node, Fingerprint, Tagged)> = level
            .into_iter()
            .map(|node| (node, fingerprint(node)))
            .map(|(node, print)| (node, print.clone(), node.repository.tagged(print.build_tag())))
            .collect();
        let heads = store.heads(asked.iter().map(|(_, _, tag)| tag.clone()).collect()).await?;
        for (node, fingerprint, tag) in asked {
            let digest = heads.get(&tag).cloned();
            if let Some(digest) = &digest {
                known.insert(node.name.clone(), digest.clone());
            }
            found.insert(node.name.clone(), (Some(fingerprint), digest));
        }
        waiting = rest;
    }
    Ok(found)
}

/// Asks the published images of nodes that are out of date what they were built from.
async fn describe_published<S: Store>(
    store: &S,
    hierarchy: &Hierarchy,
    observed: &mut Observed,
) -> Result<(), ObserveError> {
    let asked: Vec<(NodeName, Digest)> = observed
        .nodes
        .iter()
        .filter(|(_, facts)| facts.staged.is_none())
        .filter_map(|(name, facts)| Some((name.clone(), facts.published.as_ref()?.digest.clone())))
        .collect();
    let described: Vec<(NodeName, Option<BuiltFrom>)> = stream::iter(asked)
        .map(async |(name, digest)| {
            let node = hierarchy.get(&name).expect("every node in view is in the hierarchy");
            let description = store.describe(&node.repository, &digest).await?;
            let built_from = description.and_then(|image| BuiltFrom::from_labels(&image.labels));
            Ok::<_, StoreError>((name, built_from))
        })
        .buffer_unordered(DESCRIBED_AT_ONCE)
        .try_collect()
        .await?;
    for (name, built_from) in described {
        let facts = observed.nodes.get_mut(&name).expect("asked about nodes in view only");
        if let Some(published) = &mut facts.published {
            published.built_from = built_from;
        }
    }
    Ok(())
}
