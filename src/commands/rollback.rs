//! `rebuild rollback`: moves the tags of a run back to where they were.

use std::{collections::BTreeMap, fmt::Write as _};

use tokio::sync::mpsc;

use super::{
    error::CommandError, history::past_runs, journals, output, project::load, signals,
    tag_progress::Lines, target::Place,
};
use crate::{
    commands::cli::{Common, RollbackArgs},
    event::{Promotion, StopReason, Telling},
    exit::Exit,
    hierarchy::Hierarchy,
    host::git,
    publish::{
        journal::{Asked, Began, Move, Past},
        promote::{Publisher, Rollback, Staying, Verdict, rollback as plan},
        store::Tags,
    },
    run::state::State,
};

/// Among how many of the newest runs a run is looked for.
const LOOKED_THROUGH: usize = 100;

pub(super) async fn rollback(
    common: &Common,
    arguments: &RollbackArgs,
) -> Result<Exit, CommandError> {
    let stops = signals::listen()
        .map_err(|error| CommandError::new(Exit::Internal, format!("no signals: {error}")))?;
    let hierarchy = load(common)?;
    match Place::of(&hierarchy).await? {
        Place::Registry { name, tags } => on(&hierarchy, arguments, (&name, &tags), stops).await,
        Place::Engine { name, tags } => on(&hierarchy, arguments, (&name, &tags), stops).await,
    }
}

async fn on<T: Tags>(
    hierarchy: &Hierarchy,
    arguments: &RollbackArgs,
    (place, tags): (&str, &T),
    mut stops: mpsc::Receiver<StopReason>,
) -> Result<Exit, CommandError> {
    let state = State::of(&hierarchy.file);
    let _lock = if arguments.dry_run { None } else { Some(State::lock(place)?) };
    if arguments.dry_run {
        journals::tell(
            hierarchy,
            place,
            "`rebuild rollback` first moves the rest, and then takes back all of them",
        );
    } else if let Some(reason) = journals::finish(tags, (hierarchy, place), &mut stops).await? {
        return Ok(signals::exit_of(reason));
    }
    let compare = async {
        let runs = past_runs(hierarchy, (place, tags), LOOKED_THROUGH).await?;
        let of = chosen(&runs, arguments)?;
        let planned = plan(tags, &of).await?;
        Ok::<_, CommandError>((of, planned))
    };
    let (of, planned) = tokio::select! {
        biased;
        Some(reason) = stops.recv() => return Ok(signals::exit_of(reason)),
        compared = compare => compared?,
    };
    say(&planned, &of, arguments.dry_run)?;
    if let Some(one) = planned.impossible() {
        let why = format!("`{}` cannot go back, so nothing is moved", one.tag);
        return Err(CommandError::new(Exit::PromotionFailed, why)
            .hint("the image was removed: build it again from its commit, with `--allow-older`"));
    }
    if arguments.dry_run || planned.moves.is_empty() {
        return Ok(exit(&planned));
    }

    let run = state.begin_run();
    let _alive = run.declare_alive();
    let commit = git::head(hierarchy.root()).as_ref().map(git::Head::short);
    let asked = Asked::Rollback { of: of.began.run.clone() };
    let began = Began { commit, ..Began::new(&run.id, place, asked) };
    let mut journal = journals::begin(&state, began);
    let mut lines = Lines::default();
    let mut telling = Telling::new(&mut lines);
    let mut publisher =
        Publisher { store: tags, journal: &mut journal, stops: &mut stops, telling: &mut telling };
    let verdict = Verdict::Move { moves: planned.moves.clone(), held: BTreeMap::new() };
    let promoted = publisher.promote(verdict).await;
    let exit = match &promoted.promotion {
        Promotion::Incomplete { .. } => Exit::PromotionFailed,
        _ => exit(&planned),
    };
    publisher.end(exit).await;
    if let Promotion::Incomplete { why, .. } = promoted.promotion {
        return Err(CommandError::new(exit, why));
    }
    let (tags, of_run) = (count(planned.moves.len(), "tag"), &of.began.run);
    output::line(&format!("rolled back {tags} of run {of_run} (this is run {})", run.id));
    if matches!(of.began.asked, Asked::Run { .. }) {
        output::line(
            "the next `rebuild` of the same files moves them again: take back the change as well",
        );
    }
    Ok(exit)
}

/// The run that is named, or the last that moved a tag.
fn chosen(runs: &[Past], arguments: &RollbackArgs) -> Result<Past, CommandError> {
    let usage = |message: String| {
        CommandError::new(Exit::Usage, message).hint("`rebuild history` lists the runs")
    };
    let Some(name) = &arguments.run else {
        let last = runs.iter().find(|past| past.wanted().next().is_some());
        return last.cloned().ok_or_else(|| usage("no run has moved a tag".to_owned()));
    };
    let name = name.to_lowercase();
    let mut named = runs.iter().filter(|past| past.began.run.starts_with(&name));
    match (named.next(), named.next()) {
        (Some(past), None) if past.wanted().next().is_some() => Ok(past.clone()),
        (Some(past), None) => Err(usage(format!("run {} has moved no tag", past.began.run))),
        (Some(_), Some(_)) => Err(usage(format!("several runs begin with `{name}`"))),
        (None, _) => Err(usage(format!("no run of this hierarchy begins with `{name}`"))),
    }
}

/// What stays, and in a dry run what would be moved.
fn say(planned: &Rollback, of: &Past, is_dry: bool) -> Result<(), CommandError> {
    for (one, staying) in &planned.staying {
        output::warning(&format!("`{}` {staying}", one.tag));
    }
    let run = &of.began.run;
    if planned.moves.is_empty() {
        let is_new = |(_, staying): &(Move, Staying)| *staying == Staying::New;
        output::line(&if planned.staying.iter().any(is_new) {
            format!("nothing to roll back: before run {run} there was nothing to go back to")
        } else {
            format!("nothing to roll back: no tag is where run {run} put it")
        });
    }
    if !is_dry {
        return Ok(());
    }
    let mut text = String::new();
    for one in &planned.moves {
        let (from, to) = (one.from.as_ref(), one.to.as_ref());
        let what = match (from, to) {
            (Some(from), Some(to)) => {
                format!("would move from {} to {}", from.short(), to.short())
            }
            (_, None) => "would be taken away".to_owned(),
            (None, Some(to)) => format!("would come back, at {}", to.short()),
        };
        _ = writeln!(text, "{} {what}", one.tag);
    }
    output::answer(text.as_bytes())
        .map_err(|error| CommandError::new(Exit::Internal, format!("cannot write: {error}")))
}

/// Tags that somebody moved since are not rolled back, and a script should hear of it.
fn exit(planned: &Rollback) -> Exit {
    if planned.moved_since() > 0 { Exit::PromotionFailed } else { Exit::Done }
}

fn count(n: usize, what: &str) -> String {
    if n == 1 { format!("1 {what}") } else { format!("{n} {what}s") }
}
