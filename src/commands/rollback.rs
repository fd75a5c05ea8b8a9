//! `rebuild rollback`: moves the tags of a run back to where they were.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
    io::{self, IsTerminal as _},
};

use tokio::sync::{mpsc, oneshot};

use super::{
    error::CommandError,
    history::past_runs,
    journals,
    lock::lock,
    output,
    project::load_names,
    rollback_holds::{HoldReport, RollbackHolds, is_hold},
    signals,
    tag_progress::TagProgress,
    target::TagTarget,
};
use crate::{
    check::diagnostic::names,
    commands::cli::{Common, Format, RollbackArgs},
    event::{Promotion, StopReason, Telling},
    exit::Exit,
    hierarchy::Hierarchy,
    host::git,
    image::Digest,
    publish::{
        journal::{Began, PastRun, RunRequest},
        promote::{Publisher, Rollback, Staying, Verdict, rollback as plan},
        store::Tags,
    },
    report::{self, count, rollback::RollbackReport},
    run::state::StateFolder,
};

/// Among how many of the newest runs a run is looked for.
pub(super) const LOOKED_THROUGH: usize = 100;

pub(super) async fn rollback(
    common: &Common,
    arguments: &RollbackArgs,
) -> Result<Exit, CommandError> {
    let mut stops = signals::listen()
        .map_err(|error| CommandError::new(Exit::Internal, format!("no signals: {error}")))?;
    let hierarchy = load_names(common)?;
    match signals::unless_stopped(&mut stops, TagTarget::of(&hierarchy)).await? {
        TagTarget::Registry { name, tags } => {
            on(&hierarchy, arguments, (&name, &tags), stops).await
        }
        TagTarget::Engine { name, tags } => on(&hierarchy, arguments, (&name, &tags), stops).await,
    }
}

async fn on<T: Tags>(
    hierarchy: &Hierarchy,
    arguments: &RollbackArgs,
    (place, tags): (&str, &T),
    mut stops: mpsc::Receiver<StopReason>,
) -> Result<Exit, CommandError> {
    let state = StateFolder::of(&hierarchy.file);
    let wait = arguments.wait.unwrap_or_default();
    let _lock = if arguments.dry_run {
        None
    } else {
        Some(signals::unless_stopped(&mut stops, lock(place, wait)).await?)
    };
    if arguments.dry_run {
        journals::tell(hierarchy, place, "`rebuild rollback` first moves the rest");
    } else if let Some(reason) = journals::finish(tags, (hierarchy, place), &mut stops).await? {
        return Ok(signals::exit_of(reason));
    }
    let compare = async {
        let runs = past_runs(hierarchy, (place, tags), LOOKED_THROUGH).await?;
        let of = chosen(&runs, arguments)?;
        let planned = plan(tags, &of).await?;
        Ok::<_, CommandError>((of, planned, runs))
    };
    let (of, planned, runs) = signals::unless_stopped(&mut stops, compare).await?;
    let report = |by: Option<&str>, exit: Exit| {
        let (of, left_out) = (&of.began.run, &of.left_out);
        let rolled_back = RollbackReport { of, by, planned: &planned, left_out, exit };
        report(&rolled_back, arguments.format)
    };
    say(&planned, &of, arguments.format)?;
    if let RunRequest::Rollback { of: undone } = &of.began.asked {
        let run = &of.began.run;
        output::warning(&format!("run {run} is a rollback: undoing it {}", undoes(&runs, undone)));
    }
    if let Some(one) = planned.impossible() {
        report(None, Exit::PromotionFailed)?;
        let why = format!("`{}` cannot go back, so nothing is moved", one.tag);
        return Err(CommandError::new(Exit::PromotionFailed, why)
            .hint("the image was removed: build it again from its commit, with `--allow-older`"));
    }
    let exit = if planned.moved_since() > 0 || !of.left_out.is_empty() {
        Exit::PromotionFailed
    } else {
        Exit::Done
    };
    if arguments.dry_run || planned.moves.is_empty() {
        if !planned.moves.is_empty() {
            output::line(&format!("would {}", request(planned.moves.len(), &of)));
        }
        report(None, exit)?;
        return Ok(exit);
    }
    if !arguments.yes && io::stdin().is_terminal() {
        let is_confirmed = tokio::select! {
            biased;
            Some(reason) = stops.recv() => {
                output::line("\nnothing was moved");
                return Ok(signals::exit_of(reason));
            }
            answer = confirmed(planned.moves.len(), &of) => answer?,
        };
        if !is_confirmed {
            output::line("nothing was moved");
            report(None, Exit::Done)?;
            return Ok(Exit::Done);
        }
    }

    let run = state.begin_run();
    let _alive = run.declare_alive();
    let commit = git::head(hierarchy.root()).as_ref().map(git::GitHead::short);
    let asked = RunRequest::Rollback { of: of.began.run.clone() };
    let began = Began { commit, ..Began::new(&run.id, place, asked) };
    let mut journal = journals::begin(&state, began);
    let mut lines = TagProgress::listed();
    let mut telling = Telling::new(&mut lines);
    let mut publisher =
        Publisher { store: tags, journal: &mut journal, stops: &mut stops, telling: &mut telling };
    let verdict = Verdict::Move { moves: planned.moves.clone(), held: BTreeMap::new() };
    let promoted = publisher.promote(verdict).await;
    if let Promotion::Incomplete { why, .. } = promoted.promotion {
        publisher.end(Exit::PromotionFailed).await;
        return Err(CommandError::new(Exit::PromotionFailed, why));
    }
    let moved = count(planned.moves.len(), "tag");
    let line = format!("rolled back {moved} of run {} (this is run {})", of.began.run, run.id);
    output::line(&line);
    if let Some(holds) = RollbackHolds::of(publisher.journal.past(), &runs) {
        holds.write(tags, HoldReport::Images).await;
    }
    publisher.end(exit).await;
    report(Some(&run.id), exit)?;
    Ok(exit)
}

