//! `rebuild tree`: which image is built from which.

use std::collections::BTreeSet;

use jiff::Timestamp;

use super::{
    error::CommandError,
    output,
    project::{load, nodes},
    query::{QueryAnswer, ask},
};
use crate::{
    commands::cli::{Common, TreeArgs, TreeFormat},
    exit::Exit,
    hierarchy::{Hierarchy, NodeName},
    report::{
        self,
        drawing::{Standings, standings},
        mermaid, tree,
    },
};

pub(super) async fn tree(common: &Common, arguments: &TreeArgs) -> Result<Exit, CommandError> {
    let hierarchy = load(common)?;
    let shown = shown(&hierarchy, &nodes(&hierarchy, &arguments.nodes)?);
    let asked = if arguments.no_state { None } else { stand(&hierarchy, common).await? };
    let view = tree::TreeView { hierarchy: &hierarchy, shown: &shown, standings: asked.as_ref() };
    let mut text = Vec::new();
    let written = match arguments.format {
        TreeFormat::Text => {
            let columns = report::stdout_size().map(|(columns, _)| columns.into());
            let at = (Timestamp::now(), columns);
            tree::text(view, at, (output::stdout_has_colour(), &mut text))
        }
        TreeFormat::Json => tree::json(view, &mut text),
        TreeFormat::Dot => {
            text = tree::dot(view).into();
            Ok(())
        }
        TreeFormat::Mermaid => {
            text = mermaid::text(&view.drawing()).into();
            Ok(())
        }
        TreeFormat::Svg => {
            text = tree::svg(view, Timestamp::now()).into();
            Ok(())
        }
    };
    written
        .and_then(|()| output::view(&text, matches!(arguments.format, TreeFormat::Text)))
        .map_err(|error| CommandError::new(Exit::Internal, format!("cannot write: {error}")))?;
    Ok(Exit::Done)
}

/// Those named, with all above and below them; all if none is named.
fn shown(hierarchy: &Hierarchy, named: &BTreeSet<NodeName>) -> BTreeSet<NodeName> {
    if named.is_empty() {
        return hierarchy.in_build_order().map(|node| node.name.clone()).collect();
    }
    let beside = named
        .iter()
        .flat_map(|name| hierarchy.ancestors(name).chain(hierarchy.descendants(name)))
        .map(|node| node.name.clone());
    named.iter().cloned().chain(beside).collect()
}

/// How the images stand; `None`, with a warning, if that cannot be asked. The tree itself is in the files.
async fn stand(hierarchy: &Hierarchy, common: &Common) -> Result<Option<Standings>, CommandError> {
    let all = |plan: &crate::plan::Plan| plan.steps.iter().map(|step| step.node.clone()).collect();
    match ask(hierarchy, common, all).await {
        Ok(QueryAnswer { plan, last_builds, .. }) => Ok(Some(standings(&plan, &last_builds))),
        Err(error) if matches!(error.exit, Exit::EngineUnreachable | Exit::RegistryUnreachable) => {
            output::warning(&format!(
                "{error}\n  the tree is that of the files; `--no-state` skips the query"
            ));
            Ok(None)
        }
        Err(error) => Err(error),
    }
}
