//! The operations of a container engine.
//!
//! [`Docker`] uses the Docker API, [`Buildkitd`] BuildKit's own. The engine for unit tests follows a script.

mod any;
mod buildkitd;
mod connect;
mod control;
pub mod docker;
#[cfg(test)]
pub(crate) mod fake;
mod flat;
mod secrets;
pub mod session;
mod tar;
mod tree;

pub use self::{
    any::AnyEngine,
    buildkitd::{Buildkitd, TestHost},
    docker::{
        About, BuilderChoice, BuilderKind, Capabilities, Capability, Docker, EngineOptions,
        ImageStore, Leftover, ShellSession, SizeMeaning, TagRemoval, canonical_config, created,
    },
    secrets::BuildSecrets,
    tree::{PathDifference, Volatile},
};

use std::{
    collections::{BTreeMap, BTreeSet},
    future::Future,
    io::{self, Read},
    path::PathBuf,
    time::Duration,
};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{
    fingerprint::context::Context,
    hierarchy::{BuildSettings, Test},
    image::{Digest, Platform, Reference, Repository, Tagged},
    registry::{Login, RegistryError},
};

/// A container engine: builds, tests and moves images. Image IDs are [`Digest`]s.
///
/// Dropping a future cancels its operation and leaves nothing running.
pub trait Engine: Send + Sync + 'static {
    /// How often the engine stopped since the first call of this function.
    fn losses(&self) -> usize;

    /// Whether it answers.
    fn ping(&self) -> impl Future<Output = Result<(), EngineError>> + Send;

    /// Builds one image, and passes on every message of the engine.
    ///
    /// # Errors
    /// Every result except an image ID that the engine knows.
    fn build(
        &self,
        request: BuildRequest,
        progress: impl FnMut(BuildProgress) + Send,
    ) -> impl Future<Output = Result<LocalImage, EngineError>> + Send;

    /// Runs tests of an image in their order until one fails. Each test finds the files of the image unchanged,
    /// and no other process. The containers are removed at the latest with the end of the run.
    ///
    /// `Ok` contains the failure in a few words: `exit code 3`. `Err`: the engine could not run a test.
    fn test(
        &self,
        image: &Digest,
        tests: &[&Test],
        run: &str,
        progress: impl FnMut(TestProgress) + Send,
    ) -> impl Future<Output = Result<Option<String>, EngineError>> + Send;

    /// Runs a command as root in a new container of an image, and removes the container.
    ///
    /// # Errors
    /// Incomplete output is an error.
    fn probe(
        &self,
        image: &Digest,
        probe: &ImageCommand,
        run: &str,
    ) -> impl Future<Output = Result<ProbeOutput, EngineError>> + Send;

    /// Files of an image by their absolute paths, without those that do not exist. Links are followed. Of a folder, the
    /// files in it, an empty line between two. Starts no program.
    fn files(
        &self,
        image: &Digest,
        paths: &[String],
        run: &str,
    ) -> impl Future<Output = Result<BTreeMap<String, Vec<u8>>, EngineError>> + Send;

    /// Describes a local image by name, `name@digest` or ID. Never pulls.
    fn inspect(
        &self,
        image: &str,
    ) -> impl Future<Output = Result<Option<LocalImage>, EngineError>> + Send;

    /// The same by ID. Its tags and other names may be missing.
    fn describe(
        &self,
        id: &Digest,
    ) -> impl Future<Output = Result<Option<LocalImage>, EngineError>> + Send {
        self.inspect(id.as_str())
    }

    /// The steps that made a local image, the oldest first, with those of its base. Steps without a layer have no
    /// bytes.
    fn history(
        &self,
        image: &Digest,
    ) -> impl Future<Output = Result<Vec<HistoryStep>, EngineError>> + Send;

    /// The digests of these tags. Tags that do not exist are missing in the answer. It may contain other tags
    /// of the same images.
    ///
    /// Its cost depends on the number of names, not on the number of other images in the engine.
    fn resolve(
        &self,
        names: Vec<Tagged>,
    ) -> impl Future<Output = Result<BTreeMap<Tagged, Digest>, EngineError>> + Send;

    /// Every tag of the repositories that match one of these patterns; `*` matches anything but `/`.
    ///
    /// Slow: containerd's image store measures each matching image, and the other stores compare all of their
    /// images.
    fn tags_of(
        &self,
        repositories: Vec<String>,
    ) -> impl Future<Output = Result<BTreeMap<Tagged, Digest>, EngineError>> + Send;

    fn tag(
        &self,
        image: &Digest,
        name: &Tagged,
    ) -> impl Future<Output = Result<(), EngineError>> + Send;

    /// Removes a tag, and the image if it was its last tag. Succeeds if the tag does not exist.
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

    /// Makes one layer of the layers of an image above the lowest `kept`, and loads the result under a name of
    /// the run. Configuration and labels stay.
    ///
    /// # Errors
    /// Every result except an image with exactly the expected layers.
    fn flatten(
        &self,
        image: &LocalImage,
        flattening: &Flattening,
    ) -> impl Future<Output = Result<LocalImage, EngineError>> + Send;

    /// The differing files of two local images, sorted by path, ignoring times and volatile files. Empty: the
    /// files are equal.
    ///
    /// # Errors
    /// An image could not be read completely.
    fn differences(
        &self,
        old: &Digest,
        new: &Digest,
        volatile: &Volatile,
    ) -> impl Future<Output = Result<Vec<PathDifference>, EngineError>> + Send;

    /// Exports local images in one archive. `read` reads it in a thread of its own while it comes: see
    /// `layers::each_file`. Layers that the images share are in it once.
    fn export<T: Send + 'static>(
        &self,
        images: Vec<Digest>,
        read: impl FnOnce(&mut dyn Read) -> io::Result<T> + Send + 'static,
    ) -> impl Future<Output = Result<T, EngineError>> + Send;
}

