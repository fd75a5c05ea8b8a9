//! Finishes a promotion that was cut off: forward, or back where the store refuses.

use super::{Elsewhere, Publisher, Wanted};
use crate::{
    exit::Exit,
    journal::Fate,
    store::{StoreError, Tags},
};

/// How a run that was cut off has ended now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Recovered {
    /// All its tags are moved, but those that somebody else has moved since.
    Finished {
        of: usize,
        left: usize,
    },
    PutBack {
        why: String,
    },
}

impl<S: Tags> Publisher<'_, '_, S> {
    /// Brings the journal's run to its end.
    ///
    /// # Errors
    /// The store cannot be reached. The journal stays open, and the next command tries again.
    pub async fn recover(&mut self) -> Result<Recovered, StoreError> {
        let past = self.journal.past();
        let of = past.moves.as_ref().map_or(0, Vec::len);
        if let Some(why) = past.turned.clone() {
            return self.recover_back(why).await;
        }
        if let Err(refusal) = self.forward(Elsewhere::Left).await {
            if !refusal.is_for_good {
                self.journal.stay_open();
                if let Some(error) = refusal.source {
                    return Err(error);
                }
            }
            self.warn(None, format!("{}: putting back the tags that were moved", refusal.why));
            self.journal.turned(&refusal.why);
            return self.recover_back(refusal.why).await;
        }
        let fates = &self.journal.past().fates;
        let left = fates.values().filter(|fate| **fate == Fate::Left).count();
        self.close(Exit::Done, true).await;
        Ok(Recovered::Finished { of, left })
    }

    async fn recover_back(&mut self, why: String) -> Result<Recovered, StoreError> {
        let of = self.journal.past().moves.as_ref().map_or(0, Vec::len);
        self.put_back(&(0..of).collect(), &Wanted::new()).await?;
        self.close(Exit::PromotionFailed, true).await;
        Ok(Recovered::PutBack { why })
    }
}
