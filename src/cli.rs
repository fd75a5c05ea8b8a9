//! The command line, as structs: every flag, its help, and nothing else.

use std::{num::NonZeroUsize, path::PathBuf, time::Duration};

use clap::{Args, CommandFactory as _, Parser, Subcommand, ValueEnum, error::ErrorKind};

use crate::{hierarchy::duration, image::Repository};

const EXAMPLES: &str = "\
Examples:
  rebuild                          everything that is out of date
  rebuild --from os-base           os-base, and below it whatever that changes
  rebuild --since origin/main...   what a branch touched, and below it
  rebuild --only webapp-base       one image, on its published parents
  rebuild --refresh                take in package updates: every image without the layer cache
  rebuild --no-push                build and test, publish nothing
  rebuild --registry HOST/PREFIX   publish to that registry, and not only in the engine
  rebuild plan                     what would be done, and why
  rebuild why app                  what made app out of date, through which parents
  rebuild init                     write a hierarchy.yaml for the Dockerfiles here
  rebuild rollback                 take back what the last run promoted

Exit codes: 0 done or nothing to do, 1 internal, 2 wrong usage or hierarchy, 10 a build failed,
11 a test failed, 12 a push failed, 13 promotion incomplete, 20 no engine, 21 no registry,
75 another run is publishing, 130 or 143 interrupted.";

const PLAN_EXAMPLES: &str = "\
Examples:
  rebuild plan                     each image, below the one it waits for, with the reason
  rebuild plan --from os-base      what rebuilding os-base would entail
  rebuild plan --exit-code         in scripts: exit code 3 if there is work, 0 if there is none";

const INIT_EXAMPLES: &str = "\
Examples:
  rebuild init                     read every Dockerfile here, and write hierarchy.yaml
  rebuild init --dry-run           print it instead
  rebuild init images              the same for a folder
  docker buildx bake --print | rebuild init --from-bake -
  rebuild init --from-compose compose.yaml";

const GC_EXAMPLES: &str = "\
Examples:
  rebuild gc                       what would be removed, and why
  rebuild gc --yes                 remove it
  rebuild gc --keep 7d --yes       also what is only a week old

An image is removed only if all its tags are build tags (rb-...), it is older than --keep, it is
not of today's inputs, not among the last 3 of its image, and in no index. A registry deletes by
digest, so that every tag is looked at again right before.";

const DOCTOR_EXAMPLES: &str = "\
Examples:
  rebuild doctor                   engine, logins, registries, disk, clock: what is wrong, what to do
  rebuild doctor --format json     the same for a program

Exit code: that of the first problem, as a run would end with it; 0 if there is none.";

/// Rebuild, test and promote a hierarchy of container images.
///
/// Reads hierarchy.yaml and the Dockerfiles beside it, finds the images that are out of date,
/// rebuilds and tests them and what stands on them, and moves the tags that people pull only once
/// all of it is good. Stops at the first broken image, with every tag where it was.
#[derive(Debug, Parser)]
#[command(name = "rebuild", version, after_help = EXAMPLES)]
#[command(subcommand_help_heading = "Commands", disable_help_subcommand = true)]
pub struct Cli {
    #[command(flatten)]
    pub common: Common,
    #[command(flatten)]
    pub run: RunArgs,
    #[command(subcommand)]
    pub command: Option<Command>,
}