/// The run that is named, or the last that moved a tag.
fn chosen(runs: &[PastRun], arguments: &RollbackArgs) -> Result<PastRun, CommandError> {
    let usage = |message: String| {
        CommandError::new(Exit::Usage, message).hint("`rebuild history` lists the runs")
    };
    let Some(name) = &arguments.run else {
        let last = runs.iter().find(|past| past.has_moved());
        let last = last.ok_or_else(|| usage("no run has moved a tag".to_owned()))?;
        return match &last.began.asked {
            RunRequest::Run { .. } => Ok(last.clone()),
            RunRequest::Rollback { of } => Err(already_undone(runs, (&last.began.run, of))),
        };
    };
    let name = name.to_lowercase();
    let mut named = runs.iter().filter(|past| past.began.run.starts_with(&name));
    match (named.next(), named.next()) {
        (Some(past), None) if past.has_moved() => Ok(past.clone()),
        (Some(past), None) => Err(usage(format!("run {} has moved no tag", past.began.run))),
        (Some(_), Some(_)) => Err(usage(format!("several runs begin with `{name}`"))),
        (None, _) => Err(usage(format!("no run of this hierarchy begins with `{name}`"))),
    }
}

/// A rollback without a name never undoes a rollback: that would publish the images again that were taken back.
fn already_undone(runs: &[PastRun], (last, of): (&str, &str)) -> CommandError {
    let again = format!("`rebuild rollback {last}` {}", undoes(runs, of));
    let hint = match in_effect(runs) {
        Some(past) => {
            let run = &past.began.run;
            let at = report::history::time(past);
            format!("`rebuild rollback {run}` undoes the run of {at} as well; {again}")
        }
        None => again,
    };
    let message = format!("the last run that moved tags is a rollback: run {last} undid run {of}");
    CommandError::new(Exit::Usage, message).hint(hint)
}

/// The effect of undoing the rollback of this run.
fn undoes(runs: &[PastRun], of: &str) -> String {
    if is_hold(runs, of) {
        format!("publishes the images of run {of} again")
    } else {
        "puts the older images back again".to_owned()
    }
}

