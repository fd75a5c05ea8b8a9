use std::time::Duration;

use clap::Args;

use super::Format;
use crate::hierarchy::duration;

pub(super) const ROLLBACK_EXAMPLES: &str = "\
Examples:
  rebuild rollback --dry-run       the tags that would move back
  rebuild rollback                 print the tags of the last run, ask, and move them back
  rebuild rollback --yes           without asking
  rebuild rollback 01m852q         a run by the first letters of its ID";

#[derive(Debug, Args)]
pub struct RollbackArgs {
    /// A run, by its ID or the first letters of it [default: the last run that moved a tag, unless
    /// it is a rollback]
    #[arg(value_name = "RUN")]
    pub run: Option<String>,
    /// Print the tags that would move, and change nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Do not ask; without a terminal, `rebuild` never asks
    #[arg(short, long)]
    pub yes: bool,
    /// Wait up to this time for another run on this machine with the same target
    #[arg(long, value_name = "TIME", value_parser = duration)]
    pub wait: Option<Duration>,
    /// Text, or JSON for programs (docs/events.md)
    #[arg(long, value_enum, default_value_t, value_name = "FORMAT")]
    pub format: Format,
}
