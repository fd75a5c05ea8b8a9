//! Starts the user's own program when a run is over: `--notify`, and `notify:` of the file.
//!
//! **Invariant:** what the program does, or does not, never changes how the run ends; nothing of it
//! is left running.

use std::{
    io,
    path::{Path, PathBuf},
    process::{ExitStatus, Stdio},
    time::Duration,
};

use process_wrap::tokio::{CommandWrap, KillOnDrop, ProcessGroup};
use tokio::io::AsyncWriteExt as _;

use super::output;
use crate::{
    hierarchy::command_line,
    report::{Record, whole},
};

/// A process that waits for the run would wait for the program, too.
const LIMIT: Duration = Duration::from_secs(30);

#[derive(Debug, thiserror::Error)]
pub(super) enum HookError {
    #[error("no notification was sent: cannot run `{command}`: {source}{hint}")]
    Start { command: String, source: io::Error, hint: &'static str },
    #[error("the notification command `{command}` ended with {}", ending(*.status))]
    Failed { command: String, status: ExitStatus },
    #[error("the notification command `{command}` took longer than {} s and was killed", LIMIT.as_secs())]
    TimedOut { command: String },
}

fn ending(status: ExitStatus) -> String {
    status.code().map_or_else(|| status.to_string(), |code| format!("exit code {code}"))
}

/// Runs it in a folder, with the report as JSON on its stdin; what it prints goes to stderr.
pub(super) async fn start(
    argv: &[String],
    folder: &Path,
    record: &Record,
) -> Result<(), HookError> {
    let command = command_line(argv);
    let hint = match argv {
        [one] if one.contains(' ') => "; write a program with arguments as a JSON list",
        _ => "",
    };
    let failed = |source| HookError::Start { command: command.clone(), source, hint };
    let mut report = Vec::new();
    whole(record, &mut report).map_err(failed)?;
    let program = argv.first().map(String::as_str).unwrap_or_default();
    // A relative program would be looked up from our own working folder.
    let program = if program.contains('/') { folder.join(program) } else { PathBuf::from(program) };
    let mut wrap = CommandWrap::with_new(program, |process| {
        process
            .args(&argv[1..])
            .current_dir(folder)
            .env("REBUILD_EXIT_CODE", record.exit().code().to_string())
            .stdin(Stdio::piped())
            .stdout(output::stderr_of_child())
            .stderr(Stdio::inherit());
    });
    wrap.wrap(ProcessGroup::leader()).wrap(KillOnDrop);
    let mut child = wrap.spawn().map_err(failed)?;
    let stdin = child.stdin().take();
    let over = async {
        let write = async {
            if let Some(mut stdin) = stdin {
                // The program need not read it.
                _ = stdin.write_all(&report).await;
                _ = stdin.shutdown().await;
            }
        };
        // A program may end without having read.
        let (status, ()) = tokio::join!(child.wait(), write);
        status
    };
    let status = tokio::time::timeout(LIMIT, over).await;
    // Also when it has ended: what it left in the background would hold our stderr open.
    _ = child.start_kill();
    match status {
        Ok(Ok(status)) if status.success() => Ok(()),
        Ok(Ok(status)) => Err(HookError::Failed { command, status }),
        Ok(Err(source)) => Err(failed(source)),
        Err(_) => Err(HookError::TimedOut { command }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Time passes by itself once everybody waits: half a minute takes as long as the shell needs to start.
    #[tokio::test(start_paused = true)]
    async fn a_program_that_hangs_is_killed_with_all_it_started() {
        let folder = tempfile::tempdir().unwrap();
        let script = "trap '' TERM; echo $$ >pid; sleep 600 & echo $! >child; wait";
        let argv = ["sh", "-c", script].map(str::to_owned);
        let record = Record::new(String::new());
        let file = |name: &str| std::fs::read_to_string(folder.path().join(name));
        let started = async {
            // Waiting for a blocking task keeps the time from passing.
            let path = folder.path().join("child");
            tokio::task::spawn_blocking(move || {
                while std::fs::read_to_string(&path).map_or(true, |text| !text.ends_with('\n')) {
                    std::thread::yield_now();
                }
            })
            .await
            .unwrap();
        };
        let told = start(&argv, folder.path(), &record);
        let (told, ()) = tokio::join!(told, started);
        assert!(matches!(told, Err(HookError::TimedOut { .. })), "{told:?}");
        for name in ["pid", "child"] {
            let process = Path::new("/proc").join(file(name).unwrap().trim());
            // A killed process stays as a zombie until somebody waits for it.
            let state = || std::fs::read_to_string(process.join("stat")).unwrap_or_default();
            let is_over =
                || state().split(' ').nth(2).is_none_or(|state| state == "Z" || state == "X");
            let patience = std::time::Instant::now();
            while !is_over() {
                assert!(
                    patience.elapsed() < Duration::from_secs(10),
                    "{name} runs on: {}",
                    state()
                );
                std::thread::yield_now();
            }
        }
    }
}
