//! `rebuild watch`: a run whenever files change, and at the ticks of schedules.
//!
//! **Invariant:** one run at a time. What changed while it went on is done by the next; of the run only
//! those builds are cancelled that the change made pointless.

mod pending;
mod runs;

use std::{collections::BTreeSet, path::PathBuf, sync::Arc, time::Duration};

use jiff::Timestamp;
use tokio::{
    sync::mpsc,
    time::{Instant, sleep_until},
};

use self::{
    pending::{Pending, Scope},
    runs::{CurrentRun, WatchEnd},
};
use super::{
    connections::LocalOnly,
    error::CommandError,
    output,
    project::{self, find},
    signals::{self, exit_of},
};
use crate::{
    check::diagnostic::names,
    commands::cli::{Common, WatchArgs},
    event::StopReason,
    exit::Exit,
    fingerprint::HashCache,
    hierarchy::{Hierarchy, NodeName},
    plan::Selection,
    report::count,
    run::{
        state::StateFolder,
        trigger::{
            Bursts, Changed, ChangedPlaces, FileWatcher, Ledger, Look, RunTrigger, Ticks, places,
        },
    },
};

/// Everything is looked at so often, in case the system has not told of a change.
const RECONCILE: Duration = Duration::from_secs(300);
/// And so often where the system cannot tell.
const POLL: Duration = Duration::from_secs(2);
/// The clock is looked at so often, for it may be put forward, or the machine may have slept.
const CLOCK: Duration = Duration::from_secs(20);
/// So many changes are named.
const NAMED: usize = 5;

pub(super) async fn watch(common: &Common, arguments: &WatchArgs) -> Result<Exit, CommandError> {
    let mut stops = signals::listen()
        .map_err(|error| CommandError::new(Exit::Internal, format!("no signals: {error}")))?;
    output::choose_colour(common.color);
    let file = find(common)?;
    let file = std::path::absolute(&file).unwrap_or(file);
    // An invalid file is waited out, a name that it does not have is not.
    if let Ok((hierarchy, _)) = project::read(common, &project::load_options(common)) {
        runs::narrowed(Selection::OutOfDate, &hierarchy, arguments)?;
    }
    let mut watching = Watching::new(common, arguments, file);
    watching.begin();
    watching.go_on(&mut stops).await
}

struct Watching<'a> {
    common: &'a Common,
    arguments: &'a WatchArgs,
    file: PathBuf,
    hashes: Arc<HashCache>,
    files: FileWatcher,
    bursts: Bursts,
    /// The last time that the hierarchy was valid.
    look: Option<Look>,
    /// What is wrong with it now, as it was shown.
    invalid: Option<String>,
    warnings: Vec<String>,
    ticks: Ticks,
    pending: Pending,
    reconcile: Instant,
    /// Why the system does not tell of every change.
    deaf: Option<String>,
    is_running: bool,
    /// Without `--push`.
    local: Option<LocalOnly>,
}

impl<'a> Watching<'a> {
    fn new(common: &'a Common, arguments: &'a WatchArgs, file: PathBuf) -> Self {
        let (sender, seen) = mpsc::unbounded_channel();
        let ledger = Ledger::open(&StateFolder::of(&file).ledger());
        Self {
            common,
            arguments,
            hashes: Arc::default(),
            files: FileWatcher::new(sender),
            bursts: Bursts::new(seen),
            look: None,
            invalid: None,
            warnings: Vec::new(),
            ticks: Ticks { done: ledger.done().clone() },
            pending: Pending::new(ledger, arguments.schedule),
            reconcile: Instant::now(),
            deaf: None,
            is_running: false,
            local: None,
            file,
        }
    }

    /// With a run of what is out of date.
    fn begin(&mut self) {
        self.pending.add(RunTrigger::Start, Scope::All);
        self.look_at(&ChangedPlaces::Everything);
    }

