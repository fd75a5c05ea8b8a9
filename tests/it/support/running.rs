//! The program, run as a user would, and what came of it.

use std::{
    io::{BufRead as _, BufReader, Read as _},
    process::{Child, ChildStdout, Command, ExitStatus},
    sync::{Arc, LazyLock, Mutex},
    time::{Duration, Instant},
};

use regex::Regex;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use serde_json::Value;

use super::project::{Place, Project};

/// No run of these tests takes nearly as long; one that does hangs.
pub(crate) const PATIENCE: Duration = Duration::from_secs(120);

/// The program before it is started.
pub(crate) struct Start<'a> {
    pub(super) project: &'a Project,
    pub(super) command: Command,
}

impl<'a> Start<'a> {
    pub(crate) fn env(mut self, name: &str, value: impl AsRef<std::ffi::OsStr>) -> Self {
        self.command.env(name, value);
        self
    }

    pub(crate) fn to(mut self, place: Place<'_>) -> Self {
        if let Place::Registry(registry) = place {
            self.command.env("REBUILD_REGISTRY", format!("{}/demo", registry.host()));
        }
        self
    }

    pub(crate) fn run(self) -> Ended {
        self.start().end()
    }

    pub(crate) fn start(mut self) -> Running<'a> {
        let mut child = self.command.spawn().unwrap();
        let stdout = child.stdout.take().map(BufReader::new);
        let mut stderr = child.stderr.take().unwrap();
        let said = Arc::new(Mutex::new(Vec::new()));
        let all = said.clone();
        let stderr = std::thread::spawn(move || {
            let mut piece = [0; 4096];
            while let Ok(length @ 1..) = stderr.read(&mut piece) {
                all.lock().unwrap().extend_from_slice(&piece[..length]);
            }
        });
        let stderr = Some(stderr);
        Running { project: self.project, child, stdout, read: String::new(), stderr, said }
    }
}

/// The program under way. Killed if the test ends first.
pub(crate) struct Running<'a> {
    project: &'a Project,
    child: Child,
    stdout: Option<BufReader<ChildStdout>>,
    /// What was read of stdout.
    read: String,
    stderr: Option<std::thread::JoinHandle<()>>,
    /// What was read of stderr.
    said: Arc<Mutex<Vec<u8>>>,
}

