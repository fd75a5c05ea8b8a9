//! Finishes a promotion that was cut off: forward, or back if the store refuses.
//!
//! **Invariant:** it decides for the whole set before it moves a tag. If another run has published since, the
//! set stays as that run left it. If a user has moved a tag, that tag stays and the others move back.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    Attempt, Publisher, Wanted,
    refusal::{MoveDoubt, PromoteRefusal},
    rival::Over,
    tags,
};
use crate::{
    exit::Exit,
    image::{Digest, Tagged},
    publish::{
        journal::{Move, MoveFate, PastRun},
        store::{Sight, StoreError, Tags},
    },
};

/// How many of the newest runs are searched for one that has published since.
const LOOKED_THROUGH: usize = 100;

/// The end of a run that was cut off.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Recovered {
    /// All its tags moved.
    Finished {
        of: usize,
    },
    PutBack {
        why: String,
    },
    /// Another run has published since, so its tags stay where they are.
    LeftTo {
        run: String,
    },
    /// The store refuses to move this number of tags back. The journal stays open.
    Stuck {
        tags: usize,
        why: String,
    },
}

impl<S: Tags> Publisher<'_, '_, S> {
    /// Finishes the journal's run. `neighbors` are the runs of this machine.
    ///
    /// # Errors
    /// The store is unreachable. The journal stays open, and the next command tries again.
    pub async fn recover(&mut self, neighbors: Vec<PastRun>) -> Result<Recovered, StoreError> {
        let others: Vec<PastRun> = self.recorded().await?.into_iter().chain(neighbors).collect();
        if let Some(run) = self.published_since(&others) {
            return Ok(self.leave_to(run).await);
        }
        let past = self.journal.past();
        if let Some(why) = past.turned.clone() {
            return self.recover_back(why, Default::default()).await;
        }
        let over: Over = Some(over_before(past, &others));
        let moves = past.moves.clone().unwrap_or_default();
        let fates = past.fates.clone();
        let judge = move |index: usize, one: &Move, found: Option<&Digest>| {
            let is_from = found == one.from.as_ref() && fates.get(&index) != Some(&MoveFate::Moved);
            if found == one.to.as_ref() || is_from { Sight::Expected } else { Sight::Strange }
        };
        let ended = match self.look(&moves, judge).await {
            Ok(()) => self.contend(Attempt::Resumed, &over).await,
            Err(refusal) => {
                // It may have begun after the records were read.
                if let Some(run) = self.published_since(&self.recorded().await?) {
                    return Ok(self.leave_to(run).await);
                }
                Err((refusal, Wanted::new()))
            }
        };
        let Err((PromoteRefusal { why, is_for_good, source, unsure, .. }, wanted)) = ended else {
            self.close(Exit::Done, true).await;
            return Ok(Recovered::Finished { of: tags(&moves) });
        };
        if let (false, Some(error)) = (is_for_good, source) {
            self.journal.stay_open();
            return Err(error);
        }
        self.warn(None, format!("{why}: putting back the tags that were moved"));
        self.journal.turned(&why);
        self.recover_back(why, (unsure, wanted)).await
    }

    /// The newest runs that the store knows.
    async fn recorded(&self) -> Result<Vec<PastRun>, StoreError> {
        match self.store.records(LOOKED_THROUGH).await {
            Ok(records) => Ok(records.iter().filter_map(|record| PastRun::read(record)).collect()),
            Err(error) if error.is_for_good() => Ok(Vec::new()),
            Err(error) => Err(error),
        }
    }

    fn published_since(&self, others: &[PastRun]) -> Option<String> {
        let past = self.journal.past();
        let other = others.iter().find(|other| has_published_since(past, other))?;
        Some(other.began.run.clone())
    }

    async fn recover_back(
        &mut self,
        why: String,
        (unsure, wanted): (BTreeMap<usize, MoveDoubt>, Wanted),
    ) -> Result<Recovered, StoreError> {
        // The process may have written the others before it was cut off.
        let of = self.journal.past().moves.as_ref().map_or(0, Vec::len);
        let mut all: BTreeMap<_, _> = (0..of).map(|index| (index, MoveDoubt::Refused)).collect();
        all.extend(unsure);
        let tags = self.put_back(&all, &wanted).await?;
        if tags > 0 {
            return Ok(Recovered::Stuck { tags, why });
        }
        self.close(Exit::PromotionFailed, true).await;
        Ok(Recovered::PutBack { why })
    }

    /// Ends the run without moving a tag.
    async fn leave_to(&mut self, run: String) -> Recovered {
        self.journal.turned(&format!("run {run} has published since"));
        let of = self.journal.past().moves.as_ref().map_or(0, Vec::len);
        for index in 0..of {
            self.journal.left(index);
        }
        self.close(Exit::PromotionFailed, true).await;
        Recovered::LeftTo { run }
    }
}

/// Whether another run moved tags of the same set after this run was cut off, or is about to.
fn has_published_since(past: &PastRun, other: &PastRun) -> bool {
    let tags: BTreeSet<&Tagged> = past.moves.iter().flatten().map(|one| &one.tag).collect();
    let mut moves = other.moves.iter().flatten();
    if other.began.run == past.began.run || !moves.any(|one| tags.contains(&one.tag)) {
        return false;
    }
    match other.ended {
        Some(_) => other.succeeded().is_some_and(|at| at > past.committed()),
        None => other.committed() > past.committed(),
    }
}

/// The runs that had ended before a run began to move tags.
fn over_before(past: &PastRun, others: &[PastRun]) -> BTreeSet<String> {
    let is_over =
        |other: &&PastRun| other.ended.as_ref().is_some_and(|ended| ended.at <= past.committed());
    others.iter().filter(is_over).map(|other| other.began.run.clone()).collect()
}
