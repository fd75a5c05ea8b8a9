//! The plan file: a plan that jobs on other machines execute, each job some of its images.
//!
//! **Invariant:** a file that was read is the one that `rebuild plan --out` wrote: its digest is checked.
//! **Invariant:** it contains digests of files and settings, and no value of a secret or a build argument.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Action, Members, Missing, Plan, Reason, Step, Upstream};
use crate::{
    fingerprint::{Detail, Epoch, Fingerprint, Inputs, Parents},
    hierarchy::{Hierarchy, Node, NodeName, OnFailure, TagTemplate, TagValues},
    image::{Digest, Platform, Repository, Tag, packages::PackageUpdate},
};

/// Increases when a field is removed or changes its meaning.
const VERSION: u32 = 1;
const DIGEST: &str = "digest";

/// A plan with everything that a job needs beside its checkout.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlanFile {
    pub v: u32,
    /// A lower-case ULID: it begins with the time of the plan.
    pub id: String,
    /// The checkout of the plan; `None` outside a git repository.
    pub commit: Option<PlanCommit>,
    /// The bytes of hierarchy.yaml. A message names it; the inputs of each image decide.
    pub hierarchy: Digest,
    pub registry: Repository,
    /// Of the engine that planned, for images without `platform`.
    pub platform: Platform,
    /// The flags that selected images.
    pub asked: String,
    /// What the placeholders in tags stand for, on whatever day a job runs.
    pub tag_values: TagValues,
    /// In build order.
    pub images: Vec<PlannedImage>,
    /// The published images of parents outside the plan.
    pub given: Parents,
    /// Each upstream as it is written in a Dockerfile: every job builds on these digests.
    pub upstreams: BTreeMap<String, Upstream>,
    pub missing: BTreeMap<String, Missing>,
}

/// The commit of a plan.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlanCommit {
    /// The full hash.
    pub commit: String,
    /// In seconds since 1970.
    pub committed: i64,
    /// Whether no file of the hierarchy's folder differed from it.
    pub is_clean: bool,
}

/// One image of a plan file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlannedImage {
    pub node: NodeName,
    #[serde(flatten)]
    pub action: Action,
    /// The sentence of `reason`.
    pub why: String,
    pub reason: Reason,
    pub after: Vec<NodeName>,
    pub on_failure: OnFailure,
    /// The build tag, if it is known before a parent is built.
    pub build_tag: Option<Tag>,
    /// What the entry in hierarchy.yaml says about publishing: repositories, tags, `on_failure`, `sign`.
    pub publishes: Digest,
    pub inputs: Inputs,
    pub detail: Detail,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub updates: Vec<PackageUpdate>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub checked: Option<Epoch>,
    /// The digests of its moving tags when the plan was made.
    pub moving: BTreeMap<Tag, Option<Digest>>,
    /// For an image with several platforms: its image in each index of `moving`.
    #[serde(default, skip_serializing_if = "Members::is_empty")]
    pub members: Members,
    pub published: Option<Digest>,
    pub has_new_base: bool,
    /// For reports.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base: Option<String>,
}

/// Why a plan file cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PlanFileError {
    #[error("it is not a plan: {0}")]
    Syntax(String),
    #[error("it has version {0}, and this program reads version {VERSION}")]
    Version(u64),
    #[error("it was changed after it was written")]
    Changed,
}

impl PlanFile {
    /// The plan of a hierarchy. The other fields are facts of the caller.
    pub fn new(hierarchy: &Hierarchy, plan: &Plan, facts: PlanFile) -> Self {
        let images = plan.steps.iter().filter_map(|step| {
            let node = hierarchy.get(&step.node)?;
            Some(PlannedImage::new(step, node, known_tag(hierarchy, plan, step)))
        });
        Self {
            images: images.collect(),
            given: plan.given.clone(),
            upstreams: plan.upstreams.clone(),
            missing: plan.missing.clone(),
            ..facts
        }
    }

    /// The fields that are not of the plan itself.
    pub fn facts(
        id: String,
        (registry, platform): (Repository, Platform),
        hierarchy: Digest,
        tag_values: TagValues,
    ) -> Self {
        Self {
            v: VERSION,
            id,
            commit: None,
            hierarchy,
            registry,
            platform,
            asked: String::new(),
            tag_values,
            images: Vec::new(),
            given: Parents::new(),
            upstreams: BTreeMap::new(),
            missing: BTreeMap::new(),
        }
    }

