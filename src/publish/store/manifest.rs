//! The manifest and the configuration of an image in a registry.

use serde::Deserialize;

use super::{Description, StoreError, StoredSize};
use crate::{
    engine::{canonical_config, created},
    image::{Digest, Repository},
    registry::{Client, Manifest, only_image},
    size::Blob,
};

/// The image of a manifest. `None` if parts of it were deleted, or if it is an index of several images or another artifact,
/// which has no configuration.
pub(super) async fn describe(
    client: &Client,
    repository: &Repository,
    mut manifest: Manifest,
) -> Result<Option<Description>, StoreError> {
    if let Some(image) = only_image(&manifest.bytes) {
        let Some(of_image) = client.manifest(repository, image.as_str()).await? else {
            return Ok(None);
        };
        manifest = of_image;
    }
    let Ok(image) = serde_json::from_slice::<ImageManifest>(&manifest.bytes) else {
        return Ok(None);
    };
    let Some(blob) = client.blob(repository, &image.config.digest).await? else {
        return Ok(None);
    };
    Ok(described(&image, manifest.bytes.len(), &blob))
}

/// Facts from an image's manifest and configuration.
fn described(manifest: &ImageManifest, length: usize, config: &[u8]) -> Option<Description> {
    let image: ImageConfig = serde_json::from_slice(config).ok()?;
    let labels = image.config.get("Labels").cloned().unwrap_or_default();
    let layers = &manifest.layers;
    Some(Description {
        labels: serde_json::from_value(labels).unwrap_or_default(),
        layers: image.rootfs.diff_ids,
        config: canonical_config(&image.config, &image.os),
        created: image.created.as_deref().and_then(created),
        size: Blob::sum(layers),
        stored: Some(StoredSize {
            layers: layers.clone(),
            documents: (length + config.len()) as u64,
        }),
    })
}

/// The part of an image manifest that names the configuration:
/// <https://github.com/opencontainers/image-spec/blob/v1.1.0/manifest.md>.
#[derive(Deserialize)]
struct ImageManifest {
    config: Descriptor,
    #[serde(default)]
    layers: Vec<Blob>,
}

/// An entry of an image manifest or an index.
#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct Contents {
    pub(super) config: Option<Blob>,
    pub(super) layers: Vec<Blob>,
    pub(super) manifests: Vec<Blob>,
}

#[derive(Deserialize)]
struct Descriptor {
    digest: Digest,
}

/// <https://github.com/opencontainers/image-spec/blob/v1.1.0/config.md>.
#[derive(Deserialize)]
struct ImageConfig {
    os: String,
    #[serde(default)]
    created: Option<String>,
    #[serde(default)]
    config: serde_json::Map<String, serde_json::Value>,
    rootfs: ConfigRootFs,
}

#[derive(Deserialize)]
struct ConfigRootFs {
    diff_ids: Vec<Digest>,
}

#[cfg(test)]
mod tests {
    use super::*;

    const DIGEST: &str = "sha256:7f33abea92c8329c3017e2b24fc33b867f96c2eb35b29dd18ad04ab0c8a698f3";

    /// A manifest, and a configuration on the next line.
    fn example() -> String {
        let manifest = serde_json::json!({
            "config": { "digest": DIGEST, "size": 7 },
            "layers": [{ "digest": DIGEST, "size": 9 }],
        });
        let config = serde_json::json!({
            "os": "linux", "created": "2026-01-01T00:00:00Z", "rootfs": { "diff_ids": [DIGEST] },
            "config": { "Labels": { "a": "b" }, "Env": ["A=b"], "Healthcheck": { "Interval": 1 } },
        });
        format!("{manifest}\n{config}")
    }

    #[test]
    fn sizes_without_measure_are_no_overflow() {
        let text = example().replace("\"size\":9", &format!("\"size\":{}", u64::MAX));
        let layer = format!("{{\"digest\":\"{DIGEST}\",\"size\":5}}");
        let text = text.replace("\"layers\":[", &format!("\"layers\":[{layer},"));
        let (manifest, config) = text.split_once('\n').unwrap();
        let manifest: ImageManifest = serde_json::from_str(manifest).unwrap();
        assert_eq!(manifest.layers.len(), 2);
        assert_eq!(described(&manifest, 0, config.as_bytes()).unwrap().size, u64::MAX);
    }

    #[test]
    fn fuzz_manifest() {
        const WORDS: [&str; 12] = [
            "{",
            "}",
            "[",
            "]",
            "\"",
            ":",
            ",",
            "null",
            "-1",
            "18446744073709551615",
            "1e999",
            "\"sha256:\"",
        ];
        let example = example();
        crate::testing::fuzz::each(&[example.as_bytes()], &WORDS, |text| {
            let (manifest, config) =
                text.split_at(text.iter().position(|b| *b == b'\n').unwrap_or(0));
            if let Ok(manifest) = serde_json::from_slice::<ImageManifest>(manifest) {
                described(&manifest, 0, config);
            }
            _ = serde_json::from_slice::<Contents>(manifest);
        });
    }
}
