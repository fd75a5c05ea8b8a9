//! A failure in full: what, where, the last words, and what was skipped because of it.

use std::io::{self, Write};

use jiff::Timestamp;

use super::{
    Paint,
    numbers::{ago, names, seconds},
    sanitize, step,
};
use crate::{
    event::{Outcome, StepFailure, StepSummary, Summary},
    hierarchy::{NodeName, OnFailure},
    plan::{ImageState, Step},
    publish::failures::{Failures, LastFailure, Setback},
};

/// More images that failed are not named.
const NAMED: usize = 3;

/// Of an image that is not published as it would be today: what kept it back last.
pub(super) fn last<'a>(step: &Step, failures: &'a Failures) -> Option<&'a LastFailure> {
    failures.of(&step.node).filter(|_| step.state() != ImageState::Current)
}

/// `failed 5 minutes ago: test 1 of 1, `cat /page`: exit code 1`. Of an image that is built, a run that was cancelled
/// is named: the image itself was not.
pub(super) fn told(step: &Step, failure: &LastFailure, now: Timestamp) -> String {
    let when = ago(failure.at, now);
    let is_built = step.state() == ImageState::NotPromoted;
    match &failure.setback {
        Setback::Failed { message, .. } => format!("failed {when}: {message}"),
        Setback::Blocked { by, others } => {
            let all: Vec<&NodeName> = [by].into_iter().chain(others).collect();
            format!("not published: {} failed {when}", names(&all, NAMED))
        }
        Setback::NotPromoted { message } => format!("not published {when}: {message}"),
        Setback::Cancelled { by, .. } if is_built => {
            let run = &failure.run;
            let why = by.as_ref().map_or(String::new(), |by| format!(", because `{by}` failed"));
            format!("run {run} was cancelled {when}, before the promotion{why}")
        }
        Setback::Cancelled { by: Some(by), .. } => {
            format!("cancelled {when}, because `{by}` failed")
        }
        Setback::Cancelled { by: None, stopped } => match stopped {
            Some(reason) => format!("cancelled {when}: {}", step::stop(*reason)),
            None => format!("cancelled {when}"),
        },
    }
}

/// What a user does next.
pub(super) fn next(node: &NodeName, failure: &LastFailure) -> Vec<String> {
    match &failure.setback {
        Setback::Failed { log, image, .. } => {
            let name = node.argument();
            let log = log.as_ref().map(|_| format!("whole log: rebuild log {name}"));
            let shell =
                image.as_ref().map(|_| format!("a shell in that image: rebuild shell {name}"));
            log.into_iter().chain(shell).collect()
        }
        Setback::Blocked { by, others } if !others.is_empty() => {
            let all = [by].into_iter().chain(others).take(NAMED).map(NodeName::argument);
            vec![format!("their failures: rebuild why {}", all.collect::<Vec<_>>().join(" "))]
        }
        Setback::Blocked { by, .. } | Setback::Cancelled { by: Some(by), .. } => {
            vec![format!("its failure: rebuild why {}", by.argument())]
        }
        Setback::NotPromoted { .. } | Setback::Cancelled { by: None, .. } => Vec::new(),
    }
}

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

fn one(
    step: &StepSummary,
    failure: &StepFailure,
    paint: Paint,
    out: &mut dyn Write,
) -> io::Result<()> {
    let mut message = failure.message.lines().filter(|line| !line.trim().is_empty());
    let name = paint.strong(sanitize::text(step.node.as_str()));
    let what = paint.bad(step::failed(failure));
    let first = sanitize::text(message.next().unwrap_or_default());
    // A job of a pipeline that never ran.
    let what = if step.took.is_zero() {
        paint.bad("not built")
    } else {
        format!("{what} after {}", seconds(step.took))
    };
    writeln!(out, "\n{name}: {what}: {first}")?;
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
    if failure.kept.is_some() {
        let name = paint.strong(sanitize::text(&step.node.argument()));
        writeln!(out, "  {} rebuild shell {name}", paint.faint("a shell in that image:"))?;
    }
    let tags =
        if step.reason.is_unpublished() { "it gets no tags" } else { "it keeps its old tags" };
    match failure.on_failure {
        OnFailure::Block => Ok(()),
        OnFailure::Hold => {
            writeln!(out, "  {} {tags}", paint.faint("on_failure: hold:"))
        }
        OnFailure::Optional => writeln!(
            out,
            "  {} {tags}, and the run may still succeed",
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
    let because = |step: &&StepSummary| matches!(&step.outcome, Outcome::Skipped { failed } if failed.contains(node));
    let skipped = step::nodes(summary.steps.iter().filter(because).map(|step| &step.node));
    if skipped.is_empty() {
        return Ok(());
    }
    writeln!(out, "  {} {skipped}", paint.faint("skipped because of it:"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_have_no_character_that_a_shell_reads() {
        let after = |setback| {
            let failure = LastFailure { run: "01".to_owned(), at: Timestamp::UNIX_EPOCH, setback };
            next(&"app (linux/arm64)".into(), &failure).join("\n")
        };
        let (log, image) = (Some("/log".into()), Some("image".to_owned()));
        let failed = after(Setback::Failed { message: String::new(), log, image });
        let blocked =
            after(Setback::Blocked { by: "base (linux/arm64)".into(), others: Vec::new() });
        let others = vec!["web".into(), "app".into(), "tool".into()];
        assert_eq!(
            after(Setback::Blocked { by: "os".into(), others }),
            "their failures: rebuild why os web app"
        );
        assert_eq!(
            format!("{failed}\n{blocked}"),
            "whole log: rebuild log app@linux/arm64\n\
             a shell in that image: rebuild shell app@linux/arm64\n\
             its failure: rebuild why base@linux/arm64"
        );
    }
}
