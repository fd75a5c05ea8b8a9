//! The engines of a run, and what each of them has to do.
//!
//! **Invariant:** a step uses one engine from its beginning to its end. Images move between engines by the registry
//! only, so a step whose parents are not stored yet runs on the engine that has them.

use std::{
    collections::{BTreeSet, HashMap},
    num::NonZeroUsize,
    sync::Arc,
    time::Duration,
};

use tokio::{sync::mpsc, time::sleep};

use super::{bases::Bases, lacking::can_build, step::Workshop};
use crate::{
    engine::{Capabilities, Engine},
    hierarchy::{Flatten, Hierarchy, Node, NodeName},
    image::Platform,
    plan::order::placement::{EngineLoad, Fitness, choose, is_possible},
};

/// How many images an engine may write at once, for each job.
const EXPORTS_A_JOB: usize = 2;
/// The interval of requests to an engine that is gone.
const ASKED_EVERY: Duration = Duration::from_secs(2);

/// An engine that a run may use.
#[derive(Debug)]
pub struct PoolEngine<E, S> {
    /// The data of the run, with this engine and a store that uses it.
    pub shop: Arc<Workshop<E, S>>,
    /// Its address, for messages.
    pub name: String,
    /// The platforms whose programs its processor runs. Empty: it is the only engine, and builds everything.
    pub platforms: BTreeSet<Platform>,
    /// Whether it also builds for other platforms.
    pub emulates: bool,
    pub capabilities: Capabilities,
    /// Where its containers run, if not in itself.
    pub elsewhere: Option<Elsewhere>,
    /// How many images may be built at once.
    pub slots: NonZeroUsize,
}

impl<E, S> Clone for PoolEngine<E, S> {
    fn clone(&self) -> Self {
        let Self { shop, name, platforms, emulates, capabilities, elsewhere, slots } = self;
        let (shop, name, platforms) = (shop.clone(), name.clone(), platforms.clone());
        let (emulates, capabilities, slots) = (*emulates, *capabilities, *slots);
        let elsewhere = elsewhere.clone();
        Self { shop, name, platforms, emulates, capabilities, elsewhere, slots }
    }
}

impl<E, S> PoolEngine<E, S> {
    /// The only engine of a run.
    pub fn only(shop: Arc<Workshop<E, S>>) -> Self {
        let slots = shop.options.jobs;
        let (name, platforms) = (String::new(), BTreeSet::new());
        let capabilities = Capabilities::UNKNOWN;
        let (emulates, elsewhere) = (true, None);
        Self { shop, name, platforms, emulates, capabilities, elsewhere, slots }
    }
}

/// The engines that run the containers of an engine that only builds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Elsewhere {
    pub platforms: BTreeSet<Platform>,
    /// Whether one of them runs other platforms, too.
    pub emulates: bool,
}

impl Elsewhere {
    /// Whether an image gets all that it needs beside its build.
    fn can_finish(&self, hierarchy: &Hierarchy, node: &Node) -> bool {
        // A flattened image would be in the other engine only.
        if node.flatten != Flatten::No {
            return false;
        }
        let is_run = self.emulates || self.platforms.contains(hierarchy.platform_of(node));
        is_run || Self::needed(hierarchy, node).is_none()
    }

    /// What of an image buildkitd alone cannot do.
    pub fn lacking(hierarchy: &Hierarchy, node: &Node) -> &'static str {
        let flatten = (node.flatten != Flatten::No).then_some("`flatten`");
        flatten.or_else(|| Self::needed(hierarchy, node)).unwrap_or("containers")
    }

    fn needed(hierarchy: &Hierarchy, node: &Node) -> Option<&'static str> {
        if hierarchy.tests(&node.name).next().is_some() {
            Some("tests")
        } else if !node.gates.is_empty() {
            Some("`gates`")
        } else if node.tags.iter().any(|tag| tag.contents().next().is_some()) {
            Some("tags that name something in the image")
        } else {
            None
        }
    }
}

/// What decides which images an engine builds.
#[derive(Clone, Copy, Debug)]
pub struct EngineSkills<'a> {
    pub platforms: &'a BTreeSet<Platform>,
    pub emulates: bool,
    pub capabilities: Capabilities,
    pub elsewhere: Option<&'a Elsewhere>,
}

