//! One step: bring the bases, build, test, and store under the build tag.

use std::{collections::BTreeMap, sync::Arc};

use super::{
    RunOptions,
    bases::{BaseError, Bases, Pinned, Sources},
    event::{Failure, Outcome, Phase},
    prepare::prepare,
    tell::{Inbox, Tell},
};
use crate::{
    engine::{BuildProgress, BuildRequest, Engine, EngineError, LocalImage},
    exit::Exit,
    fingerprint::{BuiltFrom, LABEL_PREFIX, Parents, context::Context, source},
    hierarchy::{Check, Hierarchy, Node},
    image::Digest,
    plan::{Plan, Step},
    registry::Client,
    state::RunDir,
    store::{Description, Store, StoreError},
};

/// The image that a node's base was, as the OCI image specification names these labels:
/// <https://github.com/opencontainers/image-spec/blob/v1.1.0/annotations.md>.
const BASE_NAME: &str = "org.opencontainers.image.base.name";
const BASE_DIGEST: &str = "org.opencontainers.image.base.digest";

/// Everything the steps of a run share.
#[derive(Debug)]
pub struct Workshop<E, S> {
    pub engine: Arc<E>,
    pub store: Arc<S>,
    /// For upstreams, which may lie in any registry.
    pub registries: Client,
    pub hierarchy: Arc<Hierarchy>,
    pub plan: Arc<Plan>,
    pub run: RunDir,
    pub options: RunOptions,
}

/// A failure before it has its log and its place in the Dockerfile.
struct Trouble {
    phase: Phase,
    message: String,
    exit: Exit,
    /// The text of the Dockerfile step that failed.
    step: Option<String>,
}

/// One step under way.
pub(super) struct Work<'a, E, S> {
    pub(super) shop: &'a Workshop<E, S>,
    pub(super) bases: &'a Bases,
    pub(super) step: &'a Step,
    pub(super) parents: Parents,
}

