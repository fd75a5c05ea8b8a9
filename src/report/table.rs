//! The closing table: a row for each image that something happened to.

use std::{
    cmp::Ordering,
    io::{self, Write},
};

use super::{
    Paint,
    numbers::{names, seconds, size, size_change},
    sanitize, step,
    width::{fit, pad, pad_left, width},
};
use crate::{
    event::{Outcome, StepSummary, Summary},
    plan::Reason,
};

pub(super) const COLUMNS: usize = 7;
pub(super) const HEAD: [&str; COLUMNS] =
    ["image", "result", "why", "time", "size", "change", "tags"];
const RESULT: usize = 1;
/// Numbers stand at the right.
const RIGHT: [bool; COLUMNS] = [false, false, false, true, true, true, false];
/// The columns that a narrow terminal has no room for, the first first: size, change and tags.
const OPTIONAL: [usize; 3] = [4, 5, 6];
/// What wraps in a narrow terminal.
const WHY: usize = 2;
/// Its width without a terminal, if its words are not longer.
const WHY_UNBOUNDED: usize = 80;
/// The columns that may be cut after that, the first first, and how far.
const FLEXIBLE: [(usize, usize); 3] = [(WHY, 20), (0, 16), (WHY, 3)];
const GAP: &str = "  ";
/// More failed images are counted only.
const NAMED: usize = 3;
/// The most rows of images that were skipped or cancelled.
const UNFINISHED: usize = 10;

/// Writes the table, with an empty line before it, or nothing if it would have no rows.
///
/// Images that stay as they are are only counted (in the last line of a report), unless `verbose`. Of those that
/// were skipped or cancelled, the first [`UNFINISHED`] have rows: of 300 images the five that matter are to be seen.
pub(super) fn write(
    summary: &Summary,
    verbose: bool,
    columns: Option<usize>,
    (paint, out): (Paint, &mut dyn Write),
) -> io::Result<()> {
    let (mut steps, more) = shown(summary);
    if verbose {
        steps = summary.steps.iter().collect();
    }
    if steps.is_empty() {
        return Ok(());
    }
    let rows: Vec<[String; COLUMNS]> = steps.iter().map(|step| cells(step)).collect();
    let widths = widths(&rows, columns);

    let head = line(&HEAD.map(str::to_owned), widths, columns);
    writeln!(out, "\n{}", paint.faint(head.concat().trim_end()))?;
    for (step, row) in steps.iter().zip(&rows) {
        let mut why = wrapped(&row[WHY], widths[WHY]).into_iter();
        let mut row = row.clone();
        row[WHY] = why.next().unwrap_or_default();
        let [before, result, after] = line(&row, widths, columns);
        let result = match &step.outcome {
            Outcome::Failed(_) => paint.bad(result),
            Outcome::Skipped { .. } | Outcome::Cancelled => paint.warning(result),
            Outcome::Kept { .. } | Outcome::Held { .. } => paint.faint(result),
            Outcome::Built { .. } | Outcome::Unchanged { .. } | Outcome::Reused { .. } => {
                paint.good(result)
            }
        };
        writeln!(out, "{before}{result}{}", after.trim_end())?;
        for more in why {
            let rest: [String; COLUMNS] =
                std::array::from_fn(
                    |column| if column == WHY { more.clone() } else { String::new() },
                );
            writeln!(out, "{}", line(&rest, widths, columns).concat().trim_end())?;
        }
    }
    if more > 0 && !verbose {
        writeln!(out, "{}", paint.faint(format!("and {more} more skipped or cancelled")))?;
    }
    Ok(())
}

/// The images with rows, those that the run did not finish last, and how many of those have none.
pub(super) fn shown(summary: &Summary) -> (Vec<&StepSummary>, usize) {
    let is_unfinished =
        |step: &&StepSummary| matches!(step.outcome, Outcome::Skipped { .. } | Outcome::Cancelled);
    let unfinished = summary.steps.iter().filter(is_unfinished);
    // A table of nothing but images that never began says nothing.
    let mut steps: Vec<&StepSummary> = summary.steps.iter().filter(|step| is_news(step)).collect();
    let all = unfinished.clone().count();
    // One more row is as short as the count.
    let most = if all == UNFINISHED + 1 { all } else { UNFINISHED };
    steps.extend(unfinished.take(most));
    (steps, all.saturating_sub(most))
}

/// In lines of this width, broken between words; a longer word is cut.
fn wrapped(text: &str, columns: usize) -> Vec<String> {
    let mut lines = Vec::new();
    let mut at = String::new();
    for word in text.split(' ') {
        let is_full = !at.is_empty() && width(&at) + 1 + width(word) > columns;
        if is_full {
            lines.push(std::mem::take(&mut at));
        }
        if !at.is_empty() {
            at.push(' ');
        }
        at += word;
    }
    lines.push(at);
    lines.into_iter().map(|line| fit(&line, columns)).collect()
}

