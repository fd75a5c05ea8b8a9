//! Connects a command to the engine, to registries and to the store.

use std::{collections::BTreeSet, num::NonZeroUsize, sync::Arc};

use jiff::Timestamp;
use tokio::sync::mpsc;

use super::{
    error::CommandError,
    output,
    pool::{self, PooledEngine},
};
use crate::{
    commands::cli::Builder,
    engine::{
        AnyEngine, Capabilities, EngineInfo,
        docker::{BuilderChoice, Docker, EngineOptions},
    },
    event::EventKind,
    exit::Exit,
    fingerprint::HashCache,
    hierarchy::{Hierarchy, NodeName, this_machine},
    host,
    image::{Digest, Repository},
    plan::order::History,
    publish::store::{BuildTags, Layered, Local, Remote},
    registry::{Client, Credentials},
    run::state::{StateFolder, machine},
};

/// What the hashes of files are kept under.
const HASHES: &str = "hashes";
/// What the last failures are kept under.
pub(super) const FAILURES: &str = "failures";
/// What the tags of the engine are kept under.
const TAGS: &str = "engine-tags";
/// What the build tags of registries are kept under.
const BUILD_TAGS: &str = "build-tags";

/// Everything outside the program that a command talks to.
pub(super) struct Connections {
    /// The first engine with the Docker API. Without one: an engine that does not answer.
    pub(super) engine: Arc<Docker>,
    /// The first engine that builds: mostly the same.
    pub(super) builder: Arc<AnyEngine>,
    /// Of the first engine that builds.
    pub(super) info: EngineInfo,
    /// All engines, if the hierarchy or the command line names them: the first is the engine above.
    pub(super) pool: Vec<PooledEngine>,
    pub(super) registries: Client,
    /// Upstreams are what the engine has of them.
    pub(super) offline: bool,
    pub(super) state: StateFolder,
    /// Of files that were read before.
    pub(super) hashes: Arc<HashCache>,
    build_tags: Arc<BuildTags>,
    /// Whether an engine with the Docker API answers.
    pub(super) has_engine: bool,
    /// Images go into the engine alone.
    pub(super) local: Option<LocalOnly>,
    /// Whether upstreams are copied into the mirror.
    pub(super) fills_mirror: bool,
}

/// Of a hierarchy that has a registry: what is read from there.
#[derive(Clone, Debug, Default)]
pub(super) struct LocalOnly {
    pub(super) registry: Option<Repository>,
    /// Images that are to be in the engine when the run ends, also if they are published as they are.
    pub(super) wanted: BTreeSet<NodeName>,
}

impl LocalOnly {
    /// Takes its registry away from a hierarchy. Images keep their names.
    pub(super) fn of(hierarchy: &mut Hierarchy, wanted: BTreeSet<NodeName>) -> Self {
        Self { registry: hierarchy.take_registry(), wanted }
    }
}

impl Connections {
    pub(super) async fn connect(
        hierarchy: &Hierarchy,
        builder: Builder,
        offline: bool,
    ) -> Result<Self, CommandError> {
        let builder = match builder {
            Builder::Auto => BuilderChoice::Auto,
            Builder::Buildkit => BuilderChoice::BuildKit,
            Builder::Classic => BuilderChoice::Classic,
        };
        let options = EngineOptions { builder, ..EngineOptions::default() };
        let registries = registries()?;
        let pool = if hierarchy.engines.is_empty() {
            Vec::new()
        } else {
            pool::connect(&hierarchy.engines, &options, &registries).await?
        };
        pool::refuse_without_registry(hierarchy, &pool)?;
        let (engine, builder, info) = if let Some(PooledEngine { engine, info, .. }) = pool.first()
        {
            let docker = match engine.docker() {
                Some(docker) => docker.clone(),
                None => Docker::absent().await?,
            };
            (docker, engine.clone(), info.clone())
        } else {
            let (mut engine, info) = Docker::connect(&options).await?;
            engine.report_delays(registries.delays());
            let builder = AnyEngine::Docker(Box::new(engine.clone()));
            (engine, Arc::new(builder), info)
        };
        let engine = Arc::new(engine);
        let all =
            if pool.is_empty() { vec![&info] } else { pool.iter().map(|it| &it.info).collect() };
        for exposed_one in all.into_iter().filter(|info| info.is_exposed) {
            output::warning(&exposed(&exposed_one.endpoint));
        }
        let state = StateFolder::of(&hierarchy.file);
        let hashes = Arc::new(HashCache::read(&state.recall(HASHES), &machine()));
        let build_tags = Arc::new(BuildTags::read(&state.recall(BUILD_TAGS), Timestamp::now()));
        engine.recall(&state.recall(TAGS));
        Ok(Self {
            has_engine: builder.docker().is_some(),
            engine,
            builder,
            info,
            pool,
            registries,
            offline,
            state,
            hashes,
            build_tags,
            local: None,
            fills_mirror: false,
        })
    }

    /// For commands that only ask: if all images are in a registry, no engine is needed.
    pub(super) async fn asking(hierarchy: &Hierarchy, offline: bool) -> Result<Self, CommandError> {
        match Self::connect(hierarchy, Builder::Auto, offline).await {
            Err(error) if hierarchy.registry.is_some() && error.exit == Exit::EngineUnreachable => {
                output::warning("no engine answers: this answer uses registries only");
                Self::without_engine(hierarchy, offline).await
            }
            connected => connected,
        }
    }

