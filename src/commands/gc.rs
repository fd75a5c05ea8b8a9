//! `rebuild gc`: takes away build tags that nobody needs any more, and what dead runs have left.

use std::{
    cell::{Cell, RefCell},
    collections::BTreeSet,
    io,
    time::Duration,
};

use jiff::Timestamp;
use tokio::sync::mpsc;

use super::{
    connections::Connections,
    error::CommandError,
    history, journals,
    killed_runs::Leftovers,
    output,
    plan::{ONLY_ASKS, make},
    plan_source,
    project::load,
    signals::{self, exit_of},
};
use crate::{
    commands::cli::{Builder, Common, Format, GcArgs},
    engine::docker::Docker,
    event::StopReason,
    exit::Exit,
    hierarchy::Hierarchy,
    image::{Digest, Repository, Tagged},
    plan::{Action, PlanRequest, Selection},
    publish::{
        gc::{Going, KEPT_RUNS, Needs, Removed, Sweep, decide, old_records, remove},
        journal::PastRun,
        store::{Inventory, Local, Remote, Store, Tags, began_at},
    },
    report::{
        self,
        gc::{GcPlace, GcReport, PlaceReport},
    },
    run::state::StateFolder,
};

/// Images stay that so many of the last runs moved tags from or to.
const TAKEN_BACK: usize = 3;

pub(super) async fn gc(common: &Common, arguments: &GcArgs) -> Result<Exit, CommandError> {
    let mut stops = signals::listen()
        .map_err(|error| CommandError::new(Exit::Internal, format!("no signals: {error}")))?;
    let hierarchy = load(common)?;
    let connect = Connections::connect(&hierarchy, Builder::Auto, common.offline);
    let world = signals::unless_stopped(&mut stops, connect).await?;
    let removed = Cell::new(0);
    let report = RefCell::default();
    let sweeper = Sweeper { hierarchy: &hierarchy, world: &world, arguments, removed, report };
    let local = Local::new(world.engine.clone());
    match &hierarchy.registry {
        Some(prefix) => {
            let store = Remote::new(world.registries.clone(), prefix, world.engine.clone());
            sweeper.work((&store, GcPlace::Registry), &local, &mut stops).await
        }
        None => sweeper.work((&local, GcPlace::Engine), &local, &mut stops).await,
    }
}

struct Sweeper<'a> {
    hierarchy: &'a Hierarchy,
    world: &'a Connections,
    arguments: &'a GcArgs,
    /// How many images are gone by now.
    removed: Cell<usize>,
    /// Of `--format json`.
    report: RefCell<GcReport>,
}

