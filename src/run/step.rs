//! Runs one step: provide the bases, build, test, and store under the build tag.

use std::{collections::BTreeSet, path::PathBuf, sync::Arc, time::Duration};

use tokio::{sync::watch, time::Instant};

use super::{
    RunOptions,
    ahead::{Ahead, Moved},
    attempts::{Attempts, StepRetry},
    bases::{BaseError, BaseSources, Bases, Pinned, failed_image},
    compare::Compared,
    engine_messages::{
        FOREIGN_PROGRAM, emulation_hint, frontend_hint, missing_secret, missing_source,
        refused_instruction,
    },
    labels::Origin,
    prepare::prepare,
    secrets::Secrets,
    step_events::{Inbox, Tell},
    trouble::{Trouble, exit_of, with_hint},
};
use crate::{
    engine::{BuildProgress, BuildRequest, Engine, LocalImage, TestProgress},
    event::{ContentTags, Outcome, Phase, StepFailure},
    exit::Exit,
    fingerprint::{
        BuiltFrom, Epoch, HashCache, Inputs, LABEL_PREFIX, Parents, Revision, TakenIn,
        context::{Context, ContextError, Modes},
        source,
    },
    hierarchy::{Base, Flatten, Hierarchy, Node, NodeName, StepPlace, TagValues},
    image::{Digest, Tagged},
    plan::{
        Action, Plan, Reason, RootCause, Step,
        order::{History, Pushed},
    },
    publish::store::{Description, Store, StoredSize},
    registry::Client,
    run::state::{LayerCache, RunDir},
    size::{Blob, OverBudget},
};

/// Upper bound for the watcher to notice a change, even in a large burst.
const SEEN_WITHIN: Duration = Duration::from_secs(10);

/// The data that all steps of a run share.
#[derive(Debug)]
pub struct Workshop<E, S> {
    pub engine: Arc<E>,
    pub store: Arc<S>,
    /// For upstreams, which may be in any registry.
    pub registries: Client,
    pub hierarchy: Arc<Hierarchy>,
    pub plan: Arc<Plan>,
    pub run: RunDir,
    /// The hashes of unchanged files.
    pub hashes: Arc<HashCache>,
    /// The files of layers that were read.
    pub layers: LayerCache,
    /// The secrets, read before the first build.
    pub secrets: Secrets,
    /// The durations of earlier builds.
    pub history: History,
    /// The checked-out commit, if no file in the hierarchy's folder differs from it.
    pub revision: Option<Revision>,
    /// The labels for the source of the files.
    pub origin: Origin,
    /// What the placeholders in tags stand for.
    pub tag_values: TagValues,
    /// Nodes whose builds newer changes made obsolete, with their descendants. The set only grows.
    pub overtaken: watch::Receiver<BTreeSet<NodeName>>,
    pub options: RunOptions,
}

impl<E, S> Workshop<E, S> {
    /// The same with another engine, and a store that uses it.
    #[must_use]
    pub fn with_engine(&self, engine: Arc<E>, store: Arc<S>) -> Self {
        Self {
            engine,
            store,
            registries: self.registries.clone(),
            hierarchy: self.hierarchy.clone(),
            plan: self.plan.clone(),
            run: self.run.clone(),
            hashes: self.hashes.clone(),
            layers: self.layers.clone(),
            secrets: self.secrets.clone(),
            history: self.history.clone(),
            revision: self.revision.clone(),
            origin: self.origin.clone(),
            tag_values: self.tag_values.clone(),
            overtaken: self.overtaken.clone(),
            options: self.options,
        }
    }

    /// Where bases come from.
    pub(super) fn base_sources(&self) -> BaseSources<'_, E, S> {
        BaseSources {
            engine: &*self.engine,
            store: &*self.store,
            registries: &self.registries,
            hierarchy: &self.hierarchy,
            plan: &self.plan,
        }
    }
}