impl EngineSkills<'_> {
    /// How well it builds a node.
    pub fn fitness(&self, hierarchy: &Hierarchy, node: &Node) -> Fitness {
        if self.platforms.is_empty() {
            return Fitness::Native;
        }
        // A `FROM --platform=$BUILDPLATFORM` means the platform of the first engine.
        let builds_here = node.dockerfile.uses.iter().all(|used| {
            let platform = used.platform.as_ref().filter(|it| **it == hierarchy.platform);
            platform.is_none_or(|platform| self.platforms.contains(platform))
        });
        let can_finish = self.elsewhere.is_none_or(|it| it.can_finish(hierarchy, node));
        if !builds_here || !can_finish || !can_build(node, self.capabilities) {
            return Fitness::Unfit;
        }
        if self.platforms.contains(hierarchy.platform_of(node)) {
            Fitness::Native
        } else if self.emulates {
            Fitness::Emulated
        } else {
            Fitness::Unfit
        }
    }
}

/// The state of the engines.
pub(super) struct EnginePool<'a, E, S> {
    engines: Vec<PoolMember<'a, E, S>>,
    /// The engine of each step that began.
    at: HashMap<NodeName, usize>,
    returns: mpsc::UnboundedSender<usize>,
}

struct PoolMember<'a, E, S> {
    engine: &'a PoolEngine<E, S>,
    bases: Arc<Bases>,
    /// Those of the time before it was gone.
    before: Vec<Arc<Bases>>,
    /// It stopped, or its disk is full.
    is_gone: bool,
    has_stopped: bool,
}

/// The images of a run in one engine.
pub(super) struct PooledBases<E> {
    pub(super) engine: Arc<E>,
    pub(super) bases: Arc<Bases>,
    pub(super) has_stopped: bool,
}

/// What a step needs of its engine.
pub(super) struct StepEngine<E, S> {
    pub(super) shop: Arc<Workshop<E, S>>,
    pub(super) bases: Arc<Bases>,
    /// Whether another engine could do it if this one stops.
    pub(super) has_others: bool,
}

