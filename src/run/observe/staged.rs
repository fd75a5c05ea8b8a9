//! Computes the fingerprint of each node whose parents' images exist, and reads the image under its build
//! tag.
//!
//! Works level by level, since a child's fingerprint contains the digest of its parent's image. Also
//! determines the epoch: of the published image, or the one that is due now.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Mutex, PoisonError},
};

use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use jiff::Timestamp;

use super::{DESCRIBED_AT_ONCE, described::last_build, newer::Prober};
use crate::{
    engine::Engine,
    fingerprint::{BuiltFrom, Epoch, Fingerprint, Inputs, Parents},
    hierarchy::{Hierarchy, Mirror, Node, NodeName},
    image::{Digest, Platform, Repository, Tagged, packages::PackageUpdate},
    plan::{DigestSource, Due, Hold, LastBuild, Upstream},
    publish::store::{Store, StoreError},
};

/// How many package queries run at once.
const PROBED_AT_ONCE: usize = 4;

/// The facts about a node.
#[derive(Clone, Debug, Default)]
pub(super) struct Staged {
    /// `None` if a parent's image must be built first.
    pub(super) fingerprint: Option<Fingerprint>,
    pub(super) digest: Option<Digest>,
    pub(super) epoch: Option<Epoch>,
    pub(super) due: Option<Due>,
    /// The updates of its packages, if the published image was queried.
    pub(super) updates: Option<Vec<PackageUpdate>>,
    /// The due epoch, if no updates are available.
    pub(super) checked: Option<Epoch>,
    /// Why the query failed.
    pub(super) silent: Option<String>,
    /// The inputs of the published image, if they were read and known.
    pub(super) built_from: Option<BuiltFrom>,
    /// The rollback after which the published image stays. Then nothing else is read.
    pub(super) hold: Option<Hold>,
    /// For upstreams whose index changed while the manifest for the platform did not: the old digests.
    same_upstreams: BTreeMap<String, Digest>,
}

impl Staged {
    /// Whether the published image names this upstream.
    pub(super) fn tells(&self, upstream: &str) -> bool {
        self.same_upstreams.contains_key(upstream)
    }

    /// The present inputs of a build, with these facts.
    pub(super) fn inputs(&self, today: &Inputs) -> Inputs {
        let mut inputs = Inputs { epoch: self.epoch, ..today.clone() };
        inputs.upstreams.extend(self.same_upstreams.clone());
        inputs
    }
}

pub(super) struct Staging<'a, E, S> {
    pub(super) store: &'a S,
    pub(super) hierarchy: &'a Hierarchy,
    pub(super) inputs: &'a BTreeMap<NodeName, Inputs>,
    pub(super) published: &'a BTreeMap<NodeName, Digest>,
    /// The digests of tags that were already read.
    pub(super) heads: &'a BTreeMap<Tagged, Digest>,
    pub(super) now: Timestamp,
    /// Whether schedules count.
    pub(super) by_schedule: bool,
    /// Of published nodes that the command line does not name.
    pub(super) holds: &'a BTreeMap<NodeName, Vec<Hold>>,
    pub(super) upstreams: &'a BTreeMap<String, Upstream>,
    /// By upstream, the digests of the image that the engine has.
    pub(super) of_one_image: &'a BTreeMap<String, Vec<Digest>>,
    /// Whether to ask registries about upstreams.
    pub(super) is_online: bool,
    /// Upstreams that the engine does not have, with `--offline`.
    pub(super) unasked: BTreeSet<String>,
    pub(super) prober: Prober<'a, E, S>,
    /// The manifest for a platform, for each index that was read.
    pub(super) manifests: Mutex<BTreeMap<(String, Digest, Platform), Option<Digest>>>,
}

