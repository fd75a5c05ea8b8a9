//! Options of a build as attributes of BuildKit's Dockerfile frontend.
//!
//! Source: github.com/moby/moby, `daemon/internal/builder-next/builder.go`, which translates the parameters of
//! `POST /build` the same way.

use std::collections::HashMap;

use serde_json::json;

use crate::{
    engine::{
        BuildRequest,
        control::{CacheOptions, CacheOptionsEntry},
    },
    hierarchy::{BuildNetwork, BuildSettings, CacheKind, CachePlace, HOST_GATEWAY},
};

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
    let BuildSettings {
        network,
        add_hosts,
        shm_size,
        ulimits,
        no_cache_filter,
        contexts: _,
        cache: _,
        annotations: _,
        attest,
    } = &request.settings;
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
    for (name, value) in attest.options() {
        options.insert(name.to_owned(), value);
    }
    let sources = request.cache_places(&request.settings.cache.from);
    if !sources.is_empty() {
        let entry =
            |place: CacheOptionsEntry| json!({ "Type": place.kind, "Attrs": place.attributes });
        let sources: Vec<_> = sources.into_iter().map(entry).collect();
        options.insert("cache-imports".to_owned(), json!(sources).to_string());
    }
    options
}

/// The places to which this engine's BuildKit can write.
pub(super) fn cache_exports(request: &BuildRequest, can_push: bool) -> Option<CacheOptions> {
    let mut exports = request.cache_places(&request.settings.cache.to);
    exports.retain(|place| can_push || place.kind == CacheKind::Inline.as_str());
    for place in &mut exports {
        // An image without its cache is better than none.
        place.attributes.entry("ignore-error".to_owned()).or_insert_with(|| "true".to_owned());
    }
    (!exports.is_empty()).then_some(CacheOptions { exports })
}

/// As attributes of the exporter. An image with attestations has an index, too.
pub(super) fn annotations(settings: &BuildSettings) -> HashMap<String, String> {
    let kinds: &[&str] = if settings.attest.are_none() {
        &["annotation"]
    } else {
        &["annotation", "annotation-index"]
    };
    let all = kinds.iter().flat_map(|kind| {
        settings
            .annotations
            .iter()
            .map(move |(name, text)| (format!("{kind}.{name}"), text.clone()))
    });
    all.collect()
}

impl BuildRequest {
    fn cache_places(&self, places: &[CachePlace]) -> Vec<CacheOptionsEntry> {
        let entry = |place: &CachePlace| {
            let mut attributes: HashMap<_, _> = place.attributes.clone().into_iter().collect();
            if let Some(reference) = place.reference(&self.repository) {
                attributes.insert("ref".to_owned(), reference);
            }
            CacheOptionsEntry { kind: place.kind.as_str().to_owned(), attributes }
        };
        places.iter().map(entry).collect()
    }
}