impl<'a, E: Engine, S> EnginePool<'a, E, S> {
    /// The engines, and the numbers of those that are back.
    pub(super) fn new(engines: &'a [PoolEngine<E, S>]) -> (Self, mpsc::UnboundedReceiver<usize>) {
        let (returns, returned) = mpsc::unbounded_channel();
        let member = |engine: &'a PoolEngine<E, S>| PoolMember {
            engine,
            bases: Arc::new(Bases::new(&engine.shop.run.id)),
            before: Vec::new(),
            is_gone: false,
            has_stopped: false,
        };
        let engines = engines.iter().map(member).collect();
        (Self { engines, at: HashMap::new(), returns }, returned)
    }

    pub(super) fn is_several(&self) -> bool {
        self.engines.len() > 1
    }

    pub(super) fn name(&self, engine: usize) -> &str {
        &self.engines[engine].engine.name
    }

    /// The load of each engine, by the steps that are building and those of them whose image the engine writes.
    pub(super) fn loads<'n>(
        &self,
        building: impl Iterator<Item = &'n NodeName>,
        exporting: &BTreeSet<NodeName>,
    ) -> Vec<EngineLoad> {
        let mut counts = vec![(0_usize, 0_usize); self.engines.len()];
        for node in building {
            let Some(&engine) = self.at.get(node) else { continue };
            counts[engine].0 += 1;
            counts[engine].1 += usize::from(exporting.contains(node));
        }
        let load = |(member, (building, exporting)): (&PoolMember<'_, E, S>, (usize, usize))| {
            let slots = member.engine.slots.get();
            // An image that the engine writes takes no place, since other builds compute meanwhile. With one slot,
            // images are built strictly one after the other.
            let exporting = if slots == 1 { 0 } else { exporting };
            let taken = building - exporting;
            let free = if exporting < EXPORTS_A_JOB * slots {
                slots.cast_signed() - taken.cast_signed()
            } else {
                0
            };
            EngineLoad { slots, free, is_gone: member.is_gone }
        };
        self.engines.iter().zip(counts).map(load).collect()
    }

    /// The engine for a step that is ready; `None`: it waits. `parents` are its parents, `made` those of them that are
    /// not stored yet.
    pub(super) fn place<'n>(
        &self,
        node: &Node,
        loads: &[EngineLoad],
        (parents, made): (impl Iterator<Item = &'n NodeName>, impl Iterator<Item = &'n NodeName>),
    ) -> Option<usize> {
        let bound: BTreeSet<usize> =
            made.filter_map(|parent| self.at.get(parent).copied()).collect();
        if bound.len() > 1 {
            return None;
        }
        let mut parents = parents.filter_map(|parent| self.at.get(parent).copied());
        let home = bound.first().copied().or_else(|| parents.next());
        let fits = |engine: usize| self.fitness(engine, node);
        let chosen = choose(loads, fits, (home, !bound.is_empty()));
        if chosen.is_some() || is_possible(loads, fits) {
            return chosen;
        }
        // No engine that could do it answers: the step says so.
        let mut all = 0..self.engines.len();
        all.find(|&engine| fits(engine) != Fitness::Unfit && loads[engine].free > 0)
    }

    fn fitness(&self, engine: usize, node: &Node) -> Fitness {
        let PoolEngine { shop, platforms, emulates, capabilities, elsewhere, .. } =
            self.engines[engine].engine;
        let (emulates, capabilities) = (*emulates, *capabilities);
        let elsewhere = elsewhere.as_ref();
        let skills = EngineSkills { platforms, emulates, capabilities, elsewhere };
        skills.fitness(&shop.hierarchy, node)
    }

    /// A step begins on an engine.
    pub(super) fn begins(&mut self, node: &Node, engine: usize) -> StepEngine<E, S> {
        self.at.insert(node.name.clone(), engine);
        let member = &self.engines[engine];
        StepEngine {
            shop: member.engine.shop.clone(),
            bases: member.bases.clone(),
            has_others: self.has_others(node, engine),
        }
    }

    /// Whether another engine that answers could do it.
    pub(super) fn has_others(&self, node: &Node, engine: usize) -> bool {
        (0..self.engines.len()).any(|other| {
            other != engine
                && !self.engines[other].is_gone
                && self.fitness(other, node) != Fitness::Unfit
        })
    }

    pub(super) fn engine_of(&self, node: &NodeName) -> Option<usize> {
        self.at.get(node).copied()
    }

    /// From now on, no step begins on an engine. Returns whether this is new. If it stopped, it is asked until it
    /// answers.
    pub(super) fn is_lost(&mut self, engine: usize, has_stopped: bool) -> bool {
        let member = &mut self.engines[engine];
        member.has_stopped |= has_stopped;
        if std::mem::replace(&mut member.is_gone, true) {
            return false;
        }
        if has_stopped {
            self.at.retain(|_, at| *at != engine);
            let (asked, returns) = (member.engine.shop.engine.clone(), self.returns.clone());
            tokio::spawn(async move {
                loop {
                    sleep(ASKED_EVERY).await;
                    if returns.is_closed() || asked.ping().await.is_ok() {
                        break;
                    }
                }
                _ = returns.send(engine);
            });
        }
        true
    }

    /// The engine answers again. What it had may be gone.
    pub(super) fn is_back(&mut self, engine: usize) {
        let member = &mut self.engines[engine];
        (member.is_gone, member.has_stopped) = (false, false);
        let bases = Arc::new(Bases::new(&member.engine.shop.run.id));
        member.before.push(std::mem::replace(&mut member.bases, bases));
    }

    /// The bases of the first engine.
    pub(super) fn first(&self) -> &Arc<Bases> {
        &self.engines[0].bases
    }

    /// The bases of each engine. Of an engine that stopped, they are not removed.
    pub(super) fn bases(&self) -> Vec<PooledBases<E>> {
        let of = |member: &PoolMember<'_, E, S>| {
            let (engine, has_stopped) = (member.engine.shop.engine.clone(), member.has_stopped);
            let all = member.before.iter().chain([&member.bases]);
            let of_engine = move |bases: &Arc<Bases>| PooledBases {
                engine: engine.clone(),
                bases: bases.clone(),
                has_stopped,
            };
            all.map(of_engine).collect::<Vec<_>>()
        };
        self.engines.iter().flat_map(of).collect()
    }
}
