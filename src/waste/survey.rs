//! The waste of a hierarchy: each finding once, at the image that causes it.

use std::{
    collections::{BTreeMap, HashSet},
    ops::Range,
    sync::Arc,
};

use super::{
    finding::{
        FindingFile, LayerPlace, SourceLine, WasteFinding, WasteGroup, WasteKind, WasteOwner,
    },
    fix::fix,
    fold::{LayerStack, StackFile},
    image::{build_tools, waste},
    index::LayerIndex,
    origin::{HistoryEntry, instructions, layer_texts, onbuild},
};
use crate::{
    hierarchy::{Flatten, Hierarchy, Node, NodeName},
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
                    all.add(None, (&image.digest, 0..from, None), &owner, &[])
                }))
            }
            None => None,
        };
        let texts = layer_texts(&layers.history, image.layers);
        let lines = lines(hierarchy, node, &texts[from..]);
        let owner = WasteOwner::Node(image.node.to_string());
        // One layer has the files of its parent once more: the parent causes their waste.
        let parent = hierarchy.base(node).filter(|_| node.flatten == Flatten::All);
        let copied = parent.and_then(|parent| {
            let files = read.get(facts.published.get(&parent.name)?)?;
            Some((*nodes.get(&parent.name)?, stack(files, files.layers.len())))
        });
        let own = (&image.digest, from..image.layers);
        let files = copied.as_ref().map(|(_, files)| files);
        let number = all.add(base, (own.0, own.1, files), &owner, &lines);
        nodes.insert(&image.node, number);
        if image.carried_by == 0 {
            for (layer, packages) in build_tools(&stack(layers, image.layers)) {
                let place = &all.surveyed[number].places[layer];
                let key = (place.owner.clone(), place.number);
                let entry = tools.entry(key).or_insert_with(|| (place.clone(), BTreeMap::new()));
                entry.1.extend(packages);
            }
        }
        let inherited = match &copied {
            Some((parent, files)) => {
                all.copied_waste(*parent, (files, &stack(layers, image.layers)))
            }
            None => all.lineage(base).map(|base| all.surveyed[base].own).sum(),
        };
        images.push(ImageWaste {
            node: image.node.clone(),
            whole: file_bytes(layers),
            own: all.surveyed[number].own,
            inherited,
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
    /// The base, what that is based on, and so on.
    fn lineage(&self, base: Option<usize>) -> impl Iterator<Item = usize> {
        std::iter::successors(base, |base| self.surveyed[*base].base)
    }

    /// The bytes of an image that are waste of its parent, if one layer has the files of both.
    fn copied_waste(&self, parent: usize, (old, new): (&LayerStack<'_>, &LayerStack<'_>)) -> u64 {
        let is_waste = |at: &StackFile| {
            self.lineage(Some(parent)).any(|base| self.surveyed[base].counted.contains(at))
        };
        let both = old.visible.iter().filter(|(_, at)| is_waste(at));
        let both = both.filter_map(|(path, at)| Some((*at, new.visible.get(path)?)));
        let files: BTreeMap<StackFile, u64> = both
            .filter(|(at, copy)| has_same_content((old, *at), (new, **copy)))
            .filter_map(|(_, copy)| Some((*copy, new.file(*copy)?.size)))
            .collect();
        files.into_values().fold(0, u64::saturating_add)
    }

    /// Surveys these layers of an image, and returns their number. They are on those of the base. Files that are also in
    /// `copied` are of another image.
    fn add(
        &mut self,
        base: Option<usize>,
        (image, own, copied): (&Digest, Range<usize>, Option<&LayerStack<'_>>),
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
                let is_copied = |files: &LayerStack<'_>| {
                    let before = files.visible.get(stack.path(at));
                    before.is_some_and(|before| has_same_content((files, *before), (&stack, at)))
                };
                copied.is_some_and(is_copied)
                    || self.lineage(base).any(|base| self.surveyed[base].counted.contains(&at))
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

/// The instruction of each layer: those of its parent's `ONBUILD` come first.
fn lines(hierarchy: &Hierarchy, node: &Node, texts: &[Option<&str>]) -> Vec<Option<SourceLine>> {
    let of = |node: &Node, line: usize| {
        let file = &node.dockerfile;
        let ordinal = file.instructions.iter().position(|one| one.line == line)?;
        let text = file.instructions[ordinal].text.clone();
        Some(SourceLine { file: file.path.clone(), line, text, ordinal })
    };
    let mut lines: Vec<Option<SourceLine>> = Vec::new();
    if let Some(parent) = hierarchy.base(node) {
        let triggers = onbuild(&parent.dockerfile.instructions, parent.target.as_deref());
        let found = instructions(&triggers, None, texts);
        lines.extend(found.iter().map_while(|one| Some(of(parent, (*one)?.line))));
    }
    let own = &node.dockerfile.instructions;
    let rest = instructions(own, node.target.as_deref(), &texts[lines.len()..]);
    lines.extend(rest.into_iter().map(|one| of(node, one?.line)));
    lines
}

fn has_same_content(
    one: (&LayerStack<'_>, StackFile),
    other: (&LayerStack<'_>, StackFile),
) -> bool {
    let content = |(stack, at): (&LayerStack<'_>, StackFile)| {
        stack.file(at).map(|file| (file.size, file.content))
    };
    content(one).is_some() && content(one) == content(other)
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
        listed: group.listed.clone(),
        bytes: group.bytes,
        fix: fix(group, (layer, by), &sources),
        layer: layer.clone(),
        by: by.cloned(),
        same: group.same.as_ref().filter(|_| group.files == 1).map(|same| format!("/{same}")),
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
        listed: largest
            .iter()
            .take(WasteFinding::LISTED)
            .map(|(name, bytes)| FindingFile { path: (*name).clone(), bytes: **bytes })
            .collect(),
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
        listed: group.listed,
        path: group.path,
        layer: place,
        by: None,
        same: None,
        carried_by,
    }
}
