//! Commands of GitHub Actions, which shows each at its line:
//! <https://docs.github.com/actions/reference/workflow-commands-for-github-actions>.
//!
//! **Invariant:** nothing in a message or in a path can be a command.

use std::{
    fmt::Write as _,
    io::{self, Write},
};

use super::{Findings, region};
use crate::{check::diagnostic::Severity, report::sanitize};

/// Writes a command for each problem, and a line that counts.
pub fn github(findings: Findings<'_>, out: &mut dyn Write) -> io::Result<()> {
    for problem in findings.shown() {
        let command = match problem.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
            Severity::Note => "notice",
        };
        let mut properties: Vec<String> = Vec::new();
        let mut property = |name: &str, value: &str| {
            properties.push(format!("{name}={}", escaped(value, true)));
        };
        if let Some(file) = findings.file(problem) {
            property("file", &sanitize::text(&file));
        }
        if let Some(region) = region(problem) {
            property("line", &region.line.to_string());
            property("endLine", &region.end_line.to_string());
            property("col", &region.column.to_string());
            property("endColumn", &region.end_column.to_string());
        }
        if let Some(code) = problem.code {
            property("title", &format!("{code}: {}", code.rule().title));
        }
        let mut message = sanitize::text(&problem.message);
        if let Some(hint) = &problem.hint {
            _ = write!(message, "\nhint: {}", sanitize::text(hint));
        }
        let properties = properties.join(",");
        let space = if properties.is_empty() { "" } else { " " };
        writeln!(out, "::{command}{space}{properties}::{}", escaped(&message, false))?;
    }
    writeln!(out, "{}", findings.summary())
}

fn escaped(text: &str, is_property: bool) -> String {
    let mut out = String::new();
    for c in text.chars() {
        match c {
            '%' => out.push_str("%25"),
            '\r' => out.push_str("%0D"),
            '\n' => out.push_str("%0A"),
            ':' if is_property => out.push_str("%3A"),
            ',' if is_property => out.push_str("%2C"),
            c => out.push(c),
        }
    }
    out
}
