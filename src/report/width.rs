//! Text in columns of a terminal. **Invariant:** what is fitted is never wider than asked.

use unicode_width::UnicodeWidthChar as _;

/// How many columns a text without escape sequences takes at most: the sum of its characters.
///
/// Terminals do not agree on sequences such as emoji with joiners; all of them make those narrower
/// than their parts, but for the selector that makes a character an emoji, two columns wide.
pub(super) fn width(text: &str) -> usize {
    text.chars().map(char_width).sum()
}

fn char_width(c: char) -> usize {
    if c == '\u{fe0f}' { 1 } else { c.width().unwrap_or(0) }
}

/// The text, or as much of its beginning as fits, ending in `…`.
pub(super) fn fit(text: &str, columns: usize) -> String {
    if width(text) <= columns {
        return text.to_owned();
    }
    if columns == 0 {
        return String::new();
    }
    let mut out = String::new();
    let mut used = 1; // the ellipsis
    for c in text.chars() {
        used += char_width(c);
        if used > columns {
            break;
        }
        out.push(c);
    }
    out.truncate(out.trim_end().len());
    out.push('…');
    out
}

/// The text in exactly so many columns, cut or filled up at the right.
pub(super) fn pad(text: &str, columns: usize) -> String {
    let mut text = fit(text, columns);
    text.extend(std::iter::repeat_n(' ', columns.saturating_sub(width(&text))));
    text
}

/// As [`pad`], filled up at the left.
pub(super) fn pad_left(text: &str, columns: usize) -> String {
    let text = fit(text, columns);
    " ".repeat(columns.saturating_sub(width(&text))) + &text
}

/// The part of a line that a table's last cell keeps in a narrow terminal.
const LAST_CELL: usize = 20;

/// Breaks lines that are wider than this between words. The rest of a line begins below its last cell: after its
/// last two spaces in a row. Words, such as paths and addresses, stay whole, and so do excerpts of files and logs:
/// lines that begin with `|` or `7 |`. `None` breaks nothing.
pub fn wrap(text: &str, columns: Option<usize>) -> String {
    let Some(columns) = columns.filter(|columns| *columns > 0) else { return text.to_owned() };
    text.split_inclusive('\n').map(|line| wrapped_line(line, columns)).collect()
}

fn wrapped_line(line: &str, columns: usize) -> String {
    let plain = bare(line);
    let number = |c: char| c == ' ' || c.is_ascii_digit();
    let is_excerpt = plain.trim_start_matches(number).starts_with('|');
    if width(plain.trim_end()) <= columns || is_excerpt {
        return line.to_owned();
    }
    let cells = plain.match_indices("  ").map(|(at, _)| {
        let rest = plain[at..].trim_start();
        width(&plain[..plain.len() - rest.len()])
    });
    let indent = cells.filter(|at| at + LAST_CELL <= columns).max().unwrap_or(0);
    let (mut out, mut used) = (String::new(), 0);
    for word in line.split_inclusive(' ') {
        let shown = bare(word);
        let wide = width(shown.trim_end());
        // At the beginning of a line, CI systems take these for commands.
        let is_command = shown.starts_with("::") || shown.starts_with("##");
        let begun = out.trim_end_matches(' ');
        let is_start = begun.is_empty() || begun.ends_with('\n');
        if used + wide > columns && wide > 0 && !is_start && !is_command {
            let indent = if indent + wide > columns { 0 } else { indent };
            out.truncate(begun.len());
            out.push('\n');
            out.extend(std::iter::repeat_n(' ', indent));
            used = indent;
        } else if wide == 0 && begun.ends_with('\n') {
            continue;
        }
        out += word;
        used += width(&shown);
    }
    out
}

/// Without colours, the only escape sequences in sanitized text.
fn bare(text: &str) -> String {
    let mut parts = text.split('\x1b');
    let first = parts.next().unwrap_or_default();
    let rest = parts.map(|part| part.split_once('m').map_or("", |(_, rest)| rest));
    std::iter::once(first).chain(rest).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_break_between_words() {
        let wrap = |text: &str| wrap(text, Some(40));
        for (text, expected) in [
            ("short\n", "short\n"),
            (
                "nothing was promoted: `api` failed, every tag is where it was\n",
                "nothing was promoted: `api` failed,\nevery tag is where it was\n",
            ),
            (
                "os    behind     built and tested, but `latest` does not point at it",
                "os    behind     built and tested, but\n                 `latest` does not point\n                 at it",
            ),
            (
                "  hint: put the certificate among those of the system",
                "  hint: put the certificate among those\n  of the system",
            ),
            (
                "whole log: /a/path/of/more/than/forty/columns/in/one/word",
                "whole log:\n/a/path/of/more/than/forty/columns/in/one/word",
            ),
            (
                "\x1b[1mstatus\x1b[0m  not published, because `api` failed",
                "\x1b[1mstatus\x1b[0m  not published, because `api`\n        failed",
            ),
            (
                "an attack with more than forty columns ::error::x",
                "an attack with more than forty columns ::error::x",
            ),
            (
                "12 |   a: { context: images/a, tags: [latest, 1] }",
                "12 |   a: { context: images/a, tags: [latest, 1] }",
            ),
        ] {
            assert_eq!(wrap(text), expected);
        }
        assert_eq!(super::wrap("a b", None), "a b");
    }

    #[test]
    fn wide_characters_take_two_columns() {
        for (text, columns, fitted) in [
            ("abc", 3, "abc"),
            ("abcd", 3, "ab…"),
            ("漢字", 4, "漢字"),
            ("漢字漢", 4, "漢…"),
            ("a b c", 3, "a…"),
            ("0\u{fe0f}00", 3, "0\u{fe0f}…"),
            ("abc", 1, "…"),
            ("abc", 0, ""),
        ] {
            assert_eq!(fit(text, columns), fitted);
            assert!(width(&fit(text, columns)) <= columns);
        }
        assert_eq!(pad("漢", 4) + "|", "漢  |");
        assert_eq!(pad_left("ab", 4), "  ab");
    }
}
