//! Executes a plan in parallel, and stops at the first failure.
//!
//! **Invariant:** one loop owns all state, and only it calls the reporter. Steps only send it messages. So
//! every reporter gets the events in the order in which they happened.
//! **Invariant:** nothing here prints.

mod ahead;
mod attempts;
pub mod audit;
mod bases;
mod budget;
mod build_logins;
mod lost_engine;
mod compare;
mod content_tags;
mod flatten;
mod gates;
mod host_command;
mod labels;
mod lacking;
mod mask;
pub mod mirror;
pub mod observe;
mod prepare;
mod secrets;
pub mod sign;
mod size_before;
mod engine_messages;
mod pool;
pub mod state;
mod step;
mod step_events;
mod storage_wait;
pub mod trigger;
mod trouble;
mod verify;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    num::NonZeroUsize,
    sync::Arc,
    time::Duration,
};

use futures_util::future::join_all;
use tokio::{
    sync::{mpsc, watch},
    task::{AbortHandle, Id, JoinSet},
    time::{Instant, MissedTickBehavior},
};

use self::{
    ahead::{Ahead, Moved},
    pool::{EnginePool, PooledBases, StepEngine},
    step::{LostEngine, StepEnd, Work},
    step_events::Inbox,
    storage_wait::StorageWait,
    verify::Verifying,
};
pub use self::{
    bases::{failed_of_all_runs, pins_of_all_runs, run_of_failed, run_of_pin, streamed_images},
    labels::Origin,
    lacking::{LackedOption, refuse_lacked, without_effect},
    pool::{Elsewhere, EngineSkills, PoolEngine},
    prepare::run_of_folder,
    secrets::{SecretError, Secrets},
    step::Workshop,
};
use crate::{
    engine::{Engine, EngineError},
    event::{EventKind, Executed, Outcome, RunTask, StopReason, TICK, Telling},
    fingerprint::Parents,
    hierarchy::{NodeName, OnFailure},
    image::{Digest, Tagged},
    plan::{
        Action, Step,
        order::{ReadyQueue, RunSoFar, estimate, weighed},
    },
    publish::store::Store,
};

/// The longest time for removing pins, and then for removing containers, after a stop signal.
pub const CLEANUP: Duration = Duration::from_secs(4);
/// With more remaining steps than this, the estimate is updated once a second instead of after each step:
/// simulating 10,000 steps takes some milliseconds.
const FEW: usize = 200;
const ESTIMATE_AGAIN: Duration = Duration::from_secs(1);

#[derive(Clone, Copy, Debug)]
pub struct RunOptions {
    /// How many images may be built at once.
    pub jobs: NonZeroUsize,
    /// How many images may be tested at once.
    pub test_jobs: NonZeroUsize,
    /// Whether children are built while their parents are tested.
    pub speculate: bool,
    /// Continue after a failure with steps that do not depend on it.
    pub keep_going: bool,
    /// Store tested images. If false, the run changes no store.
    pub push: bool,
}

