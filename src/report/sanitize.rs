//! Makes what builds print safe to look at.
//!
//! Build output is data: the author of a Dockerfile, or of a package that it installs, decides what it
//! says. **Invariant:** what leaves here has no control character but those of complete SGR sequences
//! that set colours and weights, no bidirectional override, and no marker on which a CI system acts
//! (`::error::`, `##[group]`, `##vso[`, `##teamcity[`, `section_start:`), with the colours taken out
//! or not. What is dangerous is shown and not dropped, so that a strange log looks strange:
//!
//! | in | out |
//! |---|---|
//! | escape, NUL, carriage return, other C0 | `␛` `␀` `␍` …, the control pictures |
//! | C1 controls, and bytes that are not UTF-8 | `\x9b` |
//! | bidirectional controls, line separators | `\u{202e}` |
//! | CI markers | with a `·` before the character that would complete them |
//! | tabs | spaces up to the next multiple of eight |

use super::numbers::count;

/// Longer lines are cut for display. Nobody reads a minified bundle in a build log, and the whole
/// line is in the log file.
const MAX_CHARS: usize = 1000;
/// Colours take no place on the screen, but memory.
const MAX_BYTES: usize = 4 * MAX_CHARS;
/// An SGR sequence with true colours for text and background is about 40 bytes.
const MAX_SGR: usize = 64;
/// Breaks a marker, visibly.
const BREAK: char = '·';

/// A line of build output, as it may be shown.
///
/// Its line end, if any, is dropped. Without `colour` no escape sequence is left at all.
pub fn line(bytes: &[u8], colour: bool) -> String {
    let bytes = bytes.strip_suffix(b"\n").unwrap_or(bytes);
    let mut rest = bytes.strip_suffix(b"\r").unwrap_or(bytes);
    let mut shown = ShownBytes { colour, ..ShownBytes::default() };
    while !rest.is_empty() {
        if shown.is_full() {
            let more = format!("… ({})", count(rest.len(), "more byte"));
            more.chars().for_each(|c| shown.push(c));
            break;
        }
        rest = shown.take(rest);
    }
    shown.finish()
}

/// Lines that are laid out and coloured by us, with texts of others in them: nothing is cut.
pub fn lines(text: &str) -> String {
    let shown = |line: &str| {
        let (mut rest, mut shown) =
            (line.as_bytes(), ShownBytes { colour: true, is_ours: true, ..ShownBytes::default() });
        while !rest.is_empty() {
            rest = shown.take(rest);
        }
        shown.finish()
    };
    text.split('\n').map(shown).collect::<Vec<_>>().join("\n")
}

/// A message or a name as it may stand within a line: one line, no colours.
pub fn text(text: &str) -> String {
    let lines: Vec<&str> = text.lines().map(str::trim_end).filter(|l| !l.is_empty()).collect();
    line(lines.join(" ").as_bytes(), false)
}

#[derive(Default)]
struct ShownBytes {
    colour: bool,
    out: String,
    /// Visible characters in `out`.
    chars: usize,
    /// Whether a colour was set that must be taken back at the end.
    coloured: bool,
    /// Whether the colours are ours, and taken back already where a sequence says so.
    is_ours: bool,
    markers: Markers,
}

impl ShownBytes {
    fn is_full(&self) -> bool {
        self.chars >= MAX_CHARS || self.out.len() >= MAX_BYTES
    }