/// All inputs of one build.
#[derive(Clone, Debug)]
pub struct BuildRequest {
    pub context: Context,
    /// The context of the plan; another context must not be built. `None` if the context was made for this
    /// build, or if the digest of the plan is not of this context alone.
    pub context_digest: Option<Digest>,
    /// The Dockerfile with every base pinned. It replaces the one at `dockerfile_path`.
    pub dockerfile: String,
    /// The absolute path of the Dockerfile, possibly outside the context.
    pub dockerfile_path: PathBuf,
    pub build_args: BTreeMap<String, String>,
    /// Only BuildKit can pass them to a build.
    pub secrets: BuildSecrets,
    pub labels: BTreeMap<String, String>,
    pub settings: BuildSettings,
    /// Where the image will be published.
    pub repository: Repository,
    pub target: Option<String>,
    /// The stages that only `ONBUILD` instructions of the base name, with their images.
    pub named: BTreeMap<String, String>,
    pub platform: Option<Platform>,
    pub no_cache: bool,
    pub timeout: Duration,
    /// The run that builds it.
    pub run: String,
}

/// Which layers of an image become one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Flattening {
    /// How many layers stay, the lowest first.
    pub kept: usize,
    /// The name of the result. The run removes it.
    pub name: Tagged,
}

/// A message of a running build.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BuildProgress {
    /// A Dockerfile step begins: `RUN make`, number `number` of `total` of its stage. BuildKit reports a step that
    /// two builds share with the place that it has in one of them.
    Step { stage: Option<String>, number: usize, total: usize, text: String },
    /// The same from a builder that counts every instruction.
    CountedStep { number: usize, total: usize, text: String },
    /// Raw output: any bytes, not always complete lines.
    Output(Vec<u8>),
    /// All steps have ended, and the engine writes the image: it waits for the disk more than it computes.
    Exporting,
}

/// A message about the tests of an image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TestProgress {
    /// A test begins: its place in the list.
    Begins(usize),
    /// The output of a test, at most the last 64 KiB.
    Output(Vec<u8>),
}

/// A command in a container of an image, for a query.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImageCommand {
    /// Replaces the image's entry point and command.
    pub argv: Vec<String>,
    pub network: Network,
    pub timeout: Duration,
}

/// The network of a container.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Network {
    None,
    /// The network of builds.
    Default,
}

/// The complete output of a probe.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProbeOutput {
    pub stdout: Vec<u8>,
    pub stderr: Vec<u8>,
    pub exit_code: i64,
}

/// An image in the engine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LocalImage {
    pub id: Digest,
    /// The size of all layers in bytes, uncompressed.
    pub size: u64,
    /// The uncompressed layers' digests, the base's first.
    pub layers: Vec<Digest>,
    pub labels: BTreeMap<String, String>,
    /// The image's configuration without its labels (entry point, command, environment, …) as canonical JSON.
    /// Equal text means equal behaviour.
    pub config: String,
    /// All its tags.
    pub tags: BTreeSet<Tagged>,
    /// The names with a registry's digest under which it was pulled or pushed.
    pub repo_digests: Vec<Reference>,
    pub platform: Platform,
    /// When it was built, if it has that time.
    pub created: Option<Timestamp>,
}

/// A step in the history of an image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HistoryStep {
    /// The instruction as the builder wrote it.
    pub created_by: String,
    /// The unpacked bytes of its layer.
    pub bytes: u64,
}

/// Facts about the engine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EngineInfo {
    /// `20.10.24`.
    pub version: String,
    pub platform: Platform,
    pub cpus: usize,
    pub capabilities: Capabilities,
    /// Its address: `unix:///var/run/docker.sock`.
    pub endpoint: String,
    /// Whether it is reached without TLS over a network.
    pub is_exposed: bool,
    /// Its free disk space in bytes, if it is known.
    pub room: Option<u64>,
    /// The name of its machine, if it is reached by a socket.
    pub machine: Option<String>,
}

