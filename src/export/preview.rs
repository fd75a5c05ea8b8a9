//! A pipeline as text, before it exists: the jobs as a tree, the minutes of each level, and what all of it costs.

use std::{fmt::Write as _, num::NonZeroUsize, time::Duration};

use super::{Pipeline, PipelineJob, SimulatedEnd, SimulatedJob, SimulationSetup, simulate};
use crate::hierarchy::NodeName;

/// More jobs are counted.
const ROWS: usize = 200;

/// The preview. `runners`: how many jobs run at once.
pub fn preview(pipeline: &Pipeline, runners: Option<NonZeroUsize>) -> String {
    let mut out = String::new();
    if pipeline.is_empty() {
        out.push_str("nothing to do: every image is up to date\n");
        return out;
    }
    let jobs = &pipeline.jobs;
    let times = Times::of(jobs);
    _ = writeln!(
        out,
        "{} for {} in {}, then promote\n",
        count(jobs.len(), "job"),
        count(pipeline.images(), "image"),
        count(pipeline.levels(), "level")
    );
    tree(pipeline, &times, &mut out);
    _ = writeln!(out, "promote\n");
    if !jobs.is_empty() {
        levels(pipeline, &times, &mut out);
        cost(pipeline, &times, runners, &mut out);
    }
    out
}

/// The expected time of each job. A job without a history counts like the others.
struct Times {
    of: Vec<Duration>,
    unknown: usize,
    has_any: bool,
}

impl Times {
    fn of(jobs: &[PipelineJob]) -> Self {
        let mut known: Vec<Duration> = jobs.iter().filter_map(|job| job.expected).collect();
        known.sort_unstable();
        let usual = known.get(known.len() / 2).copied().unwrap_or_default();
        Self {
            of: jobs.iter().map(|job| job.expected.unwrap_or(usual)).collect(),
            unknown: jobs.len() - known.len(),
            has_any: !known.is_empty(),
        }
    }
}

fn tree(pipeline: &Pipeline, times: &Times, out: &mut String) {
    let jobs = &pipeline.jobs;
    // Each job is below the one that it waits for and that ends last.
    let parent = |job: &PipelineJob| job.needs.iter().copied().max_by_key(|need| jobs[*need].level);
    let mut children: Vec<Vec<usize>> = vec![Vec::new(); jobs.len()];
    let mut open: Vec<(usize, String, bool)> = Vec::new();
    for (index, job) in jobs.iter().enumerate() {
        match parent(job) {
            Some(parent) => children[parent].push(index),
            None => open.push((index, String::new(), true)),
        }
    }
    open.reverse();
    let mut rows = Vec::new();
    while let Some((index, margin, is_last)) = open.pop() {
        let job = &jobs[index];
        let is_root = job.needs.is_empty();
        let branch = match (is_root, is_last) {
            (true, _) => "",
            (false, true) => "└─ ",
            (false, false) => "├─ ",
        };
        let names: Vec<&str> = job.nodes.iter().map(NodeName::as_str).collect();
        let others = job.needs.iter().filter(|need| Some(**need) != parent(job));
        let others: Vec<&str> =
            others.map(|need| jobs[*need].nodes.last().map_or("", |it| it.as_str())).collect();
        let others = if others.is_empty() {
            String::new()
        } else {
            format!("  also after {}", others.join(", "))
        };
        let time = job.expected.map_or("?".to_owned(), |_| about(times.of[index]));
        rows.push((format!("{margin}{branch}{}", names.join(" → ")), time, others));
        let below = if is_root {
            margin
        } else {
            format!("{margin}{}", if is_last { "   " } else { "│  " })
        };
        let last = children[index].last().copied();
        for child in children[index].iter().rev() {
            open.push((*child, below.clone(), Some(*child) == last));
        }
    }
    let width = rows.iter().take(ROWS).map(|(name, ..)| name.chars().count()).max().unwrap_or(0);
    for (name, time, others) in rows.iter().take(ROWS) {
        let gap = " ".repeat(width - name.chars().count());
        _ = writeln!(out, "{name}{gap}  {time}{others}");
    }
    if rows.len() > ROWS {
        _ = writeln!(out, "and {}", count(rows.len() - ROWS, "more job"));
    }
}

