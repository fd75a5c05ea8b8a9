//! What flattening an image changes in the whole hierarchy: `rebuild size --what-if`.

use std::collections::{BTreeMap, BTreeSet};

use super::{Blob, Facts, measure::base};
use crate::{
    flatten::FlatSizes,
    hierarchy::{Flatten, Hierarchy, NodeName},
    image::Digest,
};

/// What flattening one image saves, and what it costs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FlattenForecast {
    pub node: NodeName,
    pub flatten: Flatten,
    /// How many layers become one; `None` if the image is not built yet.
    pub replaced: Option<usize>,
    /// Bytes of those layers as a registry stores them, compressed.
    pub compressed: Option<u64>,
    /// Of those bytes, what other images still need, so that it is stored once more.
    pub compressed_shared: Option<u64>,
    /// Exact bytes, if the layers were read.
    pub bytes: Option<ForecastBytes>,
    /// The images that still need some of the layers.
    pub sharers: Vec<NodeName>,
    /// The published descendants that get the one layer.
    pub descendants: Vec<NodeName>,
}

/// Bytes of uncompressed layer tars. Of equal layers, a registry stores one; a host stores one for each sequence of
/// layers below it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ForecastBytes {
    /// Of the layers that become one, without those that stay below them, too.
    pub before: u64,
    /// Of the one layer.
    pub after: u64,
    /// Of those before, what other images still need.
    pub shared: u64,
}

impl FlattenForecast {
    /// Of an image that is not built yet.
    pub fn unknown(node: NodeName, flatten: Flatten) -> Self {
        Self {
            node,
            flatten,
            replaced: None,
            compressed: None,
            compressed_shared: None,
            bytes: None,
            sharers: Vec::new(),
            descendants: Vec::new(),
        }
    }
}

impl ForecastBytes {
    /// What the image itself, and each of its descendants, has less.
    pub fn saved(self) -> i128 {
        i128::from(self.before) - i128::from(self.after)
    }

    /// The change of the bytes of all published images, each layer once.
    pub fn change(self) -> i128 {
        i128::from(self.shared) - self.saved()
    }
}

/// Why there is no forecast.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoForecast {
    NotPublished,
    /// The layers of its base are not known.
    UnknownBase,
    /// Fewer than two layers would become one.
    IsFlat,
}

/// The layers of a published image that would become one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReplacedLayers<'f> {
    /// All layers of the image.
    pub layers: &'f [Digest],
    pub blobs: Option<&'f [Blob]>,
    /// How many stay, the lowest first.
    pub kept: usize,
}

/// Which layers of the published image `flatten` would replace.
pub fn replaced_layers<'f>(
    facts: &'f Facts,
    (node, flatten): (&NodeName, Flatten),
) -> Result<ReplacedLayers<'f>, NoForecast> {
    let digest = facts.published.get(node).ok_or(NoForecast::NotPublished)?;
    let image = facts.images.get(digest).ok_or(NoForecast::NotPublished)?;
    let kept = match flatten {
        Flatten::No => image.layers.len(),
        Flatten::All => 0,
        Flatten::Own => {
            let (_, base) = base(facts, (digest, image)).ok_or(NoForecast::UnknownBase)?;
            base.layers.len()
        }
    };
    if image.layers.len() < kept + 2 {
        return Err(NoForecast::IsFlat);
    }
    let blobs = image.stored.as_ref().map(|(blobs, _)| &blobs[..]);
    Ok(ReplacedLayers { layers: &image.layers, blobs, kept })
}

