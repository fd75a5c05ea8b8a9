use proptest::prelude::*;

use super::*;

fn schedule(cron: &str, zone: &str) -> Schedule {
    Schedule::new(cron, Some(zone), Duration::ZERO).unwrap()
}

/// The ticks after a moment, up to another.
fn ticks(cron: &str, zone: &str, (after, until): (&str, &str)) -> String {
    let schedule = schedule(cron, zone);
    let (after, until): (Timestamp, Timestamp) = (after.parse().unwrap(), until.parse().unwrap());
    let next = |tick: &Timestamp| schedule.next(*tick);
    let ticks = std::iter::successors(schedule.next(after), next).take_while(|tick| *tick <= until);
    let text: Vec<String> = ticks.map(|tick| tick.strftime("%d. %H:%M").to_string()).collect();
    text.join(", ")
}

#[test]
fn ticks_of_a_week() {
    // The 23rd of November 2026 is a Monday.
    let week = ("2026-11-23T00:00:00Z", "2026-11-29T23:59:59Z");
    for (cron, expected) in [
        (
            "0 3 * * *",
            "23. 03:00, 24. 03:00, 25. 03:00, 26. 03:00, 27. 03:00, 28. 03:00, 29. 03:00",
        ),
        ("30 4 * * mon,wed-fri", "23. 04:30, 25. 04:30, 26. 04:30, 27. 04:30"),
        ("0 0 * * 7", "29. 00:00"),
        ("0 0 * * sun", "29. 00:00"),
        ("0 0 * * 0", "29. 00:00"),
        ("@weekly", "29. 00:00"),
        // Either of both days.
        ("5 6 25 * sat", "25. 06:05, 28. 06:05"),
        ("5 6 25 NOV *", "25. 06:05"),
        ("5 6 25 12 *", ""),
        ("0 8-18/5 24 * *", "24. 08:00, 24. 13:00, 24. 18:00"),
        ("50/4 23 24 * *", "24. 23:50, 24. 23:54, 24. 23:58"),
        ("*/20 5 24 * *", "24. 05:00, 24. 05:20, 24. 05:40"),
    ] {
        assert_eq!(ticks(cron, "UTC", week), expected, "{cron}");
    }
}

#[test]
fn ticks_are_those_of_the_zone() {
    let day = ("2026-07-01T00:00:00Z", "2026-07-01T23:59:59Z");
    assert_eq!(ticks("0 3 * * *", "Europe/Berlin", day), "01. 01:00");
    assert_eq!(ticks("0 3 * * *", "Asia/Kathmandu", day), "01. 21:15");
    assert_eq!(ticks("0 3 * * *", "America/Los_Angeles", day), "01. 10:00");
}

/// In Berlin the clock goes from 02:00 to 03:00 at 01:00 UTC on the 29th of March 2026, and from 03:00 back
/// to 02:00 at 01:00 UTC on the 25th of October.
#[test]
fn a_clock_that_is_put_forward_or_back_loses_no_tick_and_makes_none_twice() {
    let forward = ("2026-03-28T12:00:00Z", "2026-03-29T12:00:00Z");
    let back = ("2026-10-24T12:00:00Z", "2026-10-25T12:00:00Z");
    for (cron, span, expected) in [
        // 02:30 does not come: at once when the clock is put forward.
        ("30 2 * * *", forward, "29. 01:00"),
        ("0 3 * * *", forward, "29. 01:00"),
        ("0,30 2 * * *", forward, "29. 01:00"),
        ("30 1 * * *", forward, "29. 00:30"),
        (
            "0 * 29 3 *",
            ("2026-03-28T22:59:00Z", "2026-03-29T03:00:00Z"),
            "28. 23:00, 29. 00:00, 29. 01:00, 29. 02:00, 29. 03:00",
        ),
        // 02:30 comes twice: at the first.
        ("30 2 * * *", back, "25. 00:30"),
        ("0 3 * * *", back, "25. 02:00"),
        (
            "30 * 25 10 *",
            ("2026-10-24T23:00:00Z", "2026-10-25T03:00:00Z"),
            "24. 23:30, 25. 00:30, 25. 01:30, 25. 02:30",
        ),
        // Lord Howe Island puts its clock forward by half an hour, at 15:30 UTC.
        ("*/15 2 4 10 *", ("2026-10-03T12:00:00Z", "2026-10-03T18:00:00Z"), "03. 15:30, 03. 15:45"),
    ] {
        let zone = if cron.starts_with("*/15") { "Australia/Lord_Howe" } else { "Europe/Berlin" };
        assert_eq!(ticks(cron, zone, span), expected, "{cron} {span:?}");
    }
}

