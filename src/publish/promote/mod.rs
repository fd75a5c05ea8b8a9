//! Moves the tags of a closure, parents before children, all or none.
//!
//! **Invariant:** before the first tag moves, all images to promote are tested and stored, and the journal
//! with every move is on the disk.
//! **Invariant:** the journal also lists the tags of descendants that need no move. If another run has moved
//! one since the plan, this run does not end with a mix of both.
//! **Invariant:** a tag moves only from the digest that the plan saw, or from the digest of a losing rival.
//! If another user moved a tag, or the store permanently refuses, every moved tag that still points where
//! this run put it moves back. If the store is unreachable, or refuses to move a tag back, the journal stays
//! open and the next command continues.
//! **Invariant:** success means that every tag was read at its new digest after the last write. A single
//! other answer decides nothing: the tag is read again.

mod back;
mod conclude;
mod forward;
mod held;
mod moves;
mod recover;
mod refusal;
mod rival;
mod rollback;

use std::{collections::BTreeMap, time::Duration};

use tokio::{sync::mpsc, time::Instant};

pub use self::{
    conclude::conclude,
    held::{held_back, is_withheld as withheld},
    moves::{Verdict, verdict},
    recover::Recovered,
    rollback::{Rollback, Staying, rollback},
};
use self::{
    forward::Attempt,
    refusal::{PromoteRefusal, shown},
    rival::Over,
};
use crate::{
    event::{EventKind, Promotion, StopReason, Telling},
    exit::Exit,
    hierarchy::NodeName,
    image::{Digest, Tag, Tagged},
    publish::{
        journal::{Journal, JournalError, Move},
        store::{RecordStage, Tags},
    },
};

/// How many tags are moved at once.
const MOVED_AT_ONCE: usize = 16;

/// The result.
#[derive(Debug)]
pub struct Promoted {
    pub promotion: Promotion,
    /// The tags of each node that moved and did not move back.
    pub tags: BTreeMap<NodeName, Vec<Tag>>,
}

/// Moves tags and records each move in the journal.
pub struct Publisher<'a, 't, S> {
    pub store: &'a S,
    pub journal: &'a mut Journal,
    /// A promotion takes seconds and finishes after a first stop signal, because half of it would mix old and
    /// new images. A second signal stops it.
    pub stops: &'a mut mpsc::Receiver<StopReason>,
    pub telling: &'a mut Telling<'t>,
}

/// How many tags move.
fn tags(moves: &[Move]) -> usize {
    moves.iter().filter(|one| !one.is_check()).count()
}

/// The new digests of tags.
type Wanted = BTreeMap<Tagged, Option<Digest>>;

impl<S: Tags> Publisher<'_, '_, S> {
    /// Moves the tags of a verdict.
    pub async fn promote(&mut self, verdict: Verdict) -> Promoted {
        let nothing = |promotion| Promoted { promotion, tags: BTreeMap::new() };
        let (moves, held) = match verdict {
            Verdict::NotAsked(why) => return nothing(Promotion::NotAsked(why)),
            Verdict::Withhold => return nothing(Promotion::Withheld),
            Verdict::Move { moves, held } if moves.is_empty() && held.is_empty() => {
                return nothing(Promotion::Nothing);
            }
            Verdict::Move { moves, held } => (moves, held),
        };
        if moves.is_empty() {
            return nothing(Promotion::Done { moved: 0, took: Duration::ZERO, held });
        }
        let of = tags(&moves);
        let over = match self.commit(&moves).await {
            Ok(over) => over,
            Err(error) => {
                let why = format!("{error}: no tag was moved");
                let left = self.left();
                return nothing(Promotion::Incomplete { moved: 0, of, why, left });
            }
        };
        self.telling.emit(EventKind::PromotionStarted { tags: of });
        let began = Instant::now();
        let promotion = match self.contend(Attempt::First, &over).await {
            Ok(()) => Promotion::Done { moved: self.made(), took: began.elapsed(), held },
            Err((refusal, wanted)) => {
                let why = self.give_up(refusal, &wanted).await;
                let left = self.left();
                Promotion::Incomplete { moved: self.made(), of, why, left }
            }
        };
        Promoted { promotion, tags: self.tags_in_order(&moves) }
    }

    /// Writes the last line of the journal, and the record that other machines see.
    pub async fn end(&mut self, exit: Exit) {
        self.close(exit, false).await;
    }

    /// Returns the runs that had ended by then.
    async fn commit(&mut self, moves: &[Move]) -> Result<Over, JournalError> {
        let over = self.store.ended().await.ok();
        self.journal.commit(moves)?;
        self.record(RecordStage::Committed).await;
        Ok(over)
    }

    async fn close(&mut self, exit: Exit, recovered: bool) {
        self.journal.end(exit, recovered);
        let past = self.journal.past();
        if past.moves.is_some() && past.ended.is_some() {
            self.record(RecordStage::Ended).await;
        }
        if let Some(error) = self.journal.take_failure() {
            self.warn(None, error.to_string());
        }
    }

    /// If this fails, other machines do not list the run; nothing else depends on it.
    async fn record(&mut self, stage: RecordStage) {
        let run = self.journal.past().began.run.clone();
        if let Err(error) = self.store.record(&run, stage, self.journal.text()).await {
            self.warn(None, format!("the record of the run is not in the registry: {error}"));
        }
    }

    /// After a refusal: moves tags back, or leaves the journal open. `wanted` are the digests that a winning
    /// rival wants.
    async fn give_up(&mut self, refusal: PromoteRefusal, wanted: &Wanted) -> String {
        let PromoteRefusal { why, is_for_good, unsure, .. } = refusal;
        if is_for_good {
            self.warn(None, format!("{why}: putting back the tags that were moved"));
            self.journal.turned(&why);
            _ = self.put_back(&unsure, wanted).await;
            return why;
        }
        self.journal.stay_open();
        format!("{why}; the next `rebuild` moves the rest")
    }

    /// The tags that did not move, or moved back.
    fn left(&self) -> Vec<Tagged> {
        self.journal.past().unmade().map(|one| one.tag.clone()).collect()
    }

    fn made(&self) -> usize {
        self.journal.past().made().count()
    }

    /// Sorted as in the file.
    fn tags_in_order(&self, moves: &[Move]) -> BTreeMap<NodeName, Vec<Tag>> {
        let made: Vec<&Move> = self.journal.past().made().collect();
        let mut tags: BTreeMap<NodeName, Vec<Tag>> = BTreeMap::new();
        for one in moves.iter().filter(|one| made.contains(one)) {
            let tags = tags.entry(one.node.clone()).or_default();
            // It may have moved in several registries.
            if !tags.contains(&one.tag.tag) {
                tags.push(one.tag.tag.clone());
            }
        }
        tags
    }

    fn warn(&mut self, node: Option<NodeName>, message: String) {
        self.telling.emit(EventKind::Warning { node, message });
    }
}

#[cfg(test)]
mod model_tests;
#[cfg(test)]
mod tests;
