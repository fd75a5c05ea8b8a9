//! Moves the tags of the journal, wave by wave, and reads all of them once more.

use std::{collections::BTreeMap, future::Future};

use futures_util::{StreamExt as _, stream};
use tokio::sync::mpsc;

use super::{
    MOVED_AT_ONCE, Publisher, Wanted,
    refusal::{MoveDoubt, PromoteRefusal},
};
use crate::{
    event::{EventKind, StopReason, Telling},
    image::Digest,
    publish::{
        journal::{Move, MoveFate},
        store::{Sight, StoreError, Tags, read, write},
    },
};

/// The kind of attempt to move the tags.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Attempt<'a> {
    First,
    /// After the run was cut off: tags at their new digest were moved by it.
    Resumed,
    /// Moves a tag again if it has its old digest, or the digest of a losing rival.
    Again(&'a Wanted),
}

/// The result for one tag.
enum MoveResult {
    Moved,
    /// It was there already.
    There,
    Elsewhere(Option<Digest>),
}

impl<S: Tags> Publisher<'_, '_, S> {
    /// Moves all tags, and reads each of them at the end.
    pub(super) async fn attempt(&mut self, attempt: Attempt<'_>) -> Result<(), PromoteRefusal> {
        self.forward(attempt).await?;
        self.last_look().await
    }

    /// Stops at the first tag that cannot be moved, or at a second stop signal.
    async fn forward(&mut self, attempt: Attempt<'_>) -> Result<(), PromoteRefusal> {
        let moves = self.journal.past().moves.clone().unwrap_or_default();
        let fates = self.journal.past().fates.clone();
        let all: Vec<(usize, &Move)> = moves.iter().enumerate().collect();
        for wave in all.chunk_by(|(_, a), (_, b)| a.wave == b.wave) {
            let store = self.store;
            let mut results = stream::iter(wave)
                .map(async |(index, one)| {
                    let was_moved = fates.get(index) == Some(&MoveFate::Moved);
                    (*index, *one, move_one(store, one, (was_moved, attempt)).await)
                })
                .buffer_unordered(MOVED_AT_ONCE);
            let mut refusal = None;
            let mut unsure: BTreeMap<usize, MoveDoubt> =
                wave.iter().map(|(index, _)| (*index, MoveDoubt::Written)).collect();
            loop {
                let next = ignoring_stops(self.stops, self.telling, results.next()).await;
                let Some((index, one, result)) = next else { break };
                let error = match result {
                    Ok(ended) => {
                        unsure.remove(&index);
                        match ended {
                            MoveResult::Moved if fates.get(&index) == Some(&MoveFate::Moved) => {}
                            MoveResult::Moved => self.moved(index, one),
                            MoveResult::There if fates.contains_key(&index) => {}
                            // The process died between the write and its line in the journal.
                            MoveResult::There if attempt == Attempt::Resumed && !one.is_check() => {
                                self.journal.moved(index);
                            }
                            // Another run of the same images moved it, so this run must not move it back.
                            MoveResult::There => self.journal.left(index),
                            MoveResult::Elsewhere(found) => {
                                refusal.get_or_insert_with(|| {
                                    PromoteRefusal::superseded(&one.tag, found)
                                });
                            }
                        }
                        continue;
                    }
                    Err(error) => error,
                };
                unsure.insert(index, MoveDoubt::of(&error));
                refusal.get_or_insert_with(|| PromoteRefusal::of_store(&one.tag, error));
            }
            if let Some(refusal) = refusal {
                return Err(PromoteRefusal { unsure, ..refusal });
            }
        }
        Ok(())
    }

    fn moved(&mut self, index: usize, one: &Move) {
        self.journal.moved(index);
        self.telling.emit(EventKind::TagMoved {
            node: one.node.clone(),
            tag: one.tag.clone(),
            from: one.from.clone(),
            to: one.to.clone(),
        });
    }

    /// Checks the tags after all moves. Registries have no compare-and-swap, so two runs that read a tag at
    /// the same time may both move it. The first one notices that here.
    async fn last_look(&mut self) -> Result<(), PromoteRefusal> {
        let moves = self.journal.past().moves.clone().unwrap_or_default();
        let judge = |_: usize, one: &Move, found: Option<&Digest>| match found {
            found if found == one.to.as_ref() => Sight::Expected,
            found if found == one.from.as_ref() => Sight::Late,
            _ => Sight::Strange,
        };
        self.look(&moves, judge).await
    }

    /// Reads all tags, and refuses if one has an unexpected digest.
    pub(super) async fn look(
        &mut self,
        moves: &[Move],
        judge: impl Fn(usize, &Move, Option<&Digest>) -> Sight + Send + Sync,
    ) -> Result<(), PromoteRefusal> {
        let (store, judge) = (self.store, &judge);
        let wrong = stream::iter(moves.iter().enumerate())
            .map(async |(index, one)| {
                let judge = |found: Option<&Digest>| judge(index, one, found);
                match read(store, &one.tag, judge).await {
                    Ok(found) if judge(found.as_ref()) == Sight::Expected => None,
                    Ok(found) => Some(PromoteRefusal::superseded(&one.tag, found)),
                    Err(error) => Some(PromoteRefusal::of_store(&one.tag, error)),
                }
            })
            .buffer_unordered(MOVED_AT_ONCE)
            .filter_map(async |refusal| refusal)
            .collect::<Vec<PromoteRefusal>>();
        let wrong = ignoring_stops(self.stops, self.telling, wrong).await;
        wrong.into_iter().next().map_or(Ok(()), Err)
    }
}

/// HEAD, which must show the digest that the plan saw, then the write, which is read back.
async fn move_one<S: Tags>(
    store: &S,
    one: &Move,
    (was_moved, attempt): (bool, Attempt<'_>),
) -> Result<MoveResult, StoreError> {
    let is_free = |found: &Option<Digest>| match attempt {
        Attempt::Again(wanted) => *found == one.from || wanted.get(&one.tag) == Some(found),
        // After the tag has moved, its old digest is as unexpected as any other.
        Attempt::First | Attempt::Resumed => *found == one.from && !was_moved,
    };
    let found = read(store, &one.tag, |found| {
        let found = found.cloned();
        if found == one.to || is_free(&found) { Sight::Expected } else { Sight::Strange }
    });
    let found = found.await?;
    if found == one.to {
        return Ok(MoveResult::There);
    }
    if !is_free(&found) {
        return Ok(MoveResult::Elsewhere(found));
    }
    match &one.to {
        Some(to) => write(store, &one.tag, to, found.as_ref()).await?,
        None if store.remove(&one.tag).await? => {}
        None => return Ok(MoveResult::Elsewhere(found)),
    }
    Ok(MoveResult::Moved)
}

/// Reports the first stop signal and lets the work finish: a promotion does not stop between two tags.
async fn ignoring_stops<T>(
    stops: &mut mpsc::Receiver<StopReason>,
    telling: &mut Telling<'_>,
    work: impl Future<Output = T>,
) -> T {
    let mut work = std::pin::pin!(work);
    loop {
        tokio::select! {
            Some(reason) = stops.recv() => telling.emit(EventKind::StopBegan { reason, running: 0 }),
            () = telling.wait() => {}
            done = &mut work => return done,
        }
    }
}