impl<E: Engine, S: Store> Staging<'_, E, S> {
    /// Processes every node in view, and reads published images if their epoch matters.
    pub(super) async fn look(
        &self,
        nodes: &[&Node],
        outside: &Parents,
    ) -> Result<BTreeMap<NodeName, Staged>, StoreError> {
        let mut known = outside.clone();
        let mut found = BTreeMap::new();
        let mut waiting: Vec<&Node> = nodes.to_vec();
        while !waiting.is_empty() {
            let mut open = Vec::new();
            let before = waiting.len();
            for node in waiting {
                let Some(hold) = self.hold(node, &known, &found).await else {
                    open.push(node);
                    continue;
                };
                known.insert(node.name.clone(), self.published[&node.name].clone());
                found.insert(
                    node.name.clone(),
                    Staged { hold: Some(hold.clone()), ..Staged::default() },
                );
            }
            let has_held = open.len() < before;
            let (level, rest): (Vec<&Node>, Vec<&Node>) = open.into_iter().partition(|node| {
                self.hierarchy.parents(&node.name).all(|parent| known.contains_key(&parent.name))
            });
            for (node, staged) in self.level(&level, &known).await? {
                if let Some(digest) = &staged.digest {
                    known.insert(node.name.clone(), digest.clone());
                }
                found.insert(node.name.clone(), staged);
            }
            waiting = rest;
            if level.is_empty() && !has_held {
                break;
            }
        }
        // Descendants of an image that must be built first: they may be due anyway.
        let mut below = Vec::with_capacity(waiting.len());
        for (node, asked) in self.ask(&waiting).await? {
            let mut staged = Staged::default();
            self.date(node, asked, &mut staged);
            self.compare_upstreams(node, &mut staged).await;
            below.push((node, staged));
        }
        self.look_for_updates(&mut below).await;
        found.extend(below.into_iter().map(|(node, staged)| (node.name.clone(), staged)));
        Ok(found)
    }

    /// The nodes whose parents are all known.
    async fn level<'n>(
        &self,
        nodes: &[&'n Node],
        known: &Parents,
    ) -> Result<Vec<(&'n Node, Staged)>, StoreError> {
        let (by_age, others): (Vec<&Node>, Vec<&Node>) =
            nodes.iter().partition(|node| self.has_refresh(node));
        let mut level = Vec::with_capacity(nodes.len());
        for (node, asked) in self.ask(&by_age).await? {
            let mut staged = Staged::default();
            self.date(node, asked, &mut staged);
            self.compare_upstreams(node, &mut staged).await;
            level.push((node, staged));
        }
        level.extend(others.into_iter().map(|node| (node, Staged::default())));
        let all: Vec<usize> = (0..level.len()).collect();
        self.find(&mut level, &all, known).await?;
        let moved = self.look_for_updates(&mut level).await;
        self.find(&mut level, &moved, known).await?;

        // If the published image has other inputs, it may have a later epoch.
        let doubtful: Vec<usize> = all
            .into_iter()
            .filter(|&n| {
                let (node, staged) = &level[n];
                let published = self.published.get(&node.name);
                !self.has_refresh(node)
                    && published.is_some()
                    && published != staged.digest.as_ref()
            })
            .collect();
        let nodes: Vec<&Node> = doubtful.iter().map(|&n| level[n].0).collect();
        let mut dated = Vec::new();
        for (&n, (node, asked)) in doubtful.iter().zip(self.ask(&nodes).await?) {
            let staged = &mut level[n].1;
            self.date(node, asked, staged);
            self.compare_upstreams(node, staged).await;
            if staged.epoch.is_some() || !staged.same_upstreams.is_empty() {
                dated.push(n);
            }
        }
        self.find(&mut level, &dated, known).await?;
        Ok(level)
    }

    /// Looks for upstreams with another digest of the same image, or of an index that did not change for our
    /// platform.
    async fn compare_upstreams(&self, node: &Node, staged: &mut Staged) {
        let Some(BuiltFrom { inputs: then, .. }) = &staged.built_from else { return };
        let today = &self.inputs[&node.name];
        let unasked = then.upstreams.iter().filter(|(name, _)| self.unasked.contains(*name));
        staged.same_upstreams.extend(unasked.map(|(name, was)| (name.clone(), was.clone())));
        if then.platform != today.platform {
            return;
        }
        for (name, was) in &then.upstreams {
            let Some(upstream) = self.upstreams.get(name) else { continue };
            if upstream.digest != *was && self.is_same_for(node, upstream, was).await {
                staged.same_upstreams.insert(name.clone(), was.clone());
            }
        }
    }

    /// Whether both digests are the same image for every platform for which a node uses the upstream.
    async fn is_same_for(&self, node: &Node, upstream: &Upstream, was: &Digest) -> bool {
        let own = &self.inputs[&node.name].platform;
        let uses = node.dockerfile.uses.iter();
        let uses = uses.filter(|used| used.base.upstream() == Some(&upstream.reference));
        let platforms: BTreeSet<&Platform> =
            uses.map(|used| used.platform.as_ref().unwrap_or(own)).collect();
        for platform in platforms {
            if !self.is_same_image(upstream, was, platform).await {
                return false;
            }
        }
        true
    }

    /// Whether both digests are of one image, or of indexes with the same manifest for this platform.
    async fn is_same_image(&self, upstream: &Upstream, was: &Digest, platform: &Platform) -> bool {
        if upstream.place != DigestSource::Registry {
            return false;
        }
        let name = upstream.reference.to_string();
        let is_here = |digest| self.of_one_image.get(&name).is_some_and(|all| all.contains(digest));
        if is_here(was) && is_here(&upstream.digest) {
            return true;
        }
        if !self.is_online {
            return false;
        }
        let repository = &upstream.reference.repository;
        let now = self.manifest(repository, &upstream.digest, platform).await;
        now.is_some() && self.manifest(repository, was, platform).await == now
    }

    /// The rollback after which a node's published image stays, if its inputs have not changed since.
    async fn hold(
        &self,
        node: &Node,
        known: &Parents,
        found: &BTreeMap<NodeName, Staged>,
    ) -> Option<&Hold> {
        for hold in self.holds.get(&node.name)? {
            let Some(image) = &hold.image else { return Some(hold) };
            let today = &self.inputs[&node.name];
            let is_held = |(parent, bad): (&NodeName, &Digest)| {
                found.get(parent).is_some_and(|staged| staged.hold.is_some())
                    || known.get(parent) == Some(bad)
            };
            if !image.is_of(today) || !image.parents.iter().all(is_held) {
                continue;
            }
            let mut is_same = true;
            for (name, bad) in &image.upstreams {
                // An upstream that cannot be read is not a new one.
                let Some(now) = self.upstreams.get(name).filter(|now| now.digest != *bad) else {
                    continue;
                };
                is_same &= self.is_same_for(node, now, bad).await;
            }
            if is_same {
                return Some(hold);
            }
        }
        None
    }

    /// If the old index was deleted or the registry does not answer, the upstream counts as changed.
    async fn manifest(
        &self,
        repository: &Repository,
        digest: &Digest,
        platform: &Platform,
    ) -> Option<Digest> {
        let key = (repository.to_string(), digest.clone(), platform.clone());
        let known = || self.manifests.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(found) = known().get(&key) {
            return found.clone();
        }
        let registries = self.prober.sources.registries;
        let mut found = None;
        for place in Mirror::places(self.hierarchy.mirror.as_ref(), repository) {
            found = registries.manifest_for(&place, digest, platform).await.unwrap_or(None);
            if found.is_some() {
                break;
            }
        }
        known().insert(key, found.clone());
        found
    }

    /// The epoch of a node, and whether a refresh is due.
    fn date(&self, node: &Node, asked: Option<LastBuild>, staged: &mut Staged) {
        let Some(LastBuild { created, built_from, .. }) = asked else {
            staged.epoch = node.refresh.every.map(|every| Epoch::first(every, self.now));
            return;
        };
        let epoch = built_from.as_ref().and_then(|record| record.inputs.epoch);
        staged.epoch = epoch;
        staged.built_from = built_from;
        let last = epoch.map(Epoch::time).or(created);
        if let Some((epoch, due)) = last.and_then(|last| self.due(node, last)) {
            staged.epoch = Some(epoch);
            staged.due = Some(due);
        }
    }

    /// By age or by schedule: the later one.
    fn due(&self, node: &Node, last: Timestamp) -> Option<(Epoch, Due)> {
        let every = node.refresh.every;
        let age = every
            .and_then(|every| Some((Epoch::due(last, every, self.now)?, Due::Age { every, last })));
        let schedule = node.schedule.as_ref().filter(|_| self.by_schedule);
        let tick = schedule.and_then(|schedule| schedule.due(last, self.now));
        let tick = tick.map(|at| (Epoch::at(at), Due::Tick { at, last }));
        age.into_iter().chain(tick).max_by_key(|(epoch, _)| *epoch)
    }

    /// Whether the labels of its published image are always necessary.
    fn has_refresh(&self, node: &Node) -> bool {
        node.refresh.every.is_some()
            || node.refresh.packages.is_some()
            || (self.by_schedule && node.schedule.is_some())
    }

    /// Queries the packages of images that are due, or that are current and have no age. Returns the nodes
    /// whose epoch changes: due images without updates keep their epoch.
    async fn look_for_updates(&self, level: &mut [(&Node, Staged)]) -> Vec<usize> {
        let asked: Vec<_> = level
            .iter()
            .enumerate()
            .filter(|(_, (node, staged))| {
                let waits = node.refresh.every.is_some() || node.schedule.is_some();
                let is_current = staged.digest.is_some() && !waits;
                staged.due.is_some() || is_current
            })
            .filter_map(|(n, (node, staged))| {
                let published = (self.published.get(&node.name)?, staged.built_from.as_ref());
                Some((n, self.prober.updates(node, node.refresh.packages?, published)))
            })
            .collect();
        let answers: Vec<_> = stream::iter(asked)
            .map(async |(n, updates)| (n, updates.await))
            .buffered(PROBED_AT_ONCE)
            .collect()
            .await;
        let mut moved = Vec::new();
        for (n, updates) in answers {
            let (_, staged) = &mut level[n];
            match updates {
                Ok(updates) => {
                    match (staged.due, updates.is_empty()) {
                        (Some(_), true) => {
                            staged.due = None;
                            staged.checked = staged.epoch;
                            let built_from = staged.built_from.as_ref();
                            staged.epoch = built_from.and_then(|record| record.inputs.epoch);
                            moved.push(n);
                        }
                        (None, false) => {
                            staged.due = Some(Due::Updates);
                            staged.epoch = Some(Epoch::at(self.now));
                            moved.push(n);
                        }
                        (Some(_), false) | (None, true) => {}
                    }
                    staged.updates = Some(updates);
                }
                Err(why) => staged.silent = Some(why),
            }
        }
        moved
    }

    /// Reads the build tags of some of these nodes.
    async fn find(
        &self,
        level: &mut [(&Node, Staged)],
        which: &[usize],
        known: &Parents,
    ) -> Result<(), StoreError> {
        let mut tags: Vec<(usize, Tagged)> = Vec::with_capacity(which.len());
        for &n in which {
            let (node, staged) = &mut level[n];
            let parents: Parents = self
                .hierarchy
                .parents(&node.name)
                .map(|parent| (parent.name.clone(), known[&parent.name].clone()))
                .collect();
            let fingerprint = staged.inputs(&self.inputs[&node.name]).fingerprint(&parents);
            tags.push((n, node.repository.tagged(fingerprint.build_tag())));
            staged.fingerprint = Some(fingerprint);
        }
        let open = tags.iter().map(|(_, tag)| tag).filter(|tag| !self.heads.contains_key(tag));
        let heads = self.store.heads(open.cloned().collect()).await?;
        for (n, tag) in tags {
            let staged = &mut level[n].1;
            staged.digest = self.heads.get(&tag).or_else(|| heads.get(&tag)).cloned();
            if staged.digest.is_some() {
                // Another run has already refreshed it for this epoch.
                staged.due = None;
            }
        }
        Ok(())
    }

    /// Reads published images in the order of the nodes; `None` for a node without one.
    async fn ask<'n>(
        &self,
        nodes: &[&'n Node],
    ) -> Result<Vec<(&'n Node, Option<LastBuild>)>, StoreError> {
        stream::iter(nodes.iter().copied())
            .map(async |node| {
                let Some(digest) = self.published.get(&node.name) else { return Ok((node, None)) };
                let last = last_build(self.store, (self.hierarchy, node), digest).await?;
                Ok((node, Some(last.unwrap_or_default())))
            })
            .buffered(DESCRIBED_AT_ONCE)
            .try_collect()
            .await
    }
}
