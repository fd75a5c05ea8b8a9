//! `rebuild completions`: scripts for shells that ask the program back, and its answer.
//!
//! **Invariant:** completing asks no engine and no registry, and says nothing of what is wrong.

use std::{
    collections::BTreeSet,
    env,
    ffi::{OsStr, OsString},
    path::PathBuf,
};

use clap::Command;
use clap_complete::{
    CompleteEnv, Shell,
    engine::{ArgValueCompleter, CompletionCandidate},
    env::Shells,
};

use super::{error::CommandError, output};
use crate::{
    check::rules,
    commands::cli,
    exit::Exit,
    hierarchy::{FieldOverride, Hierarchy, LoadOptions, NodeName, entries},
    host::bounded,
    publish::journal::{self, PastRun},
    report::history,
    run::state::StateFolder,
};

/// Set by the scripts: for which shell to complete.
const VARIABLE: &str = "REBUILD_COMPLETE";
/// The commands that take names of images, and as which arguments.
const TAKE_NODES: [(&str, &[&str]); 9] = [
    ("run", &["from", "only", "local"]),
    ("watch", &["from", "only"]),
    ("plan", &["from", "only", "local", "nodes"]),
    ("why", &["nodes"]),
    ("status", &["nodes"]),
    ("tree", &["nodes"]),
    ("log", &["node"]),
    ("shell", &["node"]),
    ("resume", &["nodes"]),
];

pub(super) fn completions(shell: Shell) -> Result<Exit, CommandError> {
    let internal = |error: std::io::Error| CommandError::new(Exit::Internal, error.to_string());
    let name = shell.to_string();
    let shells = Shells::builtins();
    let shell = shells.completer(&name).ok_or_else(|| {
        CommandError::new(Exit::Internal, format!("nobody knows how {name} completes"))
    })?;
    let mut script = Vec::new();
    shell
        .write_registration(VARIABLE, "rebuild", "rebuild", "rebuild", &mut script)
        .and_then(|()| output::trusted(&script))
        .map_err(internal)?;
    Ok(Exit::Done)
}

/// Answers a shell, if it is one that asks.
pub(super) fn complete(arguments: &[OsString]) -> Result<bool, clap::Error> {
    let here = env::current_dir().ok();
    let command = || completable(arguments);
    CompleteEnv::with_factory(command)
        .var(VARIABLE)
        .try_complete(arguments.iter().cloned(), here.as_deref())
}

/// The command line, with what can stand for its arguments.
fn completable(arguments: &[OsString]) -> Command {
    let of = file(arguments);
    let file = of.clone();
    let fields = ArgValueCompleter::new(move |typed: &OsStr| fields(file.as_ref(), typed));
    let file = of.clone();
    let nodes = ArgValueCompleter::new(move |typed: &OsStr| names(file.as_ref(), typed));
    let with_nodes = |mut command: Command, names: &[&'static str]| {
        for name in names {
            command = command.mut_arg(name, |argument| argument.add(nodes.clone()));
        }
        command
    };
    let mut command = with_nodes(cli::command(), &["from", "only", "local"]);
    command = command.mut_arg("fields", |argument| argument.add(fields));
    for (name, takes) in TAKE_NODES {
        command = command.mut_subcommand(name, |command| with_nodes(command, takes));
    }
    let (state, line) = (of.clone(), arguments.to_vec());
    let logs = ArgValueCompleter::new(move |typed: &OsStr| logs(state.as_ref(), &line, typed));
    command = command.mut_subcommand("log", |log| log.mut_arg("run", |run| run.add(logs)));
    let state = of.clone();
    let reports = ArgValueCompleter::new(move |typed: &OsStr| reports(state.as_ref(), typed));
    command = command.mut_subcommand("report", |one| one.mut_arg("run", |run| run.add(reports)));
    let state = of;
    let runs = ArgValueCompleter::new(move |typed: &OsStr| runs(state.as_ref(), typed));
    command = command.mut_subcommand("rollback", |one| one.mut_arg("run", |run| run.add(runs)));
    let codes = ArgValueCompleter::new(|typed: &OsStr| codes(typed));
    command.mut_subcommand("explain", |command| {
        command.mut_arg("code", |argument| argument.add(codes))
    })
}

