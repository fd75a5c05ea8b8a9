//! `rebuild man`: man pages, made from the command line itself.

use std::{fs, io, path::Path};

use clap::Command;
use clap_mangen::Man;

use super::{error::CommandError, output};
use crate::{commands::cli, exit::Exit};

/// Prints the page of `rebuild`, or writes that and those of its commands into a folder.
pub(super) fn man(folder: Option<&Path>) -> Result<Exit, CommandError> {
    let internal = |error: io::Error| CommandError::new(Exit::Internal, error.to_string());
    let Some(folder) = folder else {
        let page = page(&Man::new(cli::command())).map_err(internal)?;
        output::trusted(page.as_bytes()).map_err(internal)?;
        return Ok(Exit::Done);
    };
    let mut command = cli::command().disable_help_subcommand(true);
    command.build();
    fs::create_dir_all(folder).and_then(|()| write(command, folder)).map_err(|error| {
        let message = format!("cannot write man pages into `{}`: {error}", folder.display());
        CommandError::new(Exit::Internal, message)
    })?;
    Ok(Exit::Done)
}

/// Writes the page of a command, and those of its commands.
fn write(command: Command, folder: &Path) -> io::Result<()> {
    for command in command.get_subcommands().filter(|one| !one.is_hide_set()) {
        write(command.clone(), folder)?;
    }
    let man = Man::new(command);
    fs::write(folder.join(man.get_filename()), page(&man)?)
}

/// `clap_mangen` fills the lines of the examples as if they were prose, under the heading `EXTRA`.
fn page(man: &Man) -> io::Result<String> {
    const EXTRA: &str = "\n.SH EXTRA\nExamples:\n";
    let mut page = Vec::new();
    man.render(&mut page)?;
    let page = String::from_utf8(page).map_err(io::Error::other)?;
    let Some((before, rest)) = page.split_once(EXTRA) else { return Ok(page) };
    let end = rest.find("\n.SH ").unwrap_or(rest.len());
    let (examples, after) = rest.split_at(end);
    let (examples, prose) = examples.split_once("\n\n").unwrap_or((examples, ""));
    let prose = if prose.is_empty() { String::new() } else { format!("\n.PP\n{prose}") };
    Ok(format!("{before}\n.SH EXAMPLES\n.nf\n{examples}\n.fi{prose}{after}"))
}
