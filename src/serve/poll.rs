//! What the server learns without a webhook: files, states, moved upstreams and branches, schedules.

use std::{
    collections::BTreeSet,
    ffi::OsString,
    process::Stdio,
    sync::{Arc, PoisonError},
    time::Duration,
};

use jiff::Timestamp;
use serde_json::Value;
use tokio::{process::Command, time::Instant};

use super::{
    DELIVERIES_KEPT, Server, checkout,
    database::{RunState, StoredRun},
    request::{RequestedWork, WorkRequest},
    served::{HierarchySource, ImageStatus, ServedHierarchy},
};
use crate::{host::git, plan::ImageState};

/// The clock is read so often, for it may be set, or the machine may have slept.
const CLOCK: Duration = Duration::from_secs(20);
/// The longest query of states.
const QUERY: Duration = Duration::from_secs(300);
/// The registry of the fleet is read so often.
const AUDIT: Duration = Duration::from_secs(3600);
/// How many runs of the records in the registry are restored.
const RESTORED: &str = "100";
const RESTORE_TRIES: u32 = 5;
const RESTORE_PAUSE: Duration = Duration::from_secs(2);
/// These reasons come from outside, and start runs. Changed files start them by a push.
const FROM_OUTSIDE: [&str; 3] = ["upstream-moved", "refresh-due", "updates-available"];

/// Images and reasons that already started a run: a failed run does not start again for the same reason.
type Tried = BTreeSet<(String, String)>;

impl Server {
    /// Reads the branch, the upstreams and the clock until the server is to end.
    pub(super) async fn poll(self: Arc<Self>, served: Arc<ServedHierarchy>) {
        let mut tried = Tried::new();
        self.poll_once(&served, &mut tried).await;
        self.begin_schedules(&served).await;
        let mut next = Instant::now() + self.options.poll;
        loop {
            let until_tick = Self::until_tick(&served);
            tokio::select! {
                () = self.stopped() => return,
                () = tokio::time::sleep(until_tick) => self.tick(&served).await,
                () = tokio::time::sleep_until(next) => {
                    self.poll_once(&served, &mut tried).await;
                    // The files may have a new schedule.
                    self.tick(&served).await;
                    next = Instant::now() + self.options.poll;
                }
            }
        }
    }

    async fn poll_once(&self, served: &Arc<ServedHierarchy>, tried: &mut Tried) {
        let old = Timestamp::now().saturating_sub(DELIVERIES_KEPT).unwrap_or_default();
        if let Err(error) = self.database.forget_deliveries(old).await {
            tracing::warn!(%error, "old deliveries cannot be deleted");
        }
        if !self.poll_branch(served).await {
            return;
        }
        self.read_files(served).await;
        self.read_states(served).await;
        let state = served.state();
        let moved = state.images.values().filter(|image| {
            image.state != ImageState::Current && FROM_OUTSIDE.contains(&&*image.reason)
        });
        let mut images = BTreeSet::new();
        let mut why = String::new();
        for image in moved {
            let reason = serde_json::to_string(&image.data).unwrap_or_default() + &image.cause;
            if tried.insert((image.node.clone(), reason)) {
                why.clone_from(&image.cause);
                images.insert(image.node.clone());
            }
        }
        if !images.is_empty() {
            let work = RequestedWork::Changed { since: BTreeSet::new(), images };
            self.queue(served, WorkRequest::new(work, why)).await;
        }
    }

    /// Looks whether the branch of a clone moved. Returns whether there are files to read.
    async fn poll_branch(&self, served: &Arc<ServedHierarchy>) -> bool {
        let HierarchySource::Clone { folder, .. } = &served.source else { return true };
        let (source, folder) = (served.source.clone(), folder.clone());
        let polled = {
            let _alone = served.checkout.lock().await;
            tokio::task::spawn_blocking(move || {
                let is_new = !folder.join(".git").exists();
                let newest = checkout::fetch(&source)?.unwrap_or_default();
                let checked_out = git::head(&folder).map(|head| head.commit);
                if is_new || checked_out.is_none() {
                    checkout::switch(&source, &newest)?;
                    return Ok(None);
                }
                Ok(checked_out.filter(|commit| *commit != newest).map(|commit| (commit, newest)))
            })
            .await
            .unwrap_or_else(|error| Err(error.to_string()))
        };
        match polled {
            Ok(Some((before, after))) => {
                let why = format!("the branch moved to {}", git::short(&after));
                let work =
                    RequestedWork::Changed { since: [before].into(), images: BTreeSet::new() };
                self.queue(served, WorkRequest::new(work, why)).await;
                true
            }
            Ok(None) => true,
            Err(problem) => {
                if served.state().problem.as_ref() != Some(&problem) {
                    tracing::warn!(hierarchy = served.name, %problem, "the repository cannot be read");
                }
                served.update(|state| state.problem = Some(problem));
                false
            }
        }
    }

