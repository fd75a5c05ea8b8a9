//! How much room images take that go.

use std::collections::{BTreeMap, BTreeSet};

use crate::{image::Digest, publish::store::Holding};

/// What those that go consist of and none that stays does, in bytes; each piece once.
pub fn freed(going: &[&Holding], staying: &[&Holding]) -> u64 {
    let kept: BTreeSet<&Digest> = staying.iter().flat_map(|one| one.pieces.keys()).collect();
    let gone: BTreeMap<&Digest, u64> = going
        .iter()
        .flat_map(|one| &one.pieces)
        .filter(|(piece, _)| !kept.contains(piece))
        .map(|(piece, size)| (piece, *size))
        .collect();
    // The sizes are what a manifest says, and anyone who may push can write one.
    gone.values().copied().fold(0, u64::saturating_add)
}
