//! What commands that only answer begin with: the plan of all that is out of date, and what
//! published images say of themselves.

use std::collections::BTreeSet;

use super::{error::CommandError, output, plan::make, world::World};
use crate::{
    cli::{Builder, Common},
    hierarchy::{Hierarchy, NodeName},
    observe::describe,
    plan::{LastBuilds, Plan, Selection},
    store::{Local, Remote, Store},
};

/// Asks about every image; and the published ones of those that are picked, what they say.
pub(super) async fn ask(
    hierarchy: &Hierarchy,
    common: &Common,
    pick: impl Fn(&Plan) -> BTreeSet<NodeName>,
) -> Result<(Plan, LastBuilds), CommandError> {
    let world = World::connect(Builder::Auto, common.offline).await?;
    if hierarchy.registry.is_some() {
        let store = Remote::new(world.registries.clone(), world.engine.clone());
        ask_store(hierarchy, &world, &store, pick).await
    } else {
        let store = Local::new(world.engine.clone());
        ask_store(hierarchy, &world, &store, pick).await
    }
}

async fn ask_store<S: Store>(
    hierarchy: &Hierarchy,
    world: &World,
    store: &S,
    pick: impl Fn(&Plan) -> BTreeSet<NodeName>,
) -> Result<(Plan, LastBuilds), CommandError> {
    let (plan, warnings) = make(hierarchy, &Selection::OutOfDate, world, store).await?;
    for warning in &warnings {
        output::warning(warning);
    }
    let last_builds = describe(store, hierarchy, &plan, &pick(&plan)).await?;
    Ok((plan, last_builds))
}
