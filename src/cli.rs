//! The command line, as structs: every flag, its help, and nothing else.

use std::{ffi::OsString, num::NonZeroUsize, path::PathBuf, time::Duration};

use clap::{
    Args, CommandFactory as _, FromArgMatches as _, Parser, Subcommand, ValueEnum,
    builder::FalseyValueParser, error::ErrorKind,
};

use crate::{hierarchy::duration, image::Repository};

const EXAMPLES: &str = "\
Examples:
  rebuild                          everything that is out of date
  rebuild --from os-base           os-base, and below it whatever that changes
  rebuild --since origin/main...   what a branch touched, and below it
  rebuild --from 'ruby-*'          the images whose names begin so
  rebuild --only webapp-base       one image, on its published parents
  rebuild --refresh                take in package updates: every image without the layer cache
  rebuild --refresh --due          take in package updates where they are due, and nothing else
  rebuild --no-push                build and test, store and publish nothing
  rebuild --no-promote             build, test and store; no tag moves
  rebuild --registry HOST/PREFIX   publish to that registry, and not only in the engine
  rebuild watch                    whatever changes, as soon as it is saved
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
  rebuild plan 'ruby-*'            what it says of these images only
  rebuild plan --exit-code         in scripts: exit code 3 if there is work, 0 if there is none";

const INIT_EXAMPLES: &str = "\
Examples:
  rebuild init                     read every Dockerfile here, and write hierarchy.yaml
  rebuild init --dry-run           print it instead
  rebuild init images              the same for a folder
  docker buildx bake --print | rebuild init --from-bake -
  rebuild init --from-compose compose.yaml";

const CHECK_EXAMPLES: &str = "\
Examples:
  rebuild check                    problems and advice, each with its line
  rebuild check --severity note    also what is merely worth knowing
  rebuild check --fail-on warning  in CI: exit code 2 also if there are only warnings
  rebuild check --format github    shown at its line in a pull request
  rebuild explain RB040            what a rule is about";

const SCHEMA_EXAMPLES: &str = "\
Examples:
  rebuild schema >hierarchy.schema.json
                                   then in the first line of hierarchy.yaml:
                                   # yaml-language-server: $schema=hierarchy.schema.json";

const TREE_EXAMPLES: &str = "\
Examples:
  rebuild tree                     each image below the one that it is FROM, and how it stands
  rebuild tree shop                shop, what it is built from and what is built from it
  rebuild tree --format svg >hierarchy.svg
                                   a picture for a browser; a tooltip says why an image is behind
  rebuild tree --no-state          without an engine and a registry";

const WATCH_EXAMPLES: &str = "\
Examples:
  rebuild watch                    what is saved is built and tested, in the engine only
  rebuild watch --push             and published
  rebuild watch --schedule --push  resident: also refreshes images when their `schedule:` says so";

const WHY_EXAMPLES: &str = "\
Examples:
  rebuild why app                  what made app out of date, through which parents
  rebuild why app --format json    the same for a program";

const STATUS_EXAMPLES: &str = "\
Examples:
  rebuild status                   each image: current, behind, held back or never built
  rebuild status --exit-code       in scripts: exit code 3 if an image is not current";

const HISTORY_EXAMPLES: &str = "\
Examples:
  rebuild history                  the last 20 runs
  rebuild history -n 1             the last run";

const ROLLBACK_EXAMPLES: &str = "\
Examples:
  rebuild rollback --dry-run       what would be moved back
  rebuild rollback                 take back what the last run promoted
  rebuild rollback 01m852q         a run by the beginning of its ID, as `rebuild history` shows it";

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

/// Examples before everything that has to be read.
const HELP: &str = "\
{about}{after-help}

{usage-heading} {usage}

{all-args}";

/// The command line, for parsing, for help, for man pages and for completion.
pub fn command() -> clap::Command {
    Cli::command().help_template(HELP).mut_subcommands(|command| command.help_template(HELP))
}

