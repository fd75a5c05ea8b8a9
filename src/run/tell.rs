//! How a step tells the loop what it does, and keeps its log.

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

use tokio::sync::mpsc;

use super::event::{EventKind, Phase};
use crate::{hierarchy::NodeName, state::RunDir};

/// A longer line is told in pieces, so that no build can fill the memory.
const LONGEST_LINE: usize = 16 * 1024;
/// How many lines may be on their way to the reporters. Beyond that lines are only in the log:
/// a terminal that cannot keep up must not slow a build down, or fill the memory.
const LINES_UNDER_WAY: usize = 4096;
/// How many lines of a failing step are shown.
const TAIL: usize = 20;

/// What the steps send to the loop.
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

    /// The loop has taken an event out.
    pub(super) fn taken(&self, event: &EventKind) {
        if matches!(event, EventKind::Log { .. }) {
            self.lines.fetch_sub(1, Ordering::Relaxed);
        }
    }

    fn send(&self, event: EventKind) {
        // The loop outlives its steps; if it is gone, so is everybody who would care.
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

/// One step's voice: events to the loop, every byte of output to the log.
#[derive(Debug)]
pub(super) struct Tell {
    node: NodeName,
    inbox: Inbox,
    log: Option<(PathBuf, File)>,
    line: Vec<u8>,
    tail: VecDeque<Vec<u8>>,
}

impl Tell {
    pub(super) fn new(node: NodeName, inbox: Inbox, run: &RunDir) -> Self {
        let mut tell = Self { node, inbox, log: None, line: Vec::new(), tail: VecDeque::new() };
        match run.log(tell.node.as_str()) {
            Ok(log) => tell.log = Some(log),
            Err(error) => tell.warn(format!("no log is kept: {error}")),
        }
        tell
    }

    pub(super) fn phase(&mut self, phase: Phase) {
        self.end_line();
        self.tail.clear();
        self.inbox.send(EventKind::PhaseStarted { node: self.node.clone(), phase });
    }

    pub(super) fn build_step(&mut self, number: usize, total: usize, text: String) {
        self.end_line();
        self.tail.clear();
        self.write(format!("#{number}/{total} {text}\n").as_bytes());
        self.inbox.send(EventKind::BuildStep { node: self.node.clone(), number, total, text });
    }

    pub(super) fn warn(&self, message: String) {
        self.inbox.send(EventKind::Warning { node: Some(self.node.clone()), message });
    }

    /// Takes raw output, in whatever pieces it comes.
    pub(super) fn output(&mut self, bytes: &[u8]) {
        self.write(bytes);
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            self.line.extend_from_slice(piece);
            if self.line.ends_with(b"\n") {
                self.line.pop();
                self.end_line();
            } else if self.line.len() >= LONGEST_LINE {
                self.end_line();
            }
        }
    }

    /// Writes below what was printed why the step failed: in the log alone, for elsewhere it is said
    /// by itself.
    pub(super) fn failed(&mut self, message: &str) {
        let end = if self.line.is_empty() { "" } else { "\n" };
        self.end_line();
        self.write(format!("{end}{message}\n").as_bytes());
    }

    /// Ends the log, on disk before anybody is told of a failure, and returns its last lines.
    pub(super) fn finish(mut self) -> (Vec<Vec<u8>>, Option<PathBuf>) {
        self.end_line();
        let log = self.log.take().map(|(path, file)| {
            if let Err(error) = file.sync_data() {
                self.warn(format!("the log may be incomplete: {error}"));
            }
            path
        });
        (std::mem::take(&mut self.tail).into(), log)
    }

    fn end_line(&mut self) {
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
            self.warn(format!("the log ends here: {error}"));
        }
    }
}
