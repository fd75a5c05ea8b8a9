//! `rebuild stage`: what one job of a pipeline does. Builds, tests and stores images of a plan.
//!
//! **Invariant:** it builds only what the plan describes: if the checkout has other inputs, it builds nothing.
//! **Invariant:** it writes a record of what it did, also if it failed, unless the process is killed.

use std::{
    collections::{BTreeMap, BTreeSet},
    env,
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use jiff::Timestamp;
use tokio::sync::{mpsc, watch};

use super::{
    connections::{self, Connections},
    error::CommandError,
    output,
    plan_source::{self, PlanOfPipeline},
    project::nodes,
    reports,
    run::RunCommand,
    run_part::{Beginning, RunPart},
    signals,
};
use crate::{
    commands::cli::{Common, RunArgs, StageArgs},
    event::{ContentTags, Outcome, Phase, StepFailure, StepSummary, StopReason},
    exit::Exit,
    hierarchy::{Hierarchy, Node, NodeName},
    plan::{Action, Plan, PlanFile, PlanRequest, Selection, difference},
    publish::{
        pipeline::{Handover, JobPlace, StageRecord, StageTimes, Staged},
        store::{PipelineRecords, RemoteTags, Store, Tags},
    },
    report::Record,
    run::observe::{Question, present_inputs},
};

/// Before another attempt of `--retries`.
const BEFORE_RETRY: Duration = Duration::from_secs(10);
/// Between two looks at the registry of `--wait`.
pub(super) const PAUSE: Duration = Duration::from_secs(5);

pub(super) async fn stage(common: &Common, arguments: &StageArgs) -> Result<Exit, CommandError> {
    let mut stops = signals::listen()
        .map_err(|error| CommandError::new(Exit::Internal, format!("no signals: {error}")))?;
    let mut left = arguments.retries;
    loop {
        let ended = Box::pin(once(common, arguments, &mut stops)).await;
        if !tries_again(&ended, &mut left, &mut stops).await? {
            return ended;
        }
    }
}

/// Whether the environment failed, and an attempt is left. Waits before it.
pub(super) async fn tries_again(
    ended: &Result<Exit, CommandError>,
    left: &mut u8,
    stops: &mut mpsc::Receiver<StopReason>,
) -> Result<bool, CommandError> {
    let exit = match ended {
        Ok(exit) => *exit,
        Err(error) => error.exit,
    };
    if *left == 0 || !matches!(exit, Exit::EngineUnreachable | Exit::RegistryUnreachable) {
        return Ok(false);
    }
    *left -= 1;
    if let Err(error) = ended {
        output::warning(&error.to_string());
    }
    output::line(&format!(
        "exit code {}: trying again in {} s",
        exit.code(),
        BEFORE_RETRY.as_secs()
    ));
    let pause = async {
        tokio::time::sleep(BEFORE_RETRY).await;
        Ok::<_, CommandError>(())
    };
    signals::unless_stopped(stops, pause).await?;
    Ok(true)
}

async fn once(
    common: &Common,
    arguments: &StageArgs,
    stops: &mut mpsc::Receiver<StopReason>,
) -> Result<Exit, CommandError> {
    let registries = connections::registries()?;
    let source = plan_source::read(common, &arguments.plan, &registries);
    let of_plan = signals::unless_stopped(stops, source).await?;
    let PlanOfPipeline { file, hierarchy, records } = of_plan;
    let wanted = planned(&hierarchy, &file, &arguments.nodes)?;
    let (file, hierarchy) = (Arc::new(file), Arc::new(hierarchy));
    let job = JobOfPlan { file: file.clone(), nodes: wanted.clone(), records: records.clone() };
    if let Some(patience) = arguments.wait {
        let store = RemoteTags::new(registries, &file.registry);
        let wait = job.wait_for_parents(&store, &hierarchy, patience);
        signals::unless_stopped(stops, wait).await?;
    }
    if arguments.only_wait {
        return Ok(Exit::Done);
    }
    let run_arguments = RunArgs {
        no_promote: true,
        keep_going: true,
        how: arguments.how.clone(),
        junit: arguments.junit.clone(),
        json_report: arguments.json_report.clone(),
        ..RunArgs::default()
    };
    let mut record = Record::new(format!("stage {}", arguments.nodes.join(" ")));
    let began = Timestamp::now();
    let ended = job_run((common, &run_arguments), (hierarchy.clone(), job), stops, &mut record);
    let mut ended = Box::pin(ended).await;
    if let Err(error) = &ended {
        record.error = Some((error.exit, error.with_causes()));
    }
    let kept = keep_records(&records, (&*file, &wanted), &record, (&*hierarchy, began)).await;
    if let Err(error) = kept
        && ended.as_ref().is_ok_and(|exit| *exit == Exit::Done)
    {
        ended = Err(CommandError::from(error).after("the images are stored"));
    }
    reports::tell_files(&record, Some(&*hierarchy), (common, &run_arguments));
    ended
}

async fn job_run(
    (common, arguments): (&Common, &RunArgs),
    (hierarchy, job): (Arc<Hierarchy>, JobOfPlan),
    stops: &mut mpsc::Receiver<StopReason>,
    record: &mut Record,
) -> Result<Exit, CommandError> {
    let connect = Connections::connect(&hierarchy, arguments.how.builder, common.offline);
    let world = signals::unless_stopped(stops, connect).await?;
    let overtaken = watch::Sender::default().subscribe();
    let (request, part) = (of_plan(), RunPart::Stage(job));
    let run = RunCommand { hierarchy, request, world, arguments, overtaken, part };
    run.execute(stops, record).await
}

/// The request of a command whose plan is made already.
pub(super) fn of_plan() -> PlanRequest {
    PlanRequest {
        selection: Selection::OutOfDate,
        refresh: false,
        by_schedule: false,
        platforms: BTreeSet::new(),
        now: Timestamp::now(),
    }
}

/// The images of the command line that the plan builds. One that the plan keeps needs no job.
fn planned(
    hierarchy: &Hierarchy,
    file: &PlanFile,
    names: &[String],
) -> Result<BTreeSet<NodeName>, CommandError> {
    let wanted = nodes(hierarchy, names)?;
    let outside: Vec<String> = wanted
        .iter()
        .filter(|node| file.image(node).is_none())
        .map(|node| format!("`{node}`"))
        .collect();
    if outside.is_empty() {
        return Ok(wanted);
    }
    let message = format!("the plan {} does not contain {}", file.id, outside.join(", "));
    Err(CommandError::new(Exit::Usage, message))
}

/// Some images of a plan file.
pub(super) struct JobOfPlan {
    pub(super) file: Arc<PlanFile>,
    pub(super) nodes: BTreeSet<NodeName>,
    pub(super) records: PipelineRecords,
}

impl JobOfPlan {
    /// Compares the checkout with the plan, and finds the images of the parents.
    pub(super) async fn begin<S: Store>(
        &self,
        store: &S,
        (hierarchy, world): (&Hierarchy, &Connections),
    ) -> Result<Beginning, CommandError> {
        self.refuse_other_checkout(hierarchy, world)?;
        let staged = self.staged(store, hierarchy).await?;
        let mut whole = self.file.plan_of(&self.nodes, staged.clone());
        let mut blocked = BTreeMap::new();
        for step in &mut whole.steps {
            if !matches!(step.action, Action::Build { .. }) {
                continue;
            }
            if let Some(digest) = staged.get(&step.node) {
                // A job that runs again, or a run on another machine.
                step.action = Action::Promote { digest: digest.clone() };
                continue;
            }
            let missing = hierarchy.parents(&step.node).map(|parent| &parent.name).find(|name| {
                let is_ours = self.nodes.contains(*name);
                blocked.contains_key(*name) || !is_ours && !staged.contains_key(*name)
            });
            if let Some(parent) = missing {
                let first = blocked.get(parent).unwrap_or(parent).clone();
                blocked.insert(step.node.clone(), first);
            }
        }
        let open = self.nodes.iter().filter(|node| !blocked.contains_key(*node)).cloned();
        let open: BTreeSet<NodeName> = open.collect();
        let plan = whole.clone().narrowed(&open);
        let mut warnings = Vec::new();
        for (node, parent) in &blocked {
            warnings.push(format!(
                "`{node}` is not built: the image of `{parent}` is not in the registry, so its job failed or did \
                 not run"
            ));
        }
        Ok(Beginning {
            reported: Arc::new(whole),
            blocked,
            ..Beginning::of(Plan { given: staged, ..plan }, warnings)
        })
    }

    async fn staged<S: Tags>(
        &self,
        store: &S,
        hierarchy: &Hierarchy,
    ) -> Result<Staged, CommandError> {
        let above = self.nodes.iter().flat_map(|name| hierarchy.ancestors(name));
        let above = above.map(|node| &node.name).chain(&self.nodes);
        let is_forced = |name: &&NodeName| {
            let image = self.file.image(name);
            image.is_some_and(|image| matches!(image.action, Action::Build { again: Some(_), .. }))
        };
        let forced: BTreeSet<&NodeName> = above.filter(is_forced).collect();
        let records = read_records(&self.records, &self.file, forced).await?;
        let handover = Handover { hierarchy, file: &self.file, records: &records };
        Ok(handover.staged(store, Some(&self.nodes)).await?)
    }

    /// Returns when the images of all parents are stored, or when one of them has failed.
    async fn wait_for_parents<S: Tags>(
        &self,
        store: &S,
        hierarchy: &Hierarchy,
        patience: Duration,
    ) -> Result<(), CommandError> {
        let began = Instant::now();
        let parents: BTreeSet<NodeName> = self
            .nodes
            .iter()
            .flat_map(|name| hierarchy.parents(name))
            .map(|parent| parent.name.clone())
            .filter(|name| !self.nodes.contains(name) && self.file.image(name).is_some())
            .collect();
        let mut is_told = false;
        loop {
            let staged = self.staged(store, hierarchy).await?;
            let open: Vec<&NodeName> =
                parents.iter().filter(|name| !staged.contains_key(*name)).collect();
            let Some(first) = open.first() else { return Ok(()) };
            let above =
                hierarchy.ancestors(first).map(|node| &node.name).chain(open.iter().copied());
            let records = read_records(&self.records, &self.file, above).await?;
            let failed = records
                .values()
                .find(|record| record.has_failed() && !staged.contains_key(&record.node));
            if failed.is_some() || began.elapsed() >= patience {
                // The job itself says what is missing.
                return Ok(());
            }
            if !is_told {
                output::line(&format!("waiting for the image of `{first}`"));
                is_told = true;
            }
            tokio::time::sleep(PAUSE.min(patience)).await;
        }
    }

    /// Refuses if the checkout would give an image another fingerprint than the plan.
    fn refuse_other_checkout(
        &self,
        hierarchy: &Hierarchy,
        world: &Connections,
    ) -> Result<(), CommandError> {
        let request = of_plan();
        let question = Question {
            hierarchy,
            request: &request,
            platform: &world.info.platform,
            tag_values: &self.file.tag_values,
            hashes: &world.hashes,
            offline: world.offline,
            only_asks: true,
            run: "",
        };
        let nodes: Vec<&Node> = self.nodes.iter().filter_map(|name| hierarchy.get(name)).collect();
        let present = present_inputs(&nodes, &question, &self.file.upstreams)?;
        let mut differences = Vec::new();
        for node in nodes {
            let (Some((inputs, detail)), Some(planned)) =
                (present.get(&node.name), self.file.image(&node.name))
            else {
                continue;
            };
            if inputs.platform != planned.inputs.platform {
                differences.push(format!(
                    "`{}` is planned for {}, and this engine builds for {}",
                    node.name, planned.inputs.platform, inputs.platform
                ));
            }
            let then = (&planned.inputs, &planned.detail);
            if let Some(reason) = difference(then, (inputs, detail)) {
                differences.push(reason.of(&node.name));
            }
            if !planned.is_published_as(node) {
                differences.push(format!(
                    "the tags, the repository or `on_failure` of `{}` in hierarchy.yaml changed",
                    node.name
                ));
            }
        }
        if differences.is_empty() { Ok(()) } else { Err(other_checkout(&self.file, &differences)) }
    }
}

/// The checkout is not that of the plan.
pub(super) fn other_checkout(file: &PlanFile, differences: &[String]) -> CommandError {
    let list: Vec<String> = differences.iter().map(|line| format!("\n  {line}")).collect();
    let message = format!(
        "this checkout is not the one of the plan {}, nothing was done:{}",
        file.id,
        list.concat()
    );
    let error = CommandError::new(Exit::Usage, message);
    match &file.commit {
        Some(commit) if commit.is_clean => {
            error.hint(format!("check out the commit of the plan, {}", commit.commit))
        }
        _ => error.hint("make a new plan with `rebuild plan --out FILE`"),
    }
}

/// The records of the jobs of these images.
pub(super) async fn read_records<'n>(
    records: &PipelineRecords,
    file: &PlanFile,
    nodes: impl IntoIterator<Item = &'n NodeName>,
) -> Result<BTreeMap<NodeName, StageRecord>, CommandError> {
    let read = records.read(&file.id, nodes).await?;
    let parsed = read.into_iter().filter_map(|(node, text)| {
        let record = StageRecord::read(&file.id, &text)?;
        (record.node == node).then_some((node, record))
    });
    Ok(parsed.collect())
}

