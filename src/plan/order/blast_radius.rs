//! An upper bound of the effect of a run: images, tags, time and size.

use std::{
    collections::{BTreeMap, BTreeSet},
    num::NonZeroUsize,
};

use super::{Estimate, History, RunSoFar, estimate};
use crate::{
    hierarchy::{Hierarchy, Node, NodeName},
    image::Repository,
    plan::{Action, Plan},
};

/// An upper bound, because descendants of an unchanged image are not built.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BlastRadius {
    /// How many images are only promoted.
    pub promoted: usize,
    /// The moving tags that would move, parents first. Tags with the fingerprint are as in the file.
    pub tags: Vec<String>,
    /// The number of images to build, and the duration.
    pub time: Estimate,
    pub size: Size,
    pub destination: Destination,
    /// Of each image to build or promote.
    pub repositories: BTreeMap<NodeName, Repository>,
}

/// The new bytes of the images to build.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size {
    /// With a registry, the bytes to push: compressed layers, including those of a moved upstream, manifests
    /// and configurations. Without one, the unpacked layers above the bases.
    pub bytes: u64,
    /// The number of images with a known size. The others are not included.
    pub sized: usize,
}

/// The destination of new layers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Destination {
    /// A registry: layers are pushed.
    Registry,
    /// The engine: layers are already there.
    Engine,
}

impl BlastRadius {
    /// For a run that is about to begin, with this number of jobs.
    pub fn of(plan: &Plan, hierarchy: &Hierarchy, history: &History, jobs: NonZeroUsize) -> Self {
        let mut radius = Self {
            promoted: 0,
            tags: Vec::new(),
            time: estimate(plan, history, &RunSoFar::nothing(jobs)),
            size: size(plan, hierarchy, history),
            destination: destination(hierarchy),
            repositories: BTreeMap::new(),
        };
        let mut shared: BTreeSet<&str> = BTreeSet::new();
        for step in &plan.steps {
            let Some(node) = hierarchy.get(&step.node) else { continue };
            let stays = match &step.action {
                Action::Keep { .. } => continue,
                Action::Build { .. } => None,
                Action::Promote { digest } => {
                    radius.promoted += 1;
                    Some(digest)
                }
            };
            radius.repositories.insert(node.name.clone(), node.repository.clone());
            // The platforms of an image share its tags.
            if !hierarchy.group(&node.name).is_empty() && !shared.insert(node.name.image()) {
                continue;
            }
            let known = step.moving.keys().filter(|tag| stays.is_none() || step.at(tag) != stays);
            let known = known.map(ToString::to_string);
            let later = node.tags.iter().filter(|template| template.is_late());
            let later = later.map(|template| match template.contents().next() {
                Some(_) => format!("{template} (known after the build)"),
                None => template.to_string(),
            });
            let tags = known.chain(later);
            let tags: Vec<String> = tags.collect();
            radius.tags.extend(tags.iter().map(|tag| format!("{}:{tag}", short(hierarchy, node))));
            if hierarchy.registry.is_some() {
                for repository in &node.destinations {
                    let known = step.moving.keys().map(ToString::to_string);
                    let all: Vec<String> =
                        if stays.is_some() { known.collect() } else { tags.clone() };
                    radius.tags.extend(all.iter().map(|tag| format!("{repository}:{tag}")));
                }
            }
        }
        radius
    }

    /// The number of images to build or promote.
    pub fn images(&self) -> usize {
        self.time.builds + self.promoted
    }
}

fn destination(hierarchy: &Hierarchy) -> Destination {
    match hierarchy.registry {
        Some(_) => Destination::Registry,
        None => Destination::Engine,
    }
}

/// The repository without the common prefix.
fn short<'a>(hierarchy: &Hierarchy, node: &'a Node) -> &'a str {
    let name = node.repository.as_str();
    let prefix = hierarchy.registry.as_ref().map(Repository::as_str);
    prefix.and_then(|prefix| name.strip_prefix(prefix)?.strip_prefix('/')).unwrap_or(name)
}

fn size(plan: &Plan, hierarchy: &Hierarchy, history: &History) -> Size {
    let mut size = Size { bytes: 0, sized: 0 };
    // The layers of an upstream are stored once for all images that are based on it.
    let mut upstreams = BTreeSet::new();
    for step in plan.steps.iter().filter(|step| matches!(step.action, Action::Build { .. })) {
        let bytes = match destination(hierarchy) {
            Destination::Engine => history.added(&step.node),
            Destination::Registry => history.pushed(&step.node).map(|pushed| {
                let upstream = hierarchy.get(&step.node).and_then(Node::upstream);
                let is_new = step.has_new_base && upstream.is_some_and(|one| upstreams.insert(one));
                pushed.own.saturating_add(if is_new { pushed.upstream } else { 0 })
            }),
        };
        if let Some(bytes) = bytes {
            size.bytes = size.bytes.saturating_add(bytes);
            size.sized += 1;
        }
    }
    size
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::{
        plan::{Selection, order::BuildSizes},
        testing::scenario::{Scenario, names, scenario},
    };

    /// Images, promoted, tags; seconds of known builds; bytes of known sizes.
    async fn radius(stack: &Scenario, selection: &Selection, history: &History) -> String {
        let plan = stack.plan(selection).await;
        let jobs = NonZeroUsize::new(2).unwrap();
        let radius = BlastRadius::of(&plan, &stack.hierarchy(), history, jobs);
        let BlastRadius { promoted, tags, time, size, .. } = radius;
        format!(
            "{} images, {promoted} promoted, {} tags; {} s of {}; {} bytes of {}",
            time.builds + promoted,
            tags.len(),
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
            history.record(
                &node.into(),
                Duration::from_secs(seconds),
                BuildSizes { added: Some(added), ..Default::default() },
            );
        }
        let from = |node| Selection::From(names(&[node]));
        // App is taken to be as long as these usually are; its size is not known.
        assert_eq!(
            radius(&stack, &from("os"), &history).await,
            "4 images, 0 promoted, 6 tags; 100 s of 3; 920 bytes of 3"
        );
        assert_eq!(
            radius(&stack, &from("web"), &history).await,
            "2 images, 0 promoted, 3 tags; 40 s of 1; 50 bytes of 1"
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
