//! The journals that a command begins with: its own, and those of runs that were cut off.

use std::collections::BTreeSet;

use tokio::sync::mpsc;

use super::{
    error::CommandError,
    history::past_runs,
    output,
    rollback::LOOKED_THROUGH,
    rollback_holds::{HoldReport, RollbackHolds},
    tag_progress::TagProgress,
};
use crate::{
    event::{StopReason, Telling},
    hierarchy::{Hierarchy, Node},
    image::{Repository, Tagged},
    publish::{
        journal::{self, Began, Journal, RunRequest},
        promote::{Publisher, Recovered},
        store::Tags,
    },
    report,
    run::state::{self, StateFolder},
};

/// Finishes every run that was cut off while it moved tags of this place. Who calls this holds the
/// lock of the place, so none of them is still alive. Says if the command is to end then.
pub(super) async fn finish<S: Tags>(
    store: &S,
    (hierarchy, place): (&Hierarchy, &str),
    stops: &mut mpsc::Receiver<StopReason>,
) -> Result<Option<StopReason>, CommandError> {
    let mut lines = TagProgress::default();
    let folders = state::all_journals();
    for mut journal in open(hierarchy, place) {
        let run = journal.past().began.run.clone();
        let past = journal.past();
        let mut holds = None;
        if past.turned.is_none() && matches!(past.began.asked, RunRequest::Rollback { .. }) {
            let runs = past_runs(hierarchy, (place, store), LOOKED_THROUGH).await;
            holds = RollbackHolds::of(past, &runs.unwrap_or_default());
        }
        if let Some(holds) = &holds {
            // The command reports which images are held.
            holds.write(store, HoldReport::Failure).await;
        }
        let neighbors = folders.iter().flat_map(|folder| journal::find(folder, place)).collect();
        let mut telling = Telling::new(&mut lines);
        let mut publisher =
            Publisher { store, journal: &mut journal, stops, telling: &mut telling };
        let recovered = publisher.recover(neighbors).await;
        if let Some(rest) = lines.rest() {
            output::line(&rest);
        }
        let recovered = recovered.map_err(|error| {
            let hint = "the next `rebuild` that reaches the registry finishes it";
            output::warning(&format!("run {run} was cut off while it moved tags: {hint}"));
            CommandError::from(error)
        })?;
        if let (Some(holds), Recovered::PutBack { .. } | Recovered::LeftTo { .. }) =
            (&holds, &recovered)
        {
            holds.take_back(store).await;
        }
        output::warning(&match recovered {
            Recovered::Finished { of } => {
                format!("run {run} was cut off while it moved tags: all {of} of them are moved now")
            }
            Recovered::LeftTo { run: other } => format!(
                "run {run} was cut off while it moved tags: run {other} has published since, so \
                 its tags stay where they are"
            ),
            Recovered::Stuck { tags, why } => format!(
                "run {run} was cut off while it moved tags, and {tags} of them could not be put \
                 back: {why}"
            ),
            Recovered::PutBack { why } => {
                format!("run {run} was cut off while it moved tags, and they were put back: {why}")
            }
        });
        if lines.stopped.is_some() {
            break;
        }
    }
    Ok(lines.stopped)
}

/// Tells of runs that were cut off while they moved tags of this place, and what becomes of them.
pub(super) fn tell(hierarchy: &Hierarchy, place: &str, what_next: &str) {
    for cut_off in cut_off(hierarchy, place) {
        output::warning(&format!("{cut_off}: {what_next}"));
    }
}

/// What is to be said of each run that was cut off while it moved tags of this place.
pub(super) fn cut_off(hierarchy: &Hierarchy, place: &str) -> Vec<String> {
    open(hierarchy, place)
        .iter()
        .map(Journal::past)
        .filter(|past| !state::is_going_on(&past.began.run))
        .map(|past| {
            let (run, tags) = (&past.began.run, report::history::not_moved(past));
            format!("run {run} was cut off while it moved tags ({tags})")
        })
        .collect()
}

/// Of this user's runs that were cut off: those that moved tags of this hierarchy's repositories, or of
/// others below the same prefix.
fn open(hierarchy: &Hierarchy, place: &str) -> Vec<Journal> {
    let is_moving = moving_tags(hierarchy);
    let prefix = hierarchy.registry.as_ref().map(|prefix| format!("{prefix}/"));
    journal::open(&state::all_journals(), place, |tag| {
        let is_below =
            prefix.as_ref().is_some_and(|prefix| tag.repository.as_str().starts_with(prefix));
        is_moving(tag) || is_below && is_moving_tag(tag)
    })
}

/// Whether a tag is one that runs of this hierarchy may move. Whatever a record says, no other is moved.
pub(super) fn moving_tags(hierarchy: &Hierarchy) -> impl Fn(&Tagged) -> bool {
    let repositories: BTreeSet<&Repository> =
        hierarchy.in_build_order().flat_map(Node::repositories).collect();
    move |tag| repositories.contains(&tag.repository) && is_moving_tag(tag)
}

/// Build tags and the records of runs never move.
fn is_moving_tag(tag: &Tagged) -> bool {
    !tag.tag.as_str().starts_with("rb-")
}

/// The journal of a run that begins now.
pub(super) fn begin(state: &StateFolder, began: Began) -> Journal {
    let folder = state.journals();
    journal::forget_old(&folder);
    Journal::begin(&journal::file(&folder, &began.run), began)
}
