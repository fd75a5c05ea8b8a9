//! Bytes that images need not have: `rebuild waste`. Pure.
//!
//! ```text
//! tar of a layer ─▶ LayerIndex::read ─▶ encode, decode (cache) ─┐
//! configuration ──▶ history ─────────────────────────────────────┴─▶ ImageLayers ─▶ survey ─▶ HierarchyWaste
//! ```
//!
//! - `index`: the files of one layer, without their content. `encoding`: its bytes in the cache.
//! - `fold`: layers on top of each other, and the files that a later layer hides.
//! - `image`: the findings of one image, by kind, layer and folder. `paths` knows caches and secrets by their
//!   paths, `packages` build tools by the package database (`rpm`: the one of rpm).
//! - `origin`: which instruction made which layer. `fix`: the advice, and the line to write.
//! - `survey`: all images of a hierarchy. [`wasted_parts`]: one image, for `budget: { waste: … }`.
//!
//! **Invariant:** a file is certain waste once for an image and its descendants: at the image that causes it.

mod encoding;
mod finding;
mod fix;
mod fold;
mod image;
mod index;
mod origin;
mod packages;
mod paths;
mod rpm;
mod survey;
#[cfg(test)]
pub(crate) mod tests;

use crate::size::WastedPart;

pub use self::{
    encoding::{decode, encode},
    finding::{FindingFile, LayerPlace, WasteFinding, WasteKind, WasteOwner, WritePlace},
    index::LayerIndex,
    origin::{HistoryEntry, history},
    survey::{HierarchyWaste, ImageLayers, ImageWaste, survey},
};

/// What the layers from number `from` waste: files that they hide, and caches and repositories of version control
/// that they add. Advice does not count: see [`WasteKind::is_certain`].
///
/// `layers` are those of the whole image, the base's first; `from` is the number of layers of its base, whose waste
/// does not count. 0 counts the waste of its bases, too.
pub fn wasted_parts(layers: &[&LayerIndex], from: usize) -> Vec<WastedPart> {
    let base = fold::LayerStack::of(&layers[..from]);
    let (_, known) = image::waste(&base, &(0..from), &|_| false);
    let stack = fold::LayerStack::of(layers);
    let (groups, _) = image::waste(&stack, &(from..layers.len()), &|at| known.contains(&at));
    let certain = groups.into_iter().filter(|group| group.kind.is_certain());
    let part = |group: finding::WasteGroup| WastedPart {
        layer: group.layer,
        bytes: group.bytes,
        path: format!("/{}", group.path),
        why: group.kind.to_string(),
    };
    certain.map(part).collect()
}
