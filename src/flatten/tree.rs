//! The files that a stack of layers makes.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    ops::Bound::{Excluded, Unbounded},
    sync::Arc,
};

use super::{
    layer::{FlatEntry, FlatItem, FlatLayer},
    listing::{FlatChange, FlatFile, FlatListing},
};
use crate::layers::{EntryEffect, malformed};

/// Layers, one on top of the other.
///
/// The layers that are added after [`begin_own`](Self::begin_own) become one: what they add to the others, which
/// stay as they are.
#[derive(Debug)]
pub struct FlatTree<C> {
    entries: BTreeMap<Vec<u8>, TreeNode<C>>,
    /// The paths of the layers that stay.
    kept: BTreeSet<Vec<u8>>,
    is_own: bool,
}

#[derive(Debug)]
struct TreeNode<C> {
    file: Arc<FlatFile<C>>,
    is_own: bool,
}

impl<C> Default for FlatTree<C> {
    fn default() -> Self {
        Self { entries: BTreeMap::new(), kept: BTreeSet::new(), is_own: false }
    }
}

impl<C> FlatTree<C> {
    /// From here on, layers become one.
    pub fn begin_own(&mut self) {
        self.is_own = true;
        self.kept = self.entries.keys().cloned().collect();
    }

    /// Puts a layer on top. What it deletes is in the layers below, wherever in its tar the whiteout is.
    pub fn add(&mut self, layer: FlatListing<C>) -> io::Result<()> {
        for change in &layer.0 {
            match change {
                FlatChange::Effect(EntryEffect::Whiteout { path }) => {
                    self.entries.remove(path);
                    self.remove_below(path);
                }
                FlatChange::Effect(EntryEffect::Opaque { folder }) => self.remove_below(folder),
                _ => {}
            }
        }
        for change in layer.0 {
            match change {
                FlatChange::Put(path, file) => self.put(&path, file)?,
                FlatChange::Effect(EntryEffect::HardLink { path, target }) => {
                    let found = self.entries.get(&target).filter(|node| !node.file.is_folder());
                    let file = found.map(|node| Arc::clone(&node.file)).ok_or_else(|| {
                        let (path, target) = (path.escape_ascii(), target.escape_ascii());
                        malformed(format!("`{path}`, a link to `{target}`, which is not a file"))
                    })?;
                    self.put(&path, file)?;
                }
                FlatChange::Effect(_) => {}
            }
        }
        Ok(())
    }

    fn put(&mut self, path: &[u8], file: Arc<FlatFile<C>>) -> io::Result<()> {
        let is_folder = file.is_folder();
        if path.is_empty() && !is_folder {
            return Err(malformed("a root that is not a folder"));
        }
        self.imply_parents(path);
        let node = TreeNode { file, is_own: self.is_own };
        let before = self.entries.insert(path.to_vec(), node);
        // The content of a folder stays if it is still a folder.
        if !is_folder && before.is_some_and(|node| node.file.is_folder()) {
            self.remove_below(path);
        }
        Ok(())
    }

    /// Every folder of a path exists, also if no layer describes it. An engine replaces anything else there.
    fn imply_parents(&mut self, path: &[u8]) {
        let mut end = path.len();
        while let Some(slash) = path[..end].iter().rposition(|byte| *byte == b'/') {
            end = slash;
            let folder = &path[..end];
            if self.entries.get(folder).is_some_and(|node| node.file.is_folder()) {
                return;
            }
            let node = TreeNode { file: Arc::new(FlatFile::folder()), is_own: self.is_own };
            self.entries.insert(folder.to_vec(), node);
        }
    }

    fn remove_below(&mut self, folder: &[u8]) {
        let prefix = below(folder);
        let below = self.entries.range::<[u8], _>((Excluded(&prefix[..]), Unbounded));
        let below = below.map(|(path, _)| path).take_while(|path| path.starts_with(&prefix));
        for path in below.cloned().collect::<Vec<_>>() {
            self.entries.remove(&path);
        }
    }

    fn is_folder(&self, path: &[u8]) -> bool {
        path.is_empty() || self.entries.get(path).is_some_and(|node| node.file.is_folder())
    }

    /// The one layer that has the effect of all own layers.
    pub fn into_layer(self) -> FlatLayer<C> {
        let mut entries: Vec<(Vec<u8>, FlatEntry<C>)> = Vec::new();
        for (folder, paths) in self.deleted() {
            if paths.len() > 1 && self.is_replaced(folder) {
                entries.push((below(folder), (folder.to_vec(), FlatItem::Opaque)));
            } else {
                let each = paths
                    .into_iter()
                    .map(|path| (path.clone(), (path.clone(), FlatItem::Whiteout)));
                entries.extend(each);
            }
        }
        for (path, node) in self.entries {
            if node.is_own {
                entries.push((path.clone(), (path, FlatItem::File(node.file))));
            }
        }
        // A folder is before its whiteouts and its content.
        entries.sort_by(|one, other| one.0.cmp(&other.0));
        FlatLayer::new(entries.into_iter().map(|(_, entry)| entry).collect())
    }

    /// What the kept layers have and the whole does not have, by folder. If a folder is deleted, only the folder.
    fn deleted(&self) -> BTreeMap<&[u8], Vec<&Vec<u8>>> {
        let mut deleted: BTreeMap<&[u8], Vec<&Vec<u8>>> = BTreeMap::new();
        for path in self.kept.iter().filter(|path| !self.entries.contains_key(*path)) {
            let folder =
                path.iter().rposition(|byte| *byte == b'/').map_or(&b""[..], |at| &path[..at]);
            if self.is_folder(folder) {
                deleted.entry(folder).or_default().push(path);
            }
        }
        deleted
    }

    /// Whether a folder has its own entry, and nothing in it is of the layers that stay.
    fn is_replaced(&self, folder: &[u8]) -> bool {
        let prefix = below(folder);
        let below = self.entries.range::<[u8], _>((Excluded(&prefix[..]), Unbounded));
        let mut below = below.take_while(|(path, _)| path.starts_with(&prefix));
        self.entries.get(folder).is_some_and(|node| node.is_own)
            && below.all(|(_, node)| node.is_own)
    }

    /// What is at each path.
    #[cfg(test)]
    pub(super) fn files(&self) -> BTreeMap<Vec<u8>, Arc<FlatFile<C>>> {
        let files = self.entries.iter();
        files.map(|(path, node)| (path.clone(), Arc::clone(&node.file))).collect()
    }
}

/// What the paths in a folder begin with.
fn below(folder: &[u8]) -> Vec<u8> {
    if folder.is_empty() { Vec::new() } else { [folder, b"/"].concat() }
}
