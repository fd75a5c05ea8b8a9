//! A plan as the pipeline of a CI system: which jobs there are, and which waits for which.
//!
//! Each job builds one image, or a chain of images, with `rebuild stage`. The last job moves all tags with
//! `rebuild promote`. Jobs hand images over through build tags in the registry, so no file is passed between them.
//!
//! **Invariant:** pure: a plan in, text out. **Invariant:** no value of a secret is in the text.

mod argo;
mod github;
mod gitlab;
mod kubernetes;
mod job_names;
mod kubernetes_jobs;
mod limits;
mod preview;
mod simulation;
mod tekton;
mod variables;
mod yaml;

use std::{
    collections::{BTreeMap, BTreeSet},
    num::NonZeroUsize,
    time::Duration,
};

pub use self::{
    limits::LimitNote,
    preview::preview,
    simulation::{SimulatedEnd, SimulatedJob, SimulationSetup, simulate},
};
use crate::{
    hierarchy::{Hierarchy, Node, NodeName, Runners},
    image::Platform,
    plan::{Action, PlanFile, order::History},
};

/// The time that a job needs beside its builds: to start, to pull bases, to push.
const AROUND_A_JOB: Duration = Duration::from_secs(10 * 60);
/// How often a job that cannot reach its engine or the registry tries again.
const RETRIES: usize = 2;

/// A CI system.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CiSystem {
    GitHub,
    GitLab,
    Argo,
    Tekton,
    /// Kubernetes Jobs.
    Jobs,
}

/// What the command line says about the jobs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExportOptions {
    /// How jobs call `rebuild`, as a shell would read it.
    pub rebuild: String,
    /// Shell lines before it: installing, logging in.
    pub setup: Vec<String>,
    /// The runner of each platform; that of `None` is the default.
    pub runners: Runners,
    pub merge_chains: bool,
    /// How many jobs run at once; as many as there are runners if not given.
    pub max_parallel: Option<NonZeroUsize>,
    /// The image of the jobs, for systems whose jobs are containers.
    pub image: String,
    /// The address of an engine; without it, each pod has one of its own.
    pub docker_host: Option<String>,
    /// Where pods clone the checkout from.
    pub repository: Option<String>,
    /// Whether the checkout has submodules.
    pub submodules: bool,
    /// The path of the file, for a workflow that runs when it changes.
    pub path: String,
}

/// A plan as jobs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pipeline {
    /// The ID of the plan, by which jobs find it in the registry.
    pub plan: String,
    pub registry: String,
    /// The commit of the plan.
    pub commit: Option<String>,
    /// For a comment: the flags that selected images, the commit, the time.
    pub about: Vec<String>,
    /// Each job after the jobs that it waits for.
    pub jobs: Vec<PipelineJob>,
    /// Images whose tags move without a build.
    pub promoted: usize,
    /// The longest that the last job takes.
    pub promote_timeout: Duration,
    /// The variables with addresses and tokens of `notify`, which the last job needs.
    pub notify: BTreeSet<String>,
}

/// One job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PipelineJob {
    /// A name that every system accepts.
    pub id: String,
    /// In build order: each after the first is based on the one before.
    pub nodes: Vec<NodeName>,
    /// The indexes of the jobs that it waits for.
    pub needs: Vec<usize>,
    /// 0 for a job that waits for none; else one more than the highest of those.
    pub level: usize,
    pub platform: Option<Platform>,
    /// The runner's label; `None` for the default of the system.
    pub runner: Option<String>,
    pub timeout: Duration,
    /// From the history; `None` if one of its images was never built.
    pub expected: Option<Duration>,
    /// Its failure leaves the pipeline successful, and no job waits for it.
    pub may_fail: bool,
    /// The variables with the secrets of its builds.
    pub secrets: BTreeSet<String>,
}

