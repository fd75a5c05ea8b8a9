//! Inputs of later builds whose result was the published image.
//!
//! If a build's result equals the published image, no other image is stored, so the labels contain the older
//! inputs. A note beside the images contains the newer ones. It only explains why an image is out of date,
//! and decides nothing: a missing or damaged note counts as empty.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::BuiltFrom;
use crate::image::Digest;

/// The maximal number of entries in the note of a node: `main` and some branches share it.
const KEPT: usize = 4;

/// The newest first.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TakenIn(Vec<TakenInEntry>);

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct TakenInEntry {
    image: Digest,
    /// The labels that an image of these inputs would have.
    labels: BTreeMap<String, String>,
}

impl TakenIn {
    /// Parses the text of [`written`](Self::written).
    pub fn read(text: &[u8]) -> Self {
        serde_json::from_slice(text).unwrap_or_default()
    }

    pub fn written(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("plain data is always JSON")
    }

    /// Adds inputs whose build resulted in this image.
    pub fn add(&mut self, image: &Digest, (node, record): (&str, &BuiltFrom)) {
        self.0.retain(|entry| entry.image == *image);
        self.0.insert(0, TakenInEntry { image: image.clone(), labels: record.to_labels(node) });
        self.0.truncate(KEPT);
    }

    /// The inputs whose build resulted in this image, the newest first.
    pub fn of(&self, image: &Digest) -> Vec<BuiltFrom> {
        let entries = self.0.iter().filter(|entry| entry.image == *image);
        entries.filter_map(|entry| BuiltFrom::from_labels(&entry.labels)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fingerprint::{Inputs, Parents};

    fn record(dockerfile: &str) -> BuiltFrom {
        let digest = Digest::of(b"");
        let inputs = Inputs {
            dockerfile: Digest::of(dockerfile.as_bytes()),
            context: digest.clone(),
            settings: digest.clone(),
            tests: digest,
            platform: "linux/amd64".parse().unwrap(),
            upstreams: BTreeMap::new(),
            epoch: None,
        };
        BuiltFrom::new(inputs, Parents::new())
    }

    #[test]
    fn the_newest_inputs_of_an_image_come_first() {
        let (old, new) = (Digest::of(b"old"), Digest::of(b"new"));
        let mut taken_in = TakenIn::default();
        taken_in.add(&old, ("os", &record("0")));
        for text in ["1", "2", "3", "4", "5"] {
            taken_in.add(&new, ("os", &record(text)));
        }
        assert_eq!(taken_in.of(&old), []);
        assert_eq!(taken_in.of(&new), ["5", "4", "3", "2"].map(record));
        let written = taken_in.written();
        assert_eq!(TakenIn::read(&written), taken_in);
        for length in 0..written.len() {
            assert_eq!(TakenIn::read(&written[..length]), TakenIn::default());
        }
    }
}
