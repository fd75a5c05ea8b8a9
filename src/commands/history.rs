//! `rebuild history`: past runs.

use std::collections::BTreeMap;

use super::{error::CommandError, output, place::Place, project::load};
use crate::{
    cli::{Common, Format, HistoryArgs},
    exit::Exit,
    journal::{self, Past},
    report,
    state::State,
    store::Tags,
};

pub(super) async fn history(
    common: &Common,
    arguments: &HistoryArgs,
) -> Result<Exit, CommandError> {
    let hierarchy = load(common)?;
    let place = Place::of(&hierarchy).await?;
    let state = State::of(&hierarchy.file);
    let runs = match &place {
        Place::Registry { name, tags } => past_runs(&state, name, tags, arguments.limit).await,
        Place::Engine { name, tags } => past_runs(&state, name, tags, arguments.limit).await,
    };
    let mut text = Vec::new();
    match arguments.format {
        Format::Text => report::history::text(&runs, (output::stdout_has_colour(), &mut text)),
        Format::Json => report::history::json(&runs, &mut text),
    }
    .and_then(|()| output::answer(&text))
    .map_err(|error| CommandError::new(Exit::Internal, format!("cannot write: {error}")))?;
    Ok(Exit::Done)
}

/// The newest runs that published to a place, the newest first: those of this machine, and those whose
/// records are beside the images.
pub(super) async fn past_runs<T: Tags>(
    state: &State,
    place: &str,
    tags: &T,
    newest: usize,
) -> Vec<Past> {
    let there = tags.records(newest).await.unwrap_or_else(|error| {
        let known = "only the runs of this machine are known";
        output::warning(&format!("{known}: {error}"));
        Vec::new()
    });
    let mut runs = merge(state, place, &there);
    runs.truncate(newest);
    runs
}

/// The runs of this machine and those of the records, the newest first.
pub(super) fn merge(state: &State, place: &str, records: &[Vec<u8>]) -> Vec<Past> {
    let here = journal::find(&state.journals(), place);
    let there = records.iter().filter_map(|record| Past::read(record));
    let mut runs: BTreeMap<String, Past> = BTreeMap::new();
    // Of a run that is known twice, the one that says how it ended.
    for past in there.filter(|past| past.began.place == place).chain(here) {
        let run = past.began.run.clone();
        let known = runs.entry(run).or_insert_with(|| past.clone());
        if known.ended.is_none() {
            *known = past;
        }
    }
    runs.into_values().rev().collect()
}
