//! Selects the manifest of an index for a platform:
//! <https://github.com/opencontainers/image-spec/blob/v1.1.0/image-index.md>.

use serde::Deserialize;

use super::{Client, RegistryError};
use crate::image::{Digest, Platform, Repository};

#[derive(Deserialize)]
struct ImageIndex {
    manifests: Vec<IndexMember>,
}

#[derive(Deserialize)]
struct IndexMember {
    digest: Digest,
    platform: Option<MemberPlatform>,
}

#[derive(Deserialize)]
struct MemberPlatform {
    os: String,
    architecture: String,
    #[serde(default)]
    variant: Option<String>,
}

impl Client {
    /// The manifest that an engine of this platform pulls by a digest: for an index the member for the
    /// platform, for a manifest the manifest itself. `None` if the registry does not have it, or the index
    /// has no such member.
    pub async fn manifest_for(
        &self,
        repository: &Repository,
        digest: &Digest,
        platform: &Platform,
    ) -> Result<Option<Digest>, RegistryError> {
        let manifest = self.manifest(repository, digest.as_str()).await?;
        Ok(manifest.and_then(|manifest| member(&manifest.bytes, &manifest.digest, platform)))
    }
}

fn member(bytes: &[u8], digest: &Digest, platform: &Platform) -> Option<Digest> {
    let Ok(ImageIndex { manifests }) = serde_json::from_slice(bytes) else {
        return Some(digest.clone());
    };
    let fits = |member: &&IndexMember| {
        member
            .platform
            .as_ref()
            .is_some_and(|its| its.os == platform.os && its.architecture == platform.architecture)
    };
    let variant =
        |member: &IndexMember| member.platform.as_ref().and_then(|its| its.variant.clone());
    let mut fitting = manifests.iter().filter(fits);
    // An engine omits the variant if only one exists (`arm64` is `arm64/v8`).
    let exact = fitting.clone().find(|member| variant(member) == platform.variant);
    exact
        .or_else(|| fitting.next().filter(|_| fitting.next().is_none()))
        .map(|it| it.digest.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_member_for_a_platform() {
        let entry = |platform: &str, name: &str| {
            let (os, rest) = platform.split_once('/').unwrap();
            let (architecture, variant) = match rest.split_once('/') {
                Some((architecture, variant)) => (architecture, Some(variant)),
                None => (rest, None),
            };
            serde_json::json!({
                "digest": Digest::of(name.as_bytes()),
                "platform": { "os": os, "architecture": architecture, "variant": variant },
            })
        };
        let entries = [
            entry("linux/amd64", "amd64"),
            entry("unknown/unknown", "attestation"),
            entry("linux/arm64/v8", "arm64"),
            entry("linux/arm/v6", "arm v6"),
            entry("linux/arm/v7", "arm v7"),
        ];
        let index = serde_json::json!({ "schemaVersion": 2, "manifests": entries }).to_string();
        let manifest = r#"{"schemaVersion": 2, "config": {}, "layers": []}"#;
        let whole = Digest::of(b"whole");
        for (text, platform, expected) in [
            (index.as_str(), "linux/amd64", Some("amd64")),
            (&index, "linux/arm64", Some("arm64")),
            (&index, "linux/arm/v7", Some("arm v7")),
            (&index, "linux/arm", None),
            (&index, "linux/s390x", None),
            (manifest, "linux/amd64", Some("whole")),
        ] {
            let found = member(text.as_bytes(), &whole, &platform.parse().unwrap());
            assert_eq!(found, expected.map(|name| Digest::of(name.as_bytes())), "{platform}");
        }
    }

    #[test]
    fn fuzz_index() {
        const WORDS: [&str; 8] = ["{", "}", "[", "\"", ":", "null", "\"variant\":\"v8\"", ","];
        let digest = Digest::of(b"x");
        let platform: Platform = "linux/arm64".parse().unwrap();
        let example = serde_json::json!({ "manifests": [
            { "digest": digest, "platform": { "os": "linux", "architecture": "arm64", "variant": "v8" } },
            { "digest": digest, "platform": { "os": "linux", "architecture": "amd64" } },
        ] });
        crate::testing::fuzz::each(&[example.to_string().as_bytes()], &WORDS, |text| {
            _ = member(text, &digest, &platform);
        });
    }
}
