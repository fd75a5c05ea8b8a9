//! `rebuild tree`: which image is built from which, for people, for programs and as a picture.

mod dot;
mod json;
mod layout;
mod svg;
mod text;

use std::collections::BTreeSet;

pub(super) use self::svg::Picture;
pub use self::{
    dot::dot,
    json::json,
    svg::{linked_svg, svg},
    text::text,
};
use super::drawing::{Drawing, Standings};
use crate::hierarchy::{Hierarchy, NodeName};

/// What is told: these images of a hierarchy, and how they stand.
#[derive(Clone, Copy, Debug)]
pub struct TreeView<'a> {
    pub hierarchy: &'a Hierarchy,
    pub shown: &'a BTreeSet<NodeName>,
    /// `None` if nobody was asked.
    pub standings: Option<&'a Standings>,
}

impl TreeView<'_> {
    pub fn drawing(&self) -> Drawing {
        let state = |name: &NodeName| Some(self.standings?.get(name)?.state);
        Drawing::of(self.hierarchy, self.shown, state)
    }
}

#[cfg(test)]
mod tests;
