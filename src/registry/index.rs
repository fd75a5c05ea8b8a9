//! Selects the manifest of an index for a platform:
//! <https://github.com/opencontainers/image-spec/blob/v1.1.0/image-index.md>.

use std::collections::{BTreeMap, BTreeSet};

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
    #[serde(default)]
    annotations: BTreeMap<String, String>,
}

/// The member that an attestation of BuildKit is about:
/// <https://github.com/moby/buildkit/blob/v0.12.0/docs/attestations/attestation-storage.md>.
const ATTESTED: &str = "vnd.docker.reference.digest";

/// Whether a member of an index is an attestation.
pub(super) fn is_attestation(member: &serde_json::Value) -> bool {
    member["annotations"].get(ATTESTED).is_some()
}

/// The members of an index.
pub(super) struct Members {
    /// Those for some platforms, with their attestations.
    pub(super) used: Vec<Digest>,
    pub(super) others: Vec<Digest>,
}

/// Divides the members of an index. All of them are used if none is for these platforms. `None` for a manifest.
pub(super) fn members(bytes: &[u8], platforms: &BTreeSet<Platform>) -> Option<Members> {
    let ImageIndex { manifests } = serde_json::from_slice(bytes).ok()?;
    let index = Digest::of(bytes);
    let fitting: BTreeSet<Digest> =
        platforms.iter().filter_map(|platform| member(bytes, &index, platform)).collect();
    let is_used = |one: &IndexMember| {
        let attested = one.annotations.get(ATTESTED).and_then(|digest| digest.parse().ok());
        fitting.contains(&one.digest) || attested.is_some_and(|digest| fitting.contains(&digest))
    };
    let (used, others) = manifests.into_iter().partition::<Vec<_>, _>(is_used);
    let digests = |members: Vec<IndexMember>| {
        members.into_iter().map(|member| member.digest).collect::<Vec<Digest>>()
    };
    let (used, others) = (digests(used), digests(others));
    Some(if used.is_empty() {
        Members { used: others, others: used }
    } else {
        Members { used, others }
    })
}

/// The image of an index that has only one, beside attestations. `None` for a manifest and for several images.
pub fn only_image(bytes: &[u8]) -> Option<Digest> {
    let ImageIndex { manifests } = serde_json::from_slice(bytes).ok()?;
    let mut images = manifests.into_iter().filter(|one| !one.annotations.contains_key(ATTESTED));
    let image = images.next()?;
    images.next().is_none().then_some(image.digest)
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
    fn attestations_belong_to_their_member() {
        let [amd64, arm64, about_amd64, about_arm64] =
            ["amd64", "arm64", "about amd64", "about arm64"]
                .map(|name| Digest::of(name.as_bytes()));
        let image = |digest: &Digest, architecture: &str| serde_json::json!({ "digest": digest, "platform": { "os": "linux", "architecture": architecture } });
        let attestation = |digest: &Digest, about: &Digest| {
            serde_json::json!({
                "digest": digest, "platform": { "os": "unknown", "architecture": "unknown" },
                "annotations": { ATTESTED: about, "vnd.docker.reference.type": "attestation-manifest" },
            })
        };
        let index = serde_json::json!({ "manifests": [
            image(&amd64, "amd64"), image(&arm64, "arm64"),
            attestation(&about_amd64, &amd64), attestation(&about_arm64, &arm64),
        ] });
        let index = index.to_string();
        let divided = |platforms: &[&str]| {
            let platforms = platforms.iter().map(|platform| platform.parse().unwrap()).collect();
            let Members { used, others } = members(index.as_bytes(), &platforms).unwrap();
            (used, others)
        };
        let (of_amd64, of_arm64) =
            (vec![amd64, about_amd64], vec![arm64.clone(), about_arm64.clone()]);
        assert_eq!(divided(&["linux/amd64"]), (of_amd64.clone(), of_arm64));
        let (used, others) = divided(&["linux/s390x"]);
        assert_eq!((used.len(), others), (4, vec![]));
        assert_eq!(divided(&["linux/amd64", "linux/arm64"]).1, vec![]);
        assert!(members(br#"{"config": {}, "layers": []}"#, &BTreeSet::new()).is_none());
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
            _ = members(text, &[platform.clone()].into());
        });
    }
}
