//! For people who watch: what runs now stays at the bottom, what is finished moves up.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::{self, Write as _},
    time::{Duration, Instant},
};

use super::{
    Out, Paint, ReportOptions, Size, closing,
    eta::Eta,
    numbers::{clock, count},
    plain::{beginning, name_width},
    sanitize,
    screen::{Screen, ScreenLine},
    step,
    width::{fit, pad, pad_left, width, wrap},
};
use crate::{
    event::{Event, EventKind, Outcome, Phase, Reporter, RunTask, StopReason},
    hierarchy::NodeName,
    plan::Action,
};

/// Ten times a second is as often as people can see it.
const REDRAW: Duration = Duration::from_millis(100);
/// The size of a terminal that does not say.
const UNKNOWN: Size = (80, 24);
const WIDEST_NAME: usize = 28;
const BAR: usize = 20;

pub(super) struct Tty {
    options: ReportOptions,
    paint: Paint,
    screen: Screen,
    /// The time since some fixed moment.
    clock: Box<dyn Fn() -> Duration + Send>,
    /// When the run began, by `clock`.
    began: Option<Duration>,
    drawn: Option<Duration>,
    /// Lines that wait for the next frame, to be printed above it.
    above: String,
    running: BTreeMap<usize, Running>,
    /// Counts the steps that were started, so that the oldest stands at the top.
    starts: usize,
    /// Of the names of finished images, so that what became of them stands in a column.
    name_width: usize,
    progress: RunProgress,
}

struct Running {
    node: NodeName,
    since: Duration,
    what: String,
    activity: ImageActivity,
}

/// What is done with an image, as the bar counts it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum ImageActivity {
    Builds,
    Tests,
    Pushes,
    /// For other images, not for the engine.
    Waits,
}

impl ImageActivity {
    const ALL: [(Self, &str); 4] = [
        (Self::Builds, "building"),
        (Self::Tests, "testing"),
        (Self::Pushes, "pushing"),
        (Self::Waits, "waiting"),
    ];

    fn of(phase: &Phase) -> Self {
        match phase {
            Phase::Prepare | Phase::Pull | Phase::Build | Phase::Flatten | Phase::Compare => {
                Self::Builds
            }
            Phase::Test { .. } | Phase::Gate { .. } | Phase::Tags | Phase::Measure => Self::Tests,
            Phase::Push => Self::Pushes,
            Phase::WaitForParents | Phase::WaitForTestJob => Self::Waits,
        }
    }
}

#[derive(Default)]
struct RunProgress {
    /// Steps with something to do, and how many of them have ended.
    work: BTreeSet<NodeName>,
    ended: usize,
    failed: usize,
    stopping: Option<StopReason>,
    eta: Eta,
    /// What the run does after its last step.
    task: Option<RunTask>,
    /// Tags moved, of how many.
    promoting: Option<(usize, usize)>,
}

impl Tty {
    pub(super) fn new(options: ReportOptions, out: Out) -> Self {
        let start = Instant::now();
        Self::with_clock(options, out, Box::new(move || start.elapsed()))
    }

    pub(super) fn with_clock(
        options: ReportOptions,
        out: Out,
        clock: Box<dyn Fn() -> Duration + Send>,
    ) -> Self {
        Self {
            options,
            paint: Paint { colour: options.colour },
            screen: Screen::new(out),
            clock,
            began: None,
            drawn: None,
            above: String::new(),
            running: BTreeMap::new(),
            starts: 0,
            name_width: 0,
            progress: RunProgress::default(),
        }
    }

    fn size(&self) -> Size {
        // Terminals without a window, as some CI systems give, say 0.
        (self.options.size)().filter(|(columns, rows)| *columns > 0 && *rows > 0).unwrap_or(UNKNOWN)
    }

    fn elapsed(&self) -> Duration {
        (self.clock)().saturating_sub(self.began.unwrap_or_default())
    }

