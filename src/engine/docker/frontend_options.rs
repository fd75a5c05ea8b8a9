//! Options of a build as attributes of BuildKit's Dockerfile frontend.
//!
//! Source: github.com/moby/moby, `daemon/internal/builder-next/builder.go`, which translates the parameters of
//! `POST /build` the same way.

use std::collections::HashMap;

use crate::{
    engine::BuildRequest,
    hierarchy::{BuildNetwork, BuildSettings},
};

/// The address that stands for the engine's own machine.
pub(super) const HOST_GATEWAY: &str = "host-gateway";

/// `dockerfile`: the name of the Dockerfile in the session. `gateway`: the address of the engine's machine.
pub(super) fn frontend_options(
    request: &BuildRequest,
    dockerfile: &str,
    gateway: Option<&str>,
) -> HashMap<String, String> {
    let mut options = HashMap::from([("filename".to_owned(), dockerfile.to_owned())]);
    let mut set = |name: &str, value: String| options.insert(name.to_owned(), value);
    for (name, value) in &request.build_args {
        set(&format!("build-arg:{name}"), value.clone());
    }
    for (name, value) in &request.labels {
        set(&format!("label:{name}"), value.clone());
    }
    if let Some(target) = &request.target {
        set("target", target.clone());
    }
    if let Some(platform) = &request.platform {
        set("platform", platform.to_string());
    }
    let BuildSettings { network, add_hosts, shm_size, ulimits, no_cache_filter, contexts: _ } =
        &request.settings;
    if request.no_cache {
        set("no-cache", String::new());
    } else if !no_cache_filter.is_empty() {
        set("no-cache", no_cache_filter.join(","));
    }
    if *network != BuildNetwork::Default {
        set("force-network-mode", network.as_str().to_owned());
    }
    let hosts = add_hosts.iter().map(|(name, address)| match gateway {
        Some(gateway) if address == HOST_GATEWAY => format!("{name}={gateway}"),
        _ => format!("{name}={address}"),
    });
    set("add-hosts", hosts.collect::<Vec<_>>().join(","));
    if let Some(size) = shm_size {
        set("shm-size", size.to_string());
    }
    if !ulimits.is_empty() {
        let limits = ulimits
            .iter()
            .map(|(name, limit)| format!("{name}={}:{}", limit.soft, limit.hard))
            .collect::<Vec<_>>();
        set("ulimit", limits.join(","));
    }
    options
}
