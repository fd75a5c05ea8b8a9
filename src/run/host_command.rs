//! Runs a command on this machine for a step: `prepare`, `gate`.
//!
//! **Invariant:** nothing of it is left running, neither after its end nor when the step is cancelled.

use std::{
    ffi::OsString,
    io,
    path::{Path, PathBuf},
    process::{ExitStatus, Stdio},
    time::Duration,
};

use process_wrap::tokio::{ChildWrapper, CommandWrap, ProcessGroup};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _},
    sync::mpsc,
};

use crate::hierarchy::command_line;

/// How long to read output after the command has ended: a child process may hold the pipe open forever.
const AFTER_END: Duration = Duration::from_secs(2);

/// A command, in a process group of its own.
pub(super) struct HostCommand<'a> {
    /// The list of arguments, not a shell line. A first argument with a `/` is a path in the folder.
    pub(super) argv: &'a [String],
    pub(super) folder: &'a Path,
    pub(super) variables: Vec<(&'static str, OsString)>,
    pub(super) timeout: Duration,
}

#[derive(Debug, thiserror::Error)]
pub(super) enum HostCommandError {
    #[error("cannot run `{command}`: {source}")]
    Start { command: String, source: io::Error },
    #[error("`{command}` ended with {}", ending(*.status))]
    Failed { command: String, status: ExitStatus },
    #[error("`{command}` took longer than its timeout of {:?}", .after)]
    TimedOut { command: String, after: Duration },
}

/// `exit code 3`, as in other messages; for a signal, its name in the system.
fn ending(status: ExitStatus) -> String {
    status.code().map_or_else(|| status.to_string(), |code| format!("exit code {code}"))
}

/// Kills the whole group when it is dropped, also what the command left in the background. `KillOnDrop` would kill the
/// leader only.
struct KilledGroup(Box<dyn ChildWrapper>);

impl Drop for KilledGroup {
    fn drop(&mut self) {
        _ = self.0.start_kill();
    }
}

impl HostCommand<'_> {
    /// Runs it until it succeeds. Its process group is killed at the timeout or when the run stops.
    pub(super) async fn run(
        self,
        mut output: impl FnMut(&[u8]) + Send,
    ) -> Result<(), HostCommandError> {
        let command = command_line(self.argv);
        let program = self.argv.first().map(String::as_str).unwrap_or_default();
        // A relative path would be resolved in the working directory of `rebuild`.
        let program =
            if program.contains('/') { self.folder.join(program) } else { PathBuf::from(program) };
        let mut wrap = CommandWrap::with_new(program, |process| {
            process
                .args(&self.argv[1..])
                .current_dir(self.folder)
                .envs(self.variables)
                .stdin(Stdio::null())
                .stdout(Stdio::piped())
                .stderr(Stdio::piped());
        });
        wrap.wrap(ProcessGroup::leader());
        let started = |source| HostCommandError::Start { command: command.clone(), source };
        let mut group = KilledGroup(wrap.spawn().map_err(started)?);
        let child = &mut group.0;
        let (sender, mut pieces) = mpsc::channel(16);
        if let Some(stdout) = child.stdout().take() {
            tokio::spawn(forward(stdout, sender.clone()));
        }
        if let Some(stderr) = child.stderr().take() {
            tokio::spawn(forward(stderr, sender.clone()));
        }
        drop(sender);

        let deadline = tokio::time::sleep(self.timeout);
        tokio::pin!(deadline);
        let status = loop {
            tokio::select! {
                Some(piece) = pieces.recv() => output(&piece),
                status = child.wait() => break status.map_err(started)?,
                () = &mut deadline => {
                    let after = self.timeout;
                    return Err(HostCommandError::TimedOut { command, after });
                }
            }
        };
        let rest = async {
            while let Some(piece) = pieces.recv().await {
                output(&piece);
            }
        };
        _ = tokio::time::timeout(AFTER_END, rest).await;
        if status.success() { Ok(()) } else { Err(HostCommandError::Failed { command, status }) }
    }
}

async fn forward(mut pipe: impl AsyncRead + Unpin, pieces: mpsc::Sender<Vec<u8>>) {
    let mut buffer = vec![0; 8 * 1024];
    while let Ok(length) = pipe.read(&mut buffer).await {
        if length == 0 || pieces.send(buffer[..length].to_vec()).await.is_err() {
            return;
        }
    }
}
