//! Five fields, as `crontab(5)` has them: minute, hour, day of the month, month, day of the week.

use std::str::FromStr;

use jiff::civil::Date;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Cron {
    minutes: Set,
    hours: Set,
    days: Set,
    months: Set,
    /// Sunday is 0.
    weekdays: Set,
    /// With both, either suffices.
    is_by_day: bool,
    is_by_weekday: bool,
    /// Neither minute nor hour begins with `*`.
    pub(super) is_at_certain_times: bool,
}

/// A bit for each number.
type Set = u64;

#[derive(Debug, thiserror::Error)]
pub enum CronError {
    #[error(
        "`{0}` is not a schedule: it needs five fields, minute, hour, day, month and weekday, as in `0 3 * * *`"
    )]
    Fields(String),
    #[error("`{part}` is no {field} in `{text}`: those are from {from} to {to}")]
    Field { text: String, part: String, field: &'static str, from: u8, to: u8 },
}

struct Field {
    name: &'static str,
    from: u8,
    to: u8,
    names: &'static [&'static str],
}

const MONTHS: [&str; 12] =
    ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];
const WEEKDAYS: [&str; 7] = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"];
const FIELDS: [Field; 5] = [
    Field { name: "minute", from: 0, to: 59, names: &[] },
    Field { name: "hour", from: 0, to: 23, names: &[] },
    Field { name: "day", from: 1, to: 31, names: &[] },
    Field { name: "month", from: 1, to: 12, names: &MONTHS },
    Field { name: "weekday", from: 0, to: 7, names: &WEEKDAYS },
];
const NAMES: [(&str, &str); 7] = [
    ("@hourly", "0 * * * *"),
    ("@daily", "0 0 * * *"),
    ("@midnight", "0 0 * * *"),
    ("@weekly", "0 0 * * 0"),
    ("@monthly", "0 0 1 * *"),
    ("@yearly", "0 0 1 1 *"),
    ("@annually", "0 0 1 1 *"),
];

impl FromStr for Cron {
    type Err = CronError;

    fn from_str(text: &str) -> Result<Self, CronError> {
        let named = NAMES.iter().find(|(name, _)| *name == text.trim());
        let written = named.map_or(text, |(_, written)| written);
        let words: Vec<&str> = written.split_whitespace().collect();
        let Ok(words) = <[&str; 5]>::try_from(words) else {
            return Err(CronError::Fields(text.trim().to_owned()));
        };
        let mut sets = [0; 5];
        for ((set, field), word) in sets.iter_mut().zip(&FIELDS).zip(words) {
            for part in word.split(',') {
                *set |= field.set(part).ok_or_else(|| CronError::Field {
                    text: text.trim().to_owned(),
                    part: part.to_owned(),
                    field: field.name,
                    from: field.from,
                    to: field.to,
                })?;
            }
        }
        let [minutes, hours, days, months, weekdays] = sets;
        let is_open = |field: usize| words[field].starts_with('*');
        Ok(Self {
            minutes,
            hours,
            days,
            months,
            // Sunday is 7 as well.
            weekdays: (weekdays | (weekdays >> 7)) & 0x7f,
            is_by_day: !is_open(2),
            is_by_weekday: !is_open(4),
            is_at_certain_times: !is_open(0) && !is_open(1),
        })
    }
}

impl Cron {
    pub(super) fn has_day(&self, date: Date) -> bool {
        let has = |set: Set, number: i8| number >= 0 && set & (1 << number) != 0;
        let day = has(self.days, date.day());
        let weekday = has(self.weekdays, date.weekday().to_sunday_zero_offset());
        let is_day = match (self.is_by_day, self.is_by_weekday) {
            (true, true) => day || weekday,
            _ => day && weekday,
        };
        is_day && has(self.months, date.month())
    }

    /// Hour and minute, in order.
    pub(super) fn times(&self) -> impl Iterator<Item = (i8, i8)> {
        let numbers = |set: Set| (0..60).filter(move |number| set & (1 << number) != 0);
        numbers(self.hours).flat_map(move |hour| numbers(self.minutes).map(move |it| (hour, it)))
    }
}

impl Field {
    /// `*`, `7`, `1-5`, `*/15`, `8-18/2`, `mon-fri`.
    fn set(&self, part: &str) -> Option<Set> {
        let (range, step) = match part.split_once('/') {
            Some((range, step)) => (range, digits(step).filter(|step| *step > 0)?),
            None => (part, 1),
        };
        let (from, to) = match range.split_once('-') {
            _ if range == "*" => (self.from, self.last()),
            Some((from, to)) => (self.number(from)?, self.number(to)?),
            // `5/10` is from 5 on.
            None if part.contains('/') => (self.number(range)?, self.last()),
            None => (self.number(range)?, self.number(range)?),
        };
        let numbers = (from..=to).step_by(step.into());
        (from <= to).then(|| numbers.fold(0, |set, number| set | 1 << number))
    }

    /// Without the second Sunday.
    fn last(&self) -> u8 {
        if self.names.len() == WEEKDAYS.len() { 6 } else { self.to }
    }

    fn number(&self, text: &str) -> Option<u8> {
        let name = text.to_ascii_lowercase();
        let named = self.names.iter().position(|known| *known == name);
        let number = match named {
            Some(at) => u8::try_from(at).ok()? + self.from,
            None => digits(text)?,
        };
        (self.from..=self.to).contains(&number).then_some(number)
    }
}

/// `parse` would take `+5`.
fn digits(text: &str) -> Option<u8> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok())?
}
