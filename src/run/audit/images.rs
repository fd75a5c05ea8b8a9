//! Reads images: tags, manifests, indexes and configurations, each once.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::{Arc, Mutex, PoisonError},
};

use futures_util::{StreamExt as _, stream};
use jiff::Timestamp;
use serde::Deserialize;
use tokio::sync::OnceCell;

use super::AuditProgress;
use crate::{
    audit::ImageFacts,
    fingerprint::BuiltFrom,
    image::{Digest, Platform, Reference, Repository, Tag},
    registry::{Client, Manifest, RegistryError},
};

/// The client has a limit for each host as well.
const AT_ONCE: usize = 32;
/// Tags of `rebuild` itself: build tags, records and notes.
const OWN_TAGS: &str = "rb-";
/// The repository of the records of runs.
const RECORDS: &str = "rebuild-runs";
/// On a member of an index: the digest under which `rebuild` stored the image.
const STORED_AS: &str = "rebuild.stored-as";
const ATTESTATION: &str = "vnd.docker.reference.digest";

/// An image that was read.
#[derive(Clone, Debug)]
pub(super) struct ReadImage {
    pub(super) repository: Repository,
    pub(super) tags: BTreeSet<Tag>,
    /// What the tags point at.
    pub(super) version: Digest,
    /// For an image of an index.
    pub(super) platform: Option<Platform>,
    /// Its manifest, and the indexes with it.
    pub(super) digests: BTreeSet<Digest>,
    /// Whether its repository has the build tag of its fingerprint.
    pub(super) is_built_here: bool,
    pub(super) facts: Arc<ImageFacts>,
}

/// What could not be read, and why.
pub(super) type Unread = Vec<(String, String)>;

#[derive(Deserialize)]
struct ReadManifest {
    config: ReadDescriptor,
    #[serde(default)]
    annotations: BTreeMap<String, String>,
}

#[derive(Deserialize)]
struct ReadIndex {
    manifests: Vec<ReadDescriptor>,
    #[serde(default)]
    annotations: BTreeMap<String, String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ReadDescriptor {
    digest: Digest,
    #[serde(default)]
    media_type: String,
    #[serde(default)]
    annotations: BTreeMap<String, String>,
}

#[derive(Deserialize)]
struct ReadConfig {
    #[serde(default)]
    os: String,
    #[serde(default)]
    architecture: String,
    #[serde(default)]
    variant: Option<String>,
    #[serde(default)]
    created: Option<String>,
    #[serde(default)]
    config: Option<ReadSettings>,
    rootfs: ReadRootFs,
}

#[derive(Default, Deserialize)]
struct ReadSettings {
    #[serde(rename = "Labels", default)]
    labels: Option<BTreeMap<String, String>>,
}

#[derive(Deserialize)]
struct ReadRootFs {
    diff_ids: Vec<Digest>,
}

/// A configuration, or `None` for what is not an image.
type ConfigCell = Arc<OnceCell<Option<(Platform, Arc<ImageFacts>)>>>;

pub(super) struct ImageReader<'a> {
    pub(super) client: &'a Client,
    progress: &'a AuditProgress,
    /// By digest: many images share one, and bases are among the audited images.
    configs: Mutex<HashMap<Digest, ConfigCell>>,
}

impl<'a> ImageReader<'a> {
    pub(super) fn new(client: &'a Client, progress: &'a AuditProgress) -> Self {
        Self { client, progress, configs: Mutex::default() }
    }

    /// The images of these names, without those that `rebuild` stores for itself.
    pub(super) async fn fleet(
        &self,
        names: Vec<Reference>,
        wanted: &BTreeSet<Tag>,
    ) -> (Vec<ReadImage>, Unread) {
        let is_record =
            |name: &Reference| name.repository.as_str().rsplit('/').next() == Some(RECORDS);
        let names: Vec<Reference> = names.into_iter().filter(|name| !is_record(name)).collect();
        AuditProgress::add(&self.progress.of_repositories, names.len());
        let all: Vec<(Vec<ReadImage>, Unread)> = stream::iter(names)
            .map(async |name| {
                let is_wanted = |tag: &Tag| {
                    !tag.as_str().starts_with(OWN_TAGS)
                        && (wanted.is_empty() || wanted.contains(tag))
                };
                let read = self.named(&name, is_wanted).await;
                AuditProgress::add(&self.progress.repositories, 1);
                read.unwrap_or_else(|error| {
                    (Vec::new(), vec![(name.to_string(), error.to_string())])
                })
            })
            .buffered(AT_ONCE)
            .collect()
            .await;
        let (mut images, mut unread) = (Vec::new(), Vec::new());
        for (some, not) in all {
            images.extend(some);
            unread.extend(not);
        }
        (images, unread)
    }

    async fn named(
        &self,
        name: &Reference,
        is_wanted: impl Fn(&Tag) -> bool,
    ) -> Result<(Vec<ReadImage>, Unread), RegistryError> {
        let repository = &name.repository;
        if let Some(digest) = &name.digest {
            let tags = name.tag.iter().cloned().collect();
            return Ok((self.version(repository, digest.as_str(), tags).await?, Unread::new()));
        }
        if let Some(tag) = &name.tag {
            return Ok(self.tagged(repository, vec![tag.clone()]).await);
        }
        let all: BTreeSet<Tag> = self.client.tags(repository).await?.into_iter().collect();
        let wanted = all.iter().filter(|tag| is_wanted(tag)).cloned().collect();
        let (mut images, unread) = self.tagged(repository, wanted).await;
        for image in &mut images {
            let built = BuiltFrom::from_labels(&image.facts.labels);
            image.is_built_here = built.is_some_and(|it| all.contains(&it.fingerprint.build_tag()));
        }
        Ok((images, unread))
    }

