//! How a run changes the sizes of published images: a table for pull requests.

use super::{
    numbers::{count, size, size_change},
    sanitize,
};
use crate::event::{Outcome, SizeBefore, StepSummary, Summary};

pub(super) const HEAD: [&str; 5] = ["image", "published", "now", "change", "own"];

/// The sentence above the table, and its rows, the largest change first. `None` if no size changed.
pub(super) fn table(summary: &Summary) -> Option<(String, Vec<[String; 5]>)> {
    let mut changes: Vec<SizeChange<'_>> =
        summary.steps.iter().filter_map(SizeChange::of).collect();
    changes.retain(|change| change.known().is_none_or(|(before, now)| before != now));
    let known = || changes.iter().filter_map(SizeChange::known);
    let grown: Vec<u64> = known().filter_map(|(before, now)| increase(now, before)).collect();
    let shrunk: Vec<u64> = known().filter_map(|(before, now)| increase(before, now)).collect();
    if changes.is_empty() {
        return None;
    }
    let mut parts = Vec::new();
    for (bytes, verb) in [(&grown, "grew"), (&shrunk, "shrank")] {
        if !bytes.is_empty() {
            let sum = size(bytes.iter().fold(0, |sum: u64, bytes| sum.saturating_add(*bytes)));
            parts.push(format!("{} {verb}, {sum} in all", count(bytes.len(), "image")));
        }
    }
    let new = changes.iter().filter(|change| change.before == SizeBefore::New).count();
    if new > 0 {
        let are = if new == 1 { "is" } else { "are" };
        parts.push(format!("{} {are} new", count(new, "image")));
    }
    changes.sort_by_key(|change| std::cmp::Reverse(change.by()));
    let sizes = if parts.is_empty() { String::new() } else { format!(": {}", parts.join("; ")) };
    let is_packed = changes.iter().any(SizeChange::is_packed);
    let kind = if is_packed { "Sizes, unpacked unless it says packed" } else { "Unpacked sizes" };
    Some((format!("{kind}{sizes}."), changes.iter().map(SizeChange::cells).collect()))
}

struct SizeChange<'a> {
    name: &'a str,
    now: u64,
    own: u64,
    before: SizeBefore,
}

impl<'a> SizeChange<'a> {
    fn of(step: &'a StepSummary) -> Option<Self> {
        let Outcome::Built { size, added, before, .. } = step.outcome else { return None };
        Some(Self { name: step.node.as_str(), now: size, own: added, before })
    }

    /// The sizes before and now.
    fn known(&self) -> Option<(u64, u64)> {
        self.before.compared(self.now)
    }

    fn is_packed(&self) -> bool {
        matches!(self.before, SizeBefore::Packed { .. })
    }

    fn by(&self) -> u64 {
        self.known().map_or(self.now, |(before, now)| now.abs_diff(before))
    }

    fn cells(&self) -> [String; 5] {
        let change = match (self.before, self.known()) {
            (SizeBefore::Unknown, _) => "unknown".to_owned(),
            (before, known) => size_change(self.now, before) + &percent(known),
        };
        let packed = if self.is_packed() { " packed" } else { "" };
        let (before, now) = self.known().unzip();
        [
            sanitize::text(self.name),
            before.map_or(String::new(), |before| size(before) + packed),
            now.map_or(size(self.now), |now| size(now) + packed),
            change,
            size(self.own),
        ]
    }
}

fn increase(now: u64, before: u64) -> Option<u64> {
    now.checked_sub(before).filter(|by| *by > 0)
}

/// ` (+1.0%)`; nothing for a new image.
fn percent(known: Option<(u64, u64)>) -> String {
    let Some((before, now)) = known.filter(|(before, _)| *before > 0) else {
        return String::new();
    };
    let sign = if now >= before { '+' } else { '-' };
    let per_mille = u128::from(now.abs_diff(before)) * 1000 / u128::from(before);
    format!(" ({sign}{}.{}%)", per_mille / 10, per_mille % 10)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::scenario::{self, recorded};

    #[test]
    fn the_largest_change_comes_first() {
        let mut events = scenario::held();
        let Some(crate::event::EventKind::RunFinished { summary }) =
            events.last_mut().map(|event| &mut event.kind)
        else {
            panic!("a run ends");
        };
        let sizes = [(118, Some(117)), (90, Some(95)), (7, None), (5, Some(5))];
        let unpacked = |was: u64| SizeBefore::Unpacked(was * 1_000_000);
        for (step, (now, was)) in summary.steps.iter_mut().zip(sizes) {
            let built = scenario::built(step.node.as_str());
            let Outcome::Built { digest, fingerprint, .. } = built else { panic!("it is built") };
            step.outcome = Outcome::Built {
                digest,
                fingerprint,
                size: now * 1_000_000,
                added: 3_000_000,
                pushed: None,
                before: was.map_or(SizeBefore::Unknown, unpacked),
                different: None,
            };
        }
        let record = recorded(&events);
        let (sentence, rows) = table(record.summary.as_ref().unwrap()).unwrap();
        assert_eq!(
            sentence,
            "Unpacked sizes: 1 image grew, 1.0 MB in all; 1 image shrank, 5.0 MB in all."
        );
        let rows: Vec<String> = rows.iter().map(|row| row.join(" | ")).collect();
        assert_eq!(
            rows,
            [
                "ruby-3.4 |  | 7.0 MB | unknown | 3.0 MB",
                "webapp-base | 95 MB | 90 MB | -5.0 MB (-5.2%) | 3.0 MB",
                "os-base | 117 MB | 118 MB | +1.0 MB (+0.8%) | 3.0 MB",
            ]
        );
    }
}
