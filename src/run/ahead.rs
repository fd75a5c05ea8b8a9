//! Coordinates builds that start while their parents are tested.
//!
//! A step announces its image after building and comparing it. Its children start on that image.
//! **Invariant:** a step is stored, and ends, only after its parents have succeeded. So no image is stored
//! before its own tests and those of all its ancestors have passed, and a step never reports a failure that
//! an ancestor may have caused.

use tokio::{
    sync::{Semaphore, SemaphorePermit, mpsc, watch},
    time::Instant,
};

use super::{
    RunOptions,
    bases::Pinned,
    step::{Candidate, Done, Work},
    step_events::Tell,
    trouble::Trouble,
};
use crate::{
    engine::{BuildRequest, BuildSecrets, Engine, LocalImage},
    event::Phase,
    fingerprint::{
        BuiltFrom, Parents,
        context::{Context, Modes},
        ignore::Ignore,
    },
    hierarchy::{BuildSettings, NodeName},
    image::Digest,
    publish::store::Store,
};

/// What the loop has to know of a step before it ends.
#[derive(Debug)]
pub(super) enum Moved {
    /// It takes a place among the builds.
    Building,
    /// Its steps have ended, and the engine writes the image.
    Exporting,
    /// Its image is built; its tests are not over.
    Made {
        /// That of the store if it is known, else that of the engine.
        digest: Digest,
        /// Whether it has tests or gates. If not, it is stored next.
        is_tested: bool,
    },
}

/// The shared state of all steps.
#[derive(Debug)]
pub(super) struct Ahead {
    tests: Semaphore,
    uploads: Semaphore,
    moved: mpsc::UnboundedSender<(NodeName, Moved)>,
    /// The digests of parents outside the plan and of every successful step.
    settled: watch::Receiver<Parents>,
}

impl Ahead {
    pub(super) fn new(
        options: RunOptions,
        settled: watch::Receiver<Parents>,
    ) -> (Self, mpsc::UnboundedReceiver<(NodeName, Moved)>) {
        let (moved, received) = mpsc::unbounded_channel();
        let tests = Semaphore::new(options.test_jobs.get());
        let uploads = Semaphore::new(options.jobs.get());
        (Self { tests, uploads, moved, settled }, received)
    }

    /// Calls `waits` first if no job is free.
    pub(super) async fn may_test(&self, waits: impl FnOnce()) -> SemaphorePermit<'_> {
        if let Ok(place) = self.tests.try_acquire() {
            return place;
        }
        waits();
        self.tests.acquire().await.expect("nobody closes it")
    }

    pub(super) async fn may_upload(&self) -> SemaphorePermit<'_> {
        self.uploads.acquire().await.expect("nobody closes it")
    }
}

impl<E: Engine, S: Store> Work<'_, E, S> {
    pub(super) fn moved(&self, moved: Moved) {
        // The loop outlives its steps.
        _ = self.ahead.moved.send((self.step.node.clone(), moved));
    }

    pub(super) fn announce(&self, digest: Digest) {
        let (hierarchy, node) = (&self.shop.hierarchy, &self.step.node);
        let is_tested =
            hierarchy.tests(node).next().is_some() || hierarchy.gates(node).next().is_some();
        self.moved(Moved::Made { digest, is_tested });
    }

    /// The digest of each parent, after all of them have succeeded. If one fails, the loop drops this step.
    pub(super) async fn settled(&self, done: &mut Done, tell: &mut Tell) -> Parents {
        let mut settled = self.ahead.settled.clone();
        let are_over = |known: &Parents| self.step.after.iter().all(|one| known.contains_key(one));
        if !are_over(&settled.borrow()) {
            tell.phase(Phase::WaitForParents);
            let began = Instant::now();
            if settled.wait_for(are_over).await.is_err() {
                // The run has ended, and so has this step.
                std::future::pending::<()>().await;
            }
            done.waited += began.elapsed();
        }
        let known = settled.borrow();
        let parents = self.shop.hierarchy.parents(&self.step.node).map(|parent| &parent.name);
        parents.filter_map(|name| Some((name.clone(), known.get(name)?.clone()))).collect()
    }

    /// Returns after the parents have ended: whether the step was built on their final images. If not, it
    /// stores the final parents, and keeps the built image only if the parents are the same images under
    /// another digest in the store.
    pub(super) async fn is_settled(&self, done: &mut Done, tell: &mut Tell) -> bool {
        let parents = self.settled(done, tell).await;
        if parents == done.parents {
            return true;
        }
        let mut pairs = done.parents.iter().map(|(name, assumed)| (assumed, parents.get(name)));
        let are_same = pairs.all(|(assumed, parent)| {
            parent.is_some_and(|parent| self.bases.are_same(assumed, parent))
        });
        if !are_same {
            done.forget_candidate();
        }
        done.parents = parents;
        done.pinned = None;
        false
    }

    /// Corrects the candidate's labels to name its parents as stored, with a build without steps.
    /// `None` if that changes more than labels: the image has `ONBUILD` instructions.
    pub(super) async fn relabelled(
        &self,
        candidate: &Candidate,
        pinned: &Pinned,
        record: &BuiltFrom,
    ) -> Result<Option<LocalImage>, Trouble> {
        let (node, engine) = (self.node(), &*self.shop.engine);
        // These instructions would run in that build.
        if node.dockerfile.has_triggers() {
            return Ok(None);
        }
        let pin = async |image: &Digest| {
            let pinned = self.bases.pin(engine, node.name.as_str(), image).await;
            pinned.map_err(Trouble::of_build)
        };
        let request = BuildRequest {
            context: Context {
                root: node.context.clone(),
                ignore: Ignore::parse(b"*").expect("a star is a pattern"),
                modes: Modes::Own,
            },
            context_digest: None,
            dockerfile: format!("FROM {}\n", pin(&candidate.image.id).await?),
            dockerfile_path: node.dockerfile.path.clone(),
            build_args: [].into(),
            secrets: BuildSecrets::default(),
            labels: self.labels(pinned, record).await?,
            settings: BuildSettings::default(),
            repository: node.repository.clone(),
            target: None,
            named: [].into(),
            platform: node.platform.clone(),
            no_cache: false,
            timeout: node.timeout,
            run: self.shop.run.id.clone(),
        };
        let image = engine.build(request, |_| {}).await.map_err(Trouble::of_build)?;
        pin(&image.id).await?;
        Ok(candidate.is_but_for_labels(&image).then_some(image))
    }
}

#[cfg(test)]
#[path = "ahead_tests.rs"]
mod tests;
