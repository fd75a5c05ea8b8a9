//! Moves tags back, children before parents, each tag only if it still points where this run put it.

use std::collections::BTreeMap;

use super::{Publisher, Wanted, refusal::MoveDoubt};
use crate::{
    image::Digest,
    publish::{
        journal::{Move, MoveFate},
        store::{Sight, StoreError, Tags, read_in_doubt, write},
    },
};

/// The result for one tag.
enum PutBackResult {
    /// This run did not move it.
    Untouched,
    /// Another user moved it.
    Left,
    Back,
    /// A winning rival wants it here.
    WithRival,
    /// It was new, and the store cannot delete it.
    New,
}

impl<S: Tags> Publisher<'_, '_, S> {
    /// `unsure` are tags that this run may have moved without a line in the journal. `wanted` are the digests
    /// that a winning rival wants. Returns how many tags the store refused to move back. For these, and for
    /// tags that the store could not read, the journal stays open.
    ///
    /// # Errors
    /// The store could not read some of the tags.
    pub(super) async fn put_back(
        &mut self,
        unsure: &BTreeMap<usize, MoveDoubt>,
        wanted: &Wanted,
    ) -> Result<usize, StoreError> {
        let moves = self.journal.past().moves.clone().unwrap_or_default();
        let (mut refused, mut failure) = (0, None);
        for (index, one) in moves.iter().enumerate().rev() {
            let doubt = match self.journal.past().fates.get(&index) {
                Some(MoveFate::Moved) => None,
                Some(MoveFate::Left | MoveFate::Back) => continue,
                None => match unsure.get(&index) {
                    Some(doubt) => Some(*doubt),
                    None => continue,
                },
            };
            let rival = wanted.get(&one.tag).and_then(Option::as_ref);
            let tag = &one.tag;
            let message = match put_one_back(self.store, one, (doubt, rival)).await {
                Ok(ended) => {
                    let message = match ended {
                        PutBackResult::Untouched | PutBackResult::Left => None,
                        PutBackResult::Back => Some(format!("`{tag}` is back where it was")),
                        PutBackResult::WithRival => {
                            Some(format!("`{tag}` is where the other run wants it"))
                        }
                        PutBackResult::New => Some(format!(
                            "`{tag}` is new, and the registry cannot delete a single tag"
                        )),
                    };
                    match ended {
                        PutBackResult::Left | PutBackResult::WithRival => self.journal.left(index),
                        PutBackResult::Back => self.journal.back(index),
                        PutBackResult::New if doubt.is_some() => self.journal.moved(index),
                        PutBackResult::Untouched | PutBackResult::New => {}
                    }
                    message
                }
                // No later try would find it.
                Err(error @ StoreError::Gone { .. }) => {
                    self.journal.left(index);
                    Some(format!("`{tag}` cannot be put back: {error}"))
                }
                Err(error) => {
                    let message = format!(
                        "`{tag}` could not be put back: {error}; the next `rebuild` tries again"
                    );
                    if error.is_for_good() {
                        refused += 1;
                    } else {
                        failure.get_or_insert(error);
                    }
                    Some(message)
                }
            };
            if let Some(message) = message {
                self.warn(Some(one.node.clone()), message);
            }
        }
        if refused > 0 || failure.is_some() {
            self.journal.stay_open();
        }
        failure.map_or(Ok(refused), Err)
    }
}

/// `doubt` is `None` for a tag that was read where this run put it.
async fn put_one_back<S: Tags>(
    store: &S,
    one: &Move,
    (doubt, rival): (Option<MoveDoubt>, Option<&Digest>),
) -> Result<PutBackResult, StoreError> {
    // Something unexpected led here.
    let found = read_in_doubt(store, &one.tag, |found| {
        let is_known = found == one.to.as_ref() || doubt.is_some() && found == one.from.as_ref();
        if is_known { Sight::Expected } else { Sight::Strange }
    });
    let found = found.await?;
    let (ours, before) = (one.to.as_ref(), one.from.as_ref());
    if found != one.to {
        if let (Some(MoveDoubt::Written), Some(from)) = (doubt, before)
            && found == one.from
        {
            // The tag already has its old digest.
            _ = store.put(&one.tag, from).await;
        }
        return Ok(if doubt.is_none() { PutBackResult::Left } else { PutBackResult::Untouched });
    }
    if let Some(digest) = rival {
        if Some(digest) != ours && !write_back(store, one, digest).await? {
            return Ok(PutBackResult::Left);
        }
        return Ok(PutBackResult::WithRival);
    }
    if one.is_check() {
        return Ok(PutBackResult::Untouched);
    }
    match before {
        Some(from) if write_back(store, one, from).await? => {}
        Some(_) => return Ok(PutBackResult::Left),
        None if store.remove(&one.tag).await? => {}
        None => return Ok(PutBackResult::New),
    }
    Ok(PutBackResult::Back)
}

/// `false` if another run or a user moved the tag at the same moment.
async fn write_back<S: Tags>(store: &S, one: &Move, to: &Digest) -> Result<bool, StoreError> {
    match write(store, &one.tag, to, one.to.as_ref()).await {
        Err(StoreError::Lost { found, .. }) if found != one.to => Ok(false),
        written => written.map(|()| true),
    }
}