impl Cli {
    /// Flags of a run that stand before another command would be lost without a word.
    pub fn checked(self) -> Result<Self, clap::Error> {
        if self.command.is_none() || self.run == RunArgs::default() {
            return Ok(self);
        }
        Err(Self::command().error(
            ErrorKind::ArgumentConflict,
            "flags of a run stand behind the command: `rebuild plan --from os-base`",
        ))
    }
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Write a hierarchy.yaml for the Dockerfiles of a folder
    ///
    /// Finds the Dockerfiles as git sees the folder, and reads from how they name each other which
    /// image each of them makes. Says what it was unsure of. Changes nothing but that one file, and
    /// asks neither an engine nor a registry.
    #[command(after_help = INIT_EXAMPLES)]
    Init(InitArgs),
    /// Rebuild, test and promote what is out of date (what `rebuild` without a command does)
    #[command(after_help = EXAMPLES)]
    Run(RunArgs),
    /// Print what a run would do and why, and change nothing
    #[command(after_help = PLAN_EXAMPLES)]
    Plan(PlanArgs),
    /// Say why images are, or are not, out of date, and why they were last built
    Why(WhyArgs),
    /// Show how each image stands: current, behind, held back or never built
    Status(StatusArgs),
    /// List past runs: when, what was asked, what was promoted, how it ended
    History(HistoryArgs),
    /// Move the tags of a run back to where they were before it
    ///
    /// Children before parents, each tag only if it is still where that run put it. A tag that was new
    /// in that run is taken away from the engine; in a registry it stays, and that is told. The next
    /// `rebuild` of the same files moves the tags again: take back the change as well.
    Rollback(RollbackArgs),
    /// Remove build tags that nobody needs any more, and what killed runs have left
    ///
    /// Says what would be removed; with --yes does it.
    #[command(after_help = GC_EXAMPLES)]
    Gc(GcArgs),
    /// Look at the engine, the logins, the registries, the disk and the clock, and change nothing
    #[command(after_help = DOCTOR_EXAMPLES)]
    Doctor(DoctorArgs),
    /// Print the completion script of a shell
    Completions { shell: clap_complete::Shell },
}

