//! Flattens an image that an engine exported: reads its layers into temporary files, and makes the archive that the
//! engine loads.
//!
//! **Invariant:** the temporary files have no names, so that nothing of them stays, however the process ends. A layer
//! that was not read whole is missing.

mod archive;
mod spool;

use std::{
    cell::Cell,
    collections::BTreeMap,
    io::{self, Read, Write},
    rc::Rc,
};

use flate2::{Compression, GzBuilder};
use serde::Deserialize;
use serde_json::Value;

use self::spool::{Spool, SpooledTar};
pub(super) use self::{
    archive::LoadFormat,
    spool::{Interrupt, InterruptGuard, TemporaryFileError},
};
use crate::{
    flatten::{FlatConfig, FlatLayer, FlatListing, FlatTree, flat_config},
    image::{Digest, Hasher},
    layers::{ArchivedFile, Entries, Hashed, each_file, malformed},
};

/// All documents of an archive: configurations, manifests and lists.
const DOCUMENTS: usize = 64 << 20;
const BUFFER: usize = 256 * 1024;

/// Where the content of a file is: which layer of the archive, and the offset in its tar.
#[derive(Clone, Copy, Debug)]
struct SpoolPlace {
    tar: usize,
    offset: u64,
}

/// An image as its engine exported it.
pub(super) struct ExportedImage {
    tars: Vec<SpooledTar>,
    layers: BTreeMap<Digest, (usize, FlatListing<SpoolPlace>)>,
    documents: BTreeMap<String, Vec<u8>>,
}

/// A flattened image, ready to be loaded.
pub(super) struct FlatImage {
    /// The layers that stay, the lowest first: their digests and tars.
    kept: Vec<(Digest, SpooledTar)>,
    /// The digest of the new layer, uncompressed, and its tar.
    layer: (Digest, SpooledTar),
    config: Vec<u8>,
    /// The digests of all layers of the result.
    pub(super) layers: Vec<Digest>,
    /// The manifest of the original, in an archive that has one.
    manifest: Option<Value>,
}

/// What is read of a configuration.
#[derive(Deserialize)]
struct ConfigLayers {
    rootfs: DiffIds,
}

#[derive(Deserialize)]
struct DiffIds {
    diff_ids: Vec<Digest>,
}

impl ExportedImage {
    /// Reads an archive to its end. Blocks.
    pub(super) fn read(archive: impl Read, interrupt: &Interrupt) -> io::Result<Self> {
        let mut read = Self { tars: vec![], layers: BTreeMap::new(), documents: BTreeMap::new() };
        let mut documents = 0;
        each_file(archive, &mut |file| match file {
            ArchivedFile::Layer(tar) => read.layer(tar, interrupt),
            ArchivedFile::Document { path, content } => {
                documents += content.len();
                if documents > DOCUMENTS {
                    return Err(malformed("an archive with more than 64 MiB of documents"));
                }
                read.documents.insert(path, content);
                Ok(())
            }
        })?;
        Ok(read)
    }

    fn layer(&mut self, tar: &mut dyn Read, interrupt: &Interrupt) -> io::Result<()> {
        let number = self.tars.len();
        let mut spool = Spool::new(interrupt)?;
        let position = Rc::new(Cell::new(0));
        let copied = CopiedTar { input: tar, spool: &mut spool, position: Rc::clone(&position) };
        let mut entries = Entries::new(Hashed::new(copied));
        let listing = FlatListing::read(&mut entries, |_| {
            Ok(SpoolPlace { tar: number, offset: position.get() })
        })?;
        // What fills up the last block of the tar belongs to the layer, too.
        let digest = entries.into_rest().finish()?;
        self.tars.push(spool.finish()?);
        self.layers.insert(digest, (number, listing));
        Ok(())
    }