    /// Takes in the event; nothing is written yet.
    fn apply(&mut self, event: &Event) {
        let paint = self.paint;
        match &event.kind {
            EventKind::RunStarted { run, plan, registry, jobs, .. } => {
                let work = |action: &Action| !matches!(action, Action::Keep { .. });
                let steps = plan.steps.iter().filter(|step| work(&step.action));
                self.name_width = name_width(plan).min(WIDEST_NAME);
                self.progress.work = steps.map(|step| step.node.clone()).collect();
                self.say_wrapped(&paint.faint(beginning(run, plan, registry.as_deref(), *jobs)));
            }
            EventKind::Estimated { left } => self.progress.eta = Eta::new(event.at, *left),
            EventKind::Warning { node, message } => {
                let node = node.iter().map(|node| format!("{}: ", sanitize::text(node.as_str())));
                let text = format!("{}{}", node.collect::<String>(), sanitize::text(message));
                self.say_wrapped(&format!("{}: {text}", paint.warning("warning")));
            }
            EventKind::RegistryDelayed { message, .. } => {
                self.say_wrapped(&paint.warning(sanitize::text(message)));
            }
            EventKind::StepStarted { node, .. } => {
                let what = "starting".to_owned();
                let activity = ImageActivity::Builds;
                let running = Running { node: node.clone(), since: event.at, what, activity };
                self.running.insert(self.starts, running);
                self.starts += 1;
            }
            EventKind::PhaseStarted { node, phase } => {
                self.now(node, phase.to_string());
                let running = self.running.values_mut().find(|running| running.node == *node);
                if let Some(running) = running {
                    running.activity = ImageActivity::of(phase);
                }
            }
            EventKind::BuildStep { node, stage, number, total, text } => {
                let of = step::stage(stage.as_deref());
                self.now(node, format!("[{of}{number}/{total}] {}", sanitize::text(text)));
            }
            EventKind::Log { node, line } => {
                if self.options.verbose {
                    let name = paint.faint(format!("{} |", sanitize::text(node.as_str())));
                    self.say(&format!("{name} {}", sanitize::line(line, paint.colour)));
                }
            }
            EventKind::StepFinished { node, outcome, took, .. } => {
                let was_running = self.running.len();
                self.running.retain(|_, running| running.node != *node);
                self.finished(node, outcome, *took, was_running > self.running.len());
            }
            EventKind::StopBegan { reason, .. } => {
                self.progress.stopping = Some(*reason);
                // At once: the user waits for an answer.
                self.drawn = None;
            }
            EventKind::PackagesFixed { lines } => {
                for line in lines {
                    self.say_wrapped(&step::package(line, paint));
                }
            }
            EventKind::ImagesRemoved { images, bytes } => {
                self.say(&paint.faint(step::removed(*images, *bytes)));
            }
            EventKind::TaskStarted { task } => self.progress.task = Some(*task),
            EventKind::PromotionStarted { tags } => self.progress.promoting = Some((0, *tags)),
            EventKind::TagMoved { .. } => {
                self.progress.promoting = self.progress.promoting.map(|(n, of)| (n + 1, of));
            }
            EventKind::RunFinished { .. } => self.running.clear(),
        }
    }

    fn now(&mut self, node: &NodeName, what: String) {
        let running = self.running.values_mut().find(|running| running.node == *node);
        if let Some(running) = running {
            running.what = what;
        }
    }

    fn finished(&mut self, node: &NodeName, outcome: &Outcome, took: Duration, was_running: bool) {
        let paint = self.paint;
        self.progress.ended += usize::from(self.progress.work.contains(node));
        let mark = match outcome {
            Outcome::Built { .. } | Outcome::Unchanged { .. } | Outcome::Reused { .. } => {
                paint.good('✓')
            }
            Outcome::Failed(_) => {
                self.progress.failed += 1;
                paint.bad('✗')
            }
            Outcome::Skipped { .. } | Outcome::Cancelled if was_running => paint.warning('–'),
            // One failed base is one line, and not three hundred.
            Outcome::Kept { .. }
            | Outcome::Held { .. }
            | Outcome::Skipped { .. }
            | Outcome::Cancelled => return,
        };
        let name = sanitize::text(node.as_str());
        let name = pad(&name, width(&name).max(self.name_width));
        // Without colour first, for the width; with it if all of it fits.
        let columns = self.size().0.saturating_sub(1);
        let bare = step::outcome(outcome, took, Paint { colour: false });
        let room = columns.saturating_sub(width(&name) + 4);
        let what = if width(&bare) <= room {
            step::outcome(outcome, took, paint)
        } else {
            fit(&bare, room)
        };
        let name = paint.strong(fit(&name, columns.saturating_sub(2)));
        self.say(format!("{mark} {name}  {what}").trim_end());
    }

    fn say_wrapped(&mut self, line: &str) {
        self.say(&wrap(line, Some(self.size().0)));
    }

    fn say(&mut self, line: &str) {
        self.above += line;
        self.above.push('\n');
    }

    /// Draws a frame if the last one is old enough.
    fn draw(&mut self) -> io::Result<()> {
        let now = (self.clock)();
        if self.drawn.is_some_and(|drawn| now.saturating_sub(drawn) < REDRAW) {
            return Ok(());
        }
        self.drawn = Some(now);
        let size = self.size();
        let frame = self.frame(size);
        self.screen.draw(&std::mem::take(&mut self.above), &frame, size)
    }

