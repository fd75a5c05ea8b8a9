//! After a successful run: removes images from the engines that newer ones have replaced.
//!
//! **Invariant:** only images go that a run of this hierarchy has stored, and whose tags are all build tags of this
//! hierarchy. The engine refuses to remove an image of a container.

use std::{collections::BTreeSet, num::NonZeroUsize, time::Duration};

use futures_util::{
    FutureExt as _, StreamExt as _,
    future::{LocalBoxFuture, join_all},
    stream::{self, FuturesUnordered},
};
use tokio::time::{Instant, timeout_at};

use super::{connections::Connections, error::CommandError, gc::taken_back, pool};
use crate::{
    engine::{Docker, Engine as _, LocalImage, TagRemoval},
    event::{EventKind, Outcome, Summary},
    exit::Exit,
    fingerprint::{is_build_tag, node_of},
    hierarchy::{Hierarchy, Node},
    image::{Digest, Repository, Tag, Tagged},
    publish::{gc::Stored, store::Tags},
};

/// How many images are removed at once. containerd collects garbage after each removal, and once for all that
/// wait: measured on Docker 28.5, 40 images take 2.6 s at 40 at once, 3.8 s at 20, 10 s at 8.
const REMOVED_AT_ONCE: usize = 256;
/// containerd answers a removal after it has collected garbage, which takes 0.4 to 2 s. It removes the name before,
/// also if the client no longer waits: Docker 28.5, `daemon/containerd/image_delete.go`.
const ANSWERED_WITHIN: Duration = Duration::from_millis(100);

/// Of one hierarchy.
pub(super) struct Tidy<'a> {
    pub(super) hierarchy: &'a Hierarchy,
    pub(super) world: &'a Connections,
    /// Where the run has published.
    pub(super) place: &'a str,
    /// Nobody else publishes there meanwhile.
    pub(super) is_locked: bool,
}

/// An image beyond those to keep.
struct Old<'a> {
    node: &'a Node,
    tag: Tag,
    bytes: u64,
    /// By engine: the tags to remove, that of the build last, so that an interrupted removal is continued.
    tags: Vec<(&'a Docker, Option<Vec<Tagged>>)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum OldImageEnd {
    Absent,
    Done,
    /// The engine has the request and goes on after the run. The next run asks again.
    Unanswered,
    /// Another image or container needs it, or the engine refused: the next run asks again.
    Refused,
}

impl<'a> Tidy<'a> {
    /// Remembers what the run has stored. After a success, removes what is old. `None` if nothing went.
    pub(super) async fn after<S: Tags>(&self, summary: &Summary, store: &S) -> Option<EventKind> {
        let name = format!("stored-{}", Digest::of(self.place.as_bytes()).short());
        let mut stored = Stored::read(&self.world.state.recall(&name));
        let mut built = Vec::new();
        for step in &summary.steps {
            if let Outcome::Built { fingerprint, added, .. } = &step.outcome {
                stored.add(&step.node, &fingerprint.build_tag(), *added);
                built.extend(self.hierarchy.get(&step.node));
            }
        }
        if built.is_empty() {
            return None;
        }
        let (mut images, mut bytes) = (0, 0);
        // What the next rollback needs is not known if it cannot be read: then everything stays.
        if self.is_locked
            && summary.exit == Exit::Done
            && let Ok(needed) = self.needed(summary, store).await
        {
            let old = self.old(&stored, built, &needed).await;
            let is_slow = self.engines().iter().any(|engine| engine.answers_after_collecting());
            let removals = old.iter().map(|old| remove(old).boxed_local()).collect();
            let ends = answers(removals, is_slow.then_some(ANSWERED_WITHIN)).await;
            for (old, end) in old.iter().zip(ends) {
                if matches!(end, OldImageEnd::Done | OldImageEnd::Unanswered) {
                    images += 1;
                    bytes += old.bytes;
                }
                if matches!(end, OldImageEnd::Done | OldImageEnd::Absent) {
                    stored.remove(&old.node.name, &old.tag);
                }
            }
        }
        self.world.state.keep(&name, &stored.kept());
        (images > 0).then_some(EventKind::ImagesRemoved { images, bytes })
    }

    /// Images that are current, and those that a rollback wants.
    async fn needed<S: Tags>(
        &self,
        summary: &Summary,
        store: &S,
    ) -> Result<BTreeSet<Digest>, CommandError> {
        let current = summary.steps.iter().filter_map(|step| step.outcome.digest()).cloned();
        let mut needed: BTreeSet<Digest> = current.collect();
        // Those of a registry are brought back from there.
        if self.hierarchy.registry.is_none() {
            needed.extend(taken_back(self.hierarchy, (self.place, store)).await?);
        }
        Ok(needed)
    }

    /// How many images of a node the engine keeps.
    fn keep(&self, node: &Node) -> NonZeroUsize {
        match self.hierarchy.registry {
            Some(_) => NonZeroUsize::MIN,
            None => node.keep,
        }
    }

