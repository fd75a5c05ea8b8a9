//! The durations of builds on all machines, in a note beside the images. Only estimates depend on it.

use super::{connections, error::CommandError};
use crate::{
    event::Outcome,
    hierarchy::Hierarchy,
    plan::order::{BuildSizes, History},
    publish::store::{RemoteTags, Tags as _},
    report::Record,
    run::state::StateFolder,
};

/// The name of the note. No image can have it.
const NOTE: &str = ":durations";

/// Those of this machine, and of pipelines.
pub(super) async fn read(hierarchy: &Hierarchy) -> History {
    let state = StateFolder::of(&hierarchy.file);
    let place = hierarchy.registry.as_ref().map(ToString::to_string).unwrap_or_default();
    let here = History::read(&state.recall(&connections::history_of(&place)));
    let there = of_pipelines(hierarchy).await.unwrap_or_default();
    here.or(there)
}

async fn of_pipelines(hierarchy: &Hierarchy) -> Result<History, CommandError> {
    let Some(prefix) = &hierarchy.registry else { return Ok(History::default()) };
    let store = RemoteTags::new(connections::registries()?, prefix);
    Ok(History::read(&store.note(NOTE).await?.unwrap_or_default()))
}

/// Adds what the jobs of a pipeline took.
pub(super) async fn keep(hierarchy: &Hierarchy, record: &Record) -> Result<(), CommandError> {
    let (Some(prefix), Some(summary)) = (&hierarchy.registry, &record.summary) else {
        return Ok(());
    };
    let mut history = of_pipelines(hierarchy).await?;
    let before = history.clone();
    for step in &summary.steps {
        let is_build = matches!(step.outcome, Outcome::Built { .. } | Outcome::Unchanged { .. });
        if is_build && !step.took.is_zero() {
            history.record(&step.node, step.took, BuildSizes::default());
        }
    }
    history.retain(|node| hierarchy.get(node).is_some());
    if history != before {
        let store = RemoteTags::new(connections::registries()?, prefix);
        store.keep_note(NOTE, &history.kept()).await?;
    }
    Ok(())
}
