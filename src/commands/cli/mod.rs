//! The command line, as structs: every flag, its help, and nothing else.

mod audit;
mod export;
mod gc;
mod hints;
mod mirror;
mod pipeline;
mod plan;
mod rollback;
mod selection;
mod serve;
mod size;
mod waste;
mod watch;

use std::{ffi::OsString, num::NonZeroUsize, path::PathBuf, time::Duration};

use clap::{
    Args, CommandFactory as _, FromArgMatches as _, Parser, Subcommand, ValueEnum,
    builder::FalseyValueParser, error::ErrorKind,
};

pub(super) use self::hints::hint;
use self::hints::without_values;
pub use self::{
    audit::{AuditArgs, AuditFormat, RegistryPath},
    export::{CiSystemArg, ExportArgs, RunnerLabel},
    gc::GcArgs,
    mirror::MirrorArgs,
    pipeline::{PromoteArgs, StageArgs},
    plan::{PlanArgs, WhyArgs},
    rollback::RollbackArgs,
    selection::SelectionArgs,
    serve::{LogFormat, RepositoryArg, ServeArgs},
    size::{SizeArgs, SizeFormat, WhatIf},
    waste::{WasteArgs, WasteFormat},
    watch::WatchArgs,
};
use crate::{
    hierarchy::{BuildArgOverride, EngineEntry, FieldOverride, duration},
    image::Repository,
    report,
};

const EXAMPLES: &str = "\
Examples:
  rebuild                          everything that is out of date
  rebuild --from os-base           os-base, and the descendants that change with it
  rebuild --since origin/main...   images that a branch changed, and their descendants
  rebuild --from 'ruby-*'          images by glob
  rebuild --only webapp-base       one image, on its published parents
  rebuild --refresh                install package updates: every image without the layer cache
  rebuild --refresh --due          install package updates where they are due, and nothing else
  rebuild --no-push                build and test, store and publish nothing
  rebuild --local app              build app for this machine, on published parents; publish nothing
  rebuild --no-promote             build, test and store; no tag moves
  rebuild --registry HOST/PREFIX   publish to that registry
  rebuild watch                    rebuild images as their files are saved
  rebuild plan                     what a run would do, and why
  rebuild why app                  why app is out of date, through which parents
  rebuild log app                  the log of app's last build and tests
  rebuild init                     write a hierarchy.yaml for the Dockerfiles here
  rebuild rollback                 move the tags of the last run back
  rebuild mirror                   copy upstream images into your registry

Exit codes: 0 done or nothing to do, 1 internal, 2 wrong usage or hierarchy, 10 a build failed, \
11 a test failed, 12 a push failed, 13 promotion incomplete, 20 no engine, 21 no registry, \
75 another run is publishing, 130 or 143 interrupted.";

const INIT_EXAMPLES: &str = "\
Examples:
  rebuild init                     read every Dockerfile here, and write hierarchy.yaml
  rebuild init --dry-run           print it instead
  rebuild init --update            add new Dockerfiles to it, and comment out deleted ones
  rebuild init --explain           with the evidence for each image
  rebuild init images              the same for a folder
  docker buildx bake --print | rebuild init --from-bake -
  rebuild init --from-compose compose.yaml";

const CHECK_EXAMPLES: &str = "\
Examples:
  rebuild check                    problems and advice, each with its line
  rebuild check --severity note    notes too
  rebuild check --fail-on warning  in CI: exit code 2 for warnings too
  rebuild check --format github    annotations in a pull request
  rebuild explain RB040            the rule behind a code";

const SCHEMA_EXAMPLES: &str = "\
Examples:
  rebuild schema >hierarchy.schema.json
                                   then in the first line of hierarchy.yaml:
    # yaml-language-server: $schema=hierarchy.schema.json";