impl Sweeper<'_> {
    async fn work<S: Inventory>(
        &self,
        published: (&S, GcPlace),
        local: &Local<Docker>,
        stops: &mut mpsc::Receiver<StopReason>,
    ) -> Result<Exit, CommandError> {
        let place = self.world.publishes_to(self.hierarchy);
        let mut _lock = None;
        if self.arguments.yes {
            // A run that is about to promote an image had better find it, and so had one that was cut off.
            _lock = Some(StateFolder::lock(&place)?);
            if let Some(reason) =
                journals::finish(published.0, (self.hierarchy, &place), stops).await?
            {
                return Ok(exit_of(reason));
            }
        } else {
            journals::tell(self.hierarchy, &place, "`rebuild gc --yes` first moves the rest");
        }
        let ended = tokio::select! {
            biased;
            Some(reason) = stops.recv() => {
                output::warning(&report::gc::stopped(self.removed.get()));
                Ok(exit_of(reason))
            }
            ended = self.sweep_all(published, local) => ended.map(|()| Exit::Done),
        };
        if self.arguments.format == Format::Json {
            let exit = ended.as_ref().map_or_else(|error| error.exit, |exit| *exit);
            let mut text = Vec::new();
            self.report
                .borrow()
                .json(exit, &mut text)
                .and_then(|()| output::view(&text, false))
                .map_err(|error| cannot_write(&error))?;
        }
        ended
    }

    async fn sweep_all<S: Inventory>(
        &self,
        (store, place): (&S, GcPlace),
        local: &Local<Docker>,
    ) -> Result<(), CommandError> {
        let mut needs = self.needs();
        needs.today = self.today(store).await?;
        let place_name = self.world.publishes_to(self.hierarchy);
        needs.rollback = taken_back(self.hierarchy, (&place_name, store)).await?;
        let sweep = self.sweep(store, &needs, place).await?;
        let mut found = !sweep.going.is_empty();
        if place == GcPlace::Registry {
            found |= self.records(store).await?;
            found |= self.pipelines().await?;
            // What the engine has of it is only there to be quick.
            let needs = Needs { tags: sweep.kept_tags, ..self.needs() };
            found |= !self.sweep(local, &needs, GcPlace::Engine).await?.going.is_empty();
        }
        found |= self.leftovers().await?;
        if found && !self.arguments.yes {
            self.say(&report::gc::invitation())?;
        }
        Ok(())
    }

    fn needs(&self) -> Needs {
        Needs {
            // Images of the time before an image had several platforms are its images, too.
            nodes: self
                .hierarchy
                .in_build_order()
                .flat_map(|node| [node.name.clone(), node.name.image().into()])
                .collect(),
            today: BTreeSet::new(),
            rollback: BTreeSet::new(),
            tags: BTreeSet::new(),
            keep: self.arguments.keep,
            now: Timestamp::now(),
        }
    }

    /// Whether there were any old ones.
    async fn records<S: Inventory>(&self, store: &S) -> Result<bool, CommandError> {
        let GcArgs { keep, yes, .. } = *self.arguments;
        let repositories = self.hierarchy.in_build_order().map(|node| &node.repository).collect();
        let mut old = Vec::new();
        // Another hierarchy may publish below the same prefix.
        for run in old_records(store.recorded().await?, keep, Timestamp::now()) {
            let past = store.read_record(&run).await?.and_then(|text| PastRun::read(&text));
            if past.is_some_and(|past| past.concerns(&repositories)) {
                old.push(run);
            }
        }
        self.report.borrow_mut().records = old.len();
        let Some(line) = report::gc::records(old.len(), keep, yes) else { return Ok(false) };
        if yes {
            for run in &old {
                store.forget_record(run).await?;
            }
        }
        self.say(&line)?;
        Ok(true)
    }

    /// Plans of pipelines, and the records of their jobs. Whether there were any old ones.
    async fn pipelines(&self) -> Result<bool, CommandError> {
        let GcArgs { keep, yes, .. } = *self.arguments;
        let records = plan_source::records(self.hierarchy, &self.world.registries)?;
        let now = Timestamp::now();
        let is_old = |plan: &str| {
            let age = began_at(plan).map(|began| Duration::try_from(now.duration_since(began)));
            age.is_some_and(|age| age.is_ok_and(|age| age > keep))
        };
        let all = records.all().await?;
        let old: Vec<&Tagged> =
            all.iter().filter(|(plan, _)| is_old(plan)).map(|(_, tag)| tag).collect();
        let Some(line) = report::gc::pipelines(old.len(), keep, yes) else { return Ok(false) };
        if yes {
            for document in old {
                records.forget(document).await?;
            }
        }
        self.say(&line)?;
        Ok(true)
    }

    /// The stored images of today's inputs. Those of images that are to be built do not exist.
    async fn today<S: Store>(&self, store: &S) -> Result<BTreeSet<Digest>, CommandError> {
        let request = PlanRequest {
            selection: Selection::OutOfDate,
            refresh: false,
            by_schedule: false,
            platforms: BTreeSet::new(),
            now: Timestamp::now(),
        };
        let (plan, warnings) =
            make(self.hierarchy, &request, self.world, (store, !ONLY_ASKS)).await?;
        for warning in &warnings {
            output::warning(warning);
        }
        let stored = plan.steps.iter().filter_map(|step| match &step.action {
            Action::Keep { digest } | Action::Promote { digest } => Some(digest),
            Action::Build { .. } => step.published.as_ref(),
        });
        Ok(stored.chain(plan.given.values()).cloned().collect())
    }

    /// Says what goes and, if that was asked for, takes it away.
    async fn sweep<S: Inventory>(
        &self,
        store: &S,
        needs: &Needs,
        place: GcPlace,
    ) -> Result<Sweep, CommandError> {
        let nodes = self.hierarchy.in_build_order();
        let repositories: BTreeSet<Repository> =
            nodes.map(|node| node.repository.clone()).collect();
        let holdings = store.holdings(repositories.into_iter().collect()).await?;
        let sweep = decide(&holdings, needs);
        self.report.borrow_mut().places.push(PlaceReport {
            place,
            sweep: sweep.clone(),
            removed: BTreeSet::new(),
        });
        if self.arguments.format == Format::Text {
            let mut text = Vec::new();
            report::gc::text(&sweep, (place, self.arguments.keep), &mut text)
                .and_then(|()| output::view(&text, true))
                .map_err(|error| cannot_write(&error))?;
        }
        if self.arguments.yes {
            self.remove(store, &sweep, place).await?;
        }
        Ok(sweep)
    }

    async fn remove<S: Inventory>(
        &self,
        store: &S,
        sweep: &Sweep,
        place: GcPlace,
    ) -> Result<(), CommandError> {
        let mut removed: Vec<&Going> = Vec::new();
        for going in &sweep.going {
            match remove(store, going).await {
                Ok(Removed::Gone) => {
                    removed.push(going);
                    self.removed.update(|n| n + 1);
                    self.report.borrow_mut().removed(going);
                }
                Ok(Removed::Changed) => output::warning(&format!(
                    "`{}@{}` stays: its tags have changed meanwhile",
                    going.repository,
                    going.digest.short()
                )),
                // The next image would meet the same.
                Err(error) => {
                    let done = removed.len();
                    let error = CommandError::from(error);
                    return Err(error.after(&report::gc::so_far(done, sweep.going.len())));
                }
            }
        }
        if !removed.is_empty() {
            self.say(&report::gc::done(&removed, place))?;
        }
        Ok(())
    }

    fn say(&self, line: &str) -> Result<(), CommandError> {
        match self.arguments.format {
            Format::Text => output::view(format!("{line}\n").as_bytes(), true)
                .map_err(|error| cannot_write(&error)),
            Format::Json => Ok(()),
        }
    }

    /// Whether there were any.
    async fn leftovers(&self) -> Result<bool, CommandError> {
        let engine = &self.world.engine;
        let left = Leftovers::find(engine).await?.with_images(engine, &self.needs().nodes).await?;
        let Leftovers { containers, pins, folders, images } = &left;
        let counts = [containers.len(), pins.len(), folders.len(), images.len()];
        self.report.borrow_mut().leftovers = counts;
        let Some(line) = report::gc::leftovers(counts, self.arguments.yes) else {
            return Ok(false);
        };
        if self.arguments.yes {
            left.remove(engine).await?;
        }
        self.say(&line)?;
        Ok(true)
    }
}

/// The images that the last runs moved tags from and to.
pub(super) async fn taken_back<S: Tags>(
    hierarchy: &Hierarchy,
    place: (&str, &S),
) -> Result<BTreeSet<Digest>, CommandError> {
    let (runs, failure) = history::all_runs(hierarchy, place, KEPT_RUNS).await;
    if let Some(error) = failure {
        return Err(error.into());
    }
    // A promotion that is not finished goes forward or back.
    let (open, ended): (Vec<PastRun>, Vec<PastRun>) = runs.into_iter().partition(PastRun::is_open);
    let ended = ended.into_iter().filter_map(|run| run.moves).filter(|moves| !moves.is_empty());
    let moves = open.into_iter().filter_map(|run| run.moves).chain(ended.take(TAKEN_BACK));
    let digests = moves.flatten().flat_map(|one| [one.from, one.to]);
    Ok(digests.flatten().collect())
}

fn cannot_write(error: &io::Error) -> CommandError {
    CommandError::new(Exit::Internal, format!("cannot write: {error}"))
}
