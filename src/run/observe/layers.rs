//! Reads the layers of images, each once: later commands find them in the cache.
//!
//! Memory is bounded by the number of files, not by their content: a layer is indexed while it comes.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::{self, Read},
    sync::Arc,
};

use bytes::{Buf as _, Bytes};
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use serde::Deserialize;
use tokio::sync::mpsc;

use super::DESCRIBED_AT_ONCE;
use crate::{
    engine::{Engine, EngineError},
    flatten::FlatLayerRead,
    image::{Digest, Repository},
    layers::{ArchivedFile, Hashed, decompress, each_file, malformed},
    registry::{Client, RegistryError},
    run::state::LayerCache,
    size::{Blob, MeasuredImage},
    waste::{HistoryEntry, ImageLayers, LayerIndex, history},
};

/// How many images are exported in one archive. The engine needs disk space for all of their layers.
const EXPORTED_AT_ONCE: usize = 8;
/// How many layers are read from a registry at once: each takes one processor.
const READ_AT_ONCE: usize = 2;
/// How often a transfer that was cut is begun.
const ATTEMPTS: usize = 3;
/// Pieces of a transfer in memory, some 400 KiB each at most.
const IN_FLIGHT: usize = 16;

/// The layers of images, as far as they could be read.
#[derive(Debug, Default)]
pub struct ReadLayers {
    pub images: BTreeMap<Digest, ImageLayers>,
    /// Why the layers of other images could not be read.
    pub problems: BTreeMap<Digest, String>,
    /// Number of layers that were not in the cache.
    pub read: usize,
}

/// Layers by digest.
type Known = BTreeMap<Digest, Arc<LayerIndex>>;

/// The layers of images of an engine, given as IDs with the digests of their uncompressed layers. Exports only
/// images with a layer that is not in the cache.
pub async fn engine_layers<E: Engine>(
    engine: &E,
    images: &BTreeMap<Digest, Vec<Digest>>,
    cache: &LayerCache,
) -> Result<ReadLayers, EngineError> {
    let all: BTreeSet<&Digest> = images.values().flatten().collect();
    let cached = |layer: &Digest| Some((layer.clone(), Arc::new(cache.layer(layer)?)));
    let mut known: Known = all.into_iter().filter_map(cached).collect();
    let cached = known.len();
    let mut histories: BTreeMap<&Digest, Vec<HistoryEntry>> = BTreeMap::new();
    histories.extend(images.keys().filter_map(|image| Some((image, cache.history(image)?))));
    // Images with the most layers first: their bases are then known.
    let mut open: Vec<(&Digest, &Vec<Digest>)> = images.iter().collect();
    open.sort_by_key(|(_, layers)| std::cmp::Reverse(layers.len()));
    while !open.is_empty() {
        open.retain(|(image, layers)| {
            let is_known = layers.iter().all(|layer| known.contains_key(layer));
            !is_known || !histories.contains_key(image)
        });
        let some: Vec<(&Digest, &Vec<Digest>)> =
            open.drain(..EXPORTED_AT_ONCE.min(open.len())).collect();
        if some.is_empty() {
            break;
        }
        let names = some.iter().map(|(image, _)| (*image).clone()).collect();
        let keep = cache.clone();
        let (layers, configs) =
            engine.export(names, move |archive| read_archive(archive, &keep)).await?;
        known.extend(layers);
        for (image, layers) in some {
            let is_it = |config: &&ExportedConfig| config.digest == *image;
            // The ID of an image in containerd's store is not the digest of its configuration.
            let found = configs.iter().find(is_it);
            let found = found.or_else(|| configs.iter().find(|it| it.layers == *layers));
            let history = found.map(|config| config.history.clone()).unwrap_or_default();
            cache.keep_history(image, &history);
            histories.insert(image, history);
        }
    }
    let mut found = ReadLayers { read: known.len() - cached, ..ReadLayers::default() };
    for (image, digests) in images {
        let history = histories.remove(image).unwrap_or_default();
        found.put(image, digests.iter().map(|layer| (layer, known.get(layer).cloned())), history);
    }
    Ok(found)
}

/// The part of a configuration that says what an image consists of.
struct ExportedConfig {
    digest: Digest,
    layers: Vec<Digest>,
    history: Vec<HistoryEntry>,
}

impl ExportedConfig {
    fn of(document: &[u8]) -> Option<Self> {
        #[derive(Deserialize)]
        struct ConfigDocument {
            rootfs: DocumentRootFs,
        }
        #[derive(Deserialize)]
        struct DocumentRootFs {
            diff_ids: Vec<Digest>,
        }
        let read: ConfigDocument = serde_json::from_slice(document).ok()?;
        let (layers, history) = (read.rootfs.diff_ids, history(document));
        Some(Self { digest: Digest::of(document), layers, history })
    }
}

