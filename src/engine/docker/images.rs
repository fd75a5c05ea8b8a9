//! What the engine knows of images, and their tags.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    time::Duration,
};

use bollard::{
    models::HealthConfig,
    query_parameters::{
        ListImagesOptionsBuilder, RemoveImageOptions, RemoveImageOptionsBuilder,
        TagImageOptionsBuilder,
    },
};
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use jiff::Timestamp;
use serde::{Deserialize, Deserializer, de::Error as _};
use serde_json::{Map, Value, json};
use tokio::time::{Instant, sleep};

use super::{Capability, Docker, ImageStore, call::path_with, config, known_tags::EngineEvent};
use crate::{
    engine::{EngineError, HistoryStep, LocalImage},
    image::{Digest, Platform, Reference, Tagged},
};

/// How many images are asked for at once. An engine answers four as fast as forty.
const ASKED_AT_ONCE: usize = 4;
/// Above this number of tags, a storage driver lists all its images in less time than it answers for each tag:
/// 0.15 ms for each image that it has, 0.6 ms for each question. The other stores need 10 ms and more for
/// each image of a list.
const MANY: usize = 1000;
/// A build that was cancelled keeps its base in use until the engine has dropped it, which is not at once on an
/// engine without [`Capability::Cancel`].
const BUILD_ENDS: Duration = Duration::from_secs(10);
const BETWEEN_REMOVALS: Duration = Duration::from_millis(500);

/// What the removal of a tag removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TagRemoval {
    /// The image had no other tag, and is gone.
    WithImage,
    /// The image has other tags.
    OfSeveral,
    /// There was no such tag.
    Absent,
}

/// What we read of `GET /images/{name}/json`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Inspected {
    /// Podman's own API leaves `sha256:` out.
    #[serde(deserialize_with = "digest_or_hex")]
    id: Digest,
    #[serde(default)]
    pub(super) size: u64,
    #[serde(default)]
    repo_tags: Option<Vec<String>>,
    #[serde(default)]
    repo_digests: Option<Vec<String>>,
    /// Kept as it is, so that fields we do not know are compared too.
    #[serde(default)]
    config: Option<Map<String, Value>>,
    #[serde(default)]
    created: Option<String>,
    architecture: String,
    #[serde(default)]
    variant: Option<String>,
    os: String,
    #[serde(rename = "RootFS")]
    root_fs: EngineRootFs,
    /// Podman's own API has it here, and its Docker API nowhere.
    #[serde(default)]
    healthcheck: Option<Value>,
    #[serde(default)]
    manifests: Option<Vec<PlatformManifest>>,
}

/// Of an image that may be an index.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct PlatformManifest {
    /// Attestations have none.
    image_data: Option<ImageData>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct ImageData {
    size: UnpackedSize,
}

/// In bytes; 0 if the layers were not unpacked here.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct UnpackedSize {
    #[serde(default)]
    unpacked: u64,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct EngineRootFs {
    #[serde(default)]
    layers: Option<Vec<Digest>>,
}

/// Reads the time at which an image was built. One without time says year 1 or 1970.
pub fn created(text: &str) -> Option<Timestamp> {
    text.parse::<Timestamp>().ok().filter(|time| time.as_second() > 0)
}

/// `<none>:<none>` is no reference.
fn tagged(name: &str) -> Option<Tagged> {
    match name.parse() {
        Ok(Reference { repository, tag: Some(tag), digest: None }) => Some(repository.tagged(tag)),
        _ => None,
    }
}

impl Docker {
    pub(super) async fn inspect_image(
        &self,
        name: &str,
    ) -> Result<Option<LocalImage>, EngineError> {
        Ok(self.inspect_raw(name).await?.map(|seen| self.local_image(seen)))
    }

