//! Decides which of two concurrent runs on two machines wins.
//!
//! Registries have no compare-and-swap. So each run may overwrite a tag that the other has just moved, even
//! after the other has read all of its tags back. The run that notices this reads the record of the other.
//!
//! **Invariant:** a rival is a run that is promoting now, or that ended after this run's commit point. If a
//! run ended before that, it is not a rival: then a user moved the tag, and this run leaves it alone.
//! **Invariant:** both rivals compute the same winner without communicating. A run that already succeeded
//! wins. Otherwise the newer commit wins, and for the same commit the run that began later, which has the
//! greater ID. The loser moves its tags to where the winner wants them, so that all tags are from one run.

use std::{collections::BTreeSet, time::Duration};

use super::{Attempt, Publisher, Wanted, refusal::PromoteRefusal};
use crate::publish::{
    journal::{Began, PastRun},
    store::Tags,
};

/// How many of the newest runs are searched for the rival.
const RECENT: usize = 8;
/// How often the winner moves its tags again.
const INSISTS: usize = 5;
/// A run that has not ended after this time was cut off.
const PROMOTES_AT_MOST: Duration = Duration::from_secs(10 * 60);

/// The runs that ended before this run's commit point; `None` if the registry did not answer.
pub(super) type Over = Option<BTreeSet<String>>;

/// The run that moved a tag of ours.
enum Rival {
    /// The rival wins. Contains the digests that it wants for its tags.
    Stays(Wanted),
    GivesWay(Wanted),
    /// It ended without moving tags, and may have moved our tags back.
    GaveUp,
}

impl Rival {
    fn new(past: PastRun, ours: &Began) -> Option<Self> {
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

fn wanted_of(past: PastRun) -> Wanted {
    past.moves.into_iter().flatten().map(|one| (one.tag, one.to)).collect()
}

/// Compares the times of the commits, not their history, which a shallow clone does not have: both runs must
/// compute the same answer.
fn gives_way(ours: &Began, theirs: &Began) -> bool {
    match (ours.committed, theirs.committed) {
        (Some(ours), Some(theirs)) if ours != theirs => ours < theirs,
        _ => ours.run < theirs.run,
    }
}

impl<S: Tags> Publisher<'_, '_, S> {
    /// Moves all tags, also if losing rivals moved them. A refusal contains the digests that winning rivals
    /// want for tags.
    pub(super) async fn contend(
        &mut self,
        first: Attempt<'_>,
        over: &Over,
    ) -> Result<(), (PromoteRefusal, Wanted)> {
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
            // Includes runs that want the digest that this run wrote: they may have found the tag there
            // already.
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

    /// `None` if no tag moved, or if no rival moved it.
    async fn rival(&self, refusal: &PromoteRefusal, over: &Over) -> Option<Rival> {
        let (tag, found) = refusal.elsewhere.as_ref()?;
        let wants = |past: &PastRun| {
            past.moves.iter().flatten().any(|one| one.tag == *tag && one.to == *found)
        };
        let others = self.others(over).await.into_iter().filter(wants);
        let ours = &self.journal.past().began;
        others.rev().find_map(|past| Rival::new(past, ours))
    }

    /// The runs that had not ended at the commit point, the oldest first.
    async fn others(&self, over: &Over) -> Vec<PastRun> {
        let Some(over) = over else { return Vec::new() };
        let ours = &self.journal.past().began.run;
        let records = self.store.records(RECENT).await.unwrap_or_default();
        let pasts = records.iter().rev().filter_map(|record| PastRun::read(record));
        pasts.filter(|past| past.began.run != *ours && !over.contains(&past.began.run)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::publish::journal::RunRequest;

    #[test]
    fn one_of_two_gives_way_and_both_know_which() {
        let began = |run: &str, committed| {
            let asked = RunRequest::Run { flags: String::new() };
            Began { committed, ..Began::new(run, "here", asked) }
        };
        for (first, second, second_stays) in [
            (None, None, true),
            (Some(1), None, true),
            (None, Some(1), true),
            (Some(5), Some(5), true),
            (Some(5), Some(6), true),
            // A CI job that was queued and has older files.
            (Some(6), Some(5), false),
        ] {
            let (first, second) = (began("1", first), began("2", second));
            assert_eq!(gives_way(&first, &second), second_stays, "{first:?} {second:?}");
            assert_eq!(gives_way(&second, &first), !second_stays, "{first:?} {second:?}");
        }
    }
}
