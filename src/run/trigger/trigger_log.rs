//! The log of triggers and their results: promise I7.
//!
//! **Invariant:** a trigger is on the disk before its run begins, and ends exactly once. If the process dies
//! before that, the trigger is open for the next process.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::{self, Write as _},
    path::{Path, PathBuf},
};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{hierarchy::NodeName, host::owner};

/// With more lines than this, lines of ended triggers are dropped.
const LONGEST: usize = 1000;

/// The cause of a run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", tag = "trigger")]
pub enum RunTrigger {
    /// `watch` started.
    Start,
    Files {
        nodes: Vec<NodeName>,
    },
    /// Ticks of schedules.
    Ticks {
        ticks: BTreeMap<NodeName, Timestamp>,
    },
}

/// The result of a trigger.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TriggerResult {
    Succeeded,
    Failed,
    /// Handled together with another trigger.
    Coalesced,
    /// A newer change made it obsolete, or a signal stopped it.
    Cancelled,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
enum TriggerLine {
    Began {
        id: u64,
        at: Timestamp,
        #[serde(flatten)]
        trigger: RunTrigger,
    },
    Ended {
        id: u64,
        ended: TriggerResult,
    },
    /// Facts from dropped lines.
    Done {
        done: BTreeMap<NodeName, Timestamp>,
    },
}

#[derive(Debug)]
pub struct Ledger {
    path: PathBuf,
    file: Option<File>,
    /// Why the last write failed.
    trouble: Option<io::Error>,
    open: BTreeMap<u64, RunTrigger>,
    next: u64,
    /// The last tick of each image that started a run.
    done: BTreeMap<NodeName, Timestamp>,
}

impl Ledger {
    /// Reads the file, and appends to it.
    pub fn open(path: &Path) -> Self {
        let mut ledger = Self {
            path: path.to_owned(),
            file: None,
            trouble: None,
            open: BTreeMap::new(),
            next: 0,
            done: BTreeMap::new(),
        };
        let text = fs::read(path).unwrap_or_default();
        let mut lines = 0;
        // Text after a cut does not count, and neither does an incomplete line.
        for line in text.split_inclusive(|byte| *byte == b'\n').filter(|it| it.ends_with(b"\n")) {
            lines += 1;
            if let Ok(line) = serde_json::from_slice(line) {
                ledger.take(line);
            }
        }
        let is_whole = text.is_empty() || text.ends_with(b"\n");
        let began = if lines > LONGEST || !is_whole { ledger.rewrite() } else { ledger.append() };
        ledger.trouble = began.err();
        ledger
    }

    /// The last tick of each image that started a run.
    pub fn done(&self) -> &BTreeMap<NodeName, Timestamp> {
        &self.done
    }

    /// The triggers that have begun and not ended.
    pub fn still_open(&self) -> impl Iterator<Item = (u64, &RunTrigger)> {
        self.open.iter().map(|(id, trigger)| (*id, trigger))
    }

    /// Records a trigger, and returns its number.
    pub fn begin(&mut self, trigger: RunTrigger, at: Timestamp) -> u64 {
        let id = self.next;
        self.write(TriggerLine::Began { id, at, trigger });
        id
    }

    /// Records the result of a trigger. An ended trigger does not change.
    pub fn end(&mut self, id: u64, ended: TriggerResult) {
        if self.open.contains_key(&id) {
            self.write(TriggerLine::Ended { id, ended });
        }
    }

    /// Why the last line may be lost; returned once.
    pub fn take_trouble(&mut self) -> Option<String> {
        self.trouble.take().map(|error| format!("`{}`: {error}", self.path.display()))
    }

    fn write(&mut self, line: TriggerLine) {
        if let Some(file) = &mut self.file {
            let written = text(&line).and_then(|text| {
                file.write_all(text.as_bytes())?;
                file.sync_data()
            });
            if let Err(error) = written {
                self.trouble = Some(error);
                self.file = None;
            }
        }
        self.take(line);
    }

    fn take(&mut self, line: TriggerLine) {
        match line {
            TriggerLine::Began { id, trigger, .. } => {
                self.next = self.next.max(id.saturating_add(1));
                if let RunTrigger::Ticks { ticks } = &trigger {
                    self.mark(ticks.clone());
                }
                self.open.insert(id, trigger);
            }
            TriggerLine::Ended { id, .. } => _ = self.open.remove(&id),
            TriggerLine::Done { done } => self.mark(done),
        }
    }

    fn mark(&mut self, ticks: BTreeMap<NodeName, Timestamp>) {
        for (node, tick) in ticks {
            let done = self.done.entry(node).or_insert(tick);
            *done = tick.max(*done);
        }
    }

    /// Records when images with a schedule were first seen, so that later ticks are not lost.
    pub fn know(&mut self, done: &BTreeMap<NodeName, Timestamp>) {
        let new: BTreeMap<NodeName, Timestamp> = done
            .iter()
            .filter(|(node, _)| !self.done.contains_key(*node))
            .map(|(node, at)| (node.clone(), *at))
            .collect();
        if !new.is_empty() {
            self.write(TriggerLine::Done { done: new });
        }
    }

    fn append(&mut self) -> io::Result<()> {
        if let Some(folder) = self.path.parent() {
            owner::make_folder(folder)?;
        }
        self.file = Some(owner::private().append(true).create(true).open(&self.path)?);
        Ok(())
    }

