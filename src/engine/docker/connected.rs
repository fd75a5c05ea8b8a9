//! Finding the engine, agreeing on a version of the API, and asking what it is.

use std::{env, path::PathBuf, time::Duration};

use bollard::ClientVersion;
use http::HeaderMap;
use serde::Deserialize;
use tokio_util::task::TaskTracker;

use super::{Docker, room::room};
use crate::{
    engine::{
        EngineError, EngineInfo,
        connect::{Endpoint, Environment, Transport},
    },
    image::Platform,
};

/// The newest API that this program was tried with: Docker 26.1.
const NEWEST_KNOWN: ApiVersion = ApiVersion { major: 1, minor: 45 };
/// The oldest that it was tried with: Docker 20.10. Older engines lack what labels, BuildKit's session and
/// digests after a push are made of.
const OLDEST_KNOWN: ApiVersion = ApiVersion { major: 1, minor: 41 };
/// `version=2` of `/build` arrived with Docker 19.03.
const FIRST_WITH_BUILDKIT: ApiVersion = ApiVersion { major: 1, minor: 40 };

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

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum BuilderChoice {
    /// `DOCKER_BUILDKIT` if it is set, else BuildKit where the engine has it.
    #[default]
    Auto,
    BuildKit,
    Classic,
}

impl Default for EngineOptions {
    fn default() -> Self {
        Self { host: None, builder: BuilderChoice::Auto, idle: Duration::from_secs(600) }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct ApiVersion {
    major: usize,
    minor: usize,
}

/// What we read of `GET /version`.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Version {
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
struct Info {
    #[serde(rename = "NCPU")]
    cpus: usize,
    #[serde(default)]
    name: String,
    /// Where its images are.
    #[serde(default)]
    docker_root_dir: PathBuf,
}

pub(super) async fn connect(options: &EngineOptions) -> Result<(Docker, EngineInfo), EngineError> {
    let environment = |name: &str| env::var(name).ok().filter(|value| !value.is_empty());
    let endpoint = Endpoint::find(options.host.as_deref(), &environment)?;
    let transport = Transport::new(endpoint);
    let pending = TaskTracker::new();
    pending.close();
    let mut docker = Docker {
        api: bollard_over(&transport, options.idle)?,
        transport,
        buildkit: false,
        idle: options.idle,
        pending,
    };
    let ping = docker.get("greeting it", "/_ping").await?.detach();
    let version: Version = docker.get_json("asking for its version", "/version").await?;
    let api = agree(&version)?;
    if api < OLDEST_KNOWN {
        return Err(EngineError::TooOld {
            endpoint: docker.transport.endpoint().url.clone(),
            version: version.engine,
            api: api.to_string(),
            needed: OLDEST_KNOWN.to_string(),
        });
    }
    docker.transport.speak(&api.to_string());
    let size: Info = docker.get_json("asking for its size", "/info").await?;
    docker.buildkit =
        use_buildkit(options.builder, &environment, api, ping.headers(), &version.os)?;
    let platform = format!("{}/{}", version.os, version.arch);
    let platform: Platform = platform.parse().map_err(|error| EngineError::Answer {
        doing: "asking for its version".to_owned(),
        message: format!("{error}"),
    })?;
    let info = EngineInfo {
        version: version.engine,
        platform,
        cpus: size.cpus.max(1),
        buildkit: docker.buildkit,
        endpoint: docker.transport.endpoint().url.clone(),
        room: docker
            .transport
            .endpoint()
            .url
            .starts_with("unix://")
            .then(|| room(&size.name, &size.docker_root_dir))
            .flatten(),
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
fn agree(version: &Version) -> Result<ApiVersion, EngineError> {
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

/// docker's own order: what was asked for, `DOCKER_BUILDKIT`, what the engine prefers. An engine
/// that prefers nothing (20.10) can do it, and `docker build` has used it there since 23.0.
fn use_buildkit(
    choice: BuilderChoice,
    environment: Environment,
    api: ApiVersion,
    ping: &HeaderMap,
    os: &str,
) -> Result<bool, EngineError> {
    // Podman takes `version=2` and builds with buildah all the same.
    let able =
        api >= FIRST_WITH_BUILDKIT && os != "windows" && !ping.contains_key("Libpod-API-Version");
    let variable = environment("DOCKER_BUILDKIT");
    let asked = match (choice, variable.as_deref()) {
        (BuilderChoice::BuildKit, _) => Some("the option"),
        (BuilderChoice::Classic, _) => return Ok(false),
        (BuilderChoice::Auto, None) => None,
        (BuilderChoice::Auto, Some("1" | "t" | "T" | "true" | "TRUE" | "True")) => {
            Some("`DOCKER_BUILDKIT`")
        }
        (BuilderChoice::Auto, Some("0" | "f" | "F" | "false" | "FALSE" | "False")) => {
            return Ok(false);
        }
        (BuilderChoice::Auto, Some(other)) => {
            return Err(EngineError::Answer {
                doing: "choosing a builder".to_owned(),
                message: format!("`DOCKER_BUILDKIT` is 0 or 1, not `{other}`"),
            });
        }
    };
    match asked {
        Some(by) if !able => Err(EngineError::Answer {
            doing: "choosing a builder".to_owned(),
            message: format!("{by} asks for BuildKit, which this engine does not have"),
        }),
        Some(_) => Ok(true),
        None => Ok(able && ping.get("Builder-Version").is_none_or(|version| version != "1")),
    }
}

impl ApiVersion {
    fn parse(text: &str) -> Option<Self> {
        let (major, minor) = text.split_once('.')?;
        Some(Self { major: major.parse().ok()?, minor: minor.parse().ok()? })
    }
}

impl std::fmt::Display for ApiVersion {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
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
            let version = Version {
                engine: String::new(),
                newest: engine.to_owned(),
                oldest: oldest.to_owned(),
                os: String::new(),
                arch: String::new(),
            };
            assert_eq!(agree(&version).unwrap().to_string(), agreed, "{engine}, {oldest}");
        }
    }

    #[test]
    fn the_builder_is_chosen_as_docker_chooses() {
        use BuilderChoice::{Auto, BuildKit, Classic};
        let choose = |choice, variable: &str, header: (&'static str, &str), api| {
            let environment = |_: &str| Some(variable.to_owned()).filter(|value| !value.is_empty());
            let headers = [(header.0, header.1)];
            let mut ping = HeaderMap::new();
            for (name, value) in headers {
                ping.insert(name, value.parse().unwrap());
            }
            let api = ApiVersion::parse(api).unwrap();
            match use_buildkit(choice, &environment, api, &ping, "linux") {
                Ok(true) => "BuildKit".to_owned(),
                Ok(false) => "classic".to_owned(),
                Err(error) => error.to_string(),
            }
        };
        let none = ("server", "Docker");
        let one = ("builder-version", "1");
        let two = ("builder-version", "2");
        let podman = ("libpod-api-version", "4.3.1");
        let lacks = "choosing a builder: the engine answered: ";
        for (choice, variable, header, api, expected) in [
            (Auto, "", none, "1.41", "BuildKit"),
            (Auto, "", two, "1.45", "BuildKit"),
            (Auto, "", one, "1.41", "classic"),
            (Auto, "", podman, "1.41", "classic"),
            (Auto, "", none, "1.39", "classic"),
            (Auto, "0", two, "1.45", "classic"),
            (Auto, "1", one, "1.41", "BuildKit"),
            (BuildKit, "0", one, "1.41", "BuildKit"),
            (Classic, "1", two, "1.41", "classic"),
        ] {
            assert_eq!(choose(choice, variable, header, api), expected);
        }
        for (choice, variable, header, api, expected) in [
            (Auto, "maybe", two, "1.45", "`DOCKER_BUILDKIT` is 0 or 1, not `maybe`"),
            (
                Auto,
                "1",
                podman,
                "1.41",
                "`DOCKER_BUILDKIT` asks for BuildKit, which this engine does not have",
            ),
            (
                BuildKit,
                "",
                none,
                "1.39",
                "the option asks for BuildKit, which this engine does not have",
            ),
        ] {
            assert_eq!(choose(choice, variable, header, api), format!("{lacks}{expected}"));
        }
    }
}