/// Computes what flattening a published image changes. Its descendants are built on the result; all other images
/// stay as they are. `sizes` are those of its layers, if they were read.
pub fn flatten_forecast(
    hierarchy: &Hierarchy,
    facts: &Facts,
    (node, flatten, sizes): (&NodeName, Flatten, Option<&FlatSizes>),
) -> Result<FlattenForecast, NoForecast> {
    let ReplacedLayers { layers, blobs, kept } = replaced_layers(facts, (node, flatten))?;
    let images: BTreeMap<&NodeName, &[Digest]> = facts
        .published
        .iter()
        .filter_map(|(name, digest)| Some((name, &facts.images.get(digest)?.layers[..])))
        .collect();
    let is_descendant = |name: &NodeName, found: &[Digest]| {
        let mut next = hierarchy.get(name).and_then(|node| node.base());
        while let Some(base) = next.filter(|base| *base != node) {
            next = hierarchy.get(base).and_then(|node| node.base());
        }
        next.is_some() && found.starts_with(layers)
    };
    let store = if blobs.is_some() { LayerStorage::Registry } else { LayerStorage::Host };
    // What is stored anyway: the layers that stay, and those that other images need.
    let kept_layers: BTreeSet<LayerKey<'_>> = store.keys(&layers[..kept]).collect();
    let replaced: BTreeMap<LayerKey<'_>, usize> =
        store.keys(layers).enumerate().skip(kept).map(|(n, key)| (key, n)).collect();
    let is_replaced = |key: &LayerKey<'_>| replaced.contains_key(key) && !kept_layers.contains(key);
    let (mut descendants, mut sharers) = (Vec::new(), Vec::new());
    let mut needed: BTreeSet<LayerKey<'_>> = BTreeSet::new();
    for (name, found) in images.into_iter().filter(|(name, _)| *name != node) {
        let rest = if is_descendant(name, found) {
            descendants.push(name.clone());
            match store {
                LayerStorage::Registry => &found[layers.len()..],
                // Their own layers are on the one layer then.
                LayerStorage::Host => continue,
            }
        } else {
            found
        };
        let still: Vec<LayerKey<'_>> = store.keys(rest).filter(is_replaced).collect();
        if !still.is_empty() {
            sharers.push(name.clone());
        }
        needed.extend(still);
    }
    let gone: Vec<(usize, bool)> = replaced
        .iter()
        .filter(|(key, _)| is_replaced(key))
        .map(|(key, n)| (*n, needed.contains(key)))
        .collect();
    let sum = |size: &dyn Fn(usize) -> u64, is_shared_only: bool| {
        let of = gone.iter().filter(|(_, is_shared)| *is_shared || !is_shared_only);
        of.map(|(n, _)| size(*n)).fold(0, u64::saturating_add)
    };
    let bytes = sizes.filter(|sizes| sizes.layers.len() == layers.len()).map(|sizes| {
        let size = |n: usize| sizes.layers[n];
        ForecastBytes { before: sum(&size, false), after: sizes.flat, shared: sum(&size, true) }
    });
    let compressed = |is_shared_only: bool| {
        let blobs = blobs.filter(|blobs| blobs.len() == layers.len())?;
        Some(sum(&|n| blobs[n].size, is_shared_only))
    };
    Ok(FlattenForecast {
        node: node.clone(),
        flatten,
        replaced: Some(layers.len() - kept),
        compressed: compressed(false),
        compressed_shared: compressed(true),
        bytes,
        sharers,
        descendants,
    })
}

/// How equal layers are stored once.
#[derive(Clone, Copy)]
enum LayerStorage {
    Registry,
    Host,
}

/// What makes a layer the same: itself, in a host with the layers below it.
type LayerKey<'f> = &'f [Digest];

