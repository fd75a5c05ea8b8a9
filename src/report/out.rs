//! The door through which every reporter writes.
//!
//! **Invariant:** what a reporter writes passes the sanitizer here, line by line, whatever it was made
//! of. Only sequences of our own, for terminals and CI systems, go around it, by [`Out::ours`];
//! `tests/it/architecture.rs` lists who calls that.

use std::io::{self, Write};

use super::sanitize;

/// Where a reporter writes.
pub struct Out {
    raw: Box<dyn Write + Send>,
    /// The beginning of a line: what is dangerous may come in two pieces.
    line: Vec<u8>,
}

impl Out {
    pub fn new(raw: impl Write + Send + 'static) -> Self {
        Self { raw: Box::new(raw), line: Vec::new() }
    }

    /// Writes something that a terminal or a CI system is to obey. A text of others in it was
    /// sanitized before.
    pub(super) fn ours(&mut self, text: &str) -> io::Result<()> {
        self.finish_line()?;
        self.raw.write_all(text.as_bytes())
    }

    fn finish_line(&mut self) -> io::Result<()> {
        if self.line.is_empty() {
            return Ok(());
        }
        let line = std::mem::take(&mut self.line);
        self.raw.write_all(sanitize::lines(&String::from_utf8_lossy(&line)).as_bytes())
    }
}

impl Write for Out {
    /// Takes all of it; whole lines are written at once.
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.line.extend_from_slice(buf);
        if let Some(end) = self.line.iter().rposition(|byte| *byte == b'\n') {
            let rest = self.line.split_off(end + 1);
            self.finish_line()?;
            self.line = rest;
        }
        Ok(buf.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.finish_line()?;
        self.raw.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::scenario::Paper;

    #[test]
    fn what_is_written_is_sanitized_and_what_is_ours_is_not() {
        let paper = Paper::default();
        let mut out = paper.out();
        for piece in ["a\u{1b}", "]52;c;x\u{7}::err", "or::x\n::error::", "y"] {
            out.write_all(piece.as_bytes()).unwrap();
        }
        out.ours("\u{1b}[K\n").unwrap();
        out.write_all(b"\x1b[31mred\x1b[0m\n").unwrap();
        out.flush().unwrap();
        assert_eq!(
            paper.text(),
            "a␛]52;c;x␇::·error::x\n::·error::y\u{1b}[K\n\u{1b}[31mred\u{1b}[0m\n"
        );
    }
}
