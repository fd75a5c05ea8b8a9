//! The images that a run knows: their descriptions, read from their registry, and their names.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::{Mutex, PoisonError},
};

use serde::Deserialize;

use super::{Buildkitd, transfer};
use crate::{
    engine::{Engine as _, EngineError, HistoryStep, LocalImage, canonical_config, created},
    image::{Digest, Platform, Reference, Repository, Tagged},
    registry::{Login, only_image},
};

#[derive(Debug, Default)]
pub(super) struct Images(Mutex<NamedImages>);

#[derive(Debug, Default)]
struct NamedImages {
    images: HashMap<Digest, KnownImage>,
    names: BTreeMap<Tagged, Digest>,
    /// The images of digests under which they were pulled: `repository@digest`.
    pulled: HashMap<String, Digest>,
}

#[derive(Clone, Debug)]
pub(super) struct KnownImage {
    /// Every repository that is known to have it.
    pub(super) repositories: BTreeSet<Repository>,
    pub(super) image: LocalImage,
}

impl KnownImage {
    pub(super) fn repository(&self) -> &Repository {
        self.repositories.first().expect("an image is learned with its repository")
    }
}

impl Images {
    fn lock(&self) -> std::sync::MutexGuard<'_, NamedImages> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn by_id(&self, image: &Digest) -> Option<KnownImage> {
        self.lock().images.get(image).cloned()
    }

    /// By ID, by name, or by `repository@digest`.
    pub(super) fn find(&self, text: &str) -> Option<LocalImage> {
        let known = self.lock();
        let id = match text.parse::<Digest>() {
            Ok(id) => id,
            Err(_) => match text.parse::<Reference>().ok()? {
                Reference { repository, tag: Some(tag), digest: None } => {
                    known.names.get(&repository.tagged(tag))?.clone()
                }
                _ => known.pulled.get(text)?.clone(),
            },
        };
        known.images.get(&id).map(|known| known.image.clone())
    }

    fn learn(&self, (repository, pulled): (&Repository, &Digest), image: LocalImage) {
        let mut known = self.lock();
        for digest in [pulled, &image.id] {
            known.pulled.insert(format!("{repository}@{digest}"), image.id.clone());
        }
        let repositories = BTreeSet::new();
        let entry = known.images.entry(image.id.clone());
        let entry = entry.or_insert(KnownImage { repositories, image });
        entry.repositories.insert(repository.clone());
    }

    pub(super) fn named(&self, name: &Tagged) -> Option<Digest> {
        self.lock().names.get(name).cloned()
    }

    pub(super) fn name(&self, name: &Tagged, image: &Digest) {
        self.lock().names.insert(name.clone(), image.clone());
    }

    /// The image that had the name.
    pub(super) fn unname(&self, name: &Tagged) -> Option<Digest> {
        self.lock().names.remove(name)
    }

    pub(super) fn names_of(&self, image: &Digest) -> BTreeSet<Tagged> {
        let known = self.lock();
        let of_image = known.names.iter().filter(|(_, id)| *id == image);
        of_image.map(|(name, _)| name.clone()).collect()
    }

    /// Each name of an image in the text, with the image's name and digest in its registry.
    pub(super) fn names_in(&self, text: &str) -> Vec<(String, String)> {
        let known = self.lock();
        let in_text = known.names.iter().map(|(name, id)| (name.to_string(), id));
        let in_text = in_text.filter(|(name, _)| text.contains(name));
        let stored = |id: &Digest| Some(format!("{}@{id}", known.images.get(id)?.repository()));
        let mut found: Vec<_> =
            in_text.filter_map(|(name, id)| Some((name, stored(id)?))).collect();
        // A name may be the beginning of another one.
        found.sort_by_key(|(name, _)| std::cmp::Reverse(name.len()));
        found
    }
}

/// The part of an image manifest that describes the image:
/// <https://github.com/opencontainers/image-spec/blob/v1.1.0/manifest.md>.
#[derive(Deserialize)]
pub(super) struct StoredManifest {
    config: StoredBlob,
    pub(super) layers: Vec<StoredBlob>,
}

#[derive(Deserialize)]
pub(super) struct StoredBlob {
    pub(super) digest: Digest,
    pub(super) size: u64,
}

/// <https://github.com/opencontainers/image-spec/blob/v1.1.0/config.md>.
#[derive(Deserialize)]
struct StoredConfig {
    os: String,
    architecture: String,
    #[serde(default)]
    variant: Option<String>,
    #[serde(default)]
    created: Option<String>,
    #[serde(default)]
    config: serde_json::Map<String, serde_json::Value>,
    rootfs: StoredRootFs,
    #[serde(default)]
    history: Vec<StoredStep>,
}

#[derive(Deserialize)]
struct StoredRootFs {
    diff_ids: Vec<Digest>,
}

#[derive(Deserialize)]
struct StoredStep {
    #[serde(default)]
    created_by: String,
    #[serde(default)]
    empty_layer: bool,
}

impl StoredConfig {
    fn platform(&self) -> Option<Platform> {
        let variant = self.variant.as_deref().filter(|it| !it.is_empty());
        let variant = variant.map(|it| format!("/{it}")).unwrap_or_default();
        let text = format!("{}/{}{variant}", self.os, self.architecture);
        text.parse().ok().map(Platform::normalized)
    }
}

