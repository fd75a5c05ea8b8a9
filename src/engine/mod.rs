//! What a run asks of a container engine.
//!
//! The real one, [`Docker`], speaks the Docker API; the tests' one follows a script.

mod connect;
pub mod docker;
#[cfg(test)]
pub(crate) mod fake;
mod secrets;
pub mod session;
mod tar;
mod tree;

pub use self::{
    docker::{
        About, BuilderChoice, BuilderKind, Capabilities, Capability, Docker, EngineOptions,
        ImageStore, Leftover, Session, Sizes, canonical_config, created,
    },
    secrets::BuildSecrets,
    tree::{Difference, Volatile},
};

use std::{
    collections::{BTreeMap, BTreeSet},
    future::Future,
    path::PathBuf,
    time::Duration,
};

use jiff::Timestamp;

use crate::{
    fingerprint::context::Context,
    hierarchy::Test,
    image::{Digest, Platform, Reference, Repository, Tagged},
    registry::Login,
};

/// A container engine: builds, tests and moves images. Image IDs are [`Digest`]s.
///
/// Dropping a future cancels what it does, and leaves nothing running behind.
pub trait Engine: Send + Sync + 'static {
    /// How often the engine went away since this was asked for the first time.
    fn losses(&self) -> usize;

    /// Whether it answers.
    fn ping(&self) -> impl Future<Output = Result<(), EngineError>> + Send;

    /// Builds one image, passing on each thing the engine says.
    ///
    /// # Errors
    /// Only positive evidence is success: an image ID that the engine then knows.
    fn build(
        &self,
        request: BuildRequest,
        progress: impl FnMut(BuildProgress) + Send,
    ) -> impl Future<Output = Result<LocalImage, EngineError>> + Send;

    /// Runs one test in a fresh container of an image, and removes the container.
    ///
    /// `Ok` says whether the test passed; `Err` that the engine could not run it.
    fn test(
        &self,
        image: &Digest,
        test: &Test,
        run: &str,
    ) -> impl Future<Output = Result<TestResult, EngineError>> + Send;

    /// Runs a command as root in a fresh container of an image, and removes the container.
    ///
    /// # Errors
    /// Incomplete output is an error.
    fn probe(
        &self,
        image: &Digest,
        probe: &Probe,
        run: &str,
    ) -> impl Future<Output = Result<ProbeOutput, EngineError>> + Send;

    /// What the engine knows of a local image, by name, `name@digest` or ID. Never pulls.
    fn inspect(
        &self,
        image: &str,
    ) -> impl Future<Output = Result<Option<LocalImage>, EngineError>> + Send;

    /// What these tags point at. A tag that does not exist is not in the answer; other tags of the same
    /// images may be.
    ///
    /// Its cost depends on the number of names, and not on how many other images the engine has.
    fn resolve(
        &self,
        names: Vec<Tagged>,
    ) -> impl Future<Output = Result<BTreeMap<Tagged, Digest>, EngineError>> + Send;

    /// Every tag of the repositories that match one of these patterns, with `*` for anything but `/`.
    ///
    /// Slow: containerd's image store measures each image that matches, and the other stores compare
    /// each image that they have.
    fn tags_of(
        &self,
        repositories: Vec<String>,
    ) -> impl Future<Output = Result<BTreeMap<Tagged, Digest>, EngineError>> + Send;

    fn tag(
        &self,
        image: &Digest,
        name: &Tagged,
    ) -> impl Future<Output = Result<(), EngineError>> + Send;

    /// Takes a tag away; the image too if it was the last. No such tag is fine.
    fn untag(&self, name: &Tagged) -> impl Future<Output = Result<(), EngineError>> + Send;

    /// Pushes a local tag to its registry.
    fn push(
        &self,
        name: &Tagged,
        login: Option<Login>,
    ) -> impl Future<Output = Result<(), EngineError>> + Send;

    /// Pulls `repository@digest` and returns the image's ID.
    fn pull(
        &self,
        repository: &Repository,
        digest: &Digest,
        platform: Option<&Platform>,
        login: Option<Login>,
    ) -> impl Future<Output = Result<Digest, EngineError>> + Send;

    /// Where the files of two local images differ, sorted by path; times and what is volatile left
    /// aside. None: the files of both images are equal.
    ///
    /// # Errors
    /// Whatever could not be read whole; that is never "no difference".
    fn differences(
        &self,
        old: &Digest,
        new: &Digest,
        volatile: &Volatile,
    ) -> impl Future<Output = Result<Vec<Difference>, EngineError>> + Send;
}

/// Everything one build needs, with nothing left to look up.
#[derive(Clone, Debug)]
pub struct BuildRequest {
    pub context: Context,
    /// What the context was when the build was planned; anything else must not be built. `None` if
    /// it was made for this build.
    pub context_digest: Option<Digest>,
    /// The Dockerfile with every base pinned. It takes the place of the one at `dockerfile_path`.
    pub dockerfile: String,
    /// Where the Dockerfile lies, absolute; perhaps outside the context.
    pub dockerfile_path: PathBuf,
    pub build_args: BTreeMap<String, String>,
    /// Only BuildKit can hand them to a build.
    pub secrets: BuildSecrets,
    pub labels: BTreeMap<String, String>,
    pub target: Option<String>,
    /// The stages of the Dockerfile that only `ONBUILD` instructions of the base name, and the images that
    /// they are.
    pub named: BTreeMap<String, String>,
    pub platform: Option<Platform>,
    pub no_cache: bool,
    pub timeout: Duration,
}

