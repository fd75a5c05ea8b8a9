//! The lines of a `.dockerignore`: finds the patterns and cleans them.

use super::IgnoreError;

/// A line with a pattern.
pub(super) struct PatternLine {
    /// Counted from 1.
    pub(super) number: usize,
    pub(super) written: Vec<u8>,
    /// Whether it starts with `!`.
    pub(super) exception: bool,
    /// Without `!`, white space and a leading `/`, and with `.`, `..` and `//` resolved.
    pub(super) cleaned: Vec<u8>,
}

/// Docker reads the file with Go's `bufio.Scanner`, which fails on longer lines.
const LONGEST: usize = 64 * 1024;

/// Every pattern of the file. A `#` starts a comment only in the first column.
pub(super) fn pattern_lines(text: &[u8]) -> Result<Vec<PatternLine>, IgnoreError> {
    let text = text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text);
    let mut lines = Vec::new();
    for (i, written) in text.split(|byte| *byte == b'\n').enumerate() {
        let error = |shown: &[u8], reason: &str| IgnoreError {
            line: i + 1,
            pattern: String::from_utf8_lossy(shown).into_owned(),
            reason: reason.to_owned(),
        };
        if written.len() >= LONGEST {
            return Err(error(&written[..32], "the line is longer than 64 KiB"));
        }
        let written = written.strip_suffix(b"\r").unwrap_or(written);
        if written.starts_with(b"#") {
            continue;
        }
        let pattern = normalise(trim(written));
        // Docker trims and cleans twice: when reading the file, and when compiling the pattern.
        let pattern = trim(&pattern);
        if pattern.is_empty() {
            continue;
        }
        let mut cleaned = clean(pattern);
        let exception = cleaned[0] == b'!';
        if exception {
            cleaned.remove(0);
        }
        if cleaned.is_empty() {
            return Err(error(trim(written), "a `!` needs a pattern after it"));
        }
        lines.push(PatternLine {
            number: i + 1,
            written: trim(written).to_vec(),
            exception,
            cleaned,
        });
    }
    Ok(lines)
}

/// The pattern relative to the context: `/a` equals `a`, and `!/a` equals `! a`.
fn normalise(pattern: &[u8]) -> Vec<u8> {
    let (mark, pattern) = match pattern.strip_prefix(b"!") {
        Some(rest) => (&b"!"[..], trim(rest)),
        None => (&b""[..], pattern),
    };
    let mut cleaned = if pattern.is_empty() { Vec::new() } else { clean(pattern) };
    if cleaned.len() > 1 && cleaned[0] == b'/' {
        cleaned.remove(0);
    }
    [mark, &cleaned].concat()
}

/// Go's `filepath.Clean`, on bytes.
fn clean(path: &[u8]) -> Vec<u8> {
    let rooted = path.first() == Some(&b'/');
    let mut kept: Vec<&[u8]> = Vec::new();
    for part in path.split(|byte| *byte == b'/') {
        match part {
            b"" | b"." => {}
            b".." if kept.last().is_some_and(|last| *last != b"..") => _ = kept.pop(),
            b".." if rooted => {}
            part => kept.push(part),
        }
    }
    let joined = kept.join(&b'/');
    match (rooted, joined.is_empty()) {
        (true, _) => [b"/", &joined[..]].concat(),
        (false, true) => b".".to_vec(),
        (false, false) => joined,
    }
}

/// Go's `strings.TrimSpace`: Unicode white space, in text that may not be UTF-8.
fn trim(mut text: &[u8]) -> &[u8] {
    let space = |bytes: &[u8]| {
        std::str::from_utf8(bytes).is_ok_and(|s| {
            let mut chars = s.chars();
            chars.next().is_some_and(char::is_whitespace) && chars.next().is_none()
        })
    };
    // No white space character takes more than three bytes.
    while let Some(n) = (1..=text.len().min(3)).find(|n| space(&text[..*n])) {
        text = &text[n..];
    }
    while let Some(n) = (1..=text.len().min(3)).find(|n| space(&text[text.len() - n..])) {
        text = &text[..text.len() - n];
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cleans_as_go_does() {
        for (path, cleaned) in [
            ("a", "a"),
            ("a/", "a"),
            ("a//b/./c", "a/b/c"),
            ("./a", "a"),
            ("a/..", "."),
            ("a/../../b", "../b"),
            ("../../a", "../../a"),
            ("/../a", "/a"),
            ("//", "/"),
            (".", "."),
            ("**/", "**"),
        ] {
            assert_eq!(String::from_utf8(clean(path.as_bytes())).unwrap(), cleaned, "{path}");
        }
    }

    #[test]
    fn trims_unicode_space_and_leaves_other_bytes() {
        for (text, trimmed) in [
            (&b" \t a b \x0b\x0c"[..], &b"a b"[..]),
            (b"\xc2\xa0a\xe3\x80\x80", b"a"),
            (b"\xa0a\x85", b"\xa0a\x85"),
            (b"   ", b""),
        ] {
            assert_eq!(trim(text), trimmed);
        }
    }
}
