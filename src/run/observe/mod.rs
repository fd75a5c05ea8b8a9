//! Reads the facts for a plan from files, store and upstreams.
//!
//! **Invariant:** it changes nothing, so `rebuild plan` is safe at any time. It pulls images into the engine
//! only to query their packages.

mod described;
mod due;
mod held;
mod indexes;
mod inputs;
mod layers;
mod newer;
mod sizes;
mod staged;
mod upstream;

use std::collections::{BTreeMap, BTreeSet};

pub(in crate::run) use self::upstream::is_of_host;
pub use self::{
    described::describe,
    due::due,
    layers::{ReadLayers, engine_layers, flat_layers, registry_layers},
    sizes::{published_images, sizes},
    upstream::UpstreamError,
};
use self::{
    indexes::{PlatformIndexes, other_platforms},
    newer::Prober,
    staged::{Staged, Staging},
    upstream::ResolvedUpstreams,
};
use crate::{
    check::diagnostic::names,
    engine::{Engine, Volatile},
    fingerprint::{Detail, HashCache, Inputs, Parents, context::ContextError, ignore::IgnoreError},
    hierarchy::{BaseUse, Hierarchy, Node, NodeName, TagValues},
    image::{Digest, Platform, Reference, Tag, Tagged},
    plan::{Missing, NodeFacts, Observed, PlanRequest, Published, Upstream},
    publish::store::{Store, StoreError},
    registry::Client,
    run::mirror::UpstreamMirror,
};

/// How many published images are read at once.
const DESCRIBED_AT_ONCE: usize = 16;
/// How many additional nodes a notice names; it counts the others.
const ADDED: usize = 3;

/// The sources of facts.
#[derive(Debug)]
pub struct FactSources<'a, E, S> {
    pub engine: &'a E,
    pub store: &'a S,
    /// For upstreams, which may be in any registry.
    pub registries: &'a Client,
    pub mirror: Option<&'a UpstreamMirror>,
}

/// The scope of an observation.
#[derive(Debug)]
pub struct Question<'a> {
    pub hierarchy: &'a Hierarchy,
    pub request: &'a PlanRequest,
    /// The engine's platform, for nodes without `platform`.
    pub platform: &'a Platform,
    pub tag_values: &'a TagValues,
    /// The hashes of unchanged files.
    pub hashes: &'a HashCache,
    /// Use upstreams as the engine has them.
    pub offline: bool,
    /// The command builds nothing: an upstream may be unknown if that does not change the plan.
    pub only_asks: bool,
    /// The owner of containers for package queries.
    pub run: &'a str,
}

