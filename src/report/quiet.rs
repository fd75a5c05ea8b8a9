//! Failures to stderr, and one line to stdout at the end.

use std::io::{self, Write as _};

use super::{Out, Paint, ReportOptions, closing, failure, github::Guard};
use crate::event::{Event, EventKind, Reporter};

pub(super) struct Quiet {
    paint: Paint,
    guard: Guard,
    out: Out,
    result: Out,
}

impl Quiet {
    pub(super) fn new(options: ReportOptions, out: Out, result: Out) -> Self {
        let guard = Guard::new(options.ci);
        Self { paint: Paint { colour: options.colour }, guard, out, result }
    }
}

impl Reporter for Quiet {
    fn report(&mut self, event: &Event) -> io::Result<()> {
        let EventKind::RunFinished { summary } = &event.kind else { return Ok(()) };
        let mut failures = Vec::new();
        failure::all(summary, self.paint, &mut failures)?;
        if !failures.is_empty() {
            self.guard.open(&mut self.out)?;
            self.out.write_all(failures.trim_ascii_start())?;
            self.guard.close(&mut self.out)?;
            self.out.flush()?;
        }
        // The result may be read by a program or mailed by cron: never coloured.
        writeln!(self.result, "{}", closing::result(summary, Paint { colour: false }))?;
        self.result.flush()
    }
}
