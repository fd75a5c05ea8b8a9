//! Simulates a pipeline on a number of runners: how long it takes, and how much of that is wasted.
//!
//! A CI system starts the job that became ready first. A job whose runner was lost starts again; a job whose image
//! failed ends its descendants.

use std::{
    cmp::Reverse,
    collections::{BinaryHeap, VecDeque},
    num::NonZeroUsize,
};

/// A job of a simulation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SimulatedJob {
    /// Indexes of jobs before this one.
    pub needs: Vec<usize>,
    pub millis: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SimulationSetup {
    pub runners: NonZeroUsize,
    /// From the start of a job to the start of its build.
    pub start_millis: u64,
    /// A level begins when the one before has ended, as with a matrix for each level.
    pub by_level: bool,
    /// How often a lost job starts again.
    pub retries: usize,
}

/// What happens in one attempt of a job.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum SimulatedEnd {
    Success,
    #[cfg_attr(not(test), expect(dead_code, reason = "a preview expects that all succeed"))]
    /// The runner was lost after this part of the time, from 0 to 1.
    Lost(f64),
    #[cfg_attr(not(test), expect(dead_code, reason = "as above"))]
    /// The build or a test failed.
    Failure,
}

/// The result, in milliseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Simulation {
    pub makespan: u64,
    /// Of all runners.
    pub busy: u64,
    /// The part of `busy` without a result: starts of jobs, lost attempts and failed builds.
    pub wasted: u64,
    pub attempts: usize,
    pub failed: usize,
    pub skipped: usize,
}

/// Runs the jobs. `end` decides about each attempt of each job.
pub fn simulate(
    jobs: &[SimulatedJob],
    setup: SimulationSetup,
    mut end: impl FnMut(usize, usize) -> SimulatedEnd,
) -> Simulation {
    let levels = levels(jobs);
    let mut level_open = vec![0_usize; levels.iter().max().map_or(0, |level| level + 1)];
    for level in &levels {
        level_open[*level] += 1;
    }
    let mut dependents: Vec<Vec<usize>> = vec![Vec::new(); jobs.len()];
    let mut waits: Vec<usize> = vec![0; jobs.len()];
    for (index, job) in jobs.iter().enumerate() {
        for need in &job.needs {
            dependents[*need].push(index);
        }
        waits[index] = job.needs.len();
    }
    let mut result = Simulation::default();
    let mut is_over = vec![false; jobs.len()];
    let mut attempts = vec![0_usize; jobs.len()];
    let mut ready: VecDeque<usize> = VecDeque::new();
    // Jobs whose needs have ended, of levels that have not begun.
    let mut held: Vec<VecDeque<usize>> = vec![VecDeque::new(); level_open.len()];
    let mut level = 0;
    let mut running: BinaryHeap<Reverse<(u64, usize, u8)>> = BinaryHeap::new();
    let mut now = 0_u64;
    let place =
        |job: usize, level: usize, ready: &mut VecDeque<usize>, held: &mut Vec<VecDeque<usize>>| {
            if !setup.by_level || levels[job] <= level {
                ready.push_back(job);
            } else {
                held[levels[job]].push_back(job);
            }
        };
    for index in (0..jobs.len()).filter(|index| waits[*index] == 0) {
        place(index, level, &mut ready, &mut held);
    }
    loop {
        while running.len() < setup.runners.get()
            && let Some(job) = ready.pop_front()
        {
            let ended = end(job, attempts[job]);
            attempts[job] += 1;
            result.attempts += 1;
            let (took, code) = match ended {
                SimulatedEnd::Success => (jobs[job].millis, 0),
                SimulatedEnd::Failure => (jobs[job].millis, 1),
                SimulatedEnd::Lost(part) => (part_of(jobs[job].millis, part), 2),
            };
            let took = took + setup.start_millis;
            result.busy += took;
            result.wasted += if code == 0 { setup.start_millis } else { took };
            running.push(Reverse((now + took, job, code)));
        }
        let Some(Reverse((at, job, code))) = running.pop() else { break };
        now = at;
        if code == 2 && attempts[job] <= setup.retries {
            ready.push_back(job);
            continue;
        }
        is_over[job] = true;
        level_open[levels[job]] -= 1;
        if code == 0 {
            for child in dependents[job].clone() {
                waits[child] -= 1;
                if waits[child] == 0 && !is_over[child] {
                    place(child, level, &mut ready, &mut held);
                }
            }
        } else {
            result.failed += 1;
            let mut open = dependents[job].clone();
            while let Some(child) = open.pop() {
                if !std::mem::replace(&mut is_over[child], true) {
                    result.skipped += 1;
                    level_open[levels[child]] -= 1;
                    open.extend(dependents[child].clone());
                }
            }
        }
        while level < level_open.len() && level_open[level] == 0 {
            level += 1;
            if let Some(next) = held.get_mut(level) {
                ready.append(next);
            }
        }
    }
    result.makespan = now;
    result
}