    /// The bytes of the file, which end with their own digest.
    pub fn written(&self) -> Vec<u8> {
        let mut document = self.document();
        let digest = digest(&document);
        document.insert(DIGEST.to_owned(), Value::String(digest.to_string()));
        let mut text = serde_json::to_vec_pretty(&document).expect("plain data is always JSON");
        text.push(b'\n');
        text
    }

    fn document(&self) -> serde_json::Map<String, Value> {
        match serde_json::to_value(self) {
            Ok(Value::Object(document)) => document,
            _ => unreachable!("a struct of plain data is a JSON object"),
        }
    }

    /// Parses the bytes of [`written`](Self::written).
    pub fn read(text: &[u8]) -> Result<Self, PlanFileError> {
        let syntax = |error: serde_json::Error| PlanFileError::Syntax(error.to_string());
        let mut document: serde_json::Map<String, Value> =
            serde_json::from_slice(text).map_err(syntax)?;
        match document.get("v").and_then(Value::as_u64) {
            Some(version) if version == u64::from(VERSION) => {}
            Some(version) => return Err(PlanFileError::Version(version)),
            None => return Err(PlanFileError::Syntax("the field `v` is missing".to_owned())),
        }
        let written = document.remove(DIGEST);
        if written.as_ref().and_then(Value::as_str) != Some(digest(&document).as_str()) {
            return Err(PlanFileError::Changed);
        }
        serde_json::from_value(Value::Object(document)).map_err(syntax)
    }

    pub fn image(&self, node: &NodeName) -> Option<&PlannedImage> {
        self.images.iter().find(|image| image.node == *node)
    }

    /// The images that jobs build.
    pub fn builds(&self) -> impl Iterator<Item = &PlannedImage> {
        self.images.iter().filter(|image| matches!(image.action, Action::Build { .. }))
    }

    /// Whether there is nothing to build and nothing to promote.
    pub fn is_empty(&self) -> bool {
        self.images.iter().all(|image| matches!(image.action, Action::Keep { .. }))
    }

    /// The whole plan.
    pub fn plan(&self) -> Plan {
        Plan {
            steps: self.images.iter().map(PlannedImage::step).collect(),
            given: self.given.clone(),
            upstreams: self.upstreams.clone(),
            missing: self.missing.clone(),
        }
    }

    /// The plan of a job that builds these images on the given images of their other parents.
    pub fn plan_of(&self, nodes: &BTreeSet<NodeName>, given: Parents) -> Plan {
        Plan { given, ..self.plan().narrowed(nodes) }
    }
}

impl PlannedImage {
    fn new(step: &Step, node: &Node, build_tag: Option<Tag>) -> Self {
        Self {
            node: step.node.clone(),
            action: step.action.clone(),
            why: step.reason.to_string(),
            reason: step.reason.clone(),
            after: step.after.clone(),
            on_failure: node.on_failure,
            build_tag,
            publishes: publishes(node),
            inputs: step.inputs.clone(),
            detail: step.detail.clone(),
            updates: step.updates.clone(),
            checked: step.checked,
            moving: step.moving.clone(),
            members: step.members.clone(),
            published: step.published.clone(),
            has_new_base: step.has_new_base,
            base: step.base.clone(),
        }
    }

    fn step(&self) -> Step {
        Step {
            node: self.node.clone(),
            action: self.action.clone(),
            reason: self.reason.clone(),
            after: self.after.clone(),
            inputs: self.inputs.clone(),
            detail: self.detail.clone(),
            updates: self.updates.clone(),
            checked: self.checked,
            moving: self.moving.clone(),
            members: self.members.clone(),
            published: self.published.clone(),
            has_new_base: self.has_new_base,
            base: self.base.clone(),
        }
    }

    /// Whether the entry in hierarchy.yaml publishes the image in the same way as when the plan was made.
    pub fn is_published_as(&self, node: &Node) -> bool {
        self.publishes == publishes(node)
    }

    /// The build tag under which a job stores it on these parents. An image that is built in any case gets a new
    /// epoch if an image of its inputs exists already.
    pub fn build_tags(&self, parents: &Parents) -> (Option<Tag>, Tag) {
        let tag = |inputs: &Inputs| inputs.fingerprint(parents).build_tag();
        let again = match self.action {
            Action::Build { again: Some(epoch), .. } => {
                Some(tag(&Inputs { epoch: Some(epoch), ..self.inputs.clone() }))
            }
            _ => None,
        };
        (again, tag(&self.inputs))
    }
}

