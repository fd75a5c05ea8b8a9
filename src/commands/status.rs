//! `rebuild status`: how each image stands.

use jiff::Timestamp;

use super::{
    error::CommandError,
    output,
    project::{load, nodes},
    query::{QueryAnswer, ask},
};
use crate::{
    commands::cli::{Common, Format, StatusArgs},
    exit::Exit,
    plan::{ImageState, Step},
    report,
};

pub(super) async fn status(common: &Common, arguments: &StatusArgs) -> Result<Exit, CommandError> {
    let hierarchy = load(common)?;
    let all = |plan: &crate::plan::Plan| plan.steps.iter().map(|step| step.node.clone()).collect();
    let named = nodes(&hierarchy, &arguments.nodes)?;
    let QueryAnswer { plan, last_builds, failures } = ask(&hierarchy, common, all).await?;
    let shown: Vec<&Step> =
        plan.steps.iter().filter(|step| named.is_empty() || named.contains(&step.node)).collect();
    let standing = report::status::StatusReport {
        plan: &plan,
        shown: &shown,
        last_builds: &last_builds,
        failures: &failures,
    };
    let mut text = Vec::new();
    match arguments.format {
        Format::Text => {
            let colour = output::stdout_has_colour();
            report::status::text(standing, Timestamp::now(), (colour, &mut text))
        }
        Format::Json => report::status::json(standing, &mut text),
    }
    .and_then(|()| output::view(&text, matches!(arguments.format, Format::Text)))
    .map_err(|error| CommandError::new(Exit::Internal, format!("cannot write: {error}")))?;
    let is_current = shown.iter().all(|step| step.state() == ImageState::Current);
    Ok(if arguments.exit_code && !is_current { Exit::Work } else { Exit::Done })
}