const TREE_EXAMPLES: &str = "\
Examples:
  rebuild tree                     each image below its base, with its state
  rebuild tree shop                shop, its ancestors and its descendants
  rebuild tree --format svg >hierarchy.svg
                                   a picture for a browser; a tooltip says why an image is behind
  rebuild tree --no-state          without an engine and a registry";

const STATUS_EXAMPLES: &str = "\
Examples:
  rebuild status                   each image: current, behind, not promoted, held or never built
  rebuild status --exit-code       in scripts: exit code 3 if an image is not current";

const LOG_EXAMPLES: &str = "\
Examples:
  rebuild log app                  the log of app's last build and tests
  rebuild log app --run 01m852q    of a run by the first letters of its ID";

const SHELL_EXAMPLES: &str = "\
Examples:
  rebuild shell app                look around in the image, or in the one whose test failed
  rebuild shell app -- cat /etc/app.conf
                                   run one program; exit code 11 if it fails";

const HISTORY_EXAMPLES: &str = "\
Examples:
  rebuild history                  the last 20 runs
  rebuild history --all            also each run with nothing to do
  rebuild history -n 1             the last run";

const REPORT_EXAMPLES: &str = "\
Examples:
  rebuild report --html run.html   the last run
  rebuild report 01m852q --html run.html
                                   a run by the first letters of its ID";

const RESUME_EXAMPLES: &str = "\
Examples:
  rebuild resume                   all images that were rolled back
  rebuild resume app               one of them";

const EXPLAIN_EXAMPLES: &str = "\
Examples:
  rebuild explain                  all rules
  rebuild explain RB040            one of them, with an example";

const COMPLETIONS_EXAMPLES: &str = "\
Examples:
  source <(rebuild completions bash)     in ~/.bashrc
  source <(rebuild completions zsh)      in ~/.zshrc, behind compinit
  rebuild completions fish | source      in ~/.config/fish/config.fish";

const MAN_EXAMPLES: &str = "\
Examples:
  rebuild man | man -l -           read it
  rebuild man ~/.local/share/man/man1
                                   then `man rebuild`, `man rebuild-plan` and so on";

const DOCTOR_EXAMPLES: &str = "\
Examples:
  rebuild doctor                   problems of engine, logins, registries, disk and clock, and their fixes
  rebuild doctor --format json     the same for a program

Exit code: that of a run with the first problem; 0 without problems.";

/// The output of `--version`; `-V` prints the first line.
const BUILT: &str = concat!(
    env!("CARGO_PKG_VERSION"),
    "\ncommit: ",
    env!("REBUILD_COMMIT"),
    "\ntarget: ",
    env!("REBUILD_TARGET")
);

/// Rebuild, test and promote a hierarchy of container images.
///
/// Reads hierarchy.yaml and the Dockerfiles. Rebuilds and tests the images that are out of date and
/// their descendants. Moves tags only if all of them are good. Stops at the first broken image, and
/// then moves no tag.
#[derive(Debug, Parser)]
#[command(name = "rebuild", version, long_version = BUILT, after_help = EXAMPLES)]
#[command(subcommand_help_heading = "Commands", disable_help_subcommand = true)]
pub struct Cli {
    #[command(flatten)]
    pub common: Common,
    #[command(flatten)]
    pub run: RunArgs,
    #[command(subcommand)]
    pub command: Option<Command>,
}

/// Examples before everything that has to be read.
const HELP: &str = "\
{about}{after-help}

{usage-heading} {usage}

{all-args}";

/// The command line, for parsing, for help, for man pages and for completion.
pub fn command() -> clap::Command {
    let command = Cli::command().help_template(HELP);
    command
        .mut_subcommands(|command| command.help_template(HELP))
        .mut_subcommand("promote", pipeline::without_builds)
}

/// With examples whose descriptions stay below each other in a narrow terminal.
fn command_for_terminal() -> clap::Command {
    // clap's own width without a terminal.
    let columns = Some(report::stdout_size().map_or(100, |(columns, _)| columns.into()));
    let wrapped = |command: clap::Command| match command.get_after_help().map(ToString::to_string) {
        Some(help) => command.after_help(report::wrap(&help, columns)),
        None => command,
    };
    wrapped(command()).mut_subcommands(wrapped)
}

