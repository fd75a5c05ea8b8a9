//! `rebuild`, `rebuild run`: plan, build, test, store, promote, and say what came of it.

use std::{
    collections::{BTreeMap, BTreeSet},
    num::NonZeroUsize,
    sync::Arc,
    time::Duration,
};

use jiff::Timestamp;
use tokio::{
    sync::{mpsc, watch},
    time::timeout,
};

use super::{
    connections::{Connections, FAILURES},
    error::CommandError,
    journals, killed_runs,
    local::{local_only, narrow},
    lock::lock,
    output, pool,
    project::{for_engine, load, request},
    reports,
    retention::Tidy,
    run_part::RunPart,
    signals,
};
use crate::{
    commands::cli::{Common, ProgressArg, RunArgs, SelectionArgs},
    engine::{Capability, Engine as _, EngineInfo},
    event::{
        EventKind, Executed, Outcome, Promotion, Reporter, RunTask, StopReason, Summary, TICK,
        Telling, WithoutPromotion,
    },
    exit::Exit,
    fingerprint::Revision,
    hierarchy::{Hierarchy, NodeName, TagValues},
    host::git::{self, GitHead},
    plan::{Plan, PlanRequest, order::History},
    publish::{
        destinations,
        failures::Failures,
        holds,
        indexes::{self, Indexes},
        journal::{Began, Journal, RunRequest},
        promote::{Promoted, Publisher, Verdict, conclude, held_back, verdict},
        provenance,
        store::{HierarchyId, Remote, Store, StreamNames, Tags},
    },
    registry::Copier,
    report::{self, Out, ProgressMode, Record, Recorder, ReportOptions},
    run::{
        Origin, RunOptions, Workshop, execute, sign,
        state::{self, ProbeOwner, RunDir},
        streamed_images,
    },
};

/// How long the end of a run waits until names of images that moved between engines are removed.
const RELEASED_WITHIN: Duration = Duration::from_secs(2);
/// A plan that takes longer is announced.
const PLANNED_SILENTLY: Duration = Duration::from_secs(2);

pub(super) async fn run(common: &Common, arguments: &RunArgs) -> Result<Exit, CommandError> {
    let listening = match &arguments.for_server {
        Some(_) => signals::listen_to_server(),
        None => signals::listen(),
    };
    let mut stops = listening
        .map_err(|error| CommandError::new(Exit::Internal, format!("no signals: {error}")))?;
    let mut record = Record::new(flags(&arguments.selection));
    record.page = arguments.html.as_ref().map(|_| Box::default());
    let (hierarchy, ended) = match load(common) {
        Ok(mut hierarchy) => {
            let local = local_only(&mut hierarchy, arguments.local.as_ref());
            let hierarchy = Arc::new(hierarchy);
            let run = async {
                let local = local?;
                let mut request = request(&hierarchy, common, &arguments.selection)?;
                narrow(&mut request, &hierarchy, local.as_ref());
                let connect =
                    Connections::connect(&hierarchy, arguments.how.builder, common.offline);
                let mut world = signals::unless_stopped(&mut stops, connect).await?;
                if local.is_some() {
                    // One engine has the images in the end.
                    world.pool.truncate(1);
                }
                world.fills_mirror = local.is_none() && !arguments.no_push && !common.untrusted;
                world.local = local;
                let mut of_engine = for_engine(&hierarchy, common, &world.info.platform)?;
                if let (Some(hierarchy), Some(_)) = (&mut of_engine, &world.local) {
                    hierarchy.take_registry();
                }
                let hierarchy = of_engine.map_or_else(|| hierarchy.clone(), Arc::new);
                let overtaken = watch::Sender::default();
                let overtaken = overtaken.subscribe();
                let part = RunPart::Whole;
                let run = RunCommand { hierarchy, request, world, arguments, overtaken, part };
                run.execute(&mut stops, &mut record).await
            };
            let ended = run.await;
            (Some(hierarchy), ended)
        }
        Err(error) => (None, Err(error)),
    };
    if let Err(error) = &ended {
        record.error = Some((error.exit, error.with_causes()));
    }
    reports::tell(&record, hierarchy.as_deref(), (common, arguments)).await;
    ended
}