    async fn go_on(
        &mut self,
        stops: &mut mpsc::Receiver<StopReason>,
    ) -> Result<Exit, CommandError> {
        loop {
            self.tick();
            let begun = match &self.look {
                Some(look) if self.invalid.is_none() => {
                    self.pending.begin().map(|run| (look.hierarchy.clone(), run))
                }
                _ => None,
            };
            let Some((hierarchy, underway)) = begun else {
                tokio::select! {
                    Some(reason) = stops.recv() => return Ok(exit_of(reason)),
                    () = self.wait() => {}
                }
                continue;
            };
            if let WatchEnd::Stopped(exit) = self.run(hierarchy, underway, stops).await {
                return Ok(exit);
            }
            self.tell_rest();
        }
    }

    /// Runs, and takes in what changes meanwhile.
    async fn run(
        &mut self,
        hierarchy: Arc<Hierarchy>,
        underway: CurrentRun,
        stops: &mut mpsc::Receiver<StopReason>,
    ) -> WatchEnd {
        if self.shows_screen() {
            output::clear();
        }
        self.pending.tell(&underway);
        let (common, arguments, hashes) = (self.common, self.arguments, self.hashes.clone());
        let how = runs::WatchSetup { common, arguments, hashes, local: self.local.clone() };
        self.is_running = true;
        let ended = {
            let run = runs::run(how, hierarchy, &underway, stops);
            tokio::pin!(run);
            loop {
                tokio::select! {
                    ended = &mut run => break ended,
                    () = self.wait() => self.tick(),
                }
            }
        };
        self.is_running = false;
        self.pending.end(underway, &ended);
        ended
    }

    /// Until something changed, or a moment has come; what changed is taken in.
    async fn wait(&mut self) {
        let (retry, tick) = (self.pending.retry_at(), self.until_tick());
        tokio::select! {
            change = self.bursts.next() => self.look_at(&change),
            () = sleep_until(self.reconcile) => self.look_at(&ChangedPlaces::Everything),
            () = sleep_until(retry.unwrap_or_else(Instant::now)), if retry.is_some() => {
                self.pending.retry_now();
            }
            () = tokio::time::sleep(tick), if self.arguments.schedule => {}
        }
    }

    /// Looks at the files: what changed is to be built, and what is being built of it need not be.
    fn look_at(&mut self, change: &ChangedPlaces) {
        self.reconcile = Instant::now() + if self.deaf.is_some() { POLL } else { RECONCILE };
        let Some(hierarchy) = self.read() else { return };
        // Before the files are read, so that no change after it is missed.
        let deaf = self.files.watch(&places(&self.file, Some(&hierarchy))).map(str::to_owned);
        let before = match change {
            ChangedPlaces::Paths(paths) => self.look.as_ref().map(|look| (look, paths)),
            ChangedPlaces::Everything => None,
        };
        let look = Look::new(hierarchy.clone(), &self.hashes, before);
        let mut changed = self.look.as_ref().map_or_else(Changed::default, |was| look.since(was));
        self.leave_out(&mut changed, &hierarchy);
        if !changed.is_nothing() {
            let mut cone = changed.cone(&hierarchy);
            cone.extend(self.look.iter().flat_map(|was| changed.cone(&was.hierarchy)));
            self.pending.overtake(&cone);
            let nodes = changed.nodes.keys().cloned().collect();
            self.pending.add(RunTrigger::Files { nodes }, Scope::of(changed));
        }
        self.look = Some(look);
        if self.deaf != deaf {
            if let Some(why) = &deaf {
                output::warning(&format!(
                    "the system does not tell of every change ({why}): files are looked at every \
                     {} s\n  hint: `sysctl fs.inotify.max_user_watches` says how many folders it \
                     can watch",
                    POLL.as_secs()
                ));
                self.reconcile = Instant::now() + POLL;
            }
            self.deaf = deaf;
        }
    }

