//! The waste of a hierarchy: each finding once, at the image that causes it.

use std::{
    collections::{BTreeMap, HashSet},
    ops::Range,
    sync::Arc,
};

use super::{
    finding::{LayerPlace, SourceLine, WasteFinding, WasteGroup, WasteKind, WasteOwner},
    fix::fix,
    fold::{LayerStack, StackFile},
    image::{build_tools, waste},
    index::LayerIndex,
    origin::{HistoryEntry, instructions, layer_texts},
};
use crate::{
    hierarchy::{Hierarchy, Node, NodeName},
    image::Digest,
    size::{Facts, Measured, measure},
};

/// How many packages a finding names.
const NAMED: usize = 4;

/// The layers of an image, the base's first, and its history.
#[derive(Clone, Debug, Default)]
pub struct ImageLayers {
    pub layers: Vec<Arc<LayerIndex>>,
    pub history: Vec<HistoryEntry>,
}

/// The waste in the published images of a hierarchy.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HierarchyWaste {
    /// By cause, the largest first, but secrets before them.
    pub findings: Vec<WasteFinding>,
    /// In build order.
    pub images: Vec<ImageWaste>,
    pub unpublished: Vec<NodeName>,
}

/// The unpacked bytes that an image need not have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImageWaste {
    pub node: NodeName,
    /// All files in its layers.
    pub whole: u64,
    /// Caused by its own layers, without advice: see [`WasteKind::is_certain`].
    pub own: u64,
    /// Caused by the layers of its bases.
    pub inherited: u64,
}

/// An image, or a base from outside, whose findings are known.
struct Surveyed {
    places: Vec<LayerPlace>,
    counted: HashSet<StackFile>,
    /// Its base, and the number of its layers.
    base: Option<usize>,
    own: u64,
}

/// `read`: the layers of each published image, by its digest. Images that are missing there are not surveyed.
pub fn survey(
    hierarchy: &Hierarchy,
    facts: &Facts,
    read: &BTreeMap<Digest, ImageLayers>,
) -> HierarchyWaste {
    let sizes = measure(hierarchy, facts);
    let mut all = HierarchySurveyor { facts, read, surveyed: Vec::new(), findings: Vec::new() };
    let mut nodes: BTreeMap<&NodeName, usize> = BTreeMap::new();
    let mut foreign: BTreeMap<&[Digest], usize> = BTreeMap::new();
    let mut images = Vec::new();
    let mut tools: BTreeMap<(WasteOwner, usize), (LayerPlace, BTreeMap<String, u64>)> =
        BTreeMap::new();
    let carried: BTreeMap<&str, usize> =
        sizes.images.iter().map(|image| (image.node.as_str(), image.carried_by)).collect();
    for image in &sizes.images {
        let (Some(node), Some(layers)) = (hierarchy.get(&image.node), read.get(&image.digest))
        else {
            continue;
        };
        if layers.layers.len() != image.layers {
            continue;
        }
        let from = image.layers - image.own_layers;
        let base = match image.parent.as_ref().and_then(|parent| nodes.get(parent)) {
            Some(base) => Some(*base),
            None if from > 0 => {
                let prefix = &facts.images[&image.digest].layers[..from];
                Some(*foreign.entry(prefix).or_insert_with(|| {
                    let owner = foreign_owner(hierarchy, node, image);
                    all.add(None, (&image.digest, 0..from), &owner, &[])
                }))
            }
            None => None,
        };
        let texts = layer_texts(&layers.history, image.layers);
        let file = &node.dockerfile;
        let lines = instructions(&file.instructions, node.target.as_deref(), &texts[from..]);
        let lines: Vec<Option<SourceLine>> = lines
            .into_iter()
            .map(|one| {
                let (line, text) = one.map(|one| (one.line, one.text.clone()))?;
                let ordinal = file.instructions.iter().position(|one| one.line == line)?;
                Some(SourceLine { file: file.path.clone(), line, text, ordinal })
            })
            .collect();
        let owner = WasteOwner::Node(image.node.to_string());
        let number = all.add(base, (&image.digest, from..image.layers), &owner, &lines);
        nodes.insert(&image.node, number);
        if image.carried_by == 0 {
            for (layer, packages) in build_tools(&stack(layers, image.layers)) {
                let place = &all.surveyed[number].places[layer];
                let key = (place.owner.clone(), place.number);
                let entry = tools.entry(key).or_insert_with(|| (place.clone(), BTreeMap::new()));
                entry.1.extend(packages);
            }
        }
        let lineage = std::iter::successors(base, |base| all.surveyed[*base].base);
        images.push(ImageWaste {
            node: image.node.clone(),
            whole: file_bytes(layers),
            own: all.surveyed[number].own,
            inherited: lineage.map(|base| all.surveyed[base].own).sum(),
        });
    }
    for (place, packages) in tools.into_values() {
        let carried_by = carried.get(place.owner.name()).copied().unwrap_or(0);
        all.findings.push(tools_finding(place, &packages, carried_by));
    }
    let mut findings = all.findings;
    sort(&mut findings);
    HierarchyWaste { findings, images, unpublished: sizes.unpublished }
}