impl Cli {
    /// What a command line says.
    pub fn read(arguments: impl IntoIterator<Item = OsString>) -> Result<Self, clap::Error> {
        let matches = command().try_get_matches_from(arguments)?;
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
    /// Rebuild what changes, whenever a file is saved; with --schedule also when schedules are due
    ///
    /// Begins with what is out of date. Images are built and tagged in the engine only, under the names
    /// that the file gives; with --push they are published. Ctrl-C ends it.
    #[command(after_help = WATCH_EXAMPLES)]
    Watch(WatchArgs),
    /// Print what a run would do and why, and change nothing
    #[command(after_help = PLAN_EXAMPLES)]
    Plan(PlanArgs),
    /// Say why images are, or are not, out of date, and why they were last built
    #[command(after_help = WHY_EXAMPLES)]
    Why(WhyArgs),
    /// Show how each image stands: current, behind, held back or never built
    #[command(after_help = STATUS_EXAMPLES)]
    Status(StatusArgs),
    /// Say everything that can be known of the files without an engine: problems, and advice
    #[command(after_help = CHECK_EXAMPLES)]
    Check(CheckArgs),
    /// Say what a rule of `rebuild check` is about, with an example; without a code, list all
    #[command(after_help = EXPLAIN_EXAMPLES)]
    Explain {
        /// As in `warning[RB040]`
        #[arg(value_name = "CODE")]
        code: Option<String>,
    },
    /// Show which image is built from which, as text or as a picture
    ///
    /// With images named, only those, what they are built from and what is built from them. How each image stands is asked as
    /// `rebuild status` does; where no engine or registry answers, the tree is shown without it.
    #[command(after_help = TREE_EXAMPLES)]
    Tree(TreeArgs),
    /// List past runs: when, what was asked, what was promoted, how it ended
    #[command(after_help = HISTORY_EXAMPLES)]
    History(HistoryArgs),
    /// Move the tags of a run back to where they were before it
    ///
    /// Children before parents, each tag only if it is still where that run put it. A tag that was new
    /// in that run is taken away from the engine; in a registry it stays, and that is told. The next
    /// `rebuild` of the same files moves the tags again: take back the change as well.
    #[command(after_help = ROLLBACK_EXAMPLES)]
    Rollback(RollbackArgs),
    /// Remove build tags that nobody needs any more, and what killed runs have left
    ///
    /// Says what would be removed; with --yes does it.
    #[command(after_help = GC_EXAMPLES)]
    Gc(GcArgs),
    /// Look at the engine, the logins, the registries, the disk and the clock, and change nothing
    #[command(after_help = DOCTOR_EXAMPLES)]
    Doctor(DoctorArgs),
    /// Print the JSON Schema of hierarchy.yaml, for editors
    #[command(after_help = SCHEMA_EXAMPLES)]
    Schema,
    /// Print the completion script of a shell
    ///
    /// It asks `rebuild` back, so that names of images are completed, too. Make it anew with each version.
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

/// Where the hierarchy is, and how to talk.
#[derive(Debug, Args)]
pub struct Common {
    /// The hierarchy's file [default: hierarchy.yaml here or in a folder above]
    #[arg(short, long, global = true, value_name = "FILE", help_heading = "Global options")]
    pub file: Option<PathBuf>,
    /// Behave as if started in this folder
    #[arg(short = 'C', long, global = true, value_name = "DIR", help_heading = "Global options")]
    pub directory: Option<PathBuf>,
    /// Publish below this prefix instead of the file's `registry:`; as the variable `REBUILD_REGISTRY` does
    #[arg(long, global = true, value_name = "PREFIX", help_heading = "Global options")]
    pub registry: Option<Repository>,
    /// Ask no registry whether upstream images moved: take those that the engine has
    #[arg(long, global = true, help_heading = "Global options")]
    pub offline: bool,
    /// Refuse a hierarchy that would run programs, read secrets or use files outside its folder; as
    /// `REBUILD_UNTRUSTED=1` does
    #[arg(long, global = true, env = "REBUILD_UNTRUSTED", hide_env = true)]
    #[arg(value_parser = FalseyValueParser::new(), help_heading = "Global options")]
    pub untrusted: bool,
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
    /// Rebuild these images even if they are up to date, and below them whatever that changes; names
    /// or globs, 'ruby-*'
    #[arg(long, value_name = "NODE,…", value_delimiter = ',', conflicts_with = "only")]
    pub from: Vec<String>,
    /// Rebuild these images alone, even if they are up to date, on their published parents; names or
    /// globs
    #[arg(long, value_name = "NODE,…", value_delimiter = ',')]
    pub only: Vec<String>,
    /// As --from, each image whose files or whose entry in hierarchy.yaml changed since this commit
    /// (A, A..B or A...B), uncommitted changes included
    ///
    /// An image that is already stored as it is now is not built again, only promoted. The working
    /// tree is compared with the commit; with A...B with the commit where B branched
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
    /// With --refresh: only images that are due by their `refresh: { every: … }` or their `schedule:`
    ///
    /// And what is out of date below them. Of several ticks that were missed, all count as one.
    #[arg(long, requires = "refresh", conflicts_with_all = ["from", "only", "since"])]
    pub due: bool,
}

#[derive(Debug, Default, PartialEq, Eq, Args)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag")]
pub struct RunArgs {
    #[command(flatten)]
    pub selection: SelectionArgs,
    /// Build and test, but store and publish nothing
    #[arg(long, conflicts_with = "no_promote")]
    pub no_push: bool,
    /// Build, test and store, but move no tag that people pull
    ///
    /// For a change that is not merged: images are stored under their build tags, so that the run after
    /// the merge finds them and only moves the tags. With --no-push they are in the engine alone, and
    /// are built once more.
    #[arg(long)]
    pub no_promote: bool,
    /// Publish even where the published image was built from a commit that comes after this one
    #[arg(long)]
    pub allow_older: bool,
    /// After a failure, build whatever does not stand on the failed image
    #[arg(short, long)]
    pub keep_going: bool,
    #[command(flatten)]
    pub how: HowArgs,
    /// Write what came of the run as a junit file: each build and each test is a test case
    #[arg(long, value_name = "FILE", help_heading = "Reports")]
    pub junit: Option<PathBuf>,
    /// Write what came of the run to a file, as one JSON object (docs/ci.md), however it ends
    #[arg(long, value_name = "FILE", help_heading = "Reports")]
    pub json_report: Option<PathBuf>,
    /// Start this program when the run is over, with the JSON report on its stdin
    ///
    /// A program, or a JSON list of a program and its arguments, as a Dockerfile has them. There is no
    /// shell. Takes the place of `notify:` in hierarchy.yaml; '[]' starts none.
    #[arg(long, value_name = "COMMAND", value_parser = argv, help_heading = "Reports")]
    pub notify: Option<Argv>,
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

/// How images are built, and what is shown of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Args)]
pub struct HowArgs {
    /// Build at most so many images at once [default: the engine's processors plus two]
    #[arg(short, long, value_name = "N")]
    pub jobs: Option<NonZeroUsize>,
    /// Test at most so many images at once [default: as --jobs, and at least 4]
    #[arg(long, value_name = "N")]
    pub test_jobs: Option<NonZeroUsize>,
    /// Build an image only after the tests of its parents have passed
    ///
    /// By default it is built while they run. Nothing is stored or promoted before they have passed.
    #[arg(long)]
    pub no_speculate: bool,
    /// The builder that the engine must have
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
pub struct WatchArgs {
    /// Publish to the registry, and not only in the engine
    #[arg(long)]
    pub push: bool,
    /// Heed `schedule:` of images, too: refresh them when it is time
    #[arg(long)]
    pub schedule: bool,
    #[command(flatten)]
    pub how: HowArgs,
}

#[derive(Debug, Args)]
pub struct PlanArgs {
    /// Tell of these images only, by name or glob [default: all that the run is about]
    #[arg(value_name = "NODE")]
    pub nodes: Vec<String>,
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
    /// Which images, by name or glob: 'ruby-*'
    #[arg(required = true, value_name = "NODE")]
    pub nodes: Vec<String>,
    /// Print it for people or for programs
    #[arg(long, value_enum, default_value_t, value_name = "FORMAT")]
    pub format: Format,
}

#[derive(Debug, Args)]
pub struct StatusArgs {
    /// Which images, by name or glob [default: all]
    #[arg(value_name = "NODE")]
    pub nodes: Vec<String>,
    /// Print it for people or for programs
    #[arg(long, value_enum, default_value_t, value_name = "FORMAT")]
    pub format: Format,
    /// End with exit code 3 if an image is not current
    #[arg(long)]
    pub exit_code: bool,
}

#[derive(Debug, Args)]
pub struct CheckArgs {
    /// Print it for people, for programs, or for code review (docs/checks.md)
    #[arg(long, value_enum, default_value_t, value_name = "FORMAT")]
    pub format: CheckFormat,
    /// Show problems from this severity on
    #[arg(long, value_enum, default_value_t, value_name = "SEVERITY")]
    pub severity: SeverityArg,
    /// End with exit code 2 if there is a problem from this severity on
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
    /// Print it for people, for programs, or as a picture
    #[arg(long, value_enum, default_value_t, value_name = "FORMAT")]
    pub format: TreeFormat,
    /// Ask nobody how the images stand: only what the files say
    #[arg(long)]
    pub no_state: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum TreeFormat {
    /// Each image below the one that it is FROM
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
    /// Show at most so many runs, the newest
    #[arg(short = 'n', long, default_value = "20", value_name = "N")]
    pub limit: std::num::NonZeroUsize,
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

#[cfg(test)]
mod tests;
