//! Numbers as they are printed.

use std::time::Duration;

/// The one in the middle; of an even number, the lower of the two.
pub(crate) fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times.get(times.len().saturating_sub(1) / 2).copied().unwrap_or_default()
}

/// `  rebuild: 12.34 s (12.01 12.34 12.90)`
pub(crate) fn line(what: &str, times: &[Duration]) {
    let all: Vec<String> = times.iter().map(|time| format!("{:.2}", time.as_secs_f64())).collect();
    let middle = median(times.to_vec()).as_secs_f64();
    println!("  {what:<52} {middle:>8.3} s   ({})", all.join(" "));
}

/// `  ratio: 0.93 (goal: at most 1.00)`, of the medians.
pub(crate) fn ratio(ours: &[Duration], theirs: &[Duration], goal: f64) {
    let seconds = |times: &[Duration]| median(times.to_vec()).as_secs_f64();
    println!(
        "  {:<52} {:>8.3}     (goal: at most {goal})",
        "  ratio",
        seconds(ours) / seconds(theirs)
    );
}

/// The most that a process had, given in KiB.
pub(crate) fn memory(peak: u64) {
    println!("  {:<52} {:>6}.{} MiB", "  of memory, at most", peak / 1024, peak % 1024 * 10 / 1024);
}
