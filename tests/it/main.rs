//! The integration tests: one crate, for it links once.

mod registry;
mod support;
