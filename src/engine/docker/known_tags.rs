//! What tags point at, known from an earlier run and proven by the engine's events.
//!
//! containerd's image store needs 10 to 30 ms for each image that it is asked about, more the more
//! images it has. It also keeps its last 256 events. If the last event that we saw is still among them,
//! then every change since is there too, and only the tags that these events name are asked for.
//!
//! **Invariant:** a tag is answered from memory only if no event since we asked for it can concern it.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Mutex, MutexGuard},
};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::image::{Digest, Reference, Tagged};

/// Kept from one run to the next.
#[derive(Debug, Default)]
pub(super) struct KnownTags(Mutex<Known>);

#[derive(Debug, Default)]
struct Known {
    kept: Kept,
    /// Whether `kept` holds now. Before that, nothing is answered from it.
    is_proven: bool,
    /// Tags that this process asked for; the others are forgotten.
    asked: BTreeSet<String>,
    has_changed: bool,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Kept {
    /// The engine's own ID.
    engine: String,
    /// The newest event when the tags were asked for.
    last: Option<Event>,
    /// By name; `None` for a tag that does not exist.
    tags: BTreeMap<String, Option<Digest>>,
}

/// One event of `GET /events`: <https://docs.docker.com/reference/api/engine/version/v1.45/#tag/System/operation/SystemEvents>.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Event {
    #[serde(rename = "Type")]
    kind: String,
    #[serde(rename = "Action")]
    action: String,
    #[serde(rename = "Actor")]
    actor: Actor,
    /// In nanoseconds since 1970, by the engine's clock.
    #[serde(rename = "timeNano")]
    time: i64,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Actor {
    #[serde(rename = "ID", default)]
    id: String,
    #[serde(rename = "Attributes", default)]
    attributes: BTreeMap<String, String>,
}

impl KnownTags {
    /// Takes in what an earlier process kept. Anything else than that counts as nothing.
    pub(super) fn recall(&self, bytes: &[u8]) {
        if let Ok(kept) = serde_json::from_slice(bytes) {
            self.lock().kept = kept;
        }
    }

    /// What the next process may start from, if that differs from what this one started from.
    pub(super) fn kept(&self) -> Option<Vec<u8>> {
        let known = self.lock();
        if !known.has_changed || !known.is_proven {
            return None;
        }
        let mut kept = known.kept.clone();
        kept.tags.retain(|name, _| known.asked.contains(name));
        serde_json::to_vec(&kept).ok()
    }

    pub(super) fn is_proven(&self) -> bool {
        self.lock().is_proven
    }

    /// The moment from which events are needed, for [`Self::prove`].
    pub(super) fn since(&self) -> Timestamp {
        let last = self.lock().kept.last.as_ref().map_or(0, |event| event.time);
        Timestamp::from_nanosecond(last.into()).unwrap_or(Timestamp::UNIX_EPOCH)
    }

    /// Checks what is kept by the events since [`Self::since`], the oldest first.
    pub(super) fn prove(&self, engine: &str, events: &[Event]) {
        let mut known = self.lock();
        let kept = &mut known.kept;
        let seen =
            kept.last.as_ref().and_then(|last| events.iter().position(|event| event == last));
        if let Some(seen) = seen.filter(|_| kept.engine == engine) {
            for event in events[seen + 1..].iter().filter(|event| event.kind == "image") {
                kept.tags.retain(|name, digest| !event.may_concern(name, digest.as_ref()));
            }
        } else {
            kept.tags.clear();
        }
        engine.clone_into(&mut kept.engine);
        let last = events.last().cloned();
        let has_changed = kept.last != last;
        kept.last = last;
        known.is_proven = true;
        known.has_changed |= has_changed;
    }

    /// Those that are known, and those that must be asked for.
    pub(super) fn split(&self, names: Vec<Tagged>) -> (BTreeMap<Tagged, Digest>, Vec<Tagged>) {
        let mut known = self.lock();
        let (mut found, mut open) = (BTreeMap::new(), Vec::new());
        for name in names {
            let text = name.to_string();
            match known.kept.tags.get(&text).filter(|_| known.is_proven) {
                Some(Some(digest)) => _ = found.insert(name, digest.clone()),
                Some(None) => {}
                None => open.push(name),
            }
            known.asked.insert(text);
        }
        (found, open)
    }

