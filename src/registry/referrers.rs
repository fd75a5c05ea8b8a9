//! Artifacts that refer to an image: its provenance, its signatures.
//!
//! Source: <https://github.com/opencontainers/distribution-spec/blob/v1.1.0/spec.md>, §Pushing Manifests with Subject,
//! §Listing Referrers and §Unavailable Referrers API.

use http::{Method, header};
use serde_json::{Value, json};

use super::{
    Client, Manifest, RegistryError,
    client::{Access, call},
};
use crate::image::{Digest, Repository, Tag};

const INDEX: &str = "application/vnd.oci.image.index.v1+json";
/// With this header, the registry has noticed the subject of a manifest, and lists it.
const SUBJECT: &str = "oci-subject";

impl Client {
    /// The entries of the index of artifacts that refer to a manifest (end-12a), as the registry has them; those of
    /// the tag if it has no referrers API.
    pub async fn referrers(
        &self,
        repository: &Repository,
        subject: &Digest,
    ) -> Result<Vec<Value>, RegistryError> {
        let call = call(repository, Access::Pull, Method::GET, &format!("referrers/{subject}"));
        let reply = self.exchange.call(&call.header(header::ACCEPT, INDEX)).await?;
        let listed = (reply.status == 200).then(|| entries(&reply.body)).flatten();
        match listed {
            Some(listed) => Ok(listed),
            None => self.tagged_referrers(repository, subject).await,
        }
    }

    async fn tagged_referrers(
        &self,
        repository: &Repository,
        subject: &Digest,
    ) -> Result<Vec<Value>, RegistryError> {
        let tag = tag(subject);
        let Some(index) = self.manifest(repository, tag.as_str()).await? else {
            return Ok(Vec::new());
        };
        entries(&index.bytes).ok_or_else(|| {
            let call = call(repository, Access::Pull, Method::GET, "");
            call.missing(&format!("its tag `{tag}` is not an index of artifacts"))
        })
    }

    /// Stores a manifest that names its subject, whose blobs the repository already has. Without a referrers API, its
    /// entry is added to those of the subject's tag.
    ///
    /// Two writers of one subject at once may lose an entry: the specification has no protection against that.
    pub async fn put_referrer(
        &self,
        repository: &Repository,
        (subject, manifest): (&Digest, &Manifest),
    ) -> Result<(), RegistryError> {
        let reply = self.put(repository, manifest.digest.as_str(), manifest).await?;
        if reply.header(SUBJECT).is_some() {
            return Ok(());
        }
        let mut entries = self.tagged_referrers(repository, subject).await?;
        let digest = manifest.digest.as_str();
        if entries.iter().any(|entry| entry["digest"] == digest) {
            return Ok(());
        }
        entries.push(entry(manifest));
        let index = json!({ "schemaVersion": 2, "mediaType": INDEX, "manifests": entries });
        let index = Manifest::new(INDEX, &index);
        self.put_manifest(repository, &tag(subject), &index).await
    }

    /// Deletes the artifacts of a deleted manifest that its tag names. A registry with a referrers API has no such tag.
    pub async fn delete_referrers(
        &self,
        repository: &Repository,
        subject: &Digest,
    ) -> Result<(), RegistryError> {
        let Some(index) = self.manifest(repository, tag(subject).as_str()).await? else {
            return Ok(());
        };
        self.delete(repository, index.digest.as_str()).await?;
        for entry in entries(&index.bytes).unwrap_or_default() {
            let Some(digest) = entry["digest"].as_str() else { continue };
            // The index may name other manifests, too: those stay.
            let artifact = self.manifest(repository, digest).await?;
            if artifact.is_some_and(|artifact| refers_to(&artifact, subject)) {
                self.delete(repository, digest).await?;
            }
        }
        Ok(())
    }
}

/// The tag with the index of a subject's artifacts.
fn tag(subject: &Digest) -> Tag {
    format!("sha256-{}", subject.hex()).parse().expect("hexadecimal digits make a tag")
}

/// `None` if it is not an index.
fn entries(index: &[u8]) -> Option<Vec<Value>> {
    let mut index: Value = serde_json::from_slice(index).ok()?;
    match index.get_mut("manifests")?.take() {
        Value::Array(entries) => Some(entries),
        _ => None,
    }
}

fn refers_to(artifact: &Manifest, subject: &Digest) -> bool {
    let artifact: Value = serde_json::from_slice(&artifact.bytes).unwrap_or_default();
    artifact["subject"]["digest"] == subject.as_str()
}

/// The entry of an artifact in an index. It repeats type and annotations, by which clients choose.
fn entry(manifest: &Manifest) -> Value {
    let artifact: Value = serde_json::from_slice(&manifest.bytes).unwrap_or_default();
    let mut entry = json!({
        "mediaType": manifest.media_type,
        "digest": manifest.digest,
        "size": manifest.bytes.len(),
    });
    for field in ["artifactType", "annotations"] {
        if let Some(value) = artifact.get(field) {
            entry[field] = value.clone();
        }
    }
    entry
}