impl<E: Engine, S: Store> Work<'_, E, S> {
    /// Whatever happens is an outcome.
    pub(super) async fn execute(self, forced: bool, inbox: Inbox) -> Outcome {
        let node = self.node();
        let mut tell = Tell::new(node.name.clone(), inbox, &self.shop.run);
        match self.make(forced, &mut tell).await {
            Ok(outcome) => {
                tell.finish();
                outcome
            }
            Err(trouble) => {
                tell.failed(&trouble.message);
                let (tail, log) = tell.finish();
                let at = trouble.step.as_deref().and_then(|text| node.dockerfile.line_of(text));
                Outcome::Failed(Failure {
                    phase: trouble.phase,
                    message: trouble.message,
                    exit: trouble.exit,
                    on_failure: node.on_failure,
                    at: at.map(|at| (node.dockerfile.path.clone(), at.line, at.text.clone())),
                    tail,
                    log,
                })
            }
        }
    }

    async fn make(&self, forced: bool, tell: &mut Tell) -> Result<Outcome, Trouble> {
        let node = self.node();
        let record = self.record();
        let build_tag = node.repository.tagged(record.fingerprint.build_tag());
        let stored = |error| Trouble::of_store(Phase::Push, &error);
        if !forced && let Some(digest) = self.shop.store.head(&build_tag).await.map_err(stored)? {
            return Ok(Outcome::Reused { digest });
        }

        let pinned = self.pin_bases(tell).await?;
        let image = self.build(&pinned, &record, tell).await?;
        let candidate = self.check(&image, &pinned).await?;
        self.test(&candidate, tell).await?;

        if let Some(published) = self.same_as_published(&candidate).await.map_err(stored)? {
            if self.shop.options.push {
                self.shop.store.point(&build_tag, &published).await.map_err(stored)?;
            }
            return Ok(Outcome::Unchanged { digest: published });
        }
        let digest = if self.shop.options.push {
            if self.shop.hierarchy.registry.is_some() {
                tell.phase(Phase::Push);
            }
            self.shop.store.upload(&image, &build_tag).await.map_err(stored)?
        } else {
            image.clone()
        };
        self.bases.learn(&digest, &image);
        let size_before = self.size_before().await;
        Ok(Outcome::Built { digest, size: candidate.size, size_before })
    }

    async fn pin_bases(&self, tell: &mut Tell) -> Result<Pinned, Trouble> {
        if !self.node().dockerfile.uses.is_empty() {
            tell.phase(Phase::Pull);
        }
        let sources = Sources {
            engine: &*self.shop.engine,
            store: &*self.shop.store,
            registries: &self.shop.registries,
            hierarchy: &self.shop.hierarchy,
            upstreams: &self.shop.plan.upstreams,
        };
        self.bases
            .pin_all(self.node(), &self.parents, &sources)
            .await
            .map_err(|error| Trouble::of_base(&error))
    }

    async fn build(
        &self,
        pinned: &Pinned,
        record: &BuiltFrom,
        tell: &mut Tell,
    ) -> Result<Digest, Trouble> {
        let node = self.node();
        let broken = |phase: &Phase, message: String| Trouble {
            phase: phase.clone(),
            message,
            exit: Exit::BuildFailed,
            step: None,
        };
        let mut context = Context::open(&node.context, &node.dockerfile.path)
            .map_err(|error| broken(&Phase::Build, error.to_string()))?;
        let mut dockerfile_path = node.dockerfile.path.clone();
        // Lives as long as the build.
        let mut _copy = None;
        if let Some(command) = &node.prepare {
            tell.phase(Phase::Prepare);
            let copy = prepare(node, command, &context, &self.shop.run.id, |bytes| {
                tell.output(bytes);
            })
            .await
            .map_err(|error| broken(&Phase::Prepare, error.to_string()))?;
            if let Ok(inside) = dockerfile_path.strip_prefix(&context.root) {
                dockerfile_path = copy.path().join(inside);
            }
            copy.path().clone_into(&mut context.root);
            _copy = Some(copy);
        }
        let request = BuildRequest {
            context,
            context_digest: node.prepare.is_none().then(|| self.step.inputs.context.clone()),
            dockerfile: node.dockerfile.pinned(&pinned.names),
            dockerfile_path,
            build_args: node.build_args.clone(),
            labels: self.labels(pinned, record),
            target: node.target.clone(),
            platform: node.platform.clone(),
            no_cache: self.shop.options.no_cache,
            timeout: node.timeout,
        };
        tell.phase(Phase::Build);
        let said = |progress| match progress {
            BuildProgress::Step { number, total, text } => {
                tell.build_step(number, total, shown(pinned.as_written(text)));
            }
            BuildProgress::Output(bytes) => tell.output(&bytes),
        };
        let image = self.shop.engine.build(request, said).await.map_err(|error| {
            let trouble = Trouble::of_build(error);
            let step = trouble.step.map(|step| pinned.as_written(step));
            Trouble { message: pinned.as_written(trouble.message), step, ..trouble }
        })?;
        // Nothing but this name holds the image yet.
        self.bases
            .pin(&*self.shop.engine, node.name.as_str(), &image)
            .await
            .map_err(Trouble::of_build)?;
        Ok(image)
    }

    /// The labels of the image: the user's, where it stands, and what it was built from.
    fn labels(&self, pinned: &Pinned, record: &BuiltFrom) -> BTreeMap<String, String> {
        let node = self.node();
        let mut labels = record.to_labels(node.name.as_str());
        if let Some((name, digest, _)) = &pinned.base {
            labels.insert(BASE_NAME.to_owned(), name.clone());
            labels.insert(BASE_DIGEST.to_owned(), digest.to_string());
        }
        labels.extend(node.labels.clone());
        labels
    }

    /// What must hold before it is worth testing: it stands on the base it was pinned to, its
    /// files did not change meanwhile, and it is not too large.
    async fn check(&self, image: &Digest, pinned: &Pinned) -> Result<LocalImage, Trouble> {
        let node = self.node();
        let broken =
            |message| Trouble { phase: Phase::Build, message, exit: Exit::BuildFailed, step: None };
        let candidate = self.inspect(image).await?;
        if let Some((name, _, base)) = &pinned.base {
            let base = self.inspect(base).await?;
            if !candidate.layers.starts_with(&base.layers) {
                return Err(broken(format!("the engine did not build it on `{name}` as pinned")));
            }
        }
        let owned = node.clone();
        let now = tokio::task::spawn_blocking(move || source(&owned))
            .await
            .expect("hashing does not panic")
            .map_err(|error| broken(error.to_string()))?;
        if now.digest != self.step.inputs.context {
            return Err(broken(
                "its build context changed while it was built; run again".to_owned(),
            ));
        }
        if let Some(max) = node.max_size
            && candidate.size > max
        {
            let message =
                format!("it has {} bytes, more than its `max_size` of {max}", candidate.size);
            return Err(Trouble { exit: Exit::TestFailed, ..broken(message) });
        }
        Ok(candidate)
    }

    async fn inspect(&self, image: &Digest) -> Result<LocalImage, Trouble> {
        let found = self.shop.engine.inspect(image.as_str()).await;
        found.map_err(Trouble::of_build)?.ok_or_else(|| Trouble {
            phase: Phase::Build,
            message: format!("the image {} vanished from the engine", image.short()),
            exit: Exit::BuildFailed,
            step: None,
        })
    }

    async fn test(&self, candidate: &LocalImage, tell: &mut Tell) -> Result<(), Trouble> {
        let tests: Vec<_> = self.shop.hierarchy.tests(&self.step.node).collect();
        let total = tests.len();
        for (number, test) in (1..).zip(tests) {
            let phase = Phase::Test { number, total };
            tell.phase(phase.clone());
            let what = match &test.check {
                Check::Run { argv, .. } => argv.join(" "),
                Check::Healthy => "healthy".to_owned(),
            };
            let failed = |message, exit| Trouble {
                phase: phase.clone(),
                message: format!("test {number} of {total}, `{what}`: {message}"),
                exit,
                step: None,
            };
            let result =
                self.shop.engine.test(&candidate.id, test, &self.shop.run.id).await.map_err(
                    |error| failed(error.to_string(), exit_of(&error, Exit::TestFailed)),
                )?;
            tell.output(&result.output);
            if let Some(failure) = result.failure {
                return Err(failed(failure, Exit::TestFailed));
            }
        }
        Ok(())
    }

    /// The published image, if the candidate is the same but for our labels: then children of the
    /// published one need no rebuilding.
    async fn same_as_published(
        &self,
        candidate: &LocalImage,
    ) -> Result<Option<Digest>, StoreError> {
        let Some(published) = &self.step.published else { return Ok(None) };
        let repository = &self.node().repository;
        let Some(before) = self.shop.store.describe(repository, published).await? else {
            return Ok(None);
        };
        let now = Description {
            labels: candidate.labels.clone(),
            layers: candidate.layers.clone(),
            config: candidate.config.clone(),
            created: None,
        };
        Ok((content(before) == content(now)).then(|| published.clone()))
    }

    async fn size_before(&self) -> Option<u64> {
        let published = self.step.published.as_ref()?;
        let names = [format!("{}@{published}", self.node().repository), published.to_string()];
        for name in names {
            if let Ok(Some(image)) = self.shop.engine.inspect(&name).await {
                return Some(image.size);
            }
        }
        None
    }

    /// What the image will say of itself.
    fn record(&self) -> BuiltFrom {
        let causes = self.shop.plan.causes(&self.step.node);
        BuiltFrom {
            detail: Some(self.step.detail.clone()),
            cause: causes.first().map_or(String::new(), ToString::to_string),
            ..BuiltFrom::new(self.step.inputs.clone(), self.parents.clone())
        }
    }

    fn node(&self) -> &Node {
        self.shop.hierarchy.get(&self.step.node).expect("a step is a node of the hierarchy")
    }
}

