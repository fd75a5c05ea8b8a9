//! Executes a plan in parallel, and stops at the first failure.
//!
//! **Invariant:** one loop owns all state, and only it calls the reporter. Steps only send it messages. So
//! every reporter gets the events in the order in which they happened.
//! **Invariant:** nothing here prints.

mod ahead;
mod attempts;
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
pub mod state;
mod step;
mod step_events;
pub mod trigger;
mod trouble;
mod verify;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    num::NonZeroUsize,
    sync::Arc,
    time::Duration,
};

use tokio::{
    sync::{mpsc, watch},
    task::{AbortHandle, Id, JoinSet},
    time::{Instant, MissedTickBehavior},
};

use self::{
    ahead::{Ahead, Moved},
    bases::Bases,
    step::{StepEnd, Work},
    step_events::Inbox,
    verify::Verifying,
};
pub use self::{
    bases::{failed_of_all_runs, pins_of_all_runs, run_of_failed, run_of_pin},
    labels::Origin,
    lacking::{LackedOption, refuse_lacked, without_effect},
    prepare::run_of_folder,
    secrets::{SecretError, Secrets},
    step::Workshop,
};
use crate::{
    engine::Engine,
    event::{EventKind, Executed, Outcome, RunTask, StopReason, TICK, Telling},
    fingerprint::Parents,
    hierarchy::{NodeName, OnFailure},
    image::Digest,
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
/// How many images the engine may write at once, for each job.
const EXPORTS_A_JOB: usize = 2;
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
pub async fn execute<E: Engine, S: Store>(
    shop: &Arc<Workshop<E, S>>,
    stops: &mut mpsc::Receiver<StopReason>,
    telling: &mut Telling<'_>,
) -> Executed {
    let (inbox, mut events) = Inbox::new();
    let settled = watch::Sender::new(shop.plan.given.clone());
    let (ahead, mut moved) = Ahead::new(shop.options, settled.subscribe());
    let mut run = Run {
        shop,
        steps: shop.plan.steps.iter().map(|step| (&step.node, step)).collect(),
        bases: Arc::new(Bases::new(&shop.run.id)),
        ahead: Arc::new(ahead),
        settled,
        queue: ReadyQueue::new(&weighed(&shop.plan, &shop.history)),
        tasks: JoinSet::new(),
        running: HashMap::new(),
        building: HashMap::new(),
        exporting: BTreeSet::new(),
        made: BTreeMap::new(),
        cancels: HashMap::new(),
        skipped: HashMap::new(),
        pointless: BTreeSet::new(),
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
            Some(ended) = run.tasks.join_next_with_id() => match ended {
                Ok((id, ended)) => run.finish(id, ended),
                Err(error) if error.is_cancelled() => run.finish(error.id(), StepEnd::cancelled()),
                Err(error) => std::panic::resume_unwind(error.into_panic()),
            },
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
    shop: &'a Arc<Workshop<E, S>>,
    steps: HashMap<&'a NodeName, &'a Step>,
    bases: Arc<Bases>,
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
    /// The images of the other running steps.
    made: BTreeMap<NodeName, Digest>,
    cancels: HashMap<NodeName, AbortHandle>,
    /// Running steps that are cancelled because another one failed.
    skipped: HashMap<NodeName, NodeName>,
    /// Steps that newer changes made obsolete.
    pointless: BTreeSet<NodeName>,
    inbox: Inbox,
    telling: &'a mut Telling<'t>,
    /// The last estimate and its time.
    estimated: Option<(Instant, Option<Duration>)>,
    done: Executed,
}

impl<E: Engine, S: Store> Run<'_, '_, E, S> {
    fn start_ready_steps(&mut self) {
        while self.done.stopped.is_none() && self.has_place() {
            let Some(node) = self.queue.next() else { break };
            if self.pointless.contains(&node) {
                self.record(node, Outcome::Cancelled, Duration::ZERO);
                continue;
            }
            match self.steps[&node].action.clone() {
                Action::Keep { .. } if self.is_to_note(&node) => self.start(node),
                Action::Keep { digest } if self.steps[&node].is_held() => {
                    self.settle(node, Outcome::Held { digest });
                }
                Action::Keep { digest } => self.settle(node, Outcome::Kept { digest }),
                Action::Promote { .. } if self.has_content_tags(&node) => self.start(node),
                Action::Promote { digest } => self.settle(node, Outcome::Reused { digest }),
                Action::Build { .. } => self.start(node),
            }
        }
    }

    /// An image that the engine writes takes no place, since other builds compute meanwhile. With one job,
    /// images are built strictly one after the other.
    fn has_place(&self) -> bool {
        let jobs = self.shop.options.jobs.get();
        let exporting = if jobs == 1 { 0 } else { self.exporting.len() };
        exporting < EXPORTS_A_JOB * jobs && self.building.len() - exporting < jobs
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

    fn start(&mut self, node: NodeName) {
        self.telling.emit(EventKind::StepStarted { node: node.clone() });
        let parents = self.parents(&node);
        let step = self.steps[&node].clone();
        let (shop, bases, inbox) = (self.shop.clone(), self.bases.clone(), self.inbox.clone());
        let ahead = self.ahead.clone();
        let task = self.tasks.spawn(async move {
            let work = Work { shop: &*shop, bases: &bases, ahead: &ahead, step: &step, parents };
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
        let digest = match moved {
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
            Moved::Made(digest) => digest,
        };
        // Its place is free, and its children may begin.
        self.exporting.remove(&node);
        let Some(since) = self.building.remove(&node) else { return };
        self.done.built.insert(node.clone(), since.elapsed());
        if self.shop.options.speculate {
            self.queue.succeeded(&node);
        }
        self.made.insert(node, digest);
    }

    fn finish(
        &mut self,
        id: Id,
        StepEnd { mut outcome, attempts, waited, over_budget, content_tags, reports }: StepEnd,
    ) {
        let (node, since) = self.running.remove(&id).expect("every task is a running step");
        let took = since.elapsed().saturating_sub(waited);
        self.cancels.remove(&node);
        self.building.remove(&node);
        self.exporting.remove(&node);
        self.made.remove(&node);
        if attempts > 1 {
            self.done.attempts.insert(node.clone(), attempts);
        }
        if !over_budget.is_empty() && !matches!(outcome, Outcome::Cancelled) {
            self.done.over_budget.insert(node.clone(), over_budget);
        }
        self.done.content_tags.insert(node.clone(), content_tags);
        self.done.reports.insert(node.clone(), reports);
        if let Some(failed) = self.skipped.remove(&node) {
            outcome = Outcome::Skipped { failed };
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
                self.record(skipped, Outcome::Skipped { failed: node.clone() }, Duration::ZERO);
            }
        }
        if stops {
            self.stop(StopReason::StepFailed);
        }
    }

    /// Starts no more steps, and cancels those that run: dropping a step cancels its build.
    fn stop(&mut self, reason: StopReason) {
        if self.done.stopped >= Some(reason) {
            return;
        }
        self.done.stopped = Some(reason);
        self.tell_estimate(None);
        self.telling.emit(EventKind::StopBegan { reason, running: self.tasks.len() });
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
        let verifying = Verifying { shop: self.shop, bases: &self.bases, done: &self.done };
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
        let mut reason = None;
        let why = {
            let released = self.bases.release(&*self.shop.engine);
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
        let left = self.bases.pins();
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

#[cfg(test)]
mod budget_tests;
#[cfg(test)]
mod package_tests;
#[cfg(test)]
mod refresh_tests;
#[cfg(test)]
mod tests;