/// Runs every step of the plan, or as many as it can.
///
/// A failed step is an outcome, not an error. Every step has an outcome.
///
/// # Panics
/// Without an engine.
pub async fn execute<E: Engine, S: Store>(
    engines: &[PoolEngine<E, S>],
    stops: &mut mpsc::Receiver<StopReason>,
    telling: &mut Telling<'_>,
) -> Executed {
    let shop = &engines[0].shop;
    let (pool, mut returned) = EnginePool::new(engines);
    let (inbox, mut events) = Inbox::new();
    let settled = watch::Sender::new(shop.plan.given.clone());
    let (ahead, mut moved) = Ahead::new(shop.options, settled.subscribe());
    let mut run = Run {
        shop,
        steps: shop.plan.steps.iter().map(|step| (&step.node, step)).collect(),
        pool,
        ahead: Arc::new(ahead),
        settled,
        queue: ReadyQueue::new(&weighed(&shop.plan, &shop.history)),
        tasks: JoinSet::new(),
        running: HashMap::new(),
        building: HashMap::new(),
        exporting: BTreeSet::new(),
        waiting: BTreeSet::new(),
        made: BTreeMap::new(),
        storage_wait: StorageWait::default(),
        cancels: HashMap::new(),
        skipped: HashMap::new(),
        pointless: BTreeSet::new(),
        moving: BTreeSet::new(),
        inbox,
        telling,
        estimated: None,
        done: Executed::default(),
    };
    let mut overtaken = shop.overtaken.clone();
    overtaken.mark_changed();
    let mut tick = tokio::time::interval(TICK);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);

    run.estimate();
    loop {
        run.start_ready_steps();
        if run.tasks.is_empty() {
            break;
        }
        tokio::select! {
            // Stop signals first, so that many lines do not delay them; the events of a step before its end.
            biased;
            Some(reason) = stops.recv() => run.stop(reason),
            Ok(()) = overtaken.changed() => run.give_up(overtaken.borrow_and_update().clone()),
            Some(event) = events.recv() => run.tell(event),
            Some((node, moved)) = moved.recv() => run.has_moved(node, moved),
            Some(engine) = returned.recv() => run.engine_is_back(engine),
            Some(ended) = run.tasks.join_next_with_id() => match ended {
                Ok((id, ended)) => run.finish(id, ended),
                Err(error) if error.is_cancelled() => run.finish(error.id(), StepEnd::cancelled()),
                Err(error) => std::panic::resume_unwind(error.into_panic()),
            },
            nodes = run.storage_wait.expired() => {
                for node in &nodes {
                    run.queue.succeeded(node);
                }
            }
            _ = tick.tick() => run.telling.tick(),
        }
    }
    while let Ok(event) = events.try_recv() {
        run.tell(event);
    }
    for node in run.queue.drain() {
        run.record(node, Outcome::Cancelled, Duration::ZERO);
    }
    let is_cancelled = |(outcome, _): &(Outcome, Duration)| *outcome == Outcome::Cancelled;
    if run.done.outcomes.values().any(is_cancelled) {
        run.done.stopped = run.done.stopped.max(Some(StopReason::Overtaken));
    }
    tokio::select! {
        biased;
        Some(reason) = stops.recv() => run.stop(reason),
        () = run.verify_updates() => {}
    }
    run.release(stops).await;
    run.done
}

struct Run<'a, 't, E, S> {
    /// That of the first engine.
    shop: &'a Arc<Workshop<E, S>>,
    pool: EnginePool<'a, E, S>,
    steps: HashMap<&'a NodeName, &'a Step>,
    ahead: Arc<Ahead>,
    /// The state for steps that started before their parents ended.
    settled: watch::Sender<Parents>,
    queue: ReadyQueue<NodeName>,
    tasks: JoinSet<StepEnd>,
    running: HashMap<Id, (NodeName, Instant)>,
    /// The running steps without an image.
    building: HashMap<NodeName, Instant>,
    /// Those of `building` whose image the engine writes.
    exporting: BTreeSet<NodeName>,
    /// The running steps of which nothing happens.
    waiting: BTreeSet<NodeName>,
    /// The images of the other running steps.
    made: BTreeMap<NodeName, Digest>,
    storage_wait: StorageWait,
    cancels: HashMap<NodeName, AbortHandle>,
    /// Running steps that are cancelled because another one failed.
    skipped: HashMap<NodeName, NodeName>,
    /// Steps that newer changes made obsolete.
    pointless: BTreeSet<NodeName>,
    /// Running steps that are cancelled because their engine is gone, and begin again on another one.
    moving: BTreeSet<NodeName>,
    inbox: Inbox,
    telling: &'a mut Telling<'t>,
    /// The last estimate and its time.
    estimated: Option<(Instant, Option<Duration>)>,
    done: Executed,
}

