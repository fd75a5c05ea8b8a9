//! Decides whether a failed step is retried, and after which pause.
//!
//! **Invariant:** failures of the image itself are retried as often as its `retries` allow. Permanent
//! failures (a full disk, unreadable files) are never retried.

use std::time::Duration;

use tokio::time::Instant;

use super::{
    engine_messages::{Outlook, shape},
    step_events::Tell,
    trouble::Trouble,
};
use crate::{engine::EngineError, publish::store::StoreError, registry::Retry};

/// The expected result of another attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum StepRetry {
    /// The same failure.
    Never,
    /// Probably the same failure, so only the image's `retries` count.
    Asked,
    /// The same failure, unless another client removed an image that it needs.
    Unsure,
    /// Success after a short pause: another client of the engine removed an image, or cancelled a step that
    /// both share.
    Race,
    /// Success after a longer pause: a registry is overloaded.
    Passing,
    /// Success when the engine is back.
    Gone,
}

/// An engine restarts in about ten seconds.
const ENGINE: Retry = Retry {
    attempts: 5,
    first: Duration::from_secs(1),
    longest: Duration::from_secs(15),
    budget: Duration::from_secs(60),
};

/// If several jobs share an engine, races repeat. A pruned base is lost permanently, but has the same limit.
const RACES: u8 = 3;

/// The attempts at one step.
pub(super) struct Attempts {
    /// The remaining and the total attempts of the image's `retries`.
    left: u8,
    of: u8,
    races: u8,
    pauses: Box<dyn Iterator<Item = Duration> + Send>,
    engine: Box<dyn Iterator<Item = Duration> + Send>,
    /// The time of the first temporary error.
    since: Option<Instant>,
    /// The image's failure in each attempt.
    failed: Vec<String>,
}

impl Attempts {
    pub(super) fn new(retries: u8) -> Self {
        // Pushes of the engine have the same limits as `rebuild`'s own requests.
        let pauses = Box::new(Retry::default().pauses());
        let engine = Box::new(ENGINE.pauses());
        let (left, of, races) = (retries, retries, RACES);
        Self { left, of, races, pauses, engine, since: None, failed: Vec::new() }
    }

    /// The number of attempts because of the image's own failures.
    pub(super) fn count(&self) -> usize {
        self.failed.len() + 1
    }

    /// Returns when the step must be retried; an error if it must not.
    pub(super) async fn after(&mut self, trouble: Trouble, tell: &mut Tell) -> Result<(), Trouble> {
        let again =
            if tell.says("no space left on device") { StepRetry::Never } else { trouble.again };
        match again {
            StepRetry::Asked | StepRetry::Unsure if self.left > 0 => {
                self.left -= 1;
                let (number, total) = (self.count(), self.of + 1);
                tell.warn(&format!("attempt {number} of {total} failed: {}", trouble.headline()));
                tell.failed(&trouble.message);
                self.failed.push(trouble.message);
                Ok(())
            }
            StepRetry::Race if self.races > 0 => {
                self.races -= 1;
                tell.warn(&format!("{}: trying again", trouble.headline()));
                tell.failed(&trouble.message);
                Ok(())
            }
            StepRetry::Gone => {
                let Some(pause) = self.engine.next() else { return Err(trouble) };
                Self::pause(pause, &trouble, tell).await;
                Ok(())
            }
            StepRetry::Passing => {
                let Some(pause) = self.pauses.next() else { return Err(trouble) };
                let since = *self.since.get_or_insert_with(Instant::now);
                if since.elapsed() + pause > Retry::default().budget {
                    return Err(trouble);
                }
                Self::pause(pause, &trouble, tell).await;
                Ok(())
            }
            StepRetry::Never | StepRetry::Asked | StepRetry::Unsure | StepRetry::Race => {
                Err(trouble)
            }
        }
    }

    async fn pause(pause: Duration, trouble: &Trouble, tell: &mut Tell) {
        let seconds = pause.as_secs_f64().max(1.0);
        tell.warn(&format!("{}: trying again in {seconds:.0} s", trouble.headline()));
        tell.failed(&trouble.message);
        tokio::time::sleep(pause).await;
    }

    /// Reports a successful image as flaky.
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

impl StepRetry {
    pub(super) fn after_engine(error: &EngineError) -> Self {
        let said = match error {
            // A failed command of the Dockerfile is a failure of the image, whatever it printed.
            EngineError::Build { exit_code: Some(_), message, .. } => {
                shape(message).filter(|said| *said == Outlook::Full)
            }
            EngineError::Build { message, .. }
            | EngineError::Transfer { message, .. }
            | EngineError::Refused { message, .. }
            | EngineError::Answer { message, .. } => shape(message),
            _ => None,
        };
        match (error, said) {
            (_, Some(Outlook::Full)) => Self::Never,
            (EngineError::Unreachable { .. }, _) => Self::Gone,
            // The engine had this image before.
            (EngineError::Refused { status: 404, .. }, _) => Self::Race,
            // Not 500, because Docker also answers 500 to invalid requests.
            (EngineError::Refused { status: 502..=504, .. }, _) => Self::Passing,
            (EngineError::Build { .. } | EngineError::Transfer { .. }, Some(Outlook::Passing)) => {
                Self::Passing
            }
            (EngineError::Build { .. } | EngineError::Transfer { .. }, Some(Outlook::Race)) => {
                Self::Race
            }
            (
                EngineError::Build { exit_code: None, .. }
                | EngineError::Refused { .. }
                | EngineError::Answer { .. },
                _,
            ) => Self::Unsure,
            (
                EngineError::Build { .. }
                | EngineError::Silent { .. }
                | EngineError::TimedOut { .. },
                _,
            ) => Self::Asked,
            // The call was already retried.
            (
                EngineError::Hangs { .. }
                | EngineError::Transfer { .. }
                | EngineError::Context(_)
                | EngineError::NoEngine { .. }
                | EngineError::TooOld { .. }
                | EngineError::Builder { .. },
                _,
            ) => Self::Never,
        }
    }

    pub(super) fn after_store(error: &StoreError) -> Self {
        match error {
            StoreError::Engine(error) => match Self::after_engine(error) {
                // `retries` is for builds and tests, and neither failed.
                Self::Asked | Self::Unsure => Self::Never,
                again => again,
            },
            // The registry client has already retried.
            StoreError::Registry(_)
            | StoreError::Lost { .. }
            | StoreError::NoIndexes(_)
            | StoreError::Gone { .. } => Self::Never,
        }
    }
}

#[cfg(test)]
#[path = "attempts_tests.rs"]
mod tests;
