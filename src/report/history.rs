//! `rebuild history`: past runs, the newest first.

use std::{
    collections::BTreeSet,
    io::{self, Write},
};

use serde::Serialize;

use super::{
    Paint,
    numbers::count,
    plan::VERSION,
    sanitize,
    width::{fit, pad, width},
};
use crate::{
    exit::Exit,
    hierarchy::NodeName,
    image::Digest,
    publish::journal::{PastRun, RunRequest},
};

/// The newest first.
pub struct Runs<'a> {
    pub past: &'a [PastRun],
    /// Those that have not ended since they are still going on.
    pub going_on: BTreeSet<String>,
}

const COLUMNS: usize = 6;
const RESULT: usize = 2;
const PROMOTED: usize = 5;
/// What a narrow terminal has no room for, the first first: commit, arguments, promoted tags. `rebuild history
/// --format json` has all.
const OPTIONAL: [usize; 3] = [3, 4, PROMOTED];
/// The last column shows only the number of tags rather than being left out while it keeps this width: `120 of 300 tags`.
const ENOUGH: usize = 16;

/// Writes a line for each run, not wider than the terminal has columns if its other columns fit.
pub fn text(
    runs: &Runs<'_>,
    columns: Option<usize>,
    (colour, out): (bool, &mut dyn Write),
) -> io::Result<()> {
    let paint = Paint { colour };
    let past = runs.past;
    if past.is_empty() {
        return writeln!(out, "no runs");
    }
    let head = ["run", "when", "result", "commit", "request", "promoted"].map(str::to_owned);
    let rows: Vec<[String; COLUMNS]> =
        std::iter::once(head).chain(past.iter().map(|past| row(runs, past))).collect();
    let widths = widths(&rows, columns);
    for (number, row) in rows.iter().enumerate() {
        let mut cells: [String; COLUMNS] = std::array::from_fn(|column| {
            // Images that have no room are left out, so that no name is cut.
            let is_long = column == PROMOTED && width(&row[column]) > widths[column];
            let names = row[column].find(": ").filter(|_| is_long);
            let cell = fit(&row[column][..names.unwrap_or(row[column].len())], widths[column]);
            pad(&cell, widths[column])
        });
        if let Some(past) = number.checked_sub(1).map(|index| &past[index]) {
            let cell = std::mem::take(&mut cells[RESULT]);
            cells[RESULT] = match past.ended.as_ref().map(|ended| ended.exit) {
                Some(Exit::Done) => paint.good(cell),
                Some(_) => paint.bad(cell),
                None => paint.warning(cell),
            };
        }
        let shown = cells.into_iter().zip(widths).filter(|(_, width)| *width > 0);
        let shown: Vec<String> = shown.map(|(cell, _)| cell).collect();
        writeln!(out, "{}", shown.join("  ").trim_end())?;
    }
    Ok(())
}

/// The width of each column; 0 for a column that is left out.
fn widths(rows: &[[String; COLUMNS]], columns: Option<usize>) -> [usize; COLUMNS] {
    let mut widths: [usize; COLUMNS] =
        std::array::from_fn(|column| rows.iter().map(|row| width(&row[column])).max().unwrap_or(0));
    let Some(columns) = columns else { return widths };
    for left_out in OPTIONAL {
        let shown = widths.iter().filter(|width| **width > 0).count();
        let all = widths.iter().sum::<usize>() + 2 * shown.saturating_sub(1);
        let excess = all.saturating_sub(columns);
        if excess <= widths[PROMOTED].saturating_sub(ENOUGH) {
            widths[PROMOTED] -= excess;
            break;
        }
        widths[left_out] = 0;
    }
    widths
}

fn row(runs: &Runs<'_>, past: &PastRun) -> [String; 6] {
    let began = &past.began;
    [
        began.run.clone(),
        time(past),
        result(runs, past),
        began.commit.clone().unwrap_or_else(|| "-".to_owned()),
        asked(past),
        promoted(past),
    ]
    .map(|cell| sanitize::text(&cell))
}

fn time(past: &PastRun) -> String {
    past.began.at.strftime("%Y-%m-%d %H:%M").to_string()
}

fn asked(past: &PastRun) -> String {
    match &past.began.asked {
        RunRequest::Run { flags } if flags.is_empty() => "what is out of date".to_owned(),
        RunRequest::Run { flags } => flags.clone(),
        RunRequest::Rollback { of } => format!("rollback {of}"),
    }
}

/// `run 01k… of 2026-11-30 22:10 (--from os)`.
pub fn title(past: &PastRun) -> String {
    sanitize::text(&format!("run {} of {} ({})", past.began.run, time(past), asked(past)))
}

/// A run in a few words, for a list of runs to choose from.
pub fn summary(past: &PastRun) -> String {
    sanitize::text(&format!("{}  {}  {}", time(past), asked(past), promoted(past)))
}

/// `done`, `build-failed`, …; of a run that never said how it ended, how far it came.
fn result(runs: &Runs<'_>, past: &PastRun) -> String {
    match &past.ended {
        Some(ended) if ended.recovered => format!("{} (recovered)", name(ended.exit)),
        Some(ended) if ended.output_closed => "output closed".to_owned(),
        Some(ended) => name(ended.exit),
        None if runs.going_on.contains(&past.began.run) => "running".to_owned(),
        None if past.is_open() => "unfinished".to_owned(),
        None => "cut off".to_owned(),
    }
}

/// As in the events.
fn name(exit: Exit) -> String {
    serde_json::to_value(exit)
        .ok()
        .and_then(|name| Some(name.as_str()?.to_owned()))
        .unwrap_or_default()
}