impl Running<'_> {
    /// Reads stdout up to a line with this text: with `--progress json` that is when something happens.
    pub(crate) fn wait_for(&mut self, text: &str) -> &mut Self {
        self.line_with(text);
        self
    }

    /// The same, and that line.
    pub(crate) fn line_with(&mut self, text: &str) -> String {
        let text = self.project.name(text);
        loop {
            let line = self.line();
            assert!(!line.is_empty(), "it ended without {text:?}:\n{}", self.read);
            if line.contains(&text) {
                return line;
            }
        }
    }

    /// Reads stdout until each of these was in a line, in whatever order.
    pub(crate) fn wait_for_all(&mut self, texts: &[&str]) {
        let mut open: Vec<String> = texts.iter().map(|text| self.project.name(text)).collect();
        while !open.is_empty() {
            let line = self.line();
            assert!(!line.is_empty(), "it ended without {open:?}:\n{}", self.read);
            open.retain(|text| !line.contains(text));
        }
    }

    /// The next line of stdout; empty at its end.
    fn line(&mut self) -> String {
        let stdout = self.stdout.as_mut().unwrap();
        if stdout.buffer().is_empty() {
            let limit = Timespec::try_from(PATIENCE).unwrap();
            let ready = poll(&mut [PollFd::new(stdout.get_ref(), PollFlags::IN)], Some(&limit));
            assert_ne!(ready.unwrap(), 0, "it says no more:\n{}", self.read);
        }
        let mut line = String::new();
        stdout.read_line(&mut line).unwrap();
        self.read.push_str(&line);
        line
    }

    /// Waits until stderr has a line with this text. Returns the line.
    pub(crate) fn stderr_line_with(&mut self, text: &str) -> String {
        self.wait_for_stderr(text);
        let said = String::from_utf8_lossy(&self.said.lock().unwrap()).into_owned();
        said.lines().find(|line| line.contains(text)).unwrap_or_default().to_owned()
    }

    /// Waits until stderr says this.
    pub(crate) fn wait_for_stderr(&mut self, text: &str) -> &mut Self {
        let text = self.project.name(text);
        let deadline = Instant::now() + PATIENCE;
        loop {
            let said = String::from_utf8_lossy(&self.said.lock().unwrap()).into_owned();
            if said.contains(&text) {
                return self;
            }
            assert!(Instant::now() < deadline, "it does not say {text:?}:\n{said}");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Nobody reads stdout any more.
    pub(crate) fn close_stdout(&mut self) -> &mut Self {
        self.stdout = None;
        self
    }

    pub(crate) fn signal(&mut self, signal: &str) -> &mut Self {
        let arguments = ["-s", signal, &self.child.id().to_string()];
        let status = Command::new("kill").args(arguments).status().unwrap();
        assert!(status.success());
        self
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn end(&mut self) -> Ended {
        self.end_within(PATIENCE)
    }

    pub(crate) fn end_within(&mut self, limit: Duration) -> Ended {
        if let Some(mut stdout) = self.stdout.take() {
            let mut rest = Vec::new();
            stdout.read_to_end(&mut rest).unwrap();
            self.read.push_str(&String::from_utf8_lossy(&rest));
        }
        let deadline = Instant::now() + limit;
        let status = loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                break status;
            }
            assert!(Instant::now() < deadline, "it does not end");
            std::thread::sleep(Duration::from_millis(5));
        };
        self.stderr.take().unwrap().join().unwrap();
        let stderr = std::mem::take(&mut *self.said.lock().unwrap());
        Ended {
            status,
            stdout: self.project.shown(&self.read),
            stderr: self.project.shown(&String::from_utf8_lossy(&stderr)),
        }
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        _ = self.child.kill();
        _ = self.child.wait();
    }
}

/// What came of a run, with `~` for what is unique.
pub(crate) struct Ended {
    pub(crate) status: ExitStatus,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Ended {
    #[track_caller]
    pub(crate) fn exits(self, code: i32) -> Self {
        assert_eq!(self.status.code(), Some(code), "{self}");
        self
    }

    /// Each of these stands on stderr.
    #[track_caller]
    pub(crate) fn says(self, texts: &[&str]) -> Self {
        for text in texts {
            assert!(self.stderr.contains(text), "it does not say {text:?}\n{self}");
        }
        self
    }

    /// Neither on stdout nor on stderr.
    #[track_caller]
    pub(crate) fn never_says(self, texts: &[&str]) -> Self {
        for text in texts {
            let said = self.stdout.contains(text) || self.stderr.contains(text);
            assert!(!said, "it says {text:?}\n{self}");
        }
        self
    }

    /// The last line on stderr, without the time it took.
    pub(crate) fn result(&self) -> String {
        timeless(self.stderr.trim_end().lines().last().unwrap_or_default())
    }

    /// stdout as JSON lines.
    #[track_caller]
    pub(crate) fn events(&self) -> Vec<Value> {
        let parsed = |line: &str| {
            serde_json::from_str(line).unwrap_or_else(|error| panic!("{error} in {line:?}\n{self}"))
        };
        self.stdout.lines().map(parsed).collect()
    }
}

impl std::fmt::Display for Ended {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}\n-- stdout\n{}-- stderr\n{}--", self.status, self.stdout, self.stderr)
    }
}

/// Without the times that things took: `built in 3.2 s` becomes `built in _`.
pub(crate) fn timeless(text: &str) -> String {
    static TIME: LazyLock<Regex> =
        LazyLock::new(|| Regex::new(r"\b(\d+ h )?(\d+ min )?\d+(\.\d+)? m?s\b").unwrap());
    TIME.replace_all(text, "_").into_owned()
}
