//! The waste in the layers of one image.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    ops::Range,
};

use super::{
    finding::{FindingFile, RewriteCause, WasteFinding, WasteGroup, WasteKind},
    fold::{HiddenFile, Hiding, LayerStack, StackFile, UnlinkedFile},
    index::{IndexedFile, IndexedItem},
    paths,
};
use crate::image::packages::is_build_tool;

/// Smaller files are not compared with each other, in bytes.
const SMALLEST_DUPLICATE: u64 = 4096;
/// Findings are not grouped by these folders, since files in them have nothing in common.
const BROAD: [&[u8]; 17] = [
    b"",
    b"etc",
    b"home",
    b"lib",
    b"opt",
    b"opt/conda",
    b"srv",
    b"usr",
    b"usr/lib",
    b"usr/lib64",
    b"usr/local",
    b"usr/local/lib",
    b"usr/local/share",
    b"usr/share",
    b"var",
    b"var/cache",
    b"var/lib",
];
/// More parts of a broad folder are one finding.
const MOST_PARTS: usize = 6;

/// A file that is waste.
#[derive(Clone, Copy)]
struct WastedFile<'l> {
    at: StackFile,
    path: &'l [u8],
    bytes: u64,
    /// Where the same content is.
    same: Option<&'l [u8]>,
    /// The file that the later layer wrote.
    new: Option<&'l IndexedFile>,
}

type Key = (WasteKind, usize, Option<usize>);

/// What the layers in `own` waste, and the files that certainly are waste. Those that are `known` from its bases do
/// not count.
pub(super) fn waste(
    stack: &LayerStack<'_>,
    own: &Range<usize>,
    known: &dyn Fn(StackFile) -> bool,
) -> (Vec<WasteGroup>, HashSet<StackFile>) {
    let mut found: BTreeMap<Key, Vec<WastedFile<'_>>> = BTreeMap::new();
    let mut counted: HashSet<StackFile> = HashSet::new();
    let mut hidden_by: HashMap<StackFile, &HiddenFile<'_>> = HashMap::new();
    for hidden in &stack.hidden {
        hidden_by.insert(hidden.at, hidden);
        let Some(old) = stack.file(hidden.at) else { continue };
        if !own.contains(&hidden.by) || known(hidden.at) || !counted.insert(hidden.at) {
            continue;
        }
        let mut file = WastedFile {
            at: hidden.at,
            path: stack.path(hidden.at),
            bytes: old.size,
            same: None,
            new: None,
        };
        let kind = match hidden.how {
            Hiding::Deleted => WasteKind::Deleted,
            Hiding::Replaced => WasteKind::Replaced,
            Hiding::Moved(path) => {
                file.same = Some(path);
                WasteKind::Moved
            }
            Hiding::Rewritten(new) => {
                file.new = Some(new);
                rewritten(old, new)
            }
        };
        found.entry((kind, hidden.at.layer, Some(hidden.by))).or_default().push(file);
    }
    for UnlinkedFile { before, copy } in stack.unlinked.iter().copied() {
        let (Some(old), Some(new)) = (stack.file(before), stack.file(copy)) else { continue };
        // If a later layer deletes the file before, that one is the waste.
        let is_kept = match hidden_by.get(&before).map(|hidden| hidden.how) {
            None => true,
            Some(Hiding::Rewritten(last)) => !std::ptr::eq(last, new),
            Some(_) => false,
        };
        let is_copy = new.size > 0 && stack.is_seen(copy) && is_kept;
        if is_copy && own.contains(&copy.layer) && !known(copy) && counted.insert(copy) {
            let path = stack.path(copy);
            let file = WastedFile { at: copy, path, bytes: new.size, same: None, new: Some(new) };
            let key = (rewritten(old, new), before.layer, Some(copy.layer));
            found.entry(key).or_default().push(file);
        }
    }
    for (&path, &at) in &stack.visible {
        let Some(file) = stack.file(at).filter(|file| file.size > 0) else { continue };
        if !own.contains(&at.layer) || known(at) {
            continue;
        }
        let text = String::from_utf8_lossy(path);
        let kind = if let Some(cache) = paths::cached_by(&text) {
            WasteKind::Cache(cache.program)
        } else if paths::is_version_control(&text) {
            WasteKind::VersionControl
        } else if paths::is_documentation(&text) {
            WasteKind::Documentation
        } else {
            continue;
        };
        // A descendant may delete documentation, and then waste it.
        if !kind.is_certain() || counted.insert(at) {
            let file = WastedFile { at, path, bytes: file.size, same: None, new: None };
            found.entry((kind, at.layer, None)).or_default().push(file);
        }
    }
    duplicates(stack, own, &|at| known(at) || counted.contains(&at), &mut found);
    for layer in own.clone() {
        for (entry, one) in stack.layers[layer].entries.iter().enumerate() {
            let IndexedItem::File(file) = &one.item else { continue };
            let at = StackFile { layer, entry };
            if !known(at) && paths::is_secret(&String::from_utf8_lossy(&one.path), file.size) {
                let file =
                    WastedFile { at, path: &one.path, bytes: file.size, same: None, new: None };
                let by = hidden_by.get(&at).map(|hidden| hidden.by);
                found.entry((WasteKind::Secret, layer, by)).or_default().push(file);
            }
        }
    }
    let files_of = |layer: usize| {
        let entries = stack.layers[layer].entries.iter();
        entries.filter(|one| matches!(one.item, IndexedItem::File(_))).count()
    };
    let groups = found.into_iter().flat_map(|(key, files)| groups(key, files, files_of(key.1)));
    (groups.collect(), counted)
}

