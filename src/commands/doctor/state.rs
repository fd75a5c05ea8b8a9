//! What stays on this machine: can it be written, and is a promotion to be finished?

use crate::{
    commands::{error::CommandError, journals},
    hierarchy::Hierarchy,
    report::doctor::Finding,
    run::state,
};

/// `endpoint` is the engine's, where images are published that have no registry.
pub(super) fn check(
    hierarchy: Option<&Hierarchy>,
    endpoint: Option<String>,
    findings: &mut Vec<Finding>,
) {
    match state::probe() {
        Ok(home) => findings.push(Finding::ok("state", format!("`{}`", home.display()))),
        Err(error) => {
            let error = CommandError::from(error);
            findings.push(Finding::problem("state", error.exit, error.to_string()));
        }
    }
    let Some(hierarchy) = hierarchy else { return };
    let registry = hierarchy.registry.as_ref().map(ToString::to_string);
    let Some(place) = registry.or(endpoint) else { return };
    for cut_off in journals::cut_off(hierarchy, &place) {
        let hint = Some("the next `rebuild` moves the rest".to_owned());
        findings.push(Finding::warning("state", cut_off).hint(hint));
    }
}
