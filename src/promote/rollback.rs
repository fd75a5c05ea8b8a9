//! Takes back what a run promoted: which tags go where, and then a promotion like any other.

use super::forward::shown;
use crate::{
    image::Digest,
    journal::{Move, Past},
    store::{StoreError, Tags},
};

/// What taking back a run comes to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rollback {
    /// Children before parents.
    pub moves: Vec<Move>,
    /// Tags that stay where they are.
    pub staying: Vec<(Move, Staying)>,
}

/// Why a tag is not moved back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Staying {
    /// It is where it was before the run.
    BackAlready,
    /// Somebody has moved it since.
    MovedSince { found: Option<Digest> },
    /// It was new in that run, and the store cannot take it away.
    New,
}

/// Compares where each tag of a run is with where the run put it. Changes nothing.
pub async fn rollback<S: Tags>(store: &S, of: &Past) -> Result<Rollback, StoreError> {
    let made: Vec<&Move> = of.standing().collect();
    let now = store.heads(made.iter().map(|one| one.tag.clone()).collect()).await?;
    let last = made.iter().map(|one| one.wave).max().unwrap_or(0);
    let mut rollback = Rollback::default();
    for one in made {
        let found = now.get(&one.tag).cloned();
        let staying = if found == one.from {
            Staying::BackAlready
        } else if found != one.to {
            Staying::MovedSince { found }
        } else if one.from.is_none() && !store.can_remove() {
            Staying::New
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

impl Rollback {
    /// The tags that others hold in place.
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
            Self::New => f.write_str("was new, and a registry does not let us take it away"),
        }
    }
}