#[test]
fn rare_days_come_and_days_that_never_come_are_refused() {
    let leap = schedule("0 0 29 2 *", "UTC");
    let next = |time: &str| leap.next(time.parse().unwrap()).unwrap().to_string();
    assert_eq!(next("2026-11-24T00:00:00Z"), "2028-02-29T00:00:00Z");
    // 2100 has none.
    assert_eq!(next("2096-03-01T00:00:00Z"), "2104-02-29T00:00:00Z");
    for (cron, zone, expected) in [
        ("0 0 31 2 *", None, "`0 0 31 2 *` never comes"),
        (
            "0 3 * *",
            None,
            "`0 3 * *` is not a schedule: it needs five fields, minute, hour, day, month and weekday, as in `0 3 * * *`",
        ),
        (
            "0 0 3 * * *",
            None,
            "`0 0 3 * * *` is not a schedule: it needs five fields, minute, hour, day, month and weekday, as in `0 3 * * *`",
        ),
        ("0 24 * * *", None, "`24` is no hour in `0 24 * * *`: those are from 0 to 23"),
        ("*/0 * * * *", None, "`*/0` is no minute in `*/0 * * * *`: those are from 0 to 59"),
        ("0 5-3 * * *", None, "`5-3` is no hour in `0 5-3 * * *`: those are from 0 to 23"),
        ("0 3 * * x", None, "`x` is no weekday in `0 3 * * x`: those are from 0 to 7"),
        ("0 3 * * *", Some("Europe/Berln"), "there is no time zone `Europe/Berln`"),
    ] {
        let error = Schedule::new(cron, zone, Duration::ZERO).unwrap_err();
        assert_eq!(error.to_string(), expected);
    }
}

#[test]
fn of_several_ticks_that_were_missed_the_last_is_due() {
    let schedule = schedule("0 3 * * *", "UTC");
    for (done, now, expected) in [
        ("2026-11-20T03:00:00Z", "2026-11-21T02:59:59Z", None),
        ("2026-11-20T03:00:00Z", "2026-11-21T03:00:00Z", Some("2026-11-21T03:00:00Z")),
        ("2026-11-20T03:00:00Z", "2026-11-24T12:00:00Z", Some("2026-11-24T03:00:00Z")),
        ("2026-11-24T03:00:01Z", "2026-11-24T12:00:00Z", None),
        // A clock that was put back.
        ("2026-11-24T03:00:00Z", "2026-11-20T12:00:00Z", None),
    ] {
        let due = schedule.due(done.parse().unwrap(), now.parse().unwrap());
        assert_eq!(due.map(|due| due.to_string()).as_deref(), expected, "{done} {now}");
    }
}

#[test]
fn jitter_is_the_same_each_time_and_other_for_each() {
    let schedule = Schedule::new("0 3 * * *", None, Duration::from_secs(600)).unwrap();
    let tick: Timestamp = "2026-11-24T03:00:00Z".parse().unwrap();
    let seconds: std::collections::BTreeSet<i128> = (0..50)
        .map(|n| schedule.acted_on(tick, &n.to_string()).duration_since(tick).as_millis())
        .collect();
    assert!(
        seconds.len() > 40 && seconds.iter().all(|it| (0..=600_000).contains(it)),
        "{seconds:?}"
    );
    assert_eq!(schedule.acted_on(tick, "a"), schedule.acted_on(tick, "a"));
    let exact = Schedule::new("0 3 * * *", None, Duration::ZERO).unwrap();
    assert_eq!(exact.acted_on(tick, "a"), tick);
}

proptest! {
    /// Forwards and backwards are the same ticks, in any zone, whatever its clocks do.
    #[test]
    fn before_the_next_there_is_no_other(
        cron in "([0-5]?[0-9]|\\*|\\*/15) ([01]?[0-9]|\\*|\\*/6) (\\*|[1-9]|2[0-8]) (\\*|[1-9]) (\\*|[0-7])",
        second in 0..4_000_000_000_i64,
        zone in prop::sample::select(vec!["UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Africa/Casablanca"]),
    ) {
        let schedule = schedule(&cron, zone);
        let now = Timestamp::from_second(second).unwrap();
        let next = schedule.next(now).unwrap();
        prop_assert!(next > now);
        prop_assert_eq!(schedule.last(next), Some(next));
        let before = next.checked_sub(jiff::SignedDuration::from_nanos(1)).unwrap();
        let last = schedule.last(before).unwrap();
        prop_assert!(last <= now && schedule.next(last) == Some(next), "{} {} {}", last, now, next);
    }
}
