//! `rebuild status`: how each image stands.

use jiff::Timestamp;

use super::{asked::ask, error::CommandError, output, project::load};
use crate::{
    cli::{Common, Format, StatusArgs},
    exit::Exit,
    plan::State,
    report,
};

pub(super) async fn status(common: &Common, arguments: &StatusArgs) -> Result<Exit, CommandError> {
    let hierarchy = load(common)?;
    let all = |plan: &crate::plan::Plan| plan.steps.iter().map(|step| step.node.clone()).collect();
    let (plan, last_builds) = ask(&hierarchy, common, all).await?;
    let mut text = Vec::new();
    match arguments.format {
        Format::Text => {
            let colour = output::stdout_has_colour();
            report::status::text(&plan, &last_builds, Timestamp::now(), (colour, &mut text))
        }
        Format::Json => report::status::json(&plan, &last_builds, &mut text),
    }
    .and_then(|()| output::answer(&text))
    .map_err(|error| CommandError::new(Exit::Internal, format!("cannot write: {error}")))?;
    let is_current = plan.steps.iter().all(|step| step.state() == State::Current);
    Ok(if arguments.exit_code && !is_current { Exit::Work } else { Exit::Done })
}
