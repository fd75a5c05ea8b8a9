//! A run as one HTML page: a file that needs nothing else, or parts for a server.
//!
//! **Invariant:** maud escapes every text of a build, a file or a registry, and the sanitizer makes its control characters
//! visible. No element has a style or a script of its own, so a content security policy can refuse both.

mod page;
pub mod parts;
mod sentence;
mod timing;
mod view;
pub(in crate::report) mod words;

pub use self::{
    page::{document, page},
    view::{RunView, outcome_word},
    words::sentence,
};

/// The style sheet of the parts. The colours are custom properties.
pub const STYLE: &str = include_str!("page.css");
/// Search in logs and in the table. Everything else works without it.
pub const SCRIPT: &str = include_str!("page.js");

#[cfg(test)]
mod tests;
