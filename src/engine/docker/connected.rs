//! Finding the engine, agreeing on a version of the API, and asking what it is.

use std::{
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use bollard::ClientVersion;
use http::Response;
use serde::Deserialize;
use tokio_util::task::TaskTracker;

use super::{
    Docker, EngineIdentity,
    api_version::ApiVersion,
    builder::{self, BuilderChoice},
    capabilities::{Capabilities, ImageStore, Reported},
    confined::Limits,
    container::Containers,
    container_init,
    room::room,
};
use crate::{
    engine::{
        EngineError, EngineInfo,
        connect::{Transport, discover, proxies},
    },
    host::environment,
    image::Platform,
};

/// The newest API that this program was tried with: Docker 26.1.
const NEWEST_KNOWN: ApiVersion = ApiVersion { major: 1, minor: 45 };
/// The oldest that it was tried with: Docker 20.10. Older engines lack what labels, BuildKit's session and
/// digests after a push are made of.
const OLDEST_KNOWN: ApiVersion = ApiVersion { major: 1, minor: 41 };

/// How to reach an engine, and how to use it.
#[derive(Clone, Debug)]
pub struct EngineOptions {
    /// An address as `DOCKER_HOST` would name it; `None` looks where docker looks.
    pub host: Option<String>,
    pub builder: BuilderChoice,
    /// A build, push or pull in which nothing moves for so long is given up. A step that works
    /// without a word counts as silence: choose it longer than the longest of those.
    pub idle: Duration,
}

impl Default for EngineOptions {
    fn default() -> Self {
        Self { host: None, builder: BuilderChoice::Auto, idle: Duration::from_secs(600) }
    }
}

/// What we read of `GET /version`.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct VersionAnswer {
    #[serde(rename = "Version")]
    engine: String,
    #[serde(rename = "ApiVersion")]
    newest: String,
    #[serde(default, rename = "MinAPIVersion")]
    oldest: String,
    os: String,
    arch: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct InfoAnswer {
    #[serde(default)]
    server_version: String,
    #[serde(default, rename = "OSType")]
    os: String,
    /// Go's word for it on podman, the kernel's on Docker.
    #[serde(default)]
    architecture: String,
    #[serde(rename = "NCPU")]
    cpus: usize,
    #[serde(default)]
    name: String,
    #[serde(default, rename = "ID")]
    id: String,
    /// Whether a container can be given a part of the processors' time.
    #[serde(default)]
    cpu_cfs_quota: bool,
    #[serde(default)]
    security_options: Option<Vec<String>>,
    /// By the engine's clock; RFC 3339 with nanoseconds.
    #[serde(default)]
    system_time: String,
    /// Where its images are.
    #[serde(default)]
    docker_root_dir: PathBuf,
    /// Facts about what keeps the images; podman and `fuse-overlayfs` may have none.
    #[serde(default)]
    driver_status: Option<Vec<(String, String)>>,
}

impl VersionAnswer {
    /// podman starts several programs to answer `/version`, which takes 60 ms. `/info` and the greeting say the
    /// same, but for the oldest API: that is a constant, `version/version.go` of podman.
    fn of_podman(newest: &str, info: &InfoAnswer) -> Self {
        Self {
            engine: info.server_version.clone(),
            newest: newest.to_owned(),
            oldest: "1.24".to_owned(),
            os: info.os.clone(),
            arch: info.architecture.clone(),
        }
    }
}

/// The newest Docker API that podman speaks; `None` on another engine.
fn podman_api<B>(greeting: &Response<B>) -> Option<&str> {
    greeting.headers().get("libpod-api-version")?;
    greeting.headers().get("api-version")?.to_str().ok()
}

/// Finds the engine, and asks it nothing.
pub(super) async fn unconnected(options: &EngineOptions) -> Result<Docker, EngineError> {
    let endpoint = discover(options.host.as_deref(), &environment).await?;
    let proxies = proxies(&environment, &endpoint.url);
    let transport = Transport::new(endpoint);
    let pending = TaskTracker::new();
    pending.close();
    Ok(Docker {
        api: bollard_over(&transport, options.idle)?,
        transport,
        capabilities: Capabilities::UNKNOWN,
        proxies,
        idle: options.idle,
        delays: Arc::default(),
        pending,
        known: Arc::default(),
        containers: Containers::default(),
        lifeline: Arc::default(),
        limits: Limits::new(false),
        init: None,
        too_large_to_share: Arc::default(),
        identity: EngineIdentity::default(),
    })
}

pub(super) async fn connect(options: &EngineOptions) -> Result<(Docker, EngineInfo), EngineError> {
    let mut docker = unconnected(options).await?;
    let ping = docker.greet().await?.detach();
    let asked = Instant::now();
    let size = docker.get_json::<InfoAnswer>("asking for its size", "/info");
    let (version, size) = if let Some(api) = podman_api(&ping) {
        let size = size.await?;
        (VersionAnswer::of_podman(api, &size), Ok(size))
    } else {
        let version = docker.get_json::<VersionAnswer>("asking for its version", "/version");
        let (version, size) = tokio::join!(version, size);
        (version?, size)
    };
    let api = agree(&version)?;
    if api < OLDEST_KNOWN {
        return Err(EngineError::TooOld {
            endpoint: docker.transport.endpoint().url.clone(),
            version: version.engine,
            api: api.to_string(),
            needed: OLDEST_KNOWN.to_string(),
        });
    }
    // An engine that is too old may also answer this in another way.
    let size = size?;
    docker.transport.speak(&api.to_string());
    docker.capabilities = Capabilities::of(&Reported {
        api,
        newest: ApiVersion::parse(&version.newest).unwrap_or(api),
        os: &version.os,
        ping: ping.headers(),
        driver: size.driver_status.as_deref().unwrap_or_default(),
    });
    let is_rootless = size.security_options.iter().flatten().any(|it| it == "name=rootless");
    let is_podman = docker.capabilities.store == ImageStore::Podman;
    docker.limits = Limits::new(size.cpu_cfs_quota && !(is_podman && is_rootless));
    docker.identity = EngineIdentity {
        id: size.id,
        connected: size.system_time.parse().ok().map(|time| (time, asked)),
    };
    builder::check(options.builder, &environment, docker.capabilities.builder)?;
    let platform = format!("{}/{}", version.os, version.arch);
    let platform: Platform = platform.parse().map_err(|error| EngineError::Answer {
        doing: "asking for its version".to_owned(),
        message: format!("{error}"),
    })?;
    if platform.os == "linux" {
        docker.init = container_init::program(&platform.architecture).map(Into::into);
    }
    let is_socket = docker.transport.endpoint().url.starts_with("unix://");
    let info = EngineInfo {
        version: version.engine,
        platform,
        cpus: size.cpus.max(1),
        capabilities: docker.capabilities,
        endpoint: docker.transport.endpoint().url.clone(),
        is_exposed: docker.transport.endpoint().is_exposed(),
        room: is_socket.then(|| room(&size.name, &size.docker_root_dir)).flatten(),
        machine: Some(size.name).filter(|name| is_socket && !name.is_empty()),
    };
    Ok((docker, info))
}

/// bollard, with every request sent by our transport.
fn bollard_over(transport: &Transport, patience: Duration) -> Result<bollard::Docker, EngineError> {
    use bollard::{BollardRequest, Docker, errors::Error};

    let transport = transport.clone();
    let send = move |request: BollardRequest| {
        let transport = transport.clone();
        async move {
            match transport.request(request).await {
                Ok(reply) => Ok(reply.detach()),
                Err(failure) => Err(Error::IOError { err: std::io::Error::other(failure) }),
            }
        }
    };
    // bollard leaves the version out of the path (0.21.1), our transport puts it in.
    let version =
        ClientVersion { major_version: NEWEST_KNOWN.major, minor_version: NEWEST_KNOWN.minor };
    Docker::connect_with_custom_transport(
        send,
        Some("http://docker"),
        patience.as_secs().max(1),
        &version,
    )
    .map_err(|error| EngineError::Answer {
        doing: "connecting".to_owned(),
        message: error.to_string(),
    })
}

/// The engine's newest version that we know; its oldest if it has left ours behind.
fn agree(version: &VersionAnswer) -> Result<ApiVersion, EngineError> {
    let parse = |text: &str| {
        ApiVersion::parse(text).ok_or_else(|| EngineError::Answer {
            doing: "agreeing on a version of the API".to_owned(),
            message: format!("`{text}`, which is not a version"),
        })
    };
    let newest = parse(&version.newest)?;
    let oldest = match version.oldest.as_str() {
        "" => newest,
        text => parse(text)?,
    };
    Ok(newest.min(NEWEST_KNOWN).max(oldest.min(newest)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_version_both_know() {
        for (engine, oldest, agreed) in [
            ("1.41", "1.12", "1.41"),
            ("1.45", "1.24", "1.45"),
            ("1.53", "1.44", "1.45"),
            ("1.60", "1.50", "1.50"),
            ("1.41", "", "1.41"),
        ] {
            let version = VersionAnswer {
                engine: String::new(),
                newest: engine.to_owned(),
                oldest: oldest.to_owned(),
                os: String::new(),
                arch: String::new(),
            };
            assert_eq!(agree(&version).unwrap().to_string(), agreed, "{engine}, {oldest}");
        }
    }
}