#[derive(Debug, thiserror::Error)]
pub enum ObserveError {
    #[error("`{node}`: {source}")]
    Context { node: NodeName, source: ContextError },
    #[error("`{node}`: {source}")]
    Tag { node: NodeName, source: crate::hierarchy::TemplateError },
    #[error("`{node}`: `volatile`: `{}` is not a pattern: {}", source.pattern, source.reason)]
    Volatile { node: NodeName, source: IgnoreError },
    #[error(transparent)]
    Upstream(Box<UpstreamError>),
    /// No image can be built without them.
    #[error("{source}; needed by {needed}")]
    Unreachable { source: Box<UpstreamError>, needed: String },
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// The inputs of nodes as their files are now, with upstreams that were resolved before.
pub fn present_inputs(
    nodes: &[&Node],
    question: &Question<'_>,
    upstreams: &BTreeMap<String, Upstream>,
) -> Result<BTreeMap<NodeName, (Inputs, Detail)>, ObserveError> {
    inputs::read(nodes, question, upstreams)
}

/// The facts, and notices for the user.
#[expect(clippy::too_many_lines, reason = "the facts in their order")]
pub async fn observe<E: Engine, S: Store>(
    sources: &FactSources<'_, E, S>,
    question: &Question<'_>,
) -> Result<(Observed, Vec<String>), ObserveError> {
    let hierarchy = question.hierarchy;
    let moving = moving_tags(hierarchy, question.tag_values)?;
    let elsewhere = tags_elsewhere(question, &moving);
    let mut seen = BTreeSet::new();
    let asked = moving.values().chain(elsewhere.values()).flatten();
    let asked = asked.filter(|tagged| seen.insert(*tagged)).cloned().collect();
    let heads = sources.store.heads(asked).await?;
    let indexes = PlatformIndexes::read(sources.store, hierarchy, &heads).await?;
    let published = published(sources.store, hierarchy, (&moving, &heads, &indexes)).await?;
    let view = with_unpublished_ancestors(question, &published);
    let holds = held::holds(sources.store, (question, &published)).await?;

    let nodes: Vec<&Node> =
        hierarchy.in_build_order().filter(|node| view.contains(&node.name)).collect();
    volatile_is_good(hierarchy, &nodes)?;
    let mut warnings = added(question, &view);
    let ResolvedUpstreams {
        upstreams,
        missing,
        of_one_image,
        warnings: more,
        unasked,
        unreachable,
    } = resolved(sources, question, (&nodes, &published)).await?;
    if let Some(error) = unreachable.filter(|_| all_need_one(hierarchy, &nodes, &missing)) {
        let mut needed = places(hierarchy, &nodes, |upstream| error.names(upstream));
        for (name, missing) in missing.iter().filter(|(name, _)| !error.names(name)) {
            needed = format!("{needed}\n{}", needed_by(hierarchy, &nodes, (name, missing)));
        }
        return Err(ObserveError::Unreachable { source: Box::new(error), needed });
    }
    warnings.extend(more);
    warnings.extend(
        missing.iter().map(|(name, missing)| needed_by(hierarchy, &nodes, (name, missing))),
    );
    let (inputs, mut details): (BTreeMap<_, _>, BTreeMap<_, _>) =
        inputs::read(&nodes, question, &upstreams)?
            .into_iter()
            .map(|(name, (inputs, detail))| ((name.clone(), inputs), (name, detail)))
            .unzip();

    let outside: Parents = nodes
        .iter()
        .flat_map(|node| hierarchy.parents(&node.name))
        .filter_map(|parent| Some((parent.name.clone(), published.get(&parent.name)?.clone())))
        .chain(other_platforms(hierarchy, &nodes, &published))
        .filter(|(name, _)| !view.contains(name))
        .collect();
    let staging = Staging {
        store: sources.store,
        hierarchy,
        inputs: &inputs,
        published: &published,
        heads: &heads,
        now: question.request.now,
        by_schedule: question.request.by_schedule,
        holds: &holds,
        upstreams: &upstreams,
        of_one_image: &of_one_image,
        is_online: !question.offline,
        unasked: unasked.iter().map(ToString::to_string).collect(),
        manifests: std::sync::Mutex::default(),
        prober: Prober { sources, hierarchy, run: question.run },
    };
    let mut staged = staging.look(&nodes, &outside).await?;
    warnings.extend(held::told(&nodes, &staged));
    warnings.extend(as_at_the_last_build(unasked, (&nodes, &staged), question.only_asks)?);
    let out_of_date = published
        .iter()
        .filter(|(node, _)| staged.get(*node).is_some_and(|staged| staged.digest.is_none()))
        .map(|(node, digest)| (node.clone(), digest.clone()));
    let mut taken_in = described::taken_in(sources.store, out_of_date).await?;

    let mut observed = Observed { nodes: BTreeMap::new(), outside, upstreams, missing };
    for node in nodes {
        let staged = staged.remove(&node.name).unwrap_or_default();
        let today = staged.inputs(&inputs[&node.name]);
        let Staged { fingerprint, digest, due, built_from, updates, checked, silent, hold, .. } =
            staged;
        warnings.extend(silent.map(|why| {
            let name = &node.name;
            let what = if due.is_some() { "is refreshed" } else { "stays as it is" };
            format!("`{name}` {what}, as what is newer of its packages is not known: {why}")
        }));
        let tags = &moving[&node.name];
        let facts = NodeFacts {
            inputs: today,
            detail: details.remove(&node.name).unwrap_or_default(),
            fingerprint,
            staged: digest,
            due,
            updates,
            checked,
            moving: at(tags, &heads).map(|(tagged, at)| (tagged.tag.clone(), at)).collect(),
            members: indexes.members(
                (hierarchy, node),
                tags.iter().chain(&elsewhere[&node.name]),
                &heads,
            ),
            elsewhere: at(&elsewhere[&node.name], &heads)
                .map(|(tagged, at)| (tagged.clone(), at))
                .collect(),
            stable: stable_tags(node, tags, question.tag_values),
            hold,
            published: published.get(&node.name).map(|digest| Published {
                digest: digest.clone(),
                built_from,
                taken_in: taken_in.remove(&node.name).unwrap_or_default(),
            }),
        };
        observed.nodes.insert(node.name.clone(), facts);
    }
    Ok((observed, warnings))
}

/// Offline, the published image names the old digest of an upstream: enough for a plan, not for a build.
fn as_at_the_last_build(
    unasked: Vec<Reference>,
    (nodes, staged): (&[&Node], &BTreeMap<NodeName, Staged>),
    only_asks: bool,
) -> Result<Option<String>, ObserveError> {
    let is_told = |reference: &Reference| {
        let name = reference.to_string();
        let uses_it = |node: &&&Node| {
            node.dockerfile.uses.iter().any(|used| used.base.upstream() == Some(reference))
        };
        let tells = |node: &Node| staged.get(&node.name).is_some_and(|found| found.tells(&name));
        only_asks && nodes.iter().filter(uses_it).all(|node| tells(node))
    };
    let (told, not_here): (Vec<Reference>, Vec<Reference>) = unasked.into_iter().partition(is_told);
    if !not_here.is_empty() {
        return Err(ObserveError::Upstream(Box::new(UpstreamError::not_here(not_here))));
    }
    let list = names(&told, ADDED);
    let message =
        || format!("offline: {list} as at the last build, since the engine does not have it");
    Ok((!told.is_empty()).then(message))
}

/// The upstreams of these nodes. What was never published is built whatever its upstreams are.
async fn resolved<E: Engine, S: Store>(
    sources: &FactSources<'_, E, S>,
    question: &Question<'_>,
    (nodes, published): (&[&Node], &BTreeMap<NodeName, Digest>),
) -> Result<ResolvedUpstreams, ObserveError> {
    let needed: BTreeSet<&Reference> = nodes
        .iter()
        .filter(|node| !question.only_asks || published.contains_key(&node.name))
        .flat_map(|node| node.dockerfile.uses.iter().filter_map(|used| used.base.upstream()))
        .collect();
    let asked = (sources.engine, sources.registries, sources.mirror);
    let is_spared = |reference: &Reference| !needed.contains(reference);
    let resolved = upstream::resolve(nodes, asked, question.offline, is_spared).await;
    resolved.map_err(|error| ObserveError::Upstream(Box::new(error)))
}

/// Facts that a run only knows after the build.
fn volatile_is_good(hierarchy: &Hierarchy, nodes: &[&Node]) -> Result<(), ObserveError> {
    nodes.iter().filter(|node| !node.volatile.is_empty()).try_for_each(|node| {
        let volatile = Volatile::new(&hierarchy.volatile(&node.name));
        volatile.map(|_| ()).map_err(|source| {
            let node = node.name.clone();
            ObserveError::Volatile { node, source }
        })
    })
}

/// Every moving tag that does not contain the fingerprint.
fn moving_tags(
    hierarchy: &Hierarchy,
    values: &TagValues,
) -> Result<BTreeMap<NodeName, Vec<Tagged>>, ObserveError> {
    let mut moving = BTreeMap::new();
    for node in hierarchy.in_build_order() {
        let mut tags = Vec::new();
        for template in node.tags.iter().filter(|template| !template.is_late()) {
            let tag = template
                .expand(values, node.name.image(), "")
                .map_err(|source| ObserveError::Tag { node: node.name.clone(), source })?;
            tags.push(node.repository.tagged(tag));
        }
        moving.insert(node.name.clone(), tags);
    }
    Ok(moving)
}

/// Where each of these tags is.
fn at<'a>(
    tags: &'a [Tagged],
    heads: &BTreeMap<Tagged, Digest>,
) -> impl Iterator<Item = (&'a Tagged, Option<Digest>)> {
    tags.iter().map(|tagged| (tagged, heads.get(tagged).cloned()))
}

