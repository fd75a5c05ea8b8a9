//! Takes images whose Dockerfile was deleted out of a hierarchy file, and loses no text of theirs.

use std::{collections::BTreeSet, path::Path};

use super::{
    edits::Edits,
    file::{comment, quoted},
    report,
};
use crate::{
    check::diagnostic::names,
    hierarchy::{AxisLines, ImageSection, MatrixText, OutlineImage},
};

/// What was done to one entry, as a line for the user.
pub(super) fn remove(
    section: &ImageSection,
    (text, root): (&str, &Path),
    edits: &mut Edits<'_>,
) -> Option<String> {
    let (gone, kept): (Vec<&OutlineImage>, Vec<&OutlineImage>) =
        section.nodes.iter().partition(|node| node.is_gone());
    if gone.is_empty() {
        return None;
    }
    let shown = |node: &&OutlineImage| {
        let path = node.dockerfile.strip_prefix(root).unwrap_or(&node.dockerfile);
        comment(&path.display().to_string())
    };
    let paths: Vec<String> = gone.iter().map(shown).collect();
    let paths = names(&paths, report::SHOWN);
    let (name, verb) = (&section.name, if gone.len() == 1 { "does" } else { "do" });
    if kept.is_empty() {
        comment_out(section, text, &paths, verb, edits);
        return Some(format!("`{name}`: {paths} {verb} not exist; its entry is now a comment"));
    }
    let done = match &section.matrix {
        Some(matrix) => shrink(matrix, (&gone, &kept), text, edits),
        None => String::new(),
    };
    Some(format!("`{name}`: {paths} {verb} not exist; {done}"))
}

fn comment_out(section: &ImageSection, text: &str, paths: &str, verb: &str, edits: &mut Edits<'_>) {
    let indent = " ".repeat(section.column);
    let mark = format!(
        "{indent}# gone: {paths} {verb} not exist. Delete these lines, or correct the path and uncomment them.\n"
    );
    let mut at = section.lines.start;
    edits.insert_lines(at, &mark);
    for line in text[section.lines.clone()].split_inclusive('\n') {
        let content = line.trim_start_matches(' ');
        if !content.trim().is_empty() {
            let column = at + section.column.min(line.len() - content.len());
            edits.replace(column..column, "# ");
        }
        // Without a line feed it also ends a line for YAML, and the comment.
        for (index, _) in line.match_indices('\r').filter(|(index, _)| index + 2 < line.len()) {
            edits.replace(at + index + 1..at + index + 1, "# ");
        }
        at += line.len();
    }
}

/// Removes values that no image is left for, and excludes the other combinations.
fn shrink(
    matrix: &MatrixText,
    (gone, kept): (&[&OutlineImage], &[&OutlineImage]),
    text: &str,
    edits: &mut Edits<'_>,
) -> String {
    let mut done = Vec::new();
    let mut removed: BTreeSet<(&str, &str)> = BTreeSet::new();
    for axis in &matrix.axes {
        let is_kept = |value: &str| kept.iter().any(|node| has(node, &axis.key, value));
        let mut left: Vec<usize> = (0..axis.values.len()).collect();
        left.retain(|&at| is_kept(&axis.values[at].0));
        for (at, (value, _)) in axis.values.iter().enumerate() {
            if !left.contains(&at) && gone.iter().any(|node| has(node, &axis.key, value)) {
                remove_value(axis, at, (&left, text), edits);
                removed.insert((&axis.key, value));
                done.push(format!("removed `{value}` from `{}`", axis.key));
            }
        }
    }
    let is_covered = |node: &&&OutlineImage| {
        node.combination
            .iter()
            .any(|(key, value)| removed.contains(&(key.as_str(), value.as_str())))
    };
    let left: Vec<&&OutlineImage> = gone.iter().filter(|node| !is_covered(node)).collect();
    let row = |node: &&&OutlineImage| {
        let pairs = node.combination.iter();
        let pairs: Vec<String> =
            pairs.map(|(key, value)| format!("{}: {}", quoted(key), quoted(value))).collect();
        format!("{{ {} }}", pairs.join(", "))
    };
    if !left.is_empty() {
        exclude(matrix, &left.iter().map(row).collect::<Vec<_>>(), text, edits);
        let left: Vec<&str> = left.iter().map(|node| node.name.as_str()).collect();
        done.push(format!("excluded {}", names(&left, report::SHOWN)));
    }
    done.join(", ")
}

fn has(node: &OutlineImage, key: &str, value: &str) -> bool {
    node.combination.iter().any(|(own, its)| own == key && its == value)
}

/// In brackets the value goes with a comma beside it; a line of its own becomes a comment.
fn remove_value(
    axis: &AxisLines,
    at: usize,
    (left, text): (&[usize], &str),
    edits: &mut Edits<'_>,
) {
    let span = axis.values[at].1.clone();
    if !axis.is_flow {
        let line = text[..span.start].rfind('\n').map_or(0, |end| end + 1);
        let dash = line + text[line..span.start].find('-').unwrap_or_default();
        edits.replace(dash..dash, "# gone: ");
        return;
    }
    // Values in front of the first that stays go with the comma behind them.
    let is_before_first = left.first().is_some_and(|&first| at < first);
    let range = if is_before_first {
        span.start..axis.values[at + 1].1.start
    } else {
        axis.values[at - 1].1.end..span.end
    };
    edits.replace(range, "");
}

/// In front of the other rows, or behind the last list of values.
fn exclude(matrix: &MatrixText, rows: &[String], text: &str, edits: &mut Edits<'_>) {
    let start_of_line = |at: usize| text[..at].rfind('\n').map_or(0, |end| end + 1);
    let end_of_line =
        |at: usize| text[at..].find('\n').map_or(text.len(), |length| at + length + 1);
    if let Some(first) = matrix.exclude {
        let before = text[..first].trim_end();
        if before.ends_with('-') {
            let dash = before.len() - 1;
            let indent = " ".repeat(dash - start_of_line(dash));
            let separator = format!("\n{indent}- ");
            edits.replace(dash..dash, &format!("- {}\n{indent}", rows.join(&separator)));
        } else {
            edits.replace(first..first, &format!("{}, ", rows.join(", ")));
        }
        return;
    }
    let Some((axis, (_, last))) =
        matrix.axes.last().and_then(|axis| Some((axis, axis.values.last()?)))
    else {
        return;
    };
    let exclude = format!("exclude: [{}]", rows.join(", "));
    let bracket = text[last.end..].find(']').map(|at| last.end + at + 1);
    let end = bracket.filter(|_| axis.is_flow).unwrap_or(last.end);
    if matrix.is_flow {
        edits.replace(end..end, &format!(", {exclude}"));
    } else {
        let indent = " ".repeat(matrix.first_key - start_of_line(matrix.first_key));
        edits.insert_lines(end_of_line(end), &format!("{indent}{exclude}\n"));
    }
}