impl Cli {
    /// What a command line says.
    pub fn read(arguments: impl IntoIterator<Item = OsString>) -> Result<Self, clap::Error> {
        let arguments: Vec<OsString> = arguments.into_iter().collect();
        let mut matches = command().try_get_matches_from(&arguments);
        if matches.as_ref().is_err_and(|error| error.kind() == ErrorKind::DisplayHelp) {
            matches = command_for_terminal().try_get_matches_from(&arguments);
        }
        let matches = matches.map_err(|error| without_values(&arguments, error))?;
        let cli = Self::from_arg_matches(&matches);
        cli.map_err(|error| error.format(&mut command()))?.checked()
    }

    /// Flags of a run that stand before another command would be lost without a word.
    fn checked(self) -> Result<Self, clap::Error> {
        if self.command.is_none() || self.run == RunArgs::default() {
            return Ok(self);
        }
        Err(command().error(
            ErrorKind::ArgumentConflict,
            "flags of a run come after the command: `rebuild plan --from os-base`",
        ))
    }
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Write a hierarchy.yaml for the Dockerfiles of a folder
    ///
    /// Finds the Dockerfiles as git sees the folder, and decides which image each of them makes. Lists
    /// what it is unsure of. Writes that one file only. Needs no engine and no registry.
    #[command(after_help = INIT_EXAMPLES)]
    Init(InitArgs),
    /// Rebuild, test and promote what is out of date (the default command)
    #[command(after_help = EXAMPLES)]
    Run(RunArgs),
    /// Rebuild images when their files are saved; with --schedule also when schedules are due
    ///
    /// First builds what is out of date. Builds and tags images in the engine only, under their names in the
    /// file, on published parents: images of the registry that are up to date are not built. With --push,
    /// publishes them. Ctrl-C ends it.
    #[command(after_help = watch::WATCH_EXAMPLES)]
    Watch(WatchArgs),
    /// Show the state of hierarchies on a page, and start runs by webhooks and schedules
    ///
    /// The page shows what is behind and why, and the runs, also while they go on. Programs get the same as JSON.
    /// Pushes to repositories and registries start runs by webhooks. Schedules and moved upstreams start runs
    /// automatically. Ctrl-C ends it, and the next start continues.
    #[command(after_help = serve::SERVE_EXAMPLES)]
    Serve(ServeArgs),
    /// Print what a run would do and why, and change nothing
    #[command(after_help = plan::PLAN_EXAMPLES)]
    Plan(PlanArgs),
    /// Explain why images are out of date or not, and why they were last built
    #[command(after_help = plan::WHY_EXAMPLES)]
    Why(WhyArgs),
    /// Show the state of each image: current, behind, not promoted, held or never built
    #[command(after_help = STATUS_EXAMPLES)]
    Status(StatusArgs),
    /// Print the log of an image's last build and tests on this machine
    #[command(after_help = LOG_EXAMPLES)]
    Log(LogArgs),
    /// Start a shell in a container of an image; after a failed test, of the image that failed
    ///
    /// The container has a network and the limits of a test container. It is removed when the shell ends.
    /// An image whose test failed stays in the engine until the image's next run on this machine.
    #[command(after_help = SHELL_EXAMPLES)]
    Shell(ShellArgs),
    /// Check the files, without an engine: problems and advice
    #[command(after_help = CHECK_EXAMPLES)]
    Check(CheckArgs),
    /// Explain a rule of `rebuild check`, with an example; without a code, list all rules
    #[command(after_help = EXPLAIN_EXAMPLES)]
    Explain {
        /// As in `warning[RB040]`
        #[arg(value_name = "CODE")]
        code: Option<String>,
    },
    /// Show which image is built from which, as text or as a picture
    ///
    /// With images named: only those, their ancestors and their descendants. Shows the state of each
    /// image as `rebuild status` does. Without an engine or a registry, the tree has no states.
    #[command(after_help = TREE_EXAMPLES)]
    Tree(TreeArgs),
    /// Show the size of each published image, by the image that added the bytes
    ///
    /// Reads manifests from the registry, and pulls nothing. Without a registry: images of the engine. The
    /// totals count layers that images share once.
    #[command(after_help = size::SIZE_EXAMPLES)]
    Size(SizeArgs),
    /// Find bytes that published images need not have, with the Dockerfile line and the fix
    ///
    /// Finds files that a later layer deletes, replaces or contains again, caches of package managers, .git,
    /// documentation, build tools, duplicates and files that look like secrets. Each finding is at the image that
    /// causes it. Reads the layers from the registry, or from the engine without one; pulls nothing.
    #[command(after_help = waste::WASTE_EXAMPLES)]
    Waste(WasteArgs),
    /// List the images of a registry that are based on an outdated base, also images that `rebuild` never built
    ///
    /// Finds the base by the OCI annotations or labels of an image, else by its layers. The bases are the images of
    /// hierarchy.yaml, if there is one, and those of --base. Only reads.
    #[command(after_help = audit::AUDIT_EXAMPLES)]
    Audit(AuditArgs),
    /// Copy the upstream images into the mirror, so that builds do not depend on their registries
    ///
    /// Copies from registry to registry, without an engine: by digest, for the platforms of the images. A run does
    /// the same for the upstreams that it needs, before it builds.
    #[command(after_help = mirror::MIRROR_EXAMPLES)]
    Mirror(MirrorArgs),
    /// Write the plan as a pipeline of a CI system: GitHub, GitLab, Argo, Tekton or Kubernetes Jobs
    ///
    /// One job builds, tests and stores one image, after the jobs of its parents; the last job moves all tags, or
    /// none. Only images that are out of date have jobs. Stores the plan in the registry, where the jobs find it.
    #[command(after_help = export::EXPORT_EXAMPLES)]
    Export(ExportArgs),
    /// Build, test and store images of a plan: what one job of a pipeline does; no tag moves
    ///
    /// Builds each image as the plan describes it, on the images that other jobs have stored. Exits with code 2, and
    /// builds nothing, if the checkout has other inputs than the plan. Writes a record of the result to the
    /// registry, for `rebuild promote`. Run it again after a failure: what is stored is not built again.
    #[command(after_help = pipeline::STAGE_EXAMPLES)]
    Stage(StageArgs),
    /// Move the tags of a plan's images: what the last job of a pipeline does
    ///
    /// Checks that every image of the plan is stored and tested, applies `on_failure`, and moves all tags or none.
    /// Reports what all jobs did: one table, one junit report, one summary. Needs no engine. Run it again at any
    /// time: tags that are in place stay there.
    #[command(after_help = pipeline::PROMOTE_EXAMPLES)]
    Promote(PromoteArgs),
    /// Write the report of a past run of this machine as one HTML page
    ///
    /// The page has the result, the picture of the hierarchy, the table, the timeline, warnings, moved tags and the
    /// end of each log. It needs no server and requests nothing. Keeps the last 20 runs that built an image.
    #[command(after_help = REPORT_EXAMPLES)]
    Report(ReportArgs),
    /// List past runs: time, request, promoted tags, result
    #[command(after_help = HISTORY_EXAMPLES)]
    History(HistoryArgs),
    /// Move the tags of a run back to where they were before it
    ///
    /// Prints the tags, asks on a terminal, and moves the tags, children before parents. Moves a tag only if it
    /// still points at the image of that run. Deletes a tag that the run created from the engine; a registry
    /// keeps it, and a warning names it.
    ///
    /// Holds the images: later runs do not publish the same files again. `rebuild resume` ends a hold, and so
    /// does a change of a file or setting of the image. If the run rebuilt the image only because of a parent
    /// or an upstream, a new image of that one also ends the hold.
    #[command(after_help = rollback::ROLLBACK_EXAMPLES)]
    Rollback(RollbackArgs),
    /// Let runs publish rolled-back images again
    ///
    /// `rebuild rollback` holds the images whose tags it moves. Without names, all of them are resumed. The next
    /// `rebuild` publishes what is out of date.
    #[command(after_help = RESUME_EXAMPLES)]
    Resume(ResumeArgs),
    /// Remove unused build tags, and leftovers of killed runs
    ///
    /// Lists what would be removed. With --yes, removes it.
    #[command(after_help = gc::GC_EXAMPLES)]
    Gc(GcArgs),
    /// Check the engine, the logins, the registries, the disk and the clock; change nothing
    #[command(after_help = DOCTOR_EXAMPLES)]
    Doctor(DoctorArgs),
    /// Print the JSON Schema of hierarchy.yaml, for editors
    #[command(after_help = SCHEMA_EXAMPLES)]
    Schema,
    /// Send a message that a run of the server could not send
    #[command(hide = true)]
    Deliver {
        /// The file that the run left
        file: PathBuf,
    },
    /// Print the completion script of a shell
    ///
    /// It also completes names of images, by running `rebuild`. Generate it again after an update.
    #[command(after_help = COMPLETIONS_EXAMPLES)]
    Completions { shell: clap_complete::Shell },
    /// Print the man page, or write those of all commands into a folder
    #[command(after_help = MAN_EXAMPLES)]
    Man {
        /// The folder; without it, the page of `rebuild` itself is printed
        #[arg(value_name = "DIR", value_hint = clap::ValueHint::DirPath)]
        folder: Option<PathBuf>,
    },
}

