//! What commands that only answer begin with: the plan of all that is out of date, and what
//! published images say of themselves.

use std::collections::BTreeSet;

use jiff::Timestamp;

use super::{
    connections::{Connections, FAILURES},
    error::CommandError,
    history::all_runs,
    journals, output,
    plan::{ONLY_ASKS, make},
    project::for_engine,
    unpublished,
};
use crate::{
    commands::cli::Common,
    hierarchy::{Hierarchy, NodeName},
    plan::{LastBuilds, Plan, PlanRequest, Selection},
    publish::{failures::Failures, store::Store},
    run::observe::describe,
};

/// Among how many of the newest runs one is searched that published an image without tags.
const LOOKED_THROUGH: usize = 20;

/// How images stand.
pub(super) struct QueryAnswer {
    pub(super) plan: Plan,
    pub(super) last_builds: LastBuilds,
    /// Of this machine.
    pub(super) failures: Failures,
}

/// Asks about every image; and the published ones of those that are picked, what they say.
pub(super) async fn ask(
    hierarchy: &Hierarchy,
    common: &Common,
    pick: impl Fn(&Plan) -> BTreeSet<NodeName>,
) -> Result<QueryAnswer, CommandError> {
    let world = Connections::asking(hierarchy, common.offline).await?;
    let of_engine = for_engine(hierarchy, common, &world.info.platform)?;
    let hierarchy = of_engine.as_ref().unwrap_or(hierarchy);
    if let Some(prefix) = &hierarchy.registry {
        let store = world.remote(prefix);
        ask_store(hierarchy, &world, &store, pick).await
    } else {
        let store = world.local();
        ask_store(hierarchy, &world, &store, pick).await
    }
}

async fn ask_store<S: Store>(
    hierarchy: &Hierarchy,
    world: &Connections,
    store: &S,
    pick: impl Fn(&Plan) -> BTreeSet<NodeName>,
) -> Result<QueryAnswer, CommandError> {
    let selection = Selection::OutOfDate;
    let request = PlanRequest {
        selection,
        refresh: false,
        by_schedule: false,
        platforms: BTreeSet::new(),
        now: Timestamp::now(),
    };
    let (mut plan, warnings) = make(hierarchy, &request, world, (store, ONLY_ASKS)).await?;
    for warning in &warnings {
        output::warning(warning);
    }
    journals::tell(
        hierarchy,
        &world.publishes_to(hierarchy),
        "the next `rebuild` first moves the rest",
    );
    if unpublished::is_open(&plan) {
        let place = world.publishes_to(hierarchy);
        let (runs, _) = all_runs(hierarchy, (&place, store), LOOKED_THROUGH).await;
        unpublished::mark_deleted(&mut plan, &runs);
    }
    let last_builds = describe(store, hierarchy, &plan, &pick(&plan)).await?;
    let failures = Failures::read(&world.state.recall(FAILURES));
    Ok(QueryAnswer { plan, last_builds, failures })
}