    /// Reads `hierarchy.yaml` and the Dockerfiles.
    pub(super) async fn read_files(&self, served: &Arc<ServedHierarchy>) {
        if let HierarchySource::Clone { folder, .. } = &served.source
            && !folder.join(".git").exists()
        {
            return;
        }
        let (load, source) = (Arc::clone(&self.options.load), served.clone());
        let read = tokio::task::spawn_blocking(move || {
            let commit = git::head(&source.folder()).map(|head| head.short());
            (load(&source.source.file()), commit)
        });
        let Ok((read, commit)) = read.await else { return };
        served.update(|state| {
            state.commit = commit;
            match read {
                Ok(hierarchy) => {
                    state.hierarchy = Some(Arc::new(hierarchy));
                    state.problem = None;
                }
                Err(problem) => state.problem = Some(problem),
            }
        });
    }

    /// Asks for the state of each image, by `rebuild status`.
    pub(super) async fn read_states(&self, served: &Arc<ServedHierarchy>) {
        let state = served.state();
        // The problem of the files says why there are no states.
        if state.problem.is_some() || state.hierarchy.is_none() {
            return;
        }
        let mut arguments = self.command(served, "status");
        arguments.extend(["--format".into(), "json".into()]);
        let images = self.query(arguments).await.and_then(|answer| {
            let nodes = answer.get("nodes").cloned().unwrap_or_default();
            serde_json::from_value::<Vec<ImageStatus>>(nodes).map_err(|error| error.to_string())
        });
        let mut images = match images {
            Ok(images) => images,
            Err(_) if self.is_stopping() => return,
            Err(problem) => {
                if state.check_problem.as_ref() != Some(&problem) {
                    tracing::warn!(hierarchy = served.name, %problem, "states cannot be read");
                }
                served.update(|state| state.check_problem = Some(problem));
                return;
            }
        };
        for image in &mut images {
            image.state = image.state.with_reason(&image.reason);
        }
        let sizes = images
            .iter()
            .filter_map(|image| Some((image.node.clone(), image.published.clone()?, image.size?)));
        let behind = images.iter().filter(|image| image.state != ImageState::Current);
        let behind = behind.map(|image| image.node.clone()).collect();
        let behind = self.database.observe(&served.name, sizes.collect(), behind).await;
        served.update(|state| {
            if let Ok(behind) = behind {
                state.behind_since = behind;
            }
            state.images = images.into_iter().map(|image| (image.node.clone(), image)).collect();
            state.checked_at = Some(Timestamp::now());
            state.check_problem = None;
        });
        self.metrics.states(&served.name, &served.state());
    }

    /// Runs a command that prints JSON.
    pub(super) async fn query(&self, arguments: Vec<OsString>) -> Result<Value, String> {
        let mut command = Command::new(&self.options.program);
        command.args(arguments).stdin(Stdio::null()).process_group(0).kill_on_drop(true);
        let output = tokio::select! {
            output = tokio::time::timeout(QUERY, command.output()) => output,
            () = self.stopped() => return Err("the server ends".to_owned()),
        };
        let output = output
            .map_err(|_| format!("no answer within {} s", QUERY.as_secs()))?
            .map_err(|error| format!("cannot start `rebuild`: {error}"))?;
        if let Ok(answer) = serde_json::from_slice(&output.stdout) {
            return Ok(answer);
        }
        let errors = String::from_utf8_lossy(&output.stderr);
        let message = errors.rfind("error: ").map_or(&*errors, |at| &errors[at + 7..]);
        let words: Vec<&str> = message.split_whitespace().take(100).collect();
        Err(if words.is_empty() { output.status.to_string() } else { words.join(" ") })
    }

    /// Makes up for ticks that passed while no server ran. The run builds nothing if none is due.
    async fn begin_schedules(&self, served: &ServedHierarchy) {
        let has_schedule = served.state().hierarchy.as_ref().is_some_and(|hierarchy| {
            hierarchy.in_build_order().any(|node| node.schedule.is_some())
        });
        if has_schedule {
            let why = "the server began; ticks may have been missed";
            self.queue(served, WorkRequest::new(RequestedWork::Due, why)).await;
        }
    }