impl LayerStorage {
    /// The key of each layer of a stack.
    fn keys(self, stack: &[Digest]) -> impl Iterator<Item = LayerKey<'_>> {
        (0..stack.len()).map(move |n| match self {
            Self::Registry => &stack[n..=n],
            Self::Host => &stack[..=n],
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{hierarchy::test_hierarchy, size::MeasuredImage};

    /// `app: abc os` is an image with a layer for each letter, built on `os`.
    fn facts(lines: &str) -> Facts {
        let mut facts = Facts::default();
        for line in lines.lines() {
            let (name, rest) = line.split_once(": ").unwrap();
            let (layers, base) = rest.split_once(' ').map_or((rest, None), |(l, b)| (l, Some(b)));
            let digest = |text: &str| Digest::of(text.as_bytes());
            let blob = |letter: char| Blob {
                digest: digest(&format!("blob {letter}")),
                size: 10 * (u64::from(letter) - u64::from('a') + 1),
                media_type: String::new(),
            };
            let image = MeasuredImage {
                layers: layers.chars().map(|letter| digest(&letter.to_string())).collect(),
                stored: Some((layers.chars().map(blob).collect(), 7)),
                unpacked: None,
                base: base.map(digest),
            };
            facts.images.insert(digest(name), image);
            facts.published.insert(name.into(), digest(name));
        }
        facts
    }

    fn told(facts: &str, (node, flatten): (&str, Flatten)) -> String {
        let hierarchy = test_hierarchy("os\nweb < os\napp < web\ntool < os");
        let facts = facts_with_sizes(facts, node);
        let found =
            flatten_forecast(&hierarchy, &facts.0, (&node.into(), flatten, facts.1.as_ref()));
        let names =
            |names: &[NodeName]| names.iter().map(NodeName::as_str).collect::<Vec<_>>().join(" ");
        found.map_or_else(
            |why| format!("{why:?}"),
            |found| {
                let bytes = found.bytes.unwrap();
                format!(
                    "{} layers, {} -> {}, shared {} by [{}], carried by [{}], change {}, compressed {:?} {:?}",
                    found.replaced.unwrap(),
                    bytes.before,
                    bytes.after,
                    bytes.shared,
                    names(&found.sharers),
                    names(&found.descendants),
                    bytes.change(),
                    found.compressed.unwrap(),
                    found.compressed_shared.unwrap(),
                )
            },
        )
    }

    /// Each layer has 1000 bytes, and the one layer 100 less for each layer that it replaces.
    fn facts_with_sizes(lines: &str, node: &str) -> (Facts, Option<FlatSizes>) {
        let facts = facts(lines);
        let image = facts.published.get(node).map(|digest| &facts.images[digest]);
        let sizes = image.map(|image| {
            let count = image.layers.len();
            FlatSizes { layers: vec![1000; count], flat: 900 * count as u64 }
        });
        (facts, sizes)
    }

    #[test]
    fn the_layers_that_other_images_need_are_stored_once_more() {
        let all = "os: ab\nweb: abcd os\napp: abcde web\ntool: abf os";
        for (of, expected) in [
            // All descendants move to the new layer.
            (
                ("os", Flatten::All),
                "2 layers, 2000 -> 1800, shared 0 by [], carried by [app tool web], change -200, compressed 30 0",
            ),
            // `os` and `tool` keep the layers of `os`.
            (
                ("web", Flatten::All),
                "4 layers, 4000 -> 3600, shared 2000 by [os tool], carried by [app], change 1600, compressed 100 30",
            ),
            (
                ("web", Flatten::Own),
                "2 layers, 2000 -> 3600, shared 0 by [], carried by [app], change 1600, compressed 70 0",
            ),
            (
                ("app", Flatten::All),
                "5 layers, 5000 -> 4500, shared 4000 by [os tool web], carried by [], change 3500, compressed 150 100",
            ),
            (("app", Flatten::Own), "IsFlat"),
            (("os", Flatten::Own), "UnknownBase"),
            (("os", Flatten::No), "IsFlat"),
        ] {
            assert_eq!(told(all, of), expected, "{of:?}");
        }
        assert_eq!(told("os: ab", ("web", Flatten::All)), "NotPublished");
    }

    /// A registry stores an equal layer once, wherever it is in a stack; a host does not.
    #[test]
    fn equal_layers_at_other_positions() {
        let told = |lines: &str, of: (&str, Flatten), is_host: bool| {
            let hierarchy = test_hierarchy("os\nweb < os\napp < web\ntool < os");
            let (mut facts, sizes) = facts_with_sizes(lines, of.0);
            if is_host {
                facts.images.values_mut().for_each(|image| image.stored = None);
            }
            let asked = (&of.0.into(), of.1, sizes.as_ref());
            let bytes = flatten_forecast(&hierarchy, &facts, asked).unwrap().bytes.unwrap();
            (bytes.before, bytes.shared)
        };
        for (lines, of, registry, host) in [
            ("os: abab", ("os", Flatten::All), (2000, 0), (4000, 0)),
            ("os: a\nweb: abac os", ("web", Flatten::Own), (2000, 0), (3000, 0)),
            ("os: a\nweb: abc os\ntool: ac os", ("web", Flatten::Own), (2000, 1000), (2000, 0)),
            ("os: a\nweb: abc os\napp: abcdb web", ("web", Flatten::Own), (2000, 1000), (2000, 0)),
            ("os: ab\nweb: abc os", ("web", Flatten::All), (3000, 2000), (3000, 2000)),
        ] {
            assert_eq!(told(lines, of, false), registry, "{lines}");
            assert_eq!(told(lines, of, true), host, "{lines}");
        }
    }

    #[test]
    fn without_sizes_there_are_no_exact_bytes() {
        let facts = facts("os: ab");
        let hierarchy = test_hierarchy("os");
        let found = flatten_forecast(&hierarchy, &facts, (&"os".into(), Flatten::All, None));
        assert_eq!(found.unwrap().bytes, None);
    }
}
