//! `rebuild resume`: images that were rolled back take part in runs again.

use std::collections::BTreeSet;

use super::{
    error::CommandError,
    output,
    project::{load_names, nodes},
    target::TagTarget,
};
use crate::{
    check::diagnostic::names,
    commands::cli::{Common, ResumeArgs},
    exit::Exit,
    hierarchy::{Hierarchy, NodeName},
    publish::{holds, store::Tags},
};

/// How many held images a message names; it counts the others.
const NAMED: usize = 3;

pub(super) async fn resume(common: &Common, arguments: &ResumeArgs) -> Result<Exit, CommandError> {
    let hierarchy = load_names(common)?;
    match &TagTarget::of(&hierarchy).await? {
        TagTarget::Registry { tags, .. } => on(&hierarchy, arguments, tags).await,
        TagTarget::Engine { tags, .. } => on(&hierarchy, arguments, tags).await,
    }
}

async fn on<T: Tags>(
    hierarchy: &Hierarchy,
    arguments: &ResumeArgs,
    tags: &T,
) -> Result<Exit, CommandError> {
    let named = nodes(hierarchy, &arguments.nodes)?;
    let is_resumed = |name: &NodeName| {
        hierarchy.get(name).is_some() && (named.is_empty() || named.contains(name))
    };
    let (mut resumed, mut held) = (Vec::<NodeName>::new(), BTreeSet::<NodeName>::new());
    holds::change(tags, |holds| {
        resumed.extend(holds.nodes.keys().filter(|name| is_resumed(name)).cloned());
        holds.nodes.retain(|name, _| !is_resumed(name));
        held.extend(holds.nodes.keys().cloned());
    })
    .await?;
    if resumed.is_empty() {
        output::line("nothing to resume: no image is held");
        return Ok(Exit::Done);
    }
    let list: Vec<String> = resumed.iter().map(|name| format!("`{name}`")).collect();
    let them = if resumed.len() == 1 { "it" } else { "them" };
    let list = list.join(", ");
    let above: BTreeSet<&NodeName> = resumed
        .iter()
        .flat_map(|name| hierarchy.ancestors(name))
        .map(|node| &node.name)
        .filter(|name| held.contains(*name))
        .collect();
    output::line(&match &above.into_iter().collect::<Vec<_>>()[..] {
        [] => format!("resumed {list}; the next `rebuild` publishes {them} again"),
        above => {
            let (above, are) = (names(above, NAMED), if above.len() == 1 { "is" } else { "are" });
            let wait = if resumed.len() == 1 { "it waits" } else { "images based on these wait" };
            format!("resumed {list}; {wait} for {above}, which {are} still held")
        }
    });
    Ok(Exit::Done)
}
