//! For programs: see `docs/audit.md`.

use std::io::{self, Write};

use serde::Serialize;

use super::{AuditView, behind, word};
use crate::{
    audit::{AuditCounts, AuditFinding, BaseEvidence, FoundBase, NoBase, Standing},
    image::{Digest, Platform, Repository, Tag},
    report::{json, plan::VERSION},
};

#[derive(Serialize)]
struct AuditDocument<'a> {
    v: u32,
    place: &'a str,
    at: String,
    counts: AuditCounts,
    images: Vec<AuditedView<'a>>,
    bases: Vec<BaseCountView<'a>>,
    unread: Vec<UnreadView<'a>>,
}

#[derive(Serialize)]
struct AuditedView<'a> {
    repository: &'a Repository,
    tags: &'a [Tag],
    digest: &'a Digest,
    platform: Option<&'a Platform>,
    owner: Option<&'a str>,
    state: &'static str,
    base: Option<FoundBaseView<'a>>,
    candidates: Vec<&'a str>,
}

#[derive(Serialize)]
struct FoundBaseView<'a> {
    name: &'a str,
    digest: Option<&'a Digest>,
    evidence: BaseEvidence,
    versions_behind: Option<usize>,
    days_behind: Option<i64>,
    newest: Option<&'a Digest>,
    unchecked: Option<crate::audit::Unchecked>,
}

#[derive(Serialize)]
struct BaseCountView<'a> {
    name: &'a str,
    images: usize,
    behind: usize,
    days: Option<i64>,
}

#[derive(Serialize)]
struct UnreadView<'a> {
    name: &'a str,
    why: &'a str,
}

/// Writes one JSON object, the images with the oldest bases first.
pub fn json(view: AuditView<'_>, out: &mut dyn Write) -> io::Result<()> {
    let bases = view.bases().into_iter().map(|(name, counted)| BaseCountView {
        name,
        images: counted.images,
        behind: counted.behind,
        days: counted.days,
    });
    let unread = view.audit.unread.iter().map(|(name, why)| UnreadView { name, why });
    let document = AuditDocument {
        v: VERSION,
        place: view.place,
        at: json::whole_seconds(view.at),
        counts: view.audit.counts(),
        images: view.audit.findings.iter().map(finding).collect(),
        bases: bases.collect(),
        unread: unread.collect(),
    };
    json::write(&document, out)
}

fn finding(finding: &AuditFinding) -> AuditedView<'_> {
    AuditedView {
        repository: &finding.repository,
        tags: &finding.tags,
        digest: &finding.digest,
        platform: finding.platform.as_ref(),
        owner: finding.owner.as_deref(),
        state: word(finding),
        base: finding.base.as_ref().map(base),
        candidates: match &finding.why {
            Some(NoBase::Several(names)) => names.iter().map(String::as_str).collect(),
            Some(NoBase::LabelsOf(node)) => vec![node],
            Some(NoBase::NoEvidence | NoBase::FromScratch) | None => Vec::new(),
        },
    }
}

fn base(base: &FoundBase) -> FoundBaseView<'_> {
    let (versions_behind, days_behind) = behind(base);
    FoundBaseView {
        name: &base.name,
        digest: base.digest.as_ref(),
        evidence: base.evidence,
        versions_behind,
        days_behind,
        newest: match &base.standing {
            Standing::Behind { newest, .. } => Some(newest),
            Standing::Current => base.digest.as_ref(),
            Standing::NotPublished | Standing::Unchecked(_) => None,
        },
        unchecked: match base.standing {
            Standing::Unchecked(why) => Some(why),
            _ => None,
        },
    }
}
