//! Two runs of two machines at once: whose images stay.
//!
//! No registry can compare and write in one step, so each may move a tag that the other has just moved,
//! even after the other has read all of its own back. Who finds that out reads the record of the other.
//!
//! **Invariant:** both come to the same answer without a word between them. A run that has ended well stays;
//! else the one that began later, which is the one with the greater ID. The other one helps it: its tags go to
//! where that run wants them, so that they are one run's whole set, and never half of each.

use super::{Publisher, Refusal, Wanted};
use crate::{exit::Exit, journal::Past, store::Tags};

/// Among so many runs, the newest, the other is looked for.
const RECENT: usize = 8;

/// The run that moved a tag of ours.
pub(super) struct Rival {
    pub(super) stays: bool,
    /// Where it wants its tags.
    pub(super) tags: Wanted,
}

impl Rival {
    fn new(past: Past, ours: &str) -> Self {
        let stays = match &past.ended {
            Some(ended) => ended.exit == Exit::Done && past.turned.is_none(),
            None => past.began.run.as_str() > ours,
        };
        let moves = past.moves.into_iter().flatten();
        Self { stays, tags: moves.map(|one| (one.tag, one.to)).collect() }
    }
}

impl<S: Tags> Publisher<'_, '_, S> {
    /// `None` if nobody moved a tag, or if it was no run that left a record.
    pub(super) async fn rival(&self, refusal: &Refusal) -> Option<Rival> {
        let (tag, found) = refusal.elsewhere.as_ref()?;
        let ours = &self.journal.past().began.run;
        let records = self.store.records(RECENT).await.ok()?;
        let pasts = records.iter().filter_map(|record| Past::read(record));
        let mut others = pasts.filter(|past| past.began.run != *ours);
        let wants = |past: &Past| {
            past.moves.iter().flatten().any(|one| one.tag == *tag && one.to == *found)
        };
        others.find(wants).map(|past| Rival::new(past, ours))
    }
}