/// What the run promoted, and which images failed: `3 tags: app os; web failed`.
fn promoted(past: &PastRun) -> String {
    let tags = promoted_tags(past);
    let failed = failed(past);
    if failed.is_empty() {
        return tags;
    }
    let separator = if tags.contains(": ") { ';' } else { ':' };
    let failed: Vec<&str> = failed.iter().map(NodeName::as_str).collect();
    format!("{tags}{separator} {} failed", failed.join(" "))
}

fn failed(past: &PastRun) -> &[NodeName] {
    past.ended.as_ref().map_or(&[], |ended| &ended.failed)
}

/// `3 tags: app os`; of a run that was cut off, the moves that it recorded: `1 of 3 tags: os`.
fn promoted_tags(past: &PastRun) -> String {
    let images: BTreeSet<&str> = past.made().map(|one| one.node.as_str()).collect();
    let (made, standing) = (past.made().count(), past.standing().count());
    let tags = match made {
        0 if standing == 0 => return "nothing".to_owned(),
        n if n == standing => count(n, "tag"),
        n => format!("{n} of {}", count(standing, "tag")),
    };
    if images.is_empty() {
        return tags;
    }
    let images: Vec<&str> = images.into_iter().collect();
    format!("{tags}: {}", images.join(" "))
}

#[derive(Serialize)]
struct HistoryView<'a> {
    v: u32,
    runs: Vec<PastRunView<'a>>,
}

#[derive(Serialize)]
struct PastRunView<'a> {
    run: &'a str,
    at: String,
    place: &'a str,
    asked: &'a RunRequest,
    commit: Option<&'a str>,
    result: String,
    exit: Option<Exit>,
    exit_code: Option<u8>,
    recovered: bool,
    promoted: Vec<&'a NodeName>,
    failed: &'a [NodeName],
    tags: Vec<TagView<'a>>,
}

#[derive(Serialize)]
struct TagView<'a> {
    node: &'a NodeName,
    tag: String,
    from: Option<&'a Digest>,
    to: Option<&'a Digest>,
}

/// Writes one JSON object: `docs/events.md`.
pub fn json(runs: &Runs<'_>, out: &mut dyn Write) -> io::Result<()> {
    let views = runs.past.iter().map(|past| run_view(runs, past)).collect();
    super::json::write(&HistoryView { v: VERSION, runs: views }, out)
}

fn run_view<'a>(runs: &Runs<'_>, past: &'a PastRun) -> PastRunView<'a> {
    let exit = past.ended.as_ref().map(|ended| ended.exit);
    PastRunView {
        run: &past.began.run,
        at: past.began.at.to_string(),
        place: &past.began.place,
        asked: &past.began.asked,
        commit: past.began.commit.as_deref(),
        result: result(runs, past),
        exit,
        exit_code: exit.map(Exit::code),
        recovered: past.ended.as_ref().is_some_and(|ended| ended.recovered),
        promoted: past.promoted().into_iter().collect(),
        failed: failed(past),
        tags: past
            .standing()
            .map(|one| TagView {
                node: &one.node,
                tag: one.tag.to_string(),
                from: one.from.as_ref(),
                to: one.to.as_ref(),
            })
            .collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        image::Tagged,
        publish::journal::{Began, Journal, Move},
    };

    #[test]
    fn a_run_that_was_cut_off_names_the_tags_that_it_moved() {
        let asked = RunRequest::Run { flags: String::new() };
        let mut journal = Journal::none(Began::new("01m8mdceb39jn4adyn2z7qn2dx", "here", asked));
        let image = |node: &str| Move {
            node: node.into(),
            tag: Tagged { repository: node.parse().unwrap(), tag: "latest".parse().unwrap() },
            from: None,
            to: Some(Digest::of(node.as_bytes())),
            wave: 0,
        };
        assert_eq!(promoted(journal.past()), "nothing");
        journal.commit(&["os", "web", "app"].map(image)).unwrap();
        assert_eq!(promoted(journal.past()), "0 of 3 tags");
        journal.moved(0);
        journal.moved(1);
        assert_eq!(promoted(journal.past()), "2 of 3 tags: os web");
        journal.moved(2);
        journal.end(Exit::Done, false);
        assert_eq!(promoted(journal.past()), "3 tags: app os web");
    }

    #[test]
    fn a_run_that_failed_names_the_images_that_failed() {
        let asked = RunRequest::Run { flags: String::new() };
        let mut journal = Journal::none(Began::new("01m8mdceb39jn4adyn2z7qn2dx", "here", asked));
        journal.images_failed(["app", "web"].map(NodeName::from).to_vec());
        journal.end(Exit::BuildFailed, false);
        assert_eq!(promoted(journal.past()), "nothing: app web failed");
    }

    #[test]
    fn a_narrow_terminal_shows_fewer_columns() {
        let row = [26, 16, 12, 7, 30, 40].map(|width| "x".repeat(width));
        for (columns, expected) in [
            (None, [26, 16, 12, 7, 30, 40]),
            (Some(141), [26, 16, 12, 7, 30, 40]),
            (Some(120), [26, 16, 12, 7, 30, 19]),
            (Some(100), [26, 16, 12, 0, 0, 40]),
            (Some(80), [26, 16, 12, 0, 0, 20]),
            (Some(60), [26, 16, 12, 0, 0, 0]),
        ] {
            assert_eq!(widths(std::slice::from_ref(&row), columns), expected, "{columns:?}");
        }
    }
}
