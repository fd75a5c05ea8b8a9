//! What `rebuild check` says beyond what makes a hierarchy invalid: it builds, and probably not as was meant.
//!
//! **Invariant:** nothing is asked but the files; and what cannot be known from them is not
//! told.

pub(super) mod arguments;
pub(super) mod copies;
mod diet;
mod dockerfiles;
mod entries;
mod image;
mod lineage;
mod packages;
mod process;
mod unused;

#[cfg(test)]
mod hadolint_tests;
#[cfg(test)]
mod tests;

use std::ops::Range;

use super::{draft::Draft, files::DockerfileRead, load::HierarchySurvey};
use crate::check::diagnostic::{Diagnostic, SourceFile};

/// Adds what there is to say.
pub(super) fn look(survey: &mut HierarchySurvey) {
    let found = [
        arguments::unused(survey),
        copies::look(survey),
        unused::dockerfiles(survey),
        dockerfiles::look(survey),
        entries::look(survey),
        lineage::look(survey),
        diet::look(survey),
    ];
    survey.problems.found.extend(found.into_iter().flatten());
}

/// The images whose files could be read.
fn read(survey: &HierarchySurvey) -> impl Iterator<Item = (&Draft, &DockerfileRead)> {
    survey
        .drafts
        .iter()
        .zip(&survey.files)
        .filter_map(|(draft, files)| Some((draft, files.as_ref()?)))
}

/// The bytes of a line, counted from 1, without white space around it.
fn line(source: &SourceFile, number: usize) -> Range<usize> {
    let start = source.offset(number, 1);
    let line = source.text[start..].lines().next().unwrap_or_default();
    let start = start + line.len() - line.trim_start().len();
    start..start + line.trim().len()
}

type Problems = Vec<Diagnostic>;
