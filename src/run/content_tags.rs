//! Reads the tags of an image that name something in it: `{version:curl}`, `{label:NAME}`, `{file:/path}`.
//!
//! **Invariant:** an image whose tags cannot be made fails before it is stored.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use super::{
    attempts::StepRetry,
    step::{Done, Work},
    step_events::Tell,
    trouble::Trouble,
};
use crate::{
    engine::{Engine, EngineError, ImageCommand, LocalImage, Network},
    event::{ContentTag, ContentTags, Phase},
    exit::Exit,
    fingerprint::BuiltFrom,
    hierarchy::{TagContent, TagContents, TagTemplate},
    image::{Digest, packages::DatabaseFormat},
    publish::store::Store,
};

const DPKG: [&str; 2] = ["/var/lib/dpkg/status", "/var/lib/dpkg/status.d"];
const APK: [&str; 2] = ["/lib/apk/db/installed", "/usr/lib/apk/db/installed"];
/// The databases of rpm are binary, and rpm itself reads them in a second.
const RPM_LIMIT: Duration = Duration::from_secs(60);

impl<E: Engine, S: Store> Work<'_, E, S> {
    /// Reads the tags from the candidate, once.
    pub(super) async fn read_tags(
        &self,
        done: &mut Done,
        record: &BuiltFrom,
        tell: &mut Tell,
    ) -> Result<(), Trouble> {
        let Some(candidate) = done.candidate.as_ref().filter(|_| done.content_tags.is_none())
        else {
            return Ok(());
        };
        done.content_tags = Some(self.tags_in(&candidate.image, record, tell).await?);
        Ok(())
    }

    /// Reads the tags from the image that was already stored.
    pub(super) async fn read_stored_tags(
        &self,
        done: &mut Done,
        (digest, record): (&Digest, &BuiltFrom),
        tell: &mut Tell,
    ) -> Result<(), Trouble> {
        if self.templates().next().is_none() {
            return Ok(());
        }
        let image = self.bases.image(&self.node().name, digest, &self.shop.base_sources()).await;
        let image = self.inspect(&image.map_err(|error| Trouble::of_base(&error))?).await?;
        done.content_tags = Some(self.tags_in(&image, record, tell).await?);
        Ok(())
    }

    fn templates(&self) -> impl Iterator<Item = &TagTemplate> {
        self.node().tags.iter().filter(|template| template.contents().next().is_some())
    }

    async fn tags_in(
        &self,
        image: &LocalImage,
        record: &BuiltFrom,
        tell: &mut Tell,
    ) -> Result<ContentTags, Trouble> {
        let named: BTreeSet<TagContent> =
            self.templates().flat_map(TagTemplate::contents).collect();
        if named.is_empty() {
            return Ok(ContentTags::new());
        }
        tell.phase(Phase::Tags);
        let contents = self.contents(image, named).await?;
        let mut tags = ContentTags::new();
        for template in self.templates() {
            let (name, fingerprint) = (self.node().name.image(), record.fingerprint.hex());
            let tag = template
                .expand_of(&self.shop.tag_values, (name, fingerprint), &contents)
                .map_err(|error| failed(format!("the tag `{template}`: {error}")))?;
            let tagged = self.node().repository.tagged(tag.clone());
            let from = self.shop.store.head(&tagged).await;
            let from = from.map_err(|error| Trouble::of_store(Phase::Tags, &error))?;
            tags.insert(template.clone(), ContentTag { tag, from });
        }
        Ok(tags)
    }

    async fn contents(
        &self,
        image: &LocalImage,
        named: BTreeSet<TagContent>,
    ) -> Result<TagContents, Trouble> {
        let mut paths: Vec<String> = Vec::new();
        for content in &named {
            match content {
                TagContent::File(path) => paths.push(path.clone()),
                TagContent::Version(_) => {
                    paths.extend(DPKG.into_iter().chain(APK).map(str::to_owned));
                }
                TagContent::Label(_) => {}
            }
        }
        paths.sort();
        paths.dedup();
        let files = if paths.is_empty() {
            BTreeMap::new()
        } else {
            let files = self.shop.engine.files(&image.id, &paths, &self.shop.run.id).await;
            files.map_err(of_engine)?
        };
        let mut contents = TagContents::new();
        for content in named {
            let value = match &content {
                TagContent::Label(name) => match image.labels.get(name) {
                    Some(value) => value.trim().to_owned(),
                    None => return Err(failed(format!("the image has no label `{name}`"))),
                },
                TagContent::File(path) => match files.get(path) {
                    Some(text) => String::from_utf8_lossy(text).trim().to_owned(),
                    None => return Err(failed(format!("the image has no file `{path}`"))),
                },
                TagContent::Version(package) => match version(package, &files) {
                    Some(version) => version,
                    None => self.rpm_version(package, image).await?,
                },
            };
            contents.insert(content, value);
        }
        Ok(contents)
    }

    /// Asks the image's own rpm.
    async fn rpm_version(&self, package: &str, image: &LocalImage) -> Result<String, Trouble> {
        let argv = ["rpm", "-q", "--qf", "%{VERSION}\n", "--", package].map(str::to_owned).into();
        let probe = ImageCommand { argv, network: Network::None, timeout: RPM_LIMIT };
        let lacking = || failed(format!("the image has no package `{package}` (dpkg, apk or rpm)"));
        let printed = match self.shop.engine.probe(&image.id, &probe, &self.shop.run.id).await {
            Err(error) if error.is_gone() => return Err(of_engine(error)),
            // An error: the image has no rpm, so the container does not start.
            printed => printed.ok().filter(|printed| printed.exit_code == 0).ok_or_else(lacking)?,
        };
        let text = String::from_utf8_lossy(&printed.stdout);
        Ok(text.lines().next().map(as_tag).unwrap_or_default())
    }
}

