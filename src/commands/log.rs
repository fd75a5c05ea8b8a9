//! `rebuild log`: what a build and its tests printed.

use std::{
    fs::File,
    io::{BufRead as _, BufReader, Read as _},
};

use super::{
    error::CommandError,
    output,
    project::{load_names, node},
};
use crate::{
    commands::cli::{Common, LogArgs},
    exit::Exit,
    run::state::StateFolder,
};

/// A longer line is printed in pieces.
const LONGEST_LINE: u64 = 64 * 1024;

pub(super) fn log(common: &Common, arguments: &LogArgs) -> Result<Exit, CommandError> {
    let usage = |message: String| CommandError::new(Exit::Usage, message);
    let hierarchy = load_names(common)?;
    let node = node(&hierarchy, &arguments.node)?;
    let logs = StateFolder::of(&hierarchy.file).logs(node.as_str());
    let wanted = arguments.run.as_deref().unwrap_or_default().to_lowercase();
    let Some((run, path)) = logs.iter().find(|(run, _)| run.starts_with(&wanted)) else {
        let error = match &arguments.run {
            Some(run) => usage(format!("there is no log of `{node}` from a run `{run}`")),
            None => usage(format!("there is no log of `{node}` on this machine")),
        };
        return Err(match &logs[..] {
            [] => error.hint(
                "logs of the last 20 runs are kept; a run writes one for each image that it builds",
            ),
            logs => {
                let runs: Vec<&str> = logs.iter().map(|(run, _)| run.as_str()).take(3).collect();
                error.hint(format!("there are logs of the runs {}", runs.join(", ")))
            }
        });
    };
    output::line(&format!("log of `{node}`, run {run}: {}", path.display()));
    let read = || {
        let mut file = BufReader::new(File::open(path)?);
        let mut line = Vec::new();
        while file.by_ref().take(LONGEST_LINE).read_until(b'\n', &mut line)? > 0 {
            output::answer(&line)?;
            // A command for a CI system could otherwise be completed by the next piece.
            if !line.ends_with(b"\n") {
                output::answer(b"\n")?;
            }
            line.clear();
        }
        Ok(())
    };
    read().map_err(|error: std::io::Error| {
        CommandError::new(Exit::Internal, format!("cannot print `{}`: {error}", path.display()))
    })?;
    Ok(Exit::Done)
}
