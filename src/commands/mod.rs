//! Wires a command line to what does it: one file a subcommand.

mod query;
mod audit;
mod channels;
mod check;
pub mod cli;
mod completions;
mod doctor;
mod durations;
mod error;
mod export;
mod history;
mod hook;
mod journals;
mod gc;
mod init;
mod killed_runs;
mod local;
mod lock;
mod log;
mod tag_progress;
mod man;
mod mirror;
mod older_commit;
mod output;
mod target;
mod plan;
mod plan_file;
mod plan_source;
mod pool;
mod preflight;
mod project;
mod promote;
mod replaced;
mod report;
mod reports;
mod resume;
mod rollback;
mod rollback_holds;
mod run;
mod run_part;
mod serve;
mod shell;
mod signals;
mod size;
mod stage;
mod status;
mod retention;
mod tree;
mod unpublished;
mod waste;
mod watch;
mod what_if;
mod why;
mod connections;

use std::{env, ffi::OsString, process::ExitCode};

use tracing_subscriber::EnvFilter;

use self::error::CommandError;
use crate::{
    commands::cli::{Cli, Command, Common, LogFormat, RunArgs},
    exit::Exit,
};

/// Says what `--registry` does.
const REGISTRY: &str = "REBUILD_REGISTRY";

/// The whole program: a command line in, an exit code out.
pub fn main(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let mut arguments: Vec<OsString> = arguments.into_iter().collect();
    // As with git: `rebuild help plan` is `rebuild plan --help`.
    if arguments.get(1).is_some_and(|first| first == "help") {
        arguments.remove(1);
        arguments.push("--help".into());
    }
    match completions::complete(&arguments) {
        Ok(false) => {}
        Ok(true) => return Exit::Done.into(),
        Err(error) => {
            output::usage(&error);
            return Exit::Usage.into();
        }
    }
    let cli = match Cli::read(arguments.clone()) {
        Ok(cli) => cli,
        Err(error) => {
            output::usage(&error);
            if let Some(hint) = cli::hint(&error, &arguments, completions::is_image) {
                output::line(&format!("\n  hint: {hint}"));
            }
            return if error.use_stderr() { Exit::Usage } else { Exit::Done }.into();
        }
    };
    begin_logs(&cli);
    match with_environment(cli).and_then(dispatch) {
        Ok(exit) => exit.into(),
        Err(error) => {
            output::error(&error.to_string());
            error.exit.into()
        }
    }
}

/// `REBUILD_LOG` selects what is logged; a server logs what it does.
fn begin_logs(cli: &Cli) {
    let server = match &cli.command {
        Some(Command::Serve(arguments)) => Some(arguments),
        _ => None,
    };
    let by_default = if server.is_some() { "rebuild=info" } else { "" };
    let filter = env::var("REBUILD_LOG").ok().filter(|filter| !filter.is_empty());
    let filter = EnvFilter::new(filter.as_deref().unwrap_or(by_default));
    let logs = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(output::stderr_has_colour())
        .with_writer(output::LogWriter::default);
    if server.is_some_and(|arguments| arguments.log_format == LogFormat::Json) {
        logs.json().flatten_event(true).init();
    } else {
        logs.init();
    }
}

/// What is not on the command line may be in a variable; a CI system sets what has no value to nothing.
fn with_environment(mut cli: Cli) -> Result<Cli, CommandError> {
    let value = env::var_os(REGISTRY).filter(|value| !value.is_empty());
    if let (None, Some(value), false) = (&cli.common.registry, value, cli.common.no_registry) {
        let registry = value.to_string_lossy().parse().map_err(|error| {
            CommandError::new(Exit::Usage, format!("in the variable `{REGISTRY}`: {error}"))
        })?;
        cli.common.registry = Some(registry);
    }
    Ok(cli)
}

fn dispatch(cli: Cli) -> Result<Exit, CommandError> {
    let common = &cli.common;
    match cli.command {
        None => run(common, &cli.run),
        Some(Command::Run(arguments)) => run(common, &arguments),
        Some(Command::Watch(arguments)) => runtime()?.block_on(watch::watch(common, &arguments)),
        Some(Command::Serve(arguments)) => runtime()?.block_on(serve::serve(common, &arguments)),
        Some(Command::Deliver { file }) => runtime()?.block_on(channels::deliver(&file)),
        Some(Command::Plan(arguments)) => runtime()?
            .block_on(plan::plan(common, &arguments))
            .map_err(CommandError::or_without_registry),
        Some(Command::Why(arguments)) => runtime()?
            .block_on(why::why(common, &arguments))
            .map_err(CommandError::or_without_registry),
        Some(Command::Status(arguments)) => runtime()?
            .block_on(status::status(common, &arguments))
            .map_err(CommandError::or_without_registry),
        Some(Command::Log(arguments)) => log::log(common, &arguments),
        Some(Command::Shell(arguments)) => runtime()?.block_on(shell::shell(common, &arguments)),
        Some(Command::Check(arguments)) => check::check(common, &arguments),
        Some(Command::Explain { code }) => check::explain(code.as_deref()),
        Some(Command::Tree(arguments)) => runtime()?.block_on(tree::tree(common, &arguments)),
        Some(Command::Export(arguments)) => runtime()?.block_on(export::export(common, &arguments)),
        Some(Command::Stage(arguments)) => runtime()?.block_on(stage::stage(common, &arguments)),
        Some(Command::Promote(arguments)) => {
            runtime()?.block_on(promote::promote(common, &arguments))
        }
        Some(Command::Audit(arguments)) => runtime()?.block_on(audit::audit(common, &arguments)),
        Some(Command::Mirror(arguments)) => runtime()?.block_on(mirror::mirror(common, &arguments)),
        Some(Command::Size(arguments)) => runtime()?.block_on(size::size(common, &arguments)),
        Some(Command::Waste(arguments)) => runtime()?.block_on(waste::waste(common, &arguments)),
        Some(Command::Report(arguments)) => report::report(common, &arguments),
        Some(Command::History(arguments)) => {
            runtime()?.block_on(history::history(common, &arguments))
        }
        Some(Command::Rollback(arguments)) => {
            runtime()?.block_on(rollback::rollback(common, &arguments))
        }
        Some(Command::Resume(arguments)) => runtime()?.block_on(resume::resume(common, &arguments)),
        Some(Command::Gc(arguments)) => runtime()?.block_on(gc::gc(common, &arguments)),
        Some(Command::Doctor(arguments)) => runtime()?.block_on(doctor::doctor(common, &arguments)),
        Some(Command::Init(arguments)) => init::init(common, &arguments),
        Some(Command::Schema) => check::schema(),
        Some(Command::Completions { shell }) => completions::completions(shell),
        Some(Command::Man { folder }) => man::man(folder.as_deref()),
    }
}

fn run(common: &Common, arguments: &RunArgs) -> Result<Exit, CommandError> {
    let ended = runtime()?.block_on(run::run(common, arguments));
    match arguments.local {
        Some(_) => ended.map_err(CommandError::or_without_registry),
        None => ended,
    }
}

fn runtime() -> Result<tokio::runtime::Runtime, CommandError> {
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| CommandError::new(Exit::Internal, format!("cannot start: {error}")))
}
