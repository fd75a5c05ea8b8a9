//! Files of an image, read from a container that is never started.

use std::{collections::BTreeMap, io::Read as _};

use bollard::{models::ContainerCreateBody, query_parameters::DownloadFromContainerOptionsBuilder};
use futures_util::StreamExt as _;

use super::{
    Docker,
    container::{Container, RUN_LABEL, no_healthcheck},
};
use crate::{engine::EngineError, image::Digest};

const DOING: &str = "reading files of an image";
/// The package database of a desktop has 5 MB.
const MOST: usize = 64 << 20;
/// Of links to links, as Linux has it.
const MOST_LINKS: usize = 40;

/// What is at a path of an image.
enum Found {
    Nothing,
    Files(Vec<u8>),
    /// The path that a link names.
    Link(String),
}

impl Docker {
    pub(super) async fn read_image_files(
        &self,
        image: &Digest,
        paths: &[String],
        run: &str,
    ) -> Result<BTreeMap<String, Vec<u8>>, EngineError> {
        let body = ContainerCreateBody {
            image: Some(image.to_string()),
            // An image without a command is refused otherwise.
            entrypoint: Some(vec!["/never-started".to_owned()]),
            healthcheck: Some(no_healthcheck()),
            labels: Some([(RUN_LABEL.to_owned(), run.to_owned())].into()),
            ..Default::default()
        };
        let container = Container::create(self, body).await?;
        let result = self.read_files_in(&container.id, paths).await;
        container.remove_after(&result).await;
        result
    }

    async fn read_files_in(
        &self,
        container: &str,
        paths: &[String],
    ) -> Result<BTreeMap<String, Vec<u8>>, EngineError> {
        let mut files = BTreeMap::new();
        for path in paths {
            let mut at = path.clone();
            for _ in 0..MOST_LINKS {
                match self.patiently(DOING, self.read_path(container, &at)).await? {
                    Found::Nothing => break,
                    Found::Files(content) => {
                        files.insert(path.clone(), content);
                        break;
                    }
                    Found::Link(target) if target.starts_with('/') => at = target,
                    Found::Link(target) => {
                        let folder = at.rsplit_once('/').map_or("", |(folder, _)| folder);
                        at = format!("{folder}/{target}");
                    }
                }
            }
        }
        Ok(files)
    }

    async fn read_path(&self, container: &str, path: &str) -> Result<Found, EngineError> {
        let options = DownloadFromContainerOptionsBuilder::default().path(path).build();
        let mut pieces = std::pin::pin!(self.api.download_from_container(container, Some(options)));
        let mut archive = Vec::new();
        while let Some(piece) = pieces.next().await {
            match piece.map_err(|error| self.answer(DOING, error)) {
                Ok(piece) => archive.extend_from_slice(&piece),
                Err(EngineError::Refused { status: 404, .. }) => return Ok(Found::Nothing),
                Err(error) => return Err(error),
            }
            if archive.len() > MOST {
                return Err(wrong(format!("`{path}` has more than {} MiB", MOST >> 20)));
            }
        }
        unpacked(&archive).map_err(|error| wrong(error.to_string()))
    }
}

fn unpacked(archive: &[u8]) -> std::io::Result<Found> {
    let mut content = None;
    for entry in tar::Archive::new(archive).entries()? {
        let mut entry = entry?;
        let kind = entry.header().entry_type();
        if kind.is_symlink() && content.is_none() {
            let target = entry.link_name_bytes().unwrap_or_default();
            return Ok(Found::Link(String::from_utf8_lossy(&target).into_owned()));
        }
        let content = content.get_or_insert_with(Vec::new);
        if kind.is_file() {
            if !content.is_empty() {
                content.extend_from_slice(b"\n\n");
            }
            entry.read_to_end(content)?;
        }
    }
    Ok(content.map_or(Found::Nothing, Found::Files))
}

fn wrong(message: String) -> EngineError {
    EngineError::Answer { doing: DOING.to_owned(), message }
}
