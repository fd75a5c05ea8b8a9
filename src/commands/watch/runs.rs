//! One run of many: with an engine, a store and a report of its own.

use std::{collections::BTreeSet, sync::Arc};

use jiff::Timestamp;
use tokio::sync::{mpsc, watch};

use super::pending::Scope;
use crate::{
    commands::{
        cli::{Common, RunArgs, WatchArgs},
        connections::{Connections, LocalOnly},
        error::CommandError,
        output,
        project::nodes,
        reports,
        run::RunCommand,
        run_part::RunPart,
        signals::{self, exit_of},
    },
    event::StopReason,
    exit::Exit,
    fingerprint::HashCache,
    hierarchy::{Hierarchy, NodeName},
    plan::{PlanRequest, Selection},
    report::Record,
};

/// A run and what it is for.
pub(super) struct CurrentRun {
    pub(super) what: What,
    pub(super) triggers: Vec<u64>,
    pub(super) overtaken: watch::Receiver<BTreeSet<NodeName>>,
}

pub(super) enum What {
    Files {
        scope: Scope,
        /// What is said of it: what earlier runs have left is not news.
        named: Scope,
    },
    Ticks,
}

/// How a run ended, as far as it matters to what comes next.
pub(super) enum WatchEnd {
    Succeeded,
    Failed,
    /// Some of it is to be done again, since files changed.
    Overtaken,
    /// Engine or registry cannot be reached, or another run is going on: later it may work.
    Unreachable,
    /// Somebody wants us to end.
    Stopped(Exit),
}

pub(super) struct WatchSetup<'a> {
    pub(super) common: &'a Common,
    pub(super) arguments: &'a WatchArgs,
    pub(super) hashes: Arc<HashCache>,
    pub(super) local: Option<LocalOnly>,
}

pub(super) async fn run(
    how: WatchSetup<'_>,
    hierarchy: Arc<Hierarchy>,
    underway: &CurrentRun,
    stops: &mut mpsc::Receiver<StopReason>,
) -> WatchEnd {
    let (selection, asked) = match &underway.what {
        What::Ticks => (Selection::OutOfDate, "watch --schedule"),
        What::Files { scope: Scope::Nodes(nodes), .. } => {
            let known = nodes.keys().filter(|name| hierarchy.get(name).is_some());
            (Selection::Among(known.cloned().collect()), "watch")
        }
        What::Files { .. } => (Selection::OutOfDate, "watch"),
    };
    let by_schedule = matches!(underway.what, What::Ticks);
    let selection = match narrowed(selection, &hierarchy, how.arguments) {
        Ok(selection) => selection,
        Err(error) => {
            output::error(&error.to_string());
            return WatchEnd::Failed;
        }
    };
    let request = PlanRequest {
        selection,
        refresh: false,
        by_schedule,
        platforms: BTreeSet::new(),
        now: Timestamp::now(),
    };
    let arguments = RunArgs {
        // What is checked out is what is wanted, in one's own engine.
        allow_older: !how.arguments.push,
        keep_going: true,
        how: how.arguments.how.clone(),
        ..RunArgs::default()
    };
    let mut record = Record::new(asked.to_owned());
    let run = async {
        let connect = Connections::connect(&hierarchy, arguments.how.builder, how.common.offline);
        let mut world = signals::unless_stopped(stops, connect).await?;
        world.hashes = how.hashes;
        world.fills_mirror = how.arguments.push && !how.common.untrusted;
        world.local = how.local;
        let (hierarchy, overtaken) = (hierarchy.clone(), underway.overtaken.clone());
        let part = RunPart::Whole;
        let run = RunCommand { hierarchy, request, world, arguments: &arguments, overtaken, part };
        run.execute(stops, &mut record).await
    };
    let ended = run.await;
    let ended = conclude(&mut record, ended);
    if how.arguments.push {
        reports::tell(&record, Some(&hierarchy), (how.common, &arguments)).await;
    }
    ended
}

/// What `--from` or `--only` leave of it.
pub(super) fn narrowed(
    selection: Selection,
    hierarchy: &Hierarchy,
    arguments: &WatchArgs,
) -> Result<Selection, CommandError> {
    let allowed = match (&arguments.from[..], &arguments.only[..]) {
        ([], []) => return Ok(selection),
        (from, []) => Selection::From(nodes(hierarchy, from)?),
        (_, only) => Selection::Only(nodes(hierarchy, only)?),
    };
    let (view, allowed) = (selection.in_view(hierarchy), allowed.in_view(hierarchy));
    Ok(Selection::Within(view.intersection(&allowed).cloned().collect()))
}

fn conclude(record: &mut Record, ended: Result<Exit, CommandError>) -> WatchEnd {
    let stopped = record.stopped.filter(|reason| *reason >= StopReason::Interrupted);
    if let Some(reason) = stopped {
        return WatchEnd::Stopped(exit_of(reason));
    }
    match ended {
        Ok(exit @ (Exit::Interrupted | Exit::Terminated)) => match record.stopped {
            Some(StopReason::Overtaken) => WatchEnd::Overtaken,
            _ => WatchEnd::Stopped(exit),
        },
        Ok(Exit::Done) if record.stopped == Some(StopReason::Overtaken) => WatchEnd::Overtaken,
        Ok(Exit::Done) => WatchEnd::Succeeded,
        Ok(_) if record.stopped == Some(StopReason::Overtaken) => WatchEnd::Overtaken,
        Ok(_) => WatchEnd::Failed,
        Err(error) => {
            output::error(&error.to_string());
            let exit = error.exit;
            record.error = Some((exit, error.with_causes()));
            match exit {
                Exit::Interrupted | Exit::Terminated => WatchEnd::Stopped(exit),
                Exit::EngineUnreachable | Exit::RegistryUnreachable | Exit::Locked => {
                    WatchEnd::Unreachable
                }
                _ => WatchEnd::Failed,
            }
        }
    }
}
