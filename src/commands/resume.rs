//! `rebuild resume`: images that were rolled back take part in runs again.

use super::{
    error::CommandError,
    output,
    project::{load_names, nodes},
    target::TagTarget,
};
use crate::{
    commands::cli::{Common, ResumeArgs},
    exit::Exit,
    hierarchy::{Hierarchy, NodeName},
    publish::{holds, store::Tags},
};

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
    let mut resumed: Vec<NodeName> = Vec::new();
    holds::change(tags, |holds| {
        resumed.extend(holds.nodes.keys().filter(|name| is_resumed(name)).cloned());
        holds.nodes.retain(|name, _| !is_resumed(name));
    })
    .await?;
    if resumed.is_empty() {
        output::line("nothing to resume: no image is held");
        return Ok(Exit::Done);
    }
    let list: Vec<String> = resumed.iter().map(|name| format!("`{name}`")).collect();
    let them = if resumed.len() == 1 { "it" } else { "them" };
    let list = list.join(", ");
    output::line(&format!("resumed {list}; the next `rebuild` publishes {them} again"));
    Ok(Exit::Done)
}
