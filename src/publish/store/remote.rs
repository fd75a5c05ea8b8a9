//! A registry as the store: the engine pushes images in, tags are moved by manifest PUT.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use serde::Deserialize;

use super::{
    Description, Holding, Recorded, RemoteTags, Sight, Stage, Store, StoreError, StoredSize, Tags,
    read, remote_tags::HEADS_AT_ONCE, run_record,
};
use crate::{
    engine::{Engine, canonical_config, created},
    image::{Digest, Platform, Repository, Tag, Tagged},
    registry::Client,
};

/// [`RemoteTags`] does everything that needs no engine.
#[derive(Debug)]
pub struct Remote<E> {
    client: Client,
    tags: RemoteTags,
    engine: Arc<E>,
}

impl<E: Engine> Remote<E> {
    pub fn new(client: Client, prefix: &Repository, engine: Arc<E>) -> Self {
        Self { tags: RemoteTags::new(client.clone(), prefix), client, engine }
    }
}

impl<E: Engine> Remote<E> {
    async fn holding(
        &self,
        repository: Repository,
        digest: Digest,
        tags: BTreeSet<Tag>,
    ) -> Result<Holding, StoreError> {
        let manifest = self.client.manifest(&repository, digest.as_str()).await?;
        let contents: Contents = manifest
            .and_then(|manifest| serde_json::from_slice(&manifest.bytes).ok())
            .unwrap_or_default();
        let description = self.describe(&repository, &digest).await?;
        let (labels, created) =
            description.map(|found| (found.labels, found.created)).unwrap_or_default();
        let blobs = contents.config.into_iter().chain(contents.layers);
        Ok(Holding {
            repository,
            digest,
            tags,
            labels,
            created,
            pieces: blobs.map(|blob| (blob.digest, blob.size)).collect(),
            members: contents.manifests.into_iter().map(|member| member.digest).collect(),
        })
    }
}

impl<E: Engine> Tags for Remote<E> {
    async fn heads(&self, tags: Vec<Tagged>) -> Result<BTreeMap<Tagged, Digest>, StoreError> {
        self.tags.heads(tags).await
    }

    async fn head(&self, tag: &Tagged) -> Result<Option<Digest>, StoreError> {
        self.tags.head(tag).await
    }

    async fn has(&self, repository: &Repository, digest: &Digest) -> Result<bool, StoreError> {
        self.tags.has(repository, digest).await
    }

    async fn put(&self, tag: &Tagged, digest: &Digest) -> Result<(), StoreError> {
        self.tags.put(tag, digest).await
    }

    fn pauses(&self) -> &'static [Duration] {
        self.tags.pauses()
    }

    fn can_remove(&self) -> bool {
        self.tags.can_remove()
    }

    async fn remove(&self, tag: &Tagged) -> Result<bool, StoreError> {
        self.tags.remove(tag).await
    }

    async fn record(&self, run: &str, stage: Stage, text: &[u8]) -> Result<(), StoreError> {
        self.tags.record(run, stage, text).await
    }

    async fn ended(&self) -> Result<BTreeSet<String>, StoreError> {
        self.tags.ended().await
    }

    async fn records(&self, newest: usize) -> Result<Vec<Vec<u8>>, StoreError> {
        self.tags.records(newest).await
    }

    async fn keep_note(&self, name: &str, text: &[u8]) -> Result<(), StoreError> {
        self.tags.keep_note(name, text).await
    }

    async fn note(&self, name: &str) -> Result<Option<Vec<u8>>, StoreError> {
        self.tags.note(name).await
    }
}

impl<E: Engine> Store for Remote<E> {
    async fn upload(&self, image: &Digest, tag: &Tagged) -> Result<Digest, StoreError> {
        self.engine.tag(image, tag).await?;
        let push = |login| async move { Ok(self.engine.push(tag, login).await?) };
        if let Err(error) = self.client.with_login(tag.repository.host(), push).await {
            self.engine.untag(tag).await?;
            return Err(error);
        }
        // The local tag stays, so that the next run does not pull its own parents.
        let judge = |found: Option<&Digest>| found.map_or(Sight::Late, |_| Sight::Expected);
        match read(self, tag, judge).await? {
            Some(digest) => Ok(digest),
            None => {
                Err(StoreError::Lost { tag: tag.clone(), wrote: Some(image.clone()), found: None })
            }
        }
    }

