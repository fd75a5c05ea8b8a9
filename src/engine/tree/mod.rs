//! The files of an image, and where those of two images differ.
//!
//! An engine hands out images as one archive of layers, each of them an archive too. Both are read
//! while they pass; what is kept of a file is its digest.
//!
//! **Invariant:** in doubt there is a difference, or an error: only what was read whole is called the
//! same. Times never count.

mod archive;
mod compare;
mod entry;
mod fold;
mod layer;
mod shadow;
#[cfg(test)]
mod tests;
mod volatile;

use std::{
    io::{self, Read},
    path::PathBuf,
};

pub use volatile::Volatile;

use self::{archive::Layers, fold::Tree};
use crate::{fingerprint, image::Digest};

/// One path at which two images differ.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct PathDifference {
    /// Relative to the root of the image; the root itself is `.`.
    pub path: PathBuf,
    /// New, gone or changed, seen from the old image.
    pub what: fingerprint::ListingDifference,
}

/// The layers of an image, the base's first, by the digests of what they are uncompressed.
pub(super) type Stack = [Digest];

/// Reads an archive that has the layers of both images, and compares what they make. Sorted by path.
pub(super) fn differences(
    archive: impl Read,
    old: &Stack,
    new: &Stack,
    volatile: &Volatile,
) -> io::Result<Vec<PathDifference>> {
    let layers = Layers::read(archive)?;
    let (old, new) = (Tree::of(old, &layers)?, Tree::of(new, &layers)?);
    Ok(compare::differences(&old, &new, volatile))
}

/// The layers of two images that come one by one.
#[derive(Debug, Default)]
pub(super) struct LayerTars(Layers);

impl LayerTars {
    /// Reads a layer, unpacked.
    pub(super) fn add(&mut self, tar: impl Read) -> io::Result<()> {
        self.0.add(tar)
    }

    pub(super) fn differences(
        &self,
        old: &Stack,
        new: &Stack,
        volatile: &Volatile,
    ) -> io::Result<Vec<PathDifference>> {
        let (old, new) = (Tree::of(old, &self.0)?, Tree::of(new, &self.0)?);
        Ok(compare::differences(&old, &new, volatile))
    }
}
