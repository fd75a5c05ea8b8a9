//! `rebuild why`: why images are, or are not, out of date.

use std::collections::BTreeSet;

use jiff::Timestamp;

use super::{
    error::CommandError,
    output,
    project::{load, nodes},
    query::{QueryAnswer, ask},
};
use crate::{
    commands::cli::{Common, Format, WhyArgs},
    exit::Exit,
    hierarchy::NodeName,
    plan::{Plan, Reason},
    report,
};

pub(super) async fn why(common: &Common, arguments: &WhyArgs) -> Result<Exit, CommandError> {
    let hierarchy = load(common)?;
    let asked = nodes(&hierarchy, &arguments.nodes)?;
    // In the order of the hierarchy: a parent's reason explains its child's.
    let in_order = hierarchy.in_build_order().map(|node| node.name.clone());
    let asked: Vec<NodeName> = in_order.filter(|name| asked.contains(name)).collect();
    let QueryAnswer { plan, last_builds, failures } =
        ask(&hierarchy, common, |plan| picked(plan, &asked)).await?;

    let mut text = Vec::new();
    match arguments.format {
        Format::Json => report::why::json(&plan, &asked, (&last_builds, &failures), &mut text),
        Format::Text => asked.iter().enumerate().try_for_each(|(n, node)| {
            if n > 0 {
                text.push(b'\n');
            }
            let past = report::why::PastRuns {
                last_builds: &last_builds,
                failures: &failures,
                now: Timestamp::now(),
            };
            report::why::text(&plan, node, past, (output::stdout_has_colour(), &mut text))
        }),
    }
    .and_then(|()| output::view(&text, matches!(arguments.format, Format::Text)))
    .map_err(|error| CommandError::new(Exit::Internal, format!("cannot write: {error}")))?;
    Ok(Exit::Done)
}

/// Those asked about, and the parents that moved on without their children: these say why.
fn picked(plan: &Plan, asked: &[NodeName]) -> BTreeSet<NodeName> {
    let causes = asked.iter().flat_map(|node| plan.causes(node));
    let moved = causes.filter_map(|cause| match cause.reason {
        Reason::ParentMoved { parent, .. } => Some(parent),
        _ => None,
    });
    moved.chain(asked.iter().cloned()).collect()
}
