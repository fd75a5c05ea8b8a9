//! What `rebuild check` reports: rules with their explanations, and problems with excerpts.
//!
//! `hierarchy` decides whether a rule is broken: its loader for errors, `hierarchy/lints` for advice.

pub mod diagnostic;
mod nearest;
pub mod rules;

pub use self::nearest::{glob, nearest, slips};