/// A tag that depends on no image that is still to be built.
fn known_tag(hierarchy: &Hierarchy, plan: &Plan, step: &Step) -> Option<Tag> {
    let digest = |parent: &Node| match plan.step(&parent.name).map(|step| &step.action) {
        Some(Action::Keep { digest } | Action::Promote { digest }) => Some(digest.clone()),
        Some(Action::Build { .. }) => None,
        None => plan.given.get(&parent.name).cloned(),
    };
    let parents = hierarchy.parents(&step.node);
    let parents: Option<Parents> =
        parents.map(|parent| Some((parent.name.clone(), digest(parent)?))).collect();
    parents.map(|parents| step.inputs.fingerprint(&parents)).map(|it: Fingerprint| it.build_tag())
}

fn publishes(node: &Node) -> Digest {
    let tags: Vec<String> = node.tags.iter().map(TagTemplate::to_string).collect();
    let all = (&node.repository, &node.destinations, tags, node.on_failure, &node.sign);
    Digest::of(&serde_json::to_vec(&all).expect("plain data is always JSON"))
}

/// Keys are sorted, so that equal documents have equal bytes.
fn digest(document: &serde_json::Map<String, Value>) -> Digest {
    Digest::of(&serde_json::to_vec(document).expect("plain data is always JSON"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        plan::Selection,
        testing::scenario::{names, scenario},
    };

    async fn file(selection: &Selection) -> PlanFile {
        let stack = scenario("os\nweb < os\napp < web : on_failure=hold\ntool < os");
        let values = TagValues { date: "20261130".to_owned(), git: None };
        let facts = PlanFile::facts(
            "01".to_owned(),
            ("r.example.com/base".parse().unwrap(), "linux/amd64".parse().unwrap()),
            Digest::of(b"file"),
            values,
        );
        PlanFile::new(&stack.hierarchy(), &stack.plan(selection).await, facts)
    }

    #[tokio::test(start_paused = true)]
    async fn it_reads_what_it_writes_and_nothing_else() {
        for selection in [Selection::OutOfDate, Selection::From(names(&["os"]))] {
            let file = file(&selection).await;
            let text = file.written();
            assert_eq!(PlanFile::read(&text), Ok(file.clone()));
            assert_eq!(file.images.len(), 4);
            let text = String::from_utf8(text).unwrap();
            let edited = text.replace("\"on_failure\": \"block\"", "\"on_failure\": \"optional\"");
            assert_ne!(edited, text);
            assert_eq!(PlanFile::read(edited.as_bytes()), Err(PlanFileError::Changed));
            let newer = text.replace("\"v\": 1", "\"v\": 2");
            assert_eq!(PlanFile::read(newer.as_bytes()), Err(PlanFileError::Version(2)));
            for length in [0, 1, text.len() / 2, text.len() - 2] {
                let cut = PlanFile::read(&text.as_bytes()[..length]);
                assert!(matches!(cut, Err(PlanFileError::Syntax(_))), "{length}: {cut:?}");
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn only_the_tag_of_an_image_on_known_parents_is_known() {
        let file = file(&Selection::OutOfDate).await;
        let known = |image: &PlannedImage| (image.node.to_string(), image.build_tag.is_some());
        let known: Vec<(String, bool)> = file.images.iter().map(known).collect();
        let expected = [("os", true), ("web", false), ("app", false), ("tool", false)];
        assert_eq!(known, expected.map(|(node, is_known)| (node.to_owned(), is_known)));
    }

    #[tokio::test(start_paused = true)]
    async fn a_job_gets_its_images_and_the_parents_of_others() {
        let file = file(&Selection::OutOfDate).await;
        let given = Parents::from([("os".into(), Digest::of(b"os"))]);
        let plan = file.plan_of(&names(&["web", "app"]), given.clone());
        let steps: Vec<(String, Vec<NodeName>)> =
            plan.steps.iter().map(|step| (step.node.to_string(), step.after.clone())).collect();
        assert_eq!(steps, [("web".to_owned(), vec![]), ("app".to_owned(), vec!["web".into()])]);
        assert_eq!(plan.given, given);
        assert_eq!(file.plan().steps.len(), 4);
    }
}