/// Where the hierarchy is, and how to talk.
#[derive(Debug, Args)]
pub struct Common {
    /// The hierarchy's file [default: hierarchy.yaml here or in a folder above]
    #[arg(short, long, global = true, value_name = "FILE", help_heading = "Global options")]
    pub file: Option<PathBuf>,
    /// Behave as if started in this folder
    #[arg(short = 'C', long, global = true, value_name = "DIR", help_heading = "Global options")]
    pub directory: Option<PathBuf>,
    /// Publish below this prefix instead of the file's `registry:`
    #[arg(long, global = true, value_name = "PREFIX", env = "REBUILD_REGISTRY")]
    #[arg(help_heading = "Global options")]
    pub registry: Option<Repository>,
    /// Ask no registry whether upstream images moved: take those that the engine has
    #[arg(long, global = true, help_heading = "Global options")]
    pub offline: bool,
    /// Colours: auto, always or never
    #[arg(long, global = true, value_enum, default_value_t, value_name = "WHEN", hide = true)]
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

/// Which images.
#[derive(Clone, Debug, Default, PartialEq, Eq, Args)]
pub struct SelectionArgs {
    /// Rebuild these images even if they are up to date, and below them whatever that changes
    #[arg(long, value_name = "NODE,…", value_delimiter = ',', conflicts_with = "only")]
    pub from: Vec<String>,
    /// Rebuild these images alone, even if they are up to date, on their published parents
    #[arg(long, value_name = "NODE,…", value_delimiter = ',')]
    pub only: Vec<String>,
    /// As --from, each image whose files or whose entry in hierarchy.yaml changed since this commit
    /// (A, A..B or A...B), uncommitted changes included
    ///
    /// The working tree is compared with the commit; with A...B with the commit where B branched
    /// off A. Files that git ignores are not seen; those that a build takes in are told of. In a
    /// shallow clone the commit must be there: fetch deep enough. Forty zeros, which GitHub sends
    /// for a new branch, select everything that is out of date.
    #[arg(long, value_name = "REV", conflicts_with_all = ["from", "only"])]
    pub since: Option<String>,
    /// Build what is selected without the layer cache, to take in package updates; with nothing
    /// selected, every image
    ///
    /// An image that comes out with the same files keeps its tags, and what stands on it is left
    /// alone. `refresh:` in hierarchy.yaml does the same by itself, by age.
    #[arg(long)]
    pub refresh: bool,
}

#[derive(Debug, Default, PartialEq, Eq, Args)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag")]
pub struct RunArgs {
    #[command(flatten)]
    pub selection: SelectionArgs,
    /// Build and test, but store and publish nothing
    #[arg(long)]
    pub no_push: bool,
    /// Publish even where the published image was built from a commit that comes after this one
    #[arg(long)]
    pub allow_older: bool,
    /// After a failure, build whatever does not stand on the failed image
    #[arg(short, long)]
    pub keep_going: bool,
    /// Build at most so many images at once [default: as many as the engine has processors]
    #[arg(short, long, value_name = "N")]
    pub jobs: Option<NonZeroUsize>,
    /// Which of the engine's builders to use; `auto` heeds `DOCKER_BUILDKIT=0`
    #[arg(long, value_enum, default_value_t, value_name = "BUILDER")]
    pub builder: Builder,
    /// How to show what happens, on stderr
    #[arg(long, value_enum, default_value_t, value_name = "HOW")]
    pub progress: ProgressArg,
    /// Show what builds and tests print, also where they succeed
    #[arg(short, long)]
    pub verbose: bool,
}

#[derive(Debug, Args)]
pub struct InitArgs {
    /// The folder that is looked through, and that gets the file [default: here]
    #[arg(value_name = "DIR")]
    pub folder: Option<PathBuf>,
    /// Take the targets of a bake file, as `docker buildx bake --print` prints them (`-`: from stdin)
    #[arg(long, value_name = "FILE", conflicts_with = "from_compose")]
    pub from_bake: Option<PathBuf>,
    /// Take the services of a compose file that are built
    #[arg(long, value_name = "FILE")]
    pub from_compose: Option<PathBuf>,
    /// Write over a hierarchy file that is there
    #[arg(long)]
    pub force: bool,
    /// Print the file to stdout, and write nothing
    #[arg(long, conflicts_with = "force")]
    pub dry_run: bool,
}

#[derive(Debug, Args)]
pub struct PlanArgs {
    #[command(flatten)]
    pub selection: SelectionArgs,
    /// Print the plan for people (text) or for programs (json: docs/events.md)
    #[arg(long, value_enum, default_value_t, value_name = "FORMAT")]
    pub format: Format,
    /// End with exit code 3 if there is work to do
    #[arg(long)]
    pub exit_code: bool,
}

#[derive(Debug, Args)]
pub struct WhyArgs {
    /// Which images
    #[arg(required = true, value_name = "NODE")]
    pub nodes: Vec<String>,
    /// Print it for people or for programs
    #[arg(long, value_enum, default_value_t, value_name = "FORMAT")]
    pub format: Format,
}

#[derive(Debug, Args)]
pub struct StatusArgs {
    /// Print it for people or for programs
    #[arg(long, value_enum, default_value_t, value_name = "FORMAT")]
    pub format: Format,
    /// End with exit code 3 if an image is not current
    #[arg(long)]
    pub exit_code: bool,
}

#[derive(Debug, Args)]
pub struct HistoryArgs {
    /// Show at most so many runs, the newest
    #[arg(short = 'n', long, default_value_t = 20, value_name = "N")]
    pub limit: usize,
    /// Print it for people or for programs
    #[arg(long, value_enum, default_value_t, value_name = "FORMAT")]
    pub format: Format,
}

#[derive(Debug, Args)]
pub struct DoctorArgs {
    /// Print it for people or for programs
    #[arg(long, value_enum, default_value_t, value_name = "FORMAT")]
    pub format: Format,
}

#[derive(Debug, Args)]
pub struct RollbackArgs {
    /// Which run, by its ID or the beginning of it [default: the last that moved a tag]
    #[arg(value_name = "RUN")]
    pub run: Option<String>,
    /// Say what would be moved, and change nothing
    #[arg(long)]
    pub dry_run: bool,
}

#[derive(Debug, Args)]
pub struct GcArgs {
    /// Keep images that are younger than this
    #[arg(long, value_name = "AGE", default_value = "30d", value_parser = duration)]
    pub keep: Duration,
    /// Remove it, and do not only say so
    #[arg(long)]
    pub yes: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Builder {
    /// BuildKit where the engine has it
    #[default]
    Auto,
    /// BuildKit, or an error where the engine has none
    Buildkit,
    /// The builder that BuildKit replaced
    Classic,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum ProgressArg {
    /// tty on a terminal, plain elsewhere
    #[default]
    Auto,
    /// One line a running image, and a bar
    Tty,
    /// A line for each thing that happens
    Plain,
    /// A JSON object a line, on stdout
    Json,
    /// Failures and the result
    Quiet,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Format {
    #[default]
    Text,
    Json,
}
