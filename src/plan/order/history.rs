//! The durations and sizes of the last builds of each node.
//!
//! **Invariant:** every file can be read: a truncated or foreign file gives an empty history.

use std::{collections::BTreeMap, time::Duration};

use serde::{Deserialize, Serialize};

use super::{middle, millis};
use crate::{hierarchy::NodeName, image::Digest};

/// The version of the file. Other versions count as empty.
const VERSION: u32 = 1;
/// How many builds of a node count. Their median is the expected duration, so a single build from the layer
/// cache or on a busy machine has little effect.
const REMEMBERED: usize = 5;
/// No build takes longer than a year, so `rebuild` did not write a larger number.
const LONGEST: u64 = 365 * 24 * 60 * 60 * 1000;

/// The history of one hierarchy and one target.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct History {
    nodes: BTreeMap<NodeName, PastBuild>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct PastBuild {
    /// In milliseconds, the latest last.
    took: Vec<u64>,
    /// In bytes: the layers above its base, uncompressed.
    added: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pushed: Option<Pushed>,
    /// The digest of the image, and its size in the engine in bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    unpacked: Option<(Digest, u64)>,
}

/// Sizes of the image of a build, as far as they are known.
#[derive(Clone, Debug, Default)]
pub struct BuildSizes {
    /// In bytes: the layers above its base, uncompressed.
    pub added: Option<u64>,
    pub pushed: Option<Pushed>,
    /// The digest of the image, and its size in the engine in bytes.
    pub unpacked: Option<(Digest, u64)>,
}

/// The size of an image in a registry, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pushed {
    /// Manifest, configuration and the compressed layers above its base.
    pub own: u64,
    /// The compressed layers of its upstream.
    pub upstream: u64,
}

#[derive(Deserialize)]
struct KeptHistory {
    v: u32,
    nodes: BTreeMap<NodeName, PastBuild>,
}

impl History {
    /// Parses the bytes of [`kept`](Self::kept).
    pub fn read(kept: &[u8]) -> Self {
        let document = serde_json::from_slice::<KeptHistory>(kept).ok();
        let mut nodes = document
            .filter(|document| document.v == VERSION)
            .map_or(BTreeMap::new(), |document| document.nodes);
        for past in nodes.values_mut() {
            past.took.retain(|took| *took <= LONGEST);
            let extra = past.took.len().saturating_sub(REMEMBERED);
            past.took.drain(..extra);
        }
        nodes.retain(|_, past| !past.took.is_empty());
        Self { nodes }
    }

