//! Two runs of two machines at once: whose images stay.
//!
//! No registry can compare and write in one step, so each may move a tag that the other has just moved,
//! even after the other has read all of its own back. Who finds that out reads the record of the other.
//!
//! **Invariant:** both come to the same answer without a word between them. A run that has ended well stays;
//! else the one that began later, which is the one with the greater ID. The other one helps it: its tags go to
//! where that run wants them, so that they are one run's whole set, and never half of each.

use futures_util::{StreamExt as _, stream};

use super::{MOVED_AT_ONCE, Publisher, Refusal, Wanted};
use crate::{
    exit::Exit,
    journal::{Fate, Move, Past},
    run::EventKind,
    store::{StoreError, Tags},
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

    /// Moves all tags once more, also those that the rival has moved; nobody else's.
    pub(super) async fn insist(&mut self, moves: &[Move], rival: &Rival) -> Result<(), Refusal> {
        let all: Vec<(usize, &Move)> = moves.iter().enumerate().collect();
        for wave in all.chunk_by(|(_, a), (_, b)| a.wave == b.wave) {
            let store = self.store;
            let results: Vec<_> = stream::iter(wave)
                .map(async |(index, one)| (*index, *one, overrule(store, one, rival).await))
                .buffer_unordered(MOVED_AT_ONCE)
                .collect()
                .await;
            for (index, one, result) in results {
                if result? && self.journal.past().fates.get(&index) != Some(&Fate::Moved) {
                    self.journal.moved(index);
                    self.telling.emit(EventKind::TagMoved {
                        node: one.node.clone(),
                        tag: one.tag.clone(),
                        from: one.from.clone(),
                        to: one.to.clone(),
                    });
                }
            }
        }
        Ok(())
    }
}

/// Whether it was written.
async fn overrule<S: Tags>(store: &S, one: &Move, rival: &Rival) -> Result<bool, Refusal> {
    let of_store = |error: StoreError| Refusal::of_store(&one.tag, error);
    let found = store.head(&one.tag).await.map_err(of_store)?;
    if found == one.to {
        return Ok(false);
    }
    if found != one.from && rival.tags.get(&one.tag) != Some(&found) {
        return Err(Refusal::superseded(&one.tag, found));
    }
    match &one.to {
        Some(to) => store.point(&one.tag, to).await.map_err(of_store)?,
        None => _ = store.remove(&one.tag).await.map_err(of_store)?,
    }
    Ok(true)
}
