//! Publishes: moves the tags of a whole closure, parents before children, or none.
//!
//! **Invariant:** before the first tag moves, every image that will get one is tested and stored.
//! **Invariant:** a tag is moved only from where the plan saw it; if somebody else moved it
//! meanwhile, or the store refuses, every tag that was moved goes back, as long as it is still
//! where we put it.

mod conclude;
mod moves;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use futures_util::{StreamExt as _, stream};
use tokio::{sync::mpsc, time::Instant};

pub use self::{
    conclude::conclude,
    moves::{Move, Verdict, verdict},
};
use crate::{
    hierarchy::NodeName,
    image::{Tag, Tagged},
    run::{EventKind, Promotion, StopReason, Telling},
    store::{Store, StoreError},
};

/// How many tags are moved at once.
const MOVED_AT_ONCE: usize = 16;

/// What came of it.
#[derive(Debug)]
pub struct Promoted {
    pub promotion: Promotion,
    /// The tags of each node that were moved and stayed.
    pub tags: BTreeMap<NodeName, Vec<Tag>>,
}

/// Why a tag could not be moved.
#[derive(Debug, thiserror::Error)]
enum Refusal {
    #[error("`{tag}` was moved by somebody else meanwhile: it points at {found}")]
    Superseded { tag: Tagged, found: String },
    #[error("`{tag}` cannot be moved: {source}")]
    Store { tag: Tagged, source: StoreError },
}

/// Moves the tags of a verdict. A first stop signal lets it finish, since it takes seconds and
/// half of it would be a mix; a second one does not.
pub async fn promote<S: Store>(
    store: &Arc<S>,
    verdict: Verdict,
    stops: &mut mpsc::Receiver<StopReason>,
    telling: &mut Telling<'_>,
) -> Promoted {
    let nothing = |promotion| Promoted { promotion, tags: BTreeMap::new() };
    let (moves, held) = match verdict {
        Verdict::NotAsked => return nothing(Promotion::NotAsked),
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
    telling.emit(EventKind::PromotionStarted { tags: of });
    let began = Instant::now();
    let (done, refusal) = move_all(store, &moves, stops, telling).await;
    let Some(why) = refusal else {
        let promotion = Promotion::Done { moved: done.len(), took: began.elapsed(), held };
        return Promoted { promotion, tags: by_node(&moves, &done) };
    };
    telling.emit(EventKind::Warning {
        node: None,
        message: format!("{why}: putting back the tags that were moved"),
    });
    let left = put_back(store, done, telling).await;
    let promotion = Promotion::Incomplete { moved: left.len(), of, why };
    Promoted { promotion, tags: by_node(&moves, &left) }
}

/// In the order of the file, whatever order they were moved in.
fn by_node(moves: &[Move], done: &[&Move]) -> BTreeMap<NodeName, Vec<Tag>> {
    let mut tags: BTreeMap<NodeName, Vec<Tag>> = BTreeMap::new();
    for tag in moves.iter().filter(|tag| done.contains(tag)) {
        tags.entry(tag.node.clone()).or_default().push(tag.tag.tag.clone());
    }
    tags
}

/// Moves tags wave by wave; ends at the first that cannot be moved, or at a second stop signal.
async fn move_all<'m, S: Store>(
    store: &Arc<S>,
    moves: &'m [Move],
    stops: &mut mpsc::Receiver<StopReason>,
    telling: &mut Telling<'_>,
) -> (Vec<&'m Move>, Option<String>) {
    let mut done = Vec::new();
    for wave in moves.chunk_by(|a, b| a.wave == b.wave) {
        let mut results = stream::iter(wave)
            .map(async |tag| (tag, move_one(&**store, tag).await))
            .buffer_unordered(MOVED_AT_ONCE);
        let mut refusal = None;
        loop {
            tokio::select! {
                Some(reason) = stops.recv() => match reason {
                    StopReason::Killed => {
                        refusal.get_or_insert_with(|| "interrupted".to_owned());
                        break;
                    }
                    _ => telling.emit(EventKind::StopBegan { reason, running: 0 }),
                },
                result = results.next() => match result {
                    Some((tag, Ok(()))) => {
                        done.push(tag);
                        telling.emit(EventKind::TagMoved {
                            node: tag.node.clone(),
                            tag: tag.tag.clone(),
                            from: tag.from.clone(),
                            to: tag.to.clone(),
                        });
                    }
                    Some((_, Err(error))) => {
                        refusal.get_or_insert(error.to_string());
                    }
                    None => break,
                },
            }
        }
        if refusal.is_some() {
            return (done, refusal);
        }
    }
    (done, None)
}

/// A HEAD that must still show what the plan saw, then the write, which the store reads back.
async fn move_one<S: Store>(store: &S, tag: &Move) -> Result<(), Refusal> {
    let refused = |source| Refusal::Store { tag: tag.tag.clone(), source };
    let found = store.head(&tag.tag).await.map_err(refused)?;
    if found.as_ref() == Some(&tag.to) {
        return Ok(());
    }
    if found != tag.from {
        let found = found.map_or("nothing".to_owned(), |digest| digest.short().to_owned());
        return Err(Refusal::Superseded { tag: tag.tag.clone(), found });
    }
    store.point(&tag.tag, &tag.to).await.map_err(refused)
}

/// Undoes moves, children before parents. Returns those whose tags still point at the new images.
async fn put_back<'m, S: Store>(
    store: &Arc<S>,
    done: Vec<&'m Move>,
    telling: &mut Telling<'_>,
) -> Vec<&'m Move> {
    let mut left = Vec::new();
    for tag in done.into_iter().rev() {
        let is_ours = matches!(store.head(&tag.tag).await, Ok(Some(found)) if found == tag.to);
        if !is_ours {
            continue;
        }
        let result = match &tag.from {
            Some(from) => store.point(&tag.tag, from).await.map(|()| true),
            None => store.remove(&tag.tag).await,
        };
        let message = match result {
            Ok(true) => format!("`{}` is back where it was", tag.tag),
            Ok(false) => {
                left.push(tag);
                format!("`{}` is new, and the registry does not let us take it away", tag.tag)
            }
            Err(error) => {
                left.push(tag);
                format!("`{}` could not be put back: {error}", tag.tag)
            }
        };
        telling.emit(EventKind::Warning { node: Some(tag.node.clone()), message });
    }
    left
}

#[cfg(test)]
mod tests;
