//! `rebuild doctor`: a line for each thing that was looked at.

use std::io::{self, Write};

use serde::Serialize;

pub use super::numbers::size;
use super::{Paint, numbers::count, sanitize, width::pad};
use crate::exit::Exit;

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    pub level: Level,
    /// In a word: `engine`, `clock`.
    pub what: &'static str,
    pub message: String,
    /// What to do.
    pub hint: Option<String>,
    /// How a run would end that meets it; `done` if it would not.
    pub exit: Exit,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    Ok,
    /// A run would go on.
    Warning,
    Problem,
}

/// Everything that was found, in the order in which it was looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DoctorReport {
    pub findings: Vec<Finding>,
}

impl Finding {
    pub fn ok(what: &'static str, message: impl Into<String>) -> Self {
        Self { level: Level::Ok, what, message: message.into(), hint: None, exit: Exit::Done }
    }

    pub fn warning(what: &'static str, message: impl Into<String>) -> Self {
        Self { level: Level::Warning, ..Self::ok(what, message) }
    }

    pub fn problem(what: &'static str, exit: Exit, message: impl Into<String>) -> Self {
        Self { level: Level::Problem, exit, ..Self::ok(what, message) }
    }

    #[must_use]
    pub fn hint(self, hint: Option<String>) -> Self {
        Self { hint, ..self }
    }
}

impl DoctorReport {
    /// The code of the first problem.
    pub fn exit(&self) -> Exit {
        let problem = self.findings.iter().find(|finding| finding.level == Level::Problem);
        problem.map_or(Exit::Done, |problem| problem.exit)
    }

    pub fn text(&self, (colour, out): (bool, &mut dyn Write)) -> io::Result<()> {
        const LEVEL: usize = 7;
        let paint = Paint { colour };
        let widest = self.findings.iter().map(|finding| finding.what.len()).max().unwrap_or(0);
        for Finding { level, what, message, hint, .. } in &self.findings {
            let level = match level {
                Level::Ok => paint.good(pad("ok", LEVEL)),
                Level::Warning => paint.warning(pad("warning", LEVEL)),
                Level::Problem => paint.bad(pad("problem", LEVEL)),
            };
            // A message may bring its own hint on a second line.
            let mut lines = message.lines().chain(hint.as_deref()).map(sanitize::text);
            let first = lines.next().unwrap_or_default();
            writeln!(out, "{level}  {}  {first}", pad(what, widest))?;
            for line in lines {
                let line = line.trim_start().trim_start_matches("hint: ").to_owned();
                writeln!(out, "{}  hint: {line}", " ".repeat(LEVEL + 2 + widest))?;
            }
        }
        let of = |level| self.findings.iter().filter(|finding| finding.level == level).count();
        let (problems, warnings) =
            (count(of(Level::Problem), "problem"), count(of(Level::Warning), "warning"));
        writeln!(out, "\n{problems}, {warnings}")
    }

    pub fn json(&self, out: &mut dyn Write) -> io::Result<()> {
        #[derive(Serialize)]
        struct DoctorDocument<'a> {
            v: u32,
            exit: Exit,
            checks: &'a [Finding],
        }
        let document =
            DoctorDocument { v: super::plan::VERSION, exit: self.exit(), checks: &self.findings };
        super::json::write(&document, out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_thing_has_a_line_and_the_first_problem_decides() {
        let hint = Some("ahead\u{1b}[31m".to_owned());
        let health = DoctorReport {
            findings: vec![
                Finding::ok("engine", "20.10"),
                Finding::warning("clock", "5 minutes off").hint(hint),
                Finding::problem("push", Exit::RegistryUnreachable, "refused\n  hint: log in"),
                Finding::problem("disk", Exit::BuildFailed, "full"),
            ],
        };
        let mut text = Vec::new();
        health.text((false, &mut text)).unwrap();
        let expected = "\
ok       engine  20.10
warning  clock   5 minutes off
                 hint: ahead
problem  push    refused
                 hint: log in
problem  disk    full

2 problems, 1 warning
";
        assert_eq!(String::from_utf8(text).unwrap(), expected);
        assert_eq!(health.exit(), Exit::RegistryUnreachable);
        let mut json = Vec::new();
        health.json(&mut json).unwrap();
        let json: serde_json::Value = serde_json::from_slice(&json).unwrap();
        assert_eq!(json["checks"][2]["exit"], "registry-unreachable");
        assert_eq!(json["checks"][1]["level"], "warning");
    }
}
