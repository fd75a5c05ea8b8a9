//! The engine that speaks the Docker API.
//!
//! bollard does the plain calls, over our own transport. Builds, pushes and pulls are requests of
//! our own: bollard takes a stream that ends early, or an `{"error":…}` alone, for success.
//!
//! **Invariant:** every container this module makes is labelled, and is removed by a task that
//! outlives the future which wanted it; [`Docker::quiesce`] waits for those tasks.

mod about;
mod activity;
mod api_version;
mod build;
mod build_query;
mod builder;
mod call;
mod capabilities;
mod compare;
mod complaint;
mod confined;
mod config;
mod connected;
mod container;
mod container_init;
mod export;
mod files;
mod flatten;
mod frontend_options;
mod images;
mod interact;
mod known_tags;
mod lifeline;
mod body_lines;
mod message;
mod output;
mod body_reader;
mod probe;
mod registry_answer;
mod room;
mod shared;
mod solve;
mod stream;
mod test;
mod trace;
mod transcript;
mod transfer;

use std::{
    collections::BTreeMap,
    io::{self, Read},
    sync::Arc,
    time::{Duration, Instant},
};

use jiff::Timestamp;
use tokio::time::timeout;
use tokio_util::task::TaskTracker;

pub use self::{
    about::About,
    builder::BuilderChoice,
    capabilities::{BuilderKind, Capabilities, Capability, ImageStore, SizeMeaning},
    config::canonical as canonical_config,
    connected::EngineOptions,
    container::Leftover,
    images::{TagRemoval, created},
    interact::ShellSession,
};
pub(super) use self::{
    activity::Activity,
    build::{DOING, dockerfile_name, with_causes},
    registry_answer::Transfer,
    solve::{IMAGE_ID, SessionBuild, solve_followed},
    transcript::Transcript,
};
use self::{
    confined::Limits, container::Containers, known_tags::KnownTags, lifeline::Lifeline,
    shared::TooLarge,
};
use super::{
    BuildProgress, BuildRequest, Engine, EngineError, EngineInfo, Flattening, HistoryStep,
    ImageCommand, LocalImage, PathDifference, ProbeOutput, TestProgress, Tried, Volatile,
    connect::{Transport, survey},
};
use crate::{
    hierarchy::Test,
    host::environment,
    image::{Digest, Platform, Repository, Tagged},
    registry::{Delays, Login},
};

/// How long the end of a run waits for events that only make the next one quicker.
const LAST_EVENTS: Duration = Duration::from_secs(1);

/// A Docker engine. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Docker {
    transport: Transport,
    api: bollard::Docker,
    capabilities: Capabilities,
    /// Build arguments for the proxies of docker's configuration.
    proxies: BTreeMap<String, String>,
    /// Silence for so long is the end of a build, a push or a pull.
    idle: Duration,
    /// Hears of pushes and pulls that the engine retries.
    delays: Arc<Delays>,
    /// What goes on after nobody waits for it any more: the making and the removing of test
    /// containers, and tags that are being set. Closed from the beginning, so that it can be waited
    /// for at any time.
    pending: TaskTracker,
    known: Arc<KnownTags>,
    containers: Containers,
    lifeline: Arc<Lifeline>,
    limits: Limits,
    /// The first process of a container that tests share, if there is one for the engine's processor.
    init: Option<Arc<[u8]>>,
    too_large_to_share: Arc<TooLarge>,
    /// The engine's own ID, and the time by its clock when it was connected.
    identity: EngineIdentity,
}

#[derive(Clone, Debug, Default)]
struct EngineIdentity {
    id: String,
    /// The engine's clock, and ours a moment before.
    connected: Option<(Timestamp, Instant)>,
}

impl EngineIdentity {
    /// By the engine's clock, or up to a round trip later.
    fn now(&self) -> Timestamp {
        self.connected.map_or(Timestamp::UNIX_EPOCH, |(engine, ours)| {
            engine.saturating_add(ours.elapsed()).unwrap_or(engine)
        })
    }
}

impl Docker {
    /// Finds the engine, agrees with it on a version of the API and asks what it is.
    pub async fn connect(options: &EngineOptions) -> Result<(Self, EngineInfo), EngineError> {
        connected::connect(options).await
    }

    /// An engine that does not answer, for commands that can do without one.
    pub async fn absent() -> Result<Self, EngineError> {
        let nowhere = Some("unix:///dev/null/no-engine".to_owned());
        connected::unconnected(&EngineOptions { host: nowhere, ..EngineOptions::default() }).await
    }