    /// Shows the first character of the input, or obeys its first escape sequence.
    fn take<'a>(&mut self, input: &'a [u8]) -> &'a [u8] {
        if let Some(length) = colour_sequence(input) {
            let (sequence, rest) = input.split_at(length);
            if self.colour {
                self.out.extend(sequence.iter().map(|&byte| char::from(byte)));
                self.coloured = !self.is_ours || !matches!(sequence, b"\x1b[0m" | b"\x1b[m");
            }
            return rest;
        }
        let Some(c) = first_char(input) else {
            self.escape(format_args!("\\x{:02x}", input[0]));
            return &input[1..];
        };
        match c {
            '\t' => {
                for _ in 0..8 - self.chars % 8 {
                    self.push(' ');
                }
            }
            '\u{7f}' => self.push('␡'),
            '\0'..='\x1f' => self.push(char::from_u32(0x2400 + u32::from(c)).unwrap_or('␀')),
            '\u{80}'..='\u{9f}' => self.escape(format_args!("\\x{:02x}", u32::from(c))),
            c if reorders(c) => self.escape(format_args!("{}", c.escape_unicode())),
            c => self.push(c),
        }
        &input[c.len_utf8()..]
    }

    fn escape(&mut self, text: std::fmt::Arguments<'_>) {
        text.to_string().chars().for_each(|c| self.push(c));
    }

    fn push(&mut self, c: char) {
        if self.markers.completed_by(c) {
            self.out.push(BREAK);
            self.chars += 1;
            self.markers = Markers { last: Some(BREAK), ..Markers::default() };
            // The character may begin another marker.
            self.markers.completed_by(c);
        }
        self.out.push(c);
        self.chars += 1;
    }

    fn finish(mut self) -> String {
        // We may well write a colon behind it, as in `section_start: failed`.
        if self.markers.is_section() {
            self.out.push(BREAK);
        }
        if self.coloured {
            self.out.push_str("\x1b[0m");
        }
        self.out
    }
}

/// Watches the visible characters for the markers of CI systems.
///
/// Colours are left out on purpose: removing them later must not join the parts of a marker.
#[derive(Default)]
struct Markers {
    last: Option<char>,
    /// Number signs, perhaps followed by letters: the beginning of `##vso[`.
    hashes: usize,
    colons: usize,
    /// What stands before the colons makes them a path of C++, Rust or Ruby: `std::string`.
    in_path: bool,
    /// The letters and underscores just seen, in lower case.
    word: String,
}

impl Markers {
    fn completed_by(&mut self, c: char) -> bool {
        let letter = c.is_ascii_alphabetic();
        // GitHub's parser trims a line before it looks for `::`; ours does not care how much.
        let github = letter && self.colons >= 2 && !self.in_path;
        let azure = c == '[' && self.hashes >= 2;
        let gitlab = c == ':' && self.is_section();

        match c {
            '#' if self.last == Some('#') => self.hashes += 1,
            '#' => self.hashes = 1,
            _ if letter && self.hashes >= 2 => {}
            _ => self.hashes = 0,
        }
        if c == ':' {
            if self.colons == 0 {
                self.in_path =
                    self.last.is_some_and(|c| c.is_alphanumeric() || matches!(c, '_' | '>'));
            }
            self.colons += 1;
        } else {
            self.colons = 0;
        }
        if letter || c == '_' {
            self.word.push(c.to_ascii_lowercase());
            if self.word.len() > 64 {
                self.word.drain(..32);
            }
        } else {
            self.word.clear();
        }
        self.last = Some(c);
        github || azure || gitlab
    }

    fn is_section(&self) -> bool {
        self.word.ends_with("section_start") || self.word.ends_with("section_end")
    }
}

