//! SARIF 2.1.0, which code scanning and editors read:
//! <https://docs.oasis-open.org/sarif/sarif/v2.1.0/sarif-v2.1.0.html>. The paragraphs are those of that
//! text.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    io::{self, Write},
};

use serde::Serialize;

use super::{Findings, region};
use crate::check::{
    diagnostic::{Diagnostic, Severity},
    rules::{self, CheckRule, RuleCode},
};

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct SarifLog {
    #[serde(rename = "$schema")]
    schema: &'static str,
    version: &'static str,
    runs: [SarifRun; 1],
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct SarifRun {
    tool: Tool,
    /// §3.14.17: what a column counts.
    column_kind: &'static str,
    results: Vec<SarifResult>,
}

#[derive(Serialize)]
struct Tool {
    driver: Driver,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Driver {
    name: &'static str,
    semantic_version: &'static str,
    rules: Vec<RuleDescriptor>,
}

/// §3.49.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct RuleDescriptor {
    id: String,
    short_description: SarifMessage,
    full_description: SarifMessage,
    default_configuration: Configuration,
    help: Help,
}

#[derive(Serialize)]
struct Configuration {
    level: &'static str,
}

#[derive(Serialize)]
struct Help {
    text: String,
    markdown: String,
}

/// §3.27.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct SarifResult {
    #[serde(skip_serializing_if = "Option::is_none")]
    rule_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    rule_index: Option<usize>,
    level: &'static str,
    message: SarifMessage,
    locations: Vec<Location>,
}

#[derive(Serialize)]
struct SarifMessage {
    text: String,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Location {
    physical_location: PhysicalLocation,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct PhysicalLocation {
    artifact_location: ArtifactLocation,
    #[serde(skip_serializing_if = "Option::is_none")]
    region: Option<SarifRegion>,
}

#[derive(Serialize)]
struct ArtifactLocation {
    uri: String,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct SarifRegion {
    start_line: usize,
    start_column: usize,
    end_line: usize,
    end_column: usize,
}

/// Writes one log with one run; its rules are all that there are.
pub fn sarif(findings: Findings<'_>, out: &mut dyn Write) -> io::Result<()> {
    let places: BTreeMap<RuleCode, usize> =
        rules::all().zip(0..).map(|(rule, n)| (rule.code, n)).collect();
    let result = |problem: &Diagnostic| SarifResult {
        rule_id: problem.code.map(|code| code.to_string()),
        rule_index: problem.code.and_then(|code| places.get(&code).copied()),
        level: level(problem.severity),
        message: SarifMessage { text: message(problem) },
        locations: location(findings, problem).into_iter().collect(),
    };
    let driver = Driver {
        name: "rebuild",
        semantic_version: env!("CARGO_PKG_VERSION"),
        rules: rules::all().map(descriptor).collect(),
    };
    let results = findings.shown().map(result).collect();
    let run = SarifRun { tool: Tool { driver }, column_kind: "unicodeCodePoints", results };
    let log = SarifLog {
        schema: "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json",
        version: "2.1.0",
        runs: [run],
    };
    crate::report::json::write(&log, out)
}

fn descriptor(rule: &CheckRule) -> RuleDescriptor {
    let CheckRule { code, severity, title, why, bad, good, .. } = rule;
    let text = |text: &str| SarifMessage { text: text.to_owned() };
    RuleDescriptor {
        id: code.to_string(),
        short_description: text(title),
        full_description: text(why),
        default_configuration: Configuration { level: level(*severity) },
        help: Help {
            text: rules::explanation(*code),
            markdown: format!(
                "{why}\n\nInstead of\n\n```\n{bad}\n```\n\nwrite\n\n```\n{good}\n```\n"
            ),
        },
    }
}

/// §3.27.10.
fn level(severity: Severity) -> &'static str {
    match severity {
        Severity::Error => "error",
        Severity::Warning => "warning",
        Severity::Note => "note",
    }
}

/// §3.11.5: a sentence.
fn message(problem: &Diagnostic) -> String {
    let mut text = problem.message.clone();
    if let Some(hint) = &problem.hint {
        _ = write!(text, "\nhint: {hint}");
    }
    text
}

fn location(findings: Findings<'_>, problem: &Diagnostic) -> Option<Location> {
    let file = findings.file(problem)?;
    let region = region(problem).map(|region| SarifRegion {
        start_line: region.line,
        start_column: region.column,
        end_line: region.end_line,
        end_column: region.end_column,
    });
    let artifact_location = ArtifactLocation { uri: uri(&file) };
    Some(Location { physical_location: PhysicalLocation { artifact_location, region } })
}

/// §3.4.3: a path as a relative URI (RFC 3986); an absolute one with its scheme.
fn uri(path: &str) -> String {
    let mut uri = String::from(if path.starts_with('/') { "file://" } else { "" });
    for byte in path.bytes() {
        if byte.is_ascii_alphanumeric() || b"/-._~".contains(&byte) {
            uri.push(char::from(byte));
        } else {
            _ = write!(uri, "%{byte:02X}");
        }
    }
    uri
}
