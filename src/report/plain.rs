//! A line for whatever happens: for logs, CI and 3 a.m.
//!
//! What builds print is left out unless asked for (of 300 images nobody reads it); the last lines of
//! a failed one are at the very end, beside the path of its whole log.

use std::{
    io::{self, Write as _},
    time::Duration,
};

use jiff::ZonedDateTime;

use super::{
    Out, Paint, ReportOptions, closing,
    eta::Eta,
    fold::Folds,
    github::Guard,
    numbers::count,
    sanitize, step,
    width::{pad, width},
};
use crate::{
    event::{Event, EventKind, Outcome, Reporter, StopReason},
    hierarchy::NodeName,
    plan::{Action, Plan},
};

/// Longer names push the rest of their line to the right.
const WIDEST_NAME: usize = 32;

pub(super) struct Plain {
    options: ReportOptions,
    paint: Paint,
    guard: Guard,
    folds: Folds,
    name_width: usize,
    eta: Option<Eta>,
    is_promoting: bool,
    /// When the run began, in the local time zone.
    began: Option<ZonedDateTime>,
    out: Out,
}

impl Plain {
    pub(super) fn new(options: ReportOptions, out: Out) -> Self {
        let paint = Paint { colour: options.colour };
        let (guard, folds) = (Guard::new(options.ci), Folds::new(options.ci));
        Self {
            options,
            paint,
            guard,
            folds,
            name_width: 0,
            eta: None,
            is_promoting: false,
            began: None,
            out,
        }
    }

    fn stopping(&self, reason: StopReason, running: usize) -> String {
        let (stopping, reason) = (self.paint.warning("stopping"), step::stop(reason));
        match running {
            _ if self.is_promoting => {
                format!("{}: {}", self.paint.warning(reason), step::STOP_LATER)
            }
            0 => format!("{stopping}: {reason}"),
            n => format!("{stopping}: {reason}, {} still running", count(n, "image")),
        }
    }

    /// Whether what is printed is kept for a fold, and not shown line by line.
    fn folds(&self) -> bool {
        self.folds.are_shown() && !self.options.verbose
    }

    fn line(&mut self, at: Duration, node: Option<&NodeName>, what: &str) -> io::Result<()> {
        let now = || (self.options.now)().saturating_sub(at);
        let time =
            self.began.get_or_insert_with(now).saturating_add(at).strftime("%H:%M:%S").to_string();
        let time = self.paint.faint(time);
        match node {
            None => writeln!(self.out, "{time}  {what}"),
            Some(node) => {
                let name = sanitize::text(node.as_str());
                let name = pad(&name, self.name_width.max(width(&name)));
                writeln!(self.out, "{time}  {}  {what}", self.paint.strong(name))
            }
        }
    }
}