/// The stable tags of each node in its other registries.
fn tags_elsewhere(
    question: &Question<'_>,
    moving: &BTreeMap<NodeName, Vec<Tagged>>,
) -> BTreeMap<NodeName, Vec<Tagged>> {
    let tags = |node: &Node| {
        let stable = stable_tags(node, &moving[&node.name], question.tag_values);
        let destinations =
            node.destinations.iter().filter(|_| question.hierarchy.registry.is_some());
        destinations
            .flat_map(|repository| stable.iter().map(|tag| repository.tagged(tag.clone())))
            .collect()
    };
    let nodes = question.hierarchy.in_build_order();
    nodes.map(|node| (node.name.clone(), tags(node))).collect()
}

/// The tags that decide whether a node is published: its stable tags, or all tags if it has none. Promotion
/// also writes a dated tag, but its absence on the next day does not make an image out of date.
fn stable_tags(node: &Node, tags: &[Tagged], values: &TagValues) -> Vec<Tag> {
    let stable: Vec<Tag> = node
        .stable_tags()
        .filter_map(|template| template.expand(values, node.name.image(), "").ok())
        .collect();
    if stable.is_empty() { tags.iter().map(|tagged| tagged.tag.clone()).collect() } else { stable }
}

/// The image under each node's first stable tag. For a node without a stable tag, its newest image.
async fn published<S: Store>(
    store: &S,
    hierarchy: &Hierarchy,
    (moving, heads, indexes): (
        &BTreeMap<NodeName, Vec<Tagged>>,
        &BTreeMap<Tagged, Digest>,
        &PlatformIndexes,
    ),
) -> Result<BTreeMap<NodeName, Digest>, StoreError> {
    let first = |node: &Node| {
        let tags = &moving[&node.name];
        let stable: Vec<String> = node.stable_tags().map(ToString::to_string).collect();
        let is_stable = |tagged: &&Tagged| stable.iter().any(|tag| tag == tagged.tag.as_str());
        let mut all = tags.iter().filter(is_stable).chain(tags);
        all.find_map(|tagged| indexes.image_of((hierarchy, node), tagged, heads.get(tagged)?))
    };
    let nodes = || hierarchy.in_build_order();
    let mut published: BTreeMap<NodeName, Digest> =
        nodes().filter_map(|node| Some((node.name.clone(), first(node)?))).collect();
    let unknown = nodes().filter(|node| !published.contains_key(&node.name));
    let newest = described::newest(store, hierarchy, unknown).await?;
    published.extend(newest);
    Ok(published)
}

