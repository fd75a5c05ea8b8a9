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
    let (mut resumed, mut others): (Vec<NodeName>, Vec<NodeName>) = (Vec::new(), Vec::new());
    // Parents that a rolled-back run had changed, if they are still held.
    let mut awaited: BTreeSet<NodeName> = BTreeSet::new();
    holds::change(tags, |holds| {
        holds.nodes.retain(|name, held| {
            if !is_resumed(name) {
                return true;
            }
            resumed.push(name.clone());
            let images = held.iter().filter_map(|hold| hold.image.as_ref());
            awaited.extend(images.flat_map(|image| image.parents.keys().cloned()));
            false
        });
        awaited.retain(|parent| holds.nodes.contains_key(parent));
        others.extend(holds.nodes.keys().cloned());
    })
    .await?;
    if resumed.is_empty() {
        let verb = if others.len() == 1 { "is" } else { "are" };
        output::line(&match (&named.iter().collect::<Vec<_>>()[..], &others[..]) {
            ([], _) | (_, []) => "nothing to resume: no image is held".to_owned(),
            (asked, held) => format!(
                "nothing to resume: {} {verb} held, and not {}",
                names(held, NAMED),
                names(asked, NAMED)
            ),
        });
        return Ok(Exit::Done);
    }
    let list: Vec<String> = resumed.iter().map(|name| format!("`{name}`")).collect();
    let list = list.join(", ");
    let (it, waits) = if resumed.len() == 1 { ("it", "it waits") } else { ("them", "they wait") };
    output::line(&match &awaited.into_iter().collect::<Vec<_>>()[..] {
        [] => format!("resumed {list}; the next `rebuild` publishes {it} again"),
        [parent] => format!("resumed {list}; {waits} for `{parent}`, which is still held"),
        parents => {
            let parents = names(parents, NAMED);
            format!("resumed {list}; {waits} for {parents}, which are still held")
        }
    });
    Ok(Exit::Done)
}
