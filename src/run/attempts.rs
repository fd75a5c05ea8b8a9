//! Whether a step that failed is tried again, and after what pause.
//!
//! **Invariant:** what fails because of the image itself is tried again only as often as the image's own
//! `retries` say, and what would fail in the same way for certain (a full disk, files that cannot be
//! read) never.

use std::time::Duration;

use tokio::time::Instant;

use super::{
    engine_messages::{Shape, shape},
    step::Trouble,
    step_events::Tell,
};
use crate::{engine::EngineError, publish::store::StoreError, registry::Retry};

/// What another try would bring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Again {
    /// The same.
    Never,
    /// Probably the same, so only if the image's `retries` ask for it.
    Asked,
    /// The same, unless an image that it needs was removed by another client.
    Unsure,
    /// Something else, soon: another client of the engine removed an image, or cancelled a step that the
    /// engine ran for both.
    Race,
    /// Something else, in a while: a registry that is overloaded.
    Passing,
    /// Something else, once the engine is back.
    Gone,
}

/// An engine restarts in some ten seconds.
const ENGINE: Retry = Retry {
    attempts: 5,
    first: Duration::from_secs(1),
    longest: Duration::from_secs(15),
    budget: Duration::from_secs(60),
};

/// Where several jobs share an engine, one lost race is soon followed by another. A base that was pruned
/// is lost for good, and that is retried as often.
const RACES: u8 = 3;

/// The attempts at one step.
pub(super) struct Attempts {
    /// How many more the image's `retries` allow, and how many they allowed.
    left: u8,
    of: u8,
    races: u8,
    pauses: Box<dyn Iterator<Item = Duration> + Send>,
    engine: Box<dyn Iterator<Item = Duration> + Send>,
    /// When what passes was first met.
    since: Option<Instant>,
    /// What was wrong with the image each time.
    failed: Vec<String>,
}

impl Attempts {
    pub(super) fn new(retries: u8) -> Self {
        // An engine that pushes is as patient with a registry as our own requests are.
        let pauses = Box::new(Retry::default().pauses());
        let engine = Box::new(ENGINE.pauses());
        let (left, of, races) = (retries, retries, RACES);
        Self { left, of, races, pauses, engine, since: None, failed: Vec::new() }
    }

    /// How often the image was tried, by its own fault.
    pub(super) fn count(&self) -> usize {
        self.failed.len() + 1
    }

    /// Returns when the step is to be tried again, with the trouble if it is not.
    pub(super) async fn after(&mut self, trouble: Trouble, tell: &mut Tell) -> Result<(), Trouble> {
        let again = if tell.says("no space left on device") { Again::Never } else { trouble.again };
        match again {
            Again::Asked | Again::Unsure if self.left > 0 => {
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
            Again::Gone => {
                let Some(pause) = self.engine.next() else { return Err(trouble) };
                Self::pause(pause, &trouble, tell).await;
                Ok(())
            }
            Again::Passing => {
                let Some(pause) = self.pauses.next() else { return Err(trouble) };
                let since = *self.since.get_or_insert_with(Instant::now);
                if since.elapsed() + pause > Retry::default().budget {
                    return Err(trouble);
                }
                Self::pause(pause, &trouble, tell).await;
                Ok(())
            }
            Again::Never | Again::Asked | Again::Unsure | Again::Race => Err(trouble),
        }
    }

    async fn pause(pause: Duration, trouble: &Trouble, tell: &mut Tell) {
        tell.warn(&format!("{}: trying again in {pause:.0?}", trouble.message));
        tell.failed(&trouble.message);
        tokio::time::sleep(pause).await;
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
        let said = match error {
            // A command of the Dockerfile that failed is the image's matter, whatever it printed.
            EngineError::Build { exit_code: Some(_), message, .. } => {
                shape(message).filter(|said| *said == Shape::Full)
            }
            EngineError::Build { message, .. }
            | EngineError::Transfer { message, .. }
            | EngineError::Refused { message, .. }
            | EngineError::Answer { message, .. } => shape(message),
            _ => None,
        };
        match (error, said) {
            (_, Some(Shape::Full)) => Self::Never,
            (EngineError::Unreachable { .. }, _) => Self::Gone,
            // An image that the engine had a moment ago.
            (EngineError::Refused { status: 404, .. }, _) => Self::Race,
            // Not 500, which Docker also answers where a request makes no sense.
            (EngineError::Refused { status: 502..=504, .. }, _) => Self::Passing,
            (EngineError::Build { .. } | EngineError::Transfer { .. }, Some(Shape::Passing)) => {
                Self::Passing
            }
            (EngineError::Build { .. } | EngineError::Transfer { .. }, Some(Shape::Race)) => {
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
            // It was asked twice already.
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
                // Retries are for builds and tests, and neither failed.
                Self::Asked | Self::Unsure => Self::Never,
                again => again,
            },
            // The registry client has tried as often as it makes sense.
            StoreError::Registry(_) | StoreError::Lost { .. } | StoreError::Gone { .. } => {
                Self::Never
            }
        }
    }
}

#[cfg(test)]
#[path = "attempts_tests.rs"]
mod tests;