    fn engines(&self) -> Vec<&'a Docker> {
        pool::with_docker_api(self.world)
    }

    /// The images of these nodes that are beyond those to keep, and free.
    async fn old(
        &self,
        stored: &Stored,
        built: Vec<&'a Node>,
        needed: &BTreeSet<Digest>,
    ) -> Vec<Old<'a>> {
        let beyond = built.into_iter().flat_map(|node| {
            stored.beyond(&node.name, self.keep(node)).into_iter().map(move |old| (node, old))
        });
        let old = stream::iter(beyond).map(async |(node, old)| {
            let tag = old.build_tag()?;
            let tagged = node.repository.tagged(tag.clone());
            let tags = self
                .engines()
                .into_iter()
                .map(async |engine| (engine, self.tags(engine, (node, &tagged), needed).await));
            Some(Old { node, tag, bytes: old.added, tags: join_all(tags).await })
        });
        old.buffer_unordered(REMOVED_AT_ONCE).filter_map(async |old| old).collect().await
    }

    /// The tags to remove. `None` if the image stays. With a registry, this is the build tag: the engine keeps an image
    /// with other tags.
    async fn tags(
        &self,
        engine: &Docker,
        (node, tagged): (&Node, &Tagged),
        needed: &BTreeSet<Digest>,
    ) -> Option<Vec<Tagged>> {
        if self.hierarchy.registry.is_some() {
            return Some(vec![tagged.clone()]);
        }
        match engine.inspect(&tagged.to_string()).await {
            Ok(None) => Some(vec![]),
            Ok(Some(image)) if self.is_free(&image, node, needed) => {
                let others = image.tags.into_iter().filter(|one| one != tagged);
                Some(others.chain([tagged.clone()]).collect())
            }
            Ok(Some(_)) | Err(_) => None,
        }
    }

    fn is_free(&self, image: &LocalImage, node: &Node, needed: &BTreeSet<Digest>) -> bool {
        let repositories: BTreeSet<&Repository> =
            self.hierarchy.in_build_order().map(|node| &node.repository).collect();
        let is_ours = |tagged: &Tagged| {
            is_build_tag(&tagged.tag) && repositories.contains(&tagged.repository)
        };
        node_of(&image.labels).as_ref() == Some(&node.name)
            && !needed.contains(&image.id)
            && image.tags.iter().all(is_ours)
    }
}

/// Removes the tags from each engine.
async fn remove(old: &Old<'_>) -> OldImageEnd {
    let of_engines = old.tags.iter().map(async |(engine, tags)| {
        let Some(tags) = tags else { return OldImageEnd::Refused };
        let mut end = OldImageEnd::Absent;
        for tag in tags {
            match engine.remove_tag(tag).await {
                Ok(TagRemoval::WithImage) => end = OldImageEnd::Done,
                Ok(TagRemoval::OfSeveral | TagRemoval::Absent) => {}
                Err(_) => return OldImageEnd::Refused,
            }
        }
        end
    });
    join_all(of_engines).await.into_iter().max().unwrap_or(OldImageEnd::Absent)
}

/// The ends of removals in their order. Waits no longer than this for the answers to the last requests.
async fn answers(
    removals: Vec<LocalBoxFuture<'_, OldImageEnd>>,
    within: Option<Duration>,
) -> Vec<OldImageEnd> {
    let mut ends = vec![OldImageEnd::Unanswered; removals.len()];
    let mut unsent = removals.into_iter().enumerate();
    while unsent.len() > 0 {
        let sent = unsent.by_ref().take(REMOVED_AT_ONCE);
        let sent = sent.map(|(number, removal)| removal.map(move |end| (number, end)));
        let mut sent: FuturesUnordered<_> = sent.collect();
        let deadline = within.filter(|_| unsent.len() == 0).map(|within| Instant::now() + within);
        loop {
            let next = match deadline {
                Some(deadline) => timeout_at(deadline, sent.next()).await.ok().flatten(),
                None => sent.next().await,
            };
            let Some((number, end)) = next else { break };
            ends[number] = end;
        }
    }
    ends
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Removals that are answered after these milliseconds.
    async fn answered(after: &[u64], within: Option<u64>) -> (usize, u128) {
        let removals = after.iter().map(async |after| {
            tokio::time::sleep(Duration::from_millis(*after)).await;
            OldImageEnd::Done
        });
        let removals = removals.map(futures_util::FutureExt::boxed_local).collect();
        let began = Instant::now();
        let ends = answers(removals, within.map(Duration::from_millis)).await;
        let done = ends.iter().filter(|end| **end == OldImageEnd::Done).count();
        (done, began.elapsed().as_millis())
    }

    #[tokio::test(start_paused = true)]
    async fn only_the_last_requests_are_not_waited_for() {
        assert_eq!(answered(&[], Some(200)).await, (0, 0));
        assert_eq!(answered(&[10, 900], None).await, (2, 900));
        assert_eq!(answered(&[900, 10, 900], Some(200)).await, (1, 200));
        assert_eq!(answered(&[10, 20], Some(200)).await, (2, 20));
        // All but the last six are answered before those are sent.
        assert_eq!(answered(&[900; REMOVED_AT_ONCE + 6], Some(200)).await, (REMOVED_AT_ONCE, 1100));
    }
}
