//! What an image was built from, carried by the image itself in its labels.

use std::collections::BTreeMap;

use super::{Fingerprint, Inputs, Parents};

/// Every label of ours begins with this. They are left aside when two images are compared.
pub const LABEL_PREFIX: &str = "rebuild.";
const NODE: &str = "rebuild.node";
const FINGERPRINT: &str = "rebuild.fingerprint";
const INPUTS: &str = "rebuild.inputs";
const PARENTS: &str = "rebuild.parents";

/// The record that explains, later and elsewhere, why an image is out of date.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BuiltFrom {
    pub fingerprint: Fingerprint,
    pub inputs: Inputs,
    pub parents: Parents,
}

impl BuiltFrom {
    pub fn new(inputs: Inputs, parents: Parents) -> Self {
        Self { fingerprint: inputs.fingerprint(&parents), inputs, parents }
    }

    /// As labels of the image. Equal inputs give equal labels, or the layer cache would miss.
    pub fn to_labels(&self, node: &str) -> BTreeMap<String, String> {
        let json = |value| serde_json::to_string(value).expect("plain data is always JSON");
        BTreeMap::from([
            (NODE.to_owned(), node.to_owned()),
            (FINGERPRINT.to_owned(), self.fingerprint.to_string()),
            (INPUTS.to_owned(), json(&serde_json::json!(self.inputs))),
            (PARENTS.to_owned(), json(&serde_json::json!(self.parents))),
        ])
    }

    /// `None` if the image was not built by us, or by a version whose record we cannot read.
    pub fn from_labels(labels: &BTreeMap<String, String>) -> Option<Self> {
        let inputs = serde_json::from_str(labels.get(INPUTS)?).ok()?;
        let parents = serde_json::from_str(labels.get(PARENTS)?).ok()?;
        let fingerprint = Fingerprint(format!("sha256:{}", labels.get(FINGERPRINT)?).parse().ok()?);
        Some(Self { fingerprint, inputs, parents })
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
        let record = BuiltFrom::new(inputs, [("os-base".into(), Digest::of(b"os"))].into());
        let labels = record.to_labels("app");
        assert_eq!(BuiltFrom::from_labels(&labels), Some(record));
        assert!(labels.keys().all(|label| label.starts_with(LABEL_PREFIX)));
        assert_eq!(BuiltFrom::from_labels(&BTreeMap::new()), None);
    }
}
