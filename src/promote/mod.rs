//! Publishes: moves the tags of a whole closure, parents before children, or none.
//!
//! **Invariant:** before the first tag moves, every image that will get one is tested and stored, and
//! the journal with every move is on the disk.
//! **Invariant:** a tag is moved only from where the plan saw it, or from where a run moved it that has to
//! give way to this one. If somebody else moved it meanwhile, or the store refuses for good, every tag that
//! was moved goes back, as long as it is still where we put it. If the store cannot be reached, the journal
//! stays open and the next command goes on.

mod back;
mod conclude;
mod forward;
mod moves;
mod recover;
mod rival;
mod rollback;

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use tokio::{sync::mpsc, time::Instant};

use self::forward::Elsewhere;
pub use self::{
    conclude::conclude,
    moves::{Verdict, verdict},
    recover::Recovered,
    rollback::{Rollback, Staying, rollback},
};
use crate::{
    exit::Exit,
    hierarchy::NodeName,
    image::{Digest, Tag, Tagged},
    journal::{Journal, Move},
    run::{EventKind, Promotion, StopReason, Telling},
    store::{Stage, StoreError, Tags},
};

/// How many tags are moved at once.
const MOVED_AT_ONCE: usize = 16;
/// How often a run moves its tags once more that a run which has to give way has moved.
const INSISTS: usize = 5;

/// What came of it.
#[derive(Debug)]
pub struct Promoted {
    pub promotion: Promotion,
    /// The tags of each node that were moved and stayed.
    pub tags: BTreeMap<NodeName, Vec<Tag>>,
}

/// Moves tags and writes down what it does.
pub struct Publisher<'a, 't, S> {
    pub store: &'a S,
    pub journal: &'a mut Journal,
    /// A first stop signal lets a promotion finish, since it takes seconds and half of it would be a
    /// mix; a second one does not.
    pub stops: &'a mut mpsc::Receiver<StopReason>,
    pub telling: &'a mut Telling<'t>,
}

/// Where tags are to point.
type Wanted = BTreeMap<Tagged, Option<Digest>>;

/// Why tags could not be moved, and whether they never can.
#[derive(Debug)]
struct Refusal {
    why: String,
    is_for_good: bool,
    source: Option<StoreError>,
    /// Moves of which nobody knows whether they were made.
    unsure: BTreeSet<usize>,
    /// A tag that somebody else moved, and where it points now.
    elsewhere: Option<(Tagged, Option<Digest>)>,
}

impl<S: Tags> Publisher<'_, '_, S> {
    /// Moves the tags of a verdict.
    pub async fn promote(&mut self, verdict: Verdict) -> Promoted {
        let nothing = |promotion| Promoted { promotion, tags: BTreeMap::new() };
        let (moves, held) = match verdict {
            Verdict::NotAsked { stored } => return nothing(Promotion::NotAsked { stored }),
            Verdict::Withhold => return nothing(Promotion::Withheld),
            Verdict::Move { moves, held } if moves.is_empty() && held.is_empty() => {
                return nothing(Promotion::Nothing);
            }
            Verdict::Move { moves, held } => (moves, held),
        };
        if moves.is_empty() {
            return nothing(Promotion::Done { moved: 0, took: Duration::ZERO, held });
        }
        let of = moves.len();
        if let Err(error) = self.commit(&moves).await {
            let why = format!("{error}: no tag was moved");
            return nothing(Promotion::Incomplete { moved: 0, of, why });
        }
        self.telling.emit(EventKind::PromotionStarted { tags: of });
        let began = Instant::now();
        let mut ended = match self.forward(Elsewhere::Refused).await {
            Ok(()) => self.overtaken(&moves).await,
            refused => refused,
        };
        let mut wanted = BTreeMap::new();
        for _ in 0..INSISTS {
            let Err(refusal) = &ended else { break };
            let Some(rival) = self.rival(refusal).await else { break };
            if rival.stays {
                wanted = rival.tags;
                break;
            }
            ended = match self.forward(Elsewhere::Overruled(&rival.tags)).await {
                Ok(()) => self.overtaken(&moves).await,
                refused => refused,
            };
        }
        let promotion = match ended {
            Ok(()) => Promotion::Done { moved: self.made(), took: began.elapsed(), held },
            Err(refusal) => {
                let why = self.give_up(refusal, &wanted).await;
                Promotion::Incomplete { moved: self.made(), of, why }
            }
        };
        Promoted { promotion, tags: self.tags_in_order(&moves) }
    }

    /// Writes the last line of the journal, and the record that other machines see.
    pub async fn end(&mut self, exit: Exit) {
        self.close(exit, false).await;
    }

    async fn commit(&mut self, moves: &[Move]) -> Result<(), crate::journal::JournalError> {
        self.journal.commit(moves)?;
        self.record(Stage::Committed).await;
        Ok(())
    }

    async fn close(&mut self, exit: Exit, recovered: bool) {
        self.journal.end(exit, recovered);
        let past = self.journal.past();
        if past.moves.is_some() && past.ended.is_some() {
            self.record(Stage::Ended).await;
        }
        if let Some(error) = self.journal.take_failure() {
            self.warn(None, error.to_string());
        }
    }

    /// Without it other machines do not know of the run, and that is all.
    async fn record(&mut self, stage: Stage) {
        let run = self.journal.past().began.run.clone();
        if let Err(error) = self.store.record(&run, stage, self.journal.text()).await {
            self.warn(None, format!("the record of the run is not in the registry: {error}"));
        }
    }

    /// After a refusal: back, or to be continued. `wanted` is where a run that stays wants tags.
    async fn give_up(&mut self, refusal: Refusal, wanted: &Wanted) -> String {
        let Refusal { why, is_for_good, unsure, .. } = refusal;
        if is_for_good {
            self.warn(None, format!("{why}: putting back the tags that were moved"));
            self.journal.turned(&why);
            _ = self.put_back(&unsure, wanted).await;
            return why;
        }
        self.journal.stay_open();
        format!("{why}; the next `rebuild` moves the rest")
    }

    fn made(&self) -> usize {
        self.journal.past().made().count()
    }

    /// In the order of the file, whatever order they were moved in.
    fn tags_in_order(&self, moves: &[Move]) -> BTreeMap<NodeName, Vec<Tag>> {
        let made: Vec<&Move> = self.journal.past().made().collect();
        let mut tags: BTreeMap<NodeName, Vec<Tag>> = BTreeMap::new();
        for one in moves.iter().filter(|one| made.contains(one)) {
            tags.entry(one.node.clone()).or_default().push(one.tag.tag.clone());
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
