//! Finds the images of a plan that jobs have stored, and what became of the others.
//!
//! A build tag proves that an image of these inputs was built and tested: by another job, or by a run on
//! a laptop. The tag of a child contains the digests of its parents, so it is looked for after theirs. Only an image
//! that is built in any case (`--from`, `--refresh`) may have an older image under its build tag: then the record of
//! its job decides.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    time::Duration,
};

use super::StageRecord;
use crate::{
    event::{Executed, Outcome, Phase, StepFailure},
    exit::Exit,
    fingerprint::Parents,
    hierarchy::{Hierarchy, NodeName},
    image::{Digest, Tagged},
    plan::{Action, PlanFile, PlannedImage, Reason},
    publish::store::{StoreError, Tags},
};

/// A plan, and what its jobs have recorded.
#[derive(Clone, Copy, Debug)]
pub struct Handover<'a> {
    pub hierarchy: &'a Hierarchy,
    pub file: &'a PlanFile,
    pub records: &'a BTreeMap<NodeName, StageRecord>,
}

/// The images of a plan that are stored, tested, under the digests that their children are built on.
pub type Staged = Parents;

impl Handover<'_> {
    /// Those among these nodes and their ancestors; of the whole plan without a set.
    pub async fn staged<S: Tags>(
        &self,
        store: &S,
        nodes: Option<&BTreeSet<NodeName>>,
    ) -> Result<Staged, StoreError> {
        let asked = nodes.map(|nodes| self.with_ancestors(nodes));
        let is_asked =
            |image: &&PlannedImage| asked.as_ref().is_none_or(|asked| asked.contains(&image.node));
        let mut waiting: Vec<&PlannedImage> = self.file.images.iter().filter(is_asked).collect();
        let mut staged = self.file.given.clone();
        loop {
            let (ready, rest): (Vec<_>, Vec<_>) =
                waiting.into_iter().partition(|image| self.parents(&image.node, &staged).is_some());
            if ready.is_empty() {
                return Ok(staged);
            }
            staged.extend(self.level(store, &ready, &staged).await?);
            waiting = rest;
        }
    }

    fn with_ancestors(&self, nodes: &BTreeSet<NodeName>) -> BTreeSet<NodeName> {
        let known = nodes.iter().filter(|name| self.hierarchy.get(name).is_some());
        let above = known.flat_map(|name| self.hierarchy.ancestors(name));
        above.map(|node| node.name.clone()).chain(nodes.iter().cloned()).collect()
    }

    /// The image of each parent; `None` if one is not stored yet.
    pub fn parents(&self, node: &NodeName, staged: &Staged) -> Option<Parents> {
        self.hierarchy.get(node)?;
        let digest = |name: &NodeName| Some((name.clone(), staged.get(name)?.clone()));
        self.hierarchy.parents(node).map(|parent| digest(&parent.name)).collect()
    }

    /// Images whose parents are stored.
    async fn level<S: Tags>(
        &self,
        store: &S,
        ready: &[&PlannedImage],
        staged: &Staged,
    ) -> Result<Staged, StoreError> {
        let mut tags: BTreeMap<&NodeName, Tagged> = BTreeMap::new();
        let mut found = Staged::new();
        for image in ready {
            let (Some(node), Some(parents)) =
                (self.hierarchy.get(&image.node), self.parents(&image.node, staged))
            else {
                continue;
            };
            match &image.action {
                Action::Keep { digest } | Action::Promote { digest } => {
                    found.insert(image.node.clone(), digest.clone());
                }
                Action::Build { .. } => {
                    let (again, planned) = image.build_tags(&parents);
                    tags.insert(&image.node, node.repository.tagged(again.unwrap_or(planned)));
                }
            }
        }
        let heads = store.heads(tags.values().cloned().collect()).await?;
        for image in ready {
            let Some(tag) = tags.get(&image.node) else { continue };
            if let Some(digest) = heads.get(tag) {
                found.insert(image.node.clone(), digest.clone());
            } else if matches!(image.action, Action::Build { again: Some(_), .. })
                && let Some(digest) = self.records.get(&image.node).and_then(StageRecord::digest)
                && store.has(&tag.repository, digest).await?
            {
                found.insert(image.node.clone(), digest.clone());
            }
        }
        Ok(found)
    }

    /// What became of every image of the plan, for the verdict on all tags.
    pub fn executed(&self, staged: &Staged) -> Executed {
        let mut executed = Executed::default();
        for image in &self.file.images {
            let (outcome, took) = self.outcome(image, staged, &executed.outcomes);
            if let Some(record) = self.record_of(image, staged) {
                if record.times.attempts > 1 {
                    executed.attempts.insert(image.node.clone(), record.times.attempts);
                }
                if let Some(node) = self.hierarchy.get(&image.node) {
                    executed.content_tags.insert(image.node.clone(), record.content_tags(node));
                }
                executed.built.insert(image.node.clone(), took);
            }
            executed.outcomes.insert(image.node.clone(), (outcome, took));
        }
        executed
    }

    /// The record that tells of the stored image.
    fn record_of(&self, image: &PlannedImage, staged: &Staged) -> Option<&StageRecord> {
        let digest = staged.get(&image.node)?;
        self.records.get(&image.node).filter(|record| record.digest() == Some(digest))
    }

    fn outcome(
        &self,
        image: &PlannedImage,
        staged: &Staged,
        before: &BTreeMap<NodeName, (Outcome, Duration)>,
    ) -> (Outcome, Duration) {
        let root: &Path = self.hierarchy.root();
        let digest = staged.get(&image.node).cloned();
        match &image.action {
            Action::Keep { digest } if matches!(image.reason, Reason::RolledBack { .. }) => {
                return (Outcome::Held { digest: digest.clone() }, Duration::ZERO);
            }
            Action::Keep { digest } => {
                return (Outcome::Kept { digest: digest.clone() }, Duration::ZERO);
            }
            Action::Promote { .. } | Action::Build { .. } => {}
        }
        if let Some(record) = self.record_of(image, staged) {
            return (record.outcome(root), record.took());
        }
        if let Some(digest) = digest {
            return (Outcome::Reused { digest }, Duration::ZERO);
        }
        let cause = |parent: &NodeName| match before.get(parent).map(|(outcome, _)| outcome) {
            Some(Outcome::Failed(_)) => Some(parent.clone()),
            Some(Outcome::Skipped { failed }) => failed.first().cloned(),
            _ => None,
        };
        if let Some(failed) = image.after.iter().find_map(cause) {
            return (Outcome::Skipped { failed: vec![failed] }, Duration::ZERO);
        }
        match self.records.get(&image.node) {
            Some(record) if record.has_failed() => (record.outcome(root), record.took()),
            Some(record) => {
                let job = record.job.shown().map_or(String::new(), |job| format!("\njob: {job}"));
                let message = format!("its job was stopped before the image was stored{job}");
                (lost(image, message), record.took())
            }
            None => {
                let message = "nothing is known of its job: it has not run, or it was killed before it wrote its record";
                (lost(image, message.to_owned()), Duration::ZERO)
            }
        }
    }

    /// Images that are not stored yet, and whose jobs have not failed.
    pub fn open(&self, staged: &Staged) -> Vec<NodeName> {
        let executed = self.executed(staged);
        let is_open = |node: &NodeName, outcome: &Outcome| {
            let failed = self.records.get(node).is_some_and(StageRecord::has_failed);
            matches!(outcome, Outcome::Failed(_)) && !failed
        };
        let outcomes = executed.outcomes.iter();
        let open = outcomes.filter(|(node, (outcome, _))| is_open(node, outcome));
        open.map(|(node, _)| node.clone()).collect()
    }
}

/// An image that is missing for an unknown reason.
fn lost(image: &PlannedImage, message: String) -> Outcome {
    Outcome::Failed(StepFailure {
        phase: Phase::Build,
        message,
        exit: Exit::BuildFailed,
        on_failure: image.on_failure,
        at: None,
        tail: Vec::new(),
        log: None,
        kept: None,
    })
}

/// Where the tags of an image are now, if they are where the plan wants them; else where the plan saw them. A tag
/// that somebody else moved is so a conflict, and a promotion that is repeated moves nothing.
pub fn present(planned: Option<&Digest>, now: Option<&Digest>, wanted: &Digest) -> Option<Digest> {
    if now == Some(wanted) { now.cloned() } else { planned.cloned() }
}
