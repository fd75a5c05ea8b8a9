//! The size that a deletion frees.

use std::collections::{BTreeMap, BTreeSet};

use crate::{image::Digest, publish::store::Holding};

/// The bytes of pieces that only deleted images contain; each piece counts once.
pub fn freed(going: &[&Holding], staying: &[&Holding]) -> u64 {
    let kept: BTreeSet<&Digest> = staying.iter().flat_map(|one| one.pieces.keys()).collect();
    let gone: BTreeMap<&Digest, u64> = going
        .iter()
        .flat_map(|one| &one.pieces)
        .filter(|(piece, _)| !kept.contains(piece))
        .map(|(piece, size)| (piece, *size))
        .collect();
    // The sizes come from manifests, and every user who can push can write one.
    gone.values().copied().fold(0, u64::saturating_add)
}
