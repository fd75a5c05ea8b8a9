//! The labels of an image: the user's labels, its base, the source of its files, and its inputs.
//!
//! The names that do not begin with `rebuild.` are those of the OCI image specification:
//! <https://github.com/opencontainers/image-spec/blob/v1.1.0/annotations.md>.

use std::collections::BTreeMap;

use super::{bases::Pinned, step::Work, trouble::Trouble};
use crate::{
    engine::Engine,
    fingerprint::{BuiltFrom, LABEL_PREFIX},
    hierarchy::{Flatten, Node, TagValues},
    image::Digest,
    publish::store::{BUILT_BY, HIERARCHY, HierarchyId, Store},
};

/// The base of a node's image.
pub(super) const BASE_NAME: &str = "org.opencontainers.image.base.name";
pub(super) const BASE_DIGEST: &str = "org.opencontainers.image.base.digest";
/// The `flatten` of the node, if it is set.
pub(super) const FLATTEN: &str = "rebuild.flatten";
/// The annotations and attestations of the node, if it has any: a digest of them.
pub(super) const BESIDE: &str = "rebuild.beside";
const CREATED: &str = "org.opencontainers.image.created";
const REVISION: &str = "org.opencontainers.image.revision";
const SOURCE: &str = "org.opencontainers.image.source";
const VERSION: &str = "org.opencontainers.image.version";

/// The source of a run's files.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Origin {
    /// The checked-out commit, followed by `-dirty` if files in the hierarchy's folder differ.
    pub commit: Option<String>,
    /// The commit time in RFC 3339. The time of the build would make another image of the same inputs.
    pub committed: Option<String>,
    /// The repository's address, without credentials.
    pub source: Option<String>,
    pub tag_values: Option<TagValues>,
    pub hierarchy: HierarchyId,
}

impl<E: Engine, S: Store> Work<'_, E, S> {
    /// An image inherits the labels of its base. So a label without a value is set to the empty text if the
    /// base has it, and otherwise left out.
    pub(super) async fn labels(
        &self,
        pinned: &Pinned,
        record: &BuiltFrom,
    ) -> Result<BTreeMap<String, String>, Trouble> {
        let node = self.node();
        let mut labels = record.to_labels(node.name.as_str());
        let (name, digest) = match &pinned.base {
            Some((name, digest, _)) => (name.clone(), digest.to_string()),
            None => Default::default(),
        };
        labels.insert(BASE_NAME.to_owned(), name);
        labels.insert(BASE_DIGEST.to_owned(), digest);
        labels.insert(BUILT_BY.to_owned(), self.shop.run.id.clone());
        let hierarchy = self.shop.origin.hierarchy.label(node.file_labels);
        labels.insert(HIERARCHY.to_owned(), hierarchy);
        let flatten = if node.flatten == Flatten::No { "" } else { node.flatten.as_str() };
        labels.insert(FLATTEN.to_owned(), flatten.to_owned());
        let beside = node.settings.beside();
        let beside = if beside.is_empty() {
            String::new()
        } else {
            Digest::of(format!("{beside:?}").as_bytes()).short().to_owned()
        };
        labels.insert(BESIDE.to_owned(), beside);
        let origin = &self.shop.origin;
        for (label, value) in [
            (CREATED, origin.committed.clone()),
            (REVISION, origin.commit.clone()),
            (SOURCE, origin.source.clone()),
            (VERSION, version(node, origin, record)),
        ] {
            if !is_set_by_user(node, label) {
                labels.insert(label.to_owned(), value.unwrap_or_default());
            }
        }
        if labels.values().any(String::is_empty) {
            let inherited = match &pinned.base {
                Some((_, _, base)) => self.base(base).await?.labels.clone(),
                None => BTreeMap::new(),
            };
            let says = |label: &String| inherited.get(label).is_some_and(|value| !value.is_empty());
            labels.retain(|label, value| !value.is_empty() || says(label));
        }
        labels.extend(node.labels.clone());
        Ok(labels)
    }
}

/// The first tag with a placeholder; else the first tag that is not `latest`; else `latest`, so that an image
/// does not inherit the version of its base.
fn version(node: &Node, origin: &Origin, record: &BuiltFrom) -> Option<String> {
    let unique = node.tags.iter().find(|tag| !tag.is_stable());
    let other = || node.tags.iter().find(|tag| tag.as_str() != "latest");
    let tag = unique.or_else(other).or(node.tags.first())?;
    let values = origin.tag_values.as_ref()?;
    tag.expand(values, node.name.image(), record.fingerprint.hex()).ok().map(|tag| tag.to_string())
}

fn is_set_by_user(node: &Node, label: &str) -> bool {
    node.labels.contains_key(label) || node.dockerfile.sets_label(label)
}

/// Whether a label describes the build of this node's image, not its content.
pub(super) fn is_of_the_build(node: &Node, label: &str) -> bool {
    label.starts_with(LABEL_PREFIX)
        || label == BASE_NAME
        || label == BASE_DIGEST
        || [CREATED, REVISION, SOURCE, VERSION].contains(&label) && !is_set_by_user(node, label)
}