    /// With the tags as the docker command shows them.
    fn local_image(&self, seen: Inspected) -> LocalImage {
        let mut image = seen.into_image();
        if self.capabilities.store == ImageStore::Podman {
            image.repo_digests = without_own_names(image.repo_digests);
        }
        let familiar = |name: &Tagged| tagged(self.familiar(&name.to_string()));
        LocalImage { tags: image.tags.iter().filter_map(familiar).collect(), ..image }
    }

    /// An image that was just built. The containerd image store unpacks one of another platform when it is first used,
    /// and knows only its packed size until then.
    pub(super) async fn inspect_built(
        &self,
        id: &Digest,
        run: &str,
    ) -> Result<Option<LocalImage>, EngineError> {
        let seen = self.inspect_raw(id.as_str()).await?;
        let is_packed = |image: &Inspected| image.unpacked_size().is_none();
        if self.capabilities.sizes_are_by_manifest && seen.as_ref().is_some_and(is_packed) {
            // Creating a container unpacks it. The build does not fail because its size is not known.
            _ = self.read_image_files(id, &[], run).await;
            return self.inspect_image(id.as_str()).await;
        }
        Ok(seen.map(|seen| self.local_image(seen)))
    }

    pub(super) async fn inspect_raw(&self, name: &str) -> Result<Option<Inspected>, EngineError> {
        let doing = format!("looking at the image `{name}`");
        // Podman's Docker API leaves `HEALTHCHECK` out, its own has it.
        let api = match self.capabilities.store {
            ImageStore::Podman => "/libpod/images",
            ImageStore::StorageDriver | ImageStore::Containerd => "/images",
        };
        // containerd's image store gives unpacked sizes by manifest alone, since API 1.48.
        let by_manifest = self.capabilities.sizes_are_by_manifest;
        let (version, query) = if by_manifest { ("/v1.48", "?manifests=1") } else { ("", "") };
        let path = format!("{version}{api}/{name}/json{query}");
        let seen: Option<Inspected> = self.get_json_if_any(&doing, &path).await?;
        Ok(seen.map(Inspected::with_healthcheck))
    }

    pub(super) async fn read_history(
        &self,
        image: &Digest,
    ) -> Result<Vec<HistoryStep>, EngineError> {
        #[derive(Deserialize)]
        #[serde(rename_all = "PascalCase")]
        struct HistoryItem {
            #[serde(default)]
            created_by: String,
            #[serde(default)]
            size: i64,
        }
        let doing = format!("reading the history of the image {}", image.short());
        let path = format!("/images/{image}/history");
        let newest_first: Vec<HistoryItem> = self.get_json(&doing, &path).await?;
        let step = |HistoryItem { created_by, size }: HistoryItem| HistoryStep {
            created_by,
            bytes: size.try_into().unwrap_or(0),
        };
        Ok(newest_first.into_iter().rev().map(step).collect())
    }

    pub(super) async fn resolve_tags(
        &self,
        names: Vec<Tagged>,
    ) -> Result<BTreeMap<Tagged, Digest>, EngineError> {
        if names.len() > MANY && self.capabilities.store == ImageStore::StorageDriver {
            let all = self.list_tags(vec![]).await?;
            let found = |name: Tagged| Some((name.clone(), all.get(&name)?.clone()));
            return Ok(names.into_iter().filter_map(found).collect());
        }
        if names.is_empty() {
            return Ok(BTreeMap::new());
        }
        self.read_events().await?;
        let mut asked = self.known.split(names);
        let images: Vec<(Tagged, Option<LocalImage>)> =
            stream::iter(std::mem::take(&mut asked.open))
                .map(async |name| {
                    let image = self.inspect_image(&name.to_string()).await?;
                    Ok::<_, EngineError>((name, image))
                })
                .buffer_unordered(ASKED_AT_ONCE)
                .try_collect()
                .await?;
        for (name, image) in images {
            let id = image.as_ref().map(|image| &image.id);
            self.known.learn(&asked, &name, id);
            let Some(LocalImage { id, tags, .. }) = image else { continue };
            for other in tags {
                self.known.learn(&asked, &other, Some(&id));
                asked.found.insert(other, id.clone());
            }
            asked.found.insert(name, id);
        }
        Ok(asked.found)
    }

