//! Divides the layers of published images among the images that added them.

use std::collections::{BTreeMap, BTreeSet};

use super::{Blob, Bytes, Facts, MeasuredImage};
use crate::{
    hierarchy::{Flatten, Hierarchy, Node, NodeName},
    image::Digest,
};

/// The sizes of a hierarchy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HierarchySizes {
    /// In build order. Images that are not published are missing.
    pub images: Vec<Measured>,
    pub unpublished: Vec<NodeName>,
    pub total: Total,
}

/// The sizes of one published image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Measured {
    pub node: NodeName,
    pub digest: Digest,
    /// Number of all layers.
    pub layers: usize,
    /// Number of layers above its base.
    pub own_layers: usize,
    /// Its layers above its base, manifest and configuration.
    pub own: Bytes,
    pub inherited: Bytes,
    /// The image to compare with, and its whole size.
    pub before: Option<(Digest, Bytes)>,
    /// How many other published images contain its layers.
    pub carried_by: usize,
    /// Its own bytes, and those of the images that contain its layers.
    pub with_descendants: Bytes,
    /// The image whose layers it begins with: an image of the hierarchy, if that is published.
    pub parent: Option<NodeName>,
    /// Its base is an image of a parent that is no longer published.
    pub has_old_base: bool,
    /// Its base is an upstream whose layers could not be read, so they count as its own.
    pub includes_upstream: bool,
}

/// What all images cost together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Total {
    /// Each layer once.
    pub once: Bytes,
    /// Each image with all of its layers.
    pub alone: Bytes,
    /// Number of different layers.
    pub layers: usize,
    /// Number of images whose unpacked size is not known.
    pub unknown: usize,
}

impl Measured {
    pub fn whole(&self) -> Bytes {
        self.own.plus(self.inherited)
    }
}

/// Measures the published images of a hierarchy.
pub fn measure(hierarchy: &Hierarchy, facts: &Facts) -> HierarchySizes {
    let mut unpublished = Vec::new();
    let mut stacks: Vec<(&Node, Vec<AddedLayers<'_>>)> = Vec::new();
    for node in hierarchy.in_build_order() {
        let parts = facts.published.get(&node.name).map(|digest| stack(facts, digest));
        match parts.filter(|parts| !parts.is_empty()) {
            Some(parts) => stacks.push((node, parts)),
            None => unpublished.push(node.name.clone()),
        }
    }
    let nodes: BTreeMap<&Digest, &NodeName> =
        facts.published.iter().map(|(name, digest)| (digest, name)).rev().collect();
    // What contains each image, directly or not, and the images themselves.
    let mut above: BTreeMap<&Digest, BTreeMap<&Digest, Bytes>> = BTreeMap::new();
    for (_, parts) in &stacks {
        for (at, part) in parts.iter().enumerate() {
            let all = parts[at..].iter().map(|part| (part.digest, part.with_documents()));
            above.entry(part.digest).or_default().extend(all);
        }
    }
    let measured = |(node, parts): &(&Node, Vec<AddedLayers<'_>>)| {
        let (top, below) = parts.split_last()?;
        let above = &above[top.digest];
        let base = below.last();
        let parent = base.and_then(|part| nodes.get(part.digest));
        let before = facts.before.get(&node.name).and_then(|before| {
            let parts = stack(facts, before);
            Some((before.clone(), whole(&parts)?))
        });
        Some(Measured {
            node: node.name.clone(),
            digest: top.digest.clone(),
            layers: top.image.layers.len(),
            own_layers: top.image.layers.len() - top.from,
            own: top.with_documents(),
            inherited: below.iter().map(|part| part.bytes).fold(Bytes::ZERO, Bytes::plus),
            before,
            carried_by: above.keys().filter(|other| nodes.contains_key(*other)).count() - 1,
            with_descendants: above.values().copied().fold(Bytes::ZERO, Bytes::plus),
            parent: parent.map(|name| (*name).clone()),
            has_old_base: base.is_some() && parent.is_none() && node.upstream().is_none(),
            includes_upstream: base.is_none()
                && node.upstream().is_some()
                && node.flatten != Flatten::All,
        })
    };
    let images = stacks.iter().filter_map(measured).collect();
    let stacks: Vec<Vec<AddedLayers<'_>>> = stacks.into_iter().map(|(_, parts)| parts).collect();
    HierarchySizes { images, unpublished, total: total(facts, &stacks) }
}

/// The layers that one image adds to its base.
#[derive(Clone, Copy)]
struct AddedLayers<'f> {
    digest: &'f Digest,
    image: &'f MeasuredImage,
    /// The number of layers of its base.
    from: usize,
    bytes: Bytes,
}

