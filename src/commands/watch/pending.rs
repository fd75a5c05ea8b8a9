//! What is to be done, and what is being done: between what made it necessary and the runs that do it.
//!
//! **Invariant:** each trigger ends once: with the run that did it, or with another that did more.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use jiff::Timestamp;
use tokio::{sync::watch, time::Instant};

use super::{
    NAMED,
    runs::{CurrentRun, WatchEnd, What},
};
use crate::{
    commands::output,
    hierarchy::NodeName,
    run::trigger::{Changed, Ledger, RunTrigger, Ticks, TriggerResult},
};

/// After trouble with the engine or a registry it is tried again so soon, and then later and later.
const FIRST_RETRY: Duration = Duration::from_secs(2);
const LAST_RETRY: Duration = Duration::from_secs(60);

/// Which images a run is about.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) enum Scope {
    #[default]
    Nothing,
    /// These, and what is built from them; with each what changed.
    Nodes(BTreeMap<NodeName, String>),
    All,
}

pub(super) struct Pending {
    ledger: Ledger,
    /// For the next run.
    scope: Scope,
    /// What earlier runs have left undone: a failure is not tried again until something changes.
    left: Scope,
    /// The triggers that the next run is for.
    open: Vec<u64>,
    /// Those of ticks.
    ticks: Vec<u64>,
    retry_at: Option<Instant>,
    /// Before the last retry. `None` after a run that ended, or a change.
    pause: Option<Duration>,
    /// To tell the run that goes on.
    overtaken: watch::Sender<BTreeSet<NodeName>>,
}

impl Scope {
    pub(super) fn of(changed: Changed) -> Self {
        Self::Nodes(changed.nodes)
    }

    fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::All, _) | (_, Self::All) => Self::All,
            (Self::Nothing, other) | (other, Self::Nothing) => other,
            (Self::Nodes(mut nodes), Self::Nodes(newer)) => {
                nodes.extend(newer);
                Self::Nodes(nodes)
            }
        }
    }
}

impl Pending {
    /// What a process that was killed has left open is done by the first run.
    pub(super) fn new(ledger: Ledger, with_schedules: bool) -> Self {
        let (mut open, mut ticks) = (Vec::new(), Vec::new());
        for (id, trigger) in ledger.still_open() {
            match trigger {
                RunTrigger::Ticks { .. } if with_schedules => ticks.push(id),
                RunTrigger::Ticks { .. } => {}
                RunTrigger::Start | RunTrigger::Files { .. } => open.push(id),
            }
        }
        Self {
            ledger,
            scope: Scope::Nothing,
            left: Scope::Nothing,
            open,
            ticks,
            retry_at: None,
            pause: None,
            overtaken: watch::Sender::default(),
        }
    }

    pub(super) fn add(&mut self, trigger: RunTrigger, scope: Scope) {
        self.open.push(self.ledger.begin(trigger, Timestamp::now()));
        self.scope = std::mem::take(&mut self.scope).and(scope);
        // A saved file must not wait for the next try.
        (self.retry_at, self.pause) = (None, None);
        self.tell_trouble();
    }

    /// Of ticks that wait, the newer makes up for the older.
    pub(super) fn add_ticks(&mut self, ticks: BTreeMap<NodeName, Timestamp>) {
        let trigger = RunTrigger::Ticks { ticks };
        let id = self.ledger.begin(trigger, Timestamp::now());
        for older in std::mem::replace(&mut self.ticks, vec![id]) {
            self.ledger.end(older, TriggerResult::Coalesced);
        }
        self.tell_trouble();
    }

    pub(super) fn know(&mut self, ticks: &Ticks) {
        self.ledger.know(&ticks.done);
    }

    /// What is being built of these is pointless by now.
    pub(super) fn overtake(&mut self, cone: &BTreeSet<NodeName>) {
        self.overtaken.send_if_modified(|all| {
            let before = all.len();
            all.extend(cone.iter().cloned());
            all.len() > before
        });
    }

