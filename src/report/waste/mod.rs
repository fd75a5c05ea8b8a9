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
    waste::{HierarchyWaste, ImageWaste, WasteFinding, WasteKind, WasteOwner},
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

/// In a few words.
fn what(kind: WasteKind) -> String {
    match kind {
        WasteKind::Deleted => "deleted by a later layer".to_owned(),
        WasteKind::Replaced => "replaced by a later layer".to_owned(),
        WasteKind::Rewritten(cause) => match (cause.mode, cause.owner) {
            (true, false) => "same content again, with another mode".to_owned(),
            (false, true) => "same content again, with another owner".to_owned(),
            (true, true) => "same content again, with another mode and owner".to_owned(),
            (false, false) => "same content again, with another time".to_owned(),
        },
        WasteKind::Moved => "same content again, at another path".to_owned(),
        WasteKind::Cache(program) => format!("cache of {program}"),
        WasteKind::VersionControl => "repository of version control".to_owned(),
        WasteKind::Documentation => "documentation".to_owned(),
        WasteKind::BuildTools => "build tools".to_owned(),
        WasteKind::Duplicate => "same content as another file".to_owned(),
        WasteKind::Secret => "looks like a secret".to_owned(),
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
