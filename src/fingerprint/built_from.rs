//! The record of an image's inputs in its labels.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::{Detail, Fingerprint, Inputs, Parents};
use crate::hierarchy::NodeName;

/// The prefix of all labels of `rebuild`. Comparisons of two images ignore them.
pub const LABEL_PREFIX: &str = "rebuild.";
pub const NODE: &str = "rebuild.node";
const FINGERPRINT: &str = "rebuild.fingerprint";
const INPUTS: &str = "rebuild.inputs";
const PARENTS: &str = "rebuild.parents";
const FILES: &str = "rebuild.files";
const SETTINGS: &str = "rebuild.settings";
const CAUSE: &str = "rebuild.cause";
const REVISION: &str = "rebuild.revision";
const COMMITTED: &str = "rebuild.committed";

/// The node of an image that `rebuild` built.
pub fn node_of(labels: &BTreeMap<String, String>) -> Option<NodeName> {
    labels.get(NODE).filter(|name| !name.is_empty()).map(|name| NodeName::from(name.as_str()))
}

/// The inputs of an image, with which later runs on any machine explain why it is out of date.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BuiltFrom {
    pub fingerprint: Fingerprint,
    pub inputs: Inputs,
    pub parents: Parents,
    /// `None` if the label is missing.
    pub detail: Option<Detail>,
    /// Why it was built, as a sentence; empty if the label is missing.
    pub cause: String,
    /// The commit of its files; `None` if the label is missing, or if the files matched no commit.
    pub revision: Option<Revision>,
}

/// A commit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Revision {
    /// The full hash.
    pub commit: String,
    /// The commit time; `None` if the label is missing.
    pub committed: Option<Timestamp>,
}

impl BuiltFrom {
    pub fn new(inputs: Inputs, parents: Parents) -> Self {
        let fingerprint = inputs.fingerprint(&parents);
        Self { fingerprint, inputs, parents, detail: None, cause: String::new(), revision: None }
    }

    /// Whether the same inputs have another fingerprint today: the image was built by a version of this
    /// program that encoded them differently.
    pub fn has_old_format(&self) -> bool {
        self.fingerprint != self.inputs.fingerprint(&self.parents)
    }

    /// The labels of the image. Equal inputs give equal labels except cause, revision and the paths of the entry.
    /// Therefore comparisons ignore these labels.
    ///
    /// All labels are always set: an image inherits the labels of its base, and would otherwise have values
    /// of the base.
    pub fn to_labels(&self, node: &str) -> BTreeMap<String, String> {
        let json = |value: serde_json::Value| value.to_string();
        let (files, settings) = match &self.detail {
            Some(detail) => {
                (json(serde_json::json!(detail.files)), json(serde_json::json!(detail.settings)))
            }
            None => (String::new(), String::new()),
        };
        let (commit, committed) = match &self.revision {
            Some(Revision { commit, committed }) => (commit.clone(), *committed),
            None => (String::new(), None),
        };
        BTreeMap::from([
            (NODE.to_owned(), node.to_owned()),
            (FINGERPRINT.to_owned(), self.fingerprint.to_string()),
            (INPUTS.to_owned(), json(serde_json::json!(self.inputs))),
            (PARENTS.to_owned(), json(serde_json::json!(self.parents))),
            (FILES.to_owned(), files),
            (SETTINGS.to_owned(), settings),
            (CAUSE.to_owned(), self.cause.clone()),
            (REVISION.to_owned(), commit),
            (COMMITTED.to_owned(), committed.map_or(String::new(), |at| at.to_string())),
        ])
    }

    /// `None` if `rebuild` did not build the image, or a version with an unknown format did.
    pub fn from_labels(labels: &BTreeMap<String, String>) -> Option<Self> {
        let inputs = serde_json::from_str(labels.get(INPUTS)?).ok()?;
        let parents = serde_json::from_str(labels.get(PARENTS)?).ok()?;
        let fingerprint = Fingerprint(format!("sha256:{}", labels.get(FINGERPRINT)?).parse().ok()?);
        let detail = labels.get(FILES).zip(labels.get(SETTINGS)).and_then(|(files, settings)| {
            let files = serde_json::from_str(files).ok()?;
            Some(Detail { files, settings: serde_json::from_str(settings).ok()? })
        });
        let cause = labels.get(CAUSE).cloned().unwrap_or_default();
        let committed = labels.get(COMMITTED).and_then(|at| at.parse().ok());
        let commit = labels.get(REVISION).filter(|commit| !commit.is_empty()).cloned();
        let revision = commit.map(|commit| Revision { commit, committed });
        Some(Self { fingerprint, inputs, parents, detail, cause, revision })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::Digest;

    #[test]
    fn an_image_says_what_it_was_built_from() {
        let inputs = Inputs {
            dockerfile: Digest::of(b"FROM scratch"),
            context: Digest::of(b""),
            settings: Digest::of(b"{}"),
            tests: Digest::of(b"[]"),
            platform: "linux/arm/v7".parse().unwrap(),
            upstreams: [("debian:12".to_owned(), Digest::of(b"12"))].into(),
            epoch: None,
        };
        let mut record = BuiltFrom::new(inputs, [("os-base".into(), Digest::of(b"os"))].into());
        let settings = [("target".to_owned(), "01234567".to_owned())].into();
        for detail in [None, Some(Detail { settings, ..Detail::default() })] {
            record.detail = detail;
            record.cause.push_str("`files/x` of `os-base` changed");
            let revision = |committed| Revision { commit: "0123abcd".to_owned(), committed };
            record.revision =
                record.detail.is_some().then(|| revision(Some(Timestamp::UNIX_EPOCH)));
            let labels = record.to_labels("app");
            assert_eq!(BuiltFrom::from_labels(&labels), Some(record.clone()));
            assert!(labels.keys().all(|label| label.starts_with(LABEL_PREFIX)));
            assert_eq!(labels.len(), 9);
        }
        assert_eq!(BuiltFrom::from_labels(&BTreeMap::new()), None);
    }
}
