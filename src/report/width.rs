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

#[cfg(test)]
mod tests {
    use super::*;

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