impl Buildkitd {
    /// Learns of an image in a registry, and returns its ID: of an index, the image for the platform.
    pub(super) async fn bring(
        &self,
        repository: &Repository,
        digest: &Digest,
        platform: Option<&Platform>,
    ) -> Result<Digest, EngineError> {
        let name = format!("{repository}@{digest}");
        if let Some(known) = self.inspect(&name).await?
            && platform.is_none_or(|platform| known.platform == *platform)
        {
            return Ok(known.id);
        }
        let doing = format!("looking up `{name}`");
        let failed = |error| transfer(doing.clone(), error);
        let platform = platform.unwrap_or(&self.platform);
        let member = self.registries.manifest_for(repository, digest, platform).await;
        let id = member.map_err(failed)?.ok_or_else(|| EngineError::Transfer {
            doing: doing.clone(),
            message: format!("the registry has no image of it for {platform}"),
            cause: None,
        })?;
        let image = self.describe_stored(repository, &id).await?;
        self.images.learn((repository, digest), image);
        Ok(id)
    }

    /// Learns of an image that was pushed by its digest. One with attestations has an index.
    pub(super) async fn learn_pushed(
        &self,
        repository: &Repository,
        digest: &Digest,
    ) -> Result<LocalImage, EngineError> {
        let image = self.describe_stored(repository, digest).await?;
        self.images.learn((repository, digest), image.clone());
        Ok(image)
    }

    async fn describe_stored(
        &self,
        repository: &Repository,
        digest: &Digest,
    ) -> Result<LocalImage, EngineError> {
        let (manifest, config) = self.documents(repository, digest).await?;
        let labels = config.config.get("Labels").cloned().unwrap_or_default();
        Ok(LocalImage {
            id: digest.clone(),
            size: manifest.layers.iter().fold(0, |sum, layer| layer.size.saturating_add(sum)),
            labels: serde_json::from_value(labels).unwrap_or_default(),
            config: canonical_config(&config.config, &config.os),
            tags: BTreeSet::new(),
            repo_digests: Vec::new(),
            platform: config.platform().unwrap_or_else(|| self.platform.clone()),
            created: config.created.as_deref().and_then(created),
            layers: config.rootfs.diff_ids,
        })
    }

    async fn documents(
        &self,
        repository: &Repository,
        digest: &Digest,
    ) -> Result<(StoredManifest, StoredConfig), EngineError> {
        let doing = format!("reading `{repository}@{digest}`");
        let failed = |error| transfer(doing.clone(), error);
        let lacks = |what: &str| EngineError::Transfer {
            doing: doing.clone(),
            message: format!("the registry has no {what} of it"),
            cause: None,
        };
        let read = async |digest: &Digest| {
            let manifest = self.registries.manifest(repository, digest.as_str()).await;
            manifest.map_err(failed)?.ok_or_else(|| lacks("manifest"))
        };
        let mut manifest = read(digest).await?;
        if let Some(image) = only_image(&manifest.bytes) {
            manifest = read(&image).await?;
        }
        let manifest: StoredManifest =
            serde_json::from_slice(&manifest.bytes).map_err(|_| lacks("image manifest"))?;
        let config = self.registries.blob(repository, &manifest.config.digest).await;
        let config = config.map_err(failed)?.ok_or_else(|| lacks("configuration"))?;
        let config = serde_json::from_slice(&config).map_err(|_| lacks("valid configuration"))?;
        Ok((manifest, config))
    }

    /// The manifest of an image.
    pub(super) async fn manifest_of(
        &self,
        image: &Digest,
    ) -> Result<(Repository, StoredManifest), EngineError> {
        let repository = self.known(image)?.repository().clone();
        let (manifest, _) = self.documents(&repository, image).await?;
        Ok((repository, manifest))
    }

    /// Sizes are those of the compressed layers.
    pub(super) async fn read_history(
        &self,
        image: &Digest,
    ) -> Result<Vec<HistoryStep>, EngineError> {
        let known = self.known(image)?;
        let (manifest, config) = self.documents(known.repository(), image).await?;
        let mut layers = manifest.layers.iter();
        let step = |StoredStep { created_by, empty_layer }: StoredStep| {
            let layer = if empty_layer { None } else { layers.next() };
            HistoryStep { created_by, bytes: layer.map_or(0, |layer| layer.size) }
        };
        Ok(config.history.into_iter().map(step).collect())
    }

    /// Writes a tag that points at an image of the same repository.
    pub(super) async fn put_tag(&self, name: &Tagged) -> Result<(), EngineError> {
        let doing = format!("pushing `{name}`");
        let refuse = |message: String| EngineError::Answer { doing: doing.clone(), message };
        let image =
            self.images.named(name).ok_or_else(|| refuse("no image has this name".to_owned()))?;
        let (known, repository) = (self.known(&image)?, &name.repository);
        if !known.repositories.contains(repository) {
            return Err(refuse(format!("its image is in `{}`", known.repository())));
        }
        let failed = |error| transfer(doing.clone(), error);
        let manifest = self.registries.manifest(repository, image.as_str()).await;
        let Some(manifest) = manifest.map_err(failed)? else {
            return Err(refuse(format!("`{repository}@{image}` is no longer in the registry")));
        };
        let put = self.registries.put_manifest(repository, &name.tag, &manifest).await;
        put.map_err(failed)
    }

    pub(super) async fn login(&self, host: &str) -> Result<Option<Login>, EngineError> {
        let doing = format!("logging in to {host}");
        self.registries.login(host).await.map_err(|error| transfer(doing, error))
    }
}
