//! Two runs of two machines at once: whose images stay.
//!
//! No registry can compare and write in one step, so each may move a tag that the other has just moved,
//! even after the other has read all of its own back. Who finds that out reads the record of the other.
//!
//! **Invariant:** both come to the same answer without a word between them. A run that has ended well stays;
//! else the one of the newer commit, and of one commit the one that began later, which has the greater ID. The other
//! one helps it: its tags go to where that run wants them, so that they are one run's whole set, and never half of each.

use super::{Publisher, Refusal, Wanted};
use crate::{
    exit::Exit,
    journal::{Began, Past},
    store::Tags,
};

/// Among so many runs, the newest, the other is looked for.
const RECENT: usize = 8;

/// The run that moved a tag of ours.
pub(super) struct Rival {
    pub(super) stays: bool,
    /// Where it wants its tags.
    pub(super) tags: Wanted,
}

impl Rival {
    fn new(past: Past, ours: &Began) -> Self {
        let stays = match &past.ended {
            Some(ended) => ended.exit == Exit::Done && past.turned.is_none(),
            None => gives_way(ours, &past.began),
        };
        let moves = past.moves.into_iter().flatten();
        Self { stays, tags: moves.map(|one| (one.tag, one.to)).collect() }
    }
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
    /// `None` if nobody moved a tag, or if it was no run that left a record.
    pub(super) async fn rival(&self, refusal: &Refusal) -> Option<Rival> {
        let (tag, found) = refusal.elsewhere.as_ref()?;
        let ours = &self.journal.past().began;
        let records = self.store.records(RECENT).await.ok()?;
        let pasts = records.iter().filter_map(|record| Past::read(record));
        let mut others = pasts.filter(|past| past.began.run != ours.run);
        let wants = |past: &Past| {
            past.moves.iter().flatten().any(|one| one.tag == *tag && one.to == *found)
        };
        others.find(wants).map(|past| Rival::new(past, ours))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::Asked;

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
