//! `rebuild man`: man pages, made from the command line itself.

use std::{fs, path::Path};

use super::{error::CommandError, output};
use crate::{commands::cli, exit::Exit};

/// Prints the page of `rebuild`, or writes that and those of its commands into a folder.
pub(super) fn man(folder: Option<&Path>) -> Result<Exit, CommandError> {
    let internal = |error: std::io::Error| CommandError::new(Exit::Internal, error.to_string());
    let Some(folder) = folder else {
        let mut page = Vec::new();
        clap_mangen::Man::new(cli::command()).render(&mut page).map_err(internal)?;
        output::trusted(&page).map_err(internal)?;
        return Ok(Exit::Done);
    };
    fs::create_dir_all(folder)
        .and_then(|()| clap_mangen::generate_to(cli::command(), folder))
        .map_err(|error| {
            let message = format!("cannot write man pages into `{}`: {error}", folder.display());
            CommandError::new(Exit::Internal, message)
        })?;
    Ok(Exit::Done)
}
