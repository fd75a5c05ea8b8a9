//! What the engine knows of images, and their tags.

use std::collections::BTreeMap;

use bollard::{
    errors::Error,
    query_parameters::{ListImagesOptions, RemoveImageOptions, TagImageOptionsBuilder},
};
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::{Map, Value};

use super::{Docker, config};
use crate::{
    engine::{EngineError, LocalImage},
    image::{Digest, Platform, Reference, Tagged},
};

/// What we read of `GET /images/{name}/json`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Inspected {
    id: Digest,
    #[serde(default)]
    size: u64,
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
    root_fs: RootFs,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct RootFs {
    #[serde(default)]
    layers: Option<Vec<Digest>>,
}

/// Reads the time at which an image was built. One without time says year 1 or 1970.
pub fn created(text: &str) -> Option<Timestamp> {
    text.parse::<Timestamp>().ok().filter(|time| time.as_second() > 0)
}

impl Docker {
    pub(super) async fn inspect_image(
        &self,
        name: &str,
    ) -> Result<Option<LocalImage>, EngineError> {
        Ok(self.inspect_raw(name).await?.map(Inspected::into_image))
    }

    pub(super) async fn inspect_raw(&self, name: &str) -> Result<Option<Inspected>, EngineError> {
        let doing = format!("looking at the image `{name}`");
        self.get_json_if_any(&doing, &format!("/images/{name}/json")).await
    }

    pub(super) async fn list_tags(&self) -> Result<BTreeMap<Tagged, Digest>, EngineError> {
        let images = self.api.list_images(None::<ListImagesOptions>).await;
        let images = images.map_err(|error| self.answer("listing images", error))?;
        let mut tags = BTreeMap::new();
        for image in images {
            // `<none>:<none>` is no reference, and an ID that is no digest names no image of ours.
            let Ok(id) = image.id.parse::<Digest>() else { continue };
            for name in image.repo_tags {
                if let Ok(Reference { repository, tag: Some(tag), digest: None }) = name.parse() {
                    tags.insert(repository.tagged(tag), id.clone());
                }
            }
        }
        Ok(tags)
    }

    pub(super) async fn tag_image(&self, image: &Digest, name: &Tagged) -> Result<(), EngineError> {
        let options = TagImageOptionsBuilder::default()
            .repo(name.repository.as_str())
            .tag(name.tag.as_str())
            .build();
        // The engine may set it after we stop waiting, so that this goes on as a task: whoever takes
        // the tag away waits for it.
        let (api, image) = (self.api.clone(), image.to_string());
        let tagging = async move { api.tag_image(&image, Some(options)).await };
        let lost = |_| Error::IOError { err: std::io::Error::other("the tagging was lost") };
        let tagged = self.pending.spawn(tagging).await.map_err(lost).flatten();
        tagged.map_err(|error| self.answer(&format!("tagging `{name}`"), error))
    }

    /// Not before whatever is pending is done: a tag that is just being set would come back, and an
    /// image does not lose its last name while a container of it is being removed.
    pub(super) async fn untag_image(&self, name: &Tagged) -> Result<(), EngineError> {
        self.quiesce().await;
        let removed =
            self.api.remove_image(&name.to_string(), None::<RemoveImageOptions>, None).await;
        match removed {
            Ok(_) | Err(Error::DockerResponseServerError { status_code: 404, .. }) => Ok(()),
            // Removing the image fails if another job removes one that shares its parents at the same
            // moment ("unrecognized image ID"); the tag is gone by then, and that is what we want.
            Err(_) if matches!(self.inspect_image(&name.to_string()).await, Ok(None)) => Ok(()),
            Err(error) => Err(self.answer(&format!("taking the tag `{name}` away"), error)),
        }
    }
}

impl Inspected {
    /// Whether a container of it would have a `HEALTHCHECK` to run.
    pub(super) fn has_healthcheck(&self) -> bool {
        let check = self.config.as_ref().and_then(|config| config.get("Healthcheck"));
        let test = check.and_then(|check| check.get("Test")).and_then(Value::as_array);
        test.is_some_and(|test| test.first().is_some_and(|first| first != "NONE"))
    }

    fn into_image(self) -> LocalImage {
        let config = self.config.unwrap_or_default();
        let labels = config.get("Labels").and_then(Value::as_object);
        let label = |(name, value): (&String, &Value)| {
            value.as_str().map(|value| (name.clone(), value.to_owned()))
        };
        LocalImage {
            id: self.id,
            size: self.size,
            layers: self.root_fs.layers.unwrap_or_default(),
            labels: labels.into_iter().flatten().filter_map(label).collect(),
            config: config::canonical(&config, &self.os),
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
