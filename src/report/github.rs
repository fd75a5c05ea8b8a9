//! What GitHub Actions reads: keeps it from taking output for commands, and gives it some of ours.
//!
//! Between `::stop-commands::TOKEN` and `::TOKEN::` the runner obeys nothing else. The token must not be
//! guessable, or a build could print it. [`super::sanitize`] breaks the markers as well; each of the
//! two suffices.

use std::{
    io::{self, Write},
    path::Path,
};

use super::{Ci, Out, run_data::Record, sanitize, step};
use crate::{
    event::{Outcome, StepFailure, StepSummary},
    hierarchy::Hierarchy,
    host::random,
};

/// Both lines around the output of a run; nothing outside of GitHub Actions.
pub(super) struct Guard(Option<String>);

impl Guard {
    pub(super) fn new(ci: Ci) -> Self {
        Self((ci == Ci::GitHub).then(|| format!("rebuild-{:032x}", random::bits())))
    }

    pub(super) fn open(&self, out: &mut Out) -> io::Result<()> {
        self.0.iter().try_for_each(|token| out.ours(&format!("::stop-commands::{token}\n")))
    }

    pub(super) fn close(&self, out: &mut Out) -> io::Result<()> {
        self.0.iter().try_for_each(|token| out.ours(&format!("::{token}::\n")))
    }

    /// Writes a command of ours, in the middle of a run.
    pub(super) fn lifted(&self, out: &mut Out, command: &str) -> io::Result<()> {
        self.close(out)?;
        out.ours(&format!("{command}\n"))?;
        self.open(out)
    }
}

/// Writes a notice for each failure and each warning, at the line of the Dockerfile where there is
/// one. Paths are told from the workspace on, or GitHub does not find them.
pub fn annotations(
    record: &Record,
    (hierarchy, workspace): (&Hierarchy, &Path),
    out: &mut dyn Write,
) -> io::Result<()> {
    let steps = record.summary.iter().flat_map(|summary| &summary.steps);
    for step in steps {
        if let Outcome::Failed(failure) = &step.outcome {
            writeln!(out, "{}", of_failure(step, failure, (hierarchy, workspace)))?;
        }
    }
    for (node, message) in &record.warnings {
        let title = node.as_ref().map_or("rebuild".to_owned(), |node| format!("rebuild: {node}"));
        writeln!(out, "::warning title={}::{}", property(&title), data(message))?;
    }
    if let Some((_, message)) = &record.error {
        writeln!(out, "::error title=rebuild::{}", data(message))?;
    }
    out.flush()
}

fn of_failure(
    step: &StepSummary,
    failure: &StepFailure,
    (hierarchy, workspace): (&Hierarchy, &Path),
) -> String {
    let path = match &failure.at {
        Some((path, ..)) => Some(path),
        None => hierarchy.get(&step.node).map(|node| &node.dockerfile.path),
    };
    let mut properties = Vec::new();
    if let Some(path) = path.and_then(|path| path.strip_prefix(workspace).ok()) {
        properties.push(format!("file={}", property(&path.to_string_lossy())));
        properties.extend(failure.at.as_ref().map(|(_, line, _)| format!("line={line}")));
    }
    let title = format!("{}: {}", step.node, step::failed(failure));
    properties.push(format!("title={}", property(&title)));
    let mut text: Vec<String> = vec![failure.message.clone()];
    text.extend(failure.tail.iter().map(|line| String::from_utf8_lossy(line).into_owned()));
    format!("::error {}::{}", properties.join(","), data(&text.join("\n")))
}

/// Text of several lines as it may stand behind the colons: the runner turns `%0A` into a new line.
fn data(text: &str) -> String {
    let lines: Vec<String> = text
        .lines()
        .map(|line| sanitize::line(line.as_bytes(), false).replace('%', "%25"))
        .collect();
    lines.join("%0A")
}

fn property(text: &str) -> String {
    let text = sanitize::text(text).replace('%', "%25");
    text.replace(':', "%3A").replace(',', "%2C")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        hierarchy::test_hierarchy,
        report::scenario::{self, Paper, recorded},
    };

    #[test]
    fn every_run_has_its_own_token() {
        let lines = |guard: &Guard| {
            let paper = Paper::default();
            let mut out = paper.out();
            guard.open(&mut out).unwrap();
            guard.close(&mut out).unwrap();
            paper.text()
        };
        assert_eq!(lines(&Guard(Some("t".into()))), "::stop-commands::t\n::t::\n");
        assert_eq!(lines(&Guard::new(Ci::GitLab)), "");
        assert_ne!(lines(&Guard::new(Ci::GitHub)), lines(&Guard::new(Ci::GitHub)));
    }

    fn annotated(events: &[crate::event::Event], workspace: &str) -> String {
        let hierarchy = test_hierarchy("os-base\nwebapp-base < os-base");
        let mut out = Vec::new();
        let place = (&hierarchy, Path::new(workspace));
        annotations(&recorded(events), place, &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_failure_is_told_at_its_line() {
        insta::assert_snapshot!(annotated(&scenario::failure(), "images"), @r"
        ::error file=webapp-base/Dockerfile,line=7,title=webapp-base%3A build failed::RUN make: exit code 2%0Acc -o app app.c%0Amake: *** [app] Error 1�␛[2J
        ::warning title=rebuild%3A tools::`debian:1` is a tag nobody makes
        ");
        insta::assert_snapshot!(annotated(&scenario::held(), "/elsewhere"), @r"
        ::error title=webapp-base%3A build failed::RUN make: exit code 2%0Acc -o app app.c%0Amake: *** [app] Error 1�␛[2J
        ::warning title=rebuild%3A tools::`debian:1` is a tag nobody makes
        ::warning title=rebuild%3A tools::attempt 1 of 3 failed: `RUN make` ended with exit code 2
        ::warning title=rebuild%3A tools::failed once and then succeeded: `RUN make` ended with exit code 2
        ");
    }

    #[test]
    fn nothing_that_a_build_says_is_a_command() {
        let text = "x%\n::set-output name=a::b\r\n::error::c\u{1b}[2J,d:e";
        let all = annotated(&scenario::hostile(text.as_bytes()), "/");
        assert!(
            all.lines().all(|line| line.starts_with("::error ") || line.starts_with("::warning "))
        );
        assert!(
            !all.contains("::set-output") && !all.contains('\u{1b}') && all.contains("x%25"),
            "{all}"
        );
    }
}