/// The version of a package in the first database that lists it.
fn version(package: &str, files: &BTreeMap<String, Vec<u8>>) -> Option<String> {
    let dpkg = DPKG.into_iter().map(|path| (path, DatabaseFormat::Dpkg));
    let apk = APK.into_iter().map(|path| (path, DatabaseFormat::Apk));
    dpkg.chain(apk).find_map(|(path, format)| {
        let text = String::from_utf8_lossy(files.get(path)?);
        let mut entries = format.entries(&text);
        let found = entries.find(|entry| entry.name == package)?;
        Some(as_tag(format.upstream(found.version)))
    })
}

/// A version with `-` for each character that a tag cannot have, such as `+` and `~`.
fn as_tag(version: &str) -> String {
    let is_good = |c: char| c.is_ascii_alphanumeric() || "_.-".contains(c);
    version.trim().chars().map(|c| if is_good(c) { c } else { '-' }).collect()
}

fn failed(message: String) -> Trouble {
    let (phase, exit, again) = (Phase::Tags, Exit::TestFailed, StepRetry::Never);
    Trouble { phase, message, exit, step: None, again }
}

fn of_engine(error: EngineError) -> Trouble {
    Trouble { phase: Phase::Tags, ..Trouble::of_build(error) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_found_in_each_database() {
        let files = |path: &str, text: &str| BTreeMap::from([(path.to_owned(), text.into())]);
        let dpkg = "Package: curl\nStatus: deinstall ok config-files\nVersion: 1\n\n\
                    Package: curl\nStatus: install ok installed\nVersion: 1:7.88.1+dfsg~rc1-10+deb12u5\n";
        let apk = "C:Q1x=\nP:curl\nV:8.5.0-r0\n\nP:make\nV:4\n";
        for (path, text, expected) in [
            (DPKG[0], dpkg, Some("7.88.1-dfsg-rc1")),
            (DPKG[1], "Package: tzdata\nVersion: 2024a\n\n\nPackage: curl\nVersion: 8", Some("8")),
            (APK[0], apk, Some("8.5.0")),
            (APK[1], apk, Some("8.5.0")),
            (APK[1], "P:curl-dev\nV:1\n", None),
        ] {
            assert_eq!(version("curl", &files(path, text)).as_deref(), expected, "{path}");
        }
    }
}
