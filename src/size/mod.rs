//! Whose bytes the images of a hierarchy are made of. Pure.
//!
//! **Invariant:** a size that is not known is `None`, never an estimate.

mod budget;
mod measure;
mod what_if;

use std::collections::BTreeMap;

use serde::Deserialize;

pub use self::{
    budget::{
        CandidateSize, Cause, Excess, LayerOwner, LayerShare, LayerStep, OverBudget, WastedPart,
        causes, excesses,
    },
    measure::{HierarchySizes, Measured, measure},
    what_if::{
        FlattenForecast, ForecastBytes, NoForecast, ReplacedLayers, flatten_forecast,
        replaced_layers,
    },
};
use crate::{hierarchy::NodeName, image::Digest};

/// A compressed layer, as a manifest names it.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Blob {
    pub digest: Digest,
    #[serde(default)]
    pub size: u64,
    #[serde(default, rename = "mediaType")]
    pub media_type: String,
}

impl Blob {
    /// The bytes of layers. Every user who can push can write any size into a manifest.
    pub fn sum(layers: &[Self]) -> u64 {
        layers.iter().map(|layer| layer.size).fold(0, u64::saturating_add)
    }
}

/// Sizes in bytes: as a registry stores it, and as a host unpacks it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bytes {
    pub compressed: Option<u64>,
    pub unpacked: Option<u64>,
}

impl Bytes {
    pub const ZERO: Self = Self { compressed: Some(0), unpacked: Some(0) };

    /// The sum is known only if both parts are.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        let sum = |a: Option<u64>, b: Option<u64>| Some(a?.saturating_add(b?));
        Self {
            compressed: sum(self.compressed, other.compressed),
            unpacked: sum(self.unpacked, other.unpacked),
        }
    }

    /// The compressed size if there is one: a registry has it, an engine does not.
    pub fn main(self) -> Option<u64> {
        self.compressed.or(self.unpacked)
    }
}

/// An image in a registry or in an engine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MeasuredImage {
    /// The digests of its unpacked layers, the base's first.
    pub layers: Vec<Digest>,
    /// In a registry: the compressed layers in the same order, and the bytes of manifest and configuration.
    pub stored: Option<(Vec<Blob>, u64)>,
    /// In an engine: the bytes of all layers.
    pub unpacked: Option<u64>,
    /// The image that it was built on, as its label names it.
    pub base: Option<Digest>,
}

/// Everything that was read about a hierarchy's images.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    /// The published images, and those that they were built on or replaced.
    pub images: BTreeMap<Digest, MeasuredImage>,
    pub published: BTreeMap<NodeName, Digest>,
    /// The image to compare each one with.
    pub before: BTreeMap<NodeName, Digest>,
    /// Unpacked bytes of layers that were read once, by the digests of the unpacked layers.
    pub unpacked: BTreeMap<Digest, u64>,
}