/// Nodes that keep their old tags, or `None` if no tag may move; and indexes by the names of images.
type HeldAndIndexes = (Option<BTreeMap<NodeName, NodeName>>, Indexes);

/// One run, all that it needs at hand.
pub(super) struct RunCommand<'a> {
    pub(super) hierarchy: Arc<Hierarchy>,
    pub(super) request: PlanRequest,
    pub(super) world: Connections,
    pub(super) arguments: &'a RunArgs,
    /// Nodes whose builds newer changes have made pointless.
    pub(super) overtaken: watch::Receiver<BTreeSet<NodeName>>,
    pub(super) part: RunPart,
}

impl RunCommand<'_> {
    /// From what is published to what is promoted. Whatever can be told of it is in the record.
    pub(super) async fn execute(
        &self,
        stops: &mut mpsc::Receiver<StopReason>,
        record: &mut Record,
    ) -> Result<Exit, CommandError> {
        if self.arguments.how.progress == ProgressArg::Quiet {
            self.world.registries.on_delay(|_| ());
        }
        // Without a promotion nothing is written but build tags, which never move: there is nobody
        // to wait for.
        let (place, wait) = (self.place(), self.arguments.wait.unwrap_or_default());
        let _lock = if self.promotes() {
            Some(signals::unless_stopped(stops, lock(&place, wait)).await?)
        } else {
            None
        };
        if let Some(prefix) = &self.hierarchy.registry {
            let others = self.world.pool.iter().skip(1).map(|other| {
                let registries = self.world.registries.clone();
                Arc::new(Remote::new(registries, prefix, other.engine.clone()))
            });
            let stores = (Arc::new(self.world.remote(prefix)), others.collect());
            Box::pin(self.on(stores, stops, record)).await
        } else if let Some(store) = self.world.layered(&self.hierarchy) {
            Box::pin(self.on((Arc::new(store), vec![]), stops, record)).await
        } else if self.world.pool.len() > 1 {
            let owner = ProbeOwner::begin();
            let names = Arc::new(StreamNames::new(streamed_images(&owner.id)));
            let mut stores = pool::streamed(&self.world, &names);
            let others = stores.split_off(1);
            let first = stores.remove(0);
            let ended = Box::pin(self.on((first, others), stops, record)).await;
            // The next command removes what is left.
            if !matches!(timeout(RELEASED_WITHIN, names.release()).await, Ok(Ok(()))) {
                state::expect_pins();
            }
            ended
        } else {
            let store = self.world.local();
            Box::pin(self.on((Arc::new(store), vec![]), stops, record)).await
        }
    }

    /// `others` are stores that use the other engines of the pool.
    async fn on<S: Store>(
        &self,
        (store, others): (Arc<S>, Vec<Arc<S>>),
        stops: &mut mpsc::Receiver<StopReason>,
        record: &mut Record,
    ) -> Result<Exit, CommandError> {
        if self.promotes() {
            let of = (&*self.hierarchy, &*self.place());
            if let Some(reason) = journals::finish(&*store, of, stops).await? {
                return Err(signals::stopped_early(reason));
            }
        }
        let head = git::head(self.hierarchy.root());
        record.commit = head.as_ref().map(GitHead::short);
        let decide = async {
            let begin = self.begin(&*store, head.as_ref());
            let (beginning, ()) = tokio::join!(begin, killed_runs::remove(&self.world));
            beginning
        };
        let mut beginning = tokio::select! {
            decided = decide => decided?,
            () = self.tell_of_plan() => unreachable!("it does not end"),
            Some(reason) = stops.recv() => {
                for left in signals::quiesce(&[&*self.world.engine], stops, true).await {
                    output::warning(&left);
                }
                return Err(signals::stopped_early(reason));
            }
        };
        let tag_values = self.part.tag_values(&self.hierarchy)?;
        let (plan, all) = (beginning.plan.clone(), beginning.reported.clone());
        let run = self.world.state.begin_run();
        let _alive = run.declare_alive();
        let mut journal = self.journal(&run.id, head.as_ref());
        let shop = Arc::new(Workshop {
            engine: self.world.builder.clone(),
            store: store.clone(),
            registries: self.world.registries.clone(),
            hierarchy: self.hierarchy.clone(),
            plan: plan.clone(),
            run,
            hashes: self.world.hashes.clone(),
            layers: self.world.state.layers(),
            secrets: std::mem::take(&mut beginning.secrets),
            history: self.world.history(&self.place()),
            origin: origin(head.as_ref(), &self.hierarchy, &tag_values),
            tag_values: tag_values.clone(),
            revision: head.filter(|head| head.is_clean).map(revision),
            overtaken: self.overtaken.clone(),
            options: self.options(),
        });

        let (asked, commit) = (record.asked.clone(), record.commit.clone());
        let mut reporter = Recorder::new(self.reporter(&shop.run), record);
        let mut telling = Telling::new(&mut reporter).with(self.world.delays());
        telling.emit(EventKind::RunStarted {
            run: shop.run.id.clone(),
            plan: all.clone(),
            registry: self.hierarchy.registry.as_ref().map(ToString::to_string),
            jobs: shop.options.jobs.get(),
            began: Timestamp::now(),
            asked,
            commit,
        });
        telling.warn(std::mem::take(&mut beginning.warnings));
        let executed = if let Some(executed) = beginning.executed.take() {
            tell_ends(&mut telling, &all, executed)
        } else {
            let jobs = self.arguments.how.jobs;
            let engines = pool::engines(&self.world, &shop, (others, jobs));
            execute(&engines, stops, &mut telling).await
        };
        let mut executed = beginning.with_blocked(executed);
        self.remember(shop.history.clone(), &executed);
        let mut publisher =
            Publisher { store: &*store, journal: &mut journal, stops, telling: &mut telling };
        let promoted = match self.indexes(&mut publisher, &plan, &mut executed).await {
            Ok(made) => {
                let verdict = self.verdict((&plan, &executed), &tag_values, made)?;
                self.promote(&mut publisher, &plan, (verdict, &mut executed)).await
            }
            Err(promotion) => Promoted { promotion, tags: BTreeMap::new() },
        };
        let is_stopped = executed.stopped >= Some(StopReason::Interrupted);
        let quiesced = self.quiesce(&mut publisher, is_stopped).await;
        publisher.telling.warn(quiesced);
        self.world.keep_hashes().await;

        let took = publisher.telling.elapsed();
        let summary = conclude(shop.run.id.clone(), &all, executed, promoted, took);
        let mut summary = self.part.concluded(summary, &beginning);
        summary.is_local = self.hierarchy.registry.is_none();
        let exit = summary.exit;
        describe_end(publisher.journal, &summary);
        publisher.end(exit).await;
        self.remember_failures(&summary).await;
        if let Err(error) = holds::end(&*store, &summary).await {
            output::warning(&format!("images that were rolled back are still held: {error}"));
        }
        if let Some(removed) = self.tidy(&summary, &*store).await {
            telling.emit(removed);
        }
        telling.emit(EventKind::RunFinished { summary });
        Ok(exit)
    }

    /// Reports after some time what the user waits for.
    async fn tell_of_plan(&self) {
        tokio::time::sleep(PLANNED_SILENTLY).await;
        if matches!(
            self.arguments.how.progress,
            ProgressArg::Auto | ProgressArg::Tty | ProgressArg::Plain
        ) {
            let images = report::count(self.hierarchy.images(), "image");
            let place = self.world.publishes_to(&self.hierarchy);
            output::line(&format!("comparing {images} with {place}"));
        }
        std::future::pending::<()>().await;
    }

    /// Copies the images to the other registries, attaches their provenance and signs them, and moves the tags of all
    /// of them.
    async fn promote<S: Tags>(
        &self,
        publisher: &mut Publisher<'_, '_, S>,
        plan: &Plan,
        (verdict, executed): (Verdict, &mut Executed),
    ) -> Promoted {
        let lacks = |info: &EngineInfo| !info.capabilities.has(Capability::Attestations);
        let any_lacks =
            lacks(&self.world.info) || self.world.pool.iter().any(|one| lacks(&one.info));
        let attaches = self.hierarchy.registry.is_some() && any_lacks;
        let (moves, held) = match verdict {
            Verdict::Move { moves, held }
                if destinations::has_any(&self.hierarchy, &moves)
                    || attaches && provenance::has_any(&self.hierarchy, &moves)
                    || sign::has_any(&self.hierarchy, &moves) =>
            {
                (moves, held)
            }
            verdict => return publisher.promote(verdict).await,
        };
        let (of, client_copier) = (moves.len(), Copier::new(self.world.registries.clone()));
        let of_hierarchy = (&*self.hierarchy, &self.world.info.platform);
        let (begins, mut tasks) = mpsc::unbounded_channel();
        let store = publisher.store;
        let prepared = async {
            // The receiver lives as long as this.
            let begin = |task: RunTask, is_needed: bool| is_needed.then(|| begins.send(task));
            begin(RunTask::Copy, destinations::has_any(&self.hierarchy, &moves));
            let moves = destinations::copied((store, &client_copier), of_hierarchy, moves).await?;
            if attaches {
                begin(RunTask::Provenance, provenance::has_any(&self.hierarchy, &moves));
                let store = (store, &self.world.registries);
                provenance::attach(store, (&self.hierarchy, plan), &moves).await?;
            }
            begin(RunTask::Sign, sign::has_any(&self.hierarchy, &moves));
            sign::sign(&self.hierarchy, &moves).await?;
            Ok::<_, String>(moves)
        };
        let mut prepared = std::pin::pin!(prepared);
        let verdict = loop {
            tokio::select! {
                biased;
                Some(reason) = publisher.stops.recv() => {
                    publisher.telling.emit(EventKind::StopBegan { reason, running: 0 });
                    executed.stopped = executed.stopped.max(Some(reason));
                    break Verdict::Withhold;
                }
                Some(task) = tasks.recv() => {
                    publisher.telling.emit(EventKind::TaskStarted { task });
                }
                prepared = &mut prepared => match prepared {
                    Ok(moves) => break Verdict::Move { moves, held },
                    Err(why) => {
                        let why = format!("{why}: no tag was moved");
                        let promotion = Promotion::Incomplete { moved: 0, of, why, left: Vec::new() };
                        return Promoted { promotion, tags: BTreeMap::new() };
                    }
                },
                () = publisher.telling.wait() => {}
            }
        };
        publisher.promote(verdict).await
    }

    /// Which nodes keep their old tags, and the new indexes of images with several platforms.
    async fn indexes<S: Tags>(
        &self,
        publisher: &mut Publisher<'_, '_, S>,
        plan: &Plan,
        executed: &mut Executed,
    ) -> Result<HeldAndIndexes, Promotion> {
        let held = held_back(&self.hierarchy, plan, executed).filter(|_| self.promotes());
        let Some(held) = held else { return Ok((None, Indexes::new())) };
        let changed = indexes::changed(&self.hierarchy, (plan, executed), &held);
        if changed.is_empty() {
            return Ok((Some(held), Indexes::new()));
        }
        let of = changed.len();
        tokio::select! {
            biased;
            Some(reason) = publisher.stops.recv() => {
                publisher.telling.emit(EventKind::StopBegan { reason, running: 0 });
                executed.stopped = executed.stopped.max(Some(reason));
                Ok((None, Indexes::new()))
            }
            made = indexes::stored(publisher.store, changed) => match made {
                Ok(made) => Ok((Some(held), made)),
                Err(why) => {
                    let why = format!("{why}: no tag was moved");
                    Err(Promotion::Incomplete { moved: 0, of, why, left: Vec::new() })
                }
            },
        }
    }

    /// What the run may promote.
    fn verdict(
        &self,
        of_run: (&Plan, &Executed),
        tag_values: &TagValues,
        (held, indexes): HeldAndIndexes,
    ) -> Result<Verdict, CommandError> {
        if !self.promotes() {
            let why = if self.arguments.no_push {
                WithoutPromotion::NoPush
            } else if self.arguments.no_promote {
                WithoutPromotion::NoPromote
            } else {
                WithoutPromotion::Platform
            };
            return Ok(Verdict::NotAsked(why));
        }
        verdict(&self.hierarchy, of_run, tag_values, (held, &indexes))
            .map_err(|error| CommandError::new(Exit::Usage, error.to_string()))
    }

    /// Waits until nothing of this run is under way. The clock on a screen goes on meanwhile.
    async fn quiesce<S: Tags>(
        &self,
        publisher: &mut Publisher<'_, '_, S>,
        is_stopped: bool,
    ) -> Vec<String> {
        let mut ticks = tokio::time::interval(TICK);
        let all = pool::answering(&self.world).await;
        let quiesce = signals::quiesce(&all, publisher.stops, is_stopped);
        tokio::pin!(quiesce);
        loop {
            tokio::select! {
                left = &mut quiesce => return left,
                _ = ticks.tick() => publisher.telling.tick(),
            }
        }
    }

    fn journal(&self, run: &str, head: Option<&GitHead>) -> Journal {
        let flags = match &self.part {
            RunPart::Promote(staged) => staged.file.asked.clone(),
            RunPart::Whole | RunPart::Stage(_) => {
                let selection = flags(&self.arguments.selection);
                let no_push = if self.arguments.no_push { "--no-push" } else { "" };
                let no_promote = if self.arguments.no_promote { "--no-promote" } else { "" };
                let all = [selection.as_str(), no_push, no_promote];
                all.into_iter().filter(|one| !one.is_empty()).collect::<Vec<_>>().join(" ")
            }
        };
        let asked = RunRequest::Run { flags };
        let began = Began {
            commit: head.map(GitHead::short),
            committed: head.filter(|head| head.is_clean).map(|head| head.committed),
            ..Began::new(run, self.world.publishes_to(&self.hierarchy), asked)
        };
        // `rebuild history` lists runs that move no tag, too. Of a plan's jobs, it lists the one that promotes.
        if self.promotes() || matches!(self.part, RunPart::Whole) {
            journals::begin(&self.world.state, began)
        } else {
            Journal::none(began)
        }
    }

    /// Removes images of earlier runs from the engine that this run made unnecessary.
    async fn tidy<S: Tags>(&self, summary: &Summary, store: &S) -> Option<EventKind> {
        if self.arguments.no_push || !self.world.has_engine {
            return None;
        }
        let (place, is_locked) = (self.place(), self.promotes());
        let (hierarchy, world) = (&*self.hierarchy, &self.world);
        Tidy { hierarchy, world, place: &place, is_locked }.after(summary, store).await
    }

    /// Whether tags may move.
    pub(super) fn promotes(&self) -> bool {
        let selection = &self.arguments.selection;
        !self.arguments.no_push && !self.arguments.no_promote && selection.platform.is_empty()
    }

    /// Keeps how long each build took that succeeded, whatever became of the run.
    fn remember(&self, mut history: History, executed: &Executed) {
        if executed.builds().next().is_none() {
            return;
        }
        for (node, took, sizes) in executed.builds() {
            history.record(node, took, sizes);
        }
        history.retain(|node| self.hierarchy.get(node).is_some());
        self.world.keep_history(&self.place(), &history);
    }

    /// Keeps what failed for `status`, `why`, `log` and `shell`, and removes images of earlier failures.
    async fn remember_failures(&self, summary: &Summary) {
        let state = &self.world.state;
        let before = state.recall(FAILURES);
        let mut failures = Failures::read(&before);
        let gone = failures.update(summary, Timestamp::now());
        let kept = failures.kept();
        if kept != before {
            state.keep(FAILURES, &kept);
        }
        for image in gone {
            // It may be gone already, and the engine too.
            for engine in pool::with_docker_api(&self.world) {
                _ = engine.untag(&image).await;
            }
        }
    }

    /// Where this run publishes.
    fn place(&self) -> String {
        if self.arguments.no_push {
            return "nowhere".to_owned();
        }
        self.world.publishes_to(&self.hierarchy)
    }

    fn options(&self) -> RunOptions {
        // With several engines, `--jobs` is for each of them.
        let jobs = match self.arguments.how.jobs {
            Some(jobs) => jobs.saturating_mul(
                NonZeroUsize::new(self.world.pool.len()).unwrap_or(NonZeroUsize::MIN),
            ),
            None => self.world.jobs(),
        };
        let most = NonZeroUsize::MIN.saturating_add(3).max(jobs);
        RunOptions {
            jobs,
            test_jobs: self.arguments.how.test_jobs.unwrap_or(most),
            speculate: !self.arguments.how.no_speculate,
            keep_going: self.arguments.keep_going,
            push: !self.arguments.no_push,
        }
    }

    /// What the user chose, and the file of the run's events.
    fn reporter(&self, run: &RunDir) -> Box<dyn Reporter> {
        let progress = match self.arguments.how.progress {
            ProgressArg::Auto => ProgressMode::Auto,
            ProgressArg::Tty => ProgressMode::Tty,
            ProgressArg::Plain => ProgressMode::Plain,
            ProgressArg::Json => ProgressMode::Json,
            ProgressArg::Quiet => ProgressMode::Quiet,
        };
        let options = ReportOptions {
            is_terminal: output::stderr_is_terminal(),
            colour: output::stderr_has_colour(),
            ci: reports::ci(),
            verbose: self.arguments.how.verbose,
            size: report::stderr_size,
            now: jiff::ZonedDateTime::now,
        };
        let (out, result) = (std::io::stderr(), std::io::stdout());
        let shown = report::reporter(progress, options, Out::new(out), Out::new(result));
        report::events_kept(shown, run.events())
    }
}

