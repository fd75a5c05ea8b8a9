//! What tags point at, and what these images are, known from an earlier answer and kept up to date by the
//! engine's events.
//!
//! containerd's image store needs 10 to 60 ms for each image that it is asked about, more the more
//! images it has. It also keeps its last 256 events, and an event names the tag and the image. If the last
//! event that we saw is still among them, then every change since is there too.
//!
//! **Invariant:** a tag is answered from memory only if no event since can concern it, and every change
//! that this process made to it was seen in the events. An image is answered from memory only if it is known
//! to have a tag: then it exists, and what describes it never changes.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::{
        Mutex, MutexGuard,
        atomic::{AtomicU64, Ordering},
    },
};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{
    engine::LocalImage,
    image::{Digest, Reference, Repository, Tag, Tagged},
};

/// Kept from one run to the next.
#[derive(Debug, Default)]
pub(super) struct KnownTags {
    knowledge: Mutex<TagKnowledge>,
    reads: EventReads,
}

/// Lets one reading of the events go on at a time: an older answer that comes after a newer one would prove nothing.
/// All who wait share the next reading.
#[derive(Debug, Default)]
struct EventReads {
    begun: AtomicU64,
    /// The last one that succeeded.
    done: AtomicU64,
    turn: tokio::sync::Mutex<()>,
}

#[derive(Debug, Default)]
struct TagKnowledge {
    kept: KeptTags,
    /// Whether `kept` holds now. Before that, nothing is answered from it.
    is_proven: bool,
    /// Tags that this process asked for, by key; the others are forgotten.
    asked: BTreeSet<String>,
    /// Changes of this process that no event has shown yet, by key, the oldest first.
    pending: BTreeMap<String, VecDeque<Option<Digest>>>,
    /// How often events were read.
    round: u64,
    /// The round whose events last concerned a tag, by key: an answer to a question from before may be outdated.
    concerned: BTreeMap<String, u64>,
    /// The same for all tags.
    all_concerned: u64,
    has_changed: bool,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct KeptTags {
    /// The engine's own ID.
    engine: String,
    /// The newest event that was seen.
    last: Option<EngineEvent>,
    /// By key; `None` for a tag that does not exist.
    tags: BTreeMap<String, Option<Digest>>,
    /// By ID, without their tags and other names.
    #[serde(default)]
    images: BTreeMap<Digest, LocalImage>,
}

/// One event of `GET /events`: <https://docs.docker.com/reference/api/engine/version/v1.45/#tag/System/operation/SystemEvents>.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct EngineEvent {
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

/// What an event says of tags.
enum TagChange {
    Nothing,
    /// A tag, by its key, points at an image now, or was removed.
    Tag(String, Option<Digest>),
    /// A tag may point at something else now.
    Doubt(String),
    /// So may every tag of an image.
    Image(Digest),
    /// So may any tag.
    Everything,
}

/// What was known when a question was asked.
pub(super) struct TagAnswers {
    pub(super) found: BTreeMap<Tagged, Digest>,
    /// The tags that only the engine can answer.
    pub(super) open: Vec<Tagged>,
    round: u64,
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
        kept.tags.retain(|key, _| known.asked.contains(key));
        let tagged: BTreeSet<&Digest> = kept.tags.values().flatten().collect();
        kept.images.retain(|id, _| tagged.contains(id));
        serde_json::to_vec(&kept).ok()
    }

    /// Whether there is nothing that reading the events could add for the next process.
    pub(super) fn is_settled(&self) -> bool {
        let known = self.lock();
        !known.is_proven || known.pending.is_empty()
    }

    /// Reads the events, unless a reading succeeds that began after this call.
    pub(super) async fn read<E>(&self, read: impl AsyncFnOnce() -> Result<(), E>) -> Result<(), E> {
        let EventReads { begun, done, turn } = &self.reads;
        let before = begun.load(Ordering::SeqCst);
        let _turn = turn.lock().await;
        if done.load(Ordering::SeqCst) > before {
            return Ok(());
        }
        let number = begun.fetch_add(1, Ordering::SeqCst) + 1;
        read().await?;
        done.store(number, Ordering::SeqCst);
        Ok(())
    }

    /// The moment from which events are needed, for [`Self::take`].
    pub(super) fn since(&self) -> Timestamp {
        let last = self.lock().kept.last.as_ref().map_or(0, |event| event.time);
        Timestamp::from_nanosecond(last.into()).unwrap_or(Timestamp::UNIX_EPOCH)
    }

