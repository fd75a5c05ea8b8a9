//! The runs of one hierarchy, one after the other.

use std::{
    collections::BTreeSet,
    ffi::OsString,
    path::Path,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use jiff::Timestamp;
use tokio::time::Instant;

use super::{
    RUNS_KEPT, Server, checkout,
    database::{RunState, StoredRun},
    live_run::{EndedRun, LiveRun, RunFiles},
    request::RequestedWork,
    served::ServedHierarchy,
};
use crate::{
    exit::Exit,
    hierarchy::LoadOptions,
    host::git,
    plan::{Selection, since},
};

/// After a run that found no engine, no registry, or another run, it starts again after this time, and then later and
/// later.
const FIRST_RETRY: Duration = Duration::from_secs(15);
const LAST_RETRY: Duration = Duration::from_secs(600);

/// A burst of deliveries delays a run at most so long.
const SETTLED: Duration = Duration::from_secs(10);

impl Server {
    /// Runs what is queued, until the server is to end.
    pub(super) async fn work(self: Arc<Self>, served: Arc<ServedHierarchy>) {
        self.recover(&served).await;
        let mut retry: Option<(Instant, Duration)> = None;
        while !self.is_stopping() {
            if let Some((at, _)) = retry {
                tokio::select! {
                    () = tokio::time::sleep_until(at) => {}
                    () = self.stopped() => return,
                }
            }
            self.settle().await;
            let run = match self.database.begin_next(&served.name).await {
                Ok(Some(run)) => run,
                Ok(None) => {
                    retry = None;
                    tokio::select! {
                        () = served.wake.notified() => continue,
                        () = self.stopped() => return,
                    }
                }
                Err(error) => {
                    tracing::error!(%error, "the queue cannot be read");
                    tokio::time::sleep(Duration::from_secs(5)).await;
                    continue;
                }
            };
            let ended = self.run(&served, &run).await;
            self.metrics.run_ended(&served.name, &run, &ended);
            let goes_on_later = match ended.exit_code {
                Some(code) => [Exit::EngineUnreachable, Exit::RegistryUnreachable, Exit::Locked]
                    .iter()
                    .any(|exit| i32::from(exit.code()) == code),
                // Killed, for example because the memory was full: perhaps not the next time.
                None => ended.state == RunState::Failed && retry.is_none(),
            };
            let pause = retry.map_or(FIRST_RETRY, |(_, pause)| (pause * 2).min(LAST_RETRY));
            let retry_at = Timestamp::now().saturating_add(pause).ok().filter(|_| goes_on_later);
            let result = ended.result.clone();
            served.update(|state| state.retry = retry_at.map(|at| (at, result)));
            self.record_end(&served, &run, ended, goes_on_later).await;
            retry = goes_on_later.then(|| (Instant::now() + pause, pause));
            self.forget_old(&served).await;
            if !self.is_stopping() {
                self.read_states(&served).await;
            }
        }
    }

    /// Waits a moment while deliveries are processed, so that a burst is one run.
    async fn settle(&self) {
        let deadline = Instant::now() + SETTLED;
        while Instant::now() < deadline
            && self.database.unprocessed(1).await.is_ok_and(|waiting| !waiting.is_empty())
        {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Ends or queues again the run that an earlier server began.
    async fn recover(&self, served: &Arc<ServedHierarchy>) {
        let running = self.database.running().await.unwrap_or_default();
        for run in running.into_iter().filter(|run| run.hierarchy == served.name) {
            let live = LiveRun::recovered(run.id, &self.options.data);
            let recovered = tokio::select! {
                recovered = live.recover() => recovered,
                // It still goes on: the next server asks again.
                () = self.stopped() => return,
            };
            let ended = recovered.ok().flatten().unwrap_or_else(|| {
                let result = "the server ended, and the run was queued again".to_owned();
                EndedRun::without_events(RunState::Superseded, result)
            });
            self.record_end(served, &run, ended, false).await;
        }
    }

    async fn record_end(
        &self,
        served: &ServedHierarchy,
        run: &StoredRun,
        ended: EndedRun,
        again: bool,
    ) {
        tracing::info!(
            hierarchy = served.name,
            run = run.id,
            state = ended.state.name(),
            result = ended.result,
            "a run ended"
        );
        if ended.state != RunState::Superseded {
            served.overtaken.store(0, Ordering::Relaxed);
        }
        let again = again || ended.state == RunState::Superseded;
        if let Err(error) = self.database.end_run(run.id, ended, again).await {
            tracing::error!(%error, run = run.id, "the end of a run cannot be stored");
        }
        served.set_live(None);
    }

    async fn run(&self, served: &Arc<ServedHierarchy>, run: &StoredRun) -> EndedRun {
        let failed = |result| EndedRun::without_events(RunState::Failed, result);
        if let Err(problem) = self.check_out(served).await {
            return failed(problem);
        }
        self.read_files(served).await;
        served.update(|state| state.retry = None);
        if let Some(problem) = &served.state().problem {
            let words: Vec<&str> = problem.split_whitespace().collect();
            let exit_code = Some(Exit::Usage.code().into());
            return EndedRun { exit_code, ..failed(words.join(" ")) };
        }
        let arguments = self.arguments(served, &run.request.work).await;
        let data = &self.options.data;
        let started = LiveRun::start((run.id, data), &self.options.program, &arguments);
        let (live, mut child, stdin) = match started {
            Ok(started) => started,
            Err(error) => return failed(format!("cannot start `rebuild`: {error}")),
        };
        tracing::info!(
            hierarchy = served.name, run = run.id, request = %run.request.work, "a run began"
        );
        let live = Arc::new(live);
        served.set_live(Some(live.clone()));
        if self.is_stopping() {
            live.stop(RunState::Superseded);
        }
        let ended = live.follow(&mut child).await;
        drop(stdin);
        ended.unwrap_or_else(|error| failed(format!("the run cannot be followed: {error}")))
    }

    /// Brings a clone up to date.
    async fn check_out(&self, served: &Arc<ServedHierarchy>) -> Result<(), String> {
        let _alone = served.checkout.lock().await;
        let source = served.source.clone();
        let done = tokio::task::spawn_blocking(move || match checkout::fetch(&source)? {
            Some(commit) => checkout::switch(&source, &commit),
            None => Ok(()),
        });
        done.await.map_err(|error| error.to_string())?
    }

    /// The command line of a run.
    async fn arguments(
        &self,
        served: &Arc<ServedHierarchy>,
        work: &RequestedWork,
    ) -> Vec<OsString> {
        let mut arguments = self.command(served, "run");
        arguments.extend(["--progress".into(), "json".into()]);
        arguments.extend(["--for-server".into(), self.messages_folder(&served.name).into()]);
        arguments.extend(self.options.run_arguments.iter().cloned());
        let list = |images: &BTreeSet<String>| {
            OsString::from(images.iter().map(String::as_str).collect::<Vec<_>>().join(","))
        };
        match work {
            RequestedWork::OutOfDate => {}
            RequestedWork::Refresh => arguments.push("--refresh".into()),
            RequestedWork::Due => arguments.extend(["--refresh".into(), "--due".into()]),
            RequestedWork::Images { images, refresh } => {
                arguments.extend(["--from".into(), list(images)]);
                arguments.extend(refresh.then(|| "--refresh".into()));
            }
            RequestedWork::Changed { since, images } => {
                let (since, images, served) = (since.clone(), images.clone(), served.clone());
                let narrowed =
                    tokio::task::spawn_blocking(move || narrow(&served, &since, images)).await;
                match narrowed {
                    Ok(Narrowed::Since(commit)) => {
                        arguments.extend(["--since".into(), commit.into()]);
                    }
                    Ok(Narrowed::Among(images)) => {
                        arguments.extend(["--among".into(), list(&images)]);
                    }
                    Ok(Narrowed::Everything) | Err(_) => {}
                }
            }
        }
        arguments
    }

    /// The beginning of a command line about a hierarchy.
    pub(super) fn command(&self, served: &ServedHierarchy, command: &str) -> Vec<OsString> {
        let mut arguments = vec![command.into(), "--file".into(), served.source.file().into()];
        arguments.extend(self.options.global_arguments.iter().cloned());
        arguments
    }

    async fn forget_old(&self, served: &ServedHierarchy) {
        match self.database.forget_runs(&served.name, RUNS_KEPT).await {
            Ok(runs) => {
                for run in runs {
                    RunFiles::new(&self.options.data, run).remove();
                }
            }
            Err(error) => tracing::warn!(%error, "old runs cannot be deleted"),
        }
    }
}

/// What is left of a request for changed images.
enum Narrowed {
    Since(String),
    Among(BTreeSet<String>),
    Everything,
}

fn narrow(
    served: &ServedHierarchy,
    since: &BTreeSet<String>,
    mut images: BTreeSet<String>,
) -> Narrowed {
    let folder = served.folder();
    let Some(oldest) = oldest(&folder, since) else {
        return if since.is_empty() { Narrowed::Among(images) } else { Narrowed::Everything };
    };
    if images.is_empty() {
        return Narrowed::Since(oldest);
    }
    let Some(hierarchy) = served.state().hierarchy.clone() else { return Narrowed::Everything };
    images.retain(|image| hierarchy.get(&image.as_str().into()).is_some());
    match since::since(&hierarchy, &oldest, &LoadOptions::default()).map(|since| since.selection) {
        Ok(Selection::Because(changed)) => {
            images.extend(changed.keys().map(ToString::to_string));
            Narrowed::Among(images)
        }
        _ => Narrowed::Everything,
    }
}

/// The commit that came before all others. `None` without such a commit, or if this clone lacks one of them.
fn oldest(folder: &Path, commits: &BTreeSet<String>) -> Option<String> {
    let is_first = |commit: &&String| {
        git::commit(folder, commit).is_ok_and(|found| found.is_some())
            && commits
                .iter()
                .all(|other| other == *commit || git::is_ancestor(folder, commit, other))
    };
    commits.iter().find(is_first).cloned()
}
