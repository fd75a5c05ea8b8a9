//! Removes what runs that were killed have left: test containers, pins and temporary folders.

use std::{collections::BTreeSet, env, fs};

use super::output;
use crate::{
    engine::{Docker, Engine as _, EngineError},
    run::{run_of_folder, run_of_pin},
    state,
};

/// Best effort: a leftover is untidy, and no reason not to run.
pub(super) async fn remove(engine: &Docker) {
    if let Err(error) = try_remove(engine).await {
        output::warning(&format!("leftovers of an earlier run cannot be removed: {error}"));
    }
}

async fn try_remove(engine: &Docker) -> Result<(), EngineError> {
    let containers = engine.leftovers().await?;
    let runs: BTreeSet<&str> = containers.iter().map(|left| left.run.as_str()).collect();
    for run in runs.into_iter().filter(|run| state::is_over(run)) {
        engine.remove_leftovers(run).await?;
    }
    for name in engine.list().await?.keys() {
        if run_of_pin(name).is_some_and(state::is_over) {
            engine.untag(name).await?;
        }
    }
    remove_folders();
    Ok(())
}

/// Copies of build contexts that prepare commands have filled.
fn remove_folders() {
    let Ok(entries) = fs::read_dir(env::temp_dir()) else { return };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let run = name.to_str().and_then(run_of_folder);
        if run.is_some_and(state::is_over) {
            _ = fs::remove_dir_all(entry.path());
        }
    }
}
