//! Puts the layers of an image on top of each other: which files a container sees, and which bytes it cannot see.

use std::{
    collections::{BTreeMap, HashMap},
    ops::Bound::{Excluded, Unbounded},
};

use super::index::{ContentId, IndexedFile, IndexedItem, LayerIndex};

/// A file of a stack: the number of its layer, and of its entry there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct StackFile {
    pub(super) layer: usize,
    pub(super) entry: usize,
}

/// A file that no container of the image sees.
#[derive(Debug)]
pub(super) struct HiddenFile<'l> {
    pub(super) at: StackFile,
    /// The layer that hides it.
    pub(super) by: usize,
    pub(super) how: Hiding<'l>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Hiding<'l> {
    Deleted,
    /// Other content at the same path.
    Replaced,
    /// The same content at the same path.
    Rewritten(&'l IndexedFile),
    /// The same content at another path.
    Moved(&'l [u8]),
}

/// A path of a hard link that has a copy: overlay file systems copy a file whose mode, owner or time changes, and the
/// other paths keep the one before.
#[derive(Clone, Copy, Debug)]
pub(super) struct UnlinkedFile {
    pub(super) before: StackFile,
    pub(super) copy: StackFile,
}

/// The layers of an image, the base's first.
#[derive(Default)]
pub(super) struct LayerStack<'l> {
    pub(super) layers: Vec<&'l LayerIndex>,
    /// Files by path. A hard link is the file that it links to.
    pub(super) visible: BTreeMap<&'l [u8], StackFile>,
    pub(super) hidden: Vec<HiddenFile<'l>>,
    /// Files that a later layer wrote again at one path, while another one still shows them.
    pub(super) unlinked: Vec<UnlinkedFile>,
    /// How many paths show a file.
    links: HashMap<StackFile, usize>,
}

impl<'l> LayerStack<'l> {
    pub(super) fn of(layers: &[&'l LayerIndex]) -> Self {
        let mut stack = Self::default();
        for layer in layers {
            stack.add(layer);
        }
        stack
    }

    pub(super) fn path(&self, at: StackFile) -> &'l [u8] {
        let layer: &'l LayerIndex = self.layers[at.layer];
        &layer.entries[at.entry].path
    }

    pub(super) fn file(&self, at: StackFile) -> Option<&'l IndexedFile> {
        let layer: &'l LayerIndex = self.layers[at.layer];
        match &layer.entries[at.entry].item {
            IndexedItem::File(file) => Some(file),
            _ => None,
        }
    }

    fn add(&mut self, layer: &'l LayerIndex) {
        let number = self.layers.len();
        self.layers.push(layer);
        let mut removed: BTreeMap<&'l [u8], StackFile> = BTreeMap::new();
        for entry in &layer.entries {
            match &entry.item {
                IndexedItem::Whiteout => {
                    removed.extend(self.visible.remove_entry(&entry.path[..]));
                    self.remove_below(&entry.path, &mut removed);
                }
                IndexedItem::Opaque => self.remove_below(&entry.path, &mut removed),
                _ => {}
            }
        }
        let mut put: HashMap<(u64, ContentId), &'l [u8]> = HashMap::new();
        for (n, entry) in layer.entries.iter().enumerate() {
            let path = &entry.path[..];
            let at = match &entry.item {
                IndexedItem::File(file) => {
                    put.entry((file.size, file.content)).or_insert(path);
                    StackFile { layer: number, entry: n }
                }
                // A link to a file that is not there is malformed, and nothing is seen of it.
                IndexedItem::HardLink { target } => match self.visible.get(&target[..]) {
                    Some(at) => *at,
                    None => continue,
                },
                IndexedItem::Folder => {
                    removed.extend(self.visible.remove_entry(path));
                    continue;
                }
                IndexedItem::Special => {
                    removed.extend(self.visible.remove_entry(path));
                    self.remove_below(path, &mut removed);
                    continue;
                }
                IndexedItem::Whiteout | IndexedItem::Opaque => continue,
            };
            self.remove_below(path, &mut removed);
            *self.links.entry(at).or_default() += 1;
            let before = self.visible.insert(path, at).or_else(|| removed.remove(path));
            if let Some(before) = before {
                let how = match (self.file(before), self.file(at)) {
                    (Some(old), Some(new)) if is_same(old, new) => Hiding::Rewritten(new),
                    _ => Hiding::Replaced,
                };
                self.hide(before, number, how);
                if matches!(how, Hiding::Rewritten(_)) && at != before && self.is_seen(before) {
                    self.unlinked.push(UnlinkedFile { before, copy: at });
                }
            }
        }
        for (_, before) in removed {
            let moved = self.file(before).and_then(|file| put.get(&(file.size, file.content)));
            let how = moved.copied().map_or(Hiding::Deleted, Hiding::Moved);
            self.hide(before, number, how);
        }
    }

    fn remove_below(&mut self, folder: &[u8], removed: &mut BTreeMap<&'l [u8], StackFile>) {
        let prefix = if folder.is_empty() { vec![] } else { [folder, b"/"].concat() };
        let below = self.visible.range::<[u8], _>((Excluded(&prefix[..]), Unbounded));
        let below = below.map(|(path, _)| *path).take_while(|path| path.starts_with(&prefix));
        for path in below.collect::<Vec<_>>() {
            removed.extend(self.visible.remove_entry(path));
        }
    }

    /// Whether a path shows the file.
    pub(super) fn is_seen(&self, at: StackFile) -> bool {
        self.links.get(&at).is_some_and(|links| *links > 0)
    }

    /// One path less shows the file. Empty files and those with other links waste nothing.
    fn hide(&mut self, at: StackFile, by: usize, how: Hiding<'l>) {
        let Some(links) = self.links.get_mut(&at) else { return };
        *links -= 1;
        if *links == 0 && self.file(at).is_some_and(|file| file.size > 0) {
            self.hidden.push(HiddenFile { at, by, how });
        }
    }
}

fn is_same(old: &IndexedFile, new: &IndexedFile) -> bool {
    (old.size, old.content) == (new.size, new.content)
}
