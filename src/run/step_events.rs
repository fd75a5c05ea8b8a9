//! Events of a step for the loop, and its log.
//!
//! **Invariant:** all output in events and logs has passed the [`Mask`](super::mask::Mask).

use std::{
    collections::VecDeque,
    fs::File,
    io::Write as _,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use jiff::Timestamp;
use tokio::sync::mpsc;

use super::mask::{Mask, Masked};
use crate::{
    event::{EventKind, Phase},
    hierarchy::{NodeName, StepPlace},
    run::state::RunDir,
};

/// A longer line is split, so that no build can fill the memory.
const LONGEST_LINE: usize = 16 * 1024;
/// How many lines may wait for the reporters. Further lines are only in the log: a slow terminal must not
/// slow a build down or fill the memory.
const LINES_UNDER_WAY: usize = 4096;
/// How many lines of a failing step are shown.
const TAIL: usize = 20;

/// The events that steps send to the loop.
#[derive(Clone, Debug)]
pub(super) struct Inbox {
    sender: mpsc::UnboundedSender<EventKind>,
    lines: Arc<AtomicUsize>,
}

impl Inbox {
    pub(super) fn new() -> (Self, mpsc::UnboundedReceiver<EventKind>) {
        let (sender, receiver) = mpsc::unbounded_channel();
        (Self { sender, lines: Arc::default() }, receiver)
    }

    /// The loop has received an event.
    pub(super) fn taken(&self, event: &EventKind) {
        if matches!(event, EventKind::Log { .. }) {
            self.lines.fetch_sub(1, Ordering::Relaxed);
        }
    }

    fn send(&self, event: EventKind) {
        // The loop outlives its steps, so a failed send does not matter.
        _ = self.sender.send(event);
    }

    fn send_line(&self, node: &NodeName, line: Vec<u8>) {
        if self.lines.fetch_add(1, Ordering::Relaxed) < LINES_UNDER_WAY {
            self.send(EventKind::Log { node: node.clone(), line });
        } else {
            self.lines.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

/// Sends the events of one step to the loop, and every byte of output to the log.
#[derive(Debug)]
pub(super) struct Tell {
    node: NodeName,
    inbox: Inbox,
    log: Option<(PathBuf, File)>,
    mask: Mask,
    /// Output in progress.
    masked: Masked,
    line: Vec<u8>,
    tail: VecDeque<Vec<u8>>,
    /// What the tail is the output of.
    phase: Option<Phase>,
    /// The reason for the failure is the last line of the log.
    has_failed: bool,
}

impl Tell {
    pub(super) fn new(node: NodeName, inbox: Inbox, (run, mask): (&RunDir, Mask)) -> Self {
        let mut tell = Self {
            node,
            inbox,
            log: None,
            masked: Masked::by(mask.clone()),
            mask,
            line: Vec::new(),
            tail: VecDeque::new(),
            phase: None,
            has_failed: false,
        };
        match run.log(tell.node.as_str()) {
            Ok(log) => tell.log = Some(log),
            Err(error) => tell.warn(&format!("no log is kept: {error}")),
        }
        tell
    }

    pub(super) fn phase(&mut self, phase: Phase) {
        let heading = phase.to_string();
        self.phase_with(phase, &heading);
    }

    /// As above, with a longer heading in the log.
    pub(super) fn phase_with(&mut self, phase: Phase, heading: &str) {
        self.heading(heading);
        self.tail.clear();
        self.phase = Some(phase.clone());
        self.inbox.send(EventKind::PhaseStarted { node: self.node.clone(), phase });
    }

    /// A line of the log with the time.
    pub(super) fn heading(&mut self, heading: &str) {
        self.end_line();
        if self.has_failed {
            return;
        }
        let heading = self.mask.text(heading);
        self.write(format!("--- {} {heading}\n", now()).as_bytes());
    }

    pub(super) fn build_step(&mut self, place: StepPlace, text: &str) {
        let StepPlace { stage, number, total } = place;
        // BuildKit keeps the indentation of continued lines.
        let text = self.mask.text(text).split_whitespace().collect::<Vec<_>>().join(" ");
        let of = stage.as_ref().map_or(String::new(), |stage| format!("{stage} "));
        self.heading(&format!("[{of}{number}/{total}] {text}"));
        self.tail.clear();
        let node = self.node.clone();
        self.inbox.send(EventKind::BuildStep { node, stage, number, total, text });
    }

    pub(super) fn warn(&self, message: &str) {
        let message = self.mask.text(message);
        self.inbox.send(EventKind::Warning { node: Some(self.node.clone()), message });
    }

    /// Adds raw output, in pieces of any size.
    pub(super) fn output(&mut self, bytes: &[u8]) {
        let shown = self.masked.take(bytes);
        self.show(&shown);
    }

    fn show(&mut self, bytes: &[u8]) {
        self.write(bytes);
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            self.line.extend_from_slice(piece);
            if self.line.ends_with(b"\n") {
                self.line.pop();
                self.send_line();
            } else if self.line.len() >= LONGEST_LINE {
                self.send_line();
            }
        }
    }

    /// Writes the reason for the failure at the end of the log. Elsewhere an event reports it.
    pub(super) fn failed(&mut self, message: &str) {
        self.show_rest();
        let end = if self.line.is_empty() { "" } else { "\n" };
        self.end_line();
        self.write(format!("{end}--- {} failed: {message}\n", now()).as_bytes());
        self.has_failed = true;
    }

    /// Whether the last lines of the output contain this.
    pub(super) fn says(&self, text: &str) -> bool {
        let has = |line: &Vec<u8>| String::from_utf8_lossy(line).to_lowercase().contains(text);
        self.tail.iter().chain([&self.line]).any(has)
    }

    /// The last lines of the output of a phase.
    pub(super) fn tail_of(&self, phase: &Phase) -> Vec<Vec<u8>> {
        let is_of = self.phase.as_ref() == Some(phase);
        self.tail.iter().filter(|_| is_of).cloned().collect()
    }

    /// Ends the log and syncs it before a failure is reported. Returns its last lines.
    pub(super) fn finish(mut self) -> (Vec<Vec<u8>>, Option<PathBuf>) {
        self.end_line();
        let log = self.log.take().map(|(path, file)| {
            if let Err(error) = file.sync_data() {
                self.warn(&format!("the log may be incomplete: {error}"));
            }
            path
        });
        (std::mem::take(&mut self.tail).into(), log)
    }

    /// Ends the present output.
    fn end_line(&mut self) {
        self.show_rest();
        self.send_line();
    }

    fn show_rest(&mut self) {
        let rest = self.masked.rest();
        self.show(&rest);
    }

    fn send_line(&mut self) {
        if self.line.is_empty() {
            return;
        }
        let line = std::mem::take(&mut self.line);
        if self.tail.len() == TAIL {
            self.tail.pop_front();
        }
        self.tail.push_back(line.clone());
        self.inbox.send_line(&self.node, line);
    }

    fn write(&mut self, bytes: &[u8]) {
        let Some((_, file)) = &mut self.log else { return };
        if let Err(error) = file.write_all(bytes) {
            self.log = None;
            self.warn(&format!("the log ends here: {error}"));
        }
    }
}

/// The loop drops a cancelled step.
impl Drop for Tell {
    fn drop(&mut self) {
        if self.log.is_some() {
            self.heading("cancelled");
        }
    }
}

/// The time in UTC, in RFC 3339 to the second, for comparison with other logs.
fn now() -> String {
    Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disk_that_breaks_under_a_log_is_a_warning() {
        let folder = tempfile::tempdir().unwrap();
        let (inbox, mut events) = Inbox::new();
        let run = RunDir::at(folder.path());
        let mut tell = Tell::new("os".into(), inbox, (&run, Mask::default()));
        // A write to it fails with EIO, because this process has no memory at address 0.
        let broken = std::fs::OpenOptions::new().write(true).open("/proc/self/mem").unwrap();
        tell.log.as_mut().unwrap().1 = broken;
        tell.output(b"one\ntwo\n");
        let (tail, log) = tell.finish();
        assert_eq!((tail, log), (vec![b"one".to_vec(), b"two".to_vec()], None));
        let mut warnings = Vec::new();
        while let Ok(event) = events.try_recv() {
            if let EventKind::Warning { message, .. } = event {
                warnings.push(message);
            }
        }
        assert_eq!(warnings, ["the log ends here: Input/output error (os error 5)"]);
    }

    #[test]
    fn the_reason_for_a_failure_is_the_last_line_of_a_log() {
        let folder = tempfile::tempdir().unwrap();
        let (inbox, _events) = Inbox::new();
        let run = RunDir::at(folder.path());
        let mut tell = Tell::new("os".into(), inbox, (&run, Mask::default()));
        tell.phase(Phase::Build);
        tell.failed("`RUN exit 3` ended with exit code 3");
        tell.phase(Phase::WaitForParents);
        let log = tell.log.as_ref().unwrap().0.clone();
        drop(tell);
        let text = std::fs::read_to_string(log).unwrap();
        assert!(text.ends_with("failed: `RUN exit 3` ended with exit code 3\n"), "{text}");
    }

    #[test]
    fn a_line_without_end_takes_little_memory() {
        let folder = tempfile::tempdir().unwrap();
        let (inbox, mut events) = Inbox::new();
        let run = RunDir::at(folder.path());
        let mut tell = Tell::new("os".into(), inbox, (&run, Mask::default()));
        let piece = vec![b'x'; 8 * 1024];
        let pieces = 16 * 1024;
        for _ in 0..pieces {
            tell.output(&piece);
            assert!(tell.line.capacity() <= 2 * LONGEST_LINE, "{}", tell.line.capacity());
        }
        let (tail, log) = tell.finish();
        assert_eq!(tail.len(), TAIL);
        // At most half of the 128 MiB wait for a reporter that does not read; the log has all.
        let mut lines = 0;
        while let Ok(EventKind::Log { line, .. }) = events.try_recv() {
            assert!(line.len() <= 2 * LONGEST_LINE);
            lines += 1;
        }
        assert_eq!(lines, LINES_UNDER_WAY);
        let length = std::fs::metadata(log.unwrap()).unwrap().len();
        assert_eq!(length, (pieces * piece.len()) as u64);
    }
}
