//! Estimates the remaining time of a run by simulating it with the durations of earlier builds.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet, BinaryHeap},
    num::NonZeroUsize,
    time::Duration,
};

use super::{History, ReadyQueue, Weighed, millis};
use crate::{
    hierarchy::NodeName,
    plan::{Action, Plan},
};

/// The progress of a run.
#[derive(Clone, Debug)]
pub struct RunSoFar<'a> {
    /// The maximal number of parallel steps.
    pub jobs: NonZeroUsize,
    /// The running steps and their elapsed time.
    pub running: BTreeMap<&'a NodeName, Duration>,
    /// The ended steps, with any outcome.
    pub over: BTreeSet<&'a NodeName>,
}

impl RunSoFar<'_> {
    /// Before the run.
    pub fn nothing(jobs: NonZeroUsize) -> Self {
        Self { jobs, running: BTreeMap::new(), over: BTreeSet::new() }
    }
}

/// The estimated time of the remaining builds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Estimate {
    pub left: Duration,
    /// How many remaining builds have a known duration. The others count like these.
    pub timed: usize,
    /// The number of remaining builds.
    pub builds: usize,
}

impl Estimate {
    /// Whether to print it: at most a quarter of the builds has no known duration.
    pub fn is_fair(&self) -> bool {
        self.timed > 0 && 4 * self.timed >= 3 * self.builds
    }
}

/// Simulates the remaining steps in their order.
pub fn estimate(plan: &Plan, history: &History, underway: &RunSoFar<'_>) -> Estimate {
    let open: Vec<_> =
        plan.steps.iter().filter(|step| !underway.over.contains(&step.node)).collect();
    let is_build = |action: &Action| matches!(action, Action::Build { .. });
    let builds = open.iter().filter(|step| is_build(&step.action)).map(|step| &step.node);
    let usual = history.usual(builds.clone()).map_or(0, millis);
    // A step that has taken twice its expected time may take arbitrarily long.
    let is_known = |node: &NodeName| {
        let took = history.took(node)?;
        let ran = underway.running.get(node).copied().unwrap_or_default();
        (ran <= 2 * took).then(|| millis(took.saturating_sub(ran)))
    };
    let steps: Vec<Weighed<&NodeName>> = open
        .iter()
        .map(|step| {
            let after = step.after.iter().filter(|parent| !underway.over.contains(parent));
            let cost =
                if is_build(&step.action) { is_known(&step.node).unwrap_or(usual) } else { 0 };
            (&step.node, after.collect(), cost)
        })
        .collect();
    let running: Vec<&NodeName> = underway.running.keys().copied().collect();
    Estimate {
        left: Duration::from_millis(takes(&steps, &running, underway.jobs)),
        timed: builds.clone().filter(|node| is_known(node).is_some()).count(),
        builds: builds.count(),
    }
}

/// The duration of these steps if the ready one with the longest remaining path always starts next. Some
/// already run.
fn takes<K: Copy + Ord>(steps: &[Weighed<K>], running: &[K], jobs: NonZeroUsize) -> u64 {
    let cost: BTreeMap<K, u64> = steps.iter().map(|(step, _, cost)| (*step, *cost)).collect();
    let mut queue = ReadyQueue::new(steps);
    let mut ends = BinaryHeap::new();
    let mut now = 0_u64;
    for step in running.iter().filter(|step| queue.take(step)) {
        ends.push(Reverse((cost[step], *step)));
    }
    loop {
        while ends.len() < jobs.get()
            && let Some(step) = queue.next()
        {
            ends.push(Reverse((now.saturating_add(cost[&step]), step)));
        }
        let Some(Reverse((end, step))) = ends.pop() else { return now };
        now = end;
        queue.succeeded(&step);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::order::queue::tests::steps;

    #[test]
    fn as_long_as_the_run_would_be() {
        let takes = |text: &str, running: &str, jobs: usize| {
            let running: Vec<char> = running.chars().collect();
            takes(&steps(text), &running, NonZeroUsize::new(jobs).unwrap())
        };
        for (text, running, jobs, expected) in [
            ("", "", 2, 0),
            ("a:5", "", 2, 5),
            ("a:5 b:7", "", 1, 12),
            ("a:5 b:7", "", 2, 7),
            ("a:5 b<a:7 c<a:3", "", 8, 12),
            ("a:5 b<a:7 c<a:3", "", 1, 15),
            // The long chain is begun first, else it would be 9.
            ("a:2 b:3 c:2 d<c:3", "", 2, 5),
            // What runs has its place, even if something longer waits.
            ("a:1 b:9", "a", 1, 10),
            ("a:1 b:9 c:9", "a", 2, 10),
            // Nothing to do costs nothing.
            ("a:0 b<a:0 c<b:4", "", 1, 4),
        ] {
            assert_eq!(takes(text, running, jobs), expected, "{text} with {jobs}");
        }
    }
}
