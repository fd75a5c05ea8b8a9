//! Puts back what was moved, children before parents, each tag only if it is still where we put it.

use std::collections::BTreeSet;

use super::{Publisher, Wanted};
use crate::{
    image::Digest,
    journal::{Fate, Move},
    registry::RegistryError,
    store::{StoreError, Tags},
};

impl<S: Tags> Publisher<'_, '_, S> {
    /// `unsure` are those that it may have moved without a word; `wanted` is where another run wants tags.
    ///
    /// # Errors
    /// The store could not be asked about some of them: then the journal stays open.
    pub(super) async fn put_back(
        &mut self,
        unsure: &BTreeSet<usize>,
        wanted: &Wanted,
    ) -> Result<(), StoreError> {
        let moves = self.journal.past().moves.clone().unwrap_or_default();
        let mut failure = None;
        for (index, one) in moves.iter().enumerate().rev() {
            match self.journal.past().fates.get(&index) {
                Some(Fate::Moved) => {}
                None if unsure.contains(&index) => {}
                _ => continue,
            }
            let elsewhere = wanted.get(&one.tag).and_then(Option::as_ref);
            match self.put_one_back(index, one, elsewhere).await {
                Ok(None) => {}
                Ok(Some(message)) => self.warn(Some(one.node.clone()), message),
                Err(error) => {
                    let is_tried_again = is_about_login(&error) || !error.is_for_good();
                    let next = if is_tried_again { "; the next `rebuild` tries again" } else { "" };
                    let message = format!("`{}` could not be put back: {error}{next}", one.tag);
                    self.warn(Some(one.node.clone()), message);
                    if is_about_login(&error) {
                        self.journal.stay_open();
                    } else if !error.is_for_good() {
                        failure.get_or_insert(error);
                    }
                }
            }
        }
        match failure {
            None => Ok(()),
            Some(error) => {
                self.journal.stay_open();
                Err(error)
            }
        }
    }

    /// What there is to say of it.
    async fn put_one_back(
        &mut self,
        index: usize,
        one: &Move,
        elsewhere: Option<&Digest>,
    ) -> Result<Option<String>, StoreError> {
        let was_moved = self.journal.past().fates.contains_key(&index);
        let found = self.store.head(&one.tag).await?;
        if found != one.to {
            if was_moved {
                self.journal.left(index);
            }
            return Ok(None);
        }
        if let Some(digest) = elsewhere {
            self.store.point(&one.tag, digest).await?;
            self.journal.left(index);
            return Ok(Some(format!("`{}` is where the other run wants it", one.tag)));
        }
        let is_back = match &one.from {
            Some(from) => self.store.point(&one.tag, from).await.map(|()| true)?,
            None => self.store.remove(&one.tag).await?,
        };
        if is_back {
            self.journal.back(index);
            return Ok(Some(format!("`{}` is back where it was", one.tag)));
        }
        if !was_moved {
            self.journal.moved(index);
        }
        Ok(Some(format!("`{}` is new, and the registry does not let us take it away", one.tag)))
    }
}

/// Another login, or another right, helps; and nobody is kept from working until then.
fn is_about_login(error: &StoreError) -> bool {
    use RegistryError::{Credentials, Refused};
    matches!(error, StoreError::Registry(Refused { .. } | Credentials { .. }))
}