impl Reporter for Plain {
    fn report(&mut self, event: &Event) -> io::Result<()> {
        let (at, paint) = (event.at, self.paint);
        match &event.kind {
            EventKind::RunStarted { run, plan, registry, jobs, .. } => {
                self.guard.open(&mut self.out)?;
                self.name_width = name_width(plan);
                let began = (self.options.now)().saturating_sub(at);
                let date = began.strftime("%Y-%m-%d %Z").to_string();
                self.began = Some(began);
                let what = beginning(run, plan, registry.as_deref(), *jobs);
                self.line(at, None, &format!("{what} · {date}"))
            }
            EventKind::Estimated { left } => {
                let eta = Eta::new(at, *left);
                // Later ones stand beside what has just ended.
                match (self.eta.replace(eta), eta.left(at)) {
                    (None, Some(left)) => self.line(at, None, &left),
                    _ => Ok(()),
                }
            }
            EventKind::Warning { node, message } => {
                let message = format!("{}: {}", paint.warning("warning"), sanitize::text(message));
                self.line(at, node.as_ref(), &message)
            }
            EventKind::RegistryDelayed { message, .. } => {
                self.line(at, None, &paint.warning(sanitize::text(message)))
            }
            EventKind::PhaseStarted { node, phase } => {
                self.line(at, Some(node), &phase.to_string())
            }
            EventKind::BuildStep { node, stage, number, total, text } => {
                let of = step::stage(stage.as_deref());
                let text = format!("[{of}{number}/{total}] {}", sanitize::text(text));
                if self.folds() {
                    self.folds.keep(node, text.clone());
                }
                self.line(at, Some(node), &text)
            }
            EventKind::Log { node, line } if self.folds() => {
                self.folds.keep(node, sanitize::line(line, paint.colour));
                Ok(())
            }
            EventKind::Log { node, line } if self.options.verbose => {
                let line = format!("| {}", sanitize::line(line, paint.colour));
                self.line(at, Some(node), &line)
            }
            // That a step has started is said by its first phase.
            EventKind::StepStarted { .. } | EventKind::Log { .. } => Ok(()),
            EventKind::StepFinished { outcome, .. }
                if is_dull(outcome) && !self.options.verbose =>
            {
                Ok(())
            }
            EventKind::StepFinished { node, outcome, took, .. } => {
                let mut what = step::outcome(outcome, *took, paint);
                // A failure may end the run.
                let goes_on = !matches!(outcome, Outcome::Failed(_) | Outcome::Cancelled);
                let eta = self.eta.filter(|_| goes_on && !took.is_zero());
                let left = eta.and_then(|eta| eta.left(at));
                if let Some(left) = left {
                    what += &paint.faint(format!(" · {left}"));
                }
                self.line(at, Some(node), &what)?;
                let title = format!("what {} printed", sanitize::text(node.as_str()));
                self.folds.show(node, &title, (&self.guard, &mut self.out))
            }
            EventKind::StopBegan { reason, running } => {
                self.line(at, None, &self.stopping(*reason, *running))
            }
            EventKind::PackagesFixed { lines } => {
                lines.iter().try_for_each(|line| self.line(at, None, &step::package(line, paint)))
            }
            EventKind::ImagesRemoved { images, bytes } => {
                self.line(at, None, &step::removed(*images, *bytes))
            }
            EventKind::TaskStarted { task } => self.line(at, None, &task.to_string()),
            EventKind::PromotionStarted { tags } => {
                self.is_promoting = true;
                self.line(at, None, &format!("promoting {}, parents first", count(*tags, "tag")))
            }
            EventKind::TagMoved { node, tag, from, to } => {
                let what = match (from, to) {
                    (Some(from), Some(to)) => {
                        format!("{tag} moved from {} to {}", from.short(), to.short())
                    }
                    (None, Some(to)) => format!("{tag} is new, at {}", to.short()),
                    (_, None) => format!("{tag} was deleted"),
                };
                self.line(at, Some(node), &what)
            }
            EventKind::RunFinished { summary } => {
                let columns = (self.options.size)().map(|(columns, _)| columns);
                let to = (paint, &mut self.out as &mut dyn io::Write);
                closing::write(summary, self.options.verbose, columns, to)?;
                self.guard.close(&mut self.out)?;
                self.out.flush()
            }
        }
    }
}

/// Whether an end is counted in the last line only: with the failure that caused it, all is said.
fn is_dull(outcome: &Outcome) -> bool {
    use Outcome::{Cancelled, Held, Kept, Skipped};
    matches!(outcome, Kept { .. } | Held { .. } | Skipped { .. } | Cancelled)
}

/// The width of the column of names.
pub(super) fn name_width(plan: &Plan) -> usize {
    let names = plan.steps.iter().map(|step| width(step.node.as_str()));
    names.max().unwrap_or(0).min(WIDEST_NAME)
}

/// `run 7f3a: 3 to build, 12 up to date · 2 at once · registry.example.com/base`.
pub(super) fn beginning(run: &str, plan: &Plan, registry: Option<&str>, jobs: usize) -> String {
    let mut text = format!("run {}: {}", sanitize::text(run), super::plan::counts(plan));
    if plan.steps.iter().any(|step| matches!(step.action, Action::Build { .. })) {
        text = format!("{text} · {jobs} at once");
    }
    text + " · " + &registry.map_or("local engine (no registry)".to_owned(), sanitize::text)
}
