//! Messages about a run, in the formats of the services that show them.
//!
//! **Invariant:** no message is longer than its service takes, whatever happened in the run. Text of builds is text
//! there and no markup.

pub mod comment;
pub mod slack;
pub mod teams;

use super::{Paint, Record, closing, numbers::count, sanitize, step, table};
use crate::event::{Outcome, StepFailure, StepSummary, Summary};

/// How many failures have the end of their log in a message.
const FAILURES: usize = 3;
/// The last characters of that log.
const TAIL: usize = 1000;

/// What the parts of a message are made of.
struct Parts<'a> {
    /// One line: how it ended.
    title: String,
    /// What was asked for, where it publishes, and what became of the tags; names are in backticks.
    facts: Vec<String>,
    /// Images that something happened to, failures first.
    steps: Vec<&'a StepSummary>,
    /// The name of an image, what failed, and the end of its log.
    failures: Vec<(String, &'static str, String)>,
}

impl<'a> Parts<'a> {
    fn of(record: &'a Record) -> Self {
        let mut parts = Self {
            title: String::new(),
            facts: Vec::new(),
            steps: Vec::new(),
            failures: Vec::new(),
        };
        let asked = match record.asked.as_str() {
            "" => "everything that is out of date".to_owned(),
            flags => format!("`{}`", sanitize::text(flags)),
        };
        let commit = record.commit.as_ref().map(|it| format!(", commit `{}`", sanitize::text(it)));
        let registry = record.registry.as_ref();
        let registry = registry.map(|it| format!(", registry `{}`", sanitize::text(it)));
        let rest = [commit, registry].into_iter().flatten().collect::<String>();
        parts.facts.push(format!("Asked for: {asked}{rest}"));
        if let Some(summary) = &record.summary {
            parts.title = format!("rebuild: {}", closing::result(summary, Paint { colour: false }));
            parts.facts.extend(closing::promotion(summary));
            parts.steps = summary.steps.iter().filter(|step| table::is_news(step)).collect();
            parts.steps.sort_by_key(|step| !matches!(step.outcome, Outcome::Failed(_)));
            parts.failures = failures(summary);
        }
        if let Some((exit, message)) = &record.error {
            parts.title = format!("rebuild: failed (exit code {})", exit.code());
            parts.facts.extend(message.lines().map(sanitize::text));
        }
        let warnings = record.warnings.len();
        parts.facts.extend((warnings > 0).then(|| count(warnings, "warning")));
        parts
    }
}

fn failures(summary: &Summary) -> Vec<(String, &'static str, String)> {
    let failed = summary.steps.iter().filter_map(|step| match &step.outcome {
        Outcome::Failed(failure) => Some((step, failure)),
        _ => None,
    });
    let shown = |(step, failure): (&StepSummary, &StepFailure)| {
        (sanitize::text(step.node.as_str()), step::failed(failure), tail(failure))
    };
    failed.take(FAILURES).map(shown).collect()
}

/// The message of a failure and the last lines of its log, within [`TAIL`].
fn tail(failure: &StepFailure) -> String {
    let message: Vec<String> = failure.message.lines().map(sanitize::text).collect();
    let message = cut(&message.join("\n"), TAIL / 2);
    let mut lines: Vec<String> = Vec::new();
    let mut left = TAIL - message.chars().count();
    for line in failure.tail.iter().rev() {
        let line = sanitize::line(line, false);
        let length = line.chars().count() + 1;
        if length > left {
            break;
        }
        left -= length;
        lines.push(line);
    }
    lines.push(message);
    lines.reverse();
    lines.join("\n")
}

/// The first characters, with an ellipsis if there are more.
fn cut(text: &str, limit: usize) -> String {
    if text.chars().count() <= limit {
        return text.to_owned();
    }
    text.chars().take(limit.saturating_sub(1)).chain(['…']).collect()
}

/// The greatest number up to `most` that fits. If a number fits, each smaller one does.
fn most(most: usize, fits: impl Fn(usize) -> bool) -> usize {
    let (mut low, mut high) = (0, most);
    while low < high {
        let middle = high - (high - low) / 2;
        if fits(middle) {
            low = middle;
        } else {
            high = middle - 1;
        }
    }
    low
}

#[cfg(test)]
mod tests;
