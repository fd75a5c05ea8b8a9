//! The real engine, if one answers; in CI it must.
//!
//! Whatever happens on the engine is checked with `docker` or `/proc`, not with our own code.

mod bench;
mod builds;
mod capabilities;
mod containers;
mod contexts;
mod flatten;
mod images;
mod packages;
mod probes;
mod transfers;
mod trees;

use bench::{Bench, wait_until};
