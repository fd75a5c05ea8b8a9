//! The last lines of a log.

use std::collections::VecDeque;

use crate::report::sanitize;

/// The most lines of one image that a page shows, and their size.
const LINES: usize = 2000;
const BYTES: usize = 256 * 1024;

#[derive(Clone, Debug, Default)]
pub struct LogTail {
    lines: VecDeque<LogLine>,
    bytes: usize,
    /// Earlier lines that were left out.
    pub left_out: usize,
    /// Earlier bytes of a file that were not read.
    pub unread: u64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogLine {
    /// Without control characters.
    pub text: String,
    /// A build step or a test begins.
    pub is_heading: bool,
}

impl LogTail {
    /// Adds a line and returns by how many bytes the log grew or shrank.
    pub(super) fn push(&mut self, line: &str, is_heading: bool) -> isize {
        let before = self.bytes;
        let text = sanitize::line(line.as_bytes(), false);
        self.bytes += text.len();
        self.lines.push_back(LogLine { text, is_heading });
        while self.lines.len() > LINES || self.bytes > BYTES {
            self.drop_first();
        }
        difference(before, self.bytes)
    }

    /// Leaves out the first half, and returns by how many bytes the log shrank.
    pub(super) fn halve(&mut self) -> isize {
        let before = self.bytes;
        for _ in 0..self.lines.len().div_ceil(2) {
            self.drop_first();
        }
        difference(before, self.bytes)
    }

    fn drop_first(&mut self) {
        if let Some(first) = self.lines.pop_front() {
            self.bytes -= first.text.len();
            self.left_out += 1;
        }
    }

    pub fn lines(&self) -> impl ExactSizeIterator<Item = &LogLine> {
        self.lines.iter()
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }
}

fn difference(before: usize, after: usize) -> isize {
    let signed = |n: usize| isize::try_from(n).unwrap_or(isize::MAX);
    signed(after) - signed(before)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_has_its_last_lines() {
        let mut log = LogTail::default();
        for n in 0..LINES + 5 {
            log.push(&format!("line {n}"), false);
        }
        assert_eq!(log.lines().len(), LINES);
        assert_eq!(log.lines().next().unwrap().text, "line 5");
        assert_eq!(log.left_out, 5);
        for _ in 0..LINES {
            log.push(&"x".repeat(100_000), false);
        }
        assert!(log.bytes() <= BYTES, "{}", log.bytes());
        let shrank = log.halve();
        assert!(shrank < 0);
    }

    #[test]
    fn lines_have_no_control_characters() {
        let mut log = LogTail::default();
        log.push("\u{1b}[31mred\u{202e} \u{7}", false);
        assert_eq!(log.lines().next().unwrap().text, "red\\u{202e} ␇");
    }
}
