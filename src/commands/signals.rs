//! Signals: the first asks a command to stop and clean up, the second ends the program at once.
//!
//! **Invariant:** after the first signal the program ends within [`LIMIT`], whatever hangs.

use std::{thread, time::Duration};

use futures_util::future::join_all;
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::mpsc,
};

use super::{error::CommandError, output};
use crate::{engine::Docker, event::StopReason, exit::Exit};

/// CI systems kill a job some ten seconds after they asked it to stop.
const LIMIT: Duration = Duration::from_millis(9500);
/// What cleaning up may take of it, at each of two places.
pub(super) use crate::run::CLEANUP;

/// Sends a reason for the first SIGINT, SIGTERM, SIGHUP or SIGQUIT. On the second one the program ends here.
///
/// SIGHUP comes when a terminal or an SSH connection is closed. `nohup` and shells that start a command in the
/// background have the process ignore SIGHUP or SIGQUIT, which stays so.
pub(super) fn listen() -> std::io::Result<mpsc::Receiver<StopReason>> {
    let (sender, receiver) = mpsc::channel(4);
    listen_with(sender)?;
    Ok(receiver)
}

/// Also sends one when stdin ends: the server that started this process has ended.
pub(super) fn listen_to_server() -> std::io::Result<mpsc::Receiver<StopReason>> {
    let (sender, receiver) = mpsc::channel(4);
    listen_with(sender.clone())?;
    thread::spawn(move || {
        _ = std::io::copy(&mut std::io::stdin().lock(), &mut std::io::sink());
        _ = sender.blocking_send(StopReason::Interrupted);
    });
    Ok(receiver)
}

fn listen_with(sender: mpsc::Sender<StopReason>) -> std::io::Result<()> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let ignored = ignored();
    let unless_ignored = |kind: SignalKind| {
        let is_ignored = ignored >> (kind.as_raw_value() - 1) & 1 == 1;
        (!is_ignored).then(|| signal(kind)).transpose()
    };
    let mut hangup = unless_ignored(SignalKind::hangup())?;
    let mut quit = unless_ignored(SignalKind::quit())?;
    tokio::spawn(async move {
        let mut signals = 0;
        loop {
            let (reason, exit) = tokio::select! {
                Some(()) = interrupt.recv() => (StopReason::Interrupted, Exit::Interrupted),
                Some(()) = terminate.recv() => (StopReason::Terminated, Exit::Terminated),
                Some(()) = received(&mut hangup) => (StopReason::Terminated, Exit::Terminated),
                Some(()) = received(&mut quit) => (StopReason::Terminated, Exit::Terminated),
                else => return,
            };
            signals += 1;
            if signals == 1 {
                // A thread, since a runtime that ends may wait for what hangs.
                thread::spawn(move || {
                    thread::sleep(LIMIT);
                    end("ended 10 seconds after the signal", exit);
                });
                _ = sender.send(reason).await;
                continue;
            }
            end("ended at once", exit);
        }
    });
    Ok(())
}

async fn received(signal: &mut Option<tokio::signal::unix::Signal>) -> Option<()> {
    signal.as_mut()?.recv().await
}

/// The signals that the process ignores, a bit each (proc(5), `SigIgn`). Systems without `/proc` give none.
fn ignored() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    line.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or_default()
}

fn end(why: &str, exit: Exit) {
    output::warning(&format!(
        "{why}: containers and temporary files of this run may be left, and only some tags may have moved; the \
         next `rebuild` removes the leftovers and moves the other tags"
    ));
    std::process::exit(i32::from(exit.code()));
}

/// Waits until each engine has removed every container of this process, or, after a stop signal, for
/// [`CLEANUP`]. Returns a sentence for each container that is left.
pub(super) async fn quiesce(
    engines: &[&Docker],
    stops: &mut mpsc::Receiver<StopReason>,
    has_stopped: bool,
) -> Vec<String> {
    let patience = async {
        if !has_stopped && stops.recv().await.is_none() {
            std::future::pending::<()>().await;
        }
        tokio::time::sleep(CLEANUP).await;
    };
    tokio::select! {
        _ = join_all(engines.iter().map(|engine| engine.quiesce())) => {}
        () = patience => {}
    }
    let left = engines.iter().flat_map(|engine| engine.containers_left());
    left.map(|id| {
        let short = &id[..id.len().min(12)];
        format!("the container `{short}` is left in the engine; the next `rebuild` removes it")
    })
    .collect()
}

/// Does something that changes nothing, unless a stop signal comes first.
pub(super) async fn unless_stopped<T, E>(
    stops: &mut mpsc::Receiver<StopReason>,
    work: impl Future<Output = Result<T, E>>,
) -> Result<T, CommandError>
where
    CommandError: From<E>,
{
    tokio::select! {
        biased;
        Some(reason) = stops.recv() => Err(stopped_early(reason)),
        done = work => Ok(done?),
    }
}

/// The error of a command that was asked to stop before it began.
pub(super) fn stopped_early(reason: StopReason) -> CommandError {
    CommandError::new(exit_of(reason), "stopped before it began")
}

/// How a command ends that was asked to stop.
pub(super) fn exit_of(reason: StopReason) -> Exit {
    match reason {
        StopReason::Terminated => Exit::Terminated,
        _ => Exit::Interrupted,
    }
}
