//! `rebuild waste`: bytes that published images need not have.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use super::{
    connections::registries,
    error::CommandError,
    output,
    project::{load, nodes, tag_values},
};
use crate::{
    commands::cli::{Common, WasteArgs, WasteFormat},
    engine::docker::{Docker, EngineOptions},
    exit::Exit,
    hierarchy::{Hierarchy, NodeName},
    image::Digest,
    publish::store::{Local, Remote, Store},
    registry::Client,
    report::{
        count,
        waste::{self, WasteView},
    },
    run::{
        observe::{ReadLayers, engine_layers, published_images, registry_layers, sizes},
        state::{LayerCache, StateFolder},
    },
    size::{Facts, MeasuredImage},
    waste::survey,
};

pub(super) async fn waste(common: &Common, arguments: &WasteArgs) -> Result<Exit, CommandError> {
    let hierarchy = load(common)?;
    let named = nodes(&hierarchy, &arguments.nodes)?;
    let cache = StateFolder::of(&hierarchy.file).layers();
    let (place, facts, read) = if let Some(prefix) = &hierarchy.registry {
        let client = registries()?;
        let store = Remote::new(client.clone(), prefix, Arc::new(Docker::absent().await?));
        let registries = (!common.offline).then_some(&client);
        let facts = facts(&hierarchy, &store, registries).await?;
        let read = of_registry(&hierarchy, (&facts, &named), &client, &cache).await?;
        (prefix.to_string(), facts, read)
    } else {
        let (engine, info) = Docker::connect(&EngineOptions::default()).await?;
        let engine = Arc::new(engine);
        let store = Local::new(engine.clone());
        let facts = facts(&hierarchy, &store, None).await?;
        let images = wanted(&hierarchy, (&facts, &named));
        let images = images.map(|(_, image, it)| (image.clone(), it.layers.clone())).collect();
        let read = engine_layers(&*engine, &images, &cache).await?;
        (info.endpoint, facts, read)
    };
    cache.keep_sizes(layer_bytes(&facts, &read));
    cache.forget_unused();
    if read.read > 0 {
        output::line(&format!("read {}", count(read.read, "layer")));
    }
    let found = survey(&hierarchy, &facts, &read.images);
    let view = WasteView {
        waste: &found,
        named: &named,
        place: &place,
        root: hierarchy.root(),
        limit: if arguments.all { usize::MAX } else { waste::SHOWN },
    };
    let mut text = Vec::new();
    match arguments.format {
        WasteFormat::Text => waste::text(view, (output::stdout_has_colour(), &mut text)),
        WasteFormat::Json => waste::json(view, &mut text),
    }
    .and_then(|()| output::view(&text, matches!(arguments.format, WasteFormat::Text)))
    .map_err(|error| CommandError::new(Exit::Internal, format!("cannot write: {error}")))?;
    unread(&facts, &read)
}

async fn facts<S: Store>(
    hierarchy: &Hierarchy,
    store: &S,
    registries: Option<&Client>,
) -> Result<Facts, CommandError> {
    let published = published_images(store, hierarchy, &tag_values(hierarchy)?).await?;
    Ok(sizes(store, hierarchy, (published, BTreeMap::new()), registries).await?)
}

/// The published images to read: all, or the named ones and their bases.
fn wanted<'f>(
    hierarchy: &'f Hierarchy,
    (facts, named): (&'f Facts, &BTreeSet<NodeName>),
) -> impl Iterator<Item = (&'f NodeName, &'f Digest, &'f MeasuredImage)> {
    let bases = |name: &NodeName| {
        let line = std::iter::successors(hierarchy.get(name), |node| hierarchy.base(node));
        line.map(|node| node.name.clone()).collect::<Vec<_>>()
    };
    let asked: BTreeSet<NodeName> = named.iter().flat_map(bases).collect();
    let is_all = named.is_empty();
    facts.published.iter().filter_map(move |(name, digest)| {
        let image = facts.images.get(digest)?;
        (is_all || asked.contains(name)).then_some((name, digest, image))
    })
}

async fn of_registry(
    hierarchy: &Hierarchy,
    (facts, named): (&Facts, &BTreeSet<NodeName>),
    client: &Client,
    cache: &LayerCache,
) -> Result<ReadLayers, CommandError> {
    let images = wanted(hierarchy, (facts, named)).filter_map(|(name, digest, image)| {
        let repository = hierarchy.get(name)?.repository.clone();
        Some((digest.clone(), (repository, image.clone())))
    });
    Ok(registry_layers(client, &images.collect(), cache).await?)
}

/// The bytes of each layer that was read, by the digest of its tar.
fn layer_bytes(facts: &Facts, read: &ReadLayers) -> BTreeMap<Digest, u64> {
    let layers = read.images.iter().filter_map(|(image, found)| {
        let digests = &facts.images.get(image)?.layers;
        Some(digests.iter().cloned().zip(found.layers.iter().map(|layer| layer.bytes())))
    });
    layers.flatten().collect()
}

/// An image whose layers could not be read is an error, since it may be damaged.
fn unread(facts: &Facts, read: &ReadLayers) -> Result<Exit, CommandError> {
    let problems = facts.published.iter().filter_map(|(name, digest)| {
        let problem = read.problems.get(digest)?;
        Some(format!("`{name}` could not be read: {problem}"))
    });
    let message = problems.collect::<Vec<_>>().join("\n  ");
    if message.is_empty() {
        return Ok(Exit::Done);
    }
    Err(CommandError::new(Exit::RegistryUnreachable, message))
}
