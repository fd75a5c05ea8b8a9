//! Two runs of two machines at once: whose images stay.
//!
//! No registry can compare and write in one step, so each may move a tag that the other has just moved,
//! even after the other has read all of its own back. Who finds that out reads the record of the other.
//!
//! **Invariant:** a rival is a run that is promoting now, or that ended after this run's commit point. A run
//! that ended before is not a rival, wherever a tag points: then another user moved it, and it is left alone.
//! **Invariant:** both rivals come to the same answer without a word between them. A run that has ended well
//! stays; else the one of the newer commit, and of one commit the one that began later, which has the greater
//! ID. The other one helps it: its tags go to where that run wants them, so that they are one run's whole set,
//! and never half of each.

use std::{collections::BTreeSet, time::Duration};

use super::{Attempt, Publisher, Wanted, refusal::Refusal};
use crate::publish::{
    journal::{Began, Past},
    store::Tags,
};

/// Among so many runs, the newest, the other is looked for.
const RECENT: usize = 8;
/// How often a run moves its tags once more that a run which has to give way has moved.
const INSISTS: usize = 5;
/// A run that has not ended after so long is not promoting any more: it was cut off.
const PROMOTES_AT_MOST: Duration = Duration::from_secs(10 * 60);

/// The runs that were over before this run's commit point; unknown if the registry did not say.
pub(super) type Over = Option<BTreeSet<String>>;

/// The run that moved a tag of ours.
enum Rival {
    /// With where it wants its tags.
    Stays(Wanted),
    GivesWay(Wanted),
    /// It has ended and moved nothing, and may have put our tags back to where they were.
    GaveUp,
}

impl Rival {
    fn new(past: Past, ours: &Began) -> Option<Self> {
        let stays = past.succeeded().is_some();
        if past.ended.is_some() && !stays {
            return Some(Self::GaveUp);
        }
        if !stays && past.age() > PROMOTES_AT_MOST {
            return None;
        }
        let stays = stays || gives_way(ours, &past.began);
        let tags = wanted_of(past);
        Some(if stays { Self::Stays(tags) } else { Self::GivesWay(tags) })
    }
}

fn wanted_of(past: Past) -> Wanted {
    past.moves.into_iter().flatten().map(|one| (one.tag, one.to)).collect()
}

/// By the times of the commits and not by their history, of which a shallow clone knows half: both must come to
/// the same answer.
fn gives_way(ours: &Began, theirs: &Began) -> bool {
    match (ours.committed, theirs.committed) {
        (Some(ours), Some(theirs)) if ours != theirs => ours < theirs,
        _ => ours.run < theirs.run,
    }
}

impl<S: Tags> Publisher<'_, '_, S> {
    /// Moves all tags, also against runs that have to give way. With a refusal comes where runs that stay
    /// want tags.
    pub(super) async fn contend(
        &mut self,
        first: Attempt<'_>,
        over: &Over,
    ) -> Result<(), (Refusal, Wanted)> {
        let mut ended = self.attempt(first).await;
        let mut gave_up = false;
        for _ in 0..INSISTS {
            let Err(refusal) = &ended else { return Ok(()) };
            let wanted = match self.rival(refusal, over).await {
                Some(Rival::GivesWay(wanted)) => wanted,
                Some(Rival::GaveUp) if !gave_up => {
                    gave_up = true;
                    Wanted::new()
                }
                _ => break,
            };
            ended = self.attempt(Attempt::Again(&wanted)).await;
        }
        let Err(refusal) = ended else { return Ok(()) };
        let mut wanted = Wanted::new();
        if refusal.is_for_good {
            // Also those that want a tag where this run put it: they may have found it there already.
            let others = self.others(over).await;
            wanted.extend(
                others.into_iter().filter(|past| past.succeeded().is_some()).flat_map(wanted_of),
            );
            if let Some(Rival::Stays(tags)) = self.rival(&refusal, over).await {
                wanted.extend(tags);
            }
        }
        Err((refusal, wanted))
    }

    /// `None` if no tag was moved, or if no run moved it that is promoting now.
    async fn rival(&self, refusal: &Refusal, over: &Over) -> Option<Rival> {
        let (tag, found) = refusal.elsewhere.as_ref()?;
        let wants = |past: &Past| {
            past.moves.iter().flatten().any(|one| one.tag == *tag && one.to == *found)
        };
        let others = self.others(over).await.into_iter().filter(wants);
        let ours = &self.journal.past().began;
        others.rev().find_map(|past| Rival::new(past, ours))
    }

    /// The runs that were not over at the commit point, the oldest first.
    async fn others(&self, over: &Over) -> Vec<Past> {
        let Some(over) = over else { return Vec::new() };
        let ours = &self.journal.past().began.run;
        let records = self.store.records(RECENT).await.unwrap_or_default();
        let pasts = records.iter().rev().filter_map(|record| Past::read(record));
        pasts.filter(|past| past.began.run != *ours && !over.contains(&past.began.run)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::publish::journal::Asked;

    #[test]
    fn one_of_two_gives_way_and_both_know_which() {
        let began = |run: &str, committed| {
            let asked = Asked::Run { flags: String::new() };
            Began { committed, ..Began::new(run, "here", asked) }
        };
        for (first, second, second_stays) in [
            (None, None, true),
            (Some(1), None, true),
            (None, Some(1), true),
            (Some(5), Some(5), true),
            (Some(5), Some(6), true),
            // A job that waited for its machine and has files of before.
            (Some(6), Some(5), false),
        ] {
            let (first, second) = (began("1", first), began("2", second));
            assert_eq!(gives_way(&first, &second), second_stays, "{first:?} {second:?}");
            assert_eq!(gives_way(&second, &first), !second_stays, "{first:?} {second:?}");
        }
    }
}