    /// Applies the events since [`Self::since`], the oldest first.
    pub(super) fn take(&self, engine: &str, events: &[EngineEvent]) {
        let mut guard = self.lock();
        let known = &mut *guard;
        known.round += 1;
        let last = known.kept.last.as_ref();
        let seen = last.and_then(|last| events.iter().position(|event| event == last));
        match seen {
            Some(seen) if known.kept.engine == engine => {
                for event in &events[seen + 1..] {
                    known.apply(event.change());
                }
            }
            _ => known.apply(TagChange::Everything),
        }
        engine.clone_into(&mut known.kept.engine);
        known.has_changed |= known.kept.last.as_ref() != events.last();
        known.kept.last = events.last().cloned();
        known.is_proven = true;
    }

    pub(super) fn split(&self, names: Vec<Tagged>) -> TagAnswers {
        let mut known = self.lock();
        let (mut found, mut open) = (BTreeMap::new(), Vec::new());
        for name in names {
            let key = key(&name.repository, &name.tag);
            match known.kept.tags.get(&key).filter(|_| known.is_proven) {
                Some(Some(digest)) => _ = found.insert(name, digest.clone()),
                Some(None) => {}
                None => open.push(name),
            }
            known.asked.insert(key);
        }
        TagAnswers { found, open, round: known.round }
    }

    /// What the engine answered to a question.
    pub(super) fn learn(&self, asked: &TagAnswers, name: &Tagged, digest: Option<&Digest>) {
        let mut known = self.lock();
        let key = key(&name.repository, &name.tag);
        // Without an event to go by, the next process could prove nothing.
        let concerned = known.concerned.get(&key).copied().unwrap_or(0).max(known.all_concerned);
        let is_of_now = concerned <= asked.round && !known.pending.contains_key(&key);
        if known.is_proven && known.kept.last.is_some() && is_of_now {
            known.asked.insert(key.clone());
            known.kept.tags.insert(key, digest.cloned());
            known.has_changed = true;
        }
    }

    /// An image that certainly exists, without its tags and other names.
    pub(super) fn image(&self, id: &Digest) -> Option<LocalImage> {
        let known = self.lock();
        let is_tagged = || known.kept.tags.values().flatten().any(|digest| digest == id);
        known.kept.images.get(id).filter(|_| known.is_proven && is_tagged()).cloned()
    }

    /// What the engine answered about an image.
    pub(super) fn learn_image(&self, image: &LocalImage) {
        let mut known = self.lock();
        if known.is_proven && known.kept.last.is_some() {
            let image =
                LocalImage { tags: BTreeSet::new(), repo_digests: Vec::new(), ..image.clone() };
            known.has_changed |= known.kept.images.insert(image.id.clone(), image).is_none();
        }
    }

    /// This process changes a tag itself: until an event shows it, the tag is not known.
    pub(super) fn expect(&self, name: &Tagged, to: Option<&Digest>) {
        let mut known = self.lock();
        let key = key(&name.repository, &name.tag);
        known.has_changed |= known.kept.tags.remove(&key).is_some();
        known.pending.entry(key).or_default().push_back(to.cloned());
    }

