//! `rebuild completions`.

use clap::CommandFactory as _;
use clap_complete::Shell;

use super::{error::CommandError, output};
use crate::{cli::Cli, exit::Exit};

pub(super) fn completions(shell: Shell) -> Result<Exit, CommandError> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "rebuild", &mut script);
    output::answer(&script)
        .map_err(|error| CommandError::new(Exit::Internal, error.to_string()))?;
    Ok(Exit::Done)
}
