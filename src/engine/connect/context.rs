//! Docker contexts, as `docker context` keeps them below `~/.docker`.
//!
//! github.com/docker/cli, `cli/context/store`: a context's folder is the SHA-256 of its name.

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
};

use serde::Deserialize;

use super::{Environment, tls};
use crate::{engine::EngineError, image::Digest};

/// What a context says about its docker endpoint.
#[derive(Debug)]
pub(super) struct Meant {
    pub(super) host: String,
    pub(super) tls: Option<tls::Material>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct DockerContextConfig {
    current_context: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Meta {
    endpoints: BTreeMap<String, MetaEndpoint>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct MetaEndpoint {
    #[serde(default)]
    host: String,
    #[serde(default, rename = "SkipTLSVerify")]
    skip_tls_verify: bool,
}

/// `DOCKER_CONFIG`, else `~/.docker`.
pub(super) fn config_dir(environment: Environment) -> Option<PathBuf> {
    match environment("DOCKER_CONFIG") {
        Some(folder) => Some(folder.into()),
        None => environment("HOME").map(|home| Path::new(&home).join(".docker")),
    }
}

/// The context that `docker context use` chose.
pub(super) fn current(folder: &Path) -> Result<Option<String>, EngineError> {
    let path = folder.join("config.json");
    let refuse = |error: &dyn std::fmt::Display| EngineError::Unreachable {
        endpoint: "the current docker context".to_owned(),
        reason: format!("cannot read `{}`: {error}", path.display()),
    };
    let text = match fs::read(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(refuse(&error)),
    };
    let file: DockerContextConfig =
        serde_json::from_slice(&text).map_err(|error| refuse(&error))?;
    Ok(file.current_context.filter(|name| !name.is_empty()))
}

pub(super) fn read(folder: &Path, name: &str) -> Result<Meant, EngineError> {
    let refuse = |reason: String| EngineError::Unreachable {
        endpoint: format!("docker context `{name}`"),
        reason,
    };
    let id = Digest::of(name.as_bytes());
    let path = folder.join("contexts/meta").join(id.hex()).join("meta.json");
    let text = match fs::read(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(unknown(name)),
        Err(error) => return Err(refuse(format!("cannot read `{}`: {error}", path.display()))),
    };
    let meta: Meta = serde_json::from_slice(&text)
        .map_err(|error| refuse(format!("cannot read `{}`: {error}", path.display())))?;
    let endpoint = meta.endpoints.get("docker").filter(|endpoint| !endpoint.host.is_empty());
    let endpoint = endpoint.ok_or_else(|| refuse("it names no docker endpoint".to_owned()))?;
    if endpoint.skip_tls_verify {
        return Err(refuse(
            "it skips the TLS check of who answers, which `rebuild` does not do; \
             give the context a `ca`"
                .to_owned(),
        ));
    }
    let material = folder.join("contexts/tls").join(id.hex()).join("docker");
    let tls = tls::Material::from_context(&material).map_err(refuse)?;
    Ok(Meant { host: endpoint.host.clone(), tls })
}

pub(super) fn unknown(name: &str) -> EngineError {
    EngineError::Unreachable {
        endpoint: format!("docker context `{name}`"),
        reason: "there is no such context; `docker context ls` lists them".to_owned(),
    }
}