    async fn fetch(
        &self,
        repository: &Repository,
        digest: &Digest,
        platform: Option<&Platform>,
    ) -> Result<Digest, StoreError> {
        if let Some(image) = self.engine.inspect(&format!("{repository}@{digest}")).await? {
            return Ok(image.id);
        }
        let pull =
            |login| async move { Ok(self.engine.pull(repository, digest, platform, login).await?) };
        self.client.with_login(repository.host(), pull).await
    }

    async fn describe(
        &self,
        repository: &Repository,
        digest: &Digest,
    ) -> Result<Option<Description>, StoreError> {
        let Some(manifest) = self.client.manifest(repository, digest.as_str()).await? else {
            return Ok(None);
        };
        // An index or another artifact has no configuration.
        let Ok(image) = serde_json::from_slice::<ImageManifest>(&manifest.bytes) else {
            return Ok(None);
        };
        let Some(blob) = self.client.blob(repository, &image.config.digest).await? else {
            return Ok(None);
        };
        Ok(described(&image, manifest.bytes.len(), &blob))
    }

    async fn tags(&self, repository: &Repository) -> Result<BTreeMap<Tagged, Digest>, StoreError> {
        let tags = self.client.tags(repository).await?;
        self.heads(tags.into_iter().map(|tag| repository.tagged(tag)).collect()).await
    }

    async fn holdings(&self, repositories: Vec<Repository>) -> Result<Vec<Holding>, StoreError> {
        let mut images: BTreeMap<(Repository, Digest), BTreeSet<Tag>> = BTreeMap::new();
        for repository in repositories {
            for (tagged, digest) in self.tags(&repository).await? {
                images.entry((repository.clone(), digest)).or_default().insert(tagged.tag);
            }
        }
        stream::iter(images)
            .map(|((repository, digest), tags)| self.holding(repository, digest, tags))
            .buffered(HEADS_AT_ONCE)
            .try_collect()
            .await
    }

    async fn forget(
        &self,
        repository: &Repository,
        digest: &Digest,
        _tags: &BTreeSet<Tag>,
    ) -> Result<(), StoreError> {
        // DELETE by tag is optional in the specification. DELETE by digest deletes all tags of the image.
        self.client.delete(repository, digest.as_str()).await?;
        Ok(())
    }

    async fn recorded(&self) -> Result<Vec<Recorded>, StoreError> {
        self.tags.recorded().await
    }

    async fn read_record(&self, run: &Recorded) -> Result<Option<Vec<u8>>, StoreError> {
        Ok(run_record::read(&self.client, run).await?)
    }

    async fn forget_record(&self, run: &Recorded) -> Result<(), StoreError> {
        Ok(run_record::forget(&self.client, run).await?)
    }
}

/// Facts from an image's manifest and configuration.
fn described(manifest: &ImageManifest, length: usize, config: &[u8]) -> Option<Description> {
    let image: ImageConfig = serde_json::from_slice(config).ok()?;
    let labels = image.config.get("Labels").cloned().unwrap_or_default();
    // Every user who can push can write any size.
    let layers: Vec<u64> = manifest.layers.iter().map(|layer| layer.size).collect();
    Some(Description {
        labels: serde_json::from_value(labels).unwrap_or_default(),
        layers: image.rootfs.diff_ids,
        config: canonical_config(&image.config, &image.os),
        created: image.created.as_deref().and_then(created),
        size: layers.iter().copied().fold(0, u64::saturating_add),
        stored: Some(StoredSize { layers, documents: (length + config.len()) as u64 }),
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
struct Contents {
    config: Option<Blob>,
    layers: Vec<Blob>,
    manifests: Vec<Blob>,
}

#[derive(Deserialize)]
struct Blob {
    digest: Digest,
    #[serde(default)]
    size: u64,
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
    rootfs: RootFs,
}

#[derive(Deserialize)]
struct RootFs {
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
