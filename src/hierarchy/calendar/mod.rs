//! When a schedule is due: a cron expression in a time zone. Pure: the time is always given.
//!
//! **Invariant:** each tick is one moment, the same on every machine, and comes once: what a clock
//! that is put forward leaves out is made up for, and what it shows twice is done once.

mod cron;

use std::time::Duration;

use jiff::{
    Timestamp,
    civil::Date,
    tz::{AmbiguousOffset, TimeZone},
};

use self::cron::Cron;
pub use self::cron::CronError;
use crate::image::Hasher;

/// The rarest there is: a 29th of February, across a year that has none.
const LONGEST_PAUSE_DAYS: usize = 8 * 366 + 1;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Schedule {
    cron: Cron,
    zone: TimeZone,
    /// The longest delay after a tick, so that not all machines ask the registry at once.
    pub jitter: Duration,
    text: String,
}

#[derive(Debug, thiserror::Error)]
pub enum ScheduleError {
    #[error(transparent)]
    Cron(#[from] CronError),
    #[error("there is no time zone `{0}`")]
    Zone(String),
    #[error("`{0}` never comes")]
    Never(String),
}

impl Schedule {
    /// A cron expression and the name of a time zone, UTC if none is given.
    pub fn new(cron: &str, zone: Option<&str>, jitter: Duration) -> Result<Self, ScheduleError> {
        let text = cron.trim().to_owned();
        let cron = cron.parse()?;
        let zone = match zone {
            None => TimeZone::UTC,
            Some(name) => TimeZone::get(name).map_err(|_| ScheduleError::Zone(name.to_owned()))?,
        };
        let schedule = Self { cron, zone, jitter, text };
        match schedule.next(Timestamp::UNIX_EPOCH) {
            Some(_) => Ok(schedule),
            None => Err(ScheduleError::Never(schedule.text)),
        }
    }

    /// As the file has it.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The first tick after a moment.
    pub fn next(&self, after: Timestamp) -> Option<Timestamp> {
        let mut day = self.day(after).yesterday().ok()?;
        for _ in 0..LONGEST_PAUSE_DAYS {
            if let Some(tick) = self.ticks(day).into_iter().find(|tick| *tick > after) {
                return Some(tick);
            }
            day = day.tomorrow().ok()?;
        }
        None
    }

    /// The last tick up to a moment.
    pub fn last(&self, until: Timestamp) -> Option<Timestamp> {
        let mut day = self.day(until).tomorrow().ok()?;
        for _ in 0..LONGEST_PAUSE_DAYS {
            if let Some(tick) = self.ticks(day).into_iter().rfind(|tick| *tick <= until) {
                return Some(tick);
            }
            day = day.yesterday().ok()?;
        }
        None
    }

    /// The tick that is to be acted on now, if one has come since it was last done. Of several that were
    /// missed it is the last: they count as one.
    pub fn due(&self, done: Timestamp, now: Timestamp) -> Option<Timestamp> {
        self.last(now).filter(|tick| *tick > done)
    }

    /// The tick, delayed by the jitter. The delay is derived from the name, so it is the same every time
    /// and different for each name.
    pub fn acted_on(&self, tick: Timestamp, name: &str) -> Timestamp {
        let mut hasher = Hasher::default();
        hasher.update(name.as_bytes());
        let hash = hasher.finish_bytes();
        let hash = hash.iter().take(8).fold(0, |number, byte| number << 8 | u64::from(*byte));
        let longest = u64::try_from(self.jitter.as_millis()).unwrap_or(u64::MAX).saturating_add(1);
        tick.saturating_add(Duration::from_millis(hash % longest)).unwrap_or(tick)
    }

    fn day(&self, time: Timestamp) -> Date {
        self.zone.to_datetime(time).date()
    }

    /// Every tick of a day, in order.
    fn ticks(&self, day: Date) -> Vec<Timestamp> {
        if !self.cron.has_day(day) {
            return Vec::new();
        }
        let mut ticks = Vec::new();
        for (hour, minute) in self.cron.times() {
            let time = day.at(hour, minute, 0, 0);
            let at = |offset: jiff::tz::Offset| offset.to_timestamp(time).ok();
            match self.zone.to_ambiguous_timestamp(time).offset() {
                AmbiguousOffset::Unambiguous { offset } => ticks.extend(at(offset)),
                // What is to be done at a certain time of day is done once, at the first; what goes by
                // intervals goes on.
                AmbiguousOffset::Fold { before, .. } if self.cron.is_at_certain_times => {
                    ticks.extend(at(before));
                }
                AmbiguousOffset::Fold { before, after } => {
                    ticks.extend(at(before).into_iter().chain(at(after)));
                }
                // At once when the clock has been put forward.
                AmbiguousOffset::Gap { after, .. } if self.cron.is_at_certain_times => {
                    let put_forward = |time| Some(self.zone.following(time).next()?.timestamp());
                    ticks.extend(at(after).and_then(put_forward));
                }
                AmbiguousOffset::Gap { .. } => {}
            }
        }
        ticks.sort_unstable();
        ticks.dedup();
        ticks
    }
}

#[cfg(test)]
mod tests;