fn read_archive(
    archive: &mut dyn Read,
    cache: &LayerCache,
) -> io::Result<(Known, Vec<ExportedConfig>)> {
    let (mut layers, mut configs) = (Known::new(), Vec::new());
    each_file(archive, &mut |file| {
        match file {
            ArchivedFile::Layer(tar) => {
                let mut tar = Hashed::new(tar);
                let layer = LayerIndex::read(&mut tar)?;
                let digest = tar.finish()?;
                cache.keep_layer(&digest, &layer);
                layers.insert(digest, Arc::new(layer));
            }
            // `HEX.json` or `blobs/sha256/HEX`.
            ArchivedFile::Document { path, content } if path != "manifest.json" => {
                configs.extend(ExportedConfig::of(&content));
            }
            ArchivedFile::Document { .. } => {}
        }
        Ok(())
    })?;
    Ok((layers, configs))
}

/// The layers of images in registries, by the digests of the images. Reads each layer that is not in the cache.
pub async fn registry_layers(
    client: &Client,
    images: &BTreeMap<Digest, (Repository, MeasuredImage)>,
    cache: &LayerCache,
) -> Result<ReadLayers, RegistryError> {
    let blobs: BTreeMap<&Digest, (&Repository, &Blob)> = images
        .values()
        .filter_map(|(repository, image)| Some((repository, &image.stored.as_ref()?.0)))
        .flat_map(|(repository, blobs)| {
            blobs.iter().map(move |blob| (&blob.digest, (repository, blob)))
        })
        .collect();
    let layers: Vec<(&Digest, FoundLayer)> = stream::iter(blobs)
        .map(async |(digest, (repository, blob))| {
            Ok::<_, RegistryError>((digest, layer(client, (repository, blob), cache).await?))
        })
        .buffer_unordered(READ_AT_ONCE)
        .try_collect()
        .await?;
    let histories: BTreeMap<&Digest, Vec<HistoryEntry>> = stream::iter(images)
        .map(async |(digest, (repository, _))| {
            Ok::<_, RegistryError>((digest, history_of(client, (repository, digest), cache).await?))
        })
        .buffer_unordered(DESCRIBED_AT_ONCE)
        .try_collect()
        .await?;
    let mut found = ReadLayers::default();
    let mut known = Known::new();
    let mut problems: BTreeMap<&Digest, String> = BTreeMap::new();
    for (digest, layer) in layers {
        match layer {
            FoundLayer::Cached(index) => _ = known.insert(digest.clone(), Arc::new(index)),
            FoundLayer::Read(index) => {
                found.read += 1;
                known.insert(digest.clone(), Arc::new(index));
            }
            FoundLayer::Unreadable(problem) => _ = problems.insert(digest, problem),
        }
    }
    for (image, (_, measured)) in images {
        let Some((blobs, _)) = &measured.stored else {
            let problem = "its manifest names other layers than its configuration".to_owned();
            found.problems.insert(image.clone(), problem);
            continue;
        };
        let history = histories.get(image).cloned().unwrap_or_default();
        found.put(
            image,
            blobs.iter().map(|blob| (&blob.digest, known.get(&blob.digest).cloned())),
            history,
        );
        if let Some(problem) = blobs.iter().find_map(|blob| problems.get(&blob.digest)) {
            found.problems.insert(image.clone(), problem.clone());
        }
    }
    Ok(found)
}

impl ReadLayers {
    fn put<'l>(
        &mut self,
        image: &Digest,
        layers: impl Iterator<Item = (&'l Digest, Option<Arc<LayerIndex>>)>,
        history: Vec<HistoryEntry>,
    ) {
        let all = layers.map(|(digest, layer)| layer.ok_or(digest));
        match all.collect::<Result<Vec<_>, _>>() {
            Ok(layers) => _ = self.images.insert(image.clone(), ImageLayers { layers, history }),
            Err(digest) => {
                let problem = format!("the layer {} is missing", digest.short());
                self.problems.insert(image.clone(), problem);
            }
        }
    }
}

enum FoundLayer {
    Cached(LayerIndex),
    Read(LayerIndex),
    Unreadable(String),
}

