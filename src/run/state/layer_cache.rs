//! Caches the files of layers, and the histories of images, by digest: `rebuild waste` reads each layer once.

use std::{
    collections::BTreeMap,
    fs, io,
    time::{Duration, SystemTime},
};

use super::StateFolder;
use crate::{
    image::Digest,
    waste::{HistoryEntry, LayerIndex, decode, encode},
};

/// A file without use for this time belongs to a layer that no image has any longer.
const KEPT: Duration = Duration::from_secs(30 * 24 * 60 * 60);
/// A file that was used is marked at most once in this time.
const MARKED: Duration = Duration::from_secs(24 * 60 * 60);

/// The folder of these files: about 50 bytes for each file of a layer.
#[derive(Clone, Debug)]
pub struct LayerCache(StateFolder);

impl StateFolder {
    /// The cache of the layers of this hierarchy's images.
    pub fn layers(&self) -> LayerCache {
        LayerCache(Self { root: self.root.join("layers") })
    }
}

/// The file of the bytes of the files in each layer, by the digest of its tar. `rebuild size` needs no more.
const SIZES: &str = "sizes";
/// Layers in it. More are forgotten, as 5 MB would be slower than `rebuild size` should be.
const MOST_SIZES: usize = 50_000;

impl LayerCache {
    /// The bytes of layers that were read once, by the digests of their tars.
    pub fn sizes(&self) -> BTreeMap<Digest, u64> {
        serde_json::from_slice(&self.recall(SIZES)).unwrap_or_default()
    }

    pub fn keep_sizes(&self, new: BTreeMap<Digest, u64>) {
        let mut sizes = self.sizes();
        if new.iter().all(|(digest, bytes)| sizes.get(digest) == Some(bytes)) {
            return;
        }
        if sizes.len() + new.len() > MOST_SIZES {
            sizes.clear();
        }
        sizes.extend(new);
        if let Ok(text) = serde_json::to_vec(&sizes) {
            self.0.keep(SIZES, &text);
        }
    }

    #[cfg(test)]
    pub(crate) fn at(root: std::path::PathBuf) -> Self {
        Self(StateFolder { root })
    }

    /// A layer by a digest that was checked: that of the tar, or that of its compressed bytes.
    pub fn layer(&self, digest: &Digest) -> Option<LayerIndex> {
        decode(&self.recall(digest.hex()))
    }

    pub fn keep_layer(&self, digest: &Digest, layer: &LayerIndex) {
        self.0.keep(digest.hex(), &encode(layer));
    }

    /// The history of an image.
    pub fn history(&self, image: &Digest) -> Option<Vec<HistoryEntry>> {
        serde_json::from_slice(&self.recall(&history_name(image))).ok()
    }

    pub fn keep_history(&self, image: &Digest, history: &[HistoryEntry]) {
        if let Ok(text) = serde_json::to_vec(history) {
            self.0.keep(&history_name(image), &text);
        }
    }

    /// Removes files that were not used for 30 days.
    pub fn forget_unused(&self) {
        let Ok(entries) = fs::read_dir(&self.0.root) else { return };
        for entry in entries.flatten() {
            if age(&entry.metadata()).is_some_and(|age| age > KEPT) {
                _ = fs::remove_file(entry.path());
            }
        }
    }

    fn recall(&self, name: &str) -> Vec<u8> {
        let bytes = self.0.recall(name);
        let path = self.0.root.join(name);
        if !bytes.is_empty() && age(&path.symlink_metadata()).is_some_and(|age| age > MARKED) {
            let mark = fs::File::options().append(true).open(path);
            _ = mark.and_then(|file| file.set_modified(SystemTime::now()));
        }
        bytes
    }
}

fn history_name(image: &Digest) -> String {
    format!("image-{}", image.hex())
}

fn age(found: &io::Result<fs::Metadata>) -> Option<Duration> {
    found.as_ref().ok()?.modified().ok()?.elapsed().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unused_files_are_removed() {
        let folder = tempfile::TempDir::new().unwrap();
        let cache = LayerCache::at(folder.path().to_owned());
        let layers = [Digest::of(b"old"), Digest::of(b"used")];
        for layer in &layers {
            cache.keep_layer(layer, &LayerIndex::default());
            let file = fs::File::options().append(true).open(folder.path().join(layer.hex()));
            file.unwrap().set_modified(SystemTime::now() - 2 * KEPT).unwrap();
        }
        assert_eq!(cache.layer(&layers[1]), Some(LayerIndex::default()));
        cache.forget_unused();
        assert_eq!(layers.map(|layer| cache.layer(&layer).is_some()), [false, true]);
        let history = vec![HistoryEntry { created_by: "RUN x".to_owned(), empty_layer: false }];
        cache.keep_history(&Digest::of(b"image"), &history);
        assert_eq!(cache.history(&Digest::of(b"image")), Some(history));
        assert_eq!(cache.history(&Digest::of(b"another")), None);
        for bytes in [1, 2] {
            cache.keep_sizes([(Digest::of(b"old"), bytes)].into());
        }
        cache.keep_sizes([(Digest::of(b"used"), 3)].into());
        assert_eq!(cache.sizes().into_values().collect::<Vec<_>>().len(), 2);
        assert_eq!(cache.sizes()[&Digest::of(b"old")], 2);
    }
}
