//! `rebuild report`: the page of a past run, from the events and logs that it left on this machine.

use std::{
    fs::File,
    io::{self, BufRead as _, BufReader, Read as _, Seek as _, SeekFrom},
    path::Path,
};

use super::{
    error::CommandError,
    output,
    project::{load_names, start},
    reports,
};
use crate::{
    commands::cli::{Common, ReportArgs},
    exit::Exit,
    report::html::{self, RunView},
    run::state::StateFolder,
};

/// `rebuild` writes no longer file.
const LARGEST: u64 = 128 * 1024 * 1024;
/// The end of a log that a page has room for.
const LOG_END: u64 = 256 * 1024;

pub(super) fn report(common: &Common, arguments: &ReportArgs) -> Result<Exit, CommandError> {
    let hierarchy = load_names(common)?;
    let state = StateFolder::of(&hierarchy.file);
    let (run, path) = find(&state, arguments.run.as_deref())?;
    let view = read(&state, &run, &path).map_err(|error| {
        CommandError::new(Exit::Internal, format!("cannot read `{}`: {error}", path.display()))
    })?;
    let page = html::page(&view);
    let folder = start(common)?;
    reports::write_file((&folder, &arguments.html), page.as_bytes()).map_err(|error| {
        let path = arguments.html.display();
        CommandError::new(Exit::Internal, format!("`{path}` cannot be written: {error}"))
    })?;
    output::line(&format!("wrote `{}`: run {run}", arguments.html.display()));
    Ok(Exit::Done)
}

/// The run whose ID begins so, or the last one.
fn find(
    state: &StateFolder,
    wanted: Option<&str>,
) -> Result<(String, std::path::PathBuf), CommandError> {
    let runs = state.events();
    let begins = wanted.unwrap_or_default().to_lowercase();
    if let Some(found) = runs.iter().find(|(run, _)| run.starts_with(&begins)) {
        return Ok(found.clone());
    }
    let usage = |message: String| CommandError::new(Exit::Usage, message);
    Err(match (wanted, &runs[..]) {
        (_, []) => usage("no run of this hierarchy on this machine has kept its events".to_owned())
            .hint("`rebuild --html FILE` writes the report of the run that it begins"),
        (wanted, runs) => {
            let some: Vec<&str> = runs.iter().map(|(run, _)| run.as_str()).take(3).collect();
            usage(format!("this machine keeps no report of a run `{}`", wanted.unwrap_or_default()))
                .hint(format!(
                    "it keeps those of the last 20 runs that built an image: {}, …",
                    some.join(", ")
                ))
        }
    })
}

fn read(state: &StateFolder, run: &str, path: &Path) -> io::Result<RunView> {
    let mut view = RunView::default();
    for line in BufReader::new(File::open(path)?.take(LARGEST)).split(b'\n') {
        // The last line of a run that was killed may be cut.
        if let Ok(event) = serde_json::from_slice(&line?) {
            view.take(&event);
        }
    }
    let names: Vec<String> = view.images.iter().map(|image| image.name.clone()).collect();
    for name in names {
        // Only images that were built have one.
        if let Ok((end, unread)) = end_of(&state.log_of(run, &name)) {
            view.take_log_file(&name, &end, unread);
        }
    }
    Ok(view)
}

/// The end of a file, and how many bytes are before it.
fn end_of(path: &Path) -> io::Result<(Vec<u8>, u64)> {
    let mut file = File::open(path)?;
    let unread = file.metadata()?.len().saturating_sub(LOG_END);
    file.seek(SeekFrom::Start(unread))?;
    let mut end = Vec::new();
    file.take(LOG_END).read_to_end(&mut end)?;
    Ok((end, unread))
}