impl AddedLayers<'_> {
    fn with_documents(&self) -> Bytes {
        let compressed = self.image.stored.as_ref().map(|(_, documents)| *documents);
        self.bytes.plus(Bytes { compressed, unpacked: Some(0) })
    }
}

/// The parts of an image, its lowest base first.
fn stack<'f>(facts: &'f Facts, digest: &'f Digest) -> Vec<AddedLayers<'f>> {
    let mut parts = Vec::new();
    let mut seen = BTreeSet::new();
    let mut next = facts.images.get_key_value(digest);
    while let Some((digest, image)) = next.filter(|(digest, _)| seen.insert(*digest)) {
        let base = base(facts, (digest, image));
        let from = base.map_or(0, |(_, base)| base.layers.len());
        let bytes = bytes(facts, image, base.map(|(_, base)| base));
        parts.push(AddedLayers { digest, image, from, bytes });
        next = base;
    }
    parts.reverse();
    parts
}

/// The image that its label names, if it begins with its layers; else the known image that it begins with.
pub(super) fn base<'f>(
    facts: &'f Facts,
    (digest, image): (&Digest, &MeasuredImage),
) -> Option<(&'f Digest, &'f MeasuredImage)> {
    let is_base = |base: &MeasuredImage| image.layers.starts_with(&base.layers);
    let named = image.base.as_ref().and_then(|base| facts.images.get_key_value(base));
    if let Some(named) = named.filter(|(base, found)| *base != digest && is_base(found)) {
        return Some(named);
    }
    let below = facts.published.values().filter_map(|digest| facts.images.get_key_value(digest));
    below
        .filter(|(_, base)| is_base(base) && base.layers.len() < image.layers.len())
        .max_by_key(|(_, base)| base.layers.len())
        .filter(|(_, base)| !base.layers.is_empty())
}

fn bytes(facts: &Facts, image: &MeasuredImage, base: Option<&MeasuredImage>) -> Bytes {
    let from = base.map_or(0, |base| base.layers.len());
    let compressed =
        image.stored.as_ref().and_then(|(blobs, _)| Some(Blob::sum(blobs.get(from..)?)));
    let own = image.layers[from..].iter().map(|layer| facts.unpacked.get(layer).copied());
    let read = own.sum::<Option<u64>>();
    let told = || {
        let below = base.map_or(Some(0), |base| base.unpacked)?;
        Some(image.unpacked?.saturating_sub(below))
    };
    Bytes { compressed, unpacked: read.filter(|_| image.unpacked.is_none()).or_else(told) }
}