impl<E: Engine, S: Store> Run<'_, '_, E, S> {
    fn start_ready_steps(&mut self) {
        while self.done.stopped.is_none()
            && let Some((node, engine)) = self.next()
        {
            self.queue.take(&node);
            if self.pointless.contains(&node) {
                self.record(node, Outcome::Cancelled, Duration::ZERO);
                continue;
            }
            match self.steps[&node].action.clone() {
                Action::Keep { .. } if self.is_to_note(&node) => self.start(node, engine),
                Action::Keep { digest } if self.steps[&node].is_held() => {
                    self.settle(node, Outcome::Held { digest });
                }
                Action::Keep { digest } => self.settle(node, Outcome::Kept { digest }),
                Action::Promote { .. } if self.has_content_tags(&node) => self.start(node, engine),
                Action::Promote { digest } => self.settle(node, Outcome::Reused { digest }),
                Action::Build { .. } => self.start(node, engine),
            }
        }
    }

    /// The first ready step for which an engine has a place, and the engine.
    fn next(&self) -> Option<(NodeName, usize)> {
        let loads = self.pool.loads(self.building.keys(), &self.exporting);
        if loads.iter().all(|load| load.free <= 0) {
            return None;
        }
        let place = |name: &NodeName| {
            let node = self.shop.hierarchy.get(name)?;
            // What is not built needs no engine of its platform.
            if !matches!(self.steps[name].action, Action::Build { .. }) {
                return Some(0);
            }
            let parents = self.steps[name].after.iter();
            // A parent that begins again gives no image until then.
            if parents.clone().any(|parent| self.moving.contains(parent)) {
                return None;
            }
            let is_made = |parent: &&NodeName| {
                self.made.contains_key(*parent) || self.is_in_one_engine(parent)
            };
            self.pool.place(node, &loads, (parents.clone(), parents.filter(is_made)))
        };
        self.queue.ready().find_map(|name| Some((name.clone(), place(name)?)))
    }

    /// Whether this run has built it, and puts it in no store.
    fn is_in_one_engine(&self, node: &NodeName) -> bool {
        let outcome = self.done.outcomes.get(node).map(|(outcome, _)| outcome);
        !self.shop.options.push && matches!(outcome, Some(Outcome::Built { .. }))
    }

    /// Whether to store that an image is up to date for an epoch.
    fn is_to_note(&self, node: &NodeName) -> bool {
        self.steps[node].checked.is_some() && self.shop.options.push
    }

    /// Whether its tags name something in its image.
    fn has_content_tags(&self, node: &NodeName) -> bool {
        let node = self.shop.hierarchy.get(node);
        node.is_some_and(|node| node.tags.iter().any(|tag| tag.contents().next().is_some()))
    }

    /// Ends a step that needs no work.
    fn settle(&mut self, node: NodeName, outcome: Outcome) {
        self.queue.succeeded(&node);
        self.record(node, outcome, Duration::ZERO);
    }

    fn start(&mut self, node: NodeName, engine: usize) {
        let parents = self.parents(&node);
        let step = self.steps[&node].clone();
        let hierarchy = &self.shop.hierarchy;
        let of_node = hierarchy.get(&node).expect("a step is a node of the hierarchy");
        let place = self.pool.begins(of_node, engine);
        let (ahead, inbox) = (self.ahead.clone(), self.inbox.clone());
        let engine = self.pool.is_several().then(|| self.pool.name(engine).to_owned());
        let started = EventKind::StepStarted { node: node.clone(), engine: engine.clone() };
        self.telling.emit(started);
        let task = self.tasks.spawn(async move {
            let StepEngine { shop, bases, has_others } = place;
            let (shop, bases, ahead) = (&*shop, &*bases, &*ahead);
            let work = Work { shop, bases, ahead, step: &step, parents, engine, has_others };
            work.execute(inbox).await
        });
        self.running.insert(task.id(), (node.clone(), Instant::now()));
        self.building.insert(node.clone(), Instant::now());
        self.cancels.insert(node, task);
    }

    /// The new image of each parent.
    fn parents(&self, node: &NodeName) -> Parents {
        let digest = |parent: &NodeName| {
            let ended = self.done.outcomes.get(parent).and_then(|(outcome, _)| outcome.digest());
            let made = ended.or_else(|| self.made.get(parent));
            made.or_else(|| self.shop.plan.given.get(parent)).cloned()
        };
        self.shop
            .hierarchy
            .parents(node)
            .filter_map(|parent| Some((parent.name.clone(), digest(&parent.name)?)))
            .collect()
    }

