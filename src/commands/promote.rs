//! `rebuild promote`: the last job of a pipeline. Moves the tags of all images that the other jobs have stored, or of
//! none, and reports what all jobs did.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::sync::{mpsc, watch};

use super::{
    connections::{self, Connections},
    durations,
    error::CommandError,
    output,
    plan_source::{self, PlanOfPipeline},
    reports,
    run::RunCommand,
    run_part::{Beginning, RunPart},
    signals,
    stage::{PAUSE, of_plan, other_checkout, read_records, tries_again},
};
use crate::{
    commands::cli::{Common, ProgressArg, PromoteArgs, RunArgs},
    event::{Executed, Promotion, StopReason},
    exit::Exit,
    hierarchy::{Hierarchy, Node, NodeName},
    image::{Digest, Platform, Tagged},
    plan::{Action, Plan, PlanFile, PlannedImage},
    publish::{
        pipeline::{Handover, StageRecord, Staged, present},
        store::{PipelineRecords, RemoteTags, Store, Tags},
    },
    report::{self, Record},
};

pub(super) async fn promote(
    common: &Common,
    arguments: &PromoteArgs,
) -> Result<Exit, CommandError> {
    let mut stops = signals::listen()
        .map_err(|error| CommandError::new(Exit::Internal, format!("no signals: {error}")))?;
    let mut left = arguments.retries;
    loop {
        let ended = once(common, arguments, &mut stops).await;
        if !tries_again(&ended, &mut left, &mut stops).await? {
            return ended;
        }
    }
}

async fn once(
    common: &Common,
    arguments: &PromoteArgs,
    stops: &mut mpsc::Receiver<StopReason>,
) -> Result<Exit, CommandError> {
    let registries = connections::registries()?;
    let source = plan_source::read(common, &arguments.plan, &registries);
    let of_plan = signals::unless_stopped(stops, source).await?;
    let PlanOfPipeline { file, hierarchy, records } = of_plan;
    let run_arguments = RunArgs {
        allow_older: arguments.allow_older,
        wait: arguments.wait,
        how: arguments.how.clone(),
        junit: arguments.junit.clone(),
        json_report: arguments.json_report.clone(),
        html: arguments.html.clone(),
        notify: arguments.notify.clone(),
        ..RunArgs::default()
    };
    let mut record = Record::new(format!("promote --plan {}", file.id));
    record.page = arguments.html.as_ref().map(|_| Box::default());
    let hierarchy = Arc::new(hierarchy);
    let ended = async {
        refuse_other_hierarchy(&hierarchy, &file)?;
        if file.is_empty() {
            output::line(&format!("nothing to do: the plan {} changes no image", file.id));
            return Ok(Exit::Done);
        }
        let store = RemoteTags::new(registries, &file.registry);
        let patience = arguments.wait_for_images.unwrap_or_default();
        let read = jobs_of_plan((&store, &records), (&*hierarchy, &file), patience);
        let jobs = signals::unless_stopped(stops, read).await?;
        let staged = StagedImages { file: Arc::new(file), records: Arc::new(jobs) };
        record.jobs = staged.jobs();
        for job in record.jobs.clone() {
            record.add_parts(&job.node, &job.parts);
        }
        if arguments.how.progress != ProgressArg::Quiet {
            for line in report::timeline::lines(&record.jobs) {
                output::line(&line);
            }
        }
        let part = (hierarchy.clone(), staged);
        Box::pin(moved((common, &run_arguments), part, stops, &mut record)).await
    };
    let ended = ended.await;
    if let Err(error) = &ended {
        record.error = Some((error.exit, error.with_causes()));
    }
    tell(&record);
    if let Err(error) = durations::keep(&hierarchy, &record).await {
        output::warning(&format!("how long the jobs took is not kept: {error}"));
    }
    reports::tell(&record, Some(&*hierarchy), (common, &run_arguments)).await;
    ended
}

/// The records of all jobs; waits for images that no job has ended with.
async fn jobs_of_plan(
    (store, records): (&RemoteTags, &PipelineRecords),
    (hierarchy, file): (&Hierarchy, &PlanFile),
    patience: Duration,
) -> Result<BTreeMap<NodeName, StageRecord>, CommandError> {
    let began = Instant::now();
    let mut is_told = false;
    loop {
        let jobs = read_records(records, file, file.images.iter().map(|image| &image.node)).await?;
        if patience.is_zero() {
            return Ok(jobs);
        }
        let handover = Handover { hierarchy, file, records: &jobs };
        let open = handover.open(&handover.staged(store, None).await?);
        let Some(first) = open.first().filter(|_| began.elapsed() < patience) else {
            return Ok(jobs);
        };
        if !is_told {
            output::line(&format!(
                "waiting for {}, such as `{first}`",
                report::count(open.len(), "image")
            ));
            is_told = true;
        }
        tokio::time::sleep(PAUSE.min(patience)).await;
    }
}

async fn moved(
    (common, arguments): (&Common, &RunArgs),
    (hierarchy, staged): (Arc<Hierarchy>, StagedImages),
    stops: &mut mpsc::Receiver<StopReason>,
    record: &mut Record,
) -> Result<Exit, CommandError> {
    // No image is built here, so a runner without an engine is as good.
    let connect = Connections::publishing(&hierarchy, common.offline);
    let world = signals::unless_stopped(stops, connect).await?;
    let overtaken = watch::Sender::default().subscribe();
    let (request, part) = (of_plan(), RunPart::Promote(staged));
    let run = RunCommand { hierarchy, request, world, arguments, overtaken, part };
    run.execute(stops, record).await
}