    /// The bytes to store for the next run.
    pub fn kept(&self) -> Vec<u8> {
        #[derive(Serialize)]
        struct HistoryToKeep<'a> {
            v: u32,
            nodes: &'a BTreeMap<NodeName, PastBuild>,
        }
        let document = HistoryToKeep { v: VERSION, nodes: &self.nodes };
        serde_json::to_vec(&document).expect("plain data is always JSON")
    }

    /// Adds a successful build, without sizes if the image did not change.
    pub fn record(&mut self, node: &NodeName, took: Duration, sizes: BuildSizes) {
        let past = self.nodes.entry(node.clone()).or_default();
        past.took.push(u64::try_from(took.as_millis()).unwrap_or(LONGEST).min(LONGEST));
        if past.took.len() > REMEMBERED {
            past.took.remove(0);
        }
        past.added = sizes.added.or(past.added);
        past.pushed = sizes.pushed.or(past.pushed);
        past.unpacked = sizes.unpacked.or(past.unpacked.take());
    }

    /// Adds the nodes that it does not know.
    #[must_use]
    pub fn or(mut self, other: Self) -> Self {
        for (node, past) in other.nodes {
            self.nodes.entry(node).or_insert(past);
        }
        self
    }

    /// Removes all other nodes.
    pub fn retain(&mut self, is_kept: impl Fn(&NodeName) -> bool) {
        self.nodes.retain(|node, _| is_kept(node));
    }

    /// The expected duration of a build of the node.
    pub fn took(&self, node: &NodeName) -> Option<Duration> {
        middle(self.nodes.get(node)?.took.clone()).map(Duration::from_millis)
    }

    /// The expected duration of a build of any of these nodes.
    pub fn usual<'a>(&self, nodes: impl Iterator<Item = &'a NodeName>) -> Option<Duration> {
        middle(nodes.filter_map(|node| self.took(node)).map(millis).collect())
            .map(Duration::from_millis)
    }

    /// The size of the layers that the node's last build added to its base, in bytes, uncompressed.
    pub fn added(&self, node: &NodeName) -> Option<u64> {
        self.nodes.get(node)?.added
    }

    /// The size in the engine, in bytes, of the node's last image, if it has this digest.
    pub fn unpacked(&self, node: &NodeName, image: &Digest) -> Option<u64> {
        let (digest, size) = self.nodes.get(node)?.unpacked.as_ref()?;
        (digest == image).then_some(*size)
    }

    /// The size of the node's last image in a registry.
    pub fn pushed(&self, node: &NodeName) -> Option<Pushed> {
        self.nodes.get(node)?.pushed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn history(builds: &[(&str, u64, Option<u64>)]) -> History {
        let mut history = History::default();
        for (node, millis, added) in builds {
            history.record(
                &(*node).into(),
                Duration::from_millis(*millis),
                BuildSizes { added: *added, ..BuildSizes::default() },
            );
        }
        history
    }

    #[test]
    fn the_middle_of_the_last_few_counts() {
        let took = |millis: &[u64]| {
            let builds: Vec<_> = millis.iter().map(|millis| ("a", *millis, None)).collect();
            history(&builds).took(&"a".into()).map(|took| took.as_millis())
        };
        assert_eq!(took(&[]), None);
        assert_eq!(took(&[7]), Some(7));
        assert_eq!(took(&[7, 9]), Some(9));
        assert_eq!(took(&[500, 3, 510]), Some(500));
        assert_eq!(took(&[1, 1, 1, 1, 1, 9, 9, 9]), Some(9));
    }

    #[test]
    fn what_was_added_stays_until_something_new_comes() {
        let history = history(&[("a", 1, Some(5)), ("a", 1, None), ("b", 1, None)]);
        assert_eq!(history.added(&"a".into()), Some(5));
        assert_eq!(history.added(&"b".into()), None);
        let all = ["a", "b", "c"].map(NodeName::from);
        assert_eq!(history.usual(all.iter()), Some(Duration::from_millis(1)));
        assert_eq!(history.usual(all[2..].iter()), None);
    }

    #[test]
    fn it_reads_what_it_writes_and_nothing_else() {
        let mut history = history(&[("a", 1, Some(5)), ("b/c", u64::MAX, None), ("gone", 1, None)]);
        history.retain(|node| node.as_str() != "gone");
        let kept = history.kept();
        assert_eq!(
            String::from_utf8_lossy(&kept),
            r#"{"v":1,"nodes":{"a":{"took":[1],"added":5},"b/c":{"took":[31536000000],"added":null}}}"#
        );
        assert_eq!(History::read(&kept), history);
        for length in 0..kept.len() {
            assert_eq!(History::read(&kept[..length]), History::default(), "{length}");
        }
        for other in [
            "null",
            "[]",
            r#"{"v":2,"nodes":{"a":{"took":[1],"added":5}}}"#,
            r#"{"v":1,"nodes":{"a":{"took":[-1],"added":5}}}"#,
            r#"{"v":1,"nodes":{"a":{"took":[1e99],"added":5}}}"#,
            r#"{"v":1,"nodes":{"a":{"took":[],"added":5}}}"#,
            r#"{"v":1,"nodes":{"a":{"took":[18446744073709551615],"added":5}}}"#,
        ] {
            assert_eq!(History::read(other.as_bytes()), History::default(), "{other}");
        }
        let long = r#"{"v":1,"nodes":{"a":{"took":[9,9,9,9,9,9,1,1,1],"added":null}}}"#;
        assert_eq!(
            History::read(long.as_bytes()).took(&"a".into()),
            Some(Duration::from_millis(1))
        );
    }
}