impl Pipeline {
    pub fn new(
        file: &PlanFile,
        (hierarchy, history): (&Hierarchy, &History),
        options: &ExportOptions,
    ) -> Self {
        let needs_job = |node: &NodeName| {
            let image = file.image(node);
            let has_contents =
                |node: &Node| node.tags.iter().any(|tag| tag.contents().next().is_some());
            image.is_some_and(|image| match image.action {
                Action::Build { .. } => true,
                // Its tags name something in it, which takes an engine to read.
                Action::Promote { .. } => hierarchy.get(node).is_some_and(has_contents),
                Action::Keep { .. } => false,
            })
        };
        let built: Vec<&Node> = file
            .images
            .iter()
            .filter(|image| needs_job(&image.node))
            .filter_map(|image| hierarchy.get(&image.node))
            .collect();
        let groups = if options.merge_chains {
            chains(hierarchy, &built, options)
        } else {
            built.iter().map(|node| vec![*node]).collect()
        };
        let jobs = jobs(hierarchy, &groups, (history, options));
        let is_promoted = |node: &NodeName, action: &Action| {
            matches!(action, Action::Promote { .. }) && !needs_job(node)
        };
        let promoted = file.images.iter();
        let promoted = promoted.filter(|image| is_promoted(&image.node, &image.action)).count();
        let commit = file.commit.as_ref();
        let mut about = Vec::new();
        if let Some(commit) = commit {
            let dirty = if commit.is_clean { "" } else { ", with uncommitted changes" };
            about.push(format!("commit {}{dirty}", commit.commit));
        }
        about.push(match file.asked.as_str() {
            "" => "everything that is out of date".to_owned(),
            flags => format!("rebuild {flags}"),
        });
        Self {
            plan: file.id.clone(),
            registry: file.registry.to_string(),
            commit: commit.map(|commit| commit.commit.clone()),
            about,
            promoted,
            promote_timeout: AROUND_A_JOB * 3,
            notify: variables::of_notify(hierarchy),
            jobs,
        }
    }

    /// The variables of the environment that some job needs.
    pub fn variables(&self) -> BTreeSet<String> {
        let secrets = self.jobs.iter().flat_map(|job| &job.secrets);
        secrets.chain(self.notify.iter().filter(|_| !self.is_empty())).cloned().collect()
    }

    /// Whether there is nothing to build and nothing to promote.
    pub fn is_empty(&self) -> bool {
        self.jobs.is_empty() && self.promoted == 0
    }

    pub fn levels(&self) -> usize {
        self.jobs.iter().map(|job| job.level + 1).max().unwrap_or(0)
    }

    /// The number of images that jobs build.
    pub fn images(&self) -> usize {
        self.jobs.iter().map(|job| job.nodes.len()).sum()
    }

    fn of_level(&self, level: usize) -> impl Iterator<Item = &PipelineJob> {
        self.jobs.iter().filter(move |job| job.level == level)
    }

    /// The file of a system, and the limits that shaped it. `Err`: it cannot run there.
    pub fn written(
        &self,
        system: CiSystem,
        options: &ExportOptions,
    ) -> Result<(String, Vec<LimitNote>), LimitNote> {
        match system {
            CiSystem::GitHub => github::written(self, options),
            CiSystem::GitLab => gitlab::written(self, options),
            CiSystem::Argo => argo::written(self, options),
            CiSystem::Tekton => tekton::written(self, options),
            CiSystem::Jobs => kubernetes_jobs::written(self, options),
        }
    }
}

impl PipelineJob {
    /// The images as arguments of `rebuild stage`, without a character that a shell expands.
    pub fn arguments(&self) -> String {
        self.nodes.iter().map(NodeName::argument).collect::<Vec<_>>().join(" ")
    }

    fn timeout_minutes(&self) -> u64 {
        minutes(self.timeout)
    }
}

fn minutes(time: Duration) -> u64 {
    time.as_secs().div_ceil(60)
}

/// The comment at the top of every file.
fn heading(pipeline: &Pipeline) -> Vec<String> {
    let mut lines =
        vec![format!("Plan {} of rebuild: {}", pipeline.plan, pipeline.about.join("; "))];
    if pipeline.is_empty() {
        lines.push("There is nothing to do: every image is up to date.".to_owned());
        return lines;
    }
    lines.push(
        "Each job builds, tests and stores its images. The last job moves all tags, or none."
            .to_owned(),
    );
    lines.push(
        "Export it again for another commit: jobs refuse a checkout that differs.".to_owned(),
    );
    lines
}