    /// Brings what is known of tags up to date, where that costs less than asking for them.
    pub(super) async fn read_events(&self) -> Result<(), EngineError> {
        if self.capabilities.store != ImageStore::Containerd {
            return Ok(());
        }
        let seconds =
            |time: Timestamp| format!("{}.{:09}", time.as_second(), time.subsec_nanosecond());
        let read = async || {
            let (since, until) = (seconds(self.known.since()), seconds(self.identity.now()));
            let path = path_with("/events", &[("since", &since), ("until", &until)]);
            let doing = "asking for its last events";
            let events: Vec<EngineEvent> = self.get_lines(doing, &path).await?;
            self.known.take(&self.identity.id, &events);
            Ok(())
        };
        self.known.read(read).await
    }

    pub(super) async fn list_tags(
        &self,
        repositories: Vec<String>,
    ) -> Result<BTreeMap<Tagged, Digest>, EngineError> {
        let mut options = ListImagesOptionsBuilder::default();
        if !repositories.is_empty() {
            options = options.filters(&HashMap::from([("reference", repositories)]));
        }
        let options = options.build();
        let doing = "listing images";
        let list = self.api.list_images(Some(options));
        let list = async { list.await.map_err(|error| self.answer(doing, error)) };
        let images = self.patiently(doing, list).await?;
        let mut tags = BTreeMap::new();
        for image in images {
            // An ID that is not a digest names no image of ours.
            let Ok(id) = image.id.parse::<Digest>() else { continue };
            for name in image.repo_tags {
                if let Some(tagged) = tagged(self.familiar(&name)) {
                    tags.insert(tagged, id.clone());
                }
            }
        }
        Ok(tags)
    }

    /// Images with a label and without a tag, that were made before a time: their IDs and labels.
    pub async fn untagged(
        &self,
        label: &str,
        before: Timestamp,
    ) -> Result<Vec<(Digest, BTreeMap<String, String>)>, EngineError> {
        #[derive(Deserialize)]
        #[serde(rename_all = "PascalCase")]
        struct UntaggedImage {
            #[serde(deserialize_with = "digest_or_hex")]
            id: Digest,
            #[serde(default)]
            labels: Option<BTreeMap<String, String>>,
            /// Seconds since 1970.
            created: i64,
        }
        let filters = json!({ "dangling": ["true"], "label": [label] }).to_string();
        let path = path_with("/images/json", &[("filters", &filters)]);
        let listed: Vec<UntaggedImage> = self.get_json("listing images", &path).await?;
        let old = listed.into_iter().filter(|image| image.created < before.as_second());
        Ok(old.map(|image| (image.id, image.labels.unwrap_or_default())).collect())
    }

    /// Removes an image without a tag, unless the engine needs it.
    pub async fn remove_untagged(&self, image: &Digest) -> Result<(), EngineError> {
        let doing = format!("removing the image {}", image.short());
        let removed = self.api.remove_image(image.as_str(), self.without_parents(), None);
        let removed = async { removed.await.map_err(|error| self.answer(&doing, error)) };
        match self.patiently(&doing, removed).await {
            Err(EngineError::Refused { status: 404 | 409, .. }) => Ok(()),
            ended => ended.map(drop),
        }
    }

    /// BuildKit makes no untagged parents. containerd's image store would read all images to look for some.
    fn without_parents(&self) -> Option<RemoveImageOptions> {
        let is_slow = self.capabilities.store == ImageStore::Containerd;
        is_slow.then(|| RemoveImageOptionsBuilder::default().noprune(true).build())
    }

