//! What a run begins with: the plan of a whole run, the images of one job of a pipeline, or what all jobs have
//! stored.

use std::{collections::BTreeMap, sync::Arc};

use super::{
    error::CommandError,
    plan::{ONLY_ASKS, make},
    pool,
    preflight::{preflight, pushed_to},
    project::tag_values,
    promote::StagedImages,
    replaced,
    run::RunCommand,
    stage::JobOfPlan,
};
use crate::{
    event::{Executed, Outcome, Promotion, Summary},
    exit::Exit,
    hierarchy::{Hierarchy, NodeName, TagValues},
    host::git::GitHead,
    plan::Plan,
    publish::store::Store,
    run::{Secrets, refuse_lacked, without_effect},
};

/// The part of a run that a command does.
pub(super) enum RunPart {
    /// Everything: plan, build, test, store, promote.
    Whole,
    /// Builds, tests and stores some images of a plan file.
    Stage(JobOfPlan),
    /// Moves the tags of the images that jobs have stored.
    Promote(StagedImages),
}

/// What is known before the first build.
pub(super) struct Beginning {
    /// The steps to execute.
    pub(super) plan: Arc<Plan>,
    /// The steps to report.
    pub(super) reported: Arc<Plan>,
    pub(super) warnings: Vec<String>,
    pub(super) secrets: Secrets,
    /// Images that cannot be built, each with the image that no other job has stored.
    pub(super) blocked: BTreeMap<NodeName, NodeName>,
    /// The outcome of every step, if other jobs have executed them.
    pub(super) executed: Option<Executed>,
}

impl RunPart {
    /// What the placeholders in tags stand for: in a job, what they stood for when the plan was made.
    pub(super) fn tag_values(&self, hierarchy: &Hierarchy) -> Result<TagValues, CommandError> {
        match self {
            Self::Whole => tag_values(hierarchy),
            Self::Stage(JobOfPlan { file, .. }) | Self::Promote(StagedImages { file, .. }) => {
                Ok(file.tag_values.clone())
            }
        }
    }

    /// How a job ends: its tags move later, and an image that could not begin is a failure.
    pub(super) fn concluded(&self, mut summary: Summary, beginning: &Beginning) -> Summary {
        if matches!(self, Self::Stage(_)) {
            summary.promotion = Promotion::Staged;
        }
        if summary.exit == Exit::Done && !beginning.blocked.is_empty() {
            summary.exit = Exit::BuildFailed;
        }
        summary
    }
}

impl RunCommand<'_> {
    pub(super) async fn begin<S: Store>(
        &self,
        store: &S,
        head: Option<&GitHead>,
    ) -> Result<Beginning, CommandError> {
        let mut beginning = match &self.part {
            RunPart::Whole => {
                let asked = make(&self.hierarchy, &self.request, &self.world, (store, !ONLY_ASKS));
                let (plan, warnings) = asked.await?;
                Beginning::of(plan, warnings)
            }
            RunPart::Stage(job) => job.begin(store, (&self.hierarchy, &self.world)).await?,
            RunPart::Promote(staged) => staged.begin(store, &self.hierarchy).await?,
        };
        let plan = beginning.plan.clone();
        if beginning.executed.is_none() {
            let capabilities = self.world.info.capabilities;
            if self.world.pool.is_empty() {
                refuse_lacked(&self.hierarchy, &plan, capabilities)?;
            }
            let of_plan = (&*plan, !self.arguments.no_push);
            pool::refuse_unbuildable(&self.world, &self.hierarchy, of_plan)?;
            beginning.warnings.extend(without_effect(&self.hierarchy, &plan, capabilities));
            beginning.secrets = Secrets::read(&self.hierarchy, &plan, &self.world.info)?;
        }
        let publishes = !self.arguments.no_push && self.hierarchy.registry.is_some();
        let repositories = publishes.then(|| pushed_to(&self.hierarchy, &plan));
        let builds = beginning.executed.is_none();
        let of_push = async {
            if builds { preflight(&self.world, &plan, repositories).await } else { Ok(None) }
        };
        let of_replaced = async {
            let ours = head.filter(|_| !self.arguments.allow_older);
            if !self.promotes() {
                return Ok(Vec::new());
            }
            replaced::check(store, &self.hierarchy, &plan, ours).await
        };
        let (of_push, of_replaced) = tokio::join!(of_push, of_replaced);
        beginning.warnings.extend(of_push?);
        beginning.warnings.extend(of_replaced?);
        Ok(beginning)
    }
}

impl Beginning {
    pub(super) fn of(plan: Plan, warnings: Vec<String>) -> Self {
        let plan = Arc::new(plan);
        Self {
            reported: plan.clone(),
            plan,
            warnings,
            secrets: Secrets::default(),
            blocked: BTreeMap::new(),
            executed: None,
        }
    }

    /// Adds what never began.
    pub(super) fn with_blocked(&self, mut executed: Executed) -> Executed {
        let skipped = self.blocked.iter().map(|(node, parent)| {
            let outcome = Outcome::Skipped { failed: vec![parent.clone()] };
            (node.clone(), (outcome, std::time::Duration::ZERO))
        });
        executed.outcomes.extend(skipped);
        executed
    }
}
