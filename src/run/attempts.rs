//! Whether a step that failed is tried again, and after what pause.
//!
//! **Invariant:** what fails because of the image itself is tried again only as often as the image's own
//! `retries` say, and what would fail in the same way for certain (a full disk, files that cannot be
//! read) never.

use std::time::Duration;

use super::{step::Trouble, tell::Tell};
use crate::{engine::EngineError, registry::Retry, store::StoreError};

/// What another try would bring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Again {
    /// The same.
    Never,
    /// Probably the same, so only if the image's `retries` ask for it.
    Asked,
    /// Something else, soon: another client of the engine removed an image, or cancelled a step that the
    /// engine ran for both.
    Race,
    /// Something else, in a while: an engine that restarts, a registry that is overloaded.
    Passing,
}

/// An engine restarts in some ten seconds. The registry client has a patience of its own.
const PATIENCE: Retry = Retry {
    attempts: 5,
    first: Duration::from_secs(1),
    longest: Duration::from_secs(15),
    budget: Duration::from_secs(60),
};

/// Where several jobs share an engine, one lost race is soon followed by another. A base that was pruned
/// is lost for good, and that is seen as often in vain.
const RACES: u8 = 3;

/// How an engine puts it, in the words of Go's network library and of its own, when the trouble lies in
/// the network or in the registry and will pass.
const PASSING: [&str; 15] = [
    "connection reset by peer",
    "connection refused",
    "broken pipe",
    "unexpected EOF",
    ": EOF",
    "i/o timeout",
    "TLS handshake timeout",
    "Client.Timeout exceeded",
    "Temporary failure in name resolution",
    "server misbehaving",
    "toomanyrequests",
    "Too Many Requests",
    "HTTP status: 5",
    "HTTP response code 5",
    "parsing HTTP 5",
];

/// The attempts at one step.
pub(super) struct Attempts {
    /// How many more the image's `retries` allow, and how many they allowed.
    left: u8,
    of: u8,
    races: u8,
    pauses: Box<dyn Iterator<Item = Duration> + Send>,
    /// What was wrong with the image each time.
    failed: Vec<String>,
}

impl Attempts {
    pub(super) fn new(retries: u8) -> Self {
        let pauses = Box::new(PATIENCE.pauses());
        Self { left: retries, of: retries, races: RACES, pauses, failed: Vec::new() }
    }

    /// How often the image was tried, by its own fault.
    pub(super) fn count(&self) -> usize {
        self.failed.len() + 1
    }

    /// Returns when the step is to be tried again, with the trouble if it is not.
    pub(super) async fn after(&mut self, trouble: Trouble, tell: &mut Tell) -> Result<(), Trouble> {
        let again = if tell.says("no space left on device") { Again::Never } else { trouble.again };
        match again {
            Again::Asked if self.left > 0 => {
                self.left -= 1;
                let (number, total) = (self.count(), self.of + 1);
                tell.warn(&format!("attempt {number} of {total} failed: {}", trouble.message));
                tell.failed(&trouble.message);
                self.failed.push(trouble.message);
                Ok(())
            }
            Again::Race if self.races > 0 => {
                self.races -= 1;
                tell.warn(&format!("{}: trying again", trouble.message));
                tell.failed(&trouble.message);
                Ok(())
            }
            Again::Passing => {
                let Some(pause) = self.pauses.next() else { return Err(trouble) };
                tell.warn(&format!("{}: trying again in {pause:.0?}", trouble.message));
                tell.failed(&trouble.message);
                tokio::time::sleep(pause).await;
                Ok(())
            }
            Again::Never | Again::Asked | Again::Race => Err(trouble),
        }
    }

    /// Says of an image that was made in the end that it cannot be relied upon.
    pub(super) fn tell_flaky(&self, tell: &Tell) {
        if let Some(first) = self.failed.first() {
            let times = match self.failed.len() {
                1 => "once".to_owned(),
                n => format!("{n} times"),
            };
            tell.warn(&format!("failed {times} and then succeeded: {first}"));
        }
    }
}

impl Again {
    pub(super) fn after_engine(error: &EngineError) -> Self {
        let text = error.to_string();
        let passes = PASSING.iter().any(|sign| text.contains(sign));
        match error {
            _ if is_full(&text) => Self::Never,
            EngineError::Unreachable { .. } => Self::Passing,
            EngineError::Build { message, exit_code: None, .. } if was_cancelled(message) => {
                Self::Race
            }
            EngineError::Answer { message, .. } if message.starts_with("No such image: ") => {
                Self::Race
            }
            EngineError::Transfer { message, .. } if lost_a_push(message) => Self::Race,
            // A command of the Dockerfile that failed is the image's matter, whatever it printed.
            EngineError::Build { exit_code: None, .. } | EngineError::Transfer { .. } if passes => {
                Self::Passing
            }
            EngineError::Build { .. }
            | EngineError::Silent { .. }
            | EngineError::TimedOut { .. }
            | EngineError::Answer { .. } => Self::Asked,
            EngineError::Transfer { .. }
            | EngineError::Context(_)
            | EngineError::NoEngine { .. }
            | EngineError::TooOld { .. }
            | EngineError::Builder { .. } => Self::Never,
        }
    }

    pub(super) fn after_store(error: &StoreError) -> Self {
        match error {
            StoreError::Engine(error) => match Self::after_engine(error) {
                // Retries are for builds and tests, and neither failed.
                Self::Asked => Self::Never,
                again => again,
            },
            // The registry client has tried as often as it makes sense.
            StoreError::Registry(_) | StoreError::Lost { .. } | StoreError::Gone { .. } => {
                Self::Never
            }
        }
    }
}

/// Go's words for `ENOSPC` and `EDQUOT`. The next try would only fill it further.
fn is_full(text: &str) -> bool {
    ["no space left on device", "disk quota exceeded"].iter().any(|full| text.contains(full))
}

/// BuildKit runs a step once for all clients that ask for it at the same time, with the session of one of
/// them (moby/buildkit: `solver/scheduler.go`, `session/manager.go`). If that client goes away, the others
/// get one of these errors. A build that this run cancels is dropped and has no error.
const CANCELLED: [&str; 5] = [
    "context canceled",
    "code = Canceled",
    "no active session",
    "failed to get session",
    "session healthcheck failed",
];

fn was_cancelled(message: &str) -> bool {
    CANCELLED.iter().any(|cancelled| message.contains(cancelled))
}

/// Two runs push the same image: one of them removes the tag from the engine, or has not yet uploaded the
/// layers that the engine takes for uploaded.
const LOST_PUSHES: [&str; 3] =
    ["does not exist locally with the tag", "tag does not exist", "blob unknown to registry"];

fn lost_a_push(message: &str) -> bool {
    LOST_PUSHES.iter().any(|lost| message.contains(lost))
}

#[cfg(test)]
#[path = "attempts_tests.rs"]
mod tests;