    async fn tick(&self, served: &ServedHierarchy) {
        let Some(hierarchy) = served.state().hierarchy.clone() else { return };
        let now = Timestamp::now();
        let (due, next) = {
            let mut ticks = served.ticks.lock().unwrap_or_else(PoisonError::into_inner);
            ticks.know(&hierarchy, now);
            let due = ticks.due(&hierarchy, now);
            ticks.done.extend(due.clone());
            (due, ticks.next(&hierarchy))
        };
        if served.state().next_tick != next {
            served.update(|state| state.next_tick = next);
        }
        if !due.is_empty() {
            let images: Vec<String> = due.keys().map(|name| format!("`{name}`")).collect();
            let why = format!("the schedule of {} is due", images.join(", "));
            self.queue(served, WorkRequest::new(RequestedWork::Due, why)).await;
        }
    }

    fn until_tick(served: &ServedHierarchy) -> Duration {
        let left = served.state().next_tick.map(|next| Timestamp::now().duration_until(next));
        left.map_or(CLOCK, |left| Duration::try_from(left).unwrap_or_default().min(CLOCK))
    }

    async fn queue(&self, served: &ServedHierarchy, request: WorkRequest) {
        if let Err(error) = self.start_run(served, request).await {
            tracing::error!(%error, hierarchy = served.name, "a run cannot be queued");
        }
    }

    /// Reads past runs from the records in the registry, after the database was lost.
    pub(super) async fn restore_history(&self, served: &Arc<ServedHierarchy>) {
        let mut arguments = self.command(served, "history");
        arguments.extend(["--format".into(), "json".into(), "-n".into(), RESTORED.into()]);
        let mut tries = 0;
        let history = loop {
            let problem = match self.query(arguments.clone()).await {
                Ok(history) => break history,
                Err(problem) => problem,
            };
            tracing::warn!(hierarchy = served.name, %problem, "past runs cannot be restored");
            tries += 1;
            if tries == RESTORE_TRIES {
                return;
            }
            tokio::time::sleep(RESTORE_PAUSE).await;
        };
        let runs = history["runs"].as_array().cloned().unwrap_or_default();
        // The oldest gets the lowest number.
        for run in runs.iter().rev().filter_map(|run| restored(served, run)) {
            if let Err(error) = self.database.restore_run(run).await {
                tracing::warn!(%error, "a past run cannot be restored");
            }
        }
    }
}

impl Server {
    /// Reads the registry of the page "fleet" each hour.
    pub(super) async fn audit(self: Arc<Self>) {
        let Some(registry) = self.options.audit.clone() else { return };
        loop {
            let mut arguments: Vec<OsString> = vec!["audit".into(), registry.clone().into()];
            if let Some(HierarchySource::File(file)) =
                self.hierarchies.first().map(|served| &served.source)
            {
                arguments.extend(["--file".into(), file.into()]);
            }
            arguments.extend(["--format".into(), "json".into()]);
            let audit = self.query(arguments).await;
            *self.web.fleet.write().unwrap_or_else(PoisonError::into_inner) = Some(audit);
            tokio::select! {
                () = tokio::time::sleep(AUDIT) => {}
                () = self.stopped() => return,
            }
        }
    }
}

/// A run of `rebuild history --format json`: docs/events.md.
fn restored(served: &ServedHierarchy, run: &Value) -> Option<StoredRun> {
    let at: Timestamp = run["at"].as_str()?.parse().ok()?;
    let flags = run["asked"]["run"]["flags"].as_str().unwrap_or_default();
    let exit_code = run["exit_code"].as_i64();
    let result = run["result"].as_str().unwrap_or("unknown");
    Some(StoredRun {
        id: 0,
        hierarchy: served.name.clone(),
        request: WorkRequest::new(RequestedWork::OutOfDate, format!("rebuild {flags}").trim()),
        state: if exit_code == Some(0) { RunState::Succeeded } else { RunState::Failed },
        queued_at: at,
        // The record has no duration.
        began_at: None,
        ended_at: Some(at),
        exit_code,
        run: Some(run["run"].as_str()?.to_owned()),
        result: Some(format!("{result}; read from its record")),
        followed_by: None,
    })
}
