//! Images that were rolled back: later runs leave them alone until their inputs change.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{
    fingerprint::{BuiltFrom, Inputs, Parents},
    hierarchy::NodeName,
    image::Digest,
};

/// The holds of one target. Each rollback of an image adds one.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holds {
    pub nodes: BTreeMap<NodeName, Vec<Hold>>,
}

/// A rollback, and the image that it replaced.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hold {
    /// The rollback.
    pub run: String,
    pub at: Timestamp,
    /// `None` if its labels do not name its inputs: only `rebuild resume` ends the hold.
    pub image: Option<RolledBack>,
}

/// The inputs of an image that was rolled back.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RolledBack {
    /// The [`own`] inputs of every build that resulted in this image.
    own: Vec<Digest>,
    /// If the rolled-back run did not change the own inputs: the digests of upstreams that it changed.
    pub upstreams: BTreeMap<String, Digest>,
    /// In the same case: the digests of parents that it changed.
    pub parents: Parents,
}

impl RolledBack {
    /// `before` is the image that the tags point at after the rollback. `also` are inputs of later builds that
    /// left the bad image unchanged.
    pub fn new(bad: &BuiltFrom, before: Option<&BuiltFrom>, also: &[BuiltFrom]) -> Self {
        let own = [bad].into_iter().chain(also).map(|built| own(&built.inputs)).collect();
        let image = Self { own, ..Self::default() };
        match before.filter(|before| image.is_of(&before.inputs)) {
            Some(before) => Self {
                upstreams: differing(&bad.inputs.upstreams, &before.inputs.upstreams),
                parents: differing(&bad.parents, &before.parents),
                ..image
            },
            None => image,
        }
    }

    /// Whether the image has no own inputs that this image did not have. Its upstreams and parents are for the
    /// caller to compare.
    pub fn is_of(&self, inputs: &Inputs) -> bool {
        self.own.contains(&own(inputs))
    }
}

/// The inputs that only a commit changes. Tests are left out, since they change nothing in the image, and the
/// epoch, since a refresh is not a fix.
fn own(inputs: &Inputs) -> Digest {
    let Inputs { dockerfile, context, settings, platform, .. } = inputs;
    Digest::of(format!("{dockerfile} {context} {settings} {platform}").as_bytes())
}

fn differing<K: Ord + Clone>(
    bad: &BTreeMap<K, Digest>,
    before: &BTreeMap<K, Digest>,
) -> BTreeMap<K, Digest> {
    let differs = |(name, digest): &(&K, &Digest)| before.get(*name) != Some(*digest);
    bad.iter().filter(differs).map(|(name, digest)| (name.clone(), digest.clone())).collect()
}

impl Holds {
    /// A damaged note is empty.
    pub fn read(note: &[u8]) -> Self {
        serde_json::from_slice(note).unwrap_or_default()
    }

    pub fn written(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("plain data is always JSON")
    }

    /// Removes the holds of a rollback that was itself undone. Returns the images without another hold.
    pub fn remove_run(&mut self, run: &str) -> Vec<NodeName> {
        self.nodes.values_mut().for_each(|holds| holds.retain(|hold| hold.run != run));
        let nodes = std::mem::take(&mut self.nodes);
        let (free, held) = nodes.into_iter().partition(|(_, holds)| holds.is_empty());
        self.nodes = held;
        BTreeMap::into_keys(free).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn built(context: &str, upstream: &str, parent: &str) -> BuiltFrom {
        let digest = |text: &str| Digest::of(text.as_bytes());
        let inputs = Inputs {
            dockerfile: digest("FROM os"),
            context: digest(context),
            settings: digest(""),
            tests: digest(""),
            platform: "linux/amd64".parse().unwrap(),
            upstreams: [("debian:12".to_owned(), digest(upstream))].into(),
            epoch: None,
        };
        BuiltFrom::new(inputs, [("os".into(), digest(parent))].into())
    }

    #[test]
    fn a_hold_compares_upstreams_and_parents_only_if_the_files_did_not_change() {
        let good = built("good", "12.1", "os 1");
        for (bad, upstreams, parents) in [
            (built("bad", "12.2", "os 2"), 0, 0),
            (built("good", "12.2", "os 1"), 1, 0),
            (built("good", "12.1", "os 2"), 0, 1),
            (built("good", "12.2", "os 2"), 1, 1),
            (built("good", "12.1", "os 1"), 0, 0),
        ] {
            let hold = RolledBack::new(&bad, Some(&good), &[]);
            assert_eq!((hold.upstreams.len(), hold.parents.len()), (upstreams, parents), "{bad:?}");
            assert!(hold.is_of(&bad.inputs));
            assert!(!hold.is_of(&built("fix", "12.2", "os 2").inputs));
        }
    }

    #[test]
    fn tests_and_a_refresh_do_not_end_a_hold_and_later_equal_builds_count() {
        let (bad, later) = (built("bad", "12", "os"), built("bad, with a comment", "12", "os"));
        let hold = RolledBack::new(&bad, None, std::slice::from_ref(&later));
        let tests = Digest::of(b"another test");
        let epoch = Some(crate::fingerprint::Epoch::at(Timestamp::UNIX_EPOCH));
        assert!(hold.is_of(&Inputs { tests, epoch, ..bad.inputs }));
        assert!(hold.is_of(&later.inputs));
    }

    #[test]
    fn holds_are_kept_by_rollback_and_a_damaged_note_is_empty() {
        let hold = |run: &str| Hold { run: run.to_owned(), at: Timestamp::UNIX_EPOCH, image: None };
        let nodes = [("a".into(), vec![hold("1"), hold("2")]), ("b".into(), vec![hold("1")])];
        let mut holds = Holds { nodes: nodes.into() };
        assert_eq!(Holds::read(&holds.written()), holds);
        assert_eq!(Holds::read(b"{"), Holds::default());
        holds.remove_run("1");
        assert_eq!(holds.nodes, [("a".into(), vec![hold("2")])].into());
    }
}
