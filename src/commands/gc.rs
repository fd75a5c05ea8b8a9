//! `rebuild gc`: takes away build tags that nobody needs any more, and what dead runs have left.

use std::collections::BTreeSet;

use jiff::Timestamp;

use super::{
    error::CommandError,
    leftovers::Leftovers,
    output,
    plan::{ONLY_ASKS, make},
    project::load,
    world::World,
};
use crate::{
    cli::{Builder, Common, GcArgs},
    exit::Exit,
    gc::{Going, Needs, Removed, Sweep, decide, remove},
    hierarchy::Hierarchy,
    image::{Digest, Repository, Tag},
    plan::{Action, Request, Selection},
    report::{self, gc::Place},
    state::State,
    store::{Local, Remote, Store},
};

pub(super) async fn gc(common: &Common, arguments: &GcArgs) -> Result<Exit, CommandError> {
    let hierarchy = load(common)?;
    let world = World::connect(&hierarchy, Builder::Auto, common.offline).await?;
    // A run that is about to promote an image had better find it.
    let _lock =
        if arguments.yes { Some(State::lock(&world.publishes_to(&hierarchy))?) } else { None };
    let sweeper = Sweeper { hierarchy: &hierarchy, world: &world, arguments };
    let local = Local::new(world.engine.clone());
    let mut found = false;
    if let Some(prefix) = &hierarchy.registry {
        let store = Remote::new(world.registries.clone(), prefix, world.engine.clone());
        let today = sweeper.today(&store).await?;
        let sweep = sweeper.sweep(&store, (today, BTreeSet::new()), Place::Registry).await?;
        found |= !sweep.going.is_empty();
        // What the engine has of it is only there to be quick.
        let kept = (BTreeSet::new(), sweep.kept_tags);
        found |= !sweeper.sweep(&local, kept, Place::Engine).await?.going.is_empty();
    } else {
        let today = sweeper.today(&local).await?;
        let sweep = sweeper.sweep(&local, (today, BTreeSet::new()), Place::Engine).await?;
        found |= !sweep.going.is_empty();
    }
    found |= sweeper.leftovers().await?;
    if found && !arguments.yes {
        say(&report::gc::invitation())?;
    }
    Ok(Exit::Done)
}

struct Sweeper<'a> {
    hierarchy: &'a Hierarchy,
    world: &'a World,
    arguments: &'a GcArgs,
}

impl Sweeper<'_> {
    /// The stored images of today's inputs. Those of images that are to be built do not exist.
    async fn today<S: Store>(&self, store: &S) -> Result<BTreeSet<Digest>, CommandError> {
        let request = Request {
            selection: Selection::OutOfDate,
            refresh: false,
            by_schedule: false,
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
    async fn sweep<S: Store>(
        &self,
        store: &S,
        (today, tags): (BTreeSet<Digest>, BTreeSet<Tag>),
        place: Place,
    ) -> Result<Sweep, CommandError> {
        let nodes = self.hierarchy.in_build_order();
        let repositories: BTreeSet<Repository> =
            nodes.map(|node| node.repository.clone()).collect();
        let holdings = store.holdings(repositories.into_iter().collect()).await?;
        let needs = Needs {
            nodes: self.hierarchy.in_build_order().map(|node| node.name.clone()).collect(),
            today,
            tags,
            keep: self.arguments.keep,
            now: Timestamp::now(),
        };
        let sweep = decide(&holdings, &needs);
        let mut text = Vec::new();
        report::gc::text(&sweep, (place, self.arguments.keep), &mut text)
            .and_then(|()| output::answer(&text))
            .map_err(|error| CommandError::new(Exit::Internal, format!("cannot write: {error}")))?;
        if self.arguments.yes {
            self.remove(store, &sweep, place).await?;
        }
        Ok(sweep)
    }

    async fn remove<S: Store>(
        &self,
        store: &S,
        sweep: &Sweep,
        place: Place,
    ) -> Result<(), CommandError> {
        let mut removed: Vec<&Going> = Vec::new();
        for going in &sweep.going {
            match remove(store, going).await {
                Ok(Removed::Gone) => removed.push(going),
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
            say(&report::gc::done(&removed, place))?;
        }
        Ok(())
    }

    /// Whether there were any.
    async fn leftovers(&self) -> Result<bool, CommandError> {
        let engine = &self.world.engine;
        let left = Leftovers::find(engine).await?;
        let counts = [left.containers.len(), left.pins.len(), left.folders.len()];
        let Some(line) = report::gc::leftovers(counts, self.arguments.yes) else {
            return Ok(false);
        };
        if self.arguments.yes {
            left.remove(engine).await?;
        }
        say(&line)?;
        Ok(true)
    }
}

fn say(line: &str) -> Result<(), CommandError> {
    output::answer(format!("{line}\n").as_bytes())
        .map_err(|error| CommandError::new(Exit::Internal, format!("cannot write: {error}")))
}
