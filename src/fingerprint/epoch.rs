//! The epoch of an image: its last refresh.

use std::{fmt, str::FromStr, time::Duration};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// A time in whole seconds. Two builds of the same files in different epochs have different fingerprints.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Epoch(Timestamp);

impl Epoch {
    pub fn at(time: Timestamp) -> Self {
        Self(Timestamp::from_second(time.as_second()).unwrap_or(Timestamp::UNIX_EPOCH))
    }

    pub fn time(self) -> Timestamp {
        self.0
    }

    /// The last of `last + every`, `last + 2 × every`, … that is not after `now`; `None` if even the first is
    /// after `now`.
    ///
    /// Every machine computes the same epoch at any time, so each finds the refresh of another one.
    pub fn due(last: Timestamp, every: Duration, now: Timestamp) -> Option<Self> {
        let every = i64::try_from(every.as_secs()).ok().filter(|every| *every > 0)?;
        let age = now.as_second().checked_sub(last.as_second())?;
        let times = age.checked_div(every).filter(|times| *times > 0)?;
        Timestamp::from_second(last.as_second() + times * every).ok().map(Self)
    }

    /// The epoch of an image that was never built: the same for all builds within `every`.
    pub fn first(every: Duration, now: Timestamp) -> Self {
        Self::due(Timestamp::UNIX_EPOCH, every, now).unwrap_or(Self(Timestamp::UNIX_EPOCH))
    }
}

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for Epoch {
    type Err = jiff::Error;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(Self::at(text.parse()?))
    }
}

impl TryFrom<String> for Epoch {
    type Error = jiff::Error;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<Epoch> for String {
    fn from(epoch: Epoch) -> Self {
        epoch.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refresh_is_due_each_time_the_interval_is_over() {
        for (last, now, expected) in [
            ("2026-11-20T12:00:00Z", "2026-11-20T12:00:00Z", None),
            ("2026-11-20T12:00:00Z", "2026-11-21T11:59:59.9Z", None),
            ("2026-11-20T12:00:00Z", "2026-11-21T12:00:00Z", Some("2026-11-21T12:00:00Z")),
            ("2026-11-20T12:00:00Z", "2026-11-22T11:00:00Z", Some("2026-11-21T12:00:00Z")),
            ("2026-11-20T12:00:00.7Z", "2027-11-20T12:00:00.2Z", Some("2027-11-20T12:00:00Z")),
            // A clock that is behind.
            ("2026-11-20T12:00:00Z", "2026-11-10T12:00:00Z", None),
        ] {
            let due =
                Epoch::due(last.parse().unwrap(), Duration::from_hours(24), now.parse().unwrap());
            assert_eq!(due.map(String::from).as_deref(), expected, "{last} {now}");
        }
        let first = |now: &str| Epoch::first(Duration::from_hours(24), now.parse().unwrap());
        assert_eq!(first("2026-11-20T12:34:56Z"), "2026-11-20T00:00:00Z".parse().unwrap());
        assert_eq!(first("2026-11-20T23:59:59Z"), first("2026-11-20T00:00:00Z"));
        let never = Epoch::due(Timestamp::UNIX_EPOCH, Duration::ZERO, Timestamp::MAX);
        assert_eq!(never, None);
    }
}
