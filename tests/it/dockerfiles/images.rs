//! A registry in which every name and every tag is the same small image, and which writes down who was
//! asked for.

use std::{collections::BTreeSet, sync::LazyLock};

use rebuild::image::Digest;

use crate::support::scripted::{Act, Scripted, reply};

const MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
/// Everything that is made from the image inherits it, so that it can be found and removed.
pub(super) const LABEL: &str = "rebuild.test.dockerfiles";

const BY_DIGEST: &str = "digest";

/// `/f`, and nothing else.
static LAYER: LazyLock<String> = LazyLock::new(|| {
    let mut tar = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    header.set_size(2);
    header.set_mode(0o644);
    tar.append_data(&mut header, "f", &b"f\n"[..]).unwrap();
    String::from_utf8(tar.into_inner().unwrap()).unwrap()
});

static CONFIG: LazyLock<String> = LazyLock::new(|| {
    let platform = super::builder::platform();
    let config = serde_json::json!({
        "architecture": platform.architecture, "os": platform.os,
        "config": {"Labels": {LABEL: std::process::id().to_string()}},
        "rootfs": {"type": "layers", "diff_ids": [Digest::of(LAYER.as_bytes()).as_str()]},
        "history": [{"created_by": "corpus"}],
    });
    config.to_string()
});

/// A manifest of its own for each build, and in it for what is asked for by a tag and by a digest, or
/// BuildKit would find by its digest what another has brought.
fn manifest(place: &str, by: &str) -> String {
    let blob = |kind: &str, text: &str| {
        let digest = Digest::of(text.as_bytes());
        serde_json::json!({"mediaType": kind, "size": text.len(), "digest": digest.as_str()})
    };
    let layer = "application/vnd.docker.image.rootfs.diff.tar.gzip";
    let manifest = serde_json::json!({
        "schemaVersion": 2, "mediaType": MANIFEST,
        "config": blob("application/vnd.docker.container.image.v1+json", &CONFIG),
        "layers": [blob(layer, &LAYER)],
        "annotations": {"place": place, "by": by},
    });
    manifest.to_string()
}

/// Of the image that a case finds at its place, `127.0.0.1:5000/c7/x`.
pub(super) fn digest(place: &str) -> Digest {
    let (_, place) = place.split_once('/').unwrap();
    Digest::of(manifest(place, BY_DIGEST).as_bytes())
}

pub(super) struct Images {
    server: Scripted,
}

impl Images {
    pub(super) async fn start() -> Self {
        Self { server: Scripted::start(|_, seen| answer(&seen.path)).await }
    }

    pub(super) fn host(&self) -> &str {
        self.server.host()
    }

    /// Where the images of a case are: no other build names them.
    pub(super) fn place(&self, case: usize) -> String {
        format!("{}/c{case}/x", self.host())
    }

    /// What was asked for there: tags, and digests of what no tag was asked of.
    pub(super) fn asked(&self, place: &str) -> BTreeSet<String> {
        let folder = place.strip_prefix(self.host()).unwrap();
        let prefix = format!("/v2{folder}/");
        let log = self.server.log();
        let manifests: BTreeSet<(&str, &str)> = log
            .iter()
            .filter_map(|line| line.split(' ').nth(1)?.strip_prefix(prefix.as_str()))
            .filter_map(|path| path.split_once("/manifests/"))
            .collect();
        let has_tag =
            |name: &str| manifests.iter().any(|(n, tag)| *n == name && !tag.contains(':'));
        let asked = manifests.iter().filter_map(|&(name, tag)| {
            // A tag is resolved to a digest, by which the rest is asked.
            if !tag.contains(':') {
                return Some(format!("{name}:{tag}"));
            }
            let digest = tag.replace(digest(place).as_str(), "%");
            (!has_tag(name)).then(|| format!("{name}@{digest}"))
        });
        asked.collect()
    }
}

fn answer(path: &str) -> Act {
    let (kind, text) = match path.rsplit_once('/') {
        Some((before, reference)) if before.ends_with("/manifests") => {
            let mut place = before.split('/').skip(2);
            let place = [place.next(), place.next()].map(Option::unwrap_or_default).join("/");
            let [by_tag, by_digest] = ["tag", BY_DIGEST].map(|by| manifest(&place, by));
            let is_by_digest = Digest::of(by_digest.as_bytes()).as_str() == reference;
            (MANIFEST, if is_by_digest { by_digest } else { by_tag })
        }
        Some((_, digest)) if digest == Digest::of(CONFIG.as_bytes()).as_str() => {
            ("application/octet-stream", CONFIG.clone())
        }
        Some((_, digest)) if digest == Digest::of(LAYER.as_bytes()).as_str() => {
            ("application/octet-stream", LAYER.clone())
        }
        _ => return reply(404),
    };
    let digest = Digest::of(text.as_bytes());
    reply(200)
        .header("Content-Type", kind)
        .header("Docker-Content-Digest", digest.as_str())
        .body(text)
}
