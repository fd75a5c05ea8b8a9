//! The holds of a rollback: later runs do not publish its images again, until the rollback is undone.
//!
//! **Invariant:** the holds are written before the journal of the rollback ends. If the process dies first, the
//! command that finishes the rollback writes them.

use std::collections::BTreeSet;

use jiff::Timestamp;

use super::output;
use crate::{
    check::diagnostic::names,
    hierarchy::NodeName,
    publish::{
        holds,
        journal::{Move, PastRun, RunRequest},
        store::Tags,
    },
};

/// How many images a message names; it counts the others.
const NAMED: usize = 3;

/// Which lines are printed.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum HoldReport {
    /// The held images too.
    Images,
    Failure,
}

pub(super) struct RollbackHolds {
    run: String,
    of: String,
    /// Whether older images are in place afterwards: also if the rollback undid the rollback of a rollback.
    is_hold: bool,
    moves: Vec<Move>,
}

impl RollbackHolds {
    /// `None` if the run is not a rollback. `runs` are other runs.
    pub(super) fn of(past: &PastRun, runs: &[PastRun]) -> Option<Self> {
        let RunRequest::Rollback { of } = &past.began.asked else { return None };
        Some(Self {
            run: past.began.run.clone(),
            of: of.clone(),
            is_hold: is_hold(runs, of),
            moves: past.moves.clone().unwrap_or_default(),
        })
    }

    /// Holds the images, or ends the holds of the rollback that this one undid.
    pub(super) async fn write<T: Tags>(&self, tags: &T, report: HoldReport) {
        let changed = async {
            if self.is_hold {
                return holds::add(tags, (&self.run, Timestamp::now()), &self.moves).await;
            }
            let mut free = Vec::new();
            holds::change(tags, |holds| free = holds.remove_run(&self.of)).await?;
            Ok(free)
        };
        let removed = self.moves.iter().filter(|one| one.to.is_none()).map(|one| &one.node);
        let removed: Vec<&NodeName> = removed.collect::<BTreeSet<_>>().into_iter().collect();
        if !removed.is_empty() {
            let (was, it) = if removed.len() == 1 { ("was", "it") } else { ("were", "them") };
            let list = names(&removed, NAMED);
            output::line(&format!("{list} {was} new: the next run publishes {it} again"));
        }
        match changed.await {
            Ok(changed) if changed.is_empty() || self.is_hold && report == HoldReport::Failure => {}
            Ok(changed) => {
                let are = if changed.len() == 1 { "is" } else { "are" };
                let state = if self.is_hold {
                    "held: runs publish no new image until the inputs change, or until `rebuild resume`"
                } else {
                    "no longer held"
                };
                output::line(&format!("{} {are} {state}", names(&changed, NAMED)));
            }
            Err(error) if self.is_hold => output::warning(&format!(
                "the images are not held, so the next run may publish the same images again: {error}"
            )),
            Err(error) => output::warning(&format!(
                "the images are still held: {error}; `rebuild resume` ends that"
            )),
        }
    }

    /// After the rollback was itself put back.
    pub(super) async fn take_back<T: Tags>(&self, tags: &T) {
        let removed = holds::change(tags, |holds| _ = holds.remove_run(&self.run)).await;
        if let Err(error) = removed {
            output::warning(&format!(
                "the images are still held: {error}; `rebuild resume` ends that"
            ));
        }
    }
}

/// Whether undoing this run leaves older images in place: yes, unless the run itself did.
pub(super) fn is_hold(runs: &[PastRun], of: &str) -> bool {
    let undone = runs.iter().find(|past| past.began.run == of).map(|past| &past.began.asked);
    match undone {
        // A rollback is younger than the run that it undid, so this ends.
        Some(RunRequest::Rollback { of: inner }) if **inner < *of => !is_hold(runs, inner),
        _ => true,
    }
}
