//! For people.

use std::io::{self, Write};

use super::Findings;
use crate::check::diagnostic::{Diagnostic, Rendering};

/// Writes each problem with its place, and a line that counts.
pub fn text(
    findings: Findings<'_>,
    rendering: Rendering<'_>,
    out: &mut dyn Write,
) -> io::Result<()> {
    for problem in Diagnostic::render_all(findings.shown(), rendering) {
        writeln!(out, "{problem}\n")?;
    }
    writeln!(out, "{}", findings.summary())
}
