//! After a successful run: removes images from the engines that newer ones have replaced.
//!
//! **Invariant:** only images go that a run of this hierarchy has stored, and whose tags are all build tags of this
//! hierarchy. The engine refuses to remove an image of a container.

use std::{collections::BTreeSet, num::NonZeroUsize};

use futures_util::{StreamExt as _, stream};

use super::{connections::Connections, error::CommandError, gc::taken_back, pool};
use crate::{
    engine::{Docker, Engine as _, LocalImage, TagRemoval},
    event::{EventKind, Outcome, Summary},
    exit::Exit,
    fingerprint::{is_build_tag, node_of},
    hierarchy::{Hierarchy, Node},
    image::{Digest, Repository, Tag, Tagged},
    publish::{
        gc::{Stored, StoredImage},
        store::Tags,
    },
};

/// How many images are removed at once. containerd collects garbage after each removal, and once for all that
/// wait: measured on Docker 28.5, 40 images take 2.6 s at 40 at once, 3.8 s at 20, 10 s at 8.
const REMOVED_AT_ONCE: usize = 64;

/// Of one hierarchy.
pub(super) struct Tidy<'a> {
    pub(super) hierarchy: &'a Hierarchy,
    pub(super) world: &'a Connections,
    /// Where the run has published.
    pub(super) place: &'a str,
    /// Nobody else publishes there meanwhile.
    pub(super) is_locked: bool,
}

/// What went, and the bytes that it took.
#[derive(Default)]
struct Gone {
    images: usize,
    bytes: u64,
}

enum OldImage {
    Absent,
    Removed,
    /// It is still necessary, or the engine did not answer: the next run looks again.
    Stays,
}

impl Tidy<'_> {
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
        let mut gone = Gone::default();
        // What the next rollback needs is not known if it cannot be read: then everything stays.
        if self.is_locked
            && summary.exit == Exit::Done
            && let Ok(needed) = self.needed(summary, store).await
        {
            let old: Vec<(&Node, StoredImage)> = built
                .into_iter()
                .flat_map(|node| {
                    stored
                        .beyond(&node.name, self.keep(node))
                        .into_iter()
                        .map(move |old| (node, old))
                })
                .collect();
            let mut ended = stream::iter(old)
                .map(async |(node, old)| {
                    let tag = old.build_tag()?;
                    let end = self.remove_old(node, &tag, &needed).await;
                    Some((node, tag, old.added, end))
                })
                .buffer_unordered(REMOVED_AT_ONCE);
            while let Some(ended) = ended.next().await {
                let Some((node, tag, bytes, end)) = ended else { continue };
                match end {
                    OldImage::Stays => continue,
                    OldImage::Absent => {}
                    OldImage::Removed => {
                        gone.images += 1;
                        gone.bytes += bytes;
                    }
                }
                stored.remove(&node.name, &tag);
            }
        }
        self.world.state.keep(&name, &stored.kept());
        let Gone { images, bytes } = gone;
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

    async fn remove_old(&self, node: &Node, tag: &Tag, needed: &BTreeSet<Digest>) -> OldImage {
        let tagged = node.repository.tagged(tag.clone());
        let mut all = OldImage::Absent;
        for engine in pool::with_docker_api(self.world) {
            let end = match self.hierarchy.registry {
                Some(_) => in_registry(engine, &tagged).await,
                None => self.remove_if_free(engine, (node, &tagged), needed).await,
            };
            all = match (all, end) {
                (OldImage::Stays, _) | (_, OldImage::Stays) => OldImage::Stays,
                (OldImage::Removed, _) | (_, OldImage::Removed) => OldImage::Removed,
                (OldImage::Absent, OldImage::Absent) => OldImage::Absent,
            };
        }
        all
    }

    async fn remove_if_free(
        &self,
        engine: &Docker,
        (node, tagged): (&Node, &Tagged),
        needed: &BTreeSet<Digest>,
    ) -> OldImage {
        match engine.inspect(&tagged.to_string()).await {
            Ok(None) => OldImage::Absent,
            Ok(Some(image))
                if self.is_free(&image, node, needed) && remove(engine, &image, tagged).await =>
            {
                OldImage::Removed
            }
            Ok(Some(_)) | Err(_) => OldImage::Stays,
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

/// The registry has it, so its build tag goes whatever else names it here. The engine keeps an image with other tags.
async fn in_registry(engine: &Docker, tagged: &Tagged) -> OldImage {
    match engine.remove_tag(tagged).await {
        Ok(TagRemoval::WithImage) => OldImage::Removed,
        Ok(TagRemoval::OfSeveral | TagRemoval::Absent) => OldImage::Absent,
        Err(_) => OldImage::Stays,
    }
}

/// Whether the engine has removed it. The tag that is remembered goes last, so that it is found again.
async fn remove(engine: &Docker, image: &LocalImage, tagged: &Tagged) -> bool {
    let others = image.tags.iter().filter(|one| *one != tagged);
    for tagged in others.chain([tagged]) {
        if engine.untag(tagged).await.is_err() {
            return false;
        }
    }
    true
}
