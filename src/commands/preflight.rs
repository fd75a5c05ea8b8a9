//! Finds out before the first build what would otherwise fail after the last.

use std::collections::BTreeSet;

use futures_util::{StreamExt as _, TryStreamExt as _, stream};

use super::{connections::Connections, error::CommandError};
use crate::{
    exit::Exit,
    hierarchy::{Hierarchy, Node},
    image::Repository,
    plan::{Action, Plan},
};

/// How many repositories are asked at once whether we may push to them.
const ASKED_AT_ONCE: usize = 8;
/// No build fits into less: a Debian base image alone has 120 MB.
pub(super) const TOO_LITTLE: u64 = 200_000_000;
/// A hierarchy of some ten images may well not fit into less.
pub(super) const LITTLE: u64 = 2_000_000_000;

/// Every repository that this plan stores an image in or moves a tag of.
pub(super) fn pushed_to<'a>(hierarchy: &'a Hierarchy, plan: &Plan) -> BTreeSet<&'a Repository> {
    plan.steps
        .iter()
        .filter(|step| !matches!(step.action, Action::Keep { .. }))
        .filter_map(|step| hierarchy.get(&step.node))
        .flat_map(Node::repositories)
        .collect()
}

/// Returns what a person should know, and goes on; an error is what would stop the run later.
pub(super) async fn preflight(
    world: &Connections,
    plan: &Plan,
    repositories: Option<BTreeSet<&Repository>>,
) -> Result<Option<String>, CommandError> {
    let builds = plan.steps.iter().any(|step| matches!(step.action, Action::Build { .. }));
    let room = world.info.room.filter(|_| builds);
    let mut warning = match room.map_or(Ok(None), |room| enough(room, &world.info.endpoint)) {
        // The other engines may have more.
        Err(error) if world.pool.len() > 1 => Some(error.to_string()),
        warning => warning?,
    };
    for other in world.pool.iter().skip(1) {
        let room = other.info.room.filter(|_| builds);
        let found = room.map_or(Ok(None), |room| enough(room, &other.info.endpoint));
        warning = warning.or(found.unwrap_or_else(|error| Some(error.to_string())));
    }
    stream::iter(repositories.into_iter().flatten())
        .map(|repository| world.registries.may_push(repository))
        .buffer_unordered(ASKED_AT_ONCE)
        .try_collect::<()>()
        .await?;
    Ok(warning)
}

/// Whether so many bytes are enough to begin with.
fn enough(room: u64, endpoint: &str) -> Result<Option<String>, CommandError> {
    let message = format!("the engine at {endpoint} has room for {} MB only", room / 1_000_000);
    match room {
        ..TOO_LITTLE => Err(CommandError::new(Exit::EngineUnreachable, message)
            .hint("`docker system prune` removes what no container and no tag needs")),
        TOO_LITTLE..LITTLE => Ok(Some(message)),
        LITTLE.. => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn little_room_is_told_and_too_little_refused() {
        let told = |room| match enough(room, "unix:///x") {
            Ok(None) => "nothing".to_owned(),
            Ok(Some(warning)) => format!("warning: {warning}"),
            Err(error) => format!("{}: {error}", error.exit.code()),
        };
        for (room, expected) in [
            (LITTLE, "nothing"),
            (LITTLE - 1, "warning: the engine at unix:///x has room for 1999 MB only"),
            (TOO_LITTLE, "warning: the engine at unix:///x has room for 200 MB only"),
            (
                TOO_LITTLE - 1,
                "20: the engine at unix:///x has room for 199 MB only\n  hint: `docker system prune` \
                 removes what no container and no tag needs",
            ),
            (
                0,
                "20: the engine at unix:///x has room for 0 MB only\n  hint: `docker system prune` \
                 removes what no container and no tag needs",
            ),
        ] {
            assert_eq!(told(room), expected);
        }
    }
}
