//! Why tags could not be moved, and which moves are uncertain.

use std::collections::BTreeMap;

use crate::{
    image::{Digest, Tagged},
    publish::store::StoreError,
};

/// Why tags could not be moved, and whether that is permanent.
#[derive(Debug)]
pub(super) struct PromoteRefusal {
    pub(super) why: String,
    pub(super) is_for_good: bool,
    pub(super) source: Option<StoreError>,
    /// Moves that may have been made.
    pub(super) unsure: BTreeMap<usize, MoveDoubt>,
    /// A tag that points elsewhere than where this run put it.
    pub(super) elsewhere: Option<(Tagged, Option<Digest>)>,
}

/// Whether an unconfirmed move may become visible later.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum MoveDoubt {
    /// The store refused the write, or did not receive it: the tag's present digest counts.
    Refused,
    /// The store acknowledged the write, or its answer was lost. The write may become visible later, unless a
    /// later write replaces it.
    Written,
}

impl MoveDoubt {
    pub(super) fn of(error: &StoreError) -> Self {
        match error {
            StoreError::Lost { .. } => Self::Written,
            error if error.is_for_good() => Self::Refused,
            _ => Self::Written,
        }
    }
}

impl PromoteRefusal {
    pub(super) fn superseded(tag: &Tagged, found: Option<Digest>) -> Self {
        let why = match &found {
            Some(found) => format!(
                "`{tag}` was moved by another user or program: it points at {}",
                found.short()
            ),
            None => format!("`{tag}` was deleted during the run"),
        };
        Self::new(why, Some((tag.clone(), found)))
    }

    pub(super) fn of_store(tag: &Tagged, error: StoreError) -> Self {
        let why = format!("`{tag}` cannot be moved: {error}");
        let is_for_good = error.is_for_good();
        let elsewhere = match &error {
            StoreError::Lost { tag, found, .. } => Some((tag.clone(), found.clone())),
            _ => None,
        };
        Self { is_for_good, source: Some(error), ..Self::new(why, elsewhere) }
    }

    fn new(why: String, elsewhere: Option<(Tagged, Option<Digest>)>) -> Self {
        Self { why, is_for_good: true, source: None, unsure: BTreeMap::new(), elsewhere }
    }
}

/// The digest of a tag, for messages.
pub(super) fn shown(found: Option<&Digest>) -> String {
    found.map_or("nothing".to_owned(), |digest| digest.short().to_owned())
}
