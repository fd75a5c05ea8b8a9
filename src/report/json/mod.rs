//! Events as JSON lines, for programs. `docs/events.md` documents every field; a test compares.
//!
//! **Invariant:** each line is one whole JSON object, and safe to print: what a terminal or a CI system
//! could obey is written as `\u` escapes, so that a program still reads exactly what was printed.

mod budget;
mod file;
mod view;
mod whole;

use std::io::{self, Write};

use serde::Serialize;

pub use self::file::events_kept;
use self::view::EventLine;
pub(super) use self::view::{seconds, whole_seconds};
pub use self::whole::whole;
use super::{Out, sanitize::reorders};
use crate::event::{Event, Reporter};

pub(super) struct Json {
    out: Out,
}

impl Json {
    pub(super) fn new(out: Out) -> Self {
        Self { out }
    }
}

impl Reporter for Json {
    fn report(&mut self, event: &Event) -> io::Result<()> {
        write(&EventLine::new(event), &mut self.out)?;
        // A reader wants to see it now.
        self.out.flush()
    }
}

/// An event as its line says it.
pub(super) fn value(event: &Event) -> serde_json::Value {
    serde_json::to_value(EventLine::new(event)).unwrap_or_default()
}

/// Writes one line of JSON, harmless to terminals and CI systems.
pub(super) fn write(value: &impl Serialize, out: &mut dyn Write) -> io::Result<()> {
    let mut line = harmless(&serde_json::to_string(value)?);
    line.push('\n');
    out.write_all(line.as_bytes())
}

/// Rewrites characters within the strings of a JSON text: nothing of this occurs outside of strings.
fn harmless(json: &str) -> String {
    use std::fmt::Write as _;
    let mut out = String::with_capacity(json.len() + 1);
    let mut last = ' ';
    for c in json.chars() {
        // `##[`, `##vso[`, `::error::`, `section_start:`: none is left without one of these.
        let marker = matches!((last, c), ('#', '#') | (':', ':'))
            || (c == ':' && (out.ends_with("section_start") || out.ends_with("section_end")));
        if c.is_control() || reorders(c) || marker {
            let mut units = [0; 2];
            for unit in c.encode_utf16(&mut units) {
                _ = write!(out, "\\u{unit:04x}");
            }
            last = ' ';
        } else {
            out.push(c);
            last = c;
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;
    use crate::{
        event::EventKind,
        report::scenario::{self, Paper, tell},
    };

    /// The lines of a run in which everything happens.
    fn everything() -> Vec<Value> {
        let paper = Paper::default();
        let mut on_several_engines = scenario::success();
        for event in &mut on_several_engines {
            if let EventKind::StepStarted { engine, .. } = &mut event.kind {
                *engine = Some("ssh://builder".to_owned());
            }
        }
        let runs = [
            scenario::success(),
            on_several_engines,
            scenario::refreshed(),
            scenario::failure(),
            scenario::held(),
            scenario::over_budget(),
        ];
        for events in runs {
            tell(&mut Json::new(paper.out()), &events);
        }
        paper.text().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// Each event that has a heading of its own, with the first cells of the table below it.
    fn documented() -> BTreeMap<String, BTreeSet<String>> {
        let page = include_str!("../../../docs/events.md");
        let code = |text: &str| text.split('`').nth(1).unwrap_or_default().to_owned();
        let mut sections: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        let mut section = String::new();
        for line in page.lines() {
            if line.starts_with('#') {
                section = if line.starts_with("### `") { code(line) } else { String::new() };
                sections.entry(section.clone()).or_default();
            } else if line.starts_with("| `") {
                sections.entry(section.clone()).or_default().insert(code(line));
            }
        }
        sections.remove("");
        sections
    }

    #[test]
    fn every_event_and_field_is_documented() {
        let mut emitted: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for line in everything() {
            let fields = line.as_object().unwrap();
            let names = fields.keys().filter(|key| !["v", "at", "event"].contains(&key.as_str()));
            let name = line["event"].as_str().unwrap().to_owned();
            emitted.entry(name).or_default().extend(names.cloned());
        }
        assert_eq!(emitted, documented());
    }

    /// A new kind of event does not compile here until the scenarios are asked to contain it.
    #[test]
    fn the_scenarios_contain_every_kind() {
        let number = |kind: &EventKind| match kind {
            EventKind::RunStarted { .. } => 0,
            EventKind::Warning { .. } => 1,
            EventKind::StepStarted { .. } => 2,
            EventKind::PhaseStarted { .. } => 3,
            EventKind::BuildStep { .. } => 4,
            EventKind::Log { .. } => 5,
            EventKind::StepFinished { .. } => 6,
            EventKind::StopBegan { .. } => 7,
            EventKind::PromotionStarted { .. } => 8,
            EventKind::TagMoved { .. } => 9,
            EventKind::RunFinished { .. } => 10,
            EventKind::PackagesFixed { .. } => 11,
            EventKind::Estimated { .. } => 12,
            EventKind::ImagesRemoved { .. } => 13,
            EventKind::RegistryDelayed { .. } => 14,
            EventKind::TaskStarted { .. } => 15,
        };
        let events = [scenario::success(), scenario::refreshed(), scenario::failure()].concat();
        let kinds: BTreeSet<i32> = events.iter().map(|event| number(&event.kind)).collect();
        assert_eq!(kinds, (0..16).collect());
    }

    proptest! {
        #[test]
        fn harmless_lines_say_the_same(text in "(#|:|e|\\[|vso|section_start|\u{9b}|\u{1b}|\u{202e}|\\\\|\"|\\PC)*") {
            let mut out = Vec::new();
            write(&text, &mut out).unwrap();
            let line = String::from_utf8(out).unwrap();
            prop_assert_eq!(serde_json::from_str::<String>(&line).unwrap(), text);
            let line = line.trim_end_matches('\n');
            prop_assert!(!line.chars().any(|c| c.is_control() || reorders(c)));
            for marker in ["::", "##", "section_start:", "section_end:"] {
                prop_assert!(!line.contains(marker), "{}", line);
            }
        }
    }
}