/// The completed parts of a step. A retry does not repeat them.
#[derive(Default)]
#[expect(clippy::struct_excessive_bools, reason = "each is a part of a step")]
pub(super) struct Done {
    /// The parents of the build: at first they may be candidates that are still tested.
    pub(super) parents: Parents,
    pub(super) pinned: Option<Pinned>,
    /// Built, checked and compared.
    pub(super) candidate: Option<Candidate>,
    /// The image on which children have begun to build.
    begun_on: Option<Digest>,
    is_tested: bool,
    /// Its budget was checked.
    pub(super) is_measured: bool,
    pub(super) over_budget: Vec<OverBudget>,
    /// The tags that were read from it.
    pub(super) content_tags: Option<ContentTags>,
    pub(super) is_past_gates: bool,
    /// The reports that its gates wrote.
    pub(super) reports: Vec<PathBuf>,
    /// The store may have written the build tag without an answer.
    is_pushed: bool,
    /// The time spent waiting for a test job, and for the parents' tests.
    pub(super) waited: Duration,
}

/// The result of a build.
pub(super) struct Candidate {
    pub(super) image: LocalImage,
    /// In bytes, without its base.
    pub(super) added: u64,
    /// The parents that its labels name.
    parents: Parents,
    pub(super) compared: Compared,
}

impl Candidate {
    /// Whether only the labels differ: then its tests, and the builds on it, stay valid.
    pub(super) fn is_but_for_labels(&self, image: &LocalImage) -> bool {
        self.image.layers == image.layers && self.image.config == image.config
    }
}

impl Done {
    /// The candidate was built on other images than the final ones of its parents.
    pub(super) fn forget_candidate(&mut self) {
        (self.candidate, self.begun_on) = (None, None);
        (self.is_tested, self.is_measured) = (false, false);
        self.over_budget.clear();
        self.content_tags = None;
        self.is_past_gates = false;
        self.reports.clear();
    }
}

/// The name and the labels of the new image.
struct ImageIdentity {
    record: BuiltFrom,
    /// The build tag of the plan, without a new epoch.
    planned: Tagged,
    /// The image under that tag.
    existing: Option<Digest>,
}

/// The result of a step.
pub(super) struct StepEnd {
    pub(super) outcome: Outcome,
    /// The number of attempts.
    pub(super) attempts: usize,
    /// The part of its time in which it only waited.
    pub(super) waited: Duration,
    pub(super) over_budget: Vec<OverBudget>,
    /// The tags that were read from its image.
    pub(super) content_tags: ContentTags,
    /// The reports that its gates wrote.
    pub(super) reports: Vec<PathBuf>,
    /// Its engine is of no more use, and another one may do it.
    pub(super) lost: Option<LostEngine>,
}

/// Why an engine gets no more steps.
pub(super) struct LostEngine {
    /// It does not answer; otherwise its disk is full.
    pub(super) has_stopped: bool,
    pub(super) why: String,
}

impl StepEnd {
    pub(super) fn cancelled() -> Self {
        let (outcome, waited) = (Outcome::Cancelled, Duration::ZERO);
        let (over_budget, content_tags, reports) = (vec![], ContentTags::new(), vec![]);
        Self { outcome, attempts: 1, waited, over_budget, content_tags, reports, lost: None }
    }
}

/// A running step.
pub(super) struct Work<'a, E, S> {
    pub(super) shop: &'a Workshop<E, S>,
    pub(super) bases: &'a Bases,
    pub(super) ahead: &'a Ahead,
    pub(super) step: &'a Step,
    /// The present image of each parent, if it is known.
    pub(super) parents: Parents,
    /// The address of its engine, if the run has several.
    pub(super) engine: Option<String>,
    /// Whether another engine can do it if this one stops.
    pub(super) has_others: bool,
}

