//! What flattening an image changes in the whole hierarchy: `rebuild size --what-if`.

use std::collections::BTreeMap;

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
    /// How many layers become one.
    pub replaced: usize,
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

/// Bytes of uncompressed layer tars.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ForecastBytes {
    /// Of the layers that become one.
    pub before: u64,
    /// Of the one layer.
    pub after: u64,
    /// Of those before, what other images still need.
    pub shared: u64,
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
    let (mut descendants, mut sharers, mut shared) = (Vec::new(), Vec::new(), kept);
    for (name, found) in images.into_iter().filter(|(name, _)| *name != node) {
        if is_descendant(name, found) {
            descendants.push(name.clone());
            continue;
        }
        // A layer of a host is the same only above the same layers.
        let common = layers.iter().zip(found).take_while(|(one, other)| one == other).count();
        if common > kept {
            sharers.push(name.clone());
            shared = shared.max(common);
        }
    }
    let bytes = sizes.filter(|sizes| sizes.layers.len() == layers.len()).map(|sizes| {
        let sum = |sizes: &[u64]| sizes.iter().copied().fold(0, u64::saturating_add);
        ForecastBytes {
            before: sum(&sizes.layers[kept..]),
            after: sizes.flat,
            shared: sum(&sizes.layers[kept..shared]),
        }
    });
    let compressed = |end: usize| Some(Blob::sum(blobs?.get(kept..end)?));
    Ok(FlattenForecast {
        node: node.clone(),
        flatten,
        replaced: layers.len() - kept,
        compressed: compressed(layers.len()),
        compressed_shared: compressed(shared),
        bytes,
        sharers,
        descendants,
    })
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
                    found.replaced,
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

    #[test]
    fn without_sizes_there_are_no_exact_bytes() {
        let facts = facts("os: ab");
        let hierarchy = test_hierarchy("os");
        let found = flatten_forecast(&hierarchy, &facts, (&"os".into(), Flatten::All, None));
        assert_eq!(found.unwrap().bytes, None);
    }
}
