//! Which records of runs are old.

use std::{num::TryFromIntError, time::Duration};

use jiff::Timestamp;
use ulid::Ulid;

use crate::publish::store::Recorded;

/// How many runs stay at any age: those that `rebuild history` lists.
pub const KEPT_RUNS: usize = 20;

/// The records of runs that began before this time. Records without that time stay.
pub fn old_records(newest_first: Vec<Recorded>, keep: Duration, now: Timestamp) -> Vec<Recorded> {
    let is_old = |recorded: &Recorded| {
        began(&recorded.run).is_some_and(|began| {
            Duration::try_from(now.duration_since(began)).is_ok_and(|age| age > keep)
        })
    };
    newest_first.into_iter().skip(KEPT_RUNS).filter(is_old).collect()
}

fn began(run: &str) -> Option<Timestamp> {
    let id = Ulid::from_string(&run.to_uppercase()).ok()?;
    let millis: Result<i64, TryFromIntError> = id.timestamp_ms().try_into();
    Timestamp::from_millisecond(millis.ok()?).ok()
}
