//! `rebuild history`: past runs, the newest first.

use std::{
    collections::BTreeSet,
    fmt::Write as _,
    io::{self, Write},
};

use serde::Serialize;

use super::{
    Paint, json,
    numbers::{count, names},
    plan::VERSION,
    sanitize,
    width::{pad, width, wrap},
};
use crate::{
    exit::Exit,
    hierarchy::NodeName,
    image::Digest,
    publish::journal::{Move, PastRun, RunRequest},
};

/// The newest first.
pub struct Runs<'a> {
    pub past: &'a [PastRun],
    /// Those that have not ended and still run.
    pub going_on: BTreeSet<String>,
}

const COLUMNS: usize = 6;
const RESULT: usize = 2;
const HEAD: [&str; COLUMNS] = ["run", "when", "result", "commit", "request", "promoted"];
/// The columns of a narrow terminal's first line of a run; the others have lines of their own.
const FIRST_LINE: usize = 3;
/// More tags are counted only.
const NAMED: usize = 3;

/// A line of the list.
enum HistoryLine<'a> {
    Run(&'a PastRun),
    /// Runs in a row that had nothing to do, the newest first.
    Idle(Vec<&'a PastRun>),
}

/// Writes a line for each run. A run that is wider than the terminal takes several lines: nothing is left out. Unless
/// `all`, runs in a row with nothing to do are one line.
pub fn text(
    runs: &Runs<'_>,
    (columns, all): (Option<usize>, bool),
    (colour, out): (bool, &mut dyn Write),
) -> io::Result<()> {
    let paint = Paint { colour };
    if runs.past.is_empty() {
        return writeln!(out, "no runs");
    }
    let lines = lines(runs.past, all);
    let shown = lines.iter().filter_map(|line| match line {
        HistoryLine::Run(past) => Some(row(runs, past)),
        HistoryLine::Idle(_) => None,
    });
    let rows: Vec<[String; COLUMNS]> =
        std::iter::once(HEAD.map(str::to_owned)).chain(shown).collect();
    let widths: [usize; COLUMNS] =
        std::array::from_fn(|column| rows.iter().map(|row| width(&row[column])).max().unwrap_or(0));
    let whole = widths.iter().sum::<usize>() + 2 * (COLUMNS - 1);
    let is_narrow = columns.is_some_and(|columns| whole > columns);
    let mut rows = rows.into_iter();
    let write_row = |row: [String; COLUMNS], past: Option<&PastRun>| {
        let mut cells: [String; COLUMNS] =
            std::array::from_fn(|column| pad(&row[column], widths[column]));
        if let Some(past) = past {
            let cell = std::mem::take(&mut cells[RESULT]);
            cells[RESULT] = match past.ended.as_ref().map(|ended| ended.exit) {
                Some(Exit::Done) => paint.good(cell),
                Some(_) => paint.bad(cell),
                None => paint.warning(cell),
            };
        }
        if !is_narrow {
            return format!("{}\n", cells.join("  ").trim_end());
        }
        let mut text = format!("{}\n", cells[..FIRST_LINE].join("  ").trim_end());
        let named = HEAD.iter().zip(&row).skip(FIRST_LINE);
        for (name, cell) in named.filter(|(_, cell)| past.is_some() && *cell != "-") {
            _ = writeln!(text, "  {name}: {cell}");
        }
        text
    };
    let head = rows.next().unwrap_or_default();
    let mut text = write_row(head, None);
    for line in &lines {
        match line {
            HistoryLine::Run(past) => {
                text += &write_row(rows.next().unwrap_or_default(), Some(past));
                if let Some(rest) = unfinished(runs, past) {
                    _ = writeln!(text, "  {}", sanitize::text(&rest));
                }
            }
            HistoryLine::Idle(idle) => _ = writeln!(text, "{}", paint.faint(folded(idle))),
        }
    }
    out.write_all(wrap(&text, columns).as_bytes())
}

fn lines(past: &[PastRun], all: bool) -> Vec<HistoryLine<'_>> {
    let mut lines = Vec::new();
    for past in past {
        match lines.last_mut() {
            _ if all || !past.had_nothing_to_do() => lines.push(HistoryLine::Run(past)),
            Some(HistoryLine::Idle(idle)) => idle.push(past),
            _ => lines.push(HistoryLine::Idle(vec![past])),
        }
    }
    lines
}