    fn has_moved(&mut self, node: NodeName, moved: Moved) {
        if self.moving.contains(&node) {
            return;
        }
        let (digest, is_tested) = match moved {
            Moved::Building => {
                self.exporting.remove(&node);
                return;
            }
            Moved::Exporting => {
                if self.building.contains_key(&node) {
                    self.exporting.insert(node);
                }
                return;
            }
            Moved::Made { digest, is_tested } => (digest, is_tested),
        };
        // Its place is free, and its children may begin.
        self.exporting.remove(&node);
        let Some(since) = self.building.remove(&node) else { return };
        self.done.built.insert(node.clone(), since.elapsed());
        if self.shop.options.speculate && !self.storage_wait.begins(&node, is_tested) {
            self.queue.succeeded(&node);
        }
        self.made.insert(node, digest);
    }

    fn finish(
        &mut self,
        id: Id,
        StepEnd { mut outcome, attempts, waited, over_budget, content_tags, reports, lost }: StepEnd,
    ) {
        let (node, since) = self.running.remove(&id).expect("every task is a running step");
        let took = since.elapsed().saturating_sub(waited);
        self.cancels.remove(&node);
        self.building.remove(&node);
        self.exporting.remove(&node);
        self.waiting.remove(&node);
        let made = self.made.remove(&node);
        self.storage_wait.ends(&node, made.as_ref().zip(outcome.digest()));
        if self.is_put_back(&node, &outcome, lost.as_ref()) {
            return;
        }
        if attempts > 1 {
            self.done.attempts.insert(node.clone(), attempts);
        }
        if !over_budget.is_empty() && !matches!(outcome, Outcome::Cancelled) {
            self.done.over_budget.insert(node.clone(), over_budget);
        }
        self.done.content_tags.insert(node.clone(), content_tags);
        self.done.reports.insert(node.clone(), reports);
        if let Some(failed) = self.skipped.remove(&node) {
            outcome = Outcome::Skipped { failed: vec![failed] };
        }
        let Outcome::Failed(failure) = &outcome else {
            if outcome.digest().is_some() {
                self.queue.succeeded(&node);
            }
            return self.record(node, outcome, took);
        };
        let stops = failure.on_failure == OnFailure::Block && !self.shop.options.keep_going;
        let below = self.queue.failed(&node);
        self.record(node.clone(), outcome, took);
        for skipped in below {
            if let Some(task) = self.cancels.get(&skipped) {
                task.abort();
                self.skipped.insert(skipped, node.clone());
            } else if !self.done.outcomes.contains_key(&skipped) {
                let outcome = Outcome::Skipped { failed: vec![node.clone()] };
                self.record(skipped, outcome, Duration::ZERO);
            }
        }
        if stops {
            self.stop(StopReason::StepFailed);
        }
    }

    /// Whether a step that ended begins again, because its engine is gone.
    fn is_put_back(
        &mut self,
        node: &NodeName,
        outcome: &Outcome,
        lost: Option<&LostEngine>,
    ) -> bool {
        let was_moving = self.moving.remove(node);
        let of_node = self.shop.hierarchy.get(node).expect("a step is a node of the hierarchy");
        if self.done.stopped.is_some() || self.skipped.contains_key(node) {
            return false;
        }
        let engine = self.pool.engine_of(node);
        let has_others = engine.is_some_and(|engine| self.pool.has_others(of_node, engine));
        if let (Some(lost), Some(engine), true) = (lost, engine, has_others) {
            self.engine_is_lost(engine, lost);
        } else if !was_moving || lost.is_none() && *outcome != Outcome::Cancelled {
            return false;
        }
        let has_ended = |parent: &&NodeName| {
            let ended = self.done.outcomes.get(*parent);
            ended.is_some_and(|(outcome, _)| outcome.digest().is_some())
                || self.made.contains_key(*parent)
        };
        let after = self.steps[node].after.iter().filter(|parent| !has_ended(parent));
        self.queue.put_back(node, after.cloned().collect());
        true
    }

