//! Which nodes a run selects, and whether it refreshes them.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;

use super::Reason;
use crate::{
    fingerprint::Epoch,
    hierarchy::{Hierarchy, NodeName},
    image::Platform,
};

/// The selection of the command line.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Selection {
    /// Everything that is out of date.
    #[default]
    OutOfDate,
    /// These, even if current, and their descendants that change.
    From(BTreeSet<NodeName>),
    /// Only these, even if current, on their published parents.
    Only(BTreeSet<NodeName>),
    /// Those of these and their descendants that are out of date.
    Among(BTreeSet<NodeName>),
    /// Those of these that are out of date.
    Within(BTreeSet<NodeName>),
    /// These, each with a reason why it may be out of date, and their descendants. The ones that are current
    /// are not built.
    Because(BTreeMap<NodeName, Reason>),
}

/// The request of the user, with its time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlanRequest {
    pub selection: Selection,
    /// Build the selected images without the layer cache; without a selection, all images.
    pub refresh: bool,
    /// Schedules count: an image is due after a tick of its schedule.
    pub by_schedule: bool,
    /// Only images for these platforms, and their ancestors that were never published; empty: all.
    pub platforms: BTreeSet<Platform>,
    /// The time of the request.
    pub now: Timestamp,
}

impl PlanRequest {
    /// The nodes in the run, if every parent of them is published. `native` is the platform of nodes that name none.
    pub fn in_view(&self, hierarchy: &Hierarchy, native: &Platform) -> BTreeSet<NodeName> {
        let mut view = self.selection.in_view(hierarchy);
        if !self.platforms.is_empty() {
            view.retain(|name| {
                let own = hierarchy.get(name).and_then(|node| node.platform.as_ref());
                self.platforms.contains(own.unwrap_or(native))
            });
        }
        view
    }

    /// Whether a node is built even if its image is current.
    pub fn forces(&self, name: &NodeName) -> bool {
        self.selection.forces(name) || self.refreshes(name)
    }

    /// Whether a node is built without the layer cache.
    pub fn refreshes(&self, name: &NodeName) -> bool {
        self.refresh && (self.selection == Selection::OutOfDate || self.selection.names(name))
    }

    /// The reason for a node that is built in any case; `besides`: why it is also out of date.
    pub fn reason(&self, name: &NodeName, besides: Option<Reason>) -> Reason {
        let besides = besides.map(Box::new);
        match self.selection.change(name) {
            Some(change) => change.clone(),
            None if self.refreshes(name) => Reason::Refresh { besides },
            None => Reason::Requested { besides },
        }
    }

    /// The epoch of an image that is built although its build tag exists.
    pub fn epoch(&self) -> Epoch {
        Epoch::at(self.now)
    }
}

impl Selection {
    /// Whether it names a node that is built even if it is current.
    pub fn forces(&self, name: &NodeName) -> bool {
        match self {
            Self::From(names) | Self::Only(names) => names.contains(name),
            Self::OutOfDate | Self::Among(_) | Self::Within(_) | Self::Because(_) => false,
        }
    }

    /// Whether it contains a node for its own sake, not as a descendant.
    fn names(&self, name: &NodeName) -> bool {
        matches!(self, Self::Because(reasons) if reasons.contains_key(name)) || self.forces(name)
    }

    /// Why a node was selected, if not by its name.
    pub(super) fn change(&self, name: &NodeName) -> Option<&Reason> {
        match self {
            Self::Because(reasons) => reasons.get(name),
            _ => None,
        }
    }

    /// The nodes in the run, if every parent of them is published.
    pub fn in_view(&self, hierarchy: &Hierarchy) -> BTreeSet<NodeName> {
        match self {
            Self::OutOfDate => hierarchy.in_build_order().map(|node| node.name.clone()).collect(),
            Self::Only(names) | Self::Within(names) => names.clone(),
            Self::From(names) | Self::Among(names) => with_descendants(hierarchy, names.iter()),
            Self::Because(reasons) => with_descendants(hierarchy, reasons.keys()),
        }
    }
}

fn with_descendants<'a>(
    hierarchy: &Hierarchy,
    names: impl Iterator<Item = &'a NodeName> + Clone,
) -> BTreeSet<NodeName> {
    let below = names.clone().flat_map(|name| hierarchy.descendants(name));
    below.map(|node| node.name.clone()).chain(names.cloned()).collect()
}
