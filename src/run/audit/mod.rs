//! Reads what an audit needs from registries, and decides: `rebuild audit`, and the fleet page of the server.
//!
//! **Invariant:** it only reads, and only the audited registry and the repositories of bases.

mod bases;
mod images;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::atomic::{AtomicUsize, Ordering},
};

use self::{
    bases::BaseReader,
    images::{ImageReader, ReadImage},
};
use crate::{
    audit::{self, Audit, BASE_DIGEST, BASE_NAME, BaseHistory, BaseMove, FleetImage},
    fingerprint::node_of,
    hierarchy::NodeName,
    image::{Digest, Reference, Repository, Tag},
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
    let labelled = images.iter().filter_map(named_base).filter(|one| Some(one.host()) == host);
    let mut found: BTreeSet<Repository> = labelled.chain(givers(&images)).collect();
    if let Fleet::Registry { host, .. } = &request.fleet {
        found.extend(of_nodes(client, host, &nodes_elsewhere(&images, request)).await);
    }
    for repository in found {
        if !bases.keys().any(|base| base.is_same(&repository)) {
            bases.insert(repository, None);
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

/// The repositories of images with the same labels and fewer layers: `docker build` copied their labels.
fn givers(images: &[ReadImage]) -> BTreeSet<Repository> {
    let key = |image: &ReadImage| image.facts.labels.get(BASE_DIGEST).cloned();
    let labelled = || images.iter().filter_map(|image| Some((key(image)?, image)));
    let of_layers: HashMap<(String, &[Digest]), &ReadImage> =
        labelled().map(|(base, image)| ((base, &*image.facts.layers), image)).collect();
    let givers = labelled().flat_map(|(base, image)| {
        let layers = &image.facts.layers;
        let of_layers = &of_layers;
        (1..layers.len()).filter_map(move |n| of_layers.get(&(base.clone(), &layers[..n])))
    });
    givers.map(|giver| giver.repository.clone()).collect()
}

/// The nodes in the labels of images that may have inherited these labels.
fn nodes_elsewhere(images: &[ReadImage], request: &AuditRequest) -> BTreeSet<NodeName> {
    let others = images.iter().filter(|image| !image.is_built_here);
    let labelled = others.filter_map(|image| Some((image, node_of(&image.facts.labels)?)));
    let is_elsewhere = |(image, node): &(&ReadImage, NodeName)| {
        !request.nodes.contains_key(&(image.repository.clone(), node.to_string()))
    };
    labelled.filter(is_elsewhere).map(|(_, node)| node).collect()
}

/// The repositories of a registry with the names of these nodes. Without its list, none.
async fn of_nodes(client: &Client, host: &str, nodes: &BTreeSet<NodeName>) -> Vec<Repository> {
    if nodes.is_empty() {
        return Vec::new();
    }
    let all = client.repositories(host, None).await.unwrap_or_default();
    let is_named = |one: &Repository| {
        one.as_str().rsplit('/').next().is_some_and(|name| nodes.contains(&NodeName::from(name)))
    };
    all.into_iter().filter(is_named).collect()
}

fn fleet_image(image: ReadImage) -> FleetImage {
    let ReadImage { repository, tags, version, platform, digests, is_built_here, facts } = image;
    FleetImage {
        repository,
        tags: tags.into_iter().collect(),
        digest: version,
        platform,
        digests,
        is_built_here,
        facts: (*facts).clone(),
    }
}