    /// A name without what podman's Docker API puts before short ones.
    fn familiar<'a>(&self, name: &'a str) -> &'a str {
        if self.capabilities.store != ImageStore::Podman {
            return name;
        }
        let short = name.strip_prefix("docker.io/library/");
        short.or_else(|| name.strip_prefix("docker.io/")).unwrap_or(name)
    }

    pub(super) async fn tag_image(&self, image: &Digest, name: &Tagged) -> Result<(), EngineError> {
        let options = TagImageOptionsBuilder::default()
            .repo(name.repository.as_str())
            .tag(name.tag.as_str())
            .build();
        self.known.expect(name, Some(image));
        // The engine may set it after we stop waiting, so that this continues as a task: the code that takes
        // the tag away waits for it.
        let (engine, image, doing) = (self.clone(), image.to_string(), format!("tagging `{name}`"));
        let tagging = async move {
            let tag = || async {
                let tagged = engine.api.tag_image(&image, Some(options.clone())).await;
                tagged.map_err(|error| engine.answer(&doing, error))
            };
            engine.quickly(&doing, tag).await
        };
        self.pending.spawn(tagging).await.map_err(|_| self.hung_up())?
    }

    /// Not before whatever is pending is done: a tag that is just being set would come back, and an
    /// image does not lose its last name while a container of it is being removed.
    pub async fn remove_tag(&self, name: &Tagged) -> Result<TagRemoval, EngineError> {
        self.known.expect(name, None);
        self.quiesce().await;
        let (doing, name) = (format!("taking the tag `{name}` away"), name.to_string());
        let options = self.without_parents();
        let remove = async || {
            let removed = self.api.remove_image(&name, options.clone(), None).await;
            removed.map_err(|error| self.answer(&doing, error))
        };
        let mut removed = self.patiently(&doing, remove()).await;
        let began = Instant::now();
        while matches!(removed, Err(EngineError::Refused { status: 409, .. }))
            && !self.capabilities.has(Capability::Cancel)
            && began.elapsed() < BUILD_ENDS
        {
            sleep(BETWEEN_REMOVALS).await;
            removed = self.patiently(&doing, remove()).await;
        }
        match removed {
            Ok(parts) if parts.iter().any(|part| part.deleted.is_some()) => {
                Ok(TagRemoval::WithImage)
            }
            Ok(_) => Ok(TagRemoval::OfSeveral),
            Err(EngineError::Refused { status: 404, .. }) => Ok(TagRemoval::Absent),
            Err(error) if error.is_gone() => Err(error),
            // Another job may remove the image at the same moment: the tag is gone then, as it should.
            Err(_) if matches!(self.inspect_image(&name).await, Ok(None)) => Ok(TagRemoval::Absent),
            Err(error) => Err(error),
        }
    }
}

fn digest_or_hex<'de, D: Deserializer<'de>>(from: D) -> Result<Digest, D::Error> {
    let text = String::deserialize(from)?;
    let text = if text.contains(':') { text } else { format!("sha256:{text}") };
    text.parse().map_err(D::Error::custom)
}

/// The names under which podman pulled an image. It lists the digest of its own manifest for each name, also of an image
/// that was never in a registry. Images that it builds have the host `localhost`, or the names of official images of
/// Docker Hub. Those are indexes, and podman lists two digests of an index: its own, and that of the image in it.
fn without_own_names(names: Vec<Reference>) -> Vec<Reference> {
    let digests: BTreeSet<_> = names.iter().map(|name| name.digest.clone()).collect();
    let is_own = |name: &Reference| {
        let (host, path) = (name.repository.host(), name.repository.path());
        let is_official = host == "docker.io" && path.starts_with("library/");
        host == "localhost" || is_official && digests.len() == 1
    };
    names.into_iter().filter(|name| !is_own(name)).collect()
}