impl<E: Engine, S: Store> Work<'_, E, S> {
    /// Returns an outcome in every case.
    pub(super) async fn execute(self, inbox: Inbox) -> StepEnd {
        let node = self.node();
        let mut tell =
            Tell::new(node.name.clone(), inbox, (&self.shop.run, self.shop.secrets.mask()));
        if let Some(engine) = &self.engine {
            tell.heading(&format!("engine {engine}"));
        }
        let mut attempts = Attempts::new(node.retries);
        let mut done = Done { parents: self.parents.clone(), ..Done::default() };
        let made = loop {
            let losses = self.shop.engine.losses();
            match self.make(&mut done, &mut tell).await {
                Ok(outcome) => break Ok(outcome),
                Err(trouble) => {
                    let mut trouble = self.blame(trouble, losses).await;
                    if let Some(lost) = self.lost_engine(&trouble, &tell) {
                        tell.failed(&trouble.message);
                        tell.finish();
                        return StepEnd { lost: Some(lost), ..StepEnd::cancelled() };
                    }
                    self.let_overtake().await;
                    match trouble.again {
                        StepRetry::Gone if !self.is_back(&trouble, &tell).await => {
                            break Err(trouble);
                        }
                        _ if self.lacks_layers(&trouble, &mut done).await => {
                            let message = "the engine lacks layers of a base, and now reads them from its registry";
                            message.clone_into(&mut trouble.message);
                            trouble.again = StepRetry::Race;
                        }
                        StepRetry::Race => _ = self.forget_lost(&mut done).await,
                        StepRetry::Unsure | StepRetry::Passing
                            if self.forget_lost(&mut done).await =>
                        {
                            trouble.again = StepRetry::Race;
                        }
                        _ => {}
                    }
                    match attempts.after(trouble, &mut tell).await {
                        Ok(()) => {}
                        Err(trouble) => break Err(trouble),
                    }
                }
            }
        };
        let outcome = match made {
            Ok(outcome) => {
                // The build tag keeps the image now, and nothing is built on it.
                let is_last = self.shop.hierarchy.children(&self.step.node).next().is_none();
                if is_last && self.shop.options.push {
                    self.bases.release_own(&*self.shop.engine, self.step.node.as_str()).await;
                }
                attempts.tell_flaky(&tell);
                tell.heading("done");
                tell.finish();
                outcome
            }
            Err(mut trouble) => {
                let platform = self.shop.hierarchy.platform_of(node);
                let hint = tell.says(FOREIGN_PROGRAM).then(|| emulation_hint(platform));
                trouble.message = with_hint(&trouble.message, hint);
                trouble.message = self.shop.secrets.mask().text(&trouble.message);
                tell.failed(&trouble.message);
                let tail = tell.tail_of(&trouble.phase);
                // A parent with failing tests may be the cause.
                self.settled(&mut done, &mut tell).await;
                let kept = self.keep_failed(&done).await;
                let (_, log) = tell.finish();
                let at = trouble.step.as_deref().and_then(|text| node.dockerfile.line_of(text));
                Outcome::Failed(StepFailure {
                    phase: trouble.phase,
                    message: trouble.message,
                    exit: trouble.exit,
                    on_failure: node.on_failure,
                    at: at.map(|at| (node.dockerfile.path.clone(), at.line, at.text.clone())),
                    tail,
                    log,
                    kept,
                })
            }
        };
        let (attempts, waited, over_budget) = (attempts.count(), done.waited, done.over_budget);
        let (content_tags, reports) = (done.content_tags.unwrap_or_default(), done.reports);
        StepEnd { outcome, attempts, waited, over_budget, content_tags, reports, lost: None }
    }

    /// Names the image of a failed test, so that the engine keeps it after the run.
    async fn keep_failed(&self, done: &Done) -> Option<Tagged> {
        let candidate = done.candidate.as_ref()?;
        let name = failed_image(&self.shop.run.id, self.step.node.as_str());
        self.shop.engine.tag(&candidate.image.id, &name).await.ok()?;
        Some(name)
    }

    async fn make(&self, done: &mut Done, tell: &mut Tell) -> Result<Outcome, Trouble> {
        let (fresh, again) = match &self.step.action {
            Action::Build { fresh, again } => (*fresh, *again),
            Action::Promote { digest } => {
                let record = self.record(self.step.inputs.epoch, &done.parents);
                self.read_stored_tags(done, (digest, &record), tell).await?;
                return Ok(Outcome::Reused { digest: digest.clone() });
            }
            Action::Keep { digest } => {
                self.note_checked(digest, tell).await;
                return Ok(Outcome::Kept { digest: digest.clone() });
            }
        };
        loop {
            let identity = self.identify(&done.parents, (fresh, again)).await?;
            if let (Some(digest), None) = (&identity.existing, again) {
                if std::mem::take(&mut done.is_pushed) {
                    let tag = &identity.planned;
                    tell.warn(&format!("the push was cut off, but `{tag}` was read back whole"));
                }
                self.announce(digest.clone());
                if self.is_settled(done, tell).await {
                    self.read_stored_tags(done, (digest, &identity.record), tell).await?;
                    return Ok(Outcome::Reused { digest: digest.clone() });
                }
                continue;
            }
            self.have_candidate(done, (&identity.record, fresh), tell).await?;
            if !done.is_tested {
                self.test(done, tell).await?;
                done.is_tested = true;
            }
            if self.is_settled(done, tell).await {
                self.check_budget(done, tell).await?;
                self.read_tags(done, &identity.record, tell).await?;
                self.pass_gates(done, tell).await?;
                return self.store(done, identity, tell).await;
            }
        }
    }

    async fn identify(
        &self,
        parents: &Parents,
        (fresh, again): (bool, Option<Epoch>),
    ) -> Result<ImageIdentity, Trouble> {
        let stored = |error| Trouble::of_store(Phase::Push, &error);
        let planned = self.record(self.step.inputs.epoch, parents);
        let planned_tag = self.build_tag(&planned);
        let existing = self.shop.store.head(&planned_tag).await.map_err(stored)?;
        let record = match again {
            Some(epoch) if fresh || existing.is_some() => self.record(Some(epoch), parents),
            _ => planned,
        };
        Ok(ImageIdentity { record, planned: planned_tag, existing })
    }

    /// Whether a base may be missing in the engine. An image that this run builds is there.
    fn may_pull(&self) -> bool {
        self.node().dockerfile.uses.iter().any(|used| {
            let parent = match &used.base {
                Base::Node(parent) => parent,
                Base::Upstream(_) => return true,
                Base::Files(_) => return false,
            };
            let step = self.shop.plan.step(parent);
            !step.is_some_and(|step| matches!(step.action, Action::Build { .. }))
        })
    }

    /// Builds the candidate unless it exists, and announces it to the children.
    async fn have_candidate(
        &self,
        done: &mut Done,
        (record, fresh): (&BuiltFrom, bool),
        tell: &mut Tell,
    ) -> Result<(), Trouble> {
        let is_first = done.pinned.is_none() && done.candidate.is_none();
        if is_first && self.may_pull() {
            tell.phase(Phase::Pull);
        }
        let pinned = match &done.pinned {
            Some(pinned) => pinned,
            None => done.pinned.insert(self.pin_bases(&done.parents).await?),
        };
        if let Some(candidate) = &mut done.candidate {
            let is_thrown_away = matches!(candidate.compared, Compared::Same(_));
            if is_thrown_away || candidate.parents == done.parents {
                return Ok(());
            }
            if let Some(image) = self.relabelled(candidate, pinned, record).await? {
                (candidate.image, candidate.parents) = (image, done.parents.clone());
                return Ok(());
            }
        }
        let pinned = pinned.clone();
        let before = (done.candidate.take(), done.begun_on.take(), done.is_tested);
        done.forget_candidate();
        let image = self.build(&pinned, record, fresh, tell).await?;
        let added = self.check(&image, &pinned).await?;
        if let (Some(candidate), begun_on, is_tested) = before
            && candidate.is_but_for_labels(&image)
        {
            (done.begun_on, done.is_tested) = (begun_on, is_tested);
            let parents = done.parents.clone();
            done.candidate = Some(Candidate { image, added, parents, ..candidate });
            return Ok(());
        }
        let compared = self.compare(&image, fresh, tell).await;
        let compared = compared.map_err(|error| Trouble::of_store(Phase::Push, &error))?;
        let digest = match &compared {
            Compared::Same(published) => published.clone(),
            Compared::Different(_) | Compared::Other => {
                self.bases.learn(&image.id, &image.id);
                image.id.clone()
            }
        };
        done.begun_on = Some(image.id.clone());
        let parents = done.parents.clone();
        done.candidate = Some(Candidate { image, added, parents, compared });
        self.announce(digest);
        Ok(())
    }

    /// Stores the image after all tests have passed.
    async fn store(
        &self,
        done: &mut Done,
        identity: ImageIdentity,
        tell: &mut Tell,
    ) -> Result<Outcome, Trouble> {
        let stored = |error| Trouble::of_store(Phase::Push, &error);
        let Some(Candidate { image, added, compared, .. }) = &done.candidate else {
            unreachable!("only a candidate is stored");
        };
        let _place = self.ahead.may_upload().await;
        let different = match compared {
            Compared::Same(published) => {
                // The image under the tag is the same; a build tag never moves.
                if self.shop.options.push && identity.existing.is_none() {
                    self.shop.store.point(&identity.planned, published).await.map_err(stored)?;
                    self.note_taken_in(published, &identity.record, tell).await;
                }
                return Ok(Outcome::Unchanged { digest: published.clone() });
            }
            Compared::Different(different) => Some(different.clone()),
            Compared::Other => None,
        };
        let (mut pushed, mut packed) = (None, None);
        let digest = if self.shop.options.push {
            let build_tag = self.build_tag(&identity.record);
            // Another run of the same inputs may have been faster, and a build tag never moves.
            if !done.is_pushed
                && let Some(digest) = self.shop.store.head(&build_tag).await.map_err(stored)?
            {
                return Ok(Outcome::Reused { digest });
            }
            if self.shop.hierarchy.registry.is_some() {
                tell.phase(Phase::Push);
            }
            done.is_pushed = true;
            let digest = self.shop.store.upload(&image.id, &build_tag).await.map_err(stored)?;
            // An engine that is the store has the candidate itself under the tag.
            if self.shop.hierarchy.registry.is_some() {
                let found = self.shop.store.describe(&self.node().repository, &digest).await;
                let found = found.map_err(stored)?.filter(|found| found.layers == image.layers);
                let Some(found) = found else {
                    // Another run of the same inputs has stored its image at the same time: children would
                    // name one image and be built on the other.
                    return Ok(Outcome::Reused { digest });
                };
                pushed = self.pushed(&found, done.pinned.as_ref()).await?;
                packed = found.stored.as_ref().map(StoredSize::total);
            }
            digest
        } else {
            image.id.clone()
        };
        self.bases.learn(&digest, done.begun_on.as_ref().unwrap_or(&image.id));
        let before = self.size_before(packed).await;
        let fingerprint = identity.record.fingerprint;
        let (size, added) = (image.size, *added);
        Ok(Outcome::Built { digest, fingerprint, size, added, pushed, before, different })
    }

    /// The size of a stored image in its registry.
    async fn pushed(
        &self,
        found: &Description,
        pinned: Option<&Pinned>,
    ) -> Result<Option<Pushed>, Trouble> {
        let Some(stored) = &found.stored else { return Ok(None) };
        let is_flat = self.node().flatten == Flatten::All;
        let base = match pinned.and_then(|pinned| pinned.base.as_ref()).filter(|_| !is_flat) {
            Some((_, _, base)) => self.base(base).await?.layers.len(),
            None => 0,
        };
        let (below, own) = stored.layers.split_at(base.min(stored.layers.len()));
        let upstream = if self.node().upstream().is_some() { Blob::sum(below) } else { 0 };
        Ok(Some(Pushed { own: Blob::sum(own).saturating_add(stored.documents), upstream }))
    }

    /// An image without updates gets the build tag of its due epoch, so that the next run does not query
    /// again. If that fails, the next run queries again.
    async fn note_checked(&self, digest: &Digest, tell: &Tell) {
        let Some(epoch) = self.step.checked else { return };
        let tag = self.build_tag(&self.record(Some(epoch), &self.parents));
        if let Err(error) = self.shop.store.point(&tag, digest).await {
            tell.warn(&format!("that it has no newer packages is not noted: {error}"));
        }
    }

    /// The labels of the published image contain the older inputs.
    async fn note_taken_in(&self, published: &Digest, record: &BuiltFrom, tell: &Tell) {
        let (store, node) = (&self.shop.store, self.step.node.as_str());
        let noted = async {
            let mut taken_in = TakenIn::read(&store.note(node).await?.unwrap_or_default());
            taken_in.add(published, (node, record));
            store.keep_note(node, &taken_in.written()).await
        };
        if let Err(error) = noted.await {
            tell.warn(&format!("`rebuild why` will name this change again: {error}"));
        }
    }

    async fn pin_bases(&self, parents: &Parents) -> Result<Pinned, Trouble> {
        self.bases
            .pin_all(self.node(), parents, &self.shop.base_sources())
            .await
            .map_err(|error| Trouble { step: self.naming(&error), ..Trouble::of_base(&error) })
    }

    /// The instruction that names the missing upstream.
    fn naming(&self, error: &BaseError) -> Option<String> {
        let BaseError::Missing { line, .. } = error else { return None };
        let instructions = &self.node().dockerfile.instructions;
        instructions.iter().find(|one| one.line == *line).map(|one| one.text.clone())
    }

    async fn build(
        &self,
        pinned: &Pinned,
        record: &BuiltFrom,
        fresh: bool,
        tell: &mut Tell,
    ) -> Result<LocalImage, Trouble> {
        let node = self.node();
        let broken = |phase, again, message: String| Trouble {
            phase,
            message,
            exit: Exit::BuildFailed,
            step: None,
            again,
        };
        let mut context = Context::of(node)
            .map_err(|error| broken(Phase::Build, StepRetry::Never, error.to_string()))?;
        let mut dockerfile_path = node.dockerfile.path.clone();
        // Must live as long as the build.
        let mut _copy = None;
        if let Some(command) = &node.prepare {
            tell.phase(Phase::Prepare);
            let copy = prepare(
                (&self.shop.hierarchy, node),
                command,
                &context,
                &self.shop.run.id,
                |bytes| {
                    tell.output(bytes);
                },
            )
            .await
            .map_err(|error| broken(Phase::Prepare, StepRetry::Asked, error.to_string()))?;
            if let Ok(inside) = dockerfile_path.strip_prefix(&context.root) {
                dockerfile_path = copy.path().join(inside);
            }
            copy.path().clone_into(&mut context.root);
            context.modes = Modes::Own;
            _copy = Some(copy);
        }
        let request = BuildRequest {
            context,
            context_digest: (node.prepare.is_none() && node.contexts.is_empty())
                .then(|| self.step.inputs.context.clone()),
            dockerfile: node.dockerfile.pinned(&pinned.names),
            dockerfile_path,
            build_args: node.build_args.clone(),
            secrets: self.build_secrets(pinned).await,
            labels: self.labels(pinned, record).await?,
            settings: node.settings.clone(),
            repository: node.repository.clone(),
            target: node.target.clone(),
            named: node.dockerfile.named(&pinned.names),
            platform: node.platform.clone(),
            // BuildKit identifies the secret of a layer only by its ID: it would reuse a layer that was built
            // with another source.
            no_cache: fresh || !node.secrets.is_empty(),
            timeout: node.timeout,
            run: self.shop.run.id.clone(),
        };
        tell.phase(Phase::Build);
        self.moved(Moved::Building);
        let said = |progress| match progress {
            BuildProgress::Step { stage, number, total, text } => {
                let reported = StepPlace { stage, number, total };
                let (place, text) = node.dockerfile.step_place(reported, pinned.as_written(text));
                tell.build_step(place, &shown(text));
            }
            BuildProgress::CountedStep { number, total, text } => {
                let place = StepPlace { stage: None, number, total };
                tell.build_step(place, &shown(pinned.as_written(text)));
            }
            BuildProgress::Output(bytes) => tell.output(&bytes),
            BuildProgress::Exporting => self.moved(Moved::Exporting),
        };
        let image = self.shop.engine.build(request, said).await.map_err(|error| {
            let trouble = Trouble::of_build(error);
            let frontend = node.dockerfile.frontend().filter(|_| trouble.step.is_none());
            let hint = frontend.and_then(|named| frontend_hint(named, &trouble.message));
            let step = trouble.step.map(|step| pinned.as_written(step));
            let message = pinned.as_written(trouble.message);
            let refused = || refused_instruction(&message, &node.dockerfile.instructions);
            let step = step.or_else(|| Some(refused()?.text.clone()));
            let missing = missing_source(&message, step.as_deref());
            let message = missing.or_else(|| missing_secret(&message)).unwrap_or(message);
            let message = with_hint(&message, hint);
            Trouble { message, step, ..trouble }
        })?;
        let image = self.flattened(image, pinned, tell).await?;
        // Only this name keeps the image in the engine. The engine could set the name itself, but if a
        // cancelled build still ends, it would do so after this run has removed its names.
        self.bases
            .pin(&*self.shop.engine, node.name.as_str(), &image.id)
            .await
            .map_err(Trouble::of_build)?;
        self.bases.learn_built(&image);
        Ok(image)
    }

    /// Checks the image before its tests: its files did not change. Returns the size of the layers that it does not
    /// share with its base.
    async fn check(&self, candidate: &LocalImage, pinned: &Pinned) -> Result<u64, Trouble> {
        let broken = |message| Trouble {
            phase: Phase::Build,
            message,
            exit: Exit::BuildFailed,
            step: None,
            again: StepRetry::Never,
        };
        let mut added = candidate.size;
        if let Some((_, _, base)) =
            pinned.base.as_ref().filter(|_| self.node().flatten != Flatten::All)
        {
            added = added.saturating_sub(self.base(base).await?.size);
        }
        if self.has_changed().await.map_err(|error| broken(error.to_string()))? {
            return Err(broken(
                "its build context changed while it was built; run again".to_owned(),
            ));
        }
        Ok(added)
    }

    /// Whether the files of the node differ from those of the plan.
    async fn has_changed(&self) -> Result<bool, ContextError> {
        let (owned, hashes) = (self.node().clone(), self.shop.hashes.clone());
        let hierarchy = Arc::clone(&self.shop.hierarchy);
        let now = tokio::task::spawn_blocking(move || source(&hierarchy, &owned, &hashes))
            .await
            .expect("hashing does not panic")?;
        Ok(now.digest != self.step.inputs.context)
    }

    /// `watch` cancels obsolete builds shortly after a change. A build that fails because of half-written
    /// files waits for that, and counts as cancelled instead of failed.
    async fn let_overtake(&self) {
        let is_watched = self.shop.overtaken.has_changed().is_ok();
        if is_watched && self.has_changed().await.unwrap_or(true) {
            tokio::time::sleep(SEEN_WITHIN).await;
        }
    }

    /// The description of a base, read once for all its children.
    pub(super) async fn base(&self, image: &Digest) -> Result<Arc<LocalImage>, Trouble> {
        let known = self.bases.image_of(image);
        let asked = known.get_or_try_init(async || Ok(Arc::new(self.inspect(image).await?))).await;
        asked.cloned()
    }

    pub(super) async fn inspect(&self, image: &Digest) -> Result<LocalImage, Trouble> {
        let found = self.shop.engine.inspect(image.as_str()).await;
        found.map_err(Trouble::of_build)?.ok_or_else(|| Trouble {
            phase: Phase::Build,
            message: format!("the image {} vanished from the engine", image.short()),
            exit: Exit::BuildFailed,
            step: None,
            again: StepRetry::Race,
        })
    }

    async fn test(&self, done: &mut Done, tell: &mut Tell) -> Result<(), Trouble> {
        let tests = self.shop.hierarchy.tests_with_origin(&self.step.node);
        let (origins, tests): (Vec<_>, Vec<_>) = tests.unzip();
        let Some(candidate) = done.candidate.as_ref().filter(|_| !tests.is_empty()) else {
            return Ok(());
        };
        let began = Instant::now();
        let _place = self.ahead.may_test(|| tell.phase(Phase::WaitForTestJob)).await;
        done.waited += began.elapsed();
        let total = tests.len();
        let mut current = (Phase::Test { number: 1, total }, String::new());
        let progress = |progress| match progress {
            TestProgress::Begins(index) => {
                let what = tests[index].check.shown();
                let number = index + 1;
                let phase = Phase::Test { number, total };
                let of = self.inherited_from(origins[index]);
                let heading = format!("test {number} of {total}{of}");
                tell.phase_with(phase.clone(), &format!("{heading}: {what}"));
                current = (phase, format!("{heading}, `{what}`"));
            }
            TestProgress::Output(bytes) => tell.output(&bytes),
        };
        let (engine, run) = (&self.shop.engine, &self.shop.run.id);
        let tested = engine.test(&candidate.image.id, &tests, run, progress).await;
        let (phase, which) = current;
        let failed = |message: String, exit, again| Trouble {
            phase,
            message: format!("{which}: {message}"),
            exit,
            step: None,
            again,
        };
        match tested {
            Ok(None) => Ok(()),
            Ok(Some(failure)) => Err(failed(failure, Exit::TestFailed, StepRetry::Asked)),
            Err(error) => {
                let exit = exit_of(&error, Exit::TestFailed);
                Err(failed(error.to_string(), exit, StepRetry::after_engine(&error)))
            }
        }
    }

    fn build_tag(&self, record: &BuiltFrom) -> Tagged {
        self.node().repository.tagged(record.fingerprint.build_tag())
    }

    /// The labels of the new image.
    fn record(&self, epoch: Option<Epoch>, parents: &Parents) -> BuiltFrom {
        let told = self.node().file_labels;
        let causes = self.shop.plan.causes(&self.step.node);
        // Tests of its own change no image.
        let changes_it = |cause: &&RootCause| !cause.reason.is_of_tests();
        let cause = causes.iter().find(changes_it).map(ToString::to_string);
        let cause = cause.or_else(|| self.moved_parent());
        let cause = cause.or_else(|| causes.first().map(ToString::to_string)).filter(|_| told);
        BuiltFrom {
            detail: told.then(|| self.step.detail.clone()),
            revision: self.shop.revision.clone(),
            cause: cause.unwrap_or_default(),
            ..BuiltFrom::new(Inputs { epoch, ..self.step.inputs.clone() }, parents.clone())
        }
    }

    /// That a parent was another image already before this run.
    fn moved_parent(&self) -> Option<String> {
        match &self.step.reason {
            Reason::ParentRebuilt { besides: Some(besides), .. }
                if matches!(**besides, Reason::ParentMoved { .. }) =>
            {
                Some(besides.of(&self.step.node))
            }
            _ => None,
        }
    }

    pub(super) fn node(&self) -> &Node {
        self.shop.hierarchy.get(&self.step.node).expect("a step is a node of the hierarchy")
    }
}

/// `rebuild`'s labels are long, and not written by the user.
fn shown(step: String) -> String {
    let ours = step.starts_with("LABEL ") && step.contains(LABEL_PREFIX);
    if ours { "LABEL (what it was built from)".to_owned() } else { step }
}
