//! `rebuild history`: past runs.

use std::collections::{BTreeMap, BTreeSet};

use super::{error::CommandError, journals, output, project::load_names, target::TagTarget};
use crate::{
    commands::cli::{Common, Format, HistoryArgs},
    exit::Exit,
    hierarchy::{Hierarchy, Node},
    image::Repository,
    publish::{
        journal::{self, PastRun},
        store::{StoreError, Tags},
    },
    report::{self, history::Runs},
    run::state::{self, StateFolder},
};

/// So many records are read at most until there are enough of this hierarchy.
const LOOKED_THROUGH: usize = 320;

/// How many runs are read.
#[derive(Clone, Copy)]
pub(super) struct NewestRuns {
    runs: usize,
    /// Runs with nothing to do are read too, and do not count.
    without_idle: bool,
}

impl From<usize> for NewestRuns {
    fn from(runs: usize) -> Self {
        Self { runs, without_idle: false }
    }
}

pub(super) async fn history(
    common: &Common,
    arguments: &HistoryArgs,
) -> Result<Exit, CommandError> {
    let hierarchy = load_names(common)?;
    let limit = arguments.limit.get();
    let folds = arguments.format == Format::Text && !arguments.all;
    let newest = NewestRuns { runs: limit, without_idle: folds };
    let runs = match &TagTarget::of(&hierarchy).await? {
        TagTarget::Registry { name, tags } => past_runs(&hierarchy, (name, tags), newest).await?,
        TagTarget::Engine { name, tags } => past_runs(&hierarchy, (name, tags), newest).await?,
    };
    let open = runs.iter().filter(|past| past.ended.is_none()).map(|past| &past.began.run);
    let going_on = open.filter(|run| state::is_going_on(run)).cloned().collect();
    let runs = Runs { past: &runs, going_on };
    let mut text = Vec::new();
    match arguments.format {
        Format::Text => {
            let columns = report::stdout_size().map(|(columns, _)| columns.into());
            let colour = output::stdout_has_colour();
            report::history::text(&runs, (columns, !folds), (colour, &mut text))
        }
        Format::Json => report::history::json(&runs, &mut text),
    }
    .and_then(|()| output::view(&text, matches!(arguments.format, Format::Text)))
    .map_err(|error| CommandError::new(Exit::Internal, format!("cannot write: {error}")))?;
    Ok(Exit::Done)
}

/// The newest runs that published images of this hierarchy to a place, the newest first: those of this
/// machine, and those whose records are beside the images. Where these cannot be read, and nothing is
/// known here, that is an error; else a warning.
pub(super) async fn past_runs<T: Tags>(
    hierarchy: &Hierarchy,
    place: (&str, &T),
    newest: impl Into<NewestRuns>,
) -> Result<Vec<PastRun>, CommandError> {
    let (runs, failure) = all_runs(hierarchy, place, newest).await;
    match failure {
        Some(error) if runs.is_empty() => Err(error.into()),
        Some(error) => {
            let known = "only the runs of this machine are known";
            output::warning(&format!("{known}: {error}"));
            Ok(runs)
        }
        None => Ok(runs),
    }
}

/// The same, with why the records could not be read.
pub(super) async fn all_runs<T: Tags>(
    hierarchy: &Hierarchy,
    (place, tags): (&str, &T),
    newest: impl Into<NewestRuns>,
) -> (Vec<PastRun>, Option<StoreError>) {
    let NewestRuns { runs: newest, without_idle } = newest.into();
    let repositories: BTreeSet<&Repository> =
        hierarchy.in_build_order().flat_map(Node::repositories).collect();
    let state = StateFolder::of(&hierarchy.file);
    let mut asked = newest;
    loop {
        let (records, failure) = match tags.records(asked).await {
            Ok(records) => (records, None),
            Err(error) => (Vec::new(), Some(error)),
        };
        let mut runs = merge(&state, place, &records);
        runs.retain(|past| past.concerns(&repositories));
        let is_ours = journals::moving_tags(hierarchy);
        let mut runs: Vec<PastRun> = runs.into_iter().map(|past| past.only(&is_ours)).collect();
        // Another hierarchy may publish below the same prefix, and more often.
        let mut counted =
            runs.iter().enumerate().filter(|(_, past)| !without_idle || !past.had_nothing_to_do());
        let end = counted.nth(newest.saturating_sub(1)).map(|(index, _)| index + 1);
        if end.is_some() || records.len() < asked || asked >= LOOKED_THROUGH {
            runs.truncate(end.unwrap_or(runs.len()));
            return (runs, failure);
        }
        asked *= 4;
    }
}

/// The runs of this machine and those of the records, the newest first.
fn merge(state: &StateFolder, place: &str, records: &[Vec<u8>]) -> Vec<PastRun> {
    let here = journal::find(&state.journals(), place);
    let there = records.iter().filter_map(|record| PastRun::read(record));
    let mut runs: BTreeMap<String, PastRun> = BTreeMap::new();
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