/// Whether a character changes the order or the lines of the text around it.
pub(super) fn reorders(c: char) -> bool {
    matches!(c,
        '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

fn first_char(bytes: &[u8]) -> Option<char> {
    let head = &bytes[..bytes.len().min(4)];
    let valid = match std::str::from_utf8(head) {
        Ok(text) => text,
        Err(error) => std::str::from_utf8(&head[..error.valid_up_to()]).ok()?,
    };
    valid.chars().next()
}

/// The length of the harmless SGR sequence that the input begins with: `ESC [ 0-9;: m`.
fn colour_sequence(input: &[u8]) -> Option<usize> {
    let parameters = input.strip_prefix(b"\x1b[")?;
    let window = &parameters[..parameters.len().min(MAX_SGR)];
    let end = window.iter().position(|b| !matches!(b, b'0'..=b'9' | b';' | b':'))?;
    (window[end] == b'm' && only_colours(&window[..end])).then_some(2 + end + 1)
}

/// Whether parameters set colour, weight or underline only. Concealed (8) and blinking text (5, 6),
/// and the other fonts (10 to 21), have no place in a build log.
fn only_colours(parameters: &[u8]) -> bool {
    let mut groups = parameters.split(|b| *b == b';');
    while let Some(group) = groups.next() {
        let mut parts = group.split(|b| *b == b':');
        let first = parts.next().unwrap_or_default();
        let has_parts = parts.next().is_some();
        let code = if first.is_empty() { Some(0) } else { number(first) };
        match code {
            // Of a palette, or red, green and blue: those follow, and mean nothing else.
            Some(38 | 48 | 58) if !has_parts => match groups.next().and_then(number) {
                Some(5) if groups.next().is_some() => {}
                Some(2) if groups.by_ref().take(3).count() == 3 => {}
                _ => return false,
            },
            Some(0..=4 | 7 | 9 | 22..=25 | 27 | 29..=49 | 58 | 59 | 90..=97 | 100..=107) => {}
            _ => return false,
        }
    }
    true
}

fn number(digits: &[u8]) -> Option<u32> {
    std::str::from_utf8(digits).ok()?.parse().ok()
}

#[cfg(test)]
pub(super) mod tests {
    use std::sync::LazyLock;

    use proptest::prelude::*;
    use regex::Regex;

    use super::*;

    #[test]
    fn shows_what_it_does_not_obey() {
        for (bytes, shown) in [
            (&b"plain"[..], "plain"),
            (b"crlf\r\n", "crlf"),
            (b"\x1b[31mred\x1b[m done", "\x1b[31mred\x1b[m done\x1b[0m"),
            (b"\x1b[1;38;5;8mgrey", "\x1b[1;38;5;8mgrey\x1b[0m"),
            (b"\x1b[38;2;1;8;5mrgb", "\x1b[38;2;1;8;5mrgb\x1b[0m"),
            (b"\x1b[38:2::1:8:5mrgb", "\x1b[38:2::1:8:5mrgb\x1b[0m"),
            (b"\x1b[8mhidden", "␛[8mhidden"),
            (b"\x1b[31;8mhidden", "␛[31;8mhidden"),
            (b"\x1b[38;5m", "␛[38;5m"),
            (b"\x1b[2Jwiped", "␛[2Jwiped"),
            (b"\x1b]0;title\x07", "␛]0;title␇"),
            (b"\x1bP1$r\x1b\\", "␛P1$r␛\\"),
            (b"\x1b[", "␛["),
            (b"\x9b2J", "\\x9b2J"),
            ("\u{9b}2J".as_bytes(), "\\x9b2J"),
            (b"10%\r20%", "10%␍20%"),
            (b"a\0b\x7f", "a␀b␡"),
            (b"caf\xe9", "caf\\xe9"),
            ("a\u{202e}b\u{2066}".as_bytes(), "a\\u{202e}b\\u{2066}"),
            ("größe 漢字".as_bytes(), "größe 漢字"),
            (b"a\tb", "a       b"),
            (b"::error::x", "::·error::x"),
            (b"  ::stop-commands::x", "  ::·stop-commands::x"),
            (b"\x1b[31m::error::", "\x1b[31m::·error::\x1b[0m"),
            (b"std::string::npos, foo :: Int", "std::string::npos, foo :: Int"),
            (b"x ##[group]y", "x ##·[group]y"),
            (b"##vso[task.setvariable]", "##vso·[task.setvariable]"),
            (b"###TeamCity[x]", "###TeamCity·[x]"),
            (b"#\x1b[31m#[x", "#\x1b[31m#·[x\x1b[0m"),
            (b"section_start:1:x\r\x1b[0K", "section_start·:1:x␍␛[0K"),
            (b"xsection_end", "xsection_end·"),
            (b"## heading [1]", "## heading [1]"),
        ] {
            assert_eq!(line(bytes, true), shown);
        }
        assert_eq!(line(b"\x1b[31mred\x1b[m \x1b[2J", false), "red ␛[2J");
    }

    #[test]
    fn cuts_long_lines() {
        let cut = line(&vec![b'x'; 1_000_000], true);
        assert_eq!(cut, "x".repeat(1000) + "… (999000 more bytes)");
        assert_eq!(line(&vec![b'x'; 1001], true), "x".repeat(1000) + "… (1 more byte)");
        let colours = line(&b"\x1b[31m".repeat(100_000), true);
        assert!(colours.len() < MAX_BYTES + 100, "{}", colours.len());
    }

    #[test]
    fn messages_are_one_line() {
        assert_eq!(text("no\n\nsuch \x1b[31mfile\r\n"), "no such file");
    }

    static SGR: LazyLock<Regex> = LazyLock::new(|| Regex::new("\x1b\\[[0-9;:]*m").unwrap());
    static MARKER: LazyLock<Regex> = LazyLock::new(|| {
        Regex::new(r"(?i)(?:^|[^\w>:]):{2,}[a-z]|##[a-z]*\[|section_(?:start|end):").unwrap()
    });

    /// The oracle, by other means than the code: no control character, override or marker is left.
    pub(in crate::report) fn check(shown: &str, colour: bool) -> Result<(), TestCaseError> {
        let visible = SGR.replace_all(shown, "");
        prop_assert!(colour || visible == shown, "colour in {shown:?}");
        let bad = visible.chars().find(|c| c.is_control() || reorders(*c));
        prop_assert!(bad.is_none(), "{bad:?} in {shown:?}");
        prop_assert!(!MARKER.is_match(&visible), "{:?} in {visible:?}", MARKER.find(&visible));
        prop_assert!(shown.chars().count() < MAX_BYTES + 100);
        Ok(())
    }

    /// Pieces from which attacks are made, so that chance finds them.
    pub(in crate::report) fn hostile() -> impl Strategy<Value = Vec<u8>> {
        let piece = prop_oneof![
            Just(&b"\x1b["[..]),
            Just(&b"\x1b"[..]),
            Just(&b"31m"[..]),
            Just(&b"8m"[..]),
            Just(&b"\x1b[0m"[..]),
            Just(&b";38;5"[..]),
            Just(&b"#"[..]),
            Just(&b"["[..]),
            Just(&b"vso"[..]),
            Just(&b":"[..]),
            Just(&b"::error::"[..]),
            Just(&b"section_"[..]),
            Just(&b"start"[..]),
            Just(&b" "[..]),
            Just(&b"\xc2"[..]),
            Just(&b"\x9b"[..]),
            Just("\u{202e}".as_bytes()),
            Just(&b"\r"[..]),
            Just(&b"\0"[..]),
            Just(&b"\t"[..]),
        ];
        proptest::collection::vec(piece, 0..24).prop_map(|pieces| pieces.concat())
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(1000))]

        #[test]
        fn no_bytes_do_harm(bytes in proptest::collection::vec(any::<u8>(), 0..2000), colour: bool) {
            check(&line(&bytes, colour), colour)?;
        }

        #[test]
        fn no_attack_does_harm(bytes in hostile(), colour: bool) {
            check(&line(&bytes, colour), colour)?;
            check(&text(&String::from_utf8_lossy(&bytes)), false)?;
            for line in lines(&String::from_utf8_lossy(&bytes)).split('\n') {
                check(line, true)?;
            }
        }

        #[test]
        fn harmless_text_stays(letters in "[a-zA-Z0-9 ,.+=/-]{0,200}") {
            prop_assert_eq!(line(letters.as_bytes(), true), letters.clone());
            let two = format!("{letters}\n{letters}\n");
            prop_assert_eq!(lines(&two), two);
        }
    }
}