/// Where the hierarchy is, and how to print.
#[derive(Debug, Args)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag")]
pub struct Common {
    /// The hierarchy file [default: hierarchy.yaml here or in a folder above]
    #[arg(short, long, global = true, value_name = "FILE", help_heading = "Global options")]
    pub file: Option<PathBuf>,
    /// Behave as if started in this folder
    #[arg(short = 'C', long, global = true, value_name = "DIR", help_heading = "Global options")]
    pub directory: Option<PathBuf>,
    /// Publish below this prefix instead of the file's `registry:`; `REBUILD_REGISTRY` does the same
    #[arg(long, global = true, value_name = "PREFIX", help_heading = "Global options")]
    pub registry: Option<Repository>,
    /// Use no registry: images stay in the engine, under the names that the file gives
    #[arg(long, global = true, conflicts_with = "registry", help_heading = "Global options")]
    pub no_registry: bool,
    /// Do not check registries for moved upstream images: use those in the engine
    #[arg(long, global = true, help_heading = "Global options")]
    pub offline: bool,
    /// Refuse a hierarchy that runs programs, reads secrets or uses files outside its folder;
    /// `REBUILD_UNTRUSTED=1` does the same
    #[arg(long, global = true, env = "REBUILD_UNTRUSTED", hide_env = true)]
    #[arg(value_parser = FalseyValueParser::new(), help_heading = "Global options")]
    pub untrusted: bool,
    /// Give a build argument to the images that declare it, or to one: `IMAGE.NAME=VALUE`
    #[arg(long = "build-arg", global = true, value_name = "NAME=VALUE")]
    #[arg(help_heading = "Global options")]
    pub build_args: Vec<BuildArgOverride>,
    /// Give a field of one value to an image instead of the file: `app.target=debug`, `'ruby-*.retries=2'`
    #[arg(long = "set", global = true, value_name = "IMAGE.FIELD=VALUE")]
    #[arg(help_heading = "Global options")]
    pub fields: Vec<FieldOverride>,
    /// Build on these engines instead of one: addresses as in `DOCKER_HOST`, or `context://NAME`; repeat it for
    /// several
    #[arg(long = "engine", global = true, value_name = "URL", help_heading = "Global options")]
    pub engines: Vec<EngineEntry>,
    /// With several engines: build for platforms that are not an engine's own by emulation
    #[arg(long, global = true, help_heading = "Global options")]
    pub emulate: bool,
    /// Colours: auto, always or never
    #[arg(long, global = true, value_enum, default_value_t, value_name = "WHEN")]
    #[arg(help_heading = "Global options")]
    pub color: Colour,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Colour {
    #[default]
    Auto,
    Always,
    Never,
}

#[derive(Debug, Default, PartialEq, Eq, Args)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag")]
pub struct RunArgs {
    #[command(flatten)]
    pub selection: SelectionArgs,
    /// Build and test, but store and publish nothing
    #[arg(long, conflicts_with = "no_promote")]
    pub no_push: bool,
    /// Build, test and store, but move no tag
    ///
    /// For a change that is not merged: images are stored under their build tags, and the run after the
    /// merge only moves the tags. With --no-push, images stay in the engine, and that run builds them
    /// again.
    #[arg(long)]
    pub no_promote: bool,
    /// Build, test and tag in the engine only, also with `registry:`; with names, these images and what they
    /// need
    ///
    /// What is published and up to date is not built again: builds use the images of the registry. Images keep
    /// the names that hierarchy.yaml gives them. With names, these images are in the engine afterwards.
    #[arg(long, value_name = "NODE,…", value_delimiter = ',', num_args = 0..)]
    #[arg(conflicts_with_all = ["no_push", "no_promote", "from", "only", "since"])]
    pub local: Option<Vec<String>>,
    /// Publish even if the published image was built from a newer commit
    #[arg(long)]
    pub allow_older: bool,
    /// Wait up to this time for another run on this machine with the same target
    #[arg(long, value_name = "TIME", value_parser = duration)]
    pub wait: Option<Duration>,
    /// After a failure, continue with images that do not depend on the failed one
    #[arg(short, long)]
    pub keep_going: bool,
    #[command(flatten)]
    pub how: HowArgs,
    /// Started by `rebuild serve`: stop when stdin ends, and leave messages that cannot be sent in this folder
    #[arg(long, value_name = "DIR", hide = true)]
    pub for_server: Option<PathBuf>,
    /// Write a junit report: each build and each test is a test case
    #[arg(long, value_name = "FILE", value_parser = report_file, help_heading = "Reports")]
    pub junit: Option<PathBuf>,
    /// Write a report as one JSON object (docs/ci.md), also if the run fails
    #[arg(long, value_name = "FILE", value_parser = report_file, help_heading = "Reports")]
    pub json_report: Option<PathBuf>,
    /// Write a report as one HTML page for a browser, also if the run fails
    #[arg(long, value_name = "FILE", value_parser = report_file, help_heading = "Reports")]
    pub html: Option<PathBuf>,
    /// Start this program at the end of the run, with the JSON report on its stdin
    ///
    /// A program, or a JSON list of a program and its arguments. No shell. Replaces `notify:` in
    /// hierarchy.yaml; '[]' starts no program.
    #[arg(long, value_name = "COMMAND", value_parser = argv, help_heading = "Reports")]
    pub notify: Option<Argv>,
}

/// clap's own words for 0 are those of Rust.
fn at_least_one(text: &str) -> Result<NonZeroUsize, String> {
    text.parse().map_err(|_| "it must be a whole number, at least 1".to_owned())
}

/// Other programs take `-` for stdout, which has the result of a run.
fn report_file(path: &str) -> Result<PathBuf, String> {
    match path {
        "" | "-" => Err("name a file: a report is not written to stdout".to_owned()),
        path => Ok(path.into()),
    }
}

/// A program and its arguments; empty for none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Argv(pub Vec<String>);

/// A JSON list of words, or a program alone.
fn argv(text: &str) -> Result<Argv, String> {
    if !text.trim_start().starts_with('[') {
        return if text.is_empty() {
            Err("it names no program; `[]` starts none".to_owned())
        } else {
            Ok(Argv(vec![text.to_owned()]))
        };
    }
    let words: Vec<String> = serde_json::from_str(text).map_err(|error| {
        format!("it is not a JSON list of texts, such as [\"./tell.sh\", \"images\"]: {error}")
    })?;
    if words.first().is_some_and(String::is_empty) {
        return Err("its first word names no program".to_owned());
    }
    Ok(Argv(words))
}

#[derive(Debug, Args)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag")]
pub struct InitArgs {
    /// The folder to search, in which the file is written [default: here]
    #[arg(value_name = "DIR")]
    pub folder: Option<PathBuf>,
    /// Import the targets of a bake file, as printed by `docker buildx bake --print` (`-`: from stdin)
    #[arg(long, value_name = "FILE", conflicts_with = "from_compose")]
    pub from_bake: Option<PathBuf>,
    /// Import the services of a compose file that have `build:`
    #[arg(long, value_name = "FILE")]
    pub from_compose: Option<PathBuf>,
    /// Add new Dockerfiles to an existing hierarchy file, and turn entries of deleted ones into comments
    ///
    /// Keeps comments, order and edits. A comment `# rebuild init ignore=PATH` leaves out a Dockerfile or a
    /// folder.
    #[arg(long, conflicts_with = "force")]
    pub update: bool,
    /// Overwrite an existing hierarchy file
    #[arg(long)]
    pub force: bool,
    /// Print the file to stdout, or the changes as a diff with --update, and write nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Print the rule and the place behind each decision
    #[arg(long)]
    pub explain: bool,
    /// Exit code 3 if there are lines below `unsure:`
    #[arg(long)]
    pub strict: bool,
    /// List every file that is left out, by cause, and every image and file of a line below `unsure:`
    #[arg(short, long)]
    pub verbose: bool,
}

/// How images are built, and what is printed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Args)]
pub struct HowArgs {
    /// Build at most N images at once [default: the engine's processors plus ten]
    #[arg(short, long, value_name = "N", value_parser = at_least_one)]
    pub jobs: Option<NonZeroUsize>,
    /// Test at most N images at once [default: as --jobs, and at least 4]
    #[arg(long, value_name = "N", value_parser = at_least_one)]
    pub test_jobs: Option<NonZeroUsize>,
    /// Build an image only after the tests of its parents have passed
    ///
    /// By default it is built while they run. It is never stored or promoted before they passed.
    #[arg(long)]
    pub no_speculate: bool,
    /// The builder that the engine must have
    #[arg(long, value_enum, default_value_t, value_name = "BUILDER")]
    pub builder: Builder,
    /// How to report progress, on stderr
    #[arg(long, value_enum, default_value_t, value_name = "HOW")]
    pub progress: ProgressArg,
    /// Print the output of builds and tests that succeed, too
    #[arg(short, long)]
    pub verbose: bool,
}

#[derive(Debug, Args)]
pub struct StatusArgs {
    /// Which images, by name or glob [default: all]
    #[arg(value_name = "NODE")]
    pub nodes: Vec<String>,
    /// Text, or JSON for programs
    #[arg(long, value_enum, default_value_t, value_name = "FORMAT")]
    pub format: Format,
    /// Exit code 3 if an image is not current
    #[arg(long)]
    pub exit_code: bool,
}

#[derive(Debug, Args)]
pub struct LogArgs {
    /// Which image
    #[arg(value_name = "NODE")]
    pub node: String,
    /// Of this run, by its ID or the first letters of it [default: the image's last run]
    #[arg(long, value_name = "RUN")]
    pub run: Option<String>,
}

#[derive(Debug, Args)]
pub struct ShellArgs {
    /// Which image
    #[arg(value_name = "NODE", index = 1)]
    pub node: String,
    /// The published image, also if a test of a newer one failed
    #[arg(long)]
    pub published: bool,
    /// Start this program instead of `sh`
    #[arg(last = true, value_name = "COMMAND", index = 2)]
    pub command: Vec<String>,
}

#[derive(Debug, Args)]
pub struct CheckArgs {
    /// Text, JSON for programs, or formats for code review (docs/checks.md)
    #[arg(long, value_enum, default_value_t, value_name = "FORMAT")]
    pub format: CheckFormat,
    /// Print problems of this severity and above
    #[arg(long, value_enum, default_value_t, value_name = "SEVERITY")]
    pub severity: SeverityArg,
    /// Exit code 2 for problems of this severity and above
    #[arg(long, value_enum, default_value_t, value_name = "SEVERITY")]
    pub fail_on: FailOn,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum CheckFormat {
    /// Each problem with its line
    #[default]
    Text,
    Json,
    /// SARIF 2.1.0, for code scanning and editors
    Sarif,
    /// Annotations of GitHub Actions
    Github,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum SeverityArg {
    Error,
    #[default]
    Warning,
    Note,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum FailOn {
    #[default]
    Error,
    Warning,
    Note,
    Never,
}

#[derive(Debug, Args)]
pub struct TreeArgs {
    /// Which images, by name or glob [default: all]
    #[arg(value_name = "NODE")]
    pub nodes: Vec<String>,
    /// Text, JSON for programs, or a picture
    #[arg(long, value_enum, default_value_t, value_name = "FORMAT")]
    pub format: TreeFormat,
    /// Use the files only; ask no engine and no registry
    #[arg(long)]
    pub no_state: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum TreeFormat {
    /// Each image below its base
    #[default]
    Text,
    /// For Graphviz
    Dot,
    /// For pages and summaries that draw Mermaid diagrams
    Mermaid,
    /// A picture for a browser
    Svg,
    /// For programs: docs/tree.md
    Json,
}

#[derive(Debug, Args)]
pub struct HistoryArgs {
    /// List the newest N runs; runs with nothing to do do not count
    #[arg(short = 'n', long, default_value = "20", value_name = "N", value_parser = at_least_one)]
    pub limit: std::num::NonZeroUsize,
    /// List each run with nothing to do, instead of one line for several
    #[arg(short, long)]
    pub all: bool,
    /// Text, or JSON for programs
    #[arg(long, value_enum, default_value_t, value_name = "FORMAT")]
    pub format: Format,
}

#[derive(Debug, Args)]
pub struct ReportArgs {
    /// The run, by its ID or the first letters of it [default: the last run]
    #[arg(value_name = "RUN")]
    pub run: Option<String>,
    /// Write the page to this file
    #[arg(long, value_name = "FILE", value_parser = report_file, required = true)]
    pub html: PathBuf,
}

#[derive(Debug, Args)]
pub struct DoctorArgs {
    /// Text, or JSON for programs
    #[arg(long, value_enum, default_value_t, value_name = "FORMAT")]
    pub format: Format,
}

#[derive(Debug, Args)]
pub struct ResumeArgs {
    /// Which images, by name or glob [default: all that were rolled back]
    #[arg(value_name = "NODE")]
    pub nodes: Vec<String>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Builder {
    /// BuildKit if the engine has it, else the engine's own builder
    #[default]
    Auto,
    /// BuildKit; an error if the engine does not have it
    Buildkit,
    /// The engine's builder without BuildKit, such as podman's; an error if the engine has BuildKit
    Classic,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum ProgressArg {
    /// tty on a terminal, plain elsewhere
    #[default]
    Auto,
    /// One line for each running image, and a bar
    Tty,
    /// One line for each event
    Plain,
    /// One JSON object for each line, on stdout
    Json,
    /// Failures and the result only
    Quiet,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Format {
    #[default]
    Text,
    Json,
}

#[cfg(test)]
mod tests;
