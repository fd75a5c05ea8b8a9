//! The layers of an image, one on top of the other.

use std::{
    collections::BTreeMap,
    io,
    ops::Bound::{Excluded, Unbounded},
    sync::LazyLock,
};

use super::{
    Stack,
    archive::Layers,
    entry::{FileKind, Rights, TreeEntry},
    layer::{LayerChange, LayerChanges},
};
use crate::layers::malformed;

/// What the root is unless a layer says so, which few do.
static ROOT: LazyLock<TreeEntry> = LazyLock::new(|| TreeEntry {
    kind: FileKind::Folder,
    rights: Rights { mode: 0o755, user: 0, group: 0, attributes: BTreeMap::new() },
});

/// What a container of an image sees, by path.
#[derive(Debug)]
pub(super) struct Tree<'a>(pub(super) BTreeMap<&'a [u8], &'a TreeEntry>);

impl<'a> Tree<'a> {
    pub(super) fn of(stack: &Stack, layers: &'a Layers) -> io::Result<Self> {
        let mut tree = Self(BTreeMap::from([(&b""[..], &*ROOT)]));
        for digest in stack {
            tree.add(layers.get(digest)?)?;
        }
        Ok(tree)
    }

    /// Puts a layer on top. What it takes away is always something below, wherever in the layer that
    /// is said.
    fn add(&mut self, layer: &'a LayerChanges) -> io::Result<()> {
        for (path, change) in &layer.changes {
            match change {
                LayerChange::Whiteout => self.remove(path),
                LayerChange::Opaque => self.remove_below(path),
                LayerChange::Put(_) | LayerChange::Same(_) => {}
            }
        }
        for (path, change) in &layer.changes {
            match change {
                LayerChange::Put(entry) => self.put(path, entry),
                LayerChange::Same(target) => {
                    let entry = *self.0.get(&target[..]).ok_or_else(|| {
                        let (path, target) = (path.escape_ascii(), target.escape_ascii());
                        malformed(format!("`{path}`, a link to `{target}`, which is not there"))
                    })?;
                    self.put(path, entry);
                }
                LayerChange::Whiteout | LayerChange::Opaque => {}
            }
        }
        Ok(())
    }

    fn put(&mut self, path: &'a [u8], entry: &'a TreeEntry) {
        let before = self.0.insert(path, entry);
        // What is in a folder stays if it is a folder still. Something else has nothing in it.
        if entry.kind != FileKind::Folder
            && before.is_some_and(|entry| entry.kind == FileKind::Folder)
        {
            self.remove_below(path);
        }
    }

    fn remove(&mut self, path: &[u8]) {
        self.0.remove(path);
        self.remove_below(path);
    }

    fn remove_below(&mut self, folder: &[u8]) {
        let prefix = if folder.is_empty() { vec![] } else { [folder, b"/"].concat() };
        let below = self.0.range::<[u8], _>((Excluded(&prefix[..]), Unbounded));
        let below = below.map(|(path, _)| *path).take_while(|path| path.starts_with(&prefix));
        for path in below.collect::<Vec<_>>() {
            self.0.remove(path);
        }
    }
}
