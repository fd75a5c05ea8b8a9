//! Options of a build as parameters of `POST /build`. Docker and podman spell some of them differently.
//!
//! Docker: docs.docker.com/reference/api/engine, `ImageBuild`. Podman: github.com/containers/podman,
//! `pkg/api/handlers/compat/images_build.go`, which ignores `networkmode=none` and `host`.

use std::collections::BTreeMap;

use serde_json::json;

use super::BuilderKind;
use crate::hierarchy::{BuildNetwork, BuildSettings};

/// The labels as `POST /build` takes them. Podman writes them into a `LABEL` of the Dockerfile, in which a `$` begins a
/// variable: one without a value and a quoted `$` as its default stands for it (github.com/containers/buildah,
/// `imagebuildah/stage_executor.go`).
pub(super) fn label_query(labels: &BTreeMap<String, String>, builder: BuilderKind) -> String {
    let quoted = |text: &String| match builder {
        BuilderKind::Buildah => text.replace('$', "${rebuild_dollar:-'$'}"),
        _ => text.clone(),
    };
    let labels: BTreeMap<String, String> =
        labels.iter().map(|(name, value)| (quoted(name), quoted(value))).collect();
    json!(labels).to_string()
}

/// The parameters, in order. Options that are not set have none.
pub(super) fn build_query(
    settings: &BuildSettings,
    builder: BuilderKind,
) -> Vec<(&'static str, String)> {
    let is_podman = builder == BuilderKind::Buildah;
    // The Dockerfile that is sent names the images of its contexts.
    let BuildSettings { network, add_hosts, shm_size, ulimits, .. } = settings;
    let mut query = Vec::new();
    match network {
        BuildNetwork::Default => {}
        BuildNetwork::None if is_podman => query.push(("networkmode", "NetworkDisabled".into())),
        BuildNetwork::Host if is_podman => {
            query.push(("networkmode", "NetworkEnabled".into()));
            let host = json!([{ "Name": "network", "Host": true }]);
            query.push(("nsoptions", host.to_string()));
        }
        network => query.push(("networkmode", network.as_str().to_owned())),
    }
    let hosts = add_hosts.iter().map(|(name, address)| format!("{name}:{address}"));
    if !is_podman {
        query.extend(hosts.map(|host| ("extrahosts", host)));
    } else if !add_hosts.is_empty() {
        query.push(("extrahosts", json!(hosts.collect::<Vec<_>>()).to_string()));
    }
    query.extend(shm_size.map(|size| ("shmsize", size.to_string())));
    let limits = ulimits.iter().map(|(name, limit)| {
        if is_podman {
            json!(format!("{name}={limit}"))
        } else {
            json!({ "Name": name, "Soft": limit.soft, "Hard": limit.hard })
        }
    });
    if !ulimits.is_empty() {
        query.push(("ulimits", json!(limits.collect::<Vec<_>>()).to_string()));
    }
    query
}