    pub(super) fn learn(&self, name: &Tagged, digest: Option<&Digest>) {
        let mut known = self.lock();
        // Without an event to go by, the next process could prove nothing.
        if known.is_proven && known.kept.last.is_some() {
            known.kept.tags.insert(name.to_string(), digest.cloned());
            known.has_changed = true;
        }
    }

    /// This process changes a tag itself: an event will say so, and until then it is not known.
    pub(super) fn forget(&self, name: &Tagged) {
        let mut known = self.lock();
        known.has_changed |= known.kept.tags.remove(&name.to_string()).is_some();
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

impl Event {
    /// Names are those that people type; an event without one may be about any tag of its image.
    fn may_concern(&self, name: &str, digest: Option<&Digest>) -> bool {
        let is_of_image = digest.is_some_and(|digest| digest.as_str() == self.actor.id);
        let named = self.actor.attributes.get("name").map(|named| named.parse::<Reference>());
        match (named, name.parse::<Reference>()) {
            (Some(Ok(named)), Ok(tagged)) if named.digest.is_none() => {
                is_of_image
                    || (named.repository.is_same(&tagged.repository)
                        && named.tag_or_latest() == tagged.tag_or_latest())
            }
            _ => is_of_image || digest.is_none(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tagged(name: &str) -> Tagged {
        let (repository, tag) = name.split_once(':').unwrap();
        Tagged { repository: repository.parse().unwrap(), tag: tag.parse().unwrap() }
    }

    fn event(time: i64, action: &str, name: &str) -> Event {
        let attributes = BTreeMap::from([("name".to_owned(), name.to_owned())]);
        let actor = Actor { id: Digest::of(b"x").to_string(), attributes };
        Event { kind: "image".to_owned(), action: action.to_owned(), actor, time }
    }

    /// What is still known of `a:1` (an image `x`), `b:1` (an image `y`) and `c:1` (no such tag).
    fn known_after(engine: &str, events: &[Event]) -> String {
        let first = KnownTags::default();
        first.prove("one", &[event(1, "tag", "other:1")]);
        let names: Vec<Tagged> = ["a:1", "b:1", "c:1"].map(tagged).into_iter().collect();
        let digests = [Some(Digest::of(b"x")), Some(Digest::of(b"y")), None];
        for (name, digest) in names.iter().zip(&digests) {
            first.learn(name, digest.as_ref());
        }
        first.split(names.clone());
        let next = KnownTags::default();
        next.recall(&first.kept().unwrap());
        assert_eq!(next.split(names.clone()).1.len(), 3, "nothing is known before it is proven");
        next.prove(engine, events);
        let (_, open) = next.split(names.clone());
        let is_known = |name: &&Tagged| !open.contains(name);
        let known: Vec<_> = names.iter().filter(is_known).map(ToString::to_string).collect();
        known.join(" ")
    }

    #[test]
    fn a_tag_is_known_until_an_event_may_concern_it() {
        let last = || event(1, "tag", "other:1");
        let of_y = || Event {
            actor: Actor { id: Digest::of(b"y").to_string(), ..event(2, "", "").actor },
            ..event(2, "untag", Digest::of(b"y").as_str())
        };
        for (events, expected) in [
            (vec![last()], "a:1 b:1 c:1"),
            (vec![last(), event(2, "tag", "d:1")], "b:1 c:1"),
            (vec![last(), event(2, "tag", "b:1")], "c:1"),
            (vec![last(), event(2, "pull", "docker.io/library/c:1")], "b:1"),
            (vec![last(), of_y()], "a:1"),
            (vec![last(), Event { kind: "container".to_owned(), ..of_y() }], "a:1 b:1 c:1"),
            // The last event that was seen is gone: the engine was restarted, or too much happened.
            (vec![], ""),
            (vec![event(2, "tag", "d:1")], ""),
        ] {
            assert_eq!(known_after("one", &events), expected, "{events:?}");
        }
        assert_eq!(known_after("two", &[last()]), "", "another engine");
    }

    #[test]
    fn what_this_process_changes_is_asked_for() {
        let tags = KnownTags::default();
        tags.prove("one", &[event(1, "tag", "other:1")]);
        let name = tagged("a:1");
        tags.learn(&name, Some(&Digest::of(b"x")));
        tags.forget(&name);
        assert_eq!(tags.split(vec![name.clone()]).1, [name]);
    }
}
