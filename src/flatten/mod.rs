//! Makes one layer of several: the same files, without what a later layer deleted or overwrote.
//!
//! **Invariant:** the same layers give the same bytes. The clock, the machine and the order of entries within a
//! layer never enter the result. Memory holds the entries of the layers, never the content of their files.

mod config;
mod header;
mod layer;
mod listing;
mod measure;
#[cfg(test)]
mod tests;
mod tree;

pub use self::{
    config::{FlatConfig, flat_config},
    layer::FlatLayer,
    listing::{FlatFile, FlatListing},
    measure::{FlatLayerRead, FlatSizes, measure_flat, read_flat_layers},
    tree::FlatTree,
};
