//! The images that runs of this machine have stored in an engine, by node, and which of them are old.
//!
//! **Invariant:** a damaged list counts as empty, and then no image is old.

use std::{collections::BTreeMap, num::NonZeroUsize};

use serde::{Deserialize, Serialize};

use crate::{fingerprint::is_build_tag, hierarchy::NodeName, image::Tag};

/// The images of one hierarchy and one target.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stored {
    /// The newest first.
    nodes: BTreeMap<NodeName, Vec<StoredImage>>,
}

/// An image that a run has stored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredImage {
    build_tag: String,
    /// In bytes: the layers above its base, uncompressed.
    pub added: u64,
}

impl StoredImage {
    /// `None` if it is not an image of `rebuild`.
    pub fn build_tag(&self) -> Option<Tag> {
        self.build_tag.parse().ok().filter(is_build_tag)
    }
}

impl Stored {
    /// Parses the bytes of [`kept`](Self::kept).
    pub fn read(kept: &[u8]) -> Self {
        Self { nodes: serde_json::from_slice(kept).unwrap_or_default() }
    }

    /// The bytes to store for the next run.
    pub fn kept(&self) -> Vec<u8> {
        serde_json::to_vec(&self.nodes).expect("plain data is always JSON")
    }

    /// Adds the newest image.
    pub fn add(&mut self, node: &NodeName, build_tag: &Tag, added: u64) {
        self.remove(node, build_tag);
        let image = StoredImage { build_tag: build_tag.to_string(), added };
        self.nodes.entry(node.clone()).or_default().insert(0, image);
    }

    pub fn remove(&mut self, node: &NodeName, build_tag: &Tag) {
        if let Some(images) = self.nodes.get_mut(node) {
            images.retain(|image| image.build_tag != build_tag.as_str());
        }
    }

    /// The images of a node beyond this number, the newest first.
    pub fn beyond(&self, node: &NodeName, keep: NonZeroUsize) -> Vec<StoredImage> {
        self.nodes.get(node).into_iter().flatten().skip(keep.get()).cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tag(digit: char) -> Tag {
        format!("rb-{}", digit.to_string().repeat(32)).parse().unwrap()
    }

    fn beyond(stored: &Stored, keep: usize) -> Vec<Tag> {
        let old = stored.beyond(&"os".into(), NonZeroUsize::new(keep).unwrap());
        old.iter().filter_map(StoredImage::build_tag).collect()
    }

    #[test]
    fn images_beyond_the_newest_are_old() {
        let mut stored = Stored::default();
        for digit in ['1', '2', '3', '4'] {
            stored.add(&"os".into(), &tag(digit), 7);
        }
        assert_eq!(beyond(&stored, 3), [tag('1')]);
        assert!(beyond(&stored, 4).is_empty());
        // An image that is stored again becomes the newest.
        stored.add(&"os".into(), &tag('1'), 7);
        assert_eq!(beyond(&stored, 3), [tag('2')]);
        stored.remove(&"os".into(), &tag('2'));
        assert_eq!(beyond(&stored, 1), [tag('4'), tag('3')]);
        assert!(stored.beyond(&"web".into(), NonZeroUsize::MIN).is_empty());
        assert_eq!(Stored::read(&stored.kept()), stored);
    }

    #[test]
    fn a_damaged_list_is_empty_and_foreign_tags_are_not_ours() {
        assert_eq!(Stored::read(b"{\"os\": [{\"build"), Stored::default());
        let kept =
            br#"{"os": [{"build_tag": "rb-1", "added": 1}, {"build_tag": "latest", "added": 1}]}"#;
        assert_eq!(Stored::read(kept).nodes.len(), 1);
        assert!(beyond(&Stored::read(kept), 1).is_empty());
    }
}
