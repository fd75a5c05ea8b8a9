//! What a run of a plan would touch: images, tags, time, and how much there is to push.

use std::num::NonZeroUsize;

use super::{Estimate, History, Underway, estimate, middle};
use crate::{
    hierarchy::{Hierarchy, NodeName},
    plan::{Action, Plan},
};

/// All of it at most: an image that comes out the same leaves those below it alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlastRadius {
    /// How many images are only promoted.
    pub promoted: usize,
    /// How many moving tags would point elsewhere.
    pub tags: usize,
    /// How many images are built, and how long that takes.
    pub time: Estimate,
    pub size: Size,
    pub destination: Destination,
}

/// How much is new of the images that are built.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size {
    /// The layers above their bases, uncompressed.
    pub bytes: u64,
    /// Of how many images that are built it is known; the others are taken to be as large as these
    /// usually are.
    pub sized: usize,
}

/// Where new layers go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Destination {
    /// They are pushed.
    Registry,
    /// They are there already.
    Engine,
}

impl BlastRadius {
    /// Of a run that is about to begin, with so many images at once.
    pub fn of(plan: &Plan, hierarchy: &Hierarchy, history: &History, jobs: NonZeroUsize) -> Self {
        let mut radius = Self {
            promoted: 0,
            tags: 0,
            time: estimate(plan, history, &Underway::nothing(jobs)),
            size: Size { bytes: 0, sized: 0 },
            destination: match hierarchy.registry {
                Some(_) => Destination::Registry,
                None => Destination::Engine,
            },
        };
        let mut built = Vec::new();
        for step in &plan.steps {
            let tags = hierarchy.get(&step.node).map_or(0, |node| node.tags.len());
            match &step.action {
                Action::Keep { .. } => {}
                Action::Build { .. } => {
                    built.push(&step.node);
                    radius.tags += tags;
                }
                Action::Promote { digest } => {
                    let there = step.moving.values().filter(|now| now.as_ref() == Some(digest));
                    radius.promoted += 1;
                    radius.tags += tags.saturating_sub(there.count());
                }
            }
        }
        radius.size = size(&built, history);
        radius
    }

    /// How many images are built or promoted.
    pub fn images(&self) -> usize {
        self.time.builds + self.promoted
    }

    /// Whether the size may be told: at most a quarter of it is guessed.
    pub fn is_size_fair(&self) -> bool {
        self.size.sized > 0 && 4 * self.size.sized >= 3 * self.time.builds
    }
}

fn size(built: &[&NodeName], history: &History) -> Size {
    let known: Vec<u64> = built.iter().filter_map(|node| history.added(node)).collect();
    let unknown = u64::try_from(built.len() - known.len()).unwrap_or(u64::MAX);
    let guessed = middle(known.clone()).unwrap_or(0).saturating_mul(unknown);
    let bytes = known.iter().fold(guessed, |sum, bytes| sum.saturating_add(*bytes));
    Size { bytes, sized: known.len() }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::{
        plan::Selection,
        testing::scenario::{Scenario, names, scenario},
    };

    /// Images, promoted, tags; seconds of known builds; bytes of known sizes.
    async fn radius(stack: &Scenario, selection: &Selection, history: &History) -> String {
        let plan = stack.plan(selection).await;
        let jobs = NonZeroUsize::new(2).unwrap();
        let radius = BlastRadius::of(&plan, &stack.hierarchy(), history, jobs);
        let BlastRadius { promoted, tags, time, size, .. } = radius;
        format!(
            "{} images, {promoted} promoted, {tags} tags; {} s of {}; {} bytes of {}",
            radius.images(),
            time.left.as_secs(),
            time.timed,
            size.bytes,
            size.sized
        )
    }

    #[tokio::test(start_paused = true)]
    async fn what_a_run_would_touch() {
        let stack = scenario(
            "os : tags=[latest, \"1\"]\nweb < os\napp < web : tags=[latest, \"{fingerprint}\"]\ntool < os",
        );
        let all = Selection::OutOfDate;
        let mut history = History::default();
        assert_eq!(
            radius(&stack, &all, &history).await,
            "4 images, 0 promoted, 6 tags; 0 s of 0; 0 bytes of 0"
        );
        stack.run(&all).await;
        assert_eq!(
            radius(&stack, &all, &history).await,
            "0 images, 0 promoted, 0 tags; 0 s of 0; 0 bytes of 0"
        );

        for (node, seconds, added) in [("os", 10, 800), ("web", 20, 50), ("tool", 90, 70)] {
            history.record(&node.into(), Duration::from_secs(seconds), Some(added));
        }
        let from = |node| Selection::From(names(&[node]));
        // App is taken to be as long, and as large, as these usually are.
        assert_eq!(
            radius(&stack, &from("os"), &history).await,
            "4 images, 0 promoted, 6 tags; 100 s of 3; 990 bytes of 3"
        );
        assert_eq!(
            radius(&stack, &from("web"), &history).await,
            "2 images, 0 promoted, 3 tags; 40 s of 1; 100 bytes of 1"
        );

        // A change is made and taken back: its image is still stored.
        stack.write("os/x", "new");
        stack.run(&all).await;
        std::fs::remove_file(stack.file("os/x")).unwrap();
        assert_eq!(
            radius(&stack, &all, &history).await,
            "4 images, 4 promoted, 6 tags; 0 s of 0; 0 bytes of 0"
        );
    }
}
