//! When the jobs of a pipeline worked: a bar for each image, and the first failure.

use std::fmt::Write as _;

use jiff::Timestamp;

use super::{
    numbers::{count, seconds},
    sanitize,
    width::{pad, width},
};
use crate::hierarchy::NodeName;

/// The length of the whole pipeline, in characters.
const COLUMNS: usize = 40;
/// More rows are counted.
const ROWS: usize = 60;
const WIDEST_NAME: usize = 32;

/// One image of a job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JobTime {
    pub node: NodeName,
    pub began: Timestamp,
    pub ended: Timestamp,
    pub has_failed: bool,
    /// The parts of its step in milliseconds.
    pub parts: Vec<(String, u64)>,
    pub runner: Option<String>,
    /// The URL of the job, or its name.
    pub job: Option<String>,
}

/// The bars, below a line with the whole time. Nothing for a single job.
pub fn lines(jobs: &[JobTime]) -> Vec<String> {
    let Some((first, last)) = ends(jobs).filter(|_| jobs.len() > 1) else { return Vec::new() };
    let all = (last.as_millisecond() - first.as_millisecond()).max(1);
    let widest = jobs.iter().map(|job| width(&sanitize::text(job.node.as_str()))).max();
    let widest = widest.unwrap_or(0).min(WIDEST_NAME);
    let mut lines = vec![format!(
        "timeline: {} from {} to {} UTC",
        count(jobs.len(), "image"),
        first.strftime("%H:%M:%S"),
        last.strftime("%H:%M:%S")
    )];
    for job in jobs.iter().take(ROWS) {
        let column = |at: Timestamp| {
            let part = (at.as_millisecond() - first.as_millisecond()).clamp(0, all);
            let columns = i64::try_from(COLUMNS).unwrap_or(1);
            usize::try_from(part * columns / all).unwrap_or(0)
        };
        let (begin, end) = (column(job.began).min(COLUMNS - 1), column(job.ended));
        let fill = if job.has_failed { "x" } else { "█" };
        let bar = " ".repeat(begin) + &fill.repeat(end.saturating_sub(begin).max(1));
        let took = std::time::Duration::try_from(job.ended.duration_since(job.began));
        let mut line = format!(
            "  {}  {}  {}",
            pad(&sanitize::text(job.node.as_str()), widest),
            pad(&bar, COLUMNS),
            seconds(took.unwrap_or_default())
        );
        if let Some(runner) = &job.runner {
            line = format!("{line} on {}", sanitize::text(runner));
        }
        lines.push(line);
    }
    let more = jobs.len().saturating_sub(ROWS);
    if more > 0 {
        lines.push(format!("  and {}", count(more, "more image")));
    }
    lines
}

/// `first failure: webapp-base at 04:12:41 UTC, job: https://…`.
pub fn first_failure(jobs: &[JobTime]) -> Option<String> {
    let first = jobs.iter().filter(|job| job.has_failed).min_by_key(|job| job.ended)?;
    let job =
        first.job.as_ref().map_or(String::new(), |job| format!(", job: {}", sanitize::text(job)));
    let node = sanitize::text(first.node.as_str());
    Some(format!("first failure: `{node}` at {} UTC{job}", first.ended.strftime("%H:%M:%S")))
}

/// The same as a Mermaid diagram.
pub fn gantt(jobs: &[JobTime]) -> Option<String> {
    ends(jobs).filter(|_| jobs.len() > 1)?;
    let mut text = String::from("gantt\n  dateFormat x\n  axisFormat %H:%M:%S\n");
    for job in jobs.iter().take(ROWS) {
        // Other characters have a meaning in Mermaid.
        let name: String = job
            .node
            .as_str()
            .chars()
            .map(|c| if c.is_ascii_alphanumeric() || "-_./".contains(c) { c } else { '_' })
            .collect();
        let kind = if job.has_failed { "crit, " } else { "" };
        let (began, ended) = (job.began.as_millisecond(), job.ended.as_millisecond());
        _ = writeln!(text, "  {name} :{kind}{began}, {}", ended.max(began + 1));
    }
    Some(text)
}

fn ends(jobs: &[JobTime]) -> Option<(Timestamp, Timestamp)> {
    let first = jobs.iter().map(|job| job.began).min()?;
    let last = jobs.iter().map(|job| job.ended).max()?;
    Some((first, last))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn job(node: &str, began: i64, ended: i64) -> JobTime {
        let at = |second| Timestamp::from_second(second).unwrap();
        JobTime {
            node: node.into(),
            began: at(began),
            ended: at(ended),
            has_failed: false,
            parts: vec![],
            runner: None,
            job: None,
        }
    }

    #[test]
    fn each_image_has_a_bar_at_its_time() {
        let mut jobs = [job("os", 0, 10), job("webapp", 10, 40), job("tool", 10, 12)];
        jobs[1].has_failed = true;
        jobs[1].runner = Some("r1".to_owned());
        jobs[1].job = Some("https://ci/7\u{1b}".to_owned());
        insta::assert_snapshot!(lines(&jobs).join("\n"), @r"
        timeline: 3 images from 00:00:00 to 00:00:40 UTC
          os      ██████████                                10 s
          webapp            xxxxxxxxxxxxxxxxxxxxxxxxxxxxxx  30 s on r1
          tool              ██                              2.0 s
        ");
        insta::assert_snapshot!(first_failure(&jobs).unwrap(), @"first failure: `webapp` at 00:00:40 UTC, job: https://ci/7␛");
        assert_eq!((lines(&jobs[..1]), first_failure(&jobs[..1])), (vec![], None));
        let hostile = [job("a:b, #x", 0, 0), job("b", 0, 1)];
        insta::assert_snapshot!(gantt(&hostile).unwrap(), @r"
        gantt
          dateFormat x
          axisFormat %H:%M:%S
          a_b___x :0, 1
          b :0, 1000
        ");
    }
}
