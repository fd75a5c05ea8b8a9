//! Which base each image of a registry is based on, and how far that base is behind. Pure: facts in, findings out.
//!
//! **Invariant:** a statement needs evidence: annotations or labels of the image, or the layers of a known base. Without it
//! the base is unknown.

mod base;
mod evidence;
mod line;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;

pub use self::base::{BaseHistory, BaseMove, KnownBase};
use self::{evidence::identified, line::standing};
use crate::image::{Digest, Platform, Repository, Tag};

/// <https://github.com/opencontainers/image-spec/blob/v1.1.0/annotations.md>: labels of the configuration, or annotations of
/// the manifest.
pub const BASE_NAME: &str = "org.opencontainers.image.base.name";
pub const BASE_DIGEST: &str = "org.opencontainers.image.base.digest";
/// Where owners are, in this order.
const OWNERS: [&str; 2] = ["org.opencontainers.image.vendor", "org.opencontainers.image.authors"];

/// An image of one platform.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ImageFacts {
    /// The digests of the unpacked layers, the base's first.
    pub layers: Vec<Digest>,
    pub labels: BTreeMap<String, String>,
    /// Of the manifest.
    pub annotations: BTreeMap<String, String>,
    pub created: Option<Timestamp>,
}

/// An image to audit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FleetImage {
    pub repository: Repository,
    pub tags: Vec<Tag>,
    /// What the tags point at.
    pub digest: Digest,
    /// For an image of an index.
    pub platform: Option<Platform>,
    /// The digests of the image itself: its manifest, and the index of it.
    pub digests: BTreeSet<Digest>,
    /// Whether its repository has the build tag of its fingerprint.
    pub is_built_here: bool,
    pub facts: ImageFacts,
}

/// What is known about an image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditFinding {
    pub repository: Repository,
    pub tags: Vec<Tag>,
    pub digest: Digest,
    pub platform: Option<Platform>,
    pub owner: Option<String>,
    /// `None`: it has no base, or that is unknown, for the reason in `why`.
    pub base: Option<FoundBase>,
    pub why: Option<NoBase>,
}

/// The base of an image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FoundBase {
    /// `registry.example.com/base/os-base:12`, or the repository if the tag is not known.
    pub name: String,
    /// `None` if only the name is known.
    pub digest: Option<Digest>,
    pub evidence: BaseEvidence,
    pub standing: Standing,
}

/// How the base was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum BaseEvidence {
    Annotation,
    Label,
    /// The image has the labels of that base, because it inherited them.
    InheritedLabels,
    /// The image begins with the layers of that base.
    Layers,
}

/// Whether the base is the one that its tag points at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    Current,
    Behind {
        /// The versions that were published after it; `None` if that is not known.
        versions: Option<usize>,
        /// From the time of this version to that of the newest one.
        days: Option<i64>,
        /// What the tag points at now.
        newest: Digest,
    },
    /// It is newer than what the tag points at: it was rolled back, or never promoted.
    NotPublished,
    /// The newest version is not known.
    Unchecked(Unchecked),
}

/// Why a base cannot be compared with its newest version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Unchecked {
    /// The audit did not read its repository.
    NotRead,
    /// No moving tag of its version is known.
    NoTag,
    /// The label names no digest.
    NoDigest,
}

/// Why no base is known for an image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NoBase {
    /// `rebuild` built it `FROM scratch`.
    FromScratch,
    /// It has no label, and does not begin with the layers of a known base.
    NoEvidence,
    /// Several bases have these layers.
    Several(Vec<String>),
    /// Its labels are inherited from an image of this node, which was not found.
    LabelsOf(String),
}

/// The result.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Audit {
    /// Images whose base is behind first, the oldest base first.
    pub findings: Vec<AuditFinding>,
    /// Images that could not be read, and why.
    pub unread: Vec<(String, String)>,
}

/// The number of images by the state of their bases.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct AuditCounts {
    pub images: usize,
    pub current: usize,
    pub behind: usize,
    pub not_published: usize,
    pub unchecked: usize,
    pub from_scratch: usize,
    pub unknown: usize,
}

/// Decides for each image.
pub fn audit(images: &[FleetImage], bases: &BaseHistory, owner_label: Option<&str>) -> Audit {
    let mut findings: Vec<AuditFinding> =
        images.iter().map(|image| finding(image, bases, owner_label)).collect();
    findings.sort_by_cached_key(|finding| {
        (rank(finding), finding.repository.clone(), finding.tags.clone())
    });
    Audit { findings, unread: Vec::new() }
}

fn finding(image: &FleetImage, bases: &BaseHistory, owner_label: Option<&str>) -> AuditFinding {
    let (base, why) = match identified(image, bases) {
        Ok(found) => (Some(found), None),
        Err(why) => (None, Some(why)),
    };
    let known = base.as_ref().and_then(|found| found.known);
    let inherited = |label: &str, value: &String| {
        known.is_some_and(|known| known.facts.labels.get(label) == Some(value))
    };
    let own = |label: &&str| {
        let facts = &image.facts;
        let value = facts.annotations.get(*label).or_else(|| facts.labels.get(*label))?;
        Some(value.trim().to_owned()).filter(|own| !own.is_empty() && !inherited(label, value))
    };
    let owner = match owner_label {
        Some(label) => own(&label),
        None => OWNERS.iter().find_map(own),
    };
    AuditFinding {
        repository: image.repository.clone(),
        tags: image.tags.clone(),
        digest: image.digest.clone(),
        platform: image.platform.clone(),
        owner,
        base: base.map(|found| {
            let (name, standing) = standing(&found, bases);
            FoundBase { name, digest: found.digest.clone(), evidence: found.evidence, standing }
        }),
        why,
    }
}

/// Behind first, and of those the oldest.
fn rank(finding: &AuditFinding) -> (u8, i64, usize) {
    match finding.base.as_ref().map(|base| &base.standing) {
        Some(Standing::Behind { versions, days, .. }) => {
            (0, -days.unwrap_or(0), usize::MAX - versions.unwrap_or(0))
        }
        Some(Standing::NotPublished) => (1, 0, 0),
        None if finding.is_from_scratch() => (5, 0, 0),
        None => (2, 0, 0),
        Some(Standing::Unchecked(_)) => (3, 0, 0),
        Some(Standing::Current) => (4, 0, 0),
    }
}

impl Audit {
    pub fn counts(&self) -> AuditCounts {
        let mut counts = AuditCounts { images: self.findings.len(), ..AuditCounts::default() };
        for finding in &self.findings {
            *match finding.base.as_ref().map(|base| &base.standing) {
                None if finding.is_from_scratch() => &mut counts.from_scratch,
                None => &mut counts.unknown,
                Some(Standing::Current) => &mut counts.current,
                Some(Standing::Behind { .. }) => &mut counts.behind,
                Some(Standing::NotPublished) => &mut counts.not_published,
                Some(Standing::Unchecked(_)) => &mut counts.unchecked,
            } += 1;
        }
        counts
    }
}

impl AuditFinding {
    pub fn is_from_scratch(&self) -> bool {
        self.why == Some(NoBase::FromScratch)
    }

    /// `registry.example.com/team/app:1.4`; without a tag, by digest.
    pub fn name(&self) -> String {
        match self.tags.first() {
            Some(tag) => format!("{}:{tag}", self.repository),
            None => format!("{}@{}", self.repository, self.digest),
        }
    }
}