/// The selected nodes, and their ancestors that were never published: the nodes need them as bases.
fn with_unpublished_ancestors(
    question: &Question<'_>,
    published: &BTreeMap<NodeName, Digest>,
) -> BTreeSet<NodeName> {
    let hierarchy = question.hierarchy;
    let mut view = question.request.in_view(hierarchy, question.platform);
    let mut open: Vec<NodeName> = view.iter().cloned().collect();
    while let Some(name) = open.pop() {
        // An index needs an image for each platform.
        let makes_indexes = question.request.platforms.is_empty();
        let siblings = hierarchy.group(&name).into_iter().filter(|_| makes_indexes);
        for parent in hierarchy.parents(&name).chain(siblings) {
            if !published.contains_key(&parent.name) && view.insert(parent.name.clone()) {
                open.push(parent.name.clone());
            }
        }
    }
    view
}

/// Whether every node needs one of these upstreams, directly or through its parents.
fn all_need_one(
    hierarchy: &Hierarchy,
    nodes: &[&Node],
    missing: &BTreeMap<String, Missing>,
) -> bool {
    let mut need: BTreeSet<&NodeName> = BTreeSet::new();
    for node in nodes {
        let uses = |used: &BaseUse| {
            used.base.upstream().is_some_and(|named| missing.contains_key(&named.to_string()))
        };
        let has_parent = || hierarchy.parents(&node.name).any(|parent| need.contains(&parent.name));
        if node.dockerfile.uses.iter().any(uses) || has_parent() {
            need.insert(&node.name);
        }
    }
    need.len() == nodes.len()
}

/// Reports images that cannot be built because of an upstream, with the place of its name.
fn needed_by(
    hierarchy: &Hierarchy,
    nodes: &[&Node],
    (upstream, missing): (&str, &Missing),
) -> String {
    format!("{}; needed by {}", missing.why, places(hierarchy, nodes, |named| named == upstream))
}

/// The images that need certain upstreams, each with the place of the name.
fn places(hierarchy: &Hierarchy, nodes: &[&Node], is_one: impl Fn(&str) -> bool) -> String {
    let places: Vec<String> = nodes
        .iter()
        .filter_map(|node| {
            let names_it = |used: &&BaseUse| {
                used.base.upstream().is_some_and(|named| is_one(&named.to_string()))
            };
            let used = node.dockerfile.uses.iter().find(names_it)?;
            let path = &node.dockerfile.path;
            let path = path.strip_prefix(hierarchy.root()).unwrap_or(path).display();
            Some(format!("`{}` ({path}:{})", node.name, used.line))
        })
        .collect();
    let more = match places.len().saturating_sub(ADDED) {
        0 => String::new(),
        n => format!(" and {n} more"),
    };
    let shown = places[..places.len().min(ADDED)].join(", ");
    format!("{shown}{more}")
}

/// Reports images that are built without being selected.
fn added(question: &Question<'_>, view: &BTreeSet<NodeName>) -> Vec<String> {
    let hierarchy = question.hierarchy;
    let selected = question.request.in_view(hierarchy, question.platform);
    let added: Vec<&NodeName> = hierarchy
        .in_build_order()
        .map(|node| &node.name)
        .filter(|name| view.contains(*name) && !selected.contains(*name))
        .collect();
    let (was, is) = if added.len() == 1 { ("was", "it is") } else { ("were", "they are") };
    let message = || format!("{} {was} never published: {is} built first", names(&added, ADDED));
    (!added.is_empty()).then(message).into_iter().collect()
}