    /// No more steps begin on this engine. If it stopped, those that run begin again elsewhere.
    fn engine_is_lost(&mut self, engine: usize, lost: &LostEngine) {
        let (name, has_stopped) = (self.pool.name(engine).to_owned(), lost.has_stopped);
        let on_it: Vec<NodeName> = self
            .running
            .values()
            .map(|(node, _)| node)
            .filter(|node| self.pool.engine_of(node) == Some(engine))
            .cloned()
            .collect();
        if !self.pool.is_lost(engine, has_stopped) {
            return;
        }
        let message = if has_stopped {
            format!(
                "the engine at {name} is gone: its builds begin again on other engines: {}",
                lost.why
            )
        } else {
            format!("the engine at {name} gets no more builds: {}", lost.why)
        };
        self.telling.emit(EventKind::Warning { node: None, message });
        for node in on_it.into_iter().filter(|_| has_stopped) {
            // Its image went with the engine: nothing may be built on it.
            self.made.remove(&node);
            self.storage_wait.ends(&node, None);
            if let Some(task) = self.cancels.get(&node) {
                task.abort();
                self.moving.insert(node);
            }
        }
    }

    fn engine_is_back(&mut self, engine: usize) {
        self.pool.is_back(engine);
        let message = format!("the engine at {} answers again", self.pool.name(engine));
        self.telling.emit(EventKind::Warning { node: None, message });
    }

    /// Starts no more steps, and cancels those that run: dropping a step cancels its build.
    fn stop(&mut self, reason: StopReason) {
        if self.done.stopped >= Some(reason) {
            return;
        }
        self.done.stopped = Some(reason);
        self.tell_estimate(None);
        let running = self.tasks.len() - self.waiting.len();
        self.telling.emit(EventKind::StopBegan { reason, running });
        self.tasks.abort_all();
    }

    /// Cancels exactly the obsolete builds; the others continue.
    fn give_up(&mut self, pointless: BTreeSet<NodeName>) {
        let open = |node: &&NodeName| {
            self.steps.contains_key(*node) && !self.done.outcomes.contains_key(*node)
        };
        let new: Vec<NodeName> =
            pointless.difference(&self.pointless).filter(open).cloned().collect();
        self.pointless = pointless;
        if new.is_empty() || self.done.stopped.is_some() {
            return;
        }
        let cancelled: Vec<_> = new.iter().filter_map(|node| self.cancels.get(node)).collect();
        let running = self.tasks.len() - cancelled.len();
        for task in &cancelled {
            task.abort();
        }
        self.telling.emit(EventKind::StopBegan { reason: StopReason::Overtaken, running });
    }

    /// Reports which images now have the updates.
    async fn verify_updates(&mut self) {
        let bases = self.pool.first().clone();
        let verifying = Verifying { shop: self.shop, bases: &bases, done: &self.done };
        if !verifying.is_needed() {
            return;
        }
        self.telling.emit(EventKind::TaskStarted { task: RunTask::Packages });
        let (verified, unknown) = tokio::select! {
            verified = verifying.verify() => verified,
            () = self.telling.wait() => unreachable!("it does not end"),
        };
        for (node, why) in unknown {
            let message = format!("which packages it has now is not known: {why}");
            self.telling.emit(EventKind::Warning { node: Some(node), message });
        }
        let lines = verified.lines();
        if !lines.is_empty() {
            self.telling.emit(EventKind::PackagesFixed { lines });
        }
    }