fn rewritten(old: &IndexedFile, new: &IndexedFile) -> WasteKind {
    let owner = (old.user, old.group) != (new.user, new.group);
    WasteKind::Rewritten(RewriteCause { mode: old.mode != new.mode, owner })
}

/// Files of the own layers whose content is elsewhere in the image, too.
fn duplicates<'l>(
    stack: &LayerStack<'l>,
    own: &Range<usize>,
    counted: &dyn Fn(StackFile) -> bool,
    found: &mut BTreeMap<Key, Vec<WastedFile<'l>>>,
) {
    let mut by_content: HashMap<_, Vec<(StackFile, &'l [u8])>> = HashMap::new();
    for (&path, &at) in &stack.visible {
        let Some(file) = stack.file(at).filter(|file| file.size >= SMALLEST_DUPLICATE) else {
            continue;
        };
        // Licences are the same for many packages.
        if !counted(at) && !path.starts_with(b"usr/share/doc/") {
            by_content.entry((file.size, file.content)).or_default().push((at, path));
        }
    }
    for ((size, _), mut files) in by_content {
        // The first one stays: that of the lowest layer.
        files.sort_by_key(|(at, path)| (at.layer, *path));
        let mut seen = BTreeSet::from([files[0].0]);
        for (at, path) in files.iter().copied().skip(1) {
            // Other names of a hard link cost nothing.
            if seen.insert(at) && own.contains(&at.layer) {
                let same = Some(files[0].1);
                let file = WastedFile { at, path, bytes: size, same, new: None };
                found.entry((WasteKind::Duplicate, at.layer, None)).or_default().push(file);
            }
        }
    }
}

/// The build tools of an image: by the layer that installs them, their names and bytes.
pub(super) fn build_tools(stack: &LayerStack<'_>) -> BTreeMap<usize, BTreeMap<String, u64>> {
    let mut found: BTreeMap<usize, BTreeMap<String, u64>> = BTreeMap::new();
    // Of each package in each database: since which layer.
    let mut since: BTreeMap<(&[u8], &str), (usize, u64)> = BTreeMap::new();
    for (layer, index) in stack.layers.iter().enumerate() {
        for database in &index.databases {
            let listed: BTreeMap<&str, u64> =
                database.packages.iter().map(|(name, bytes)| (name.as_str(), *bytes)).collect();
            let path = &database.path[..];
            since.retain(|(of, name), _| *of != path || listed.contains_key(name));
            for (name, bytes) in listed {
                since.entry((path, name)).or_insert((layer, bytes));
            }
        }
    }
    for ((path, name), (layer, bytes)) in since {
        // A database that was deleted lists nothing.
        if stack.visible.contains_key(path) && is_build_tool(name) {
            found.entry(layer).or_default().insert(name.to_owned(), bytes);
        }
    }
    found
}

/// Files of one kind and layer, by folder. `of_layer` is the number of all files of the layer.
fn groups((kind, layer, by): Key, files: Vec<WastedFile<'_>>, of_layer: usize) -> Vec<WasteGroup> {
    let mut done = Vec::new();
    let mut open = vec![files];
    while let Some(files) = open.pop() {
        let folder = common_folder(&files);
        if files.len() > 1 && BROAD.contains(&folder) {
            let mut parts: BTreeMap<Vec<u8>, Vec<WastedFile<'_>>> = BTreeMap::new();
            let start = if folder.is_empty() { 0 } else { folder.len() + 1 };
            for file in &files {
                let rest = file.path.get(start..).unwrap_or_default();
                let name = rest.split(|byte| *byte == b'/').next().unwrap_or_default();
                parts.entry(name.to_vec()).or_default().push(*file);
            }
            let is_split = folder.is_empty() || parts.len() <= MOST_PARTS;
            if parts.len() > 1 && is_split {
                open.extend(parts.into_values());
                continue;
            }
        }
        let group = group((kind, layer, by), folder, &files);
        done.push(WasteGroup { is_whole: files.len() == of_layer, ..group });
    }
    done
}

fn group((kind, layer, by): Key, folder: &[u8], files: &[WastedFile<'_>]) -> WasteGroup {
    let text = |path: &[u8]| String::from_utf8_lossy(path).into_owned();
    let (path, same) = match files {
        [file] if kind != WasteKind::VersionControl => (text(file.path), file.same.map(text)),
        _ if kind == WasteKind::VersionControl => (paths::repository(&text(folder)), None),
        _ if folder.is_empty() => (String::new(), None),
        _ => (text(folder) + "/", None),
    };
    let distinct: BTreeMap<StackFile, u64> =
        files.iter().map(|file| (file.at, file.bytes)).collect();
    let new = || files.iter().filter_map(|file| file.new);
    let mut largest: Vec<&WastedFile<'_>> = files.iter().collect();
    largest.sort_by_key(|file| (std::cmp::Reverse(file.bytes), file.path));
    let listed = largest
        .into_iter()
        .take(WasteFinding::LISTED)
        .map(|file| FindingFile { path: format!("/{}", text(file.path)), bytes: file.bytes });
    WasteGroup {
        kind,
        layer,
        by,
        path,
        files: files.len(),
        listed: listed.collect(),
        is_whole: false,
        bytes: distinct.into_values().fold(0, u64::saturating_add),
        same,
        modes: new().map(|file| file.mode).collect(),
        owners: new().map(|file| (file.user, file.group)).collect(),
    }
}

/// The lowest folder that contains all files.
fn common_folder<'l>(files: &[WastedFile<'l>]) -> &'l [u8] {
    let folder = |path: &'l [u8]| {
        let slash = path.iter().rposition(|byte| *byte == b'/');
        &path[..slash.unwrap_or(0)]
    };
    let mut common = files.first().map_or(&b""[..], |file| folder(file.path));
    for file in &files[1.min(files.len())..] {
        while !(common.is_empty()
            || file.path.starts_with(common) && file.path.get(common.len()) == Some(&b'/'))
        {
            common = folder(common);
        }
    }
    common
}
