//! Variables of scripts that hold several words: arrays of bash, and what is added to a variable.

use std::collections::BTreeSet;

use super::{path_words::is_one_of, shell::words};

/// An array that has no end after so many lines is none.
const MOST_LINES: usize = 200;

/// The words of `(a b)`; any other value as it is.
pub(super) fn items(value: &str) -> &str {
    let inside = value.strip_prefix('(').and_then(|value| value.strip_suffix(')'));
    inside.map_or(value, str::trim)
}

/// The lines of arrays that go on in the next line.
pub(super) fn open_lines(text: &str) -> BTreeSet<usize> {
    let lines: Vec<&str> = text.lines().map(str::trim).collect();
    let mut open = BTreeSet::new();
    let mut start = 0;
    while let Some(line) = lines.get(start) {
        let begins = line.split_once("=(").filter(|(name, _)| is_name(name.trim_end_matches('+')));
        if begins.is_some_and(|(_, rest)| !rest.contains(')')) {
            let rest = lines.iter().enumerate().skip(start + 1).take(MOST_LINES);
            let mut ends = rest.filter(|(_, line)| line.ends_with(')') || line.starts_with(')'));
            if let Some((end, _)) = ends.next() {
                open.extend(start..end);
                start = end;
            }
        }
        start += 1;
    }
    open
}

/// The line with `"${NAME[@]}"` as `${NAME[@]}`: its items are words of their own, also in quotes.
pub(super) fn unquoted(line: &str) -> String {
    let mut parts = line.split("[@]}\"").peekable();
    let mut out = String::new();
    while let Some(part) = parts.next() {
        if parts.peek().is_none() {
            out.push_str(part);
            break;
        }
        match part.rsplit_once("\"${").filter(|(_, name)| is_name(name)) {
            Some((before, name)) => out.extend([before, "${", name, "[@]}"]),
            None => out.extend([part, "[@]}\""]),
        }
    }
    out
}

/// What a line adds to the value of a variable: `A+=x`, `A+=(x)`, `A="$A x"`.
pub(super) fn added(line: &str) -> Option<(&str, String)> {
    let [assignment] = words(line)[..] else { return None };
    let (name, value) = assignment.split_once('=')?;
    let inside = ['"', '\'']
        .iter()
        .find_map(|quote| value.strip_prefix(*quote).and_then(|value| value.strip_suffix(*quote)));
    let value = inside.unwrap_or(value);
    if let Some(name) = name.strip_suffix('+').filter(|name| is_name(name)) {
        let is_array = items(value) != value;
        let more = if is_array { format!(" {}", items(value)) } else { value.to_owned() };
        return Some((name, more));
    }
    let more = items(value);
    let own = [format!("${{{name}[@]}}"), format!("${{{name}}}"), format!("${name}")];
    let more = own.iter().find_map(|own| more.strip_prefix(own.as_str()))?;
    let is_whole = !more.starts_with(|c: char| c.is_alphanumeric() || c == '_');
    (is_name(name) && is_whole && !more.contains(&own[2])).then(|| (name, more.to_owned()))
}

/// Counts the conditions that a line begins and ends.
pub(super) fn count(line: &str, (begin, end): (&str, &str), conditions: &mut usize) {
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    let all: Vec<&str> = line.split(|c| !is_word(c)).filter(|word| !word.is_empty()).collect();
    let (Some(first), Some(last)) = (all.first(), all.last()) else { return };
    if is_one_of(first, begin) && !is_one_of(last, end) {
        *conditions += 1;
    } else if is_one_of(first, end) {
        *conditions = conditions.saturating_sub(1);
    }
}

fn is_name(text: &str) -> bool {
    !text.is_empty() && text.chars().all(|c| c.is_alphanumeric() || c == '_')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arrays_without_an_end_are_no_arrays() {
        let text = "A=(\n  a\n)\nB=(a b)\nC=(\nD=1\nmake";
        assert_eq!(open_lines(text), [0, 1].into());
    }

    #[test]
    fn only_whole_lines_add_to_a_variable() {
        for (line, expected) in [
            ("A+=\" x\"", Some(("A", " x"))),
            ("A+=(x \"y z\")", Some(("A", " x \"y z\""))),
            ("A=\"$A x\"", Some(("A", " x"))),
            ("A=\"${A} x\"", Some(("A", " x"))),
            ("A=(\"${A[@]}\" x)", None),
            ("A=(${A[@]} x)", Some(("A", " x"))),
            ("A=\"$AB x\"", None),
            ("A=\"$A $A\"", None),
            ("x && A+=y", None),
            ("A=b", None),
        ] {
            let added = added(line);
            let added = added.as_ref().map(|(name, more)| (*name, more.as_str()));
            assert_eq!(added, expected, "{line}");
        }
        assert_eq!(unquoted("a \"${A[@]}\" \"b[@]}\""), "a ${A[@]} \"b[@]}\"");
    }
}