fn levels(pipeline: &Pipeline, times: &Times, out: &mut String) {
    _ = writeln!(out, "level  jobs  longest  together");
    for level in 0..pipeline.levels() {
        let of = pipeline.jobs.iter().zip(&times.of).filter(|(job, _)| job.level == level);
        let all: Vec<Duration> = of.map(|(_, time)| *time).collect();
        let longest = all.iter().max().copied().unwrap_or_default();
        let shown = |time| if times.has_any { about(time) } else { "?".to_owned() };
        _ = writeln!(
            out,
            "{:<5}  {:<4}  {:<7}  {}",
            level + 1,
            all.len(),
            shown(longest),
            shown(all.iter().sum())
        );
    }
    out.push('\n');
}

fn cost(pipeline: &Pipeline, times: &Times, runners: Option<NonZeroUsize>, out: &mut String) {
    if !times.has_any {
        _ = writeln!(
            out,
            "cost: {}; no time is known before these images were built once",
            count(pipeline.jobs.len() + 1, "job")
        );
        return;
    }
    let (path, longest) = critical_path(pipeline, times);
    let total: Duration = times.of.iter().sum();
    _ = writeln!(
        out,
        "cost: {}, {} of builds and tests",
        count(pipeline.jobs.len() + 1, "job"),
        about(total)
    );
    _ = writeln!(out, "critical path: {}, {}", about(longest), path.join(" → "));
    if let Some(runners) = runners {
        let millis = |time: &Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        let jobs: Vec<SimulatedJob> = pipeline
            .jobs
            .iter()
            .zip(&times.of)
            .map(|(job, time)| SimulatedJob { needs: job.needs.clone(), millis: millis(time) })
            .collect();
        let setup = SimulationSetup { runners, start_millis: 0, by_level: false, retries: 0 };
        let all = simulate(&jobs, setup, |_, _| SimulatedEnd::Success).makespan;
        _ = writeln!(
            out,
            "on {}: {}",
            count(runners.get(), "runner"),
            about(Duration::from_millis(all))
        );
    }
    if times.unknown > 0 {
        _ = writeln!(
            out,
            "{} without a history, marked `?`, {} like the others",
            count(times.unknown, "job"),
            if times.unknown == 1 { "counts" } else { "count" }
        );
    }
}

/// The jobs that decide how long the pipeline takes at least.
fn critical_path<'p>(pipeline: &'p Pipeline, times: &Times) -> (Vec<&'p str>, Duration) {
    let jobs = &pipeline.jobs;
    let mut ends: Vec<Duration> = Vec::with_capacity(jobs.len());
    let mut before: Vec<Option<usize>> = Vec::with_capacity(jobs.len());
    for (index, job) in jobs.iter().enumerate() {
        let last = job.needs.iter().copied().max_by_key(|need| ends[*need]);
        ends.push(last.map_or(Duration::ZERO, |need| ends[need]) + times.of[index]);
        before.push(last);
    }
    let Some(last) = (0..jobs.len()).max_by_key(|index| ends[*index]) else {
        return (Vec::new(), Duration::ZERO);
    };
    let chain = std::iter::successors(Some(last), |index| before[*index]);
    let mut path: Vec<usize> = chain.collect();
    path.reverse();
    let names = path.iter().flat_map(|index| jobs[*index].nodes.iter().map(NodeName::as_str));
    (names.collect(), ends[last])
}

/// `40 s`, `12 min`, `2 h 5 min`.
fn about(time: Duration) -> String {
    let seconds = time.as_secs() + u64::from(time.subsec_millis() >= 500);
    match seconds {
        0..100 => format!("{seconds} s"),
        100..6000 => format!("{} min", (seconds + 30) / 60),
        _ => format!("{} h {} min", seconds / 3600, seconds % 3600 / 60),
    }
}

fn count(n: usize, noun: &str) -> String {
    format!("{n} {noun}{}", if n == 1 { "" } else { "s" })
}