/// Writes a record for each image of the job. A failure does not replace the record of a success.
async fn keep_records(
    records: &PipelineRecords,
    (file, wanted): (&PlanFile, &BTreeSet<NodeName>),
    record: &Record,
    (hierarchy, began): (&Hierarchy, Timestamp),
) -> Result<(), crate::publish::store::StoreError> {
    let job = JobPlace::from_variables(|name| env::var(name).ok());
    let steps = match (&record.summary, &record.error) {
        (Some(summary), _) => summary.steps.clone(),
        (None, error) => wanted.iter().filter_map(|n| unbegun(file, n, error.as_ref())).collect(),
    };
    let is_build = |step: &&StepSummary| {
        let image = file.image(&step.node);
        image.is_some_and(|image| matches!(image.action, Action::Build { .. }))
    };
    let run = record.summary.as_ref().map_or("", |summary| summary.run.as_str());
    for step in steps.iter().filter(is_build) {
        // What an earlier job has built has a better record, and what never began has none.
        let is_known = matches!(step.outcome, Outcome::Reused { .. } | Outcome::Skipped { .. });
        let is_worse = step.outcome.digest().is_none();
        if is_known || is_worse {
            let before = records.read(&file.id, [&step.node]).await?;
            let before = before.iter().find_map(|(_, text)| StageRecord::read(&file.id, text));
            if before.is_some_and(|before| before.digest().is_some() || is_known) {
                continue;
            }
        }
        let times = times(step, record, began);
        let root: &Path = hierarchy.root();
        let mut kept = StageRecord::new((&file.id, run), step, (times, job.clone()), root);
        kept.commit.clone_from(&record.commit);
        let of_step = record.warnings.iter().filter(|(node, _)| node.as_ref() == Some(&step.node));
        kept.warnings.extend(of_step.map(|(_, message)| message.clone()));
        kept = kept.with_content_tags(&step.content_tags);
        records.keep(&file.id, &step.node, &kept.written()).await?;
    }
    Ok(())
}