/// Whether a table has a row for it.
pub fn is_news(step: &StepSummary) -> bool {
    use Outcome::{Cancelled, Held, Kept, Skipped};
    let quiet = matches!(step.outcome, Kept { .. } | Held { .. } | Skipped { .. } | Cancelled);
    !quiet || !step.promoted.is_empty()
}

pub(super) fn cells(step: &StepSummary) -> [String; COLUMNS] {
    let result = match &step.outcome {
        Outcome::Built { .. } => "built",
        Outcome::Unchanged { .. } => "built, unchanged",
        Outcome::Reused { .. } => "already built",
        Outcome::Kept { .. } => "up to date",
        Outcome::Held { .. } => "held",
        Outcome::Failed(failure) => step::failed(failure),
        Outcome::Skipped { .. } => "skipped",
        Outcome::Cancelled => "cancelled",
    };
    let (bytes, change) = match step.outcome {
        Outcome::Built { size: bytes, before, .. } => (size(bytes), size_change(bytes, before)),
        _ => (String::new(), String::new()),
    };
    let time = if step.took.is_zero() { String::new() } else { seconds(step.took) };
    let tags: Vec<&str> = step.promoted.iter().map(crate::image::Tag::as_str).collect();
    [
        sanitize::text(step.node.as_str()),
        format!("{result}{}", besides(step)),
        sanitize::text(&why(step)),
        time,
        bytes,
        change,
        tags.join(" "),
    ]
}

/// What a reader should know of a good result.
fn besides(step: &StepSummary) -> String {
    let notes = [("flaky", step.is_flaky()), ("over budget", step.is_warned())];
    notes.iter().filter(|(_, is)| *is).flat_map(|(note, _)| [", ", note]).collect()
}

/// The report of the failure has the whole sentence.
fn why(step: &StepSummary) -> String {
    match (&step.outcome, &step.reason) {
        (Outcome::Skipped { failed }, _) => format!("{} failed", names(failed, NAMED)),
        // The result says it.
        (Outcome::Kept { .. }, Reason::UpToDate) => String::new(),
        (_, Reason::UpstreamMissing { upstream, .. }) => format!("`{upstream}` is not available"),
        (_, reason) => reason.to_string(),
    }
}

/// As wide as the widest cell, the flexible ones cut until the line fits. A column in which nothing
/// stands is left out: its width is 0.
fn widths(rows: &[[String; COLUMNS]], columns: Option<usize>) -> [usize; COLUMNS] {
    let mut widths = [0; COLUMNS];
    for (column, widest) in widths.iter_mut().enumerate() {
        let content = rows.iter().map(|row| width(&row[column])).max().unwrap_or(0);
        if content > 0 {
            *widest = content.max(width(HEAD[column]));
        }
    }
    let Some(columns) = columns else {
        let words = rows.iter().flat_map(|row| row[WHY].split(' '));
        widths[WHY] = widths[WHY].min(words.map(width).max().unwrap_or(0).max(WHY_UNBOUNDED));
        return widths;
    };
    let used = |widths: &[usize; COLUMNS]| -> usize {
        widths.iter().filter(|w| **w > 0).map(|w| w + GAP.len()).sum()
    };
    // Without them if `why` would have to wrap below 40 columns.
    for column in OPTIONAL {
        let wrapped = widths[WHY].saturating_sub(widths[WHY].min(40));
        if used(&widths).saturating_sub(wrapped) > columns + GAP.len() {
            widths[column] = 0;
        }
    }
    for (column, least) in FLEXIBLE {
        let surplus = used(&widths).saturating_sub(columns + GAP.len());
        let spare = widths[column].saturating_sub(least);
        widths[column] -= surplus.min(spare);
    }
    widths
}

/// The line in three parts: what is before the result, the result, and what is after it.
fn line(
    cells: &[String; COLUMNS],
    widths: [usize; COLUMNS],
    columns: Option<usize>,
) -> [String; 3] {
    let mut parts = [String::new(), String::new(), String::new()];
    let mut left = columns.unwrap_or(usize::MAX);
    for (column, cell) in cells.iter().enumerate().filter(|(column, _)| widths[*column] > 0) {
        let cell =
            if RIGHT[column] { pad_left(cell, widths[column]) } else { pad(cell, widths[column]) };
        let part = match column {
            0 => cell,
            _ => format!("{GAP}{cell}"),
        };
        // Spaces at the end are not worth an ellipsis.
        let part = if width(&part) > left { fit(part.trim_end(), left) } else { part };
        left -= width(&part);
        let place = match column.cmp(&RESULT) {
            Ordering::Less => 0,
            Ordering::Equal => 1,
            Ordering::Greater => 2,
        };
        parts[place].push_str(&part);
    }
    parts
}