/// Images in chains without a fork, of one platform and runner: each chain is one job.
fn chains<'h>(
    hierarchy: &'h Hierarchy,
    built: &[&'h Node],
    options: &ExportOptions,
) -> Vec<Vec<&'h Node>> {
    let names: BTreeSet<&NodeName> = built.iter().map(|node| &node.name).collect();
    let only = |mut nodes: Vec<&'h Node>| (nodes.len() == 1).then(|| nodes.remove(0));
    let parents = |node: &Node| {
        hierarchy.parents(&node.name).filter(|it| names.contains(&it.name)).collect::<Vec<_>>()
    };
    let children = |node: &Node| {
        hierarchy.children(&node.name).filter(|it| names.contains(&it.name)).collect::<Vec<_>>()
    };
    let follows = |node: &Node| {
        let parent = only(parents(node))?;
        let is_only_child = only(children(parent)).is_some();
        let is_alike =
            parent.platform == node.platform && runner(options, parent) == runner(options, node);
        (is_only_child && is_alike).then_some(parent)
    };
    let mut chains: Vec<Vec<&Node>> = Vec::new();
    let mut chain_of: BTreeMap<&NodeName, usize> = BTreeMap::new();
    for node in built {
        let at = follows(node).and_then(|parent| chain_of.get(&parent.name).copied());
        let at = at.unwrap_or_else(|| {
            chains.push(Vec::new());
            chains.len() - 1
        });
        chains[at].push(node);
        chain_of.insert(&node.name, at);
    }
    chains
}

fn runner(options: &ExportOptions, node: &Node) -> Option<String> {
    let named = node.platform.as_ref().and_then(|it| options.runners.get(&Some(it.clone())));
    named.or_else(|| options.runners.get(&None)).cloned()
}

fn jobs(
    hierarchy: &Hierarchy,
    groups: &[Vec<&Node>],
    (history, options): (&History, &ExportOptions),
) -> Vec<PipelineJob> {
    let mut job_of: BTreeMap<&NodeName, usize> = BTreeMap::new();
    for (index, group) in groups.iter().enumerate() {
        job_of.extend(group.iter().map(|node| (&node.name, index)));
    }
    let mut ids = job_names::JobNames::default();
    let mut jobs: Vec<PipelineJob> = Vec::with_capacity(groups.len());
    for (index, group) in groups.iter().enumerate() {
        let parents = group.iter().flat_map(|node| hierarchy.parents(&node.name));
        let needs: BTreeSet<usize> = parents
            .filter_map(|it| job_of.get(&it.name).copied())
            .filter(|it| *it != index)
            .collect();
        let level = needs.iter().map(|need| jobs[*need].level + 1).max().unwrap_or(0);
        let expected: Option<Duration> = group.iter().map(|node| history.took(&node.name)).sum();
        let first = group[0];
        let is_optional = |node: &&Node| node.on_failure == crate::hierarchy::OnFailure::Optional;
        jobs.push(PipelineJob {
            id: ids.of(&first.name.argument()),
            nodes: group.iter().map(|node| node.name.clone()).collect(),
            needs: needs.into_iter().collect(),
            level,
            platform: first.platform.clone(),
            runner: runner(options, first),
            timeout: timeout(hierarchy, group),
            expected,
            may_fail: group.iter().all(is_optional),
            secrets: variables::of_secrets(group),
        });
    }
    let needed: BTreeSet<usize> = jobs.iter().flat_map(|job| job.needs.clone()).collect();
    for (index, job) in jobs.iter_mut().enumerate() {
        // A job that waits for a failed one would begin.
        job.may_fail &= !needed.contains(&index);
    }
    jobs
}

/// The longest that the builds and tests of a job may take, with every retry that the hierarchy allows.
fn timeout(hierarchy: &Hierarchy, group: &[&Node]) -> Duration {
    let of_node = |node: &&Node| {
        let tests: Duration = hierarchy.tests(&node.name).map(|test| test.timeout).sum();
        (node.timeout + tests) * (u32::from(node.retries) + 1)
    };
    group.iter().map(of_node).sum::<Duration>() + AROUND_A_JOB
}

#[cfg(test)]
mod tests;
