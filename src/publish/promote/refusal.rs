//! Why tags could not be moved, and what is unknown then.

use std::collections::BTreeMap;

use crate::{
    image::{Digest, Tagged},
    publish::store::StoreError,
};

/// Why tags could not be moved, and whether they never can.
#[derive(Debug)]
pub(super) struct Refusal {
    pub(super) why: String,
    pub(super) is_for_good: bool,
    pub(super) source: Option<StoreError>,
    /// Moves that may have been made.
    pub(super) unsure: BTreeMap<usize, Doubt>,
    /// A tag that is not where this run put it, and where it points.
    pub(super) elsewhere: Option<(Tagged, Option<Digest>)>,
}

/// Whether a move that is not known to be made may be seen later.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Doubt {
    /// The store refused it, or nothing is known of it: what the tag shows counts.
    Refused,
    /// The store has acknowledged it, or was asked and not heard. Even if it is not seen now, it may be
    /// seen later, unless a later write replaces it.
    Written,
}

impl Doubt {
    pub(super) fn of(error: &StoreError) -> Self {
        match error {
            StoreError::Lost { .. } => Self::Written,
            error if error.is_for_good() => Self::Refused,
            _ => Self::Written,
        }
    }
}

impl Refusal {
    pub(super) fn superseded(tag: &Tagged, found: Option<Digest>) -> Self {
        let why = format!(
            "`{tag}` was moved by somebody else meanwhile: it points at {}",
            shown(found.as_ref())
        );
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

/// Where a tag points, for people.
pub(super) fn shown(found: Option<&Digest>) -> String {
    found.map_or("nothing".to_owned(), |digest| digest.short().to_owned())
}
