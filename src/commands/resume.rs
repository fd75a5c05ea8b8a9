//! `rebuild resume`: images that were rolled back take part in runs again.

use super::{
    error::CommandError,
    output,
    project::{load, nodes},
    target::Place,
};
use crate::{
    commands::cli::{Common, ResumeArgs},
    exit::Exit,
    hierarchy::{Hierarchy, NodeName},
    plan::{HOLDS, Holds},
    publish::store::Tags,
};

pub(super) async fn resume(common: &Common, arguments: &ResumeArgs) -> Result<Exit, CommandError> {
    let hierarchy = load(common)?;
    match &Place::of(&hierarchy).await? {
        Place::Registry { tags, .. } => on(&hierarchy, arguments, tags).await,
        Place::Engine { tags, .. } => on(&hierarchy, arguments, tags).await,
    }
}

async fn on<T: Tags>(
    hierarchy: &Hierarchy,
    arguments: &ResumeArgs,
    tags: &T,
) -> Result<Exit, CommandError> {
    let named = nodes(hierarchy, &arguments.nodes)?;
    let mut holds = Holds::read(&tags.note(HOLDS).await?.unwrap_or_default());
    let is_resumed = |name: &NodeName| {
        hierarchy.get(name).is_some() && (named.is_empty() || named.contains(name))
    };
    let resumed: Vec<NodeName> =
        holds.nodes.keys().filter(|name| is_resumed(name)).cloned().collect();
    holds.nodes.retain(|name, _| !is_resumed(name));
    if resumed.is_empty() {
        output::line("nothing to resume: no image is held");
        return Ok(Exit::Done);
    }
    tags.keep_note(HOLDS, &holds.written()).await?;
    let list: Vec<String> = resumed.iter().map(|name| format!("`{name}`")).collect();
    let them = if resumed.len() == 1 { "it" } else { "them" };
    let list = list.join(", ");
    output::line(&format!("resumed {list}; the next `rebuild` publishes {them} again"));
    Ok(Exit::Done)
}
