//! Documents of pipelines in a registry: the plan that jobs execute, and a record of what each job did.
//!
//! A plan is under a tag that never moves. The record of an image is under one tag for each plan: a job that runs
//! again replaces it. Tags begin with the ULID of the plan, so `rebuild gc` knows their age.

use futures_util::{StreamExt as _, TryStreamExt as _, stream};

use super::{
    StoreError,
    artifact::{self, ArtifactKind},
    run_record,
};
use crate::{
    hierarchy::NodeName,
    image::{Digest, Repository, Tag, Tagged},
    registry::Client,
};

const PLAN_PREFIX: &str = "rb-plan-";
const STAGE_PREFIX: &str = "rb-stage-";
const PLAN: ArtifactKind = ArtifactKind {
    artifact: "application/vnd.rebuild.plan.v1",
    layer: "application/vnd.rebuild.plan.v1+json",
};
const STAGE: ArtifactKind = ArtifactKind {
    artifact: "application/vnd.rebuild.stage.v1",
    layer: "application/vnd.rebuild.stage.v1+json",
};
const READ_AT_ONCE: usize = 16;

/// Beside the records of runs.
#[derive(Clone, Debug)]
pub struct PipelineRecords {
    client: Client,
    runs: Repository,
}

impl PipelineRecords {
    /// `None` if the prefix is too long for a repository below it.
    pub fn new(client: Client, prefix: &Repository) -> Option<Self> {
        Some(Self { client, runs: run_record::repository(prefix)? })
    }

    pub async fn keep_plan(&self, plan: &str, text: &[u8]) -> Result<(), StoreError> {
        Ok(artifact::push(&self.client, &self.plan_tag(plan), (PLAN, text)).await?)
    }

    pub async fn plan(&self, plan: &str) -> Result<Option<Vec<u8>>, StoreError> {
        Ok(artifact::read(&self.client, &self.plan_tag(plan), PLAN).await?)
    }

    /// Stores what a job did with an image.
    pub async fn keep(&self, plan: &str, node: &NodeName, text: &[u8]) -> Result<(), StoreError> {
        Ok(artifact::push(&self.client, &self.stage_tag(plan, node), (STAGE, text)).await?)
    }

    /// The record of each of these images that has one.
    pub async fn read<'n>(
        &self,
        plan: &str,
        nodes: impl IntoIterator<Item = &'n NodeName>,
    ) -> Result<Vec<(NodeName, Vec<u8>)>, StoreError> {
        let tags: Vec<(NodeName, Tagged)> =
            nodes.into_iter().map(|node| (node.clone(), self.stage_tag(plan, node))).collect();
        let read = stream::iter(tags)
            .map(async |(node, tag)| {
                let text = artifact::read(&self.client, &tag, STAGE).await?;
                Ok::<_, StoreError>(text.map(|text| (node, text)))
            })
            .buffered(READ_AT_ONCE);
        read.try_filter_map(async |record| Ok(record)).try_collect().await
    }

    /// Every plan and every record, with the ULID of its plan.
    pub async fn all(&self) -> Result<Vec<(String, Tagged)>, StoreError> {
        let tags = self.client.tags(&self.runs).await?;
        let plan = |tag: &Tag| {
            let text = tag.as_str();
            let id = text.strip_prefix(PLAN_PREFIX).or_else(|| text.strip_prefix(STAGE_PREFIX))?;
            Some(id.split('-').next().unwrap_or_default().to_owned())
        };
        let known = tags.into_iter().filter_map(|tag| Some((plan(&tag)?, self.runs.tagged(tag))));
        Ok(known.collect())
    }

    pub async fn forget(&self, Tagged { repository, tag }: &Tagged) -> Result<(), StoreError> {
        if let Some(digest) = self.client.head(repository, tag.as_str()).await? {
            self.client.delete(repository, digest.as_str()).await?;
        }
        Ok(())
    }

    /// The ID of a plan is a run ID, which is valid in a tag.
    fn plan_tag(&self, plan: &str) -> Tagged {
        self.runs.tagged(format!("{PLAN_PREFIX}{plan}").parse().expect("a ULID makes a tag"))
    }

    /// The name of a node may contain a slash.
    fn stage_tag(&self, plan: &str, node: &NodeName) -> Tagged {
        let name = Digest::of(node.as_str().as_bytes());
        let tag = format!("{STAGE_PREFIX}{plan}-{}", name.short());
        self.runs.tagged(tag.parse().expect("a ULID and digits make a tag"))
    }
}
