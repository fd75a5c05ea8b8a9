//! Keeps the events of a run in a file, for `rebuild report`.
//!
//! **Invariant:** a file that cannot be written changes nothing for the run, and its size is limited. Logs are in
//! files of their own.

use std::io::{self, Write};

use super::write;
use crate::{
    event::{Event, EventKind, Reporter},
    report::json::view::EventLine,
};

/// After this, only the end of the run is written.
const LARGEST: usize = 32 * 1024 * 1024;

/// Reports as `shown` does, and writes the events.
pub fn events_kept(
    shown: Box<dyn Reporter>,
    out: io::Result<impl Write + Send + 'static>,
) -> Box<dyn Reporter> {
    match out {
        Ok(out) => Box::new(EventFile { shown, out: Some(Box::new(out)), left: LARGEST }),
        Err(error) => {
            tracing::debug!(%error, "the events are not kept");
            shown
        }
    }
}

struct EventFile {
    shown: Box<dyn Reporter>,
    out: Option<Box<dyn Write + Send>>,
    left: usize,
}

impl EventFile {
    fn keep(&mut self, event: &Event) {
        let is_end = matches!(event.kind, EventKind::RunFinished { .. });
        let is_in_log = matches!(
            event.kind,
            EventKind::Log { .. } | EventKind::BuildStep { .. } | EventKind::Estimated { .. }
        );
        let Some(out) = self.out.as_mut().filter(|_| !is_in_log) else { return };
        let mut line = Vec::new();
        let written = write(&EventLine::new(event), &mut line).and_then(|()| {
            if line.len() > self.left && !is_end {
                self.left = 0;
                return Ok(());
            }
            self.left = self.left.saturating_sub(line.len());
            out.write_all(&line)
        });
        if let Err(error) = written {
            tracing::debug!(%error, "the events are not kept");
            self.out = None;
        }
    }
}

impl Reporter for EventFile {
    fn report(&mut self, event: &Event) -> io::Result<()> {
        self.keep(event);
        self.shown.report(event)
    }

    fn tick(&mut self) -> io::Result<()> {
        self.shown.tick()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;
    use crate::report::{
        json::Json,
        scenario::{self, Paper, tell},
    };

    #[derive(Clone, Default)]
    struct File {
        bytes: Arc<Mutex<Vec<u8>>>,
        is_full: bool,
    }

    impl Write for File {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            if self.is_full {
                return Err(io::Error::other("disk full"));
            }
            self.bytes.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn kept(file: &File, left: Option<usize>) -> (Vec<String>, String) {
        let paper = Paper::default();
        let shown = Box::new(Json::new(paper.out()));
        let out: Option<Box<dyn Write + Send>> = Some(Box::new(file.clone()));
        let mut reporter = EventFile { shown, out, left: left.unwrap_or(LARGEST) };
        tell(&mut reporter, &scenario::failure());
        let text = String::from_utf8(file.bytes.lock().unwrap().clone()).unwrap();
        (text.lines().map(str::to_owned).collect(), paper.text())
    }

    #[test]
    fn the_file_has_every_event_but_logs() {
        let (lines, shown) = kept(&File::default(), None);
        let left_out = ["\"event\":\"log\"", "\"event\":\"build-step\"", "\"event\":\"estimate\""];
        let expected: Vec<&str> =
            shown.lines().filter(|line| !left_out.iter().any(|one| line.contains(one))).collect();
        assert_eq!(lines, expected);
    }

    #[test]
    fn a_long_run_keeps_its_end() {
        let (lines, _) = kept(&File::default(), Some(0));
        assert_eq!(lines.len(), 1);
        assert!(lines[0].contains("\"event\":\"run-finished\""), "{}", lines[0]);
    }

    #[test]
    fn a_full_disk_stops_no_run() {
        let file = File { is_full: true, ..File::default() };
        let (lines, shown) = kept(&file, None);
        assert!(lines.is_empty() && shown.contains("run-finished"));
    }
}