    /// Where an engine is looked for, and what is found there.
    pub async fn survey() -> Vec<Tried> {
        survey(&environment).await
    }

    /// Starts from what an earlier process kept of this engine's tags.
    pub fn recall(&self, kept: &[u8]) {
        self.known.recall(kept);
    }

    /// What the next process may [recall](Self::recall); `None` if that is the same as before.
    pub async fn kept(&self) -> Option<Vec<u8>> {
        if !self.known.is_settled() {
            // If that fails, the next process asks for these tags again.
            _ = timeout(LAST_EVENTS, self.read_events()).await;
        }
        self.known.kept()
    }

    /// Waits until every test container is removed. Call it last, before the runtime goes.
    pub async fn quiesce(&self) {
        self.pending.wait().await;
    }
}

impl Engine for Docker {
    fn losses(&self) -> usize {
        self.lifeline.losses(&self.transport)
    }

    async fn ping(&self) -> Result<(), EngineError> {
        self.greet().await.map(drop)
    }

    async fn build(
        &self,
        request: BuildRequest,
        progress: impl FnMut(BuildProgress) + Send,
    ) -> Result<LocalImage, EngineError> {
        self.build_image(request, progress).await
    }

    async fn test(
        &self,
        image: &Digest,
        tests: &[&Test],
        run: &str,
        progress: impl FnMut(TestProgress) + Send,
    ) -> Result<Option<String>, EngineError> {
        // A large future, which would be part of each step.
        Box::pin(self.test_image((image, run), tests, progress)).await
    }

    async fn probe(
        &self,
        image: &Digest,
        probe: &ImageCommand,
        run: &str,
    ) -> Result<ProbeOutput, EngineError> {
        self.probe_image(image, probe, run).await
    }

    async fn files(
        &self,
        image: &Digest,
        paths: &[String],
        run: &str,
    ) -> Result<BTreeMap<String, Vec<u8>>, EngineError> {
        self.read_image_files(image, paths, run).await
    }

    async fn inspect(&self, image: &str) -> Result<Option<LocalImage>, EngineError> {
        self.inspect_image(image).await
    }

    async fn describe(&self, id: &Digest) -> Result<Option<LocalImage>, EngineError> {
        if let Some(known) = self.known.image(id) {
            return Ok(Some(known));
        }
        let image = self.inspect_image(id.as_str()).await?;
        if let Some(image) = &image {
            self.known.learn_image(image);
        }
        Ok(image)
    }

    async fn history(&self, image: &Digest) -> Result<Vec<HistoryStep>, EngineError> {
        self.read_history(image).await
    }

    async fn resolve(&self, names: Vec<Tagged>) -> Result<BTreeMap<Tagged, Digest>, EngineError> {
        self.resolve_tags(names).await
    }

    async fn tags_of(
        &self,
        repositories: Vec<String>,
    ) -> Result<BTreeMap<Tagged, Digest>, EngineError> {
        self.list_tags(repositories).await
    }

    async fn tag(&self, image: &Digest, name: &Tagged) -> Result<(), EngineError> {
        self.tag_image(image, name).await
    }

    async fn untag(&self, name: &Tagged) -> Result<(), EngineError> {
        self.remove_tag(name).await.map(drop)
    }

    async fn push(&self, name: &Tagged, login: Option<Login>) -> Result<(), EngineError> {
        self.push_tag(name, login.as_ref()).await
    }

    async fn pull(
        &self,
        repository: &Repository,
        digest: &Digest,
        platform: Option<&Platform>,
        login: Option<Login>,
    ) -> Result<Digest, EngineError> {
        self.pull_digest(repository, digest, platform, login.as_ref()).await
    }

    async fn flatten(
        &self,
        image: &LocalImage,
        flattening: &Flattening,
    ) -> Result<LocalImage, EngineError> {
        self.flatten_image(image, flattening).await
    }

    async fn differences(
        &self,
        old: &Digest,
        new: &Digest,
        volatile: &Volatile,
    ) -> Result<Vec<PathDifference>, EngineError> {
        self.compare_trees(old, new, volatile).await
    }

    async fn export<T: Send + 'static>(
        &self,
        images: Vec<Digest>,
        read: impl FnOnce(&mut dyn Read) -> io::Result<T> + Send + 'static,
    ) -> Result<T, EngineError> {
        let doing = format!(
            "exporting {}",
            images.iter().map(Digest::short).collect::<Vec<_>>().join(", ")
        );
        self.read_export(&images.iter().collect::<Vec<_>>(), &doing, read).await
    }
}

#[cfg(test)]
mod fault_tests;