    /// Drops ended triggers: writes a new file and renames it.
    fn rewrite(&mut self) -> io::Result<()> {
        let folder = self.path.parent().unwrap_or(Path::new("/"));
        let mut file = tempfile::Builder::new().prefix(".new-").tempfile_in(folder)?;
        file.write_all(text(&TriggerLine::Done { done: self.done.clone() })?.as_bytes())?;
        for (id, trigger) in &self.open {
            let (id, trigger, at) = (*id, trigger.clone(), Timestamp::now());
            file.write_all(text(&TriggerLine::Began { id, at, trigger })?.as_bytes())?;
        }
        file.as_file().sync_data()?;
        file.persist(&self.path)?;
        self.append()
    }
}

fn text(line: &TriggerLine) -> io::Result<String> {
    Ok(serde_json::to_string(line)? + "\n")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn now() -> Timestamp {
        "2026-11-24T03:00:00Z".parse().unwrap()
    }

    fn ticks(second: i64) -> RunTrigger {
        let tick = Timestamp::from_second(second).unwrap();
        RunTrigger::Ticks { ticks: [(NodeName::from("os"), tick)].into() }
    }

    fn open(ledger: &Ledger) -> Vec<u64> {
        ledger.still_open().map(|(id, _)| id).collect()
    }

    #[test]
    fn what_has_not_ended_is_open_for_the_next_process() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a/triggers.jsonl");
        let mut ledger = Ledger::open(&path);
        let first = ledger.begin(RunTrigger::Start, now());
        let second = ledger.begin(ticks(100), now());
        let third = ledger.begin(RunTrigger::Files { nodes: vec!["web".into()] }, now());
        ledger.end(first, TriggerResult::Succeeded);
        ledger.end(third, TriggerResult::Coalesced);
        // It stays as it ended.
        ledger.end(third, TriggerResult::Failed);
        drop(ledger);
        let mut ledger = Ledger::open(&path);
        assert_eq!(ledger.still_open().collect::<Vec<_>>(), [(second, &ticks(100))]);
        assert_eq!(ledger.done()["os"], Timestamp::from_second(100).unwrap());
        assert!(ledger.begin(RunTrigger::Start, now()) > third);
        assert_eq!(fs::read_to_string(&path).unwrap().matches("\"ended\"").count(), 2);
    }

    #[test]
    fn it_does_not_grow_for_ever_and_forgets_nothing_that_matters() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("triggers.jsonl");
        let mut ledger = Ledger::open(&path);
        let kept = ledger.begin(ticks(7), now());
        for _ in 0..LONGEST {
            let id = ledger.begin(RunTrigger::Start, now());
            ledger.end(id, TriggerResult::Succeeded);
        }
        drop(ledger);
        let ledger = Ledger::open(&path);
        assert_eq!(open(&ledger), [kept]);
        assert_eq!(ledger.done()["os"], Timestamp::from_second(7).unwrap());
        assert_eq!(fs::read_to_string(&path).unwrap().lines().count(), 2);
        drop(ledger);
        assert_eq!(open(&Ledger::open(&path)), [kept]);
    }

    #[test]
    fn without_a_place_it_goes_on_and_says_so_once() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("file"), "").unwrap();
        let mut ledger = Ledger::open(&folder.path().join("file/triggers.jsonl"));
        let id = ledger.begin(RunTrigger::Start, now());
        assert_eq!(open(&ledger), [id]);
        assert!(ledger.take_trouble().is_some());
        ledger.end(id, TriggerResult::Succeeded);
        assert_eq!((open(&ledger), ledger.take_trouble()), (vec![], None));
    }

    proptest! {
        /// For any events and any cut of the file: exactly the triggers that began and did not end before the
        /// cut are open, and the next process can continue.
        #[test]
        fn after_a_cut_anywhere_the_rest_is_known(
            steps in prop::collection::vec((0..3_u8, 0..6_u64), 1..20),
            cut in 0..2000_usize,
        ) {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("triggers.jsonl");
            let mut ledger = Ledger::open(&path);
            for (what, number) in steps {
                match what {
                    0 => _ = ledger.begin(RunTrigger::Start, now()),
                    1 => _ = ledger.begin(ticks(number.cast_signed()), now()),
                    _ => ledger.end(number, TriggerResult::Succeeded),
                }
            }
            let text = fs::read(&path).unwrap();
            let cut = cut.min(text.len());
            fs::write(&path, &text[..cut]).unwrap();
            let whole = text[..cut].iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
            let mut expected = BTreeSet::new();
            for line in std::str::from_utf8(&text[..whole]).unwrap().lines() {
                let line: serde_json::Value = serde_json::from_str(line).unwrap();
                let id = line["id"].as_u64().unwrap();
                if line["ended"].is_string() { expected.remove(&id) } else { expected.insert(id) };
            }
            let mut ledger = Ledger::open(&path);
            prop_assert_eq!(open(&ledger), expected.iter().copied().collect::<Vec<_>>());
            let id = ledger.begin(RunTrigger::Start, now());
            prop_assert!(!expected.contains(&id));
            drop(ledger);
            expected.insert(id);
            prop_assert_eq!(open(&Ledger::open(&path)), expected.into_iter().collect::<Vec<_>>());
        }
    }
}
