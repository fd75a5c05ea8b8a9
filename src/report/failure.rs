//! A failure in full: what, where, the last words, and what was skipped because of it.

use std::io::{self, Write};

use super::{Paint, numbers::seconds, sanitize, step};
use crate::{
    event::{Failure, Outcome, StepSummary, Summary},
    hierarchy::{NodeName, OnFailure},
};

/// Every failure of a run, each a block with an empty line before it.
pub(super) fn all(summary: &Summary, paint: Paint, out: &mut dyn Write) -> io::Result<()> {
    for failed in &summary.steps {
        if let Outcome::Failed(failure) = &failed.outcome {
            one(failed, failure, paint, out)?;
            skipped(&failed.node, summary, paint, out)?;
        }
    }
    Ok(())
}

fn one(step: &StepSummary, failure: &Failure, paint: Paint, out: &mut dyn Write) -> io::Result<()> {
    let mut message = failure.message.lines().filter(|line| !line.trim().is_empty());
    let name = paint.strong(sanitize::text(step.node.as_str()));
    let what = paint.bad(step::failed(failure));
    let first = sanitize::text(message.next().unwrap_or_default());
    writeln!(out, "\n{name}: {what} after {}: {first}", seconds(step.took))?;
    for line in message {
        writeln!(out, "  {}", sanitize::text(line))?;
    }
    if let Some((path, line, text)) = &failure.at {
        let place = format!("{}:{line}", sanitize::text(&path.to_string_lossy()));
        writeln!(out, "  {} {}", paint.faint(format!("at {place}:")), sanitize::text(text))?;
    }
    for line in &failure.tail {
        writeln!(out, "  {} {}", paint.faint('|'), sanitize::line(line, paint.colour))?;
    }
    if let Some(log) = &failure.log {
        let log = sanitize::text(&log.to_string_lossy());
        writeln!(out, "  {} {log}", paint.faint("whole log:"))?;
    }
    match failure.on_failure {
        OnFailure::Block => Ok(()),
        OnFailure::Hold => {
            writeln!(out, "  {} it keeps its old tags", paint.faint("on_failure: hold:"))
        }
        OnFailure::Optional => writeln!(
            out,
            "  {} it keeps its old tags, and the run may still succeed",
            paint.faint("on_failure: optional:")
        ),
    }
}

fn skipped(
    node: &NodeName,
    summary: &Summary,
    paint: Paint,
    out: &mut dyn Write,
) -> io::Result<()> {
    let because = |step: &&StepSummary| matches!(&step.outcome, Outcome::Skipped { failed } if failed == node);
    let skipped = step::nodes(summary.steps.iter().filter(because).map(|step| &step.node));
    if skipped.is_empty() {
        return Ok(());
    }
    writeln!(out, "  {} {skipped}", paint.faint("skipped because of it:"))
}
