//! The bottom of a terminal, redrawn in place.
//!
//! **Invariant:** what was printed above is never touched, and a frame is one write, so that nothing
//! flickers. indicatif would do the same, but it keeps the errors of its writer to itself.

use std::io::{self, Write};

use super::{Out, Size, sanitize};

/// Begins and ends a frame for terminals that can wait for all of it; others ignore it.
const BEGIN: &str = "\x1b[?2026h";
const END: &str = "\x1b[?2026l";

pub(super) struct Screen {
    out: Out,
    /// The widths of the lines of the last frame.
    drawn: Vec<usize>,
}

/// A line of a frame, with its width without escape sequences.
pub(super) struct ScreenLine {
    pub text: String,
    pub width: usize,
}

impl Screen {
    pub(super) fn new(out: Out) -> Self {
        Self { out, drawn: Vec::new() }
    }

    /// Prints `above` for good, whole lines or nothing, and below it the lines of the frame. Each
    /// must be narrower than the terminal, and there must be fewer than it has rows.
    pub(super) fn draw(&mut self, above: &str, frame: &[ScreenLine], size: Size) -> io::Result<()> {
        let mut text = String::from(BEGIN);
        // A terminal that became narrower has broken the lines of the last frame into several.
        let rows: usize = self.drawn.iter().map(|width| width.div_ceil(size.0.max(1)).max(1)).sum();
        // What scrolled out at the top cannot be reached.
        let rows = rows.min(size.1.saturating_sub(1));
        if rows > 0 {
            text = format!("{text}\x1b[{rows}A\r");
        }
        if !above.is_empty() {
            text += "\x1b[J";
            text += &sanitize::lines(above);
        }
        for line in frame {
            text += &sanitize::lines(&line.text);
            text += "\x1b[K\n";
        }
        text += "\x1b[J";
        text += END;
        self.drawn = frame.iter().map(|line| line.width).collect();
        self.out.ours(&text)?;
        self.out.flush()
    }
}

impl Write for Screen {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.out.write(buf)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}