    /// For a command that only moves tags of a registry.
    pub(super) async fn publishing(
        hierarchy: &Hierarchy,
        offline: bool,
    ) -> Result<Self, CommandError> {
        match Self::connect(hierarchy, Builder::Auto, offline).await {
            Err(error) if error.exit == Exit::EngineUnreachable => {
                Self::without_engine(hierarchy, offline).await
            }
            connected => connected,
        }
    }

    async fn without_engine(hierarchy: &Hierarchy, offline: bool) -> Result<Self, CommandError> {
        let info = EngineInfo {
            version: String::new(),
            platform: this_machine(),
            cpus: host::processors(),
            capabilities: Capabilities::UNKNOWN,
            endpoint: String::new(),
            is_exposed: false,
            room: None,
            machine: None,
        };
        let state = StateFolder::of(&hierarchy.file);
        let engine = Docker::absent().await?;
        Ok(Self {
            builder: Arc::new(AnyEngine::Docker(Box::new(engine.clone()))),
            engine: Arc::new(engine),
            info,
            registries: registries()?,
            offline,
            hashes: Arc::new(HashCache::read(&state.recall(HASHES), &machine())),
            build_tags: Arc::new(BuildTags::read(&state.recall(BUILD_TAGS), Timestamp::now())),
            state,
            has_engine: false,
            pool: Vec::new(),
            local: None,
            fills_mirror: false,
        })
    }

    /// From now on, registries that keep the command waiting are events of a run. After the run, they are lines
    /// on stderr again.
    pub(super) fn delays(&self) -> mpsc::UnboundedReceiver<EventKind> {
        let (sender, receiver) = mpsc::unbounded_channel();
        self.registries.on_delay(move |delay| {
            let (registry, message) = (delay.host().to_owned(), delay.to_string());
            let kind = EventKind::RegistryDelayed { registry, message };
            if sender.send(kind).is_err() {
                output::line(&delay.to_string());
            }
        });
        receiver
    }

    /// The engine as the place where images are published.
    pub(super) fn local(&self) -> Local<Docker> {
        Local::new(self.engine.clone()).with_notes(self.state.notes())
    }

    /// The registry as the place where images are published.
    pub(super) fn remote(&self, prefix: &Repository) -> Remote<AnyEngine> {
        Remote::new(self.registries.clone(), prefix, self.builder.clone())
            .with_build_tags(self.build_tags.clone())
    }

    /// The engine as the place, with the images of the registry below: of a run that publishes nothing.
    pub(super) fn layered(&self, hierarchy: &Hierarchy) -> Option<Layered<Docker>> {
        let local = self.local.as_ref()?;
        let published =
            Remote::new(self.registries.clone(), local.registry.as_ref()?, self.engine.clone())
                .with_build_tags(self.build_tags.clone());
        let wanted = local.wanted.iter().filter_map(|name| hierarchy.get(name));
        let wanted = wanted.map(|node| node.repository.clone()).collect();
        Some(Layered::new(self.engine.clone(), (self.local(), published), wanted))
    }

    /// What earlier builds took that were published to a place.
    pub(super) fn history(&self, place: &str) -> History {
        History::read(&self.state.recall(&history_of(place)))
    }

    pub(super) fn keep_history(&self, place: &str, history: &History) {
        self.state.keep(&history_of(place), &history.kept());
    }

    /// Keeps what makes the next command quicker: hashes of files that were read, and tags.
    pub(super) async fn keep_hashes(&self) {
        if self.has_engine
            && let Some(tags) = self.engine.kept().await
        {
            self.state.keep(TAGS, &tags);
        }
        if let Some(tags) = self.build_tags.kept() {
            self.state.keep(BUILD_TAGS, &tags);
        }
        if let Some(hashes) = self.hashes.kept() {
            self.state.keep(HASHES, &hashes);
        }
    }

    /// The default of `--jobs`: ten builds more than processors, since a build also waits for the engine's
    /// disk and for containers to start. On two processors, 40 small images took 10.3 s with six jobs, 9.6 s with
    /// twelve and 9.5 s with 27 (Docker 28.5, overlay2); 24.8, 19.4 and 19.9 s (containerd image store).
    pub(super) fn jobs(&self) -> NonZeroUsize {
        if self.pool.is_empty() {
            return NonZeroUsize::MIN.saturating_add(pool::default_jobs(self.info.cpus) - 1);
        }
        let slots = pool::slots(&self.pool, None).into_iter();
        slots.reduce(|sum, slots| sum.saturating_add(slots.get())).unwrap_or(NonZeroUsize::MIN)
    }

    /// Where images are published, as people call it.
    pub(super) fn publishes_to(&self, hierarchy: &Hierarchy) -> String {
        match &hierarchy.registry {
            Some(registry) => registry.to_string(),
            None => self.info.endpoint.clone(),
        }
    }
}

/// A client that prints a line for each registry that keeps the command waiting.
pub(super) fn registries() -> Result<Client, CommandError> {
    let client = Client::new(Credentials::from_env())?;
    print_delays(&client);
    Ok(client)
}

/// Prints a line for each registry that keeps the command waiting.
pub(super) fn print_delays(client: &Client) {
    client.on_delay(|delay| output::line(&delay.to_string()));
}

/// What is wrong with plain TCP to another machine.
pub(super) fn exposed(endpoint: &str) -> String {
    format!(
        "`{endpoint}` is reached without TLS: anyone on the network can control the engine\n  \
         hint: set `DOCKER_TLS_VERIFY=1`, or use `ssh://`"
    )
}

/// What the history of a place is kept under: a push may take longer than the build before it.
pub(super) fn history_of(place: &str) -> String {
    format!("history-{}", Digest::of(place.as_bytes()).short())
}
