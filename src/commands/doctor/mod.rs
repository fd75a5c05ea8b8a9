//! `rebuild doctor`: what a run needs, looked at piece by piece. Changes nothing.

mod engine;
mod registries;
mod state;

use super::{error::CommandError, output, project};
use crate::{
    commands::cli::{Common, DoctorArgs, Format},
    exit::Exit,
    hierarchy::{Hierarchy, LoadOptions},
    report::doctor::{DoctorReport, Finding},
};

pub(super) async fn doctor(common: &Common, arguments: &DoctorArgs) -> Result<Exit, CommandError> {
    output::choose_colour(common.color);
    let mut findings = Vec::new();
    let hierarchy = hierarchy(common, &mut findings);
    let engines = hierarchy.as_ref().map_or(&common.engines, |hierarchy| &hierarchy.engines);
    let endpoint = engine::check(engines, &mut findings).await;
    state::check(hierarchy.as_ref(), endpoint, &mut findings);
    if let Some(hierarchy) = &hierarchy {
        registries::check(hierarchy, common.offline, &mut findings).await;
    }
    let health = DoctorReport { findings };
    let mut text = Vec::new();
    match arguments.format {
        Format::Text => health.text((output::stdout_has_colour(), &mut text)),
        Format::Json => health.json(&mut text),
    }
    .and_then(|()| output::view(&text, matches!(arguments.format, Format::Text)))
    .map_err(|error| CommandError::new(Exit::Internal, format!("cannot write: {error}")))?;
    Ok(health.exit())
}

/// Without one, the machine is looked at all the same.
fn hierarchy(common: &Common, findings: &mut Vec<Finding>) -> Option<Hierarchy> {
    const WHAT: &str = "hierarchy";
    let is_named = common.file.is_some();
    if !is_named && project::find(common).is_err() {
        let start = project::start(common).ok()?;
        findings.push(Finding::ok(
            WHAT,
            format!("none in `{}` or above it: registries are not checked", start.display()),
        ));
        return None;
    }
    let file = match project::find(common) {
        Ok(file) => file,
        Err(error) => {
            findings.push(Finding::problem(WHAT, error.exit, error.to_string()));
            return None;
        }
    };
    let options =
        LoadOptions { registry: common.registry.clone(), ..project::load_options(common) };
    match Hierarchy::load(&file, &options) {
        Ok(mut loaded) => {
            if common.no_registry {
                loaded.hierarchy.take_registry();
            }
            let images = match loaded.hierarchy.images() {
                1 => "1 image".to_owned(),
                n => format!("{n} images"),
            };
            let published = match &loaded.hierarchy.registry {
                Some(registry) => format!("published to {registry}"),
                None => "in the engine only".to_owned(),
            };
            findings
                .push(Finding::ok(WHAT, format!("`{}`: {images}, {published}", file.display())));
            for warning in loaded.warnings {
                let finding = Finding::warning(WHAT, warning.message.clone());
                findings.push(finding.hint(warning.hint));
            }
            Some(loaded.hierarchy)
        }
        Err(error) => {
            let finding =
                Finding::problem(WHAT, Exit::Usage, format!("`{}`: {error}", file.display()));
            findings.push(
                finding.hint(Some("`rebuild plan` shows each problem with its place".into())),
            );
            None
        }
    }
}