/// After the table: the first failure.
fn tell(record: &Record) {
    let promotion = record.summary.as_ref().map(|summary| (&summary.promotion, summary.exit));
    if let Some((Promotion::Nothing, Exit::Done)) = promotion {
        output::line("every tag of the plan is already where it belongs");
    }
    if let Some(line) = report::timeline::first_failure(&record.jobs) {
        output::line(&line);
    }
}

/// Refuses if hierarchy.yaml publishes an image in another way than when the plan was made.
fn refuse_other_hierarchy(hierarchy: &Hierarchy, file: &PlanFile) -> Result<(), CommandError> {
    let differs = |image: &&PlannedImage| {
        !hierarchy.get(&image.node).is_some_and(|node| image.is_published_as(node))
    };
    let differences: Vec<String> = file
        .images
        .iter()
        .filter(differs)
        .map(|image| match hierarchy.get(&image.node) {
            Some(_) => format!(
                "the tags, the repository or `on_failure` of `{}` in hierarchy.yaml changed",
                image.node
            ),
            None => format!("`{}` is not in hierarchy.yaml", image.node),
        })
        .collect();
    if differences.is_empty() { Ok(()) } else { Err(other_checkout(file, &differences)) }
}

/// A plan, and what its jobs have recorded.
pub(super) struct StagedImages {
    pub(super) file: Arc<PlanFile>,
    records: Arc<BTreeMap<NodeName, StageRecord>>,
}

/// A tag that was read from an image may be there since an earlier promotion of the plan.
async fn with_present_content_tags<S: Tags>(
    store: &S,
    (hierarchy, staged): (&Hierarchy, &Staged),
    executed: &mut Executed,
) -> Result<(), CommandError> {
    for (name, tags) in &mut executed.content_tags {
        let (Some(node), Some(wanted)) = (hierarchy.get(name), staged.get(name)) else { continue };
        for one in tags.values_mut() {
            let now = store.head(&node.repository.tagged(one.tag.clone())).await?;
            one.from = present(one.from.as_ref(), now.as_ref(), wanted);
        }
    }
    Ok(())
}

impl StagedImages {
    /// Finds the image of each step, and where the tags are now.
    pub(super) async fn begin<S: Store>(
        &self,
        store: &S,
        hierarchy: &Hierarchy,
    ) -> Result<Beginning, CommandError> {
        let handover = Handover { hierarchy, file: &self.file, records: &self.records };
        let staged = handover.staged(store, None).await?;
        let mut executed = handover.executed(&staged);
        with_present_content_tags(store, (hierarchy, &staged), &mut executed).await?;
        let plan = self.with_present_tags(store, (hierarchy, &staged)).await?;
        let mut reported = plan.clone();
        for step in &mut reported.steps {
            if let (Action::Build { .. }, Some(digest)) = (&step.action, staged.get(&step.node)) {
                step.action = Action::Promote { digest: digest.clone() };
            }
        }
        let warnings = self.records.values().flat_map(|record| {
            let node = &record.node;
            record.warnings.iter().map(move |message| format!("`{node}`: {message}"))
        });
        let beginning = Beginning::of(plan, warnings.collect());
        Ok(Beginning { reported: Arc::new(reported), executed: Some(executed), ..beginning })
    }

    async fn with_present_tags<S: Tags>(
        &self,
        store: &S,
        (hierarchy, staged): (&Hierarchy, &Staged),
    ) -> Result<Plan, CommandError> {
        let mut plan = self.file.plan();
        let tags: BTreeSet<Tagged> = plan
            .steps
            .iter()
            .filter(|step| !matches!(step.action, Action::Keep { .. }))
            .filter_map(|step| Some((hierarchy.get(&step.node)?, step)))
            .flat_map(|(node, step)| {
                step.moving.keys().map(move |tag| node.repository.tagged(tag.clone()))
            })
            .collect();
        let heads = store.heads(tags.into_iter().collect()).await?;
        let wanted_of = |name: &NodeName| {
            let published = || plan.step(name).and_then(|step| step.published.as_ref());
            staged.get(name).or_else(published).cloned()
        };
        let of_groups: BTreeMap<NodeName, BTreeMap<Platform, Digest>> = plan
            .steps
            .iter()
            .map(|step| {
                let group = hierarchy.group(&step.node).into_iter();
                let image = |node: &Node| {
                    Some((hierarchy.platform_of(node).clone(), wanted_of(&node.name)?))
                };
                (step.node.clone(), group.filter_map(image).collect())
            })
            .collect();
        for step in &mut plan.steps {
            let (Some(node), Some(wanted)) = (hierarchy.get(&step.node), staged.get(&step.node))
            else {
                continue;
            };
            let images = &of_groups[&step.node];
            for (tag, planned) in &mut step.moving {
                let now = heads.get(&node.repository.tagged(tag.clone()));
                if images.is_empty() {
                    *planned = present(planned.as_ref(), now, wanted);
                    continue;
                }
                let Some(now) = now.filter(|now| planned.as_ref() != Some(*now)) else { continue };
                let found = store.platform_images(&node.repository, now).await?;
                // The promotion of this plan is repeated.
                if found.is_some_and(|found| found.is_index && found.images == *images) {
                    *planned = Some(now.clone());
                    step.members.insert(now.clone(), Some(wanted.clone()));
                }
            }
        }
        Ok(plan)
    }

    /// A row of the timeline for each record.
    fn jobs(&self) -> Vec<report::timeline::JobTime> {
        let jobs = self.records.values().map(|record| report::timeline::JobTime {
            node: record.node.clone(),
            began: record.times.began,
            ended: record.times.ended,
            has_failed: record.has_failed(),
            parts: record.times.parts.clone(),
            runner: record.job.runner.clone(),
            job: record.job.shown().map(str::to_owned),
        });
        let mut jobs: Vec<_> = jobs.collect();
        jobs.sort_by_key(|job| (job.began, job.node.clone()));
        jobs
    }
}