fn whole(parts: &[AddedLayers<'_>]) -> Option<Bytes> {
    let (top, below) = parts.split_last()?;
    Some(below.iter().map(|part| part.bytes).fold(top.with_documents(), Bytes::plus))
}

/// A registry stores a layer once by the digest of its compressed bytes. A host stores it once for each
/// sequence of layers below it.
fn total(facts: &Facts, stacks: &[Vec<AddedLayers<'_>>]) -> Total {
    let published: BTreeSet<&Digest> = facts.published.values().collect();
    let is_stored = stacks.iter().flatten().all(|part| part.image.stored.is_some());
    let mut blobs: BTreeMap<&Digest, u64> = BTreeMap::new();
    let mut documents: BTreeMap<&Digest, u64> = BTreeMap::new();
    let mut chains: BTreeMap<&[Digest], Option<u64>> = BTreeMap::new();
    let mut layers: BTreeSet<&[Digest]> = BTreeSet::new();
    let (mut alone, mut unknown) = (Bytes::ZERO, 0);
    for parts in stacks {
        for AddedLayers { digest, image, from, bytes } in parts.iter().copied() {
            layers.extend((from..image.layers.len()).map(|end| &image.layers[..=end]));
            if from < image.layers.len() {
                chains.insert(&image.layers, bytes.unpacked);
            }
            if let Some((stored, size)) = &image.stored {
                blobs.extend(stored.iter().map(|blob| (&blob.digest, blob.size)));
                if published.contains(digest) {
                    documents.insert(digest, *size);
                }
            }
        }
        let whole = whole(parts).unwrap_or(Bytes::ZERO);
        alone = alone.plus(whole);
        unknown += usize::from(whole.unpacked.is_none());
    }
    let sum = |sizes: Vec<u64>| sizes.into_iter().fold(0, u64::saturating_add);
    let compressed =
        is_stored.then(|| sum(blobs.into_values().chain(documents.into_values()).collect()));
    let unpacked = chains.into_values().sum();
    Total { once: Bytes { compressed, unpacked }, alone, layers: layers.len(), unknown }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hierarchy::test_hierarchy;

    /// A layer of each letter, of that many kilobytes compressed; ten times as much unpacked.
    fn image(layers: &str, base: Option<&str>) -> MeasuredImage {
        let blob = |letter: char| Blob {
            digest: Digest::of(format!("blob {letter}").as_bytes()),
            size: 1000 * (u64::from(letter) - u64::from('a') + 1),
            media_type: String::new(),
        };
        MeasuredImage {
            layers: layers
                .chars()
                .map(|letter| Digest::of(letter.to_string().as_bytes()))
                .collect(),
            stored: Some((layers.chars().map(blob).collect(), 7)),
            unpacked: None,
            base: base.map(|base| Digest::of(base.as_bytes())),
        }
    }

    /// `os: ab` is the image of `os`, `old: a` an image under no tag, `app: abc os` one built on `os`.
    fn facts(lines: &str) -> Facts {
        let mut facts = Facts::default();
        for line in lines.lines() {
            let (name, rest) = line.split_once(": ").unwrap();
            let (layers, base) = rest.split_once(' ').map_or((rest, None), |(l, b)| (l, Some(b)));
            let digest = Digest::of(name.as_bytes());
            facts.images.insert(digest.clone(), image(layers, base));
            if !name.starts_with("old") {
                facts.published.insert(name.into(), digest);
            }
        }
        facts
    }

    fn told(hierarchy: &str, facts: &Facts) -> String {
        let number = |bytes: Option<u64>| bytes.map_or("?".to_owned(), |bytes| bytes.to_string());
        let HierarchySizes { images, unpublished, total } =
            measure(&test_hierarchy(hierarchy), facts);
        let mut lines: Vec<String> = images
            .iter()
            .map(|image| {
                let old = if image.has_old_base { " old base" } else { "" };
                format!(
                    "{} {}+{} with {} in {}{old}",
                    image.node,
                    number(image.inherited.compressed),
                    number(image.own.compressed),
                    number(image.with_descendants.compressed),
                    image.carried_by
                )
            })
            .collect();
        lines.extend(unpublished.iter().map(|name| format!("{name} -")));
        lines.push(format!(
            "{} of {}, {} layers, unpacked {}",
            number(total.once.compressed),
            number(total.alone.compressed),
            total.layers,
            number(total.once.unpacked)
        ));
        lines.join("\n")
    }

    #[test]
    fn each_layer_belongs_to_the_image_that_added_it() {
        let mut facts = facts("os: ab\nweb: abc os\napp: abcd web\ntool: abe os");
        let hierarchy = "os\nweb < os\napp < web\ntool < os\nnew < os";
        assert_eq!(
            told(hierarchy, &facts),
            "os 0+3007 with 15028 in 3\nweb 3000+3007 with 7014 in 1\napp 6000+4007 with 4007 in 0\n\
             tool 3000+5007 with 5007 in 0\nnew -\n15028 of 27028, 5 layers, unpacked ?"
        );
        facts.unpacked =
            "abcde".chars().map(|c| (Digest::of(c.to_string().as_bytes()), 10)).collect();
        assert!(told(hierarchy, &facts).ends_with("unpacked 50"));
    }

    #[test]
    fn an_image_on_an_older_base_keeps_that_base() {
        let facts = facts("old: ab\nos: ac\nweb: abd old");
        assert_eq!(
            told("os\nweb < os", &facts),
            "os 0+4007 with 4007 in 0\nweb 3000+4007 with 4007 in 0 old base\n\
             10014 of 11014, 4 layers, unpacked ?"
        );
    }

    #[test]
    fn without_a_label_an_image_belongs_to_the_longest_that_it_begins_with() {
        let facts = facts("os: a\nweb: ab\napp: abc");
        let expected = "app 3000+3007 with 3007 in 0";
        assert!(told("os\nweb < os\napp < web", &facts).contains(expected));
    }

    #[test]
    fn an_engine_gives_unpacked_sizes_of_whole_images() {
        let mut facts = facts("os: ab\nweb: abc os\ntool: abe os");
        let sizes = [("os", 100), ("web", 130), ("tool", 150)];
        for (name, unpacked) in sizes {
            let image = facts.images.get_mut(&Digest::of(name.as_bytes())).unwrap();
            (image.stored, image.unpacked) = (None, Some(unpacked));
        }
        let sizes = measure(&test_hierarchy("os\nweb < os\ntool < os"), &facts);
        let own = sizes.images.iter().map(|image| image.own.unpacked.unwrap());
        assert_eq!(own.collect::<Vec<_>>(), [100, 30, 50]);
        assert_eq!(sizes.total.once, Bytes { compressed: None, unpacked: Some(180) });
        assert_eq!(sizes.total.alone.unpacked, Some(380));
    }

    #[test]
    fn labels_that_lead_in_a_circle_end() {
        let mut facts = facts("a: ab b\nb: ab a");
        facts.published.remove(&NodeName::from("b"));
        assert!(told("a\nb < a", &facts).starts_with("a "));
    }
}
