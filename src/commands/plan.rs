//! `rebuild plan`: what a run would do, and why.

use super::{
    connections::World,
    error::CommandError,
    journals, older_commit, output,
    project::{load, nodes, request, tag_values},
};
use crate::{
    commands::cli::{Builder, Common, Format, PlanArgs},
    exit::Exit,
    hierarchy::Hierarchy,
    host::git,
    plan::{self, Plan, Request, Selection, order::BlastRadius},
    publish::store::{Local, Remote, Store},
    report,
    run::{
        observe::{Question, Sources, due, observe},
        state::Asking,
    },
};

/// Of [`make`]: nothing is done by the plan that it makes.
pub(super) const ONLY_ASKS: bool = true;

pub(super) async fn plan(common: &Common, arguments: &PlanArgs) -> Result<Exit, CommandError> {
    let hierarchy = load(common)?;
    let request = request(&hierarchy, common, &arguments.selection)?;
    let named = nodes(&hierarchy, &arguments.nodes)?;
    let world = World::connect(&hierarchy, Builder::Auto, common.offline).await?;
    let (mut plan, warnings) = if let Some(prefix) = &hierarchy.registry {
        let store = Remote::new(world.registries.clone(), prefix, world.engine.clone());
        made(&hierarchy, &request, &world, &store).await?
    } else {
        let store = Local::new(world.engine.clone());
        made(&hierarchy, &request, &world, &store).await?
    };
    journals::tell(
        &hierarchy,
        &world.publishes_to(&hierarchy),
        "the next `rebuild` first moves the rest",
    );
    for warning in &warnings {
        output::warning(warning);
    }
    if !named.is_empty() {
        plan = plan.narrowed(&named);
    }
    let history = world.history(&world.publishes_to(&hierarchy));
    let radius = BlastRadius::of(&plan, &hierarchy, &history, world.jobs());
    let mut text = Vec::new();
    match arguments.format {
        Format::Text => {
            report::plan::text(&plan, &radius, (output::stdout_has_colour(), &mut text))
        }
        Format::Json => report::plan::json(&plan, &radius, &mut text),
    }
    .and_then(|()| output::answer(&text))
    .map_err(|error| CommandError::new(Exit::Internal, format!("cannot write: {error}")))?;
    Ok(if arguments.exit_code && plan.has_work() { Exit::Work } else { Exit::Done })
}

/// What a run would begin with, and a warning if it would be refused.
async fn made<S: Store>(
    hierarchy: &Hierarchy,
    request: &Request,
    world: &World,
    store: &S,
) -> Result<(Plan, Vec<String>), CommandError> {
    let (plan, mut warnings) = make(hierarchy, request, world, (store, ONLY_ASKS)).await?;
    if let Some(head) = git::head(hierarchy.root())
        && let Err(error) = older_commit::refuse(store, hierarchy, &plan, &head).await
        && error.exit == Exit::PromotionFailed
    {
        warnings.push(format!("a run is refused without `--allow-older`: {error}"));
    }
    Ok((plan, warnings))
}

/// Asks everybody, and decides. Also what a run begins with.
pub(super) async fn make<S: Store>(
    hierarchy: &Hierarchy,
    request: &Request,
    world: &World,
    (store, only_asks): (&S, bool),
) -> Result<(Plan, Vec<String>), CommandError> {
    let sources = Sources { engine: &*world.engine, store, registries: &world.registries };
    let tag_values = tag_values(hierarchy)?;
    let request = &if request.by_schedule {
        let selection = Selection::Among(due(store, (hierarchy, &tag_values), request.now).await?);
        Request { selection, ..request.clone() }
    } else {
        request.clone()
    };
    let asking = Asking::begin();
    let question = Question {
        hierarchy,
        request,
        platform: &world.info.platform,
        tag_values: &tag_values,
        hashes: &world.hashes,
        offline: world.offline,
        only_asks,
        run: &asking.id,
    };
    let (observed, warnings) = observe(&sources, &question).await?;
    world.keep_hashes().await;
    Ok((plan::plan(hierarchy, &observed, request), warnings))
}