    /// The next run, if there is anything to do. Files come first: somebody waits for them.
    pub(super) fn begin(&mut self) -> Option<CurrentRun> {
        if self.retry_at.is_some() {
            return None;
        }
        self.overtaken = watch::Sender::default();
        let overtaken = self.overtaken.subscribe();
        if self.scope != Scope::Nothing {
            let named = self.scope.clone();
            let left = std::mem::take(&mut self.left);
            let scope = std::mem::take(&mut self.scope).and(left);
            let triggers = std::mem::take(&mut self.open);
            return Some(CurrentRun { what: What::Files { scope, named }, triggers, overtaken });
        }
        if self.ticks.is_empty() {
            return None;
        }
        let triggers = std::mem::take(&mut self.ticks);
        Some(CurrentRun { what: What::Ticks, triggers, overtaken })
    }

    /// Says what a run is for.
    #[expect(clippy::unused_self, reason = "it stands beside what makes the run")]
    pub(super) fn tell(&self, underway: &CurrentRun) {
        match &underway.what {
            What::Ticks => output::line("a schedule is due"),
            What::Files { named: Scope::Nodes(nodes), .. } => {
                for what in nodes.values().take(NAMED) {
                    output::line(what);
                }
                if nodes.len() > NAMED {
                    output::line(&format!("and {} more", nodes.len() - NAMED));
                }
            }
            What::Files { .. } => {}
        }
    }

    pub(super) fn end(&mut self, underway: CurrentRun, ended: &WatchEnd) {
        let CurrentRun { what, triggers, .. } = underway;
        let how = match ended {
            WatchEnd::Succeeded => TriggerResult::Succeeded,
            WatchEnd::Failed => TriggerResult::Failed,
            // Whatever of a tick was cancelled is still due.
            WatchEnd::Overtaken if matches!(what, What::Ticks) => {
                return self.put_back(what, triggers);
            }
            WatchEnd::Overtaken | WatchEnd::Stopped(_) => TriggerResult::Cancelled,
            WatchEnd::Unreachable => {
                self.retry_later();
                return self.put_back(what, triggers);
            }
        };
        (self.retry_at, self.pause) = (None, None);
        // The newest tells how it ended; those before it were done with it.
        if let Some((last, before)) = triggers.split_last() {
            let others = if how == TriggerResult::Cancelled {
                TriggerResult::Cancelled
            } else {
                TriggerResult::Coalesced
            };
            for id in before {
                self.ledger.end(*id, others);
            }
            self.ledger.end(*last, how);
        }
        if let What::Files { scope, .. } = what {
            match ended {
                WatchEnd::Overtaken => self.scope = std::mem::take(&mut self.scope).and(scope),
                WatchEnd::Failed => self.left = std::mem::take(&mut self.left).and(scope),
                _ => {}
            }
        }
        self.tell_trouble();
    }

    /// It is still to be done.
    fn put_back(&mut self, what: What, triggers: Vec<u64>) {
        match what {
            What::Files { scope, .. } => {
                self.scope = std::mem::take(&mut self.scope).and(scope);
                self.open.splice(..0, triggers);
            }
            What::Ticks => {
                // A newer one may have come meanwhile.
                if self.ticks.is_empty() {
                    self.ticks = triggers;
                } else {
                    for id in triggers {
                        self.ledger.end(id, TriggerResult::Coalesced);
                    }
                }
            }
        }
    }

    fn retry_later(&mut self) {
        let pause = self.pause.map_or(FIRST_RETRY, |pause| (pause * 2).min(LAST_RETRY));
        (self.retry_at, self.pause) = (Some(Instant::now() + pause), Some(pause));
        output::line(&format!("trying again in {} s, or when a file changes", pause.as_secs()));
    }

    pub(super) fn retry_at(&self) -> Option<Instant> {
        self.retry_at
    }

    pub(super) fn retry_now(&mut self) {
        self.retry_at = None;
    }

    fn tell_trouble(&mut self) {
        if let Some(trouble) = self.ledger.take_trouble() {
            output::warning(&format!("what makes runs begin is not written down: {trouble}"));
        }
    }
}