    fn lock(&self) -> MutexGuard<'_, TagKnowledge> {
        self.knowledge.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

impl TagKnowledge {
    fn apply(&mut self, change: TagChange) {
        match &change {
            TagChange::Nothing => {}
            TagChange::Tag(key, _) | TagChange::Doubt(key) => {
                self.concerned.insert(key.clone(), self.round);
            }
            TagChange::Image(_) | TagChange::Everything => self.all_concerned = self.round,
        }
        let tags = &mut self.kept.tags;
        match change {
            TagChange::Nothing => {}
            TagChange::Tag(key, to) => {
                if let Some(expected) = self.pending.get_mut(&key) {
                    if *expected.front().expect("no queue here is empty") != to {
                        return;
                    }
                    expected.pop_front();
                    if !expected.is_empty() {
                        return;
                    }
                    self.pending.remove(&key);
                }
                if self.asked.contains(&key) || tags.contains_key(&key) {
                    tags.insert(key, to);
                }
            }
            TagChange::Doubt(key) => _ = tags.remove(&key),
            TagChange::Image(id) => tags.retain(|_, digest| digest.as_ref() != Some(&id)),
            TagChange::Everything => tags.clear(),
        }
    }
}

impl EngineEvent {
    /// What an event means, measured on Docker 28.5. The name of a `tag` or `untag` is a tag, as people type
    /// it; that of a `create` or `delete` is the image's ID; the ID of a `pull` is the reference.
    fn change(&self) -> TagChange {
        if self.kind != "image" {
            return TagChange::Nothing;
        }
        let name = self.actor.attributes.get("name").map_or("", String::as_str);
        let id = self.actor.id.parse::<Digest>();
        let is_id = name.starts_with("sha256:");
        match (self.action.as_str(), id, tag_key(name).filter(|_| !is_id)) {
            ("create" | "push" | "save", ..) => TagChange::Nothing,
            ("tag", Ok(id), Some(key)) => TagChange::Tag(key, Some(id)),
            ("untag", Ok(_), Some(key)) => TagChange::Tag(key, None),
            ("untag" | "delete", Ok(id), _) => TagChange::Image(id),
            ("pull" | "load" | "import", Err(_), _) => {
                tag_key(&self.actor.id).map_or(TagChange::Everything, TagChange::Doubt)
            }
            _ => TagChange::Everything,
        }
    }
}

/// One spelling for each tag.
fn key(repository: &Repository, tag: &Tag) -> String {
    format!("{}/{}:{tag}", repository.host(), repository.path())
}

fn tag_key(name: &str) -> Option<String> {
    let reference: Reference = name.parse().ok()?;
    Some(key(&reference.repository, &reference.tag_or_latest()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tagged(name: &str) -> Tagged {
        let (repository, tag) = name.split_once(':').unwrap();
        Tagged { repository: repository.parse().unwrap(), tag: tag.parse().unwrap() }
    }

    fn event(time: i64, action: &str, id: &str, name: &str) -> EngineEvent {
        let attributes = BTreeMap::from([("name".to_owned(), name.to_owned())]);
        let id = if id.len() == 1 { Digest::of(id.as_bytes()).to_string() } else { id.to_owned() };
        let actor = Actor { id, attributes };
        EngineEvent { kind: "image".to_owned(), action: action.to_owned(), actor, time }
    }

    fn last() -> EngineEvent {
        event(1, "tag", "z", "other:1")
    }

    /// `a:1=x b:1=y c:1=-`: what is known of these tags, without asking.
    fn shown(tags: &KnownTags) -> String {
        let names = ["a:1", "b:1", "c:1"].map(tagged);
        let asked = tags.split(Vec::from(names.clone()));
        let known = names.iter().filter(|name| !asked.open.contains(name));
        let letter = |digest: &Digest| {
            let is_of = |letter: &&str| Digest::of(letter.as_bytes()) == *digest;
            ["x", "y", "z"].into_iter().find(is_of).unwrap()
        };
        let known =
            known.map(|name| format!("{name}={}", asked.found.get(name).map_or("-", letter)));
        known.collect::<Vec<_>>().join(" ")
    }

    /// `a:1` is an image `x`, `b:1` an image `y`, and there is no `c:1`.
    fn first() -> KnownTags {
        let tags = KnownTags::default();
        tags.take("one", &[last()]);
        let names = ["a:1", "b:1", "c:1"].map(tagged);
        let asked = tags.split(Vec::from(names.clone()));
        for (name, digest) in names.iter().zip([Some("x"), Some("y"), None]) {
            let digest = digest.map(|letter| Digest::of(letter.as_bytes()));
            tags.learn(&asked, name, digest.as_ref());
        }
        tags
    }

    fn known_after(engine: &str, events: &[EngineEvent]) -> String {
        let next = KnownTags::default();
        next.recall(&first().kept().unwrap());
        assert_eq!(shown(&next), "", "nothing is known before it is proven");
        next.take(engine, events);
        shown(&next)
    }

    #[test]
    fn the_next_process_knows_what_the_events_leave() {
        let y = Digest::of(b"y").to_string();
        let container =
            || EngineEvent { kind: "container".to_owned(), ..event(2, "delete", "y", &y) };
        for (events, expected) in [
            (vec![last()], "a:1=x b:1=y c:1=-"),
            (vec![last(), event(2, "tag", "z", "d:1")], "a:1=x b:1=y c:1=-"),
            (vec![last(), event(2, "tag", "z", "b:1")], "a:1=x b:1=z c:1=-"),
            (vec![last(), event(2, "tag", "z", "docker.io/library/c:1")], "a:1=x b:1=y c:1=z"),
            (vec![last(), event(2, "untag", "y", "b:1")], "a:1=x b:1=- c:1=-"),
            (vec![last(), event(2, "untag", "y", "d:1")], "a:1=x b:1=y c:1=-"),
            (vec![last(), event(2, "untag", "y", &y)], "a:1=x c:1=-"),
            (vec![last(), event(2, "delete", "y", &y)], "a:1=x c:1=-"),
            (vec![last(), event(2, "pull", "c:1", "c")], "a:1=x b:1=y"),
            (vec![last(), event(2, "create", "y", &y)], "a:1=x b:1=y c:1=-"),
            (vec![last(), event(2, "load", "y", "")], ""),
            (vec![last(), event(2, "something new", "y", "a:1")], ""),
            (vec![last(), container()], "a:1=x b:1=y c:1=-"),
            // The last event that was seen is not there: the engine was restarted, or too much happened.
            (vec![], ""),
            (vec![event(2, "tag", "x", "d:1")], ""),
        ] {
            assert_eq!(known_after("one", &events), expected, "{events:?}");
        }
        assert_eq!(known_after("two", &[last()]), "", "another engine");
    }

    #[test]
    fn an_image_is_known_while_a_tag_of_it_is() {
        let image = |letter: &str| LocalImage {
            id: Digest::of(letter.as_bytes()),
            size: 7,
            layers: vec![],
            labels: BTreeMap::new(),
            config: "{}".to_owned(),
            tags: [tagged("a:1")].into(),
            repo_digests: vec![],
            platform: "linux/amd64".parse().unwrap(),
            created: None,
        };
        let tags = first();
        for letter in ["x", "z"] {
            tags.learn_image(&image(letter));
        }
        let known = |tags: &KnownTags, letter: &str| tags.image(&image(letter).id);
        assert_eq!(known(&tags, "x"), Some(LocalImage { tags: [].into(), ..image("x") }));
        assert_eq!(known(&tags, "z"), None, "no known tag has it");
        let next = KnownTags::default();
        next.recall(&tags.kept().unwrap());
        assert_eq!(known(&next, "x"), None, "nothing is known before it is proven");
        next.take("one", &[last(), event(2, "tag", "z", "b:1")]);
        assert!(known(&next, "x").is_some());
        assert_eq!(known(&next, "z"), None, "it was kept by no process");
        next.take("one", &[event(2, "tag", "z", "b:1"), event(3, "untag", "x", "a:1")]);
        assert_eq!(known(&next, "x"), None);
    }

    #[test]
    fn a_change_of_this_process_is_known_once_its_event_is_seen() {
        let (x, z) = (Digest::of(b"x"), Digest::of(b"z"));
        let tags = first();
        let seen = event(2, "tag", "y", "a:1");
        tags.expect(&tagged("a:1"), Some(&z));
        tags.expect(&tagged("a:1"), Some(&x));
        tags.take("one", &[last(), seen.clone()]);
        assert_eq!(shown(&tags), "b:1=y c:1=-", "another user's change came before ours");
        let (one, two) = (event(3, "tag", "z", "a:1"), event(4, "tag", "x", "a:1"));
        tags.take("one", &[seen, one.clone()]);
        assert_eq!(shown(&tags), "b:1=y c:1=-", "the first of two changes");
        tags.take("one", &[one, two.clone()]);
        assert_eq!(shown(&tags), "a:1=x b:1=y c:1=-");
        tags.take("one", &[two, event(5, "tag", "y", "a:1")]);
        assert_eq!(shown(&tags), "a:1=y b:1=y c:1=-", "another user's change after ours");
    }

    #[tokio::test]
    async fn those_who_wait_share_the_next_reading() {
        let tags = KnownTags::default();
        let (begun, release) = (AtomicU64::new(0), tokio::sync::Semaphore::new(0));
        let read = || {
            tags.read(async || {
                begun.fetch_add(1, Ordering::SeqCst);
                release.acquire().await.map_err(|_| "closed")?.forget();
                // The first one fails, so the next one reads again.
                if begun.load(Ordering::SeqCst) == 1 { Err("failed") } else { Ok(()) }
            })
        };
        let all = async { tokio::join!(read(), read(), read(), read()) };
        let (all, ()) = tokio::join!(all, async { release.add_permits(2) });
        assert_eq!(all, (Err("failed"), Ok(()), Ok(()), Ok(())));
        assert_eq!(begun.load(Ordering::SeqCst), 2);
        release.add_permits(1);
        assert_eq!(read().await, Ok(()));
        assert_eq!(begun.load(Ordering::SeqCst), 3, "none goes on that it could share");
    }

    #[test]
    fn an_answer_from_before_an_event_is_not_kept() {
        let tags = first();
        let asked = tags.split(vec![tagged("d:1")]);
        tags.take("one", &[last(), event(2, "tag", "z", "d:1")]);
        tags.learn(&asked, &tagged("d:1"), None);
        let now = tags.split(vec![tagged("d:1")]);
        assert_eq!(now.found[&tagged("d:1")], Digest::of(b"z"));
        // An event of another tag leaves the answer as it is, one of an image does not.
        for (name, change, is_kept) in [
            ("e:1", event(3, "tag", "z", "f:1"), true),
            ("g:1", event(4, "untag", "z", &Digest::of(b"z").to_string()), false),
        ] {
            let asked = tags.split(vec![tagged(name)]);
            tags.take(
                "one",
                &[last(), event(2, "tag", "z", "d:1"), event(3, "tag", "z", "f:1"), change],
            );
            tags.learn(&asked, &tagged(name), None);
            assert_eq!(tags.split(vec![tagged(name)]).open.is_empty(), is_kept, "{name}");
        }
    }
}
