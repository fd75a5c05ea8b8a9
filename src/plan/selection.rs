//! Which nodes a run is about.

use std::collections::BTreeSet;

use crate::hierarchy::{Hierarchy, NodeName};

/// What the command line selects.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Selection {
    /// Everything that is out of date.
    #[default]
    OutOfDate,
    /// These, even if current, and whatever changes below them.
    From(BTreeSet<NodeName>),
    /// These alone, even if current, on their published parents.
    Only(BTreeSet<NodeName>),
}

impl Selection {
    /// Whether a node is built even if its image is current.
    pub fn forces(&self, name: &NodeName) -> bool {
        match self {
            Self::OutOfDate => false,
            Self::From(names) | Self::Only(names) => names.contains(name),
        }
    }

    /// The nodes the run may touch, as long as every parent of them is published.
    pub fn in_view(&self, hierarchy: &Hierarchy) -> BTreeSet<NodeName> {
        match self {
            Self::OutOfDate => hierarchy.in_build_order().map(|node| node.name.clone()).collect(),
            Self::Only(names) => names.clone(),
            Self::From(names) => {
                let below = names.iter().flat_map(|name| hierarchy.descendants(name));
                below.map(|node| node.name.clone()).chain(names.iter().cloned()).collect()
            }
        }
    }
}
