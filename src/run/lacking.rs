//! Options of images that the engine cannot give to a build, found before the first build.

use crate::{
    engine::{Capabilities, Capability},
    hierarchy::{Hierarchy, NodeName},
    plan::{Action, Plan},
};

/// An option of an image that the engine ignores.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{node}` has `{option}`, and this engine lacks the capability `{capability}`")]
pub struct LackedOption {
    pub node: NodeName,
    /// `ulimits`
    pub option: &'static str,
    pub capability: Capability,
}

/// # Errors
/// The options of the images to build that this engine lacks.
pub fn refuse_lacked(
    hierarchy: &Hierarchy,
    plan: &Plan,
    engine: Capabilities,
) -> Result<(), Vec<LackedOption>> {
    let built = plan.steps.iter().filter(|step| matches!(step.action, Action::Build { .. }));
    let nodes = built.filter_map(|step| hierarchy.get(&step.node));
    let options = nodes.flat_map(|node| {
        let options = [
            ("shm_size", node.settings.shm_size.is_some(), Capability::BuildLimits),
            ("attest", !node.settings.attest.are_none(), Capability::Attestations),
            ("annotations", !node.settings.annotations.is_empty(), Capability::Attestations),
            ("ulimits", !node.settings.ulimits.is_empty(), Capability::BuildLimits),
        ];
        let set = options.into_iter().filter(|(_, is_set, _)| *is_set);
        set.map(|(option, _, capability)| LackedOption {
            node: node.name.clone(),
            option,
            capability,
        })
    });
    let lacked: Vec<LackedOption> = options.filter(|one| !engine.has(one.capability)).collect();
    if lacked.is_empty() { Ok(()) } else { Err(lacked) }
}