    /// The running images, the oldest first, as many as there is room for; and the bar.
    fn frame(&self, (columns, rows): Size) -> Vec<ScreenLine> {
        let columns = columns.saturating_sub(1);
        let elapsed = self.elapsed();
        // One row for the bar, and one for the cursor. Half of the rows: if the terminal becomes half as wide or half as
        // high, the top of a higher frame would scroll out, where nothing can remove it.
        let room = rows.saturating_sub(2).min((rows.saturating_sub(1) / 2).max(4) - 1);
        let shown =
            if self.running.len() <= room { self.running.len() } else { room.saturating_sub(1) };
        let names = self.running.values().map(|running| sanitize::text(running.node.as_str()));
        let names: Vec<String> = names.take(shown).collect();
        let widest = names.iter().map(|name| width(name)).max().unwrap_or(0);
        let widest = widest.min(WIDEST_NAME).min(columns / 2);

        let mut frame: Vec<ScreenLine> = names
            .iter()
            .zip(self.running.values())
            .map(|(name, running)| {
                // Before the text, so that the line is no longer than that: a narrower terminal wraps fewer lines.
                let took = format!("{}s", elapsed.saturating_sub(running.since).as_secs());
                let took = pad_left(&took, 5);
                let room = columns.saturating_sub(widest + took.len() + 2);
                if room < 4 {
                    let text = fit(name, columns);
                    return ScreenLine { width: width(&text), text };
                }
                let (name, what) = (pad(name, widest), fit(&running.what, room));
                let wide = width(&name) + took.len() + 2 + width(&what);
                let text = format!("{}{}  {what}", self.paint.active(name), self.paint.faint(took));
                ScreenLine { text, width: wide }
            })
            .collect();
        if shown < self.running.len() && room > 0 {
            let text = fit(&format!("… and {} more", self.running.len() - shown), columns);
            frame.push(ScreenLine { width: width(&text), text: self.paint.faint(text) });
        }
        if self.began.is_some() && rows > 1 {
            frame.push(self.bar(columns, elapsed));
        }
        frame
    }

    /// `━━━━━━━───────  7/40 images · 2 building · 1 testing · 1 failed · 0:42 · about 3 min left`
    fn bar(&self, columns: usize, elapsed: Duration) -> ScreenLine {
        let progress = &self.progress;
        let (done, total) = progress.promoting.unwrap_or((progress.ended, progress.work.len()));
        let in_full = self.bar_text(elapsed, true);
        let text = if width(&in_full) <= columns { in_full } else { self.bar_text(elapsed, false) };
        let text = fit(&text, columns);
        if columns < width(&text) + BAR + 2 {
            return ScreenLine { width: width(&text), text };
        }
        let full = (BAR * done).checked_div(total).unwrap_or(BAR).min(BAR);
        let (full, rest) = ("━".repeat(full), "─".repeat(BAR - full));
        let wide = BAR + 2 + width(&text);
        let full = if progress.failed > 0 { self.paint.bad(full) } else { self.paint.good(full) };
        ScreenLine { text: format!("{full}{}  {text}", self.paint.faint(rest)), width: wide }
    }

    /// What happens now. In a narrow terminal without the kinds of work.
    fn bar_text(&self, elapsed: Duration, names_kinds: bool) -> String {
        let progress = &self.progress;
        let mut parts = vec![match progress.promoting {
            Some((moved, of)) => format!("promoting {moved}/{}", count(of, "tag")),
            None => format!("{}/{}", progress.ended, count(progress.work.len(), "image")),
        }];
        parts.extend(progress.stopping.map(|reason| match progress.promoting {
            Some(_) => step::STOP_LATER.to_owned(),
            None => format!("stopping: {}", step::stop(reason)),
        }));
        let task = progress.task.filter(|_| progress.promoting.is_none());
        parts.extend(task.map(|task| task.to_string()));
        let of = |kind| self.running.values().filter(|running| running.activity == kind).count();
        let waiting = of(ImageActivity::Waits);
        let kinds: Vec<(usize, &str)> = if names_kinds {
            ImageActivity::ALL.map(|(kind, name)| (of(kind), name)).to_vec()
        } else {
            vec![(self.running.len() - waiting, "running"), (waiting, "waiting")]
        };
        let kinds = kinds.into_iter().filter(|(n, _)| *n > 0);
        parts.extend(kinds.map(|(n, what)| format!("{n} {what}")));
        parts.extend((progress.failed > 0).then(|| format!("{} failed", progress.failed)));
        parts.push(clock(elapsed));
        parts.extend(progress.eta.left(elapsed));
        parts.join(" · ")
    }
}

impl Reporter for Tty {
    fn report(&mut self, event: &Event) -> io::Result<()> {
        if self.began.is_none() {
            self.began = Some((self.clock)().saturating_sub(event.at));
        }
        self.apply(event);
        let EventKind::RunFinished { summary } = &event.kind else { return self.draw() };
        let size = self.size();
        // Takes the frame away.
        self.screen.draw(&std::mem::take(&mut self.above), &[], size)?;
        let to = (self.paint, &mut self.screen as &mut dyn io::Write);
        closing::write(summary, self.options.verbose, Some(size.0.saturating_sub(1)), to)?;
        self.screen.flush()
    }

    fn tick(&mut self) -> io::Result<()> {
        if self.began.is_some() { self.draw() } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests;