/// The file that the line so far is about: `-f` and `-C` count, wherever they stand.
fn file(arguments: &[OsString]) -> Option<PathBuf> {
    let value = |short: &str, long: &str| {
        let at = arguments.iter().rposition(|one| one == short || one == long);
        let joined = arguments.iter().rev().find_map(|one| {
            let one = one.to_str()?;
            let short = one.strip_prefix(short).filter(|rest| !rest.is_empty());
            short.or_else(|| one.strip_prefix(long)?.strip_prefix('='))
        });
        at.and_then(|at| arguments.get(at + 1)).map(PathBuf::from).or(joined.map(PathBuf::from))
    };
    let mut start = env::current_dir().ok()?;
    if let Some(folder) = value("-C", "--directory") {
        start.push(folder);
    }
    match value("-f", "--file") {
        Some(file) => Some(start.join(file)),
        None => Hierarchy::find_file(&start).ok().flatten(),
    }
}

/// Whether the hierarchy file of this command line has such an image.
pub(super) fn is_image(word: &str) -> bool {
    let arguments: Vec<OsString> = env::args_os().collect();
    let Some(file) = file(&arguments) else { return false };
    let text = bounded::read(&file, bounded::TEXT).unwrap_or_default();
    let entries = entries(&file, &text, &LoadOptions::default()).unwrap_or_default();
    entries.keys().any(|name| name.as_str() == word)
}

/// The images whose names begin so. Only the file itself is read, so that it is quick; a broken entry
/// costs no more than its own name.
fn names(file: Option<&PathBuf>, typed: &OsStr) -> Vec<CompletionCandidate> {
    let (Some(file), Some(typed)) = (file, typed.to_str()) else { return Vec::new() };
    let text = bounded::read(file, bounded::TEXT).unwrap_or_default();
    let entries = entries(file, &text, &LoadOptions::default()).unwrap_or_default();
    let names = entries.keys().filter(|name| name.as_str().starts_with(typed));
    names.map(|name| CompletionCandidate::new(name.as_str())).collect()
}

/// `IMAGE.FIELD=` for each image and each field that `--set` can give, with what the field takes.
fn fields(file: Option<&PathBuf>, typed: &OsStr) -> Vec<CompletionCandidate> {
    let (Some(file), Some(typed)) = (file, typed.to_str()) else { return Vec::new() };
    let text = bounded::read(file, bounded::TEXT).unwrap_or_default();
    let entries = entries(file, &text, &LoadOptions::default()).unwrap_or_default();
    let images: BTreeSet<&str> = entries.keys().map(NodeName::image).collect();
    let all = FieldOverride::fields().flat_map(|(field, takes)| {
        let candidate = move |image| (format!("{image}.{field}="), takes.clone());
        images.iter().map(candidate)
    });
    all.filter(|(text, _)| text.starts_with(typed))
        .map(|(text, takes)| CompletionCandidate::new(text).help(Some(takes.into())))
        .collect()
}

/// The runs of this machine with a log of the images on the line, the newest first.
fn logs(file: Option<&PathBuf>, line: &[OsString], typed: &OsStr) -> Vec<CompletionCandidate> {
    let (Some(file), Some(typed)) = (file, typed.to_str()) else { return Vec::new() };
    let state = StateFolder::of(file);
    let names = line.iter().filter_map(|word| word.to_str());
    let mut runs: Vec<String> =
        names.flat_map(|name| state.logs(name)).map(|(run, _)| run).collect();
    runs.sort();
    runs.dedup();
    let begins_so = runs.into_iter().rev().filter(|run| run.starts_with(typed));
    begins_so.map(CompletionCandidate::new).collect()
}

/// The runs of this machine whose events are kept, the newest first.
fn reports(file: Option<&PathBuf>, typed: &OsStr) -> Vec<CompletionCandidate> {
    let (Some(file), Some(typed)) = (file, typed.to_str()) else { return Vec::new() };
    let runs = StateFolder::of(file).events().into_iter().map(|(run, _)| run);
    runs.filter(|run| run.starts_with(typed)).map(CompletionCandidate::new).collect()
}

/// The runs of this machine that moved tags, the newest first.
fn runs(file: Option<&PathBuf>, typed: &OsStr) -> Vec<CompletionCandidate> {
    let (Some(file), Some(typed)) = (file, typed.to_str()) else { return Vec::new() };
    let journals = StateFolder::of(file).journals();
    let moved = journal::all(&journals).filter(PastRun::has_moved);
    moved
        .filter(|past| past.began.run.starts_with(typed))
        .map(|past| {
            let help = history::summary(&past).into();
            CompletionCandidate::new(past.began.run).help(Some(help))
        })
        .collect()
}

fn codes(typed: &OsStr) -> Vec<CompletionCandidate> {
    let typed = typed.to_string_lossy().to_ascii_uppercase();
    let all = rules::all().map(|rule| (rule.code.to_string(), rule.title));
    all.filter(|(code, _)| code.starts_with(&typed))
        .map(|(code, title)| CompletionCandidate::new(code).help(Some(title.into())))
        .collect()
}
