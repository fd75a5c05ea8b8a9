//! `rebuild waste`: findings with their fixes, for people and for programs.

mod json;
mod text;

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
};

pub use self::{json::json, text::text};
use crate::{
    hierarchy::NodeName,
    waste::{HierarchyWaste, ImageWaste, WasteFinding, WasteOwner},
};

/// How many findings are printed by default, beside those that look like secrets.
pub const SHOWN: usize = 20;

/// The findings to print.
#[derive(Clone, Copy, Debug)]
pub struct WasteView<'a> {
    pub waste: &'a HierarchyWaste,
    /// The images to print; empty for all.
    pub named: &'a BTreeSet<NodeName>,
    /// The registry, or the engine's address.
    pub place: &'a str,
    /// The folder of the hierarchy. Paths are printed relative to it.
    pub root: &'a Path,
    /// How many findings are printed as text.
    pub limit: usize,
}

impl<'a> WasteView<'a> {
    fn findings(&self) -> impl Iterator<Item = &'a WasteFinding> {
        let (named, findings) = (self.named, &self.waste.findings);
        findings.iter().filter(move |finding| match &finding.owner {
            WasteOwner::Node(name) => named.is_empty() || named.contains(name.as_str()),
            WasteOwner::Older(_) | WasteOwner::Upstream(_) => named.is_empty(),
        })
    }

    fn images(&self) -> impl Iterator<Item = &'a ImageWaste> {
        let (named, images) = (self.named, &self.waste.images);
        images.iter().filter(move |image| named.is_empty() || named.contains(&image.node))
    }

    fn relative(&self, path: &Path) -> PathBuf {
        path.strip_prefix(self.root).unwrap_or(path).to_owned()
    }
}

/// `os-base`, `debian:12 (upstream)`.
fn owner(owner: &WasteOwner) -> String {
    match owner {
        WasteOwner::Node(name) => name.clone(),
        WasteOwner::Older(name) => format!("{name} (an earlier image)"),
        WasteOwner::Upstream(name) => format!("{name} (upstream)"),
    }
}

#[cfg(test)]
mod tests;
