//! What flattening an image would change: `rebuild size --what-if`, and what `rebuild plan` says of it.

use std::collections::BTreeMap;

use super::error::CommandError;
use crate::{
    commands::cli::WhatIf,
    exit::Exit,
    flatten::{FlatLayerRead, FlatSizes, measure_flat},
    hierarchy::{Flatten, Hierarchy, NodeName},
    image::{Digest, Repository},
    run::state::StateFolder,
    size::{
        Blob, Facts, FlattenForecast, NoForecast, ReplacedLayers, flatten_forecast, replaced_layers,
    },
};

/// The file of sizes that were computed from layers, by the layers.
const KEPT: &str = "flat-sizes";
/// The largest number of entries in the file.
const MOST: usize = 2000;

/// The sizes of layers that were read once. Layers never change.
pub(super) struct KnownSizes {
    state: StateFolder,
    known: BTreeMap<String, FlatSizes>,
}

impl KnownSizes {
    pub(super) fn of(hierarchy: &Hierarchy) -> Self {
        let state = StateFolder::of(&hierarchy.file);
        let known = serde_json::from_slice(&state.recall(KEPT)).unwrap_or_default();
        Self { state, known }
    }

    fn get(&self, replaced: &ReplacedLayers<'_>) -> Option<&FlatSizes> {
        self.known.get(&key(replaced))
    }

    fn keep(&mut self, replaced: &ReplacedLayers<'_>, sizes: FlatSizes) {
        if self.known.len() >= MOST {
            self.known.clear();
        }
        self.known.insert(key(replaced), sizes);
        self.state.keep(KEPT, &serde_json::to_vec(&self.known).unwrap_or_default());
    }
}

fn key(replaced: &ReplacedLayers<'_>) -> String {
    Digest::of(format!("{} {:?}", replaced.kept, replaced.layers).as_bytes()).hex().to_owned()
}

/// Answers the question, with `read` for layers that were never read. It gets the published image, and its layers in a registry.
pub(super) async fn what_if<F>(
    hierarchy: &Hierarchy,
    facts: &Facts,
    change: &WhatIf,
    read: impl FnOnce(Repository, Digest, Vec<Blob>) -> F,
) -> Result<FlattenForecast, CommandError>
where
    F: Future<Output = Result<BTreeMap<Digest, FlatLayerRead>, CommandError>>,
{
    let usage = |message: String| CommandError::new(Exit::Usage, message);
    let named = hierarchy.named(&change.node).unwrap_or_default();
    let node = match named[..] {
        [name] => hierarchy.get(name),
        _ => None,
    };
    let missing = || usage(format!("no image of this hierarchy is named `{}`", change.node));
    let node = node.ok_or_else(missing)?;
    let name = node.name.clone();
    if change.flatten == Flatten::Own && node.base().is_none() {
        return Err(usage(format!("`{name}` has no parent in this hierarchy")));
    }
    let refused = |why: NoForecast| match why {
        NoForecast::NotPublished => usage(format!("`{name}` is not published")),
        NoForecast::UnknownBase => usage(format!("the image that `{name}` is based on is unknown")),
        NoForecast::IsFlat => usage(format!("`{name}` has fewer than two layers to flatten")),
    };
    let replaced = replaced_layers(facts, (&name, change.flatten)).map_err(refused)?;
    let mut known = KnownSizes::of(hierarchy);
    if known.get(&replaced).is_none() {
        let image = facts.published[&name].clone();
        let blobs = replaced.blobs.unwrap_or_default().to_vec();
        let layers = read(node.repository.clone(), image, blobs).await?;
        known.keep(&replaced, measured(&layers, &replaced)?);
    }
    let sizes = known.get(&replaced);
    flatten_forecast(hierarchy, facts, (&name, change.flatten, sizes)).map_err(refused)
}

fn measured(
    layers: &BTreeMap<Digest, FlatLayerRead>,
    replaced: &ReplacedLayers<'_>,
) -> Result<FlatSizes, CommandError> {
    let failed = |message: String| CommandError::new(Exit::Internal, message);
    let layer = |digest: &Digest| {
        layers.get(digest).ok_or_else(|| failed(format!("the layer {digest} is missing")))
    };
    let stack: Vec<&FlatLayerRead> = replaced.layers.iter().map(layer).collect::<Result<_, _>>()?;
    measure_flat(&stack, replaced.kept).map_err(|error| failed(error.to_string()))
}

/// What a run would save and cost by the images that it flattens for the first time.
pub(super) fn forecasts(
    hierarchy: &Hierarchy,
    facts: &Facts,
    nodes: &[&NodeName],
) -> Vec<FlattenForecast> {
    let known = KnownSizes::of(hierarchy);
    let forecast = |name: &&NodeName| {
        let flatten = hierarchy.get(name)?.flatten;
        let replaced = match replaced_layers(facts, (name, flatten)) {
            Ok(replaced) => replaced,
            Err(NoForecast::NotPublished) => {
                return Some(FlattenForecast::unknown((*name).clone(), flatten));
            }
            Err(NoForecast::UnknownBase | NoForecast::IsFlat) => return None,
        };
        flatten_forecast(hierarchy, facts, (name, flatten, known.get(&replaced))).ok()
    };
    nodes.iter().filter_map(forecast).collect()
}
