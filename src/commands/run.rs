//! `rebuild`, `rebuild run`: plan, build, test, store, promote, and say what came of it.

use std::{collections::BTreeSet, env, num::NonZeroUsize, sync::Arc};

use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use tokio::sync::mpsc;

use super::{
    error::CommandError,
    leftovers, output,
    plan::make,
    project::{load, selection, tag_values},
    signals,
    world::World,
};
use crate::{
    cli::{Common, ProgressArg, RunArgs},
    exit::Exit,
    hierarchy::Hierarchy,
    plan::{Action, Plan, Selection},
    promote::{Verdict, conclude, promote, verdict},
    report::{self, Progress, ReportOptions},
    run::{EventKind, Reporter, RunOptions, StopReason, Telling, Workshop, execute},
    state::State,
    store::{Local, Remote, Store},
};

/// How many repositories are asked at once whether we may push to them.
const PREFLIGHTS_AT_ONCE: usize = 8;

pub(super) async fn run(common: &Common, arguments: &RunArgs) -> Result<Exit, CommandError> {
    let stops = signals::listen()
        .map_err(|error| CommandError::new(Exit::Internal, format!("no signals: {error}")))?;
    let hierarchy = Arc::new(load(common)?);
    let selection = selection(&hierarchy, common, &arguments.selection)?;
    let world = World::connect(arguments.builder, common.offline).await?;
    let _lock =
        if arguments.no_push { None } else { Some(State::lock(&world.publishes_to(&hierarchy))?) };
    let run = Run { hierarchy, selection, world, arguments };
    if run.hierarchy.registry.is_some() {
        let store = Remote::new(run.world.registries.clone(), run.world.engine.clone());
        run.on(Arc::new(store), stops).await
    } else {
        let store = Local::new(run.world.engine.clone());
        run.on(Arc::new(store), stops).await
    }
}

struct Run<'a> {
    hierarchy: Arc<Hierarchy>,
    selection: Selection,
    world: World,
    arguments: &'a RunArgs,
}

impl Run<'_> {
    async fn on<S: Store>(
        &self,
        store: Arc<S>,
        mut stops: mpsc::Receiver<StopReason>,
    ) -> Result<Exit, CommandError> {
        let decide = async {
            let plan = make(&self.hierarchy, &self.selection, &self.world, &*store);
            let (plan, ()) = tokio::join!(plan, leftovers::remove(&self.world.engine));
            let plan = plan?;
            self.preflight(&plan.0).await?;
            Ok::<_, CommandError>(plan)
        };
        let (plan, warnings) = tokio::select! {
            decided = decide => decided?,
            Some(reason) = stops.recv() => return Ok(exit_of(reason)),
        };
        let plan = Arc::new(plan);
        let tag_values = tag_values(&self.hierarchy)?;
        let state = State::of(&self.hierarchy.file);
        let run = state.begin_run();
        let _alive = run.declare_alive();
        let shop = Arc::new(Workshop {
            engine: self.world.engine.clone(),
            store: store.clone(),
            registries: self.world.registries.clone(),
            hierarchy: self.hierarchy.clone(),
            plan: plan.clone(),
            run,
            options: self.options(),
        });

        let mut reporter = self.reporter();
        let mut telling = Telling::new(&mut *reporter);
        telling.emit(EventKind::RunStarted {
            run: shop.run.id.clone(),
            plan: plan.clone(),
            registry: self.hierarchy.registry.as_ref().map(ToString::to_string),
            jobs: shop.options.jobs.get(),
        });
        for message in warnings {
            telling.emit(EventKind::Warning { node: None, message });
        }
        let executed = execute(&shop, &mut stops, &mut telling).await;
        let verdict = if self.arguments.no_push {
            Verdict::NotAsked
        } else {
            verdict(&self.hierarchy, &plan, &executed, &tag_values)
                .map_err(|error| CommandError::new(Exit::Usage, error.to_string()))?
        };
        let promoted = promote(&store, verdict, &mut stops, &mut telling).await;
        self.world.engine.quiesce().await;

        let took = telling.elapsed();
        let summary = conclude(shop.run.id.clone(), &plan, executed, promoted, took);
        let exit = summary.exit;
        telling.emit(EventKind::RunFinished { summary });
        Ok(exit)
    }

    /// Finds out before the first build what would otherwise fail after the last.
    async fn preflight(&self, plan: &Plan) -> Result<(), CommandError> {
        if self.arguments.no_push || self.hierarchy.registry.is_none() {
            return Ok(());
        }
        let repositories: BTreeSet<_> = plan
            .steps
            .iter()
            .filter(|step| !matches!(step.action, Action::Keep { .. }))
            .filter_map(|step| Some(&self.hierarchy.get(&step.node)?.repository))
            .collect();
        stream::iter(repositories)
            .map(|repository| self.world.registries.may_push(repository))
            .buffer_unordered(PREFLIGHTS_AT_ONCE)
            .try_collect::<()>()
            .await?;
        Ok(())
    }

    fn options(&self) -> RunOptions {
        let cpus = NonZeroUsize::new(self.world.info.cpus).unwrap_or(NonZeroUsize::MIN);
        RunOptions {
            jobs: self.arguments.jobs.unwrap_or(cpus),
            keep_going: self.arguments.keep_going,
            push: !self.arguments.no_push,
            no_cache: false,
        }
    }

    fn reporter(&self) -> Box<dyn Reporter> {
        let progress = match self.arguments.progress {
            ProgressArg::Auto => Progress::Auto,
            ProgressArg::Tty => Progress::Tty,
            ProgressArg::Plain => Progress::Plain,
            ProgressArg::Json => Progress::Json,
            ProgressArg::Quiet => Progress::Quiet,
        };
        let options = ReportOptions {
            is_terminal: output::stderr_is_terminal(),
            colour: output::stderr_has_colour(),
            github: env::var_os("GITHUB_ACTIONS").is_some_and(|value| value == "true"),
            verbose: self.arguments.verbose,
            size: report::stderr_size,
        };
        let (out, result) = (std::io::stderr(), std::io::stdout());
        report::reporter(progress, options, Box::new(out), Box::new(result))
    }
}

fn exit_of(reason: StopReason) -> Exit {
    match reason {
        StopReason::Terminated => Exit::Terminated,
        _ => Exit::Interrupted,
    }
}