/// A possible address of an engine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tried {
    /// `unix:///run/podman/podman.sock (podman)`
    pub place: String,
    /// Why no engine answers there; `None` if one does.
    pub problem: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EngineError {
    /// No engine answers there.
    #[error("cannot reach {}: {reason}", engine_at(.endpoint))]
    Unreachable { endpoint: String, reason: String },
    /// The user named no engine, and none answers at the usual sockets.
    #[error("no engine answers{}", listed(.tried))]
    NoEngine { tried: Vec<Tried>, hint: String },
    /// It accepts a request, and does not answer, also not the second time if the request was repeated.
    #[error(
        "{} hangs: no answer within {}{} while {doing}",
        engine_at(.endpoint), seconds(*.after), if *.is_repeated { ", twice," } else { "" }
    )]
    Hangs { endpoint: String, doing: String, after: Duration, is_repeated: bool },
    /// Its API version is not supported.
    #[error(
        "the Docker engine {version} at {endpoint} is too old: it speaks API {api}, and rebuild needs API {needed} (Docker 20.10) or newer"
    )]
    TooOld { endpoint: String, version: String, api: String, needed: String },
    /// The user requested a builder that this engine does not have.
    #[error("{message}")]
    Builder { message: String, hint: String },
    /// The build ran and failed, or the Dockerfile is invalid.
    #[error("{message}")]
    Build {
        message: String,
        /// The failed step as the engine names it: `RUN make`.
        step: Option<String>,
        exit_code: Option<i64>,
    },
    /// The engine sent nothing for this time.
    #[error("the engine said nothing for {} while {doing}", seconds(*.after))]
    Silent { doing: String, after: Duration },
    #[error("{doing} took longer than its timeout of {}", seconds(*.after))]
    TimedOut { doing: String, after: Duration },
    /// A push or pull by the engine failed.
    #[error("{}", transfer(.doing, .message, .cause.as_deref()))]
    Transfer {
        doing: String,
        /// The engine's text.
        message: String,
        /// The registry's answer, if the text contains one.
        cause: Option<Box<RegistryError>>,
    },
    /// A file of this machine cannot be read or written: of the build context, or a temporary one.
    #[error("{0}")]
    Context(String),
    /// An answer with an error status.
    #[error("{doing}: the engine answered: {message}")]
    Refused { doing: String, status: u16, message: String },
    /// Any other answer of the engine.
    #[error("{doing}: the engine answered: {message}")]
    Answer { doing: String, message: String },
}

/// What [`EngineError::Refused`] names if a container does not start.
const STARTING: &str = "starting a container";

/// Says it about the program. The engine's message names its runtime before the reason.
pub fn not_started_because(program: &str, why: &str) -> String {
    let is_missing = ["executable file not found", "no such file or directory", "not found"]
        .iter()
        .any(|reason| why.contains(reason));
    if is_missing {
        return format!("the image has no program `{program}`");
    }
    let known = ["permission denied", "is a directory"];
    let reason = known.into_iter().find(|reason| why.contains(reason)).unwrap_or(why);
    format!("`{program}` cannot be started: {reason}")
}

impl EngineError {
    /// Why a program of an image could not be started: usually the image does not have it.
    pub fn not_started(&self) -> Option<&str> {
        /// Parts of podman's messages, which have any status.
        const OF_PODMAN: [&str; 2] =
            ["OCI runtime attempted to invoke a command", "error during container init: exec: "];
        match self {
            Self::Refused { doing, status, message }
                if doing == STARTING
                    && (*status == 400 || OF_PODMAN.iter().any(|part| message.contains(part))) =>
            {
                Some(message)
            }
            _ => None,
        }
    }

    /// The hint for the user.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Transfer { cause: Some(cause), .. } => cause.hint(),
            Self::NoEngine { hint, .. } | Self::Builder { hint, .. } => Some(hint.clone()),
            _ => None,
        }
    }

    /// Whether the engine stopped or hangs, independently of the operation.
    pub fn is_gone(&self) -> bool {
        matches!(self, Self::Unreachable { .. } | Self::Hangs { .. } | Self::NoEngine { .. })
    }
}

/// `the Docker engine at unix:///var/run/docker.sock`
fn engine_at(endpoint: &str) -> String {
    let engine = if connect::is_buildkitd(endpoint) { "buildkitd" } else { "the Docker engine" };
    format!("{engine} at {endpoint}")
}

/// The registry's answer, or else the engine's text.
fn transfer(doing: &str, message: &str, cause: Option<&RegistryError>) -> String {
    cause.map_or_else(|| format!("{doing}: {message}"), ToString::to_string)
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