async fn layer(
    client: &Client,
    (repository, blob): (&Repository, &Blob),
    cache: &LayerCache,
) -> Result<FoundLayer, RegistryError> {
    if let Some(layer) = cache.layer(&blob.digest) {
        return Ok(FoundLayer::Cached(layer));
    }
    Ok(match read_layer(client, (repository, blob), |tar| LayerIndex::read(tar)).await? {
        Ok(layer) => {
            cache.keep_layer(&blob.digest, &layer);
            FoundLayer::Read(layer)
        }
        Err(problem) => FoundLayer::Unreadable(problem),
    })
}

/// Reads a layer of a registry while it comes. A sentence, if the registry has it differently or not at all.
async fn read_layer<T: Send + 'static>(
    client: &Client,
    (repository, blob): (&Repository, &Blob),
    read: fn(&mut dyn Read) -> io::Result<T>,
) -> Result<Result<T, String>, RegistryError> {
    let short = blob.digest.short();
    // <https://github.com/opencontainers/image-spec/blob/v1.1.0/layer.md#non-distributable-layers>
    if ["foreign", "nondistributable"].iter().any(|word| blob.media_type.contains(word)) {
        return Ok(Err(format!(
            "the layer {short} is of the type `{}`, which registries do not store",
            blob.media_type
        )));
    }
    for attempt in 1.. {
        let (sender, receiver) = mpsc::channel(IN_FLIGHT);
        let digest = blob.digest.clone();
        let reading = tokio::task::spawn_blocking(move || {
            read_blob((PieceReader { receiver, rest: Bytes::new() }, &digest), read)
        });
        let sending = client.stream_blob(repository, &blob.digest, sender);
        match tokio::join!(sending, reading) {
            (Ok(true), Ok(Ok(layer))) => return Ok(Ok(layer)),
            (Ok(true), Ok(Err(error))) => {
                return Ok(Err(format!("the layer {short} is damaged: {error}")));
            }
            (Ok(true), Err(lost)) => return Ok(Err(lost.to_string())),
            (Ok(false), _) => {
                return Ok(Err(format!("the layer {short} is not in `{repository}`")));
            }
            (Err(RegistryError::Unreachable { .. }), _) if attempt < ATTEMPTS => {}
            (Err(error), _) => return Err(error),
        }
    }
    unreachable!("the last attempt returns")
}

fn read_blob<T>(
    (blob, expected): (impl Read, &Digest),
    read: fn(&mut dyn Read) -> io::Result<T>,
) -> io::Result<T> {
    let mut tar = decompress(Hashed::new(blob))?;
    let layer = read(&mut tar)?;
    let digest = tar.into_inner().finish()?;
    if digest == *expected {
        return Ok(layer);
    }
    Err(malformed(format!("its digest is {}", digest.short())))
}

/// The layers of an image in a registry by their digests, for the size of a layer that replaces them. A sentence, if
/// the registry has one of them differently or not at all.
pub async fn flat_layers(
    client: &Client,
    repository: &Repository,
    blobs: &[Blob],
) -> Result<Result<BTreeMap<Digest, FlatLayerRead>, String>, RegistryError> {
    let read = stream::iter(blobs)
        .map(|blob| read_layer(client, (repository, blob), |tar| FlatLayerRead::new(tar)))
        .buffer_unordered(READ_AT_ONCE)
        .try_collect::<Vec<_>>()
        .await?;
    let named = |layer: Result<FlatLayerRead, _>| layer.map(|it| (it.digest.clone(), it));
    Ok(read.into_iter().map(named).collect())
}

/// Reads what is received. Blocks.
struct PieceReader {
    receiver: mpsc::Receiver<Bytes>,
    rest: Bytes,
}

impl Read for PieceReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.rest.is_empty() {
            match self.receiver.blocking_recv() {
                Some(piece) => self.rest = piece,
                None => return Ok(0),
            }
        }
        let taken = buffer.len().min(self.rest.len());
        self.rest.split_to(taken).copy_to_slice(&mut buffer[..taken]);
        Ok(taken)
    }
}

async fn history_of(
    client: &Client,
    (repository, image): (&Repository, &Digest),
    cache: &LayerCache,
) -> Result<Vec<HistoryEntry>, RegistryError> {
    #[derive(Deserialize)]
    struct ConfigOfManifest {
        config: Blob,
    }
    if let Some(history) = cache.history(image) {
        return Ok(history);
    }
    let manifest = client.manifest(repository, image.as_str()).await?;
    let config = manifest
        .and_then(|manifest| serde_json::from_slice::<ConfigOfManifest>(&manifest.bytes).ok());
    let Some(ConfigOfManifest { config }) = config else { return Ok(Vec::new()) };
    let found = client.blob(repository, &config.digest).await?;
    let history = found.map(|config| history(&config)).unwrap_or_default();
    cache.keep_history(image, &history);
    Ok(history)
}