    /// The images under these tags; tags of one image are together.
    pub(super) async fn tagged(
        &self,
        repository: &Repository,
        tags: Vec<Tag>,
    ) -> (Vec<ReadImage>, Unread) {
        let read: Vec<(Tag, Result<Vec<ReadImage>, RegistryError>)> = stream::iter(tags)
            .map(async |tag| {
                let images = self.version(repository, tag.as_str(), [tag.clone()].into()).await;
                (tag, images)
            })
            .buffered(AT_ONCE)
            .collect()
            .await;
        let (mut images, mut unread) = (Vec::<ReadImage>::new(), Unread::new());
        let mut places: HashMap<(Digest, Option<Platform>), usize> = HashMap::new();
        for (tag, read) in read {
            match read {
                Ok(read) => {
                    for image in read {
                        let key = (image.version.clone(), image.platform.clone());
                        if let Some(place) = places.get(&key) {
                            images[*place].tags.extend(image.tags);
                        } else {
                            places.insert(key, images.len());
                            images.push(image);
                        }
                    }
                }
                Err(error) => unread.push((format!("{repository}:{tag}"), error.to_string())),
            }
        }
        (images, unread)
    }

    /// The images under a tag or a digest: one, or those of an index. Other artifacts are none.
    pub(super) async fn version(
        &self,
        repository: &Repository,
        reference: &str,
        tags: BTreeSet<Tag>,
    ) -> Result<Vec<ReadImage>, RegistryError> {
        let Some(manifest) = self.client.manifest(repository, reference).await? else {
            return Ok(Vec::new());
        };
        let version = manifest.digest.clone();
        let image = |facts, digests, platform| ReadImage {
            repository: repository.clone(),
            tags: tags.clone(),
            version: version.clone(),
            platform,
            digests,
            is_built_here: false,
            facts,
        };
        let Ok(index) = serde_json::from_slice::<ReadIndex>(&manifest.bytes) else {
            let found = self.image(repository, &manifest, &BTreeMap::new()).await?;
            AuditProgress::add(&self.progress.images, usize::from(found.is_some()));
            let found = found.map(|(_, facts)| image(facts, [version.clone()].into(), None));
            return Ok(found.into_iter().collect());
        };
        let mut images = Vec::new();
        for member in index.manifests {
            if member.annotations.contains_key(ATTESTATION) {
                continue;
            }
            let of_member = self.client.manifest(repository, member.digest.as_str()).await?;
            let Some(of_member) = of_member else { continue };
            let mut annotations = index.annotations.clone();
            annotations.extend(member.annotations.clone());
            let found = self.image(repository, &of_member, &annotations).await?;
            let Some((platform, facts)) = found else { continue };
            let stored = member.annotations.get(STORED_AS).and_then(|digest| digest.parse().ok());
            let digests = [version.clone(), member.digest].into_iter().chain(stored).collect();
            images.push(image(facts, digests, Some(platform)));
        }
        AuditProgress::add(&self.progress.images, images.len());
        Ok(images)
    }

    async fn image(
        &self,
        repository: &Repository,
        manifest: &Manifest,
        above: &BTreeMap<String, String>,
    ) -> Result<Option<(Platform, Arc<ImageFacts>)>, RegistryError> {
        let Ok(read) = serde_json::from_slice::<ReadManifest>(&manifest.bytes) else {
            return Ok(None);
        };
        // Charts, signatures and other artifacts have configurations of other types.
        if !read.config.media_type.is_empty() && !read.config.media_type.contains("image") {
            return Ok(None);
        }
        let cell = {
            let mut configs = self.configs.lock().unwrap_or_else(PoisonError::into_inner);
            configs.entry(read.config.digest.clone()).or_default().clone()
        };
        let config = cell.get_or_try_init(async || {
            let blob = self.client.blob(repository, &read.config.digest).await?;
            Ok::<_, RegistryError>(blob.and_then(|blob| facts(&blob)))
        });
        let Some((platform, facts)) = config.await?.clone() else { return Ok(None) };
        let mut annotations = above.clone();
        annotations.extend(read.annotations);
        if annotations.is_empty() {
            return Ok(Some((platform, facts)));
        }
        Ok(Some((platform, Arc::new(ImageFacts { annotations, ..(*facts).clone() }))))
    }
}

fn facts(config: &[u8]) -> Option<(Platform, Arc<ImageFacts>)> {
    let read: ReadConfig = serde_json::from_slice(config).ok()?;
    let ReadConfig { os, architecture, variant, created, config, rootfs } = read;
    let platform = Platform { os, architecture, variant: variant.filter(|it| !it.is_empty()) };
    let created: Option<Timestamp> = created.and_then(|created| created.parse().ok());
    let facts = ImageFacts {
        layers: rootfs.diff_ids,
        labels: config.unwrap_or_default().labels.unwrap_or_default(),
        annotations: BTreeMap::new(),
        created,
    };
    Some((platform.normalized(), Arc::new(facts)))
}
