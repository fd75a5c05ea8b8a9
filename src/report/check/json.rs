//! For programs: see `docs/checks.md`.

use std::io::{self, Write};

use serde::Serialize;

use super::{Findings, region};
use crate::{check::diagnostic::Severity, report::plan::VERSION};

#[derive(Serialize)]
struct CheckDocument<'a> {
    v: u32,
    images: usize,
    counts: SeverityCounts,
    problems: Vec<ProblemView<'a>>,
}

#[derive(Serialize)]
struct SeverityCounts {
    error: usize,
    warning: usize,
    note: usize,
    ignored: usize,
}

#[derive(Serialize)]
struct ProblemView<'a> {
    code: Option<String>,
    severity: String,
    message: &'a str,
    hint: Option<&'a str>,
    file: Option<String>,
    #[serde(flatten)]
    region: Option<RegionView>,
}

#[derive(Serialize)]
struct RegionView {
    line: usize,
    column: usize,
    end_line: usize,
    end_column: usize,
}

/// Writes one JSON object.
pub fn json(findings: Findings<'_>, out: &mut dyn Write) -> io::Result<()> {
    let problems = findings.shown().map(|problem| ProblemView {
        code: problem.code.map(|code| code.to_string()),
        severity: problem.severity.to_string(),
        message: &problem.message,
        hint: problem.hint.as_deref(),
        file: findings.file(problem),
        region: region(problem).map(|region| RegionView {
            line: region.line,
            column: region.column,
            end_line: region.end_line,
            end_column: region.end_column,
        }),
    });
    let document = CheckDocument {
        v: VERSION,
        images: findings.checked.images,
        counts: SeverityCounts {
            error: findings.of(Severity::Error).count(),
            warning: findings.of(Severity::Warning).count(),
            note: findings.of(Severity::Note).count(),
            ignored: findings.checked.ignored,
        },
        problems: problems.collect(),
    };
    crate::report::json::write(&document, out)
}