fn times(step: &StepSummary, record: &Record, began: Timestamp) -> StageTimes {
    let (first, last) = record.span_of(&step.node).unwrap_or_default();
    let at = |after: Duration| {
        let millis = i64::try_from(after.as_millis()).unwrap_or(i64::MAX);
        let at = record.began_running.unwrap_or(began).as_millisecond().saturating_add(millis);
        Timestamp::from_millisecond(at).unwrap_or(began)
    };
    StageTimes {
        began: at(first),
        ended: if last.is_zero() { Timestamp::now() } else { at(last) },
        took_ms: u64::try_from(step.took.as_millis()).unwrap_or(u64::MAX),
        attempts: step.attempts,
        parts: record.parts_of(&step.node),
    }
}

/// The end of an image whose job could not begin.
fn unbegun(
    file: &PlanFile,
    node: &NodeName,
    error: Option<&(Exit, String)>,
) -> Option<StepSummary> {
    let image = file.image(node)?;
    let (exit, message) = error?.clone();
    let outcome = match exit {
        Exit::Interrupted | Exit::Terminated => Outcome::Cancelled,
        exit => Outcome::Failed(StepFailure {
            phase: Phase::Build,
            message,
            exit,
            on_failure: image.on_failure,
            at: None,
            tail: Vec::new(),
            log: None,
            kept: None,
        }),
    };
    Some(StepSummary {
        node: node.clone(),
        reason: image.reason.clone(),
        outcome,
        took: Duration::ZERO,
        attempts: 1,
        over_budget: Vec::new(),
        reports: Vec::new(),
        promoted: Vec::new(),
        content_tags: ContentTags::new(),
    })
}
