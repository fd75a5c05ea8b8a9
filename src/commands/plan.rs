//! `rebuild plan`: what a run would do, and why.

use super::{
    error::CommandError,
    output,
    project::{load, selection, tag_values},
    world::World,
};
use crate::{
    cli::{Builder, Common, Format, PlanArgs},
    exit::Exit,
    hierarchy::Hierarchy,
    observe::{Question, Sources, observe},
    plan::{self, Plan, Selection},
    report,
    store::{Local, Remote, Store},
};

pub(super) async fn plan(common: &Common, arguments: &PlanArgs) -> Result<Exit, CommandError> {
    let hierarchy = load(common)?;
    let selection = selection(&hierarchy, common, &arguments.selection)?;
    let world = World::connect(Builder::Auto, common.offline).await?;
    let (plan, warnings) = if hierarchy.registry.is_some() {
        let store = Remote::new(world.registries.clone(), world.engine.clone());
        make(&hierarchy, &selection, &world, &store).await?
    } else {
        let store = Local::new(world.engine.clone());
        make(&hierarchy, &selection, &world, &store).await?
    };
    for warning in &warnings {
        output::warning(warning);
    }
    let mut text = Vec::new();
    match arguments.format {
        Format::Text => report::plan::text(&plan, output::stdout_has_colour(), &mut text),
        Format::Json => report::plan::json(&plan, &mut text),
    }
    .and_then(|()| output::answer(&text))
    .map_err(|error| CommandError::new(Exit::Internal, format!("cannot write: {error}")))?;
    Ok(if arguments.exit_code && plan.has_work() { Exit::Work } else { Exit::Done })
}

/// Asks everybody, and decides. Also what a run begins with.
pub(super) async fn make<S: Store>(
    hierarchy: &Hierarchy,
    selection: &Selection,
    world: &World,
    store: &S,
) -> Result<(Plan, Vec<String>), CommandError> {
    let sources = Sources { engine: &*world.engine, store, registries: &world.registries };
    let tag_values = tag_values(hierarchy)?;
    let question = Question {
        hierarchy,
        selection,
        platform: &world.info.platform,
        tag_values: &tag_values,
        offline: world.offline,
    };
    let (observed, warnings) = observe(&sources, &question).await?;
    Ok((plan::plan(hierarchy, &observed, selection), warnings))
}
