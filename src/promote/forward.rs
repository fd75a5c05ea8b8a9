//! Moves the tags of the journal, wave by wave, those that are not moved yet.

use std::collections::BTreeSet;

use futures_util::{StreamExt as _, stream};

use super::{MOVED_AT_ONCE, Publisher, Refusal, Wanted};
use crate::{
    image::{Digest, Tagged},
    journal::{Fate, Move},
    run::{EventKind, StopReason},
    store::{StoreError, Tags},
};

/// What a tag means that is neither where it was nor where it is to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Elsewhere<'a> {
    /// Another run overtakes this one: all of it is put back.
    Refused,
    /// It is left where it is, and the others are moved.
    Left,
    /// Where a run that has to give way wants it, or has put it back to: it is moved once more.
    Overruled(&'a Wanted),
}

impl Elsewhere<'_> {
    fn overrules(self) -> bool {
        matches!(self, Self::Overruled(_))
    }
}

/// What became of one tag.
enum Ended {
    Moved,
    /// It was there already.
    There,
    Elsewhere(Option<Digest>),
}

impl<S: Tags> Publisher<'_, '_, S> {
    /// Ends at the first that cannot be moved, or at a second stop signal.
    pub(super) async fn forward(&mut self, elsewhere: Elsewhere<'_>) -> Result<(), Refusal> {
        let moves = self.journal.past().moves.clone().unwrap_or_default();
        let fates = self.journal.past().fates.clone();
        let all: Vec<(usize, &Move)> = moves.iter().enumerate().collect();
        for wave in all.chunk_by(|(_, a), (_, b)| a.wave == b.wave) {
            let store = self.store;
            let mut results = stream::iter(wave)
                .filter(|(index, _)| {
                    let is_settled = matches!(fates.get(index), Some(Fate::Left | Fate::Back));
                    std::future::ready(!is_settled || elsewhere.overrules())
                })
                .map(async |(index, one)| {
                    let was_moved = fates.contains_key(index);
                    (*index, *one, move_one(store, one, (was_moved, elsewhere)).await)
                })
                .buffer_unordered(MOVED_AT_ONCE);
            let (mut refusal, mut unsure) = (None, BTreeSet::new());
            loop {
                tokio::select! {
                    Some(reason) = self.stops.recv() => match reason {
                        StopReason::Killed => {
                            refusal.get_or_insert_with(Refusal::interrupted);
                            break;
                        }
                        _ => self.telling.emit(EventKind::StopBegan { reason, running: 0 }),
                    },
                    result = results.next() => match result {
                        Some((index, _, Ok(Ended::Moved))) if fates.get(&index) == Some(&Fate::Moved) => {}
                        Some((index, one, Ok(Ended::Moved))) => {
                            self.journal.moved(index);
                            self.telling.emit(EventKind::TagMoved {
                                node: one.node.clone(),
                                tag: one.tag.clone(),
                                from: one.from.clone(),
                                to: one.to.clone(),
                            });
                        }
                        Some((index, _, Ok(Ended::There))) if fates.contains_key(&index) => {}
                        Some((index, _, Ok(Ended::There))) => match elsewhere {
                            // Another run of the same images: what it moved is not ours to put back.
                            Elsewhere::Refused | Elsewhere::Overruled(_) => self.journal.left(index),
                            // The process died between the write and the line about it.
                            Elsewhere::Left => self.journal.moved(index),
                        },
                        Some((index, one, Ok(Ended::Elsewhere(found)))) => match elsewhere {
                            Elsewhere::Refused | Elsewhere::Overruled(_) => {
                                refusal.get_or_insert_with(|| Refusal::superseded(&one.tag, found));
                            }
                            Elsewhere::Left => {
                                self.journal.left(index);
                                let message = format!(
                                    "`{}` was moved by somebody else meanwhile, and is left where it is: \
                                     it points at {}",
                                    one.tag, shown(found.as_ref())
                                );
                                let node = Some(one.node.clone());
                                self.telling.emit(EventKind::Warning { node, message });
                            }
                        },
                        Some((index, one, Err(error))) => {
                            unsure.insert(index);
                            refusal.get_or_insert_with(|| Refusal::of_store(&one.tag, error));
                        }
                        None => break,
                    },
                }
            }
            if let Some(refusal) = refusal {
                return Err(Refusal { unsure, ..refusal });
            }
        }
        Ok(())
    }
}

impl<S: Tags> Publisher<'_, '_, S> {
    /// What is wrong with the tags once all are moved. No registry can compare and write in one step, so
    /// two runs that ask at the same moment where a tag is may both move it; who was first finds out here.
    pub(super) async fn overtaken(&self, moves: &[Move]) -> Result<(), Refusal> {
        let store = self.store;
        let read = stream::iter(moves)
            .map(async |one| match store.head(&one.tag).await {
                Ok(found) if found == one.to => None,
                Ok(found) => Some(Refusal::superseded(&one.tag, found)),
                Err(error) => Some(Refusal::of_store(&one.tag, error)),
            })
            .buffer_unordered(MOVED_AT_ONCE);
        let wrong: Vec<Refusal> = read.filter_map(async |refusal| refusal).collect().await;
        wrong.into_iter().next().map_or(Ok(()), Err)
    }
}

/// A HEAD that must still show what the plan saw, then the write, which the store reads back.
async fn move_one<S: Tags>(
    store: &S,
    one: &Move,
    (was_moved, elsewhere): (bool, Elsewhere<'_>),
) -> Result<Ended, StoreError> {
    let found = store.head(&one.tag).await?;
    if found == one.to {
        return Ok(Ended::There);
    }
    let is_free = match elsewhere {
        Elsewhere::Overruled(wanted) => found == one.from || wanted.get(&one.tag) == Some(&found),
        // Of a tag that was moved already, the old place is as strange as any other.
        Elsewhere::Refused | Elsewhere::Left => found == one.from && !was_moved,
    };
    if !is_free {
        return Ok(Ended::Elsewhere(found));
    }
    match &one.to {
        Some(to) => store.point(&one.tag, to).await?,
        None if store.remove(&one.tag).await? => {}
        None => return Ok(Ended::Elsewhere(found)),
    }
    Ok(Ended::Moved)
}

/// Where a tag points, for people.
pub(super) fn shown(found: Option<&Digest>) -> String {
    found.map_or("nothing".to_owned(), |digest| digest.short().to_owned())
}

impl Refusal {
    fn interrupted() -> Self {
        Self {
            why: "interrupted".to_owned(),
            is_for_good: true,
            source: None,
            unsure: BTreeSet::new(),
            elsewhere: None,
        }
    }

    fn superseded(tag: &Tagged, found: Option<Digest>) -> Self {
        let why = format!(
            "`{tag}` was moved by somebody else meanwhile: it points at {}",
            shown(found.as_ref())
        );
        let elsewhere = Some((tag.clone(), found));
        Self { why, is_for_good: true, source: None, unsure: BTreeSet::new(), elsewhere }
    }

    fn of_store(tag: &Tagged, error: StoreError) -> Self {
        let why = format!("`{tag}` cannot be moved: {error}");
        let is_for_good = error.is_for_good();
        let elsewhere = match &error {
            StoreError::Lost { tag, found, .. } => Some((tag.clone(), found.clone())),
            _ => None,
        };
        Self { why, is_for_good, source: Some(error), unsure: BTreeSet::new(), elsewhere }
    }
}
