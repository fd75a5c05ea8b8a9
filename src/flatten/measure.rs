//! How large a layer would be that replaces others: the same computation as when it is made, without the content.

use std::{
    cell::Cell,
    collections::BTreeMap,
    io::{self, Read},
    rc::Rc,
};

use serde::{Deserialize, Serialize};

use super::{listing::FlatListing, tree::FlatTree};
use crate::{
    image::Digest,
    layers::{ArchivedFile, Entries, Hashed, each_file},
};

/// Bytes of uncompressed layer tars.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FlatSizes {
    /// Of every layer of the image, the lowest first.
    pub layers: Vec<u64>,
    /// Of the one layer that replaces those above the kept ones.
    pub flat: u64,
}

/// A layer that was read once.
pub struct FlatLayerRead {
    /// Of the uncompressed tar.
    pub digest: Digest,
    size: u64,
    listing: FlatListing<()>,
}

impl FlatLayerRead {
    /// Reads an uncompressed tar to its end. Blocks.
    pub fn new(tar: impl Read) -> io::Result<Self> {
        let size = Rc::new(Cell::new(0));
        let counted = CountedTar { input: tar, size: Rc::clone(&size) };
        let mut entries = Entries::new(Hashed::new(counted));
        let listing = FlatListing::read(&mut entries, |_| Ok(()))?;
        let digest = entries.into_rest().finish()?;
        Ok(Self { digest, size: size.get(), listing })
    }
}

/// Reads the layers of an archive that an engine exported, by their digests. Blocks.
pub fn read_flat_layers(archive: impl Read) -> io::Result<BTreeMap<Digest, FlatLayerRead>> {
    let mut layers = BTreeMap::new();
    each_file(archive, &mut |file| {
        if let ArchivedFile::Layer(tar) = file {
            let layer = FlatLayerRead::new(tar)?;
            layers.insert(layer.digest.clone(), layer);
        }
        Ok(())
    })?;
    Ok(layers)
}

/// Measures what the layers above the lowest `kept` would become.
pub fn measure_flat(layers: &[&FlatLayerRead], kept: usize) -> io::Result<FlatSizes> {
    let mut tree = FlatTree::default();
    for (number, layer) in layers.iter().enumerate() {
        if number == kept {
            tree.begin_own();
        }
        tree.add(layer.listing.clone())?;
    }
    let sizes = layers.iter().map(|layer| layer.size).collect();
    Ok(FlatSizes { layers: sizes, flat: tree.into_layer().size() })
}

struct CountedTar<R> {
    input: R,
    size: Rc<Cell<u64>>,
}

impl<R: Read> Read for CountedTar<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.input.read(buffer)?;
        self.size.set(self.size.get() + read as u64);
        Ok(read)
    }
}