impl Inspected {
    /// The check among the rest of the configuration, where Docker has it.
    fn with_healthcheck(mut self) -> Self {
        if let Some(check) = self.healthcheck.take().filter(|check| !check.is_null()) {
            self.config.get_or_insert_default().insert("Healthcheck".to_owned(), check);
        }
        self
    }

    /// The `HEALTHCHECK` that a container of it would run.
    pub(super) fn healthcheck(&self) -> Option<HealthConfig> {
        let check = self.config.as_ref()?.get("Healthcheck")?;
        let check = HealthConfig::deserialize(check).ok()?;
        let first = check.test.as_ref().and_then(|test| test.first());
        first.is_some_and(|first| first != "NONE").then_some(check)
    }

    /// Whether its containers write into other places than their own files.
    pub(super) fn has_volumes(&self) -> bool {
        let volumes = self.config.as_ref().and_then(|config| config.get("Volumes"));
        volumes.and_then(Value::as_object).is_some_and(|volumes| !volumes.is_empty())
    }

    /// A variable of the environment that the image gives its programs.
    pub(super) fn variable(&self, name: &str) -> Option<String> {
        let all = self.config.as_ref()?.get("Env")?.as_array()?;
        let mut pairs = all.iter().filter_map(Value::as_str).filter_map(|it| it.split_once('='));
        pairs.find(|(it, _)| *it == name).map(|(_, value)| value.to_owned())
    }

    fn unpacked_size(&self) -> Option<u64> {
        let manifests = self.manifests.iter().flatten();
        let images = manifests.filter_map(|manifest| manifest.image_data.as_ref());
        images.map(|image| image.size.unpacked).find(|size| *size > 0)
    }

    fn into_image(self) -> LocalImage {
        let unpacked = self.unpacked_size();
        let config = self.config.unwrap_or_default();
        let labels = config.get("Labels").and_then(Value::as_object);
        let label = |(name, value): (&String, &Value)| {
            value.as_str().map(|value| (name.clone(), value.to_owned()))
        };
        LocalImage {
            id: self.id,
            size: unpacked.unwrap_or(self.size),
            layers: self.root_fs.layers.unwrap_or_default(),
            labels: labels.into_iter().flatten().filter_map(label).collect(),
            config: config::canonical(&config, &self.os),
            tags: self.repo_tags.iter().flatten().filter_map(|name| tagged(name)).collect(),
            // `<none>@<none>` is no reference.
            repo_digests: self
                .repo_digests
                .iter()
                .flatten()
                .flat_map(|name| name.parse())
                .collect(),
            created: self.created.as_deref().and_then(created),
            platform: Platform {
                os: self.os,
                architecture: self.architecture,
                variant: self.variant.filter(|variant| !variant.is_empty()),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As podman 5.8 lists them.
    #[test]
    fn podman_lists_digests_of_images_that_were_never_in_a_registry() {
        let [one, two] = [b"one", b"two"].map(|text| Digest::of(text));
        let kept = |names: &[(&str, &Digest)]| {
            let names = names.iter().map(|(name, digest)| format!("{name}@{digest}"));
            let names = names.map(|name| name.parse().unwrap()).collect();
            let kept = without_own_names(names);
            kept.iter().map(|name| name.repository.to_string()).collect::<Vec<_>>().join(" ")
        };
        for (names, expected) in [
            (&[("docker.io/library/mine", &one), ("docker.io/library/named", &one)][..], ""),
            (&[("localhost/mine", &one)], ""),
            (&[("r.io:5000/base/os", &one)], "r.io:5000/base/os"),
            (&[("docker.io/acme/app", &one)], "docker.io/acme/app"),
            (
                &[("docker.io/library/debian", &one), ("docker.io/library/debian", &two)],
                "docker.io/library/debian docker.io/library/debian",
            ),
            (&[("docker.io/library/mine", &one), ("r.io/mine", &one)], "r.io/mine"),
        ] {
            assert_eq!(kept(names), expected, "{names:?}");
        }
    }
}
