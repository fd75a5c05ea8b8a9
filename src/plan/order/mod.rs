//! The order of steps and the expected duration, from the plan and the history. Pure.
//!
//! **Invariant:** this module decides when a step runs, never whether. So a wrong history only costs time and
//! makes estimates worse.

pub mod blast_radius;
mod estimate;
mod history;
pub mod placement;
mod queue;

pub use self::{
    blast_radius::{BlastRadius, Destination},
    estimate::{Estimate, RunSoFar, estimate},
    history::{BuildSizes, History, Pushed},
    queue::ReadyQueue,
};
use crate::{
    hierarchy::NodeName,
    plan::{Action, Plan},
};

/// A step, the steps it waits for, and its cost.
pub type Weighed<K> = (K, Vec<K>, u64);

/// The steps of a plan with their costs: milliseconds if any duration is known, else 1 for each build, so
/// that depth decides.
pub fn weighed(plan: &Plan, history: &History) -> Vec<Weighed<NodeName>> {
    let builds = plan.steps.iter().filter(|step| matches!(step.action, Action::Build { .. }));
    let usual = history.usual(builds.map(|step| &step.node));
    let cost = |node| history.took(node).or(usual).map_or(1, millis);
    plan.steps
        .iter()
        .map(|step| {
            let cost = match step.action {
                Action::Build { .. } => cost(&step.node),
                Action::Promote { .. } | Action::Keep { .. } => 0,
            };
            (step.node.clone(), step.after.clone(), cost)
        })
        .collect()
}

/// Of an even number, the larger middle one: an early end is better than a late one.
fn middle(mut numbers: Vec<u64>) -> Option<u64> {
    numbers.sort_unstable();
    numbers.get(numbers.len() / 2).copied()
}

/// At least one, so that depth counts even if all durations are zero.
fn millis(took: std::time::Duration) -> u64 {
    u64::try_from(took.as_millis()).unwrap_or(u64::MAX / 1_000_000).max(1)
}