    /// Makes one layer of the layers above the lowest `kept`. `layers` are those of the image.
    pub(super) fn flatten(
        mut self,
        (layers, kept): (&[Digest], usize),
        interrupt: &Interrupt,
    ) -> io::Result<FlatImage> {
        let (config, manifest) = self.describing(layers)?;
        let layer = self.tree((layers, kept))?.into_layer();
        let mut tar = HashedSpool { hasher: Hasher::default(), spool: Spool::new(interrupt)? };
        write_layer(&layer, &self.tars, &mut tar)?;
        let digest = tar.hasher.finish();
        let (config, result) =
            flat_config(&config, FlatConfig { kept, layer: &digest }).map_err(malformed)?;
        let mut below = Vec::new();
        for digest in &layers[..kept] {
            below.push((digest.clone(), self.tars[self.layers[digest].0].again()?));
        }
        Ok(FlatImage {
            kept: below,
            layer: (digest, tar.spool.finish()?),
            config,
            layers: result,
            manifest,
        })
    }

    fn tree(&mut self, (layers, kept): (&[Digest], usize)) -> io::Result<FlatTree<SpoolPlace>> {
        let mut tree = FlatTree::default();
        for (number, digest) in layers.iter().enumerate() {
            if number == kept {
                tree.begin_own();
            }
            let missing = || malformed(format!("an archive that lacks the layer {digest}"));
            let (_, listing) = self.layers.get(digest).ok_or_else(missing)?;
            tree.add(listing.clone())?;
        }
        Ok(tree)
    }

    /// The configuration of the image with these layers, and its manifest if the archive has one.
    fn describing(&self, layers: &[Digest]) -> io::Result<(Vec<u8>, Option<Value>)> {
        let is_config = |content: &&Vec<u8>| {
            serde_json::from_slice::<ConfigLayers>(content)
                .is_ok_and(|config| config.rootfs.diff_ids == layers)
        };
        let config = self.documents.values().find(is_config);
        let config =
            config.ok_or_else(|| malformed("an archive without the image's configuration"))?;
        let digest = Digest::of(config);
        let manifests = self.documents.values();
        let manifest = manifests
            .filter_map(|text| serde_json::from_slice::<Value>(text).ok())
            .find(|manifest| {
                manifest["config"]["digest"] == *digest.as_str()
                    && manifest["layers"].as_array().is_some_and(|all| all.len() == layers.len())
            });
        Ok((config.clone(), manifest))
    }
}

fn write_layer(
    layer: &FlatLayer<SpoolPlace>,
    tars: &[SpooledTar],
    out: &mut HashedSpool<'_>,
) -> io::Result<()> {
    layer.write(out, |place, (offset, size), out| {
        tars[place.tar].copy(place.offset + offset, size, out)
    })
}

/// The bytes of a tar, compressed in the same way each time: without a name and without a time.
fn gzipped(tar: &SpooledTar, interrupt: &Interrupt) -> io::Result<(Digest, SpooledTar)> {
    let spool = HashedSpool { hasher: Hasher::default(), spool: Spool::new(interrupt)? };
    let mut gzip = GzBuilder::new().mtime(0).write(spool, Compression::default());
    tar.copy(0, tar.size(), &mut gzip)?;
    let spool = gzip.finish()?;
    Ok((spool.hasher.finish(), spool.spool.finish()?))
}

/// Copies what is read of a tar to a temporary file.
struct CopiedTar<'a, 's> {
    input: &'a mut dyn Read,
    spool: &'a mut Spool<'s>,
    /// The number of bytes that were read.
    position: Rc<Cell<u64>>,
}

impl Read for CopiedTar<'_, '_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.input.read(buffer)?;
        self.spool.write_all(&buffer[..read])?;
        self.position.set(self.position.get() + read as u64);
        Ok(read)
    }
}

/// A temporary file, and the digest of what is written to it.
struct HashedSpool<'s> {
    hasher: Hasher,
    spool: Spool<'s>,
}

impl Write for HashedSpool<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.spool.write_all(bytes)?;
        self.hasher.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.spool.flush()
    }
}
