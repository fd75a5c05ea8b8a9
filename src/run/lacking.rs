//! Options of images that the engine cannot give to a build, found before the first build.

use crate::{
    engine::{Capabilities, Capability},
    hierarchy::{CacheKind, Hierarchy, Node, NodeName, Provenance, Sbom, Ssh},
    plan::{Action, Plan},
};

/// An option of an image that the engine ignores.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{node}` has {option}, and this engine lacks the capability `{capability}`")]
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
        options(node).map(|(option, capability)| LackedOption {
            node: node.name.clone(),
            option,
            capability,
        })
    });
    let lacked: Vec<LackedOption> = options.filter(|one| !engine.has(one.capability)).collect();
    if lacked.is_empty() { Ok(()) } else { Err(lacked) }
}

/// Whether an engine has everything that a build needs.
pub(super) fn can_build(node: &Node, engine: Capabilities) -> bool {
    let secrets =
        [(!node.secrets.is_empty(), Capability::Secrets), (node.ssh != Ssh::None, Capability::Ssh)];
    let mut needed = secrets.into_iter().filter(|(is_set, _)| *is_set).map(|(_, it)| it);
    needed.all(|capability| engine.has(capability))
        && options(node).all(|(_, capability)| engine.has(capability))
}

/// The options of a node that not every engine has.
fn options(node: &Node) -> impl Iterator<Item = (&'static str, Capability)> {
    // Podman writes labels into the Dockerfile, where no quotes keep these.
    let is_odd = |(name, value): (&String, &String)| {
        name.is_empty()
            || name.contains('=')
            || name.contains(char::is_control)
            || value.contains(char::is_control)
    };
    let has_odd_label = node.labels.iter().any(is_odd);
    let options = [
        (
            "labels with control characters, or with `=` in their names",
            has_odd_label,
            Capability::BuildKit,
        ),
        ("`shm_size`", node.settings.shm_size.is_some(), Capability::BuildLimits),
        ("`attest.sbom`", node.settings.attest.sbom != Sbom::None, Capability::Attestations),
        ("`annotations`", !node.settings.annotations.is_empty(), Capability::Attestations),
        ("`ulimits`", !node.settings.ulimits.is_empty(), Capability::BuildLimits),
    ];
    let set = options.into_iter().filter(|(_, is_set, _)| *is_set);
    set.map(|(option, _, capability)| (option, capability))
}

/// A warning for each option of images to build that neither this engine nor a registry can keep.
pub fn without_effect(hierarchy: &Hierarchy, plan: &Plan, engine: Capabilities) -> Vec<String> {
    let has_provenance = |node: &Node| {
        hierarchy.registry.is_none() && node.settings.attest.provenance != Provenance::None
    };
    let writes_cache =
        |node: &Node| node.settings.cache.to.iter().any(|place| place.kind == CacheKind::Registry);
    let warning = |option: &str, more: &str, capability, is_set: &dyn Fn(&Node) -> bool| {
        let mut nodes = built(hierarchy, plan).filter(|node| is_set(node)).map(|node| &node.name);
        let first = nodes.next().filter(|_| !engine.has(capability))?;
        let others = match nodes.count() {
            0 => String::new(),
            1 => " and 1 other image".to_owned(),
            n => format!(" and {n} other images"),
        };
        Some(format!(
            "`{option}` of `{first}`{others} has no effect: {more}this engine lacks the capability `{capability}`"
        ))
    };
    let no_registry = "there is no registry, and ";
    [
        warning("attest.provenance", no_registry, Capability::Attestations, &has_provenance),
        warning("cache.to", "", Capability::CacheExport, &writes_cache),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// The images that the run builds.
fn built<'h>(hierarchy: &'h Hierarchy, plan: &Plan) -> impl Iterator<Item = &'h Node> {
    let built = plan.steps.iter().filter(|step| matches!(step.action, Action::Build { .. }));
    built.filter_map(|step| hierarchy.get(&step.node))
}
