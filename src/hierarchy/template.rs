//! Tag templates: `12-{date}-{git}`.

use std::fmt;

use crate::image::{ReferenceError, Tag};

/// A moving tag with `{date}`, `{git}`, `{fingerprint}` and `{name}` left open.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct TagTemplate(String);

/// What the placeholders stand for in one run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TagValues {
    /// Today in UTC, `20261123`.
    pub date: String,
    /// The first twelve digits of the commit, `-dirty` behind them if the work tree is changed;
    /// none outside a git repository.
    pub git: Option<String>,
}

impl TagTemplate {
    /// Whether it names the same tag every day and at every commit.
    pub fn is_stable(&self) -> bool {
        !["{date}", "{git}", "{fingerprint}"].iter().any(|open| self.0.contains(open))
    }

    /// Whether it can be filled in only once the fingerprint is known.
    pub fn needs_fingerprint(&self) -> bool {
        self.0.contains("{fingerprint}")
    }

    /// Fills in the placeholders. `fingerprint` is the hexadecimal text, of which twelve are used.
    pub fn expand(
        &self,
        _values: &TagValues,
        _name: &str,
        _fingerprint: &str,
    ) -> Result<Tag, TemplateError> {
        todo!()
    }
}

impl fmt::Display for TagTemplate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TemplateError {
    #[error(transparent)]
    Tag(#[from] ReferenceError),
}
