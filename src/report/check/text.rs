//! For people.

use std::io::{self, Write};

use super::Findings;
use crate::check::diagnostic::Rendering;

/// Writes each problem with its place, and a line that counts.
pub fn text(
    findings: Findings<'_>,
    rendering: Rendering<'_>,
    out: &mut dyn Write,
) -> io::Result<()> {
    for problem in findings.shown() {
        writeln!(out, "{}\n", problem.render(rendering))?;
    }
    writeln!(out, "{}", findings.summary())
}
