//! Signals: the first asks a run to stop and clean up, the second ends the program at once.

use tokio::{
    signal::unix::{SignalKind, signal},
    sync::mpsc,
};

use super::output;
use crate::{exit::Exit, run::StopReason};

/// Sends a reason for each SIGINT and SIGTERM. On the second one the program ends here.
pub(super) fn listen() -> std::io::Result<mpsc::Receiver<StopReason>> {
    let (sender, receiver) = mpsc::channel(4);
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    tokio::spawn(async move {
        let mut signals = 0;
        loop {
            let (reason, exit) = tokio::select! {
                Some(()) = interrupt.recv() => (StopReason::Interrupted, Exit::Interrupted),
                Some(()) = terminate.recv() => (StopReason::Terminated, Exit::Terminated),
                else => return,
            };
            signals += 1;
            if signals == 1 {
                _ = sender.send(reason).await;
                continue;
            }
            output::warning(
                "ended at once: containers, names and temporary files of this run may be left, and \
                 tags be moved in part; the next `rebuild` removes the ones and moves the rest",
            );
            std::process::exit(i32::from(exit.code()));
        }
    });
    Ok(receiver)
}

/// How a command ends that was asked to stop.
pub(super) fn exit_of(reason: StopReason) -> Exit {
    match reason {
        StopReason::Terminated => Exit::Terminated,
        _ => Exit::Interrupted,
    }
}