/// Findings with one cause follow each other, the largest cause first; secrets come before all others.
fn sort(findings: &mut [WasteFinding]) {
    let cause = |finding: &WasteFinding| {
        let by = finding.by.as_ref().map(|by| by.number);
        (finding.layer.number, by, finding.owner.clone(), finding.kind)
    };
    let mut totals = BTreeMap::new();
    for finding in &*findings {
        let total = totals.entry(cause(finding)).or_insert(0);
        *total = finding.bytes.saturating_add(*total);
    }
    findings.sort_by_cached_key(|finding| {
        let is_secret = finding.kind == WasteKind::Secret;
        let (cause, largest) = (cause(finding), std::cmp::Reverse(finding.bytes));
        let total = std::cmp::Reverse(totals[&cause]);
        (!is_secret, total, cause, largest, finding.path.clone())
    });
}

struct HierarchySurveyor<'f> {
    facts: &'f Facts,
    read: &'f BTreeMap<Digest, ImageLayers>,
    surveyed: Vec<Surveyed>,
    findings: Vec<WasteFinding>,
}

impl HierarchySurveyor<'_> {
    /// Surveys these layers of an image, and returns their number. They are on those of the base.
    fn add(
        &mut self,
        base: Option<usize>,
        (image, own): (&Digest, Range<usize>),
        owner: &WasteOwner,
        lines: &[Option<SourceLine>],
    ) -> usize {
        let layers = &self.read[image];
        let digests = &self.facts.images[image].layers[..own.end];
        let published = self.facts.published.values().filter_map(|it| self.facts.images.get(it));
        let carrying = published.filter(|other| other.layers.starts_with(digests));
        let carried_by = carrying.count().saturating_sub(1);
        let texts = layer_texts(&layers.history, layers.layers.len());
        let mut places = base.map_or(Vec::new(), |base| self.surveyed[base].places.clone());
        places.truncate(own.start);
        for number in places.len()..own.end {
            places.push(LayerPlace {
                owner: owner.clone(),
                number: number + 1,
                digest: digests[number].clone(),
                source: number.checked_sub(own.start).and_then(|n| lines.get(n)?.clone()),
                history: texts[number].map(str::to_owned),
            });
        }
        let stack = stack(layers, own.end);
        let (groups, counted) = {
            let known = |at: StackFile| {
                let mut lineage = std::iter::successors(base, |base| self.surveyed[*base].base);
                lineage.any(|base| self.surveyed[base].counted.contains(&at))
            };
            waste(&stack, &own, &known)
        };
        let certain = groups.iter().filter(|group| group.kind.is_certain());
        let own_bytes = certain.map(|group| group.bytes).sum();
        for group in &groups {
            self.findings.push(finding(group, &places, (owner, carried_by)));
        }
        self.surveyed.push(Surveyed { places, counted, base, own: own_bytes });
        self.surveyed.len() - 1
    }
}

/// The image that a base is, if it is not the published image of a parent.
fn foreign_owner(hierarchy: &Hierarchy, node: &Node, image: &Measured) -> WasteOwner {
    let parent = hierarchy.base(node).filter(|_| image.has_old_base);
    match (parent, node.upstream()) {
        (Some(parent), _) => WasteOwner::Older(parent.name.to_string()),
        (None, Some(upstream)) => WasteOwner::Upstream(upstream.to_string()),
        (None, None) => WasteOwner::Upstream("its base".to_owned()),
    }
}

fn stack(layers: &ImageLayers, number: usize) -> LayerStack<'_> {
    let layers: Vec<&LayerIndex> = layers.layers[..number].iter().map(Arc::as_ref).collect();
    LayerStack::of(&layers)
}

fn file_bytes(layers: &ImageLayers) -> u64 {
    layers.layers.iter().map(|layer| layer.bytes()).fold(0, u64::saturating_add)
}

fn finding(
    group: &WasteGroup,
    places: &[LayerPlace],
    (owner, carried_by): (&WasteOwner, usize),
) -> WasteFinding {
    let layer = &places[group.layer];
    let by = group.by.map(|by| &places[by]);
    let between = &places[group.layer..=group.by.unwrap_or(group.layer)];
    let is_one_file = between.iter().all(|place| place.owner == layer.owner);
    let sources = between.iter().filter(|_| is_one_file).map(|place| place.source.as_ref());
    let sources: Vec<&SourceLine> = sources.collect::<Option<_>>().unwrap_or_default();
    WasteFinding {
        owner: owner.clone(),
        kind: group.kind,
        path: format!("/{}", group.path),
        files: group.files,
        bytes: group.bytes,
        fix: fix(group, (layer, by), &sources),
        layer: layer.clone(),
        by: by.cloned(),
        carried_by,
    }
}

fn tools_finding(
    place: LayerPlace,
    packages: &BTreeMap<String, u64>,
    carried_by: usize,
) -> WasteFinding {
    let mut largest: Vec<(&String, &u64)> = packages.iter().collect();
    largest.sort_by_key(|(name, bytes)| (std::cmp::Reverse(**bytes), *name));
    let names: Vec<&str> = largest.iter().take(NAMED).map(|(name, _)| name.as_str()).collect();
    let more = match packages.len().saturating_sub(NAMED) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    let group = WasteGroup {
        kind: WasteKind::BuildTools,
        layer: 0,
        by: None,
        path: names.join(", ") + &more,
        files: packages.len(),
        is_whole: false,
        bytes: packages.values().copied().fold(0, u64::saturating_add),
        same: None,
        modes: [].into(),
        owners: [].into(),
    };
    WasteFinding {
        owner: place.owner.clone(),
        kind: group.kind,
        files: group.files,
        bytes: group.bytes,
        fix: fix(&group, (&place, None), &[]),
        path: group.path,
        layer: place,
        by: None,
        carried_by,
    }
}
