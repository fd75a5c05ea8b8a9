//! Counts, times and sizes as people read them.

use std::time::Duration;

use jiff::Timestamp;

pub(super) use crate::check::diagnostic::names;
use crate::event::SizeBefore;
pub use crate::hierarchy::bytes as size;

/// `1 image`, `2 images`.
pub fn count(n: usize, noun: &str) -> String {
    let s = if n == 1 { "" } else { "s" };
    format!("{n} {noun}{s}")
}

/// How long something took: `0.3 s`, `42 s`, `3 min 4 s`, `1 h 2 min`.
pub fn seconds(took: Duration) -> String {
    let tenths = (took.as_millis() + 50) / 100;
    let whole = (took.as_millis() + 500) / 1000;
    match whole {
        _ if tenths < 100 => format!("{}.{} s", tenths / 10, tenths % 10),
        0..60 => format!("{whole} s"),
        60..3600 => format!("{} min {} s", whole / 60, whole % 60),
        _ => format!("{} h {} min", whole / 3600, whole % 3600 / 60),
    }
}

/// How long something will take, as exactly as that can be known: `about 25 s`, `about 3 min`.
pub(super) fn about(time: Duration) -> String {
    let seconds = time.as_millis().div_ceil(1000);
    match (seconds.div_ceil(5) * 5, (seconds + 30) / 60) {
        (seconds @ ..60, _) => format!("about {} s", seconds.max(5)),
        (_, minutes @ ..60) => format!("about {minutes} min"),
        (_, minutes) => match ((minutes + 5) / 60, (minutes + 5) % 60 / 10 * 10) {
            (hours, 0) => format!("about {hours} h"),
            (hours, minutes) => format!("about {hours} h {minutes} min"),
        },
    }
}

/// How long ago something was: `3 days ago`.
pub fn ago(then: Timestamp, now: Timestamp) -> String {
    let seconds = now.as_second() - then.as_second();
    let (n, unit) = match seconds {
        // Clocks differ.
        ..60 => return "just now".to_owned(),
        60..3600 => (seconds / 60, "minute"),
        3600..86400 => (seconds / 3600, "hour"),
        _ => (seconds / 86400, "day"),
    };
    format!("{n} {unit}{} ago", if n == 1 { "" } else { "s" })
}

/// A running clock: `0:42`, `1:02:03`.
pub(super) fn clock(elapsed: Duration) -> String {
    let (h, m, s) =
        (elapsed.as_secs() / 3600, elapsed.as_secs() % 3600 / 60, elapsed.as_secs() % 60);
    if h == 0 { format!("{m}:{s:02}") } else { format!("{h}:{m:02}:{s:02}") }
}

/// How a size changed: `+1.2 MB`, `-340 kB`, `+1.1 MB packed`, `unchanged`, `new`, `?`. `unpacked` is the present size.
pub(super) fn size_change(unpacked: u64, before: SizeBefore) -> String {
    let packed = if let SizeBefore::Packed { .. } = before { " packed" } else { "" };
    match before.compared(unpacked) {
        None if before == SizeBefore::New => "new".to_owned(),
        None => "?".to_owned(),
        Some((before, now)) if before == now => "unchanged".to_owned(),
        Some((before, now)) if before < now => format!("+{}{packed}", size(now - before)),
        Some((before, now)) => format!("-{}{packed}", size(before - now)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_read_well() {
        let times = [0, 42, 960, 9_940, 9_960, 42_400, 59_600, 184_000, 3_720_000]
            .map(Duration::from_millis);
        assert_eq!(
            times.map(seconds),
            [
                "0.0 s",
                "0.0 s",
                "1.0 s",
                "9.9 s",
                "10 s",
                "42 s",
                "1 min 0 s",
                "3 min 4 s",
                "1 h 2 min"
            ]
        );
        assert_eq!(
            [42, 184, 3723].map(|s| clock(Duration::from_secs(s))),
            ["0:42", "3:04", "1:02:03"]
        );
        assert_eq!(
            [0, 999, 1000, 9_960, 118_400_000, 999_600_000, u64::MAX].map(size),
            ["0 B", "999 B", "1.0 kB", "10 kB", "118 MB", "1.0 GB", "18 EB"]
        );
        let changes = [
            (5, SizeBefore::New),
            (5, SizeBefore::Unknown),
            (5, SizeBefore::Unpacked(5)),
            (3000, SizeBefore::Unpacked(500)),
            (500, SizeBefore::Unpacked(3000)),
            (500, SizeBefore::Packed { before: 100, now: 110 }),
        ];
        assert_eq!(
            changes.map(|(now, before)| size_change(now, before)),
            ["new", "?", "unchanged", "+2.5 kB", "-2.5 kB", "+10 B packed"]
        );
        assert_eq!([0, 1, 2].map(|n| count(n, "tag")), ["0 tags", "1 tag", "2 tags"]);
    }

    #[test]
    fn about_is_not_exact() {
        let times = [0, 400, 5_000, 5_001, 54_000, 56_000, 89_000, 90_000, 3_569_000, 3_570_000];
        assert_eq!(
            times.map(|time| about(Duration::from_millis(time))),
            [
                "about 5 s",
                "about 5 s",
                "about 5 s",
                "about 10 s",
                "about 55 s",
                "about 1 min",
                "about 1 min",
                "about 2 min",
                "about 59 min",
                "about 1 h",
            ]
        );
        let minutes = [64, 65, 134, 135, 179];
        assert_eq!(
            minutes.map(|minutes| about(Duration::from_secs(60 * minutes))),
            ["about 1 h", "about 1 h 10 min", "about 2 h 10 min", "about 2 h 20 min", "about 3 h"]
        );
    }

    #[test]
    fn how_long_ago() {
        let now = Timestamp::UNIX_EPOCH;
        let ago = |seconds: i64| ago(Timestamp::from_second(-seconds).unwrap(), now);
        assert_eq!(
            [-5, 59, 60, 3599, 7200, 86_399, 86_400, 864_000].map(ago),
            [
                "just now",
                "just now",
                "1 minute ago",
                "59 minutes ago",
                "2 hours ago",
                "23 hours ago",
                "1 day ago",
                "10 days ago"
            ]
        );
    }
}
