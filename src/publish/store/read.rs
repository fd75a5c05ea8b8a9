//! Reads a tag again if a single answer is not reliable.
//!
//! A registry with several servers may show a write some seconds late, and one of its servers may answer from
//! an old copy.

use std::time::Duration;

use super::{StoreError, Tags};
use crate::image::{Digest, Tagged};

/// Pauses before a tag of a registry is read again: 20 s in total.
pub(super) const PAUSES: [Duration; 8] = [
    Duration::from_millis(100),
    Duration::from_millis(200),
    Duration::from_millis(500),
    Duration::from_secs(1),
    Duration::from_secs(2),
    Duration::from_secs(4),
    Duration::from_secs(6),
    Duration::from_millis(6200),
];
/// How many of these pauses, 3.8 s, pass before an unexpected value counts.
const DOUBTS: usize = 5;

/// The caller's view of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sight {
    Expected,
    /// The digest before a write that the registry has acknowledged.
    Late,
    Strange,
}

/// Reads a tag until it shows the expected digest. Returns the last digest after the last pause.
///
/// After an unexpected digest, the expected one must show twice in a row: either of two different answers may be
/// the outdated one.
pub async fn read<S: Tags>(
    store: &S,
    tag: &Tagged,
    judge: impl Fn(Option<&Digest>) -> Sight + Send,
) -> Result<Option<Digest>, StoreError> {
    read_again(store, tag, judge, false).await
}

/// The same after an unexpected digest.
pub async fn read_in_doubt<S: Tags>(
    store: &S,
    tag: &Tagged,
    judge: impl Fn(Option<&Digest>) -> Sight + Send,
) -> Result<Option<Digest>, StoreError> {
    read_again(store, tag, judge, true).await
}

async fn read_again<S: Tags>(
    store: &S,
    tag: &Tagged,
    judge: impl Fn(Option<&Digest>) -> Sight + Send,
    mut is_doubted: bool,
) -> Result<Option<Digest>, StoreError> {
    let mut pauses = store.pauses().iter().enumerate();
    loop {
        let found = store.head(tag).await?;
        let most = match judge(found.as_ref()) {
            Sight::Expected if !is_doubted => return Ok(found),
            Sight::Expected | Sight::Late => usize::MAX,
            Sight::Strange => DOUBTS,
        };
        is_doubted = judge(found.as_ref()) == Sight::Strange;
        match pauses.next() {
            Some((number, pause)) if number < most => {
                if !pause.is_zero() {
                    tokio::time::sleep(*pause).await;
                }
            }
            _ => return Ok(found),
        }
    }
}

/// Moves a tag from `old` to an image, and waits until a read shows it.
pub async fn write<S: Tags>(
    store: &S,
    tag: &Tagged,
    new: &Digest,
    old: Option<&Digest>,
) -> Result<(), StoreError> {
    store.put(tag, new).await?;
    let found = read(store, tag, |found| match found {
        Some(found) if found == new => Sight::Expected,
        found if found == old => Sight::Late,
        _ => Sight::Strange,
    });
    match found.await? {
        Some(found) if found == *new => Ok(()),
        found => Err(StoreError::Lost { tag: tag.clone(), wrote: Some(new.clone()), found }),
    }
}

#[cfg(test)]
#[path = "read_tests.rs"]
mod tests;