fn levels(jobs: &[SimulatedJob]) -> Vec<usize> {
    let mut levels: Vec<usize> = Vec::with_capacity(jobs.len());
    for job in jobs {
        levels.push(job.needs.iter().map(|need| levels[*need] + 1).max().unwrap_or(0));
    }
    levels
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    reason = "milliseconds of a build are far below 2^53"
)]
fn part_of(millis: u64, part: f64) -> u64 {
    (millis as f64 * part.clamp(0.0, 1.0)) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `5 3<0 4<0,1`: the duration of each job, and what it waits for.
    fn jobs(text: &str) -> Vec<SimulatedJob> {
        let job = |word: &str| {
            let (millis, needs) = word.split_once('<').unwrap_or((word, ""));
            let needs = needs.split(',').filter(|it| !it.is_empty());
            SimulatedJob {
                needs: needs.map(|it| it.parse().unwrap()).collect(),
                millis: millis.parse().unwrap(),
            }
        };
        text.split_whitespace().map(job).collect()
    }

    fn setup(runners: usize) -> SimulationSetup {
        let runners = NonZeroUsize::new(runners).unwrap();
        SimulationSetup { runners, start_millis: 0, by_level: false, retries: 1 }
    }

    #[test]
    fn the_makespan_is_that_of_the_graph_on_so_many_runners() {
        let makespan =
            |text, setup| simulate(&jobs(text), setup, |_, _| SimulatedEnd::Success).makespan;
        for (text, runners, expected) in [
            ("", 1, 0),
            ("5 7", 1, 12),
            ("5 7", 2, 7),
            ("5 3<0 4<0", 2, 9),
            ("5 3<0 4<0", 1, 12),
            ("1 9 2<0 3<2", 9, 9),
        ] {
            assert_eq!(makespan(text, setup(runners)), expected, "{text} on {runners}");
        }
        // A level waits for the slowest job of the one before.
        let by_level = SimulationSetup { by_level: true, ..setup(9) };
        assert_eq!(makespan("1 9 2<0 3<2", by_level), 14);
        let start = SimulationSetup { start_millis: 10, ..setup(9) };
        assert_eq!(makespan("5 3<0", start), 28);
    }

    #[test]
    fn a_lost_job_starts_again_and_a_failure_ends_its_descendants() {
        let lost = simulate(&jobs("10 3<0"), setup(2), |job, attempt| match (job, attempt) {
            (0, 0) => SimulatedEnd::Lost(0.5),
            _ => SimulatedEnd::Success,
        });
        let expected =
            Simulation { makespan: 18, busy: 18, wasted: 5, attempts: 3, failed: 0, skipped: 0 };
        assert_eq!(lost, expected);
        let failed = simulate(&jobs("10 3<0 4<1 7"), setup(2), |job, _| match job {
            0 => SimulatedEnd::Failure,
            _ => SimulatedEnd::Success,
        });
        let expected =
            Simulation { makespan: 10, busy: 17, wasted: 10, attempts: 2, failed: 1, skipped: 2 };
        assert_eq!(failed, expected);
        let always = simulate(&jobs("10"), setup(1), |_, _| SimulatedEnd::Lost(1.0));
        assert_eq!((always.attempts, always.failed), (2, 1));
    }
}
