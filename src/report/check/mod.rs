//! `rebuild check`: problems of a hierarchy, for people, for programs and for code review.

mod github;
mod json;
mod sarif;
mod text;

use std::path::Path;

pub use self::{github::github, json::json, sarif::sarif, text::text};
use super::numbers::count;
use crate::{
    check::diagnostic::{Diagnostic, Severity},
    hierarchy::CheckedHierarchy,
};

/// What is told of what was found.
#[derive(Clone, Copy, Debug)]
pub struct Findings<'a> {
    pub checked: &'a CheckedHierarchy,
    /// What is less bad is only counted.
    pub least: Severity,
    /// Of the repository: paths for programs are relative to it.
    pub root: &'a Path,
}

/// Where a problem is, counted from 1, the end behind the last character.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Region {
    line: usize,
    column: usize,
    end_line: usize,
    end_column: usize,
}

impl<'a> Findings<'a> {
    fn shown(&self) -> impl Iterator<Item = &'a Diagnostic> {
        let least = self.least;
        self.checked.problems.iter().filter(move |problem| problem.severity >= least)
    }

    fn of(&self, severity: Severity) -> impl Iterator<Item = &'a Diagnostic> {
        self.checked.problems.iter().filter(move |problem| problem.severity == severity)
    }

    /// The file of a problem, relative to the repository if it is in there.
    fn file(&self, problem: &Diagnostic) -> Option<String> {
        let excerpt = problem.excerpts.first().map(|excerpt| excerpt.source.path.as_path());
        let path = excerpt.or(problem.file.as_deref())?;
        let path = path.strip_prefix(self.root).unwrap_or(path);
        Some(path.to_string_lossy().into_owned())
    }

    /// `1 error, 2 warnings at 5 places in 8 images (1 ignored, 3 notes not shown: …)`. It counts what the text
    /// shows: problems with the same words once.
    fn summary(&self) -> String {
        let severities = [Severity::Error, Severity::Warning, Severity::Note];
        let counted =
            severities.map(|severity| (severity, Diagnostic::grouped(self.of(severity)).len()));
        let printed = Diagnostic::grouped(self.shown()).len();
        let places = match self.shown().count() {
            places if places == printed => String::new(),
            places => format!(" at {places} places"),
        };
        let told = |is_shown: bool| {
            let parts = counted
                .iter()
                .filter(|(severity, n)| *n > 0 && (*severity >= self.least) == is_shown);
            parts.map(|(severity, n)| count(*n, &severity.to_string())).collect::<Vec<_>>()
        };
        let (shown, hidden) = (told(true).join(", "), told(false));
        let mut asides = Vec::new();
        if self.checked.ignored > 0 {
            asides.push(format!("{} ignored", self.checked.ignored));
        }
        if let Some(last) = hidden.last() {
            let word = last.split(' ').next_back().unwrap_or_default().trim_end_matches('s');
            asides.push(format!("{} not shown: `--severity {word}`", hidden.join(" and ")));
        }
        let what = if shown.is_empty() { "no problems".to_owned() } else { shown };
        // A broken file has none.
        let images = match self.checked.images {
            0 => String::new(),
            images => format!(" in {}", count(images, "image")),
        };
        match asides.join("; ") {
            asides if asides.is_empty() => format!("{what}{places}{images}"),
            asides => format!("{what}{places}{images} ({asides})"),
        }
    }
}

fn region(problem: &Diagnostic) -> Option<Region> {
    let excerpt = problem.excerpts.first()?;
    let span = excerpt.source.within(excerpt.labels.first()?.span.clone());
    let (line, column) = excerpt.source.position(span.start);
    let (end_line, end_column) = excerpt.source.position(span.end);
    Some(Region { line, column, end_line, end_column })
}

#[cfg(test)]
mod tests;
