//! Reads the plan that `--plan` names: a file, or the ID of a plan in the registry.

use std::path::Path;

use super::{
    error::CommandError,
    project::{load_to, start},
};
use crate::{
    commands::cli::Common,
    exit::Exit,
    hierarchy::Hierarchy,
    host::bounded,
    plan::{PlanFile, PlanFileError},
    publish::{journal::is_run_id, store::PipelineRecords},
    registry::Client,
};

/// A plan of 10,000 images with their file lists.
const LARGEST: u64 = 256 << 20;

/// A plan, its checkout, and where its jobs keep their records.
pub(super) struct PlanOfPipeline {
    pub(super) file: PlanFile,
    pub(super) hierarchy: Hierarchy,
    pub(super) records: PipelineRecords,
}

/// Reads a plan. `registries` answers if the plan is in the registry.
pub(super) async fn read(
    common: &Common,
    source: &str,
    registries: &Client,
) -> Result<PlanOfPipeline, CommandError> {
    let path = start(common)?.join(source);
    if path.exists() || !is_run_id(source) {
        let file = read_file(&path, source)?;
        let hierarchy = load_to(common, Some(&file.registry))?;
        return checked(file, hierarchy, registries);
    }
    let hierarchy = load_to(common, None)?;
    let records = records(&hierarchy, registries)?;
    let text = records.plan(source).await?.ok_or_else(|| {
        usage(format!("`{source}` is no file, and the registry has no plan with that ID"))
            .hint("`rebuild plan --out plan.json` writes a plan, `rebuild export` stores one")
    })?;
    let file = PlanFile::read(&text).map_err(|error| unusable(source, &error))?;
    checked(file, hierarchy, registries)
}

/// Reads a plan file.
fn read_file(path: &Path, source: &str) -> Result<PlanFile, CommandError> {
    let text = bounded::read(path, LARGEST)
        .map_err(|error| usage(format!("`{source}` cannot be read: {error}")))?;
    PlanFile::read(&text).map_err(|error| unusable(source, &error))
}

fn checked(
    file: PlanFile,
    hierarchy: Hierarchy,
    registries: &Client,
) -> Result<PlanOfPipeline, CommandError> {
    if !is_run_id(&file.id) {
        return Err(usage(format!("the plan has a wrong ID, `{}`", file.id)));
    }
    let prefix = hierarchy.registry.as_ref();
    if prefix != Some(&file.registry) {
        let ours = prefix.map_or("no registry".to_owned(), |prefix| format!("`{prefix}`"));
        return Err(usage(format!(
            "the plan {} publishes to `{}`, and this command to {ours}",
            file.id, file.registry
        )));
    }
    let records = records(&hierarchy, registries)?;
    Ok(PlanOfPipeline { file, hierarchy, records })
}

/// The pipeline's documents in the registry of a hierarchy.
pub(super) fn records(
    hierarchy: &Hierarchy,
    registries: &Client,
) -> Result<PipelineRecords, CommandError> {
    let Some(prefix) = &hierarchy.registry else {
        return Err(usage(
            "a pipeline needs a registry: its jobs hand images over there".to_owned(),
        )
        .hint("set `registry:` in hierarchy.yaml, `--registry` or `REBUILD_REGISTRY`"));
    };
    PipelineRecords::new(registries.clone(), prefix)
        .ok_or_else(|| usage(format!("`{prefix}` is too long for a repository below it")))
}

fn unusable(source: &str, error: &PlanFileError) -> CommandError {
    usage(format!("`{source}` cannot be used: {error}"))
        .hint("make a new one with `rebuild plan --out FILE`")
}

fn usage(message: String) -> CommandError {
    CommandError::new(Exit::Usage, message)
}
