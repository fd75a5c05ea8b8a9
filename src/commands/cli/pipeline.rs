//! The arguments of `rebuild stage` and `rebuild promote`: what the jobs of a pipeline run.

use std::{path::PathBuf, time::Duration};

use clap::Args;

use super::{Argv, HowArgs, argv};
use crate::hierarchy::duration;

pub(super) const STAGE_EXAMPLES: &str = "\
Examples:
  rebuild plan --out plan.json     first, in one place: what is to be built
  rebuild stage webapp-base --plan plan.json
                                   build, test and store one image
  rebuild stage awk-base shop --plan plan.json
                                   a chain of images in one job
  rebuild promote --plan plan.json
                                   last, in one place: move the tags";

pub(super) const PROMOTE_EXAMPLES: &str = "\
Examples:
  rebuild promote --plan plan.json
                                   move the tags of the plan, or none
  rebuild promote --plan plan.json --junit junit.xml
                                   one report of all jobs";

#[derive(Debug, Args)]
pub struct StageArgs {
    /// Which images of the plan, by name or glob
    #[arg(required = true, value_name = "NODE")]
    pub nodes: Vec<String>,
    /// A file of `rebuild plan --out`, or the ID of a plan in the registry
    #[arg(long, value_name = "PLAN")]
    pub plan: String,
    /// Wait up to this time until other jobs have stored the parents, or one of them has failed
    #[arg(long, value_name = "TIME", value_parser = duration)]
    pub wait: Option<Duration>,
    /// Wait, and build nothing
    #[arg(long, requires = "wait")]
    pub only_wait: bool,
    /// Try again up to N times if the engine or the registry does not answer
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub retries: u8,
    #[command(flatten)]
    pub how: HowArgs,
    /// Write a junit report of this job
    #[arg(long, value_name = "FILE", help_heading = "Reports")]
    pub junit: Option<PathBuf>,
    /// Write a report of this job as one JSON object (docs/ci.md)
    #[arg(long, value_name = "FILE", help_heading = "Reports")]
    pub json_report: Option<PathBuf>,
}

/// Hides the flags that promotions accept, and do not need.
pub(super) fn without_builds(command: clap::Command) -> clap::Command {
    ["jobs", "test_jobs", "no_speculate", "builder"]
        .into_iter()
        .fold(command, |command, flag| command.mut_arg(flag, |argument| argument.hide(true)))
}

#[derive(Debug, Args)]
pub struct PromoteArgs {
    /// A file of `rebuild plan --out`, or the ID of a plan in the registry
    #[arg(long, value_name = "PLAN")]
    pub plan: String,
    /// Publish even if the published image was built from a newer commit
    #[arg(long)]
    pub allow_older: bool,
    /// Wait up to this time for another run on this machine with the same target
    #[arg(long, value_name = "TIME", value_parser = duration)]
    pub wait: Option<Duration>,
    /// First wait up to this time until each image is stored or its job has failed
    #[arg(long, value_name = "TIME", value_parser = duration)]
    pub wait_for_images: Option<Duration>,
    /// Try again up to N times if the registry does not answer
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub retries: u8,
    #[command(flatten)]
    pub how: HowArgs,
    /// Write a junit report of all jobs: each build and each test is a test case
    #[arg(long, value_name = "FILE", help_heading = "Reports")]
    pub junit: Option<PathBuf>,
    /// Write a report of all jobs as one JSON object (docs/ci.md)
    #[arg(long, value_name = "FILE", help_heading = "Reports")]
    pub json_report: Option<PathBuf>,
    /// Write a report of all jobs as one HTML page for a browser
    #[arg(long, value_name = "FILE", help_heading = "Reports")]
    pub html: Option<PathBuf>,
    /// Start this program at the end, with the JSON report on its stdin
    ///
    /// A program, or a JSON list of a program and its arguments. No shell. Replaces `notify:` in
    /// hierarchy.yaml; '[]' starts no program.
    #[arg(long, value_name = "COMMAND", value_parser = argv, help_heading = "Reports")]
    pub notify: Option<Argv>,
}
