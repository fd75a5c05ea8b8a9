//! What init was unsure of, one line each, with what to look at.

use std::{collections::BTreeMap, path::PathBuf};

use super::{
    candidate::Candidate,
    matching::{Doubt, DoubtKind},
};
use crate::{diagnostic::names, hierarchy::Unreadable};

/// So many of one kind are named.
const SHOWN: usize = 3;

/// Doubts about one repository are one line.
pub(super) fn lines(doubts: &[Doubt], candidates: &[Candidate]) -> Vec<String> {
    let mut groups: BTreeMap<(DoubtKind, &str), Vec<&Doubt>> = BTreeMap::new();
    for doubt in doubts {
        groups.entry((doubt.kind, &doubt.about)).or_default().push(doubt);
    }
    groups.into_iter().map(|((kind, _), doubts)| line(kind, &doubts, candidates)).collect()
}

/// Dockerfiles that cannot be read, those of one fault in one line.
pub(super) fn left_out(all: &[(PathBuf, Unreadable)]) -> Vec<String> {
    let mut groups: BTreeMap<(&str, &Option<String>), Vec<String>> = BTreeMap::new();
    for (path, error) in all {
        let place = format!("{}:{}", path.display(), error.line);
        groups.entry((&error.message, &error.hint)).or_default().push(place);
    }
    let line = |((message, hint), places): ((&str, &Option<String>), Vec<String>)| {
        let hint = hint.as_ref().map(|hint| format!("; {hint}")).unwrap_or_default();
        format!("{}: {message}{hint}", names(&places, SHOWN))
    };
    groups.into_iter().map(line).collect()
}

fn line(kind: DoubtKind, doubts: &[&Doubt], candidates: &[Candidate]) -> String {
    let images: Vec<&str> = doubts.iter().map(|doubt| doubt.image.as_str()).collect();
    let images = names(&images, SHOWN);
    let mut makers: Vec<String> = doubts
        .iter()
        .filter_map(|doubt| Some(candidates[doubt.candidate?].dockerfile.display().to_string()))
        .collect();
    makers.dedup();
    let makers = names(&makers, SHOWN);
    let (is, it) = if doubts.len() == 1 { ("is", "its") } else { ("are", "their") };
    match kind {
        DoubtKind::OneOfSeveral => {
            format!("{images}: others may make {it} tag as well as {makers}; check `tags`")
        }
        DoubtKind::Guessed => {
            format!(
                "{images} {is} taken for {makers}, which does not say all of {it} tag; check `tags`"
            )
        }
        DoubtKind::MayBeHub => {
            format!("{images} {is} taken for {makers}, and not for Docker Hub's")
        }
        DoubtKind::NobodyMakes => {
            format!(
                "{images} {is} taken for an upstream: no Dockerfile here seems to make {it} tag"
            )
        }
        DoubtKind::Ring => {
            format!("{images} {is} taken for an upstream: {makers} would stand on itself")
        }
    }
}