/// What a build says while it runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BuildProgress {
    /// A Dockerfile step has begun: `RUN make`, the `number`th of `total`.
    Step { stage: Option<String>, number: usize, total: usize, text: String },
    /// Raw output; any bytes, not always whole lines.
    Output(Vec<u8>),
    /// All steps have ended, and the engine writes the image: it waits for the disk more than it computes.
    Exporting,
}

/// What became of one test.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TestResult {
    /// `None`: it passed. Else what was wrong, in a few words: `exit code 3`.
    pub failure: Option<String>,
    /// What it printed, at most the last 64 KiB.
    pub output: Vec<u8>,
}

/// A question to an image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Probe {
    /// In place of the image's own entry point and command.
    pub argv: Vec<String>,
    pub network: Network,
    pub timeout: Duration,
}

/// What a container may reach.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Network {
    None,
    /// As builds do.
    Default,
}

/// What a probe printed: everything, or there would be an error.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProbeOutput {
    pub stdout: Vec<u8>,
    pub stderr: Vec<u8>,
    pub exit_code: i64,
}

/// What the engine knows of an image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LocalImage {
    pub id: Digest,
    /// In bytes, all layers together, uncompressed.
    pub size: u64,
    /// The uncompressed layers' digests, the base's first.
    pub layers: Vec<Digest>,
    pub labels: BTreeMap<String, String>,
    /// Entrypoint, command, environment, …: the image's configuration but its labels, as canonical
    /// JSON. Equal text means equal behaviour.
    pub config: String,
    /// Every tag that it has.
    pub tags: BTreeSet<Tagged>,
    /// The names with a registry's digest under which it was pulled or pushed.
    pub repo_digests: Vec<Reference>,
    pub platform: Platform,
    /// When it was built, if it says.
    pub created: Option<Timestamp>,
}

/// What the engine itself is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EngineInfo {
    /// `20.10.24`.
    pub version: String,
    pub platform: Platform,
    pub cpus: usize,
    pub capabilities: Capabilities,
    /// Where it was reached: `unix:///var/run/docker.sock`.
    pub endpoint: String,
    /// Whether it is reached without TLS over a network.
    pub is_exposed: bool,
    /// How many bytes its images may still take, where that can be known.
    pub room: Option<u64>,
}

/// A place where an engine may be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tried {
    /// `unix:///run/podman/podman.sock (podman)`
    pub place: String,
    /// Why no engine answers there; `None` if one does.
    pub problem: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EngineError {
    /// Nobody answers there.
    #[error("cannot reach the Docker engine at {endpoint}: {reason}")]
    Unreachable { endpoint: String, reason: String },
    /// The user named no engine, and none answers where engines usually listen.
    #[error("no engine answers{}", listed(.tried))]
    NoEngine { tried: Vec<Tried>, hint: String },
    /// It takes a request that it answers in milliseconds otherwise, and does not answer it, twice.
    #[error(
        "the Docker engine at {endpoint} hangs: no answer within {}, twice, while {doing}", seconds(*.after)
    )]
    Hangs { endpoint: String, doing: String, after: Duration },
    /// It answers, in a version of the API that we do not speak.
    #[error(
        "the Docker engine {version} at {endpoint} is too old: it speaks API {api}, and rebuild needs API {needed} (Docker 20.10) or newer"
    )]
    TooOld { endpoint: String, version: String, api: String, needed: String },
    /// The request is for a builder that this engine does not have.
    #[error("{message}")]
    Builder { message: String, hint: String },
    /// The build ran and failed, or the Dockerfile is wrong.
    #[error("{message}")]
    Build {
        message: String,
        /// The step that failed, as the engine names it: `RUN make`.
        step: Option<String>,
        exit_code: Option<i64>,
    },
    /// The engine did not say anything for so long.
    #[error("the engine said nothing for {} while {doing}", seconds(*.after))]
    Silent { doing: String, after: Duration },
    #[error("{doing} took longer than its timeout of {}", seconds(*.after))]
    TimedOut { doing: String, after: Duration },
    /// The registry, asked through the engine, said no.
    #[error("{doing}: {message}")]
    Transfer { doing: String, message: String },
    /// The build context cannot be read.
    #[error("{0}")]
    Context(String),
    /// An answer with an error status.
    #[error("{doing}: the engine answered: {message}")]
    Refused { doing: String, status: u16, message: String },
    /// Anything else the engine answers.
    #[error("{doing}: the engine answered: {message}")]
    Answer { doing: String, message: String },
}

impl EngineError {
    /// Whether the engine went away or hangs, which says nothing of what it was asked for.
    pub fn is_gone(&self) -> bool {
        matches!(self, Self::Unreachable { .. } | Self::Hangs { .. } | Self::NoEngine { .. })
    }
}

/// A line for each place.
fn listed(tried: &[Tried]) -> String {
    let line = |tried: &Tried| {
        format!("\n  {}: {}", tried.place, tried.problem.as_deref().unwrap_or("an engine answers"))
    };
    tried.iter().map(line).collect()
}

/// `1 second`, `90 seconds`, `200 ms`.
fn seconds(duration: Duration) -> String {
    match duration.as_secs() {
        0 if !duration.is_zero() => format!("{} ms", duration.as_millis()),
        1 => "1 second".to_owned(),
        n => format!("{n} seconds"),
    }
}
