//! Options of images that the engine cannot give to a build, found before the first build.

use crate::{
    engine::{Capabilities, Capability},
    hierarchy::{Hierarchy, Node, NodeName, Provenance, Sbom},
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
    let options = built(hierarchy, plan).flat_map(|node| {
        let options = [
            ("shm_size", node.settings.shm_size.is_some(), Capability::BuildLimits),
            ("attest.sbom", node.settings.attest.sbom != Sbom::None, Capability::Attestations),
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

/// A warning if images to build have `attest.provenance`, and neither this engine nor a registry can keep it.
pub fn lost_provenance(hierarchy: &Hierarchy, plan: &Plan, engine: Capabilities) -> Option<String> {
    if hierarchy.registry.is_some() || engine.has(Capability::Attestations) {
        return None;
    }
    let mut lost = built(hierarchy, plan)
        .filter(|node| node.settings.attest.provenance != Provenance::None)
        .map(|node| &node.name);
    let first = lost.next()?;
    let others = match lost.count() {
        0 => String::new(),
        1 => " and 1 other image".to_owned(),
        n => format!(" and {n} other images"),
    };
    let capability = Capability::Attestations;
    Some(format!(
        "`attest.provenance` of `{first}`{others} has no effect: there is no registry, and this engine lacks the \
         capability `{capability}`"
    ))
}

/// The images that the run builds.
fn built<'h>(hierarchy: &'h Hierarchy, plan: &Plan) -> impl Iterator<Item = &'h Node> {
    let built = plan.steps.iter().filter(|step| matches!(step.action, Action::Build { .. }));
    built.filter_map(|step| hierarchy.get(&step.node))
}