/// `3 runs with nothing to do, 2026-11-23 21:02 to 2026-11-23 23:18`.
fn folded(idle: &[&PastRun]) -> String {
    let runs = count(idle.len(), "run");
    let times = match idle {
        [newest, .., oldest] if time(oldest) != time(newest) => {
            format!("{} to {}", time(oldest), time(newest))
        }
        _ => idle.first().map(|past| time(past)).unwrap_or_default(),
    };
    format!("{runs} with nothing to do, {times}")
}

/// Of a promotion that is not complete: the tags that did not move, and the command that finishes it, or why the run
/// moved its tags back.
fn unfinished(runs: &Runs<'_>, past: &PastRun) -> Option<String> {
    if past.is_open() {
        let is_going_on = runs.going_on.contains(&past.began.run);
        return (!is_going_on).then(|| format!("{}: {FINISH}", not_moved(past)));
    }
    let why = past.turned.as_ref()?;
    Some(match past.made().count() {
        0 => format!("no tag points at an image of this run: {why}"),
        _ => format!("{}: {why}", not_moved(past)),
    })
}

/// The command that finishes a promotion.
const FINISH: &str = "the next `rebuild` moves the rest";

/// The tags of a promotion that moved and those that did not: ``moved `a:1`; not moved: `b:1` ``.
pub fn not_moved(past: &PastRun) -> String {
    let tag = |one: &Move| format!("{}:{}", one.node, one.tag.tag);
    let made: Vec<String> = past.made().map(tag).collect();
    let unmade: Vec<String> = past.unmade().map(tag).collect();
    match (made.is_empty(), unmade.is_empty()) {
        (true, true) => "no tag moved".to_owned(),
        (true, false) => format!("not moved: {}", names(&unmade, NAMED)),
        (false, true) => format!("moved {}", names(&made, NAMED)),
        (false, false) => {
            format!("moved {}; not moved: {}", names(&made, NAMED), names(&unmade, NAMED))
        }
    }
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

/// When it began, in UTC: `2026-11-30 22:10`.
pub fn time(past: &PastRun) -> String {
    past.began.at.strftime("%Y-%m-%d %H:%M").to_string()
}

fn asked(past: &PastRun) -> String {
    match &past.began.asked {
        RunRequest::Run { flags } if flags.is_empty() => "what is out of date".to_owned(),
        RunRequest::Run { flags } => flags.clone(),
        RunRequest::Rollback { of } => format!("rollback {of}"),
    }
}

/// `run 01k… of 2026-11-30 22:10 (request: --from os)`.
pub fn title(past: &PastRun) -> String {
    sanitize::text(&format!("run {} of {} (request: {})", past.began.run, time(past), asked(past)))
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
    built: Option<usize>,
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
    json::write(&HistoryView { v: VERSION, runs: views }, out)
}

fn run_view<'a>(runs: &Runs<'_>, past: &'a PastRun) -> PastRunView<'a> {
    let exit = past.ended.as_ref().map(|ended| ended.exit);
    PastRunView {
        run: &past.began.run,
        at: json::whole_seconds(past.began.at),
        place: &past.began.place,
        asked: &past.began.asked,
        commit: past.began.commit.as_deref(),
        result: result(runs, past),
        exit,
        exit_code: exit.map(Exit::code),
        recovered: past.ended.as_ref().is_some_and(|ended| ended.recovered),
        promoted: past.promoted().into_iter().collect(),
        failed: failed(past),
        built: past.ended.as_ref().and_then(|ended| ended.built),
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
        publish::journal::{Began, Journal},
    };

    #[test]
    fn a_run_that_was_cut_off_names_the_tags_that_it_moved() {
        let asked = RunRequest::Run { flags: String::new() };
        let mut journal = Journal::none(Began::new("01m8mdceb39jn4adyn2z7qn2dx", "here", asked));
        assert_eq!(promoted(journal.past()), "nothing");
        journal.commit(&["os", "web", "app"].map(moved)).unwrap();
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
        journal.images_ended(["app", "web"].map(NodeName::from).to_vec(), 0);
        journal.end(Exit::BuildFailed, false);
        assert_eq!(promoted(journal.past()), "nothing: app web failed");
    }

    /// A run that ended well; `images` were built, and their tags moved.
    fn ended(run: &str, images: &[&str]) -> PastRun {
        let asked = RunRequest::Run { flags: String::new() };
        let mut began = Began::new(format!("{run:0>26}"), "here", asked);
        began.at = "2026-11-23T23:18:00Z".parse().unwrap();
        let mut journal = Journal::none(began);
        let moves: Vec<Move> = images.iter().map(|image| moved(image)).collect();
        if !moves.is_empty() {
            journal.commit(&moves).unwrap();
            (0..moves.len()).for_each(|index| journal.moved(index));
        }
        journal.images_ended(Vec::new(), images.len());
        journal.end(Exit::Done, false);
        journal.past().clone()
    }

    fn moved(node: &str) -> Move {
        Move {
            node: node.into(),
            tag: Tagged { repository: node.parse().unwrap(), tag: "latest".parse().unwrap() },
            from: None,
            to: Some(Digest::of(node.as_bytes())),
            wave: 0,
        }
    }

    fn shown(past: &[PastRun], columns: Option<usize>, all: bool) -> String {
        let runs = Runs { past, going_on: BTreeSet::new() };
        let mut out = Vec::new();
        text(&runs, (columns, all), (false, &mut out)).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn runs_with_nothing_to_do_are_one_line() {
        let mut past = [ended("5", &[]), ended("4", &[]), ended("3", &["os"]), ended("2", &[])];
        past[0].began.at = "2026-11-24T01:00:00Z".parse().unwrap();
        insta::assert_snapshot!(shown(&past, None, false), @"
        run                         when              result  commit  request              promoted
        2 runs with nothing to do, 2026-11-23 23:18 to 2026-11-24 01:00
        00000000000000000000000003  2026-11-23 23:18  done    -       what is out of date  1 tag: os
        1 run with nothing to do, 2026-11-23 23:18
        ");
        assert_eq!(shown(&past, None, true).lines().count(), 5);
    }

    #[test]
    fn a_narrow_terminal_leaves_nothing_out() {
        let mut past = ended("3", &["os", "web", "application-with-a-long-name"]);
        past.began.commit = Some("8c1d02f4a6be".to_owned());
        insta::assert_snapshot!(shown(&[past], Some(60), false), @"
        run                         when              result
        00000000000000000000000003  2026-11-23 23:18  done
          commit: 8c1d02f4a6be
          request: what is out of date
          promoted: 3 tags: application-with-a-long-name os web
        ");
    }

    #[test]
    fn an_incomplete_promotion_names_the_tags_and_the_command_that_finishes_it() {
        let asked = RunRequest::Run { flags: String::new() };
        let mut began = Began::new(format!("{:0>26}", 1), "here", asked);
        began.at = "2026-11-23T23:18:00Z".parse().unwrap();
        let mut journal = Journal::none(began);
        journal.commit(&["os", "web", "app"].map(moved)).unwrap();
        journal.moved(0);
        insta::assert_snapshot!(shown(&[journal.past().clone()], None, false), @"
        run                         when              result      commit  request              promoted
        00000000000000000000000001  2026-11-23 23:18  unfinished  -       what is out of date  1 of 3 tags: os
          moved `os:latest`; not moved: `web:latest` and `app:latest`: the next `rebuild` moves the rest
        ");
        journal.turned("the registry refused `app:latest`");
        journal.back(0);
        journal.end(Exit::PromotionFailed, false);
        insta::assert_snapshot!(shown(&[journal.past().clone()], None, false), @"
        run                         when              result            commit  request              promoted
        00000000000000000000000001  2026-11-23 23:18  promotion-failed  -       what is out of date  nothing
          no tag points at an image of this run: the registry refused `app:latest`
        ");
    }
}
