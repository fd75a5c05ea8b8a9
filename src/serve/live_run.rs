//! A run that goes on: a process of `rebuild` that writes its events to a file.
//!
//! **Invariant:** the events are in the file before a client gets them, so that a server that is killed loses none. The
//! process holds a lock on the file, and ends when the server ends: its standard input is a pipe.

use std::{
    collections::{BTreeMap, BTreeSet},
    ffi::OsString,
    fs::{self, File, TryLockError},
    io::{self, BufRead as _, BufReader, Read as _, Seek as _, SeekFrom},
    path::{Path, PathBuf},
    process::Stdio,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use serde_json::Value;
use tokio::{
    process::{Child, ChildStdin, Command},
    sync::watch,
};

use super::database::RunState;
use crate::report::html::{RunView, outcome_word};

/// How often the file is read.
const POLL: Duration = Duration::from_millis(100);
/// The longest event. `rebuild` splits longer lines of a log.
const LONGEST: u64 = 4 * 1024 * 1024;
/// How much of stderr a result may quote.
const QUOTED: u64 = 4096;

/// The files of a run.
#[derive(Clone, Debug)]
pub struct RunFiles {
    /// The events, a JSON object for each line.
    pub events: PathBuf,
    /// What the process wrote to stderr.
    pub errors: PathBuf,
}

impl RunFiles {
    pub fn new(data: &Path, run: i64) -> Self {
        let folder = data.join("runs");
        Self {
            events: folder.join(format!("{run}.jsonl")),
            errors: folder.join(format!("{run}.stderr")),
        }
    }

    pub fn remove(&self) {
        _ = fs::remove_file(&self.events);
        _ = fs::remove_file(&self.errors);
    }

    /// Whether the process of the run still lives.
    pub fn is_locked(&self) -> bool {
        let Ok(file) = File::open(&self.events) else { return false };
        matches!(file.try_lock(), Err(TryLockError::WouldBlock))
    }

    /// The end of stderr, in one line.
    fn last_words(&self) -> Option<String> {
        let mut file = File::open(&self.errors).ok()?;
        let length = file.metadata().ok()?.len();
        file.seek(SeekFrom::Start(length.saturating_sub(QUOTED))).ok()?;
        let mut text = Vec::new();
        file.take(QUOTED).read_to_end(&mut text).ok()?;
        let text = String::from_utf8_lossy(&text);
        let error = text.rfind("error: ").map_or(&*text, |at| &text[at + "error: ".len()..]);
        let words: Vec<&str> = error.split_whitespace().collect();
        Some(words.join(" ")).filter(|words| !words.is_empty())
    }
}

/// What the events have said so far.
#[derive(Debug, Default)]
pub struct Progress {
    /// The ID that `rebuild` gave the run.
    pub run: Option<String>,
    /// The images that it builds, and that are not finished.
    pub unfinished: BTreeSet<String>,
    /// The images whose step runs.
    pub running: BTreeSet<String>,
    pub done: usize,
    /// The outcome of each finished image.
    pub outcomes: BTreeMap<String, String>,
    pub is_promoting: bool,
    /// The last event, once it came.
    pub finished: Option<Value>,
}

impl Progress {
    fn take(&mut self, event: &Value) {
        let node = || event["node"].as_str().unwrap_or_default().to_owned();
        match event["event"].as_str().unwrap_or_default() {
            "run-started" => {
                self.run = event["run"].as_str().map(str::to_owned);
                let steps = event["plan"]["steps"].as_array();
                let builds = steps.into_iter().flatten().filter(|step| step["action"] == "build");
                self.unfinished =
                    builds.filter_map(|step| step["node"].as_str().map(str::to_owned)).collect();
            }
            "step-started" => {
                self.running.insert(node());
            }
            "step-finished" => {
                let node = node();
                self.running.remove(&node);
                if self.unfinished.remove(&node) {
                    self.done += 1;
                    let outcome = event["outcome"].as_str().unwrap_or_default();
                    self.outcomes.insert(node, outcome.to_owned());
                }
            }
            "promotion-started" => self.is_promoting = true,
            "run-finished" => self.finished = Some(event.clone()),
            _ => {}
        }
    }
}

pub struct LiveRun {
    pub id: i64,
    pub files: RunFiles,
    /// The bytes of the events file that are complete lines.
    pub length: watch::Sender<u64>,
    progress: Mutex<Progress>,
    /// What the page of the run shows.
    view: Mutex<RunView>,
    /// How it is to end, if the server stopped it.
    stopped: Mutex<Option<RunState>>,
    process: Option<rustix::process::Pid>,
}

/// How a run ended.
#[derive(Clone, Debug)]
pub struct EndedRun {
    pub state: RunState,
    pub exit_code: Option<i32>,
    pub run: Option<String>,
    pub result: String,
    /// The steps of its last event: docs/events.md.
    pub steps: Vec<Value>,
}

impl EndedRun {
    /// A run that has no events.
    pub fn without_events(state: RunState, result: String) -> Self {
        Self { state, exit_code: None, run: None, result, steps: Vec::new() }
    }
}

impl LiveRun {
    /// Starts `program` with these arguments in the background. The process stops as after Ctrl-C when the returned
    /// pipe is closed.
    pub fn start(
        (id, data): (i64, &Path),
        program: &Path,
        arguments: &[OsString],
    ) -> io::Result<(Self, Child, Option<ChildStdin>)> {
        let files = RunFiles::new(data, id);
        fs::create_dir_all(data.join("runs"))?;
        let events = File::create(&files.events)?;
        // The process inherits the lock with the file.
        events.lock()?;
        let mut command = Command::new(program);
        command
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(events)
            .stderr(File::create(&files.errors)?)
            // Ctrl-C is for the server, which stops its runs itself.
            .process_group(0);
        let mut child = command.spawn()?;
        let stdin = child.stdin.take();
        let process = child.id().and_then(|id| i32::try_from(id).ok());
        let process = process.and_then(rustix::process::Pid::from_raw);
        let run = Self {
            id,
            files,
            length: watch::Sender::new(0),
            progress: Mutex::default(),
            view: Mutex::default(),
            stopped: Mutex::default(),
            process,
        };
        Ok((run, child, stdin))
    }

    /// A run of an earlier server, with the events that it wrote.
    pub fn recovered(id: i64, data: &Path) -> Self {
        Self {
            id,
            files: RunFiles::new(data, id),
            length: watch::Sender::new(0),
            progress: Mutex::default(),
            view: Mutex::default(),
            stopped: Mutex::default(),
            process: None,
        }
    }

    pub fn progress(&self) -> MutexGuard<'_, Progress> {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn view(&self) -> MutexGuard<'_, RunView> {
        self.view.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Stops it as Ctrl-C does: builds are cancelled, stored images stay, a promotion that began is finished.
    pub fn stop(&self, as_what: RunState) {
        let mut stopped = self.stopped.lock().unwrap_or_else(PoisonError::into_inner);
        // A second signal would end the process without cleaning up.
        if stopped.is_some() {
            return;
        }
        *stopped = Some(as_what);
        if let Some(process) = self.process {
            _ = rustix::process::kill_process(process, rustix::process::Signal::INT);
        }
    }

    /// How the server stopped it, if it did.
    pub fn stopped(&self) -> Option<RunState> {
        *self.stopped.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Follows the events until the process has ended.
    pub async fn follow(&self, child: &mut Child) -> io::Result<EndedRun> {
        let mut reader = EventReader::new(&self.files.events)?;
        let status = loop {
            tokio::select! {
                status = child.wait() => break status?,
                () = tokio::time::sleep(POLL) => self.read(&mut reader)?,
            }
        };
        self.read(&mut reader)?;
        Ok(self.conclude(status.code()))
    }

    /// Reads what the process of an earlier server wrote, once that process has ended.
    pub async fn recover(&self) -> io::Result<Option<EndedRun>> {
        while self.files.is_locked() {
            tokio::time::sleep(POLL).await;
        }
        match EventReader::new(&self.files.events) {
            Ok(mut reader) => self.read(&mut reader)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        }
        let code = {
            let progress = self.progress();
            let Some(finished) = &progress.finished else { return Ok(None) };
            finished["exit_code"].as_i64().and_then(|code| i32::try_from(code).ok())
        };
        // The server's end stopped it, unless it had come to its own.
        Ok((code != Some(130)).then(|| self.conclude(code)))
    }

    fn read(&self, reader: &mut EventReader) -> io::Result<()> {
        let before = reader.offset;
        while let Some(event) = reader.next()? {
            if let Ok(event) = serde_json::from_str(event) {
                self.progress().take(&event);
                self.view().take(&event);
            }
        }
        if reader.offset > before {
            self.length.send_replace(reader.offset);
        }
        Ok(())
    }

    fn conclude(&self, exit_code: Option<i32>) -> EndedRun {
        let progress = self.progress();
        let state = match (exit_code, self.stopped()) {
            (Some(0), _) => RunState::Succeeded,
            (_, Some(state)) => state,
            (Some(130 | 143), None) => RunState::Cancelled,
            _ => RunState::Failed,
        };
        let result = match (&progress.finished, exit_code) {
            (Some(event), _) => result_of(event),
            (None, Some(code)) => {
                let words = self.files.last_words();
                words.unwrap_or_else(|| format!("the run did not begin: exit code {code}"))
            }
            (None, None) => "the process of the run was killed".to_owned(),
        };
        let steps = progress.finished.as_ref().and_then(|event| event["steps"].as_array());
        let steps = steps.cloned().unwrap_or_default();
        EndedRun { state, exit_code, run: progress.run.clone(), result, steps }
    }
}

/// The result of a run in one sentence, by its last event.
fn result_of(event: &Value) -> String {
    let steps = event["steps"].as_array();
    let outcomes =
        |name: &str| steps.into_iter().flatten().filter(|step| step["outcome"] == name).count();
    let first_failed = steps.into_iter().flatten().find(|step| step["outcome"] == "failed");
    let moved = event["promotion"]["moved"].as_u64().unwrap_or_default();
    let mut parts: Vec<String> = Vec::new();
    if let Some(node) = first_failed.and_then(|step| step["node"].as_str()) {
        let others = outcomes("failed") - 1;
        parts.push(match others {
            0 => format!("`{node}` failed"),
            n => format!("`{node}` and {n} more failed"),
        });
    }
    for outcome in ["built", "unchanged", "reused", "cancelled"] {
        let count = outcomes(outcome);
        if count > 0 {
            parts.push(format!("{count} {}", outcome_word(outcome)));
        }
    }
    if moved > 0 {
        parts.push(format!("{moved} tag{} moved", if moved == 1 { "" } else { "s" }));
    }
    if parts.is_empty() { "nothing to do".to_owned() } else { parts.join(", ") }
}

/// Reads complete lines of a file that grows.
pub struct EventReader {
    file: BufReader<File>,
    /// The bytes of the lines that were returned.
    pub offset: u64,
    line: String,
}

impl EventReader {
    pub fn new(path: &Path) -> io::Result<Self> {
        Ok(Self { file: BufReader::new(File::open(path)?), offset: 0, line: String::new() })
    }

    /// Begins at a line that begins at this byte.
    pub fn seek(&mut self, offset: u64) -> io::Result<()> {
        self.file.seek(SeekFrom::Start(offset))?;
        self.offset = offset;
        self.line.clear();
        Ok(())
    }

    /// The next complete line, without its end. `None` if the file has no more of them now.
    pub fn next(&mut self) -> io::Result<Option<&str>> {
        // A line that was cut off is completed by later calls.
        if self.line.ends_with('\n') {
            self.line.clear();
        }
        let mut bytes = Vec::new();
        self.file.by_ref().take(LONGEST).read_until(b'\n', &mut bytes)?;
        self.line.push_str(&String::from_utf8_lossy(&bytes));
        if !self.line.ends_with('\n') {
            return Ok(None);
        }
        self.offset += self.line.len() as u64;
        Ok(Some(self.line.trim_end_matches('\n')))
    }
}

#[cfg(test)]
mod tests;
