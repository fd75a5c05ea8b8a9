//! `rebuild audit`: images and their bases, for people, for programs, and as a page.

mod csv;
mod html;
mod json;
mod text;

use std::collections::BTreeMap;

use jiff::Timestamp;

pub use self::{csv::csv, html::page, json::json, text::text};
use super::numbers::count;
use crate::audit::{Audit, AuditFinding, FoundBase, NoBase, Standing, Unchecked};

/// The audit to print.
#[derive(Clone, Copy, Debug)]
pub struct AuditView<'a> {
    pub audit: &'a Audit,
    /// The registry, or the file with the list.
    pub place: &'a str,
    /// Whether the text lists images with a current base.
    pub all: bool,
    pub at: Timestamp,
}

/// The images that are based on one base.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct BaseCount {
    images: usize,
    behind: usize,
    /// The most days that one of them is behind.
    days: Option<i64>,
}

impl AuditView<'_> {
    /// By the repository of the base, those with the most outdated images first.
    fn bases(&self) -> Vec<(&str, BaseCount)> {
        let mut bases: BTreeMap<&str, BaseCount> = BTreeMap::new();
        for finding in &self.audit.findings {
            let Some(base) = &finding.base else { continue };
            let counted = bases.entry(repository_of(&base.name)).or_default();
            counted.images += 1;
            if let Standing::Behind { days, .. } = base.standing {
                counted.behind += 1;
                counted.days = counted.days.max(days);
            }
        }
        let mut bases: Vec<(&str, BaseCount)> = bases.into_iter().collect();
        bases.sort_by_key(|(_, counted)| std::cmp::Reverse(counted.behind));
        bases
    }

    /// `12 of 300 images are based on an outdated base`.
    fn total(&self) -> String {
        let counts = self.audit.counts();
        let images = count(counts.images, "image");
        let mut parts = vec![match counts.behind {
            0 => format!("none of {images} is based on an outdated base"),
            1 => format!("1 of {images} is based on an outdated base"),
            n => format!("{n} of {images} are based on an outdated base"),
        }];
        for (n, what) in [
            (counts.unknown, "with an unknown base"),
            (counts.unchecked, "not checked"),
            (counts.not_published, "on a base that is not published"),
            (self.audit.unread.len(), "not read"),
        ] {
            if n > 0 {
                parts.push(format!("{n} {what}"));
            }
        }
        parts.join(", ")
    }
}

/// The name without tag and digest: versions of one image have several names.
fn repository_of(name: &str) -> &str {
    let tagged = name.split_once('@').map_or(name, |(tagged, _)| tagged);
    match tagged.rsplit_once(':') {
        Some((repository, tag)) if repository.contains('/') && !tag.contains('/') => repository,
        _ => tagged,
    }
}

/// `3 versions, 12 days behind`.
fn state(finding: &AuditFinding) -> String {
    match finding.base.as_ref().map(|base| &base.standing) {
        None => match &finding.why {
            Some(NoBase::FromScratch) => "FROM scratch".to_owned(),
            Some(NoBase::Several(names)) => {
                format!("base unknown: {} have the same layers", names.join(" and "))
            }
            Some(NoBase::LabelsOf(node)) => {
                format!(
                    "base unknown: the labels are of `{node}`; name its repository with `--base`"
                )
            }
            _ => "base unknown".to_owned(),
        },
        Some(Standing::Current) => "current".to_owned(),
        Some(Standing::Behind { versions, days, .. }) => {
            let versions = versions.map(|n| count(n, "version"));
            let days = days.map(in_days);
            let parts: Vec<String> = versions.into_iter().chain(days).collect();
            if parts.is_empty() { "behind".to_owned() } else { parts.join(", ") + " behind" }
        }
        Some(Standing::NotPublished) => {
            "newer than the published base: rolled back, or not promoted".to_owned()
        }
        Some(Standing::Unchecked(why)) => match why {
            Unchecked::NotRead => "not checked: `--base` names its repository".to_owned(),
            Unchecked::NoTag => "not checked: no moving tag of it is known".to_owned(),
            Unchecked::NoDigest => "not checked: its label has no digest".to_owned(),
        },
    }
}

fn in_days(days: i64) -> String {
    match usize::try_from(days) {
        Ok(0) | Err(_) => "less than a day".to_owned(),
        Ok(days) => count(days, "day"),
    }
}

/// `current`, `behind`, …: a word for programs and style sheets.
fn word(finding: &AuditFinding) -> &'static str {
    match finding.base.as_ref().map(|base| &base.standing) {
        None if finding.is_from_scratch() => "from-scratch",
        None => "unknown",
        Some(Standing::Current) => "current",
        Some(Standing::Behind { .. }) => "behind",
        Some(Standing::NotPublished) => "not-published",
        Some(Standing::Unchecked(_)) => "unchecked",
    }
}

/// Whether there is nothing to say about its base.
fn is_fine(finding: &AuditFinding) -> bool {
    ["current", "from-scratch"].contains(&word(finding))
}

/// The versions and days that it is behind.
fn behind(base: &FoundBase) -> (Option<usize>, Option<i64>) {
    match base.standing {
        Standing::Current => (Some(0), Some(0)),
        Standing::Behind { versions, days, .. } => (versions, days),
        Standing::NotPublished | Standing::Unchecked(_) => (None, None),
    }
}

#[cfg(test)]
mod tests;