/// What the last line of the journal says about the run beside its exit code.
fn describe_end(journal: &mut Journal, summary: &Summary) {
    if summary.stopped == Some(StopReason::ReportFailed) {
        journal.output_is_closed();
    }
    let failed = summary.steps.iter().filter(|step| matches!(step.outcome, Outcome::Failed(_)));
    let is_built =
        |outcome: &Outcome| matches!(outcome, Outcome::Built { .. } | Outcome::Unchanged { .. });
    let built = summary.steps.iter().filter(|step| is_built(&step.outcome)).count();
    journal.images_ended(failed.map(|step| step.node.clone()).collect(), built);
}

/// Reports the images that other jobs have built.
fn tell_ends(telling: &mut Telling<'_>, plan: &Plan, executed: Executed) -> Executed {
    for step in &plan.steps {
        let Some((outcome, took)) = executed.outcomes.get(&step.node) else { continue };
        telling.emit(EventKind::StepFinished {
            node: step.node.clone(),
            outcome: outcome.clone(),
            took: *took,
            attempts: executed.attempts.get(&step.node).copied().unwrap_or(1),
            over_budget: Vec::new(),
        });
    }
    executed
}

fn revision(head: GitHead) -> Revision {
    let committed = Timestamp::from_second(head.committed).ok();
    Revision { committed, commit: head.commit }
}