/// Our own labels are long, and nobody wrote them.
fn shown(step: String) -> String {
    let ours = step.starts_with("LABEL ") && step.contains(LABEL_PREFIX);
    if ours { "LABEL (what it was built from)".to_owned() } else { step }
}

/// What makes an image what it is: everything but the labels that say how it came about.
fn content(mut image: Description) -> Description {
    image.created = None;
    image.labels.retain(|label, _| {
        !label.starts_with(LABEL_PREFIX) && label != BASE_NAME && label != BASE_DIGEST
    });
    image
}

/// An engine that is gone is its own cause, whatever was going on.
fn exit_of(error: &EngineError, otherwise: Exit) -> Exit {
    match error {
        EngineError::Unreachable { .. } => Exit::EngineUnreachable,
        _ => otherwise,
    }
}

impl Trouble {
    fn of_build(error: EngineError) -> Self {
        let exit = exit_of(&error, Exit::BuildFailed);
        let (message, step) = match error {
            EngineError::Build { step: Some(step), exit_code: Some(code), .. } => {
                (format!("`{step}` ended with exit code {code}"), Some(step))
            }
            EngineError::Build { message, step, .. } => (message, step),
            other => (other.to_string(), None),
        };
        Self { phase: Phase::Build, message, exit, step }
    }

    fn of_store(phase: Phase, error: &StoreError) -> Self {
        let exit = match error {
            StoreError::Engine(error) => exit_of(error, Exit::PushFailed),
            _ => Exit::PushFailed,
        };
        Self { phase, message: error.to_string(), exit, step: None }
    }

    fn of_base(error: &BaseError) -> Self {
        let exit = match error {
            BaseError::Engine(error) | BaseError::Store(StoreError::Engine(error)) => {
                exit_of(error, Exit::RegistryUnreachable)
            }
            BaseError::Store(_) | BaseError::Registry(_) => Exit::RegistryUnreachable,
            BaseError::NeverPublished(_) => Exit::BuildFailed,
        };
        Self { phase: Phase::Pull, message: error.to_string(), exit, step: None }
    }
}