/// The newest run whose images are in place: it is not a rollback, and no rollback undid it. Runs are the newest first.
fn in_effect(runs: &[PastRun]) -> Option<&PastRun> {
    let mut undone: BTreeSet<&str> = BTreeSet::new();
    for past in runs.iter().filter(|past| past.has_moved()) {
        match &past.began.asked {
            _ if undone.contains(past.began.run.as_str()) => {}
            RunRequest::Rollback { of } => _ = undone.insert(of),
            RunRequest::Run { .. } => return Some(past),
        }
    }
    None
}

/// `undo run 01k… of 2026-11-30 22:10 (request: --from os): move 3 tags back`.
fn request(tags: usize, of: &PastRun) -> String {
    format!("undo {}: move {} back", report::history::title(of), count(tags, "tag"))
}

/// Asks the user at the terminal.
async fn confirmed(tags: usize, of: &PastRun) -> Result<bool, CommandError> {
    output::line(&format!("{}? [y/N]", request(tags, of)));
    let (answered, answer) = oneshot::channel();
    // A thread of its own: the program can end while it waits.
    std::thread::spawn(move || {
        let mut line = String::new();
        _ = answered.send(io::stdin().read_line(&mut line).map(|_| line));
    });
    let line = answer.await.unwrap_or_else(|_| Err(io::ErrorKind::BrokenPipe.into()));
    let line =
        line.map_err(|error| CommandError::new(Exit::Internal, format!("no answer: {error}")))?;
    Ok(matches!(line.trim().to_lowercase().as_str(), "y" | "yes"))
}

/// Of `--format json`: the only output to stdout, when all is done.
fn report(rolled_back: &RollbackReport<'_>, format: Format) -> Result<(), CommandError> {
    if format != Format::Json {
        return Ok(());
    }
    let mut text = Vec::new();
    report::rollback::json(rolled_back, &mut text)
        .and_then(|()| output::view(&text, false))
        .map_err(|error| CommandError::new(Exit::Internal, format!("cannot write: {error}")))
}

/// What stays, and what moves.
fn say(planned: &Rollback, of: &PastRun, format: Format) -> Result<(), CommandError> {
    for (one, staying) in &planned.staying {
        output::warning(&format!("`{}` {staying}", one.tag));
    }
    let run = &of.began.run;
    if !of.left_out.is_empty() {
        let (them, their, stay) = match of.left_out.len() {
            1 => ("it", "this repository", "stays where it is"),
            _ => ("them", "these repositories", "stay where they are"),
        };
        let list = names(&of.left_out, of.left_out.len());
        output::warning(&format!(
            "{list} {stay}: run {run} moved {them}, but no image of this hierarchy.yaml has {their}. To \
             move {them} back, check out the commit of that run and run `rebuild rollback {run}` again"
        ));
    }
    if planned.moves.is_empty() {
        let new = planned.staying.iter().filter(|(_, staying)| *staying == Staying::New).count();
        output::line(&match new {
            0 => format!("nothing to roll back: no tag is where run {run} put it"),
            new if new == planned.staying.len() => {
                format!("nothing to roll back: before run {run} there was nothing to go back to")
            }
            _ => format!("nothing to roll back: no tag of run {run} can be moved back"),
        });
    }
    if format == Format::Json {
        return Ok(());
    }
    let mut text = String::new();
    let widest = planned.moves.iter().map(|one| one.tag.to_string().len()).max().unwrap_or(0);
    for one in &planned.moves {
        let what = match (one.from.as_ref(), one.to.as_ref()) {
            (Some(from), Some(to)) => format!("{} → {}", from.short(), to.short()),
            (Some(from), None) => format!("{} → removed", from.short()),
            (None, to) => format!("absent → {}", to.map_or("absent", Digest::short)),
        };
        _ = writeln!(text, "{:widest$}  {what}", one.tag.to_string());
    }
    output::view(text.as_bytes(), true)
        .map_err(|error| CommandError::new(Exit::Internal, format!("cannot write: {error}")))
}
