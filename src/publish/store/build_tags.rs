//! The digests of build tags in registries, as earlier commands of this machine read them.
//!
//! A build tag never moves, so that its digest need not be read again while another tag shows that the image is
//! there. After [`VALID`] it is read anyway: it may have been deleted, and other machines need it.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Mutex, MutexGuard, PoisonError},
};

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use crate::{
    fingerprint::is_build_tag,
    image::{Digest, Repository, Tagged},
};

const VALID: SignedDuration = SignedDuration::from_hours(24);
/// Above this number, only the tags of the last command are kept: a few megabytes.
const MOST: usize = 20_000;

#[derive(Debug, Default)]
pub struct BuildTags(Mutex<Known>);

#[derive(Debug, Default, Serialize, Deserialize)]
struct Kept {
    /// When the first of them was read.
    since: Timestamp,
    /// By `repository:tag`.
    digests: BTreeMap<String, Digest>,
}

#[derive(Debug, Default)]
struct Known {
    kept: Kept,
    used: BTreeSet<String>,
    has_changed: bool,
    /// The images that a moving tag points at, as this process read it.
    published: BTreeSet<(Repository, Digest)>,
}

impl BuildTags {
    /// Parses the bytes of [`kept`](Self::kept). Damaged or old bytes count as none.
    pub fn read(kept: &[u8], now: Timestamp) -> Self {
        let kept: Option<Kept> = serde_json::from_slice(kept).ok();
        let is_valid =
            |kept: &Kept| (SignedDuration::ZERO..VALID).contains(&now.duration_since(kept.since));
        let new = Kept { since: now, digests: BTreeMap::new() };
        let kept = kept.filter(is_valid).unwrap_or(new);
        Self(Mutex::new(Known { kept, ..Known::default() }))
    }

    /// The bytes for the next command, if they have changed.
    pub fn kept(&self) -> Option<Vec<u8>> {
        let mut known = self.lock();
        let Known { kept, used, has_changed, .. } = &mut *known;
        if kept.digests.len() > MOST {
            kept.digests.retain(|tag, _| used.contains(tag));
        }
        has_changed.then(|| serde_json::to_vec(kept).expect("plain data is always JSON"))
    }

    /// The registry has just answered.
    pub(super) fn learn(&self, tag: &Tagged, digest: Option<&Digest>) {
        let mut known = self.lock();
        if !is_build_tag(&tag.tag) {
            known.published.extend(digest.map(|digest| (tag.repository.clone(), digest.clone())));
            return;
        }
        let key = tag.to_string();
        let before = match digest {
            Some(digest) => known.kept.digests.insert(key.clone(), digest.clone()),
            None => known.kept.digests.remove(&key),
        };
        known.has_changed |= before.as_ref() != digest;
        known.used.insert(key);
    }

    /// The digest of a build tag, if the image is published.
    pub(super) fn digest(&self, tag: &Tagged) -> Option<Digest> {
        let mut known = self.lock();
        let key = tag.to_string();
        let digest = known.kept.digests.get(&key)?.clone();
        let is_published = known.published.contains(&(tag.repository.clone(), digest.clone()));
        known.used.insert(key);
        is_published.then_some(digest)
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tagged(name: &str) -> Tagged {
        let (repository, tag) = name.rsplit_once(':').unwrap();
        repository.parse::<Repository>().unwrap().tagged(tag.parse().unwrap())
    }

    #[test]
    fn a_build_tag_is_known_while_its_image_is_published() {
        let build_tag = tagged(&format!("r.example.com/os:rb-{}", "1".repeat(32)));
        let (one, other) = (Digest::of(b"one"), Digest::of(b"other"));
        let first = BuildTags::read(b"", Timestamp::UNIX_EPOCH);
        assert_eq!(first.kept(), None);
        first.learn(&build_tag, Some(&one));
        assert_eq!(first.digest(&build_tag), None, "no other tag points at it");
        let start = Timestamp::UNIX_EPOCH;
        let after = |hours| {
            BuildTags::read(&first.kept().unwrap(), start + SignedDuration::from_hours(hours))
        };
        for (tag, digest, expected) in [
            ("r.example.com/os:latest", Some(&one), Some(one.clone())),
            ("r.example.com/os:latest", Some(&other), None),
            ("r.example.com/os:latest", None, None),
            ("r.example.com/web:latest", Some(&one), None),
            ("other.example.com/os:latest", Some(&one), None),
        ] {
            let tags = after(23);
            tags.learn(&tagged(tag), digest);
            assert_eq!(tags.digest(&build_tag), expected, "{tag}");
            assert_eq!(tags.kept(), None, "nothing has changed");
        }
        let tags = after(23);
        tags.learn(&tagged("r.example.com/os:latest"), Some(&one));
        tags.learn(&build_tag, None);
        assert_eq!(tags.digest(&build_tag), None, "the registry does not have it");
        for tags in [after(24), after(-1), BuildTags::read(b"{\"a", start)] {
            tags.learn(&tagged("r.example.com/os:latest"), Some(&one));
            assert_eq!(tags.digest(&build_tag), None);
        }
    }
}
