//! `rebuild size`: bytes by the image that added them, for people, for programs and as a picture.

mod csv;
mod json;
mod svg;
mod text;

use std::collections::{BTreeMap, BTreeSet};

pub use self::{csv::csv, json::json, svg::svg, text::text};
use crate::{
    hierarchy::NodeName,
    size::{HierarchySizes, Measured},
};

/// The sizes to print.
#[derive(Clone, Copy, Debug)]
pub struct SizeView<'a> {
    /// Of all images: the totals.
    pub sizes: &'a HierarchySizes,
    /// The images to print; empty for all.
    pub named: &'a BTreeSet<NodeName>,
    /// The registry, or the engine's address.
    pub place: &'a str,
    /// Whether the place is a registry: it has compressed sizes.
    pub is_registry: bool,
    /// The commit of `--since`.
    pub since: Option<&'a str>,
}

impl<'a> SizeView<'a> {
    fn is_shown(&self, name: &NodeName) -> bool {
        self.named.is_empty() || self.named.contains(name)
    }

    /// Each image below the image whose layers it begins with, with its depth.
    fn below_bases(&self) -> Vec<(usize, &'a Measured)> {
        let mut children: BTreeMap<Option<&NodeName>, Vec<&Measured>> = BTreeMap::new();
        for image in &self.sizes.images {
            children.entry(image.parent.as_ref()).or_default().push(image);
        }
        let mut found = Vec::new();
        let top = |name| children.get(&name).into_iter().flatten().rev();
        // No recursion: a chain may be as long as the hierarchy.
        let mut open: Vec<(usize, &Measured)> = top(None).map(|image| (0, *image)).collect();
        while let Some((depth, image)) = open.pop() {
            found.push((depth, image));
            open.extend(top(Some(&image.node)).map(|image| (depth + 1, *image)));
        }
        found
    }
}

#[cfg(test)]
mod tests;
