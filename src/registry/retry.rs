//! Retries with bounded exponential backoff and jitter.

use std::{future::Future, time::Duration};

use backon::{BackoffBuilder as _, ExponentialBuilder};
use tokio::time::Instant;

use super::{RegistryError, delays::Delays};

/// The limits of retries.
#[derive(Clone, Debug)]
pub struct Retry {
    /// The maximal number of attempts, including the first.
    pub attempts: usize,
    /// The first pause. Each further one doubles, plus jitter.
    pub first: Duration,
    /// The longest pause, even if the registry asks for a longer one.
    pub longest: Duration,
    /// The time after the start of the first attempt at which the last attempt must end, if it takes as long as
    /// the one before it.
    pub budget: Duration,
}

impl Default for Retry {
    fn default() -> Self {
        Self {
            attempts: 5,
            first: Duration::from_millis(500),
            longest: Duration::from_secs(60),
            // A `Retry-After` of a whole minute still fits.
            budget: Duration::from_secs(70),
        }
    }
}

impl Retry {
    /// The pauses between attempts: each is twice the previous one, plus jitter, so that clients that failed
    /// together do not retry together.
    pub fn pauses(&self) -> impl Iterator<Item = Duration> + Send + use<> {
        ExponentialBuilder::new()
            .with_min_delay(self.first)
            .with_max_delay(self.longest)
            .with_max_times(self.attempts.saturating_sub(1))
            .with_jitter()
            .build()
    }
}

/// A failed attempt, and whether a retry may succeed.
#[derive(Debug)]
pub struct AttemptFailure {
    pub(super) error: RegistryError,
    pub(super) again: RequestRetry,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RequestRetry {
    /// A retry would get the same answer.
    Never,
    /// One retry without a pause: the service is restarting.
    Once,
    /// With growing pauses.
    Backoff,
    /// After the time that the registry asked for.
    After(Duration),
}

impl From<RegistryError> for AttemptFailure {
    fn from(error: RegistryError) -> Self {
        Self { error, again: RequestRetry::Never }
    }
}

/// Calls `attempt` until it succeeds, fails permanently, or reaches a limit.
pub(super) async fn run<T, F>(
    (retry, delays): (&Retry, &Delays),
    mut attempt: impl FnMut() -> F,
) -> Result<T, RegistryError>
where
    F: Future<Output = Result<T, AttemptFailure>>,
{
    let started = Instant::now();
    let mut pauses = retry.pauses();
    let mut once = false;
    let mut attempts = 1;
    loop {
        let began = Instant::now();
        let AttemptFailure { error, again } = match attempt().await {
            Ok(value) => return Ok(value),
            Err(failure) => failure,
        };
        let Some(pause) = pauses.next() else { return Err(error) };
        let pause = match again {
            RequestRetry::Never => return Err(error),
            RequestRetry::Once if once => return Err(error),
            RequestRetry::Once => {
                once = true;
                pause.min(retry.first)
            }
            RequestRetry::Backoff => pause,
            RequestRetry::After(asked) => asked.min(retry.longest),
        };
        // The next attempt may take as long as this one: a silent registry is not waited for beyond the budget.
        if started.elapsed() + pause + began.elapsed() > retry.budget {
            return Err(error);
        }
        tracing::debug!(%error, ?pause, "trying again");
        attempts += 1;
        // The single retry follows at once.
        if again != RequestRetry::Once {
            delays.retry(&error, (attempts, retry.attempts), pause);
        }
        tokio::time::sleep(pause).await;
    }
}

/// `Retry-After`: seconds, or a date (RFC 9110 §10.2.3).
pub(super) fn retry_after(value: &str, now: jiff::Timestamp) -> Option<Duration> {
    if let Ok(seconds) = value.trim().parse::<u64>() {
        return Some(Duration::from_secs(seconds));
    }
    let then = jiff::fmt::rfc2822::DateTimeParser::new().parse_timestamp(value.trim()).ok()?;
    Some(Duration::try_from(then.duration_since(now)).unwrap_or(Duration::ZERO))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failure(again: RequestRetry) -> AttemptFailure {
        let error = RegistryError::Credentials { host: "h".into(), reason: "r".into() };
        AttemptFailure { error, again }
    }

    /// Runs attempts that fail as told, then succeed: (succeeded, attempts, seconds waited).
    async fn patience(answers: &[RequestRetry]) -> (bool, usize, u64) {
        let started = Instant::now();
        let mut asked = 0;
        let result = run((&Retry::default(), &Delays::default()), || {
            let answer = answers.get(asked).copied();
            asked += 1;
            async move { answer.map_or(Ok(()), |again| Err(failure(again))) }
        })
        .await;
        (result.is_ok(), asked, started.elapsed().as_secs())
    }

    #[tokio::test(start_paused = true)]
    async fn waits_as_asked_and_gives_up_in_time() {
        let after = |seconds| RequestRetry::After(Duration::from_secs(seconds));
        for (answers, expected) in [
            (vec![], (true, 1, 0)),
            (vec![RequestRetry::Never], (false, 1, 0)),
            (vec![RequestRetry::Once], (true, 2, 0)),
            (vec![RequestRetry::Once, RequestRetry::Once], (false, 2, 0)),
            (vec![after(7)], (true, 2, 7)),
            (vec![after(3), after(4)], (true, 3, 7)),
            // An hour is cut to a minute, and a second minute is over the budget.
            (vec![after(3600)], (true, 2, 60)),
            (vec![after(3600), after(3600)], (false, 2, 60)),
        ] {
            assert_eq!(patience(&answers).await, expected, "{answers:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn backs_off_five_times_with_growing_jittered_pauses() {
        let (succeeded, attempts, waited) = patience(&[RequestRetry::Backoff; 9]).await;
        assert_eq!((succeeded, attempts), (false, 5));
        // 0.5 + 1 + 2 + 4 s, and jitter of at most as much again (the jitter is of the first pause).
        assert!((7..=15).contains(&waited), "{waited}");
        assert!(patience(&[RequestRetry::Backoff; 4]).await.0);
    }

    #[test]
    fn reads_seconds_and_dates() {
        let now: jiff::Timestamp = "2015-10-21T07:27:00Z".parse().unwrap();
        for (value, expected) in [
            ("0", Some(0)),
            (" 120 ", Some(120)),
            ("Wed, 21 Oct 2015 07:28:00 GMT", Some(60)),
            ("Wed, 21 Oct 2015 07:26:00 GMT", Some(0)),
            ("soon", None),
            ("-1", None),
            ("", None),
        ] {
            assert_eq!(retry_after(value, now), expected.map(Duration::from_secs), "{value:?}");
        }
    }
}
