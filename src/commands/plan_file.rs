//! Makes the plan file that jobs on other machines execute.

use std::path::Path;

use super::{
    connections::Connections, error::CommandError, plan_source, project::tag_values, run::flags,
};
use crate::{
    commands::cli::SelectionArgs,
    exit::Exit,
    hierarchy::Hierarchy,
    host::{bounded, git, owner},
    image::Digest,
    plan::{Plan, PlanCommit, PlanFile},
    run::state::new_id,
};

/// The plan with the facts of its checkout.
pub(super) fn of(
    (hierarchy, plan): (&Hierarchy, &Plan),
    world: &Connections,
    selection: &SelectionArgs,
) -> Result<PlanFile, CommandError> {
    plan_source::records(hierarchy, &world.registries)?;
    let Some(registry) = hierarchy.registry.clone() else { unreachable!("it was just checked") };
    let text = bounded::read(&hierarchy.file, bounded::TEXT).unwrap_or_default();
    let target = (registry, world.info.platform.clone());
    let facts = PlanFile::facts(new_id(), target, Digest::of(&text), tag_values(hierarchy)?);
    let commit = git::head(hierarchy.root()).map(|head| PlanCommit {
        commit: head.commit,
        committed: head.committed,
        is_clean: head.is_clean,
    });
    let facts = PlanFile { commit, asked: flags(selection), ..facts };
    Ok(PlanFile::new(hierarchy, plan, facts))
}

pub(super) fn write(path: &Path, file: &PlanFile) -> Result<(), CommandError> {
    owner::replace(path, &file.written()).map_err(|error| {
        CommandError::new(
            Exit::Internal,
            format!("`{}` cannot be written: {error}", path.display()),
        )
    })
}