/// What images say of where their files come from.
fn origin(head: Option<&GitHead>, hierarchy: &Hierarchy, tag_values: &TagValues) -> Origin {
    let dirty = |head: &GitHead| if head.is_clean { "" } else { "-dirty" };
    Origin {
        commit: head.map(|head| format!("{}{}", head.commit, dirty(head))),
        committed: head
            .and_then(|head| Timestamp::from_second(head.committed).ok())
            .map(|at| at.to_string()),
        source: head.and_then(|_| git::source(hierarchy.root())),
        hierarchy: HierarchyId::of(&hierarchy.file),
        tag_values: Some(tag_values.clone()),
    }
}

/// What was asked for, as it could be typed.
pub(super) fn flags(arguments: &SelectionArgs) -> String {
    let mut flags = Vec::new();
    for (flag, nodes) in
        [("--from", &arguments.from), ("--only", &arguments.only), ("--among", &arguments.among)]
    {
        if !nodes.is_empty() {
            flags.push(format!("{flag} {}", nodes.join(",")));
        }
    }
    flags.extend(arguments.since.iter().map(|revision| format!("--since {revision}")));
    flags.extend(arguments.refresh.then(|| "--refresh".to_owned()));
    flags.extend(arguments.due.then(|| "--due".to_owned()));
    flags.extend(arguments.platform.iter().map(|platform| format!("--platform {platform}")));
    flags.join(" ")
}
