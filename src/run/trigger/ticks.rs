//! Which ticks are due. Pure: the caller passes the time, and stores which ticks are done.

use std::collections::BTreeMap;

use jiff::Timestamp;

use crate::hierarchy::{Hierarchy, NodeName};

/// The last tick of each image that is done; for a new image, when it was first seen.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ticks {
    pub done: BTreeMap<NodeName, Timestamp>,
}

impl Ticks {
    /// Adds images with a new schedule, and removes images without one.
    pub fn know(&mut self, hierarchy: &Hierarchy, now: Timestamp) {
        let scheduled =
            |name: &NodeName| hierarchy.get(name).is_some_and(|it| it.schedule.is_some());
        self.done.retain(|name, _| scheduled(name));
        for node in hierarchy.in_build_order().filter(|node| node.schedule.is_some()) {
            self.done.entry(node.name.clone()).or_insert(now);
        }
    }

    /// The images with a due tick, each with its last one: missed ticks count as one.
    pub fn due(&self, hierarchy: &Hierarchy, now: Timestamp) -> BTreeMap<NodeName, Timestamp> {
        let due = self.done.iter().filter_map(|(name, done)| {
            let schedule = hierarchy.get(name)?.schedule.as_ref()?;
            let mut tick = schedule.due(*done, now)?;
            if schedule.acted_on(tick, &key(hierarchy, name)) > now {
                // The previous tick may still be due.
                tick = schedule.last(tick.checked_sub(jiff::SignedDuration::from_secs(1)).ok()?)?;
            }
            (tick > *done).then(|| (name.clone(), tick))
        });
        due.collect()
    }

    /// The time of the next tick, with its jitter.
    pub fn next(&self, hierarchy: &Hierarchy) -> Option<Timestamp> {
        let next = self.done.iter().filter_map(|(name, done)| {
            let schedule = hierarchy.get(name)?.schedule.as_ref()?;
            Some(schedule.acted_on(schedule.next(*done)?, &key(hierarchy, name)))
        });
        next.min()
    }
}

/// Two hierarchies may have an image with the same name.
fn key(hierarchy: &Hierarchy, name: &NodeName) -> String {
    format!("{} {name}", hierarchy.file.display())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hierarchy::{calendar::Schedule, test_hierarchy};

    fn at(time: &str) -> Timestamp {
        time.parse().unwrap()
    }

    /// `os` at three each night in Berlin, with a jitter of minutes if asked for; `web` each quarter of
    /// an hour; `app` never.
    fn hierarchy(jitter: u64) -> Hierarchy {
        let mut nodes: Vec<_> =
            test_hierarchy("os\nweb < os\napp < web").in_build_order().cloned().collect();
        let jitter = std::time::Duration::from_secs(60 * jitter);
        nodes[0].schedule = Schedule::new("0 3 * * *", Some("Europe/Berlin"), jitter).ok();
        nodes[1].schedule = Schedule::new("*/15 * * * *", None, jitter).ok();
        Hierarchy::from_nodes("/h.yaml".into(), None, nodes).unwrap()
    }

    /// Handles due ticks at each of these times: the image and the tick.
    fn done_at(hierarchy: &Hierarchy, times: &[&str]) -> Vec<String> {
        let mut ticks = Ticks::default();
        let mut done = Vec::new();
        for now in times {
            ticks.know(hierarchy, at(now));
            for (node, tick) in ticks.due(hierarchy, at(now)) {
                done.push(format!("{node} {tick}"));
                ticks.done.insert(node, tick);
            }
            assert!(ticks.due(hierarchy, at(now)).is_empty(), "done is done");
        }
        done
    }

    #[test]
    fn each_tick_is_done_once_and_those_missed_count_as_one() {
        let hierarchy = hierarchy(0);
        assert_eq!(
            done_at(
                &hierarchy,
                &[
                    // It is new: what was before is not made up for.
                    "2026-11-24T01:00:00Z",
                    "2026-11-24T01:14:59.9Z",
                    "2026-11-24T01:15:00Z",
                    "2026-11-24T01:15:01Z",
                    // Late, by a run that took long; both at once.
                    "2026-11-24T02:07:00Z",
                    // The machine slept for three days.
                    "2026-11-27T02:01:00Z",
                    // The clock is put back by a day, and comes back to where it was.
                    "2026-11-26T02:01:00Z",
                    "2026-11-26T23:00:00Z",
                    "2026-11-27T02:14:00Z",
                    "2026-11-27T02:15:00Z",
                ]
            ),
            [
                "web 2026-11-24T01:15:00Z",
                "os 2026-11-24T02:00:00Z",
                "web 2026-11-24T02:00:00Z",
                "os 2026-11-27T02:00:00Z",
                "web 2026-11-27T02:00:00Z",
                "web 2026-11-27T02:15:00Z",
            ]
        );
    }

    #[test]
    fn jitter_puts_off_and_loses_nothing() {
        let hierarchy = hierarchy(10);
        let mut ticks = Ticks::default();
        ticks.know(&hierarchy, at("2026-11-24T01:00:00Z"));
        let next = ticks.next(&hierarchy).unwrap();
        let (first, last) = (at("2026-11-24T01:15:00Z"), at("2026-11-24T01:25:00Z"));
        assert!((first..=last).contains(&next), "{next}");
        let before = next - jiff::SignedDuration::from_millis(1);
        assert!(ticks.due(&hierarchy, before).is_empty());
        assert_eq!(ticks.due(&hierarchy, next), [("web".into(), first)].into());
        // With the next tick waiting, the one before is still to be done.
        let later = at("2026-11-24T01:30:00Z");
        assert_eq!(ticks.due(&hierarchy, later), [("web".into(), first)].into());
    }

    #[test]
    fn a_schedule_that_is_taken_away_is_forgotten() {
        let mut ticks = Ticks::default();
        ticks.know(&hierarchy(0), at("2026-11-24T01:00:00Z"));
        assert_eq!(ticks.done.len(), 2);
        let none = test_hierarchy("os");
        ticks.know(&none, at("2026-11-24T02:00:00Z"));
        assert_eq!(ticks, Ticks::default());
        assert_eq!(ticks.next(&none), None);
    }
}