    /// Removes the pins; after a stop signal for at most [`CLEANUP`]. The next run removes the others.
    async fn release(&mut self, stops: &mut mpsc::Receiver<StopReason>) {
        let is_stopped = self.done.stopped >= Some(StopReason::Interrupted);
        let all = &self.pool.bases();
        let mut reason = None;
        let why = {
            let released = release_all(all);
            let patience = async {
                if !is_stopped {
                    match stops.recv().await {
                        Some(signal) => reason = Some(signal),
                        None => std::future::pending().await,
                    }
                }
                tokio::time::sleep(CLEANUP).await;
            };
            tokio::select! {
                released = released => released.err().map(|error| error.to_string()),
                () = patience => Some("the engine does not answer".to_owned()),
                () = self.telling.wait() => unreachable!("it does not end"),
            }
        };
        self.done.stopped = self.done.stopped.max(reason);
        let left: Vec<Tagged> = all.iter().flat_map(|one| one.bases.pins()).collect();
        let is_gone = all.iter().any(|one| one.has_stopped);
        let why = why.or_else(|| is_gone.then(|| "an engine is gone".to_owned()));
        let (Some(why), Some(first)) = (why, left.first()) else { return };
        state::expect_pins();
        let others = match left.len() - 1 {
            0 => String::new(),
            1 => " and 1 other name".to_owned(),
            n => format!(" and {n} other names"),
        };
        let message = format!(
            "`{first}`{others} of this run stay in the engine until the next `rebuild`: {why}"
        );
        self.telling.emit(EventKind::Warning { node: None, message });
    }

    fn tell(&mut self, event: EventKind) {
        self.inbox.taken(&event);
        match &event {
            EventKind::PhaseStarted { node, phase } if phase.is_wait() => {
                _ = self.waiting.insert(node.clone());
            }
            EventKind::PhaseStarted { node, .. } => _ = self.waiting.remove(node),
            _ => {}
        }
        self.telling.emit(event);
        self.stop_if_nobody_listens();
    }

    fn record(&mut self, node: NodeName, outcome: Outcome, took: Duration) {
        if let Some(digest) = outcome.digest() {
            self.settled.send_modify(|known| _ = known.insert(node.clone(), digest.clone()));
        }
        self.done.outcomes.insert(node.clone(), (outcome.clone(), took));
        self.estimate();
        let attempts = self.done.attempts.get(&node).copied().unwrap_or(1);
        let over_budget = self.done.over_budget.get(&node).cloned().unwrap_or_default();
        self.telling.emit(EventKind::StepFinished { node, outcome, took, attempts, over_budget });
        self.stop_if_nobody_listens();
    }

    /// The estimated remaining time, if enough durations are known.
    fn estimate(&mut self) {
        let open = self.steps.len() - self.done.outcomes.len();
        let is_recent = |(at, _): (Instant, _)| at.elapsed() < ESTIMATE_AGAIN;
        if self.done.stopped.is_some() || (open > FEW && self.estimated.is_some_and(is_recent)) {
            return;
        }
        let underway = RunSoFar {
            jobs: self.shop.options.jobs,
            running: self.building.iter().map(|(node, since)| (node, since.elapsed())).collect(),
            over: self.done.outcomes.keys().chain(self.made.keys()).collect(),
        };
        let estimate = estimate(&self.shop.plan, &self.shop.history, &underway);
        let left = (estimate.is_fair() && !estimate.left.is_zero()).then_some(estimate.left);
        self.tell_estimate(left);
    }

    fn tell_estimate(&mut self, left: Option<Duration>) {
        let before = self.estimated.and_then(|(_, left)| left);
        self.estimated = Some((Instant::now(), left));
        if left.is_some() || before.is_some() {
            self.telling.emit(EventKind::Estimated { left });
        }
    }

    fn stop_if_nobody_listens(&mut self) {
        if self.telling.broken {
            self.stop(StopReason::ReportFailed);
        }
    }
}

/// Removes the pins of each engine.
async fn release_all<E: Engine>(all: &[PooledBases<E>]) -> Result<(), EngineError> {
    let here = all.iter().filter(|one| !one.has_stopped);
    let released = here.map(async |one| one.bases.release(&*one.engine).await);
    join_all(released).await.into_iter().collect()
}

#[cfg(test)]
mod budget_tests;
#[cfg(test)]
mod package_tests;
#[cfg(test)]
mod refresh_tests;
#[cfg(test)]
mod tests;
