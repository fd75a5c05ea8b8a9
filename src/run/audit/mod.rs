//! Reads what an audit needs from registries, and decides: `rebuild audit`, and the fleet page of the server.
//!
//! **Invariant:** it only reads, and only the audited registry and the repositories of bases.

mod bases;
mod images;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::atomic::{AtomicUsize, Ordering},
};

use self::{
    bases::BaseReader,
    images::{ImageReader, ReadImage},
};
use crate::{
    audit::{self, Audit, BASE_NAME, BaseHistory, BaseMove, FleetImage},
    image::{Reference, Repository, Tag},
    registry::{Client, RegistryError},
};

/// Which images to audit.
#[derive(Clone, Debug)]
pub enum Fleet {
    /// All of a registry, or those below a path: `registry.example.com`, `registry.example.com/team`.
    Registry { host: String, below: Option<String> },
    /// These images; a repository without tag and digest stands for all of its tags.
    Images(Vec<Reference>),
}

/// An audit to make.
#[derive(Clone, Debug)]
pub struct AuditRequest {
    pub fleet: Fleet,
    /// Repositories of bases: those of a hierarchy, and others. With a tag, all versions belong to it.
    pub bases: BTreeMap<Repository, Option<Tag>>,
    /// The moving tag of each node of a hierarchy.
    pub nodes: BTreeMap<(Repository, String), Tag>,
    /// The moves of earlier runs, the oldest first.
    pub moves: Vec<BaseMove>,
    /// Only images with one of these tags; empty for all.
    pub tags: BTreeSet<Tag>,
    pub owner_label: Option<String>,
}

/// How far an audit is.
#[derive(Debug, Default)]
pub struct AuditProgress {
    pub repositories: AtomicUsize,
    pub of_repositories: AtomicUsize,
    pub images: AtomicUsize,
}

impl AuditProgress {
    pub(self) fn add(counter: &AtomicUsize, n: usize) {
        counter.fetch_add(n, Ordering::Relaxed);
    }
}

/// Reads the images and the bases, and decides for each image.
pub async fn audit(
    client: &Client,
    request: &AuditRequest,
    progress: &AuditProgress,
) -> Result<Audit, RegistryError> {
    let reader = ImageReader::new(client, progress);
    let names = match &request.fleet {
        Fleet::Registry { host, below } => client
            .repositories(host, below.as_deref())
            .await?
            .into_iter()
            .map(|repository| Reference { repository, tag: None, digest: None })
            .collect(),
        Fleet::Images(images) => images.clone(),
    };
    let (images, mut unread) = reader.fleet(names, &request.tags).await;
    let mut bases = request.bases.clone();
    let host = match &request.fleet {
        Fleet::Registry { host, .. } => Some(host.as_str()),
        Fleet::Images(_) => None,
    };
    // A label may name a base that no other source has. Other registries are not asked.
    for named in images.iter().filter_map(named_base).filter(|one| Some(one.host()) == host) {
        if !bases.keys().any(|base| base.is_same(&named)) {
            bases.insert(named, None);
        }
    }
    let (known, not_read) = BaseReader { reader: &reader, moves: &request.moves }.read(bases).await;
    unread.extend(not_read);
    let known = BaseHistory { moves: request.moves.clone(), nodes: request.nodes.clone(), ..known };
    let images: Vec<FleetImage> = images.into_iter().map(fleet_image).collect();
    let mut audit = audit::audit(&images, &known, request.owner_label.as_deref());
    audit.unread = unread;
    Ok(audit)
}

fn named_base(image: &ReadImage) -> Option<Repository> {
    let name =
        image.facts.annotations.get(BASE_NAME).or_else(|| image.facts.labels.get(BASE_NAME))?;
    Some(name.parse::<Reference>().ok()?.repository)
}

fn fleet_image(image: ReadImage) -> FleetImage {
    let ReadImage { repository, tags, version, platform, digests, facts } = image;
    FleetImage {
        repository,
        tags: tags.into_iter().collect(),
        digest: version,
        platform,
        digests,
        facts: (*facts).clone(),
    }
}
