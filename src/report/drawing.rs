//! A hierarchy as boxes and arrows, for those who draw it.
//!
//! **Invariant:** every arrow leads from an earlier box to a later one, and no two arrows join the
//! same two boxes.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;

use super::{numbers, status};
use crate::{
    event::{Outcome, Summary},
    hierarchy::{Base, Hierarchy, Node, NodeName},
    plan::{ImageState, LastBuild, LastBuilds, Plan},
};

/// How an image stands, as far as that was asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DrawnStanding {
    pub state: ImageState,
    /// When the published image was built.
    pub since: Option<Timestamp>,
    /// Of the image that people pull, in bytes.
    pub size: Option<u64>,
    /// Why it stands so, as a sentence.
    pub why: String,
}

/// Of those images that were asked about.
pub type Standings = BTreeMap<NodeName, DrawnStanding>;

/// What a plan and the published images say.
pub fn standings(plan: &Plan, last_builds: &LastBuilds) -> Standings {
    let standing = |step: &crate::plan::Step| {
        let last = last_builds.get(&step.node);
        DrawnStanding {
            state: step.state(),
            since: last.and_then(LastBuild::at),
            size: last.and_then(|last| last.size),
            why: status::why(plan, step),
        }
    };
    plan.steps.iter().map(|step| (step.node.clone(), standing(step))).collect()
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Drawing {
    pub boxes: Vec<Drawn>,
    pub arrows: Vec<Arrow>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Drawn {
    pub label: String,
    pub kind: BoxKind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum BoxKind {
    /// One of the hierarchy's, and how it stands if that is known.
    Image(Option<ImageState>),
    /// One of the hierarchy's, and what a run made of it.
    Ended(ImageFate),
    /// From outside.
    Upstream,
}

/// What became of an image in a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ImageFate {
    Built,
    /// Built and unchanged, or there already was an image of these inputs.
    Same,
    Kept,
    Failed,
    /// Skipped or cancelled.
    NotBuilt,
    /// Its step has not begun.
    Waiting,
    Running,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Arrow {
    pub from: usize,
    pub to: usize,
    pub link: Link,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Link {
    /// The image is `FROM` it.
    Base,
    /// Files are copied from it, or a stage that does not become the image is built on it.
    Copied,
}

impl Drawing {
    /// These images in build order, each upstream before the first that needs it.
    pub fn of(
        hierarchy: &Hierarchy,
        shown: &BTreeSet<NodeName>,
        state: impl Fn(&NodeName) -> Option<ImageState>,
    ) -> Self {
        let mut drawing = Self::default();
        let mut places: BTreeMap<String, usize> = BTreeMap::new();
        for node in hierarchy.in_build_order().filter(|node| shown.contains(&node.name)) {
            let mut bases: Vec<(usize, Link)> = Vec::new();
            for (base, link) in bases_of(node) {
                let (key, upstream) = match base {
                    Base::Node(name) if !shown.contains(name) => continue,
                    Base::Node(name) => (format!("node {name}"), None),
                    Base::Upstream(reference) => (format!("upstream {reference}"), Some(reference)),
                    Base::Files(_) => continue,
                };
                let next = drawing.boxes.len();
                let from = *places.entry(key).or_insert(next);
                if let (Some(reference), true) = (upstream, from == next) {
                    let label = reference.to_string();
                    drawing.boxes.push(Drawn { label, kind: BoxKind::Upstream });
                }
                bases.push((from, link));
            }
            let to = drawing.boxes.len();
            places.insert(format!("node {}", node.name), to);
            let kind = BoxKind::Image(state(&node.name));
            drawing.boxes.push(Drawn { label: node.name.to_string(), kind });
            drawing.arrows.extend(bases.into_iter().map(|(from, link)| Arrow { from, to, link }));
        }
        drawing
    }

    /// What a run changed, tried to change or left undone, and the parents of those images, each by
    /// what became of it. None if that is nothing.
    pub fn of_run(hierarchy: &Hierarchy, summary: &Summary) -> Option<Self> {
        let fates: BTreeMap<&NodeName, ImageFate> =
            summary.steps.iter().map(|step| (&step.node, fate(&step.outcome))).collect();
        let news =
            fates.iter().filter(|(_, fate)| **fate != ImageFate::Kept).map(|(name, _)| *name);
        let mut shown: BTreeSet<NodeName> = news.cloned().collect();
        if shown.is_empty() {
            return None;
        }
        let changed: Vec<NodeName> = shown.iter().cloned().collect();
        let changed = changed.iter().filter(|name| hierarchy.get(name).is_some());
        shown
            .extend(changed.flat_map(|name| hierarchy.parents(name)).map(|node| node.name.clone()));
        let mut drawing = Self::of(hierarchy, &shown, |_| None);
        let images = drawing.boxes.iter_mut().filter(|one| one.kind == BoxKind::Image(None));
        let nodes = hierarchy.in_build_order().filter(|node| shown.contains(&node.name));
        for (image, node) in images.zip(nodes) {
            image.kind = BoxKind::Ended(fates.get(&node.name).copied().unwrap_or(ImageFate::Kept));
        }
        Some(drawing)
    }

    /// The boxes that an arrow leads from to each box.
    pub(super) fn parents(&self) -> Vec<Vec<(usize, Link)>> {
        let mut parents = vec![Vec::new(); self.boxes.len()];
        for arrow in &self.arrows {
            parents[arrow.to].push((arrow.from, arrow.link));
        }
        parents
    }

    /// The boxes that no arrow leads from.
    pub(super) fn is_leaf(&self) -> Vec<bool> {
        let mut leaf = vec![true; self.boxes.len()];
        for arrow in &self.arrows {
            leaf[arrow.from] = false;
        }
        leaf
    }

    /// `8 images`, `8 images on 2 upstreams`.
    pub(super) fn count(&self) -> String {
        let (upstreams, images): (Vec<&Drawn>, Vec<&Drawn>) =
            self.boxes.iter().partition(|one| one.kind == BoxKind::Upstream);
        let upstreams = upstreams.len();
        let nodes: Vec<NodeName> = images.iter().map(|one| one.label.as_str().into()).collect();
        let images = numbers::count(NodeName::images(&nodes), "image");
        match upstreams {
            0 => images,
            n => format!("{images} on {}", numbers::count(n, "upstream")),
        }
    }
}

fn fate(outcome: &Outcome) -> ImageFate {
    match outcome {
        Outcome::Built { .. } => ImageFate::Built,
        Outcome::Unchanged { .. } | Outcome::Reused { .. } => ImageFate::Same,
        Outcome::Kept { .. } | Outcome::Held { .. } => ImageFate::Kept,
        Outcome::Failed(_) => ImageFate::Failed,
        Outcome::Skipped { .. } | Outcome::Cancelled => ImageFate::NotBuilt,
    }
}

/// What a node is built from, each once; what it is `FROM` in the end first.
pub(super) fn bases_of(node: &Node) -> Vec<(&Base, Link)> {
    let mut bases: Vec<(&Base, Link)> = Vec::new();
    let uses = || node.dockerfile.uses.iter();
    for used in uses().filter(|used| used.is_final).chain(uses()) {
        if !bases.iter().any(|(base, _)| **base == used.base) {
            bases.push((&used.base, if used.is_final { Link::Base } else { Link::Copied }));
        }
    }
    bases
}

impl BoxKind {
    /// A word for a class of a style sheet.
    pub(super) fn class(self) -> &'static str {
        match self {
            Self::Upstream => "upstream",
            Self::Image(None) => "image",
            Self::Ended(ImageFate::Built) => "built",
            Self::Ended(ImageFate::Same) => "same",
            Self::Ended(ImageFate::Kept) => "kept",
            Self::Ended(ImageFate::Failed) => "failed",
            Self::Ended(ImageFate::NotBuilt) => "not-built",
            Self::Ended(ImageFate::Waiting) => "waiting",
            Self::Ended(ImageFate::Running) => "running",
            Self::Image(Some(state)) => state.name(),
        }
    }
}

impl Link {
    pub(super) fn class(self) -> &'static str {
        match self {
            Self::Base => "base",
            Self::Copied => "copied",
        }
    }
}
