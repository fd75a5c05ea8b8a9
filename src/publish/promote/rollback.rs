//! Undoes the promotion of a run: computes the moves, which are then promoted like any others.

use std::collections::BTreeSet;

use futures_util::{StreamExt as _, TryStreamExt as _, stream};

use super::{MOVED_AT_ONCE, shown};
use crate::{
    image::{Digest, Repository},
    publish::{
        journal::{Move, PastRun},
        store::{StoreError, Tags},
    },
};

/// The moves of a rollback.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rollback {
    /// Children before parents.
    pub moves: Vec<Move>,
    /// Tags that do not move.
    pub staying: Vec<(Move, Staying)>,
}

/// Why a tag does not move back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Staying {
    /// It already points where it did before the run.
    BackAlready,
    /// It has moved since.
    MovedSince { found: Option<Digest> },
    /// It was new in that run, and the store cannot delete it.
    New,
    /// The image that it would move back to was deleted.
    Gone,
}

/// Compares the present digest of each tag with the digest that the run wrote. Changes nothing.
pub async fn rollback<S: Tags>(store: &S, of: &PastRun) -> Result<Rollback, StoreError> {
    let wanted: Vec<(&Move, bool)> = of.wanted().collect();
    let now = store.heads(wanted.iter().map(|(one, _)| one.tag.clone()).collect()).await?;
    let last = wanted.iter().map(|(one, _)| one.wave).max().unwrap_or(0);
    let gone = gone(store, &wanted).await?;
    let mut rollback = Rollback::default();
    for (one, is_ours) in wanted {
        let found = now.get(&one.tag).cloned();
        // This run did not write a tag that a rival wanted elsewhere.
        if !is_ours && found != one.to {
            continue;
        }
        let staying = if found == one.from {
            Staying::BackAlready
        } else if found != one.to {
            Staying::MovedSince { found }
        } else if one.from.is_none() && !store.can_remove() {
            Staying::New
        } else if before(one).is_some_and(|image| gone.contains(&image)) {
            Staying::Gone
        } else {
            let (from, to) = (one.to.clone(), one.from.clone());
            rollback.moves.push(Move { from, to, wave: last - one.wave, ..one.clone() });
            continue;
        };
        rollback.staying.push((one.clone(), staying));
    }
    rollback.moves.sort_by_key(|one| one.wave);
    Ok(rollback)
}

/// The previous images that were deleted. Usually several tags of a run share an image.
async fn gone<'a, S: Tags>(
    store: &S,
    wanted: &[(&'a Move, bool)],
) -> Result<BTreeSet<Image<'a>>, StoreError> {
    let images: BTreeSet<Image<'_>> = wanted.iter().filter_map(|(one, _)| before(one)).collect();
    let gone = stream::iter(images)
        .map(async |image @ (repository, digest)| {
            Ok((!store.has(repository, digest).await?).then_some(image))
        })
        .buffer_unordered(MOVED_AT_ONCE);
    gone.try_filter_map(async |image| Ok(image)).try_collect().await
}

type Image<'a> = (&'a Repository, &'a Digest);

/// The digest of a tag before the run.
fn before(one: &Move) -> Option<Image<'_>> {
    Some((&one.tag.repository, one.from.as_ref()?))
}

impl Rollback {
    /// The first tag whose previous image was deleted. Then no tag moves.
    pub fn impossible(&self) -> Option<&Move> {
        let gone = self.staying.iter().find(|(_, staying)| *staying == Staying::Gone);
        gone.map(|(one, _)| one)
    }

    /// The tags that have moved since.
    pub fn moved_since(&self) -> usize {
        let since = |staying: &Staying| matches!(staying, Staying::MovedSince { .. });
        self.staying.iter().filter(|(_, staying)| since(staying)).count()
    }
}

impl std::fmt::Display for Staying {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::BackAlready => f.write_str("is already where it was"),
            Self::MovedSince { found } => {
                write!(f, "was moved since, and is left at {}", shown(found.as_ref()))
            }
            Self::Gone => f.write_str("cannot go back: the image that it showed is gone"),
            Self::New => f.write_str("was new, and a registry cannot delete a single tag"),
        }
    }
}