    /// The images of `--from` or `--only`; `None` without them.
    fn watched(&self, hierarchy: &Hierarchy) -> Option<BTreeSet<NodeName>> {
        if self.arguments.from.is_empty() && self.arguments.only.is_empty() {
            return None;
        }
        // Unknown names are an error of the run.
        let narrowed = runs::narrowed(Selection::OutOfDate, hierarchy, self.arguments).ok()?;
        Some(narrowed.in_view(hierarchy))
    }

    /// Drops changes of images that are not watched: no run builds them.
    fn leave_out(&self, changed: &mut Changed, hierarchy: &Hierarchy) {
        let Some(watched) = self.watched(hierarchy) else { return };
        let is_watched = |name: &NodeName| watched.contains(name);
        if !self.is_running && !changed.nodes.keys().any(is_watched) {
            for what in changed.nodes.values().take(NAMED) {
                output::line(&format!("{what}; it is not watched"));
            }
        }
        changed.nodes.retain(|name, _| watched.contains(name));
        changed.gone.retain(|name| watched.contains(name));
    }

    /// The hierarchy as it is now; if it is not valid, that is shown once and waited out.
    fn read(&mut self) -> Option<Arc<Hierarchy>> {
        match project::read(self.common, &project::load_options(self.common)) {
            Ok((mut hierarchy, warnings)) => {
                if !self.arguments.push {
                    // In the engine only, under the names that the file gives.
                    self.local = Some(LocalOnly::of(&mut hierarchy, BTreeSet::new()));
                }
                if self.invalid.take().is_some() {
                    output::line("the hierarchy is valid again");
                }
                if self.warnings != warnings {
                    for warning in &warnings {
                        output::notice(warning);
                    }
                    self.warnings = warnings;
                }
                Some(Arc::new(hierarchy))
            }
            Err((error, problems)) => {
                let shown = problems.concat() + &error.to_string();
                if self.invalid.as_ref() != Some(&shown) {
                    for problem in &problems {
                        output::notice(problem);
                    }
                    output::error(&error.to_string());
                    output::line("waiting until it is valid");
                    self.invalid = Some(shown);
                }
                let known = self.look.as_ref().map(|look| &*look.hierarchy);
                self.files.watch(&places(&self.file, known));
                None
            }
        }
    }

    /// Takes in the ticks that have come.
    fn tick(&mut self) {
        let (true, Some(look)) = (self.arguments.schedule, &self.look) else { return };
        let now = Timestamp::now();
        self.ticks.know(&look.hierarchy, now);
        self.pending.know(&self.ticks);
        let due = self.ticks.due(&look.hierarchy, now);
        if !due.is_empty() {
            self.ticks.done.extend(due.clone());
            self.pending.add_ticks(due);
        }
    }

    fn until_tick(&self) -> Duration {
        let next = self.look.as_ref().and_then(|look| self.ticks.next(&look.hierarchy));
        let left = next.map(|next| Timestamp::now().duration_until(next));
        left.map_or(CLOCK, |left| Duration::try_from(left).unwrap_or_default().min(CLOCK))
    }

    fn shows_screen(&self) -> bool {
        use crate::commands::cli::ProgressArg::{Auto, Tty};
        matches!(self.arguments.how.progress, Auto | Tty) && output::stderr_is_terminal()
    }

    /// What is waited for after a run.
    fn tell_rest(&self) {
        let Some(look) = &self.look else { return };
        let all = count(look.hierarchy.images(), "image");
        let images = match self.watched(&look.hierarchy) {
            Some(watched) => {
                let watched: Vec<&NodeName> = watched.iter().collect();
                format!("{} of {all}", names(&watched, NAMED))
            }
            None => all,
        };
        let next = self.ticks.next(&look.hierarchy).filter(|_| self.arguments.schedule);
        let next = next.map_or(String::new(), |next| {
            format!("; next tick {}", next.strftime("%Y-%m-%d %H:%M UTC"))
        });
        let folder = look.hierarchy.root().display();
        output::line(&format!("watching {images} in {folder}{next}; Ctrl-C ends"));
    }
}
