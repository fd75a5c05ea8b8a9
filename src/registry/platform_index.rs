//! Indexes with one image for each platform: reading them, and making one of images that are stored.
//!
//! **Invariant:** the same images make the same bytes, so an index that is made again has the digest that it had.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::{Value, json};

use super::{Client, Manifest, RegistryError, index::is_attestation};
use crate::image::{Digest, Platform, Repository};

/// <https://github.com/opencontainers/image-spec/blob/v1.1.0/image-index.md>.
const INDEX: &str = "application/vnd.oci.image.index.v1+json";
/// On the member for an image that was stored as an index, with its attestations: the digest of that index.
const STORED_AS: &str = "rebuild.stored-as";

/// The images under one digest.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PlatformImages {
    /// By platform. An image that was stored with its attestations has the digest of that.
    pub images: BTreeMap<Platform, Digest>,
    pub is_index: bool,
}

#[derive(Deserialize)]
struct PlatformConfig {
    os: String,
    architecture: String,
    #[serde(default)]
    variant: Option<String>,
}

#[derive(Deserialize)]
struct ManifestWithConfig {
    config: ConfigDescriptor,
}

#[derive(Deserialize)]
struct ConfigDescriptor {
    digest: Digest,
}

impl From<PlatformConfig> for Platform {
    fn from(PlatformConfig { os, architecture, variant }: PlatformConfig) -> Self {
        Self { os, architecture, variant: variant.filter(|it| !it.is_empty()) }.normalized()
    }
}

/// The members of an index, without attestations. `None` for anything else.
fn members(bytes: &[u8]) -> Option<Vec<Value>> {
    let index: Value = serde_json::from_slice(bytes).ok()?;
    Some(index.get("manifests")?.as_array()?.clone())
}

fn digest(member: &Value) -> Option<Digest> {
    member.get("digest")?.as_str()?.parse().ok()
}

/// The images of an index by platform. `None` for anything else.
pub fn images_of_index(bytes: &[u8]) -> Option<BTreeMap<Platform, Digest>> {
    let images = members(bytes)?.into_iter().filter(|member| !is_attestation(member));
    let of_platform = |member: Value| {
        let platform: PlatformConfig =
            serde_json::from_value(member.get("platform")?.clone()).ok()?;
        let stored = member["annotations"][STORED_AS].as_str().and_then(|it| it.parse().ok());
        Some((platform.into(), stored.or_else(|| digest(&member))?))
    };
    Some(images.filter_map(of_platform).collect())
}

impl Client {
    /// The images under a digest, by platform. `None` if the registry does not have it, or it is not an image.
    pub async fn platform_images(
        &self,
        repository: &Repository,
        at: &Digest,
    ) -> Result<Option<PlatformImages>, RegistryError> {
        let Some(manifest) = self.manifest(repository, at.as_str()).await? else { return Ok(None) };
        if let Some(images) = images_of_index(&manifest.bytes) {
            return Ok(Some(PlatformImages { images, is_index: true }));
        }
        let Ok(image) = serde_json::from_slice::<ManifestWithConfig>(&manifest.bytes) else {
            return Ok(None);
        };
        let Some(config) = self.blob(repository, &image.config.digest).await? else {
            return Ok(None);
        };
        let platform = serde_json::from_slice::<PlatformConfig>(&config).ok();
        Ok(platform.map(|platform| PlatformImages {
            images: [(platform.into(), at.clone())].into(),
            is_index: false,
        }))
    }

    /// Makes an index of images that the repository has. Changes nothing in the registry. `Err` contains the image that
    /// is missing.
    pub async fn index_of(
        &self,
        repository: &Repository,
        images: &BTreeMap<Platform, Digest>,
    ) -> Result<Result<Manifest, Digest>, RegistryError> {
        let (mut of_platforms, mut attestations) = (Vec::new(), Vec::new());
        for (platform, at) in images {
            let Some(manifest) = self.manifest(repository, at.as_str()).await? else {
                return Ok(Err(at.clone()));
            };
            let Some(members) = members(&manifest.bytes) else {
                of_platforms.push(json!({
                    "mediaType": manifest.media_type,
                    "digest": manifest.digest,
                    "size": manifest.bytes.len(),
                    "platform": described(platform),
                }));
                continue;
            };
            let (beside, of_image): (Vec<Value>, Vec<Value>) =
                members.into_iter().partition(is_attestation);
            let [mut image] = <[Value; 1]>::try_from(of_image).unwrap_or_default();
            if digest(&image).is_none() {
                return Ok(Err(at.clone()));
            }
            image["platform"] = described(platform);
            image["annotations"][STORED_AS] = json!(at);
            of_platforms.push(image);
            attestations.extend(beside);
        }
        of_platforms.extend(attestations);
        let index = json!({ "schemaVersion": 2, "mediaType": INDEX, "manifests": of_platforms });
        Ok(Ok(Manifest::new(INDEX, &index)))
    }
}

fn described(platform: &Platform) -> Value {
    let Platform { os, architecture, variant } = platform;
    let mut described = json!({ "os": os, "architecture": architecture });
    if let Some(variant) = variant {
        described["variant"] = json!(variant);
    }
    described
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images_of_an_index_are_those_that_were_stored() {
        let [amd64, arm64, about, stored] =
            ["amd64", "arm64", "about", "stored"].map(|name| Digest::of(name.as_bytes()));
        let index = json!({ "manifests": [
            { "digest": amd64, "platform": { "os": "linux", "architecture": "amd64" } },
            { "digest": arm64, "platform": { "os": "linux", "architecture": "arm64", "variant": "v8" },
              "annotations": { STORED_AS: stored } },
            { "digest": about, "platform": { "os": "unknown", "architecture": "unknown" },
              "annotations": { "vnd.docker.reference.digest": arm64 } },
        ] });
        let images = images_of_index(index.to_string().as_bytes()).unwrap();
        let named: Vec<String> = images.keys().map(ToString::to_string).collect();
        assert_eq!(named, ["linux/amd64", "linux/arm64"]);
        assert_eq!(images.into_values().collect::<Vec<_>>(), [amd64, stored]);
        assert_eq!(images_of_index(br#"{"config": {}, "layers": []}"#), None);
        assert_eq!(images_of_index(b"nothing"), None);
    }

    #[test]
    fn fuzz_platform_index() {
        const WORDS: [&str; 8] = ["{", "}", "[", "\"", ":", "null", "\"variant\":\"v8\"", ","];
        let example = json!({ "manifests": [
            { "digest": Digest::of(b"x"), "platform": { "os": "linux", "architecture": "arm64" },
              "annotations": { STORED_AS: Digest::of(b"y") } },
        ] });
        crate::testing::fuzz::each(&[example.to_string().as_bytes()], &WORDS, |text| {
            _ = images_of_index(text);
        });
    }
}
