//! Records of runs in a registry, with which other machines can list and undo promotions.
//!
//! A record is an OCI artifact with one layer, the journal of the run. A run writes one at the commit point
//! and another at its end, each under a tag that never moves.

use std::collections::BTreeSet;

use futures_util::{StreamExt as _, TryStreamExt as _, stream};

use super::artifact::{self, ArtifactKind};
use crate::{
    image::{Repository, Tag, Tagged},
    registry::{Client, RegistryError},
};

/// The repository below the prefix of the hierarchy.
const REPOSITORY: &str = "rebuild-runs";
const PREFIX: &str = "rb-run-";
const ENDED: &str = "-end";
/// The layer contains lines of JSON.
const KIND: ArtifactKind = ArtifactKind {
    artifact: "application/vnd.rebuild.run.v1",
    layer: "application/vnd.rebuild.run.v1.jsonl",
};
const READ_AT_ONCE: usize = 8;

/// A run that has a record in a registry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recorded {
    pub run: String,
    /// The last record first.
    pub tags: Vec<Tagged>,
}

impl Recorded {
    pub(super) fn has_ended(&self) -> bool {
        self.tags.iter().any(|tag| tag.tag.as_str().ends_with(ENDED))
    }
}

/// The point of a run at which a record is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecordStage {
    Committed,
    Ended,
}

impl RecordStage {
    /// A run's ID is a lower-case ULID, which is valid in a tag.
    pub(super) fn tag(self, runs: &Repository, run: &str) -> Option<Tagged> {
        let end = if self == Self::Ended { ENDED } else { "" };
        let tag = format!("{PREFIX}{run}{end}").parse().ok()?;
        Some(runs.tagged(tag))
    }
}

/// `None` if the prefix is too long for a repository below it.
pub(super) fn repository(prefix: &Repository) -> Option<Repository> {
    format!("{prefix}/{REPOSITORY}").parse().ok()
}

pub(super) async fn push(client: &Client, tag: &Tagged, text: &[u8]) -> Result<(), RegistryError> {
    artifact::push(client, tag, (KIND, text)).await
}

/// Every run that has a record, the newest first.
pub(super) async fn all(
    client: &Client,
    runs: &Repository,
) -> Result<Vec<Recorded>, RegistryError> {
    let tags = client.tags(runs).await?;
    // In descending order of names: the newest run first, and for each run the end before the beginning.
    let tags: BTreeSet<Tag> =
        tags.into_iter().filter(|tag| tag.as_str().starts_with(PREFIX)).collect();
    let mut all: Vec<Recorded> = Vec::new();
    for tag in tags.into_iter().rev() {
        let (run, tag) = (run_of(&tag).to_owned(), runs.tagged(tag));
        match all.last_mut() {
            Some(last) if last.run == run => last.tags.push(tag),
            _ => all.push(Recorded { run, tags: vec![tag] }),
        }
    }
    Ok(all)
}

/// The last record of each run. Skips records that were deleted or have an unknown format.
pub(super) async fn newest(
    client: &Client,
    runs: &Repository,
    newest: usize,
) -> Result<Vec<Vec<u8>>, RegistryError> {
    let all = all(client, runs).await?;
    let records = stream::iter(all.into_iter().take(newest))
        .map(async |run| read(client, &run).await)
        .buffered(READ_AT_ONCE);
    records.try_filter_map(async |record| Ok(record)).try_collect().await
}

/// Deletes the first record first, so that a partial deletion leaves the end of the run.
pub(super) async fn forget(client: &Client, run: &Recorded) -> Result<(), RegistryError> {
    for Tagged { repository, tag } in run.tags.iter().rev() {
        if let Some(digest) = client.head(repository, tag.as_str()).await? {
            client.delete(repository, digest.as_str()).await?;
        }
    }
    Ok(())
}

fn run_of(tag: &Tag) -> &str {
    let run = tag.as_str().strip_prefix(PREFIX).unwrap_or_default();
    run.strip_suffix(ENDED).unwrap_or(run)
}

/// The last record of a run.
pub(super) async fn read(
    client: &Client,
    run: &Recorded,
) -> Result<Option<Vec<u8>>, RegistryError> {
    let Some(tag) = run.tags.first() else { return Ok(None) };
    artifact::read(client, tag, KIND).await
}
