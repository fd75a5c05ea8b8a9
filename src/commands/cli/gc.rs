use std::time::Duration;

use clap::Args;

use super::Format;
use crate::hierarchy::duration;

pub(super) const GC_EXAMPLES: &str = "\
Examples:
  rebuild gc                       what would be removed, and why
  rebuild gc --yes                 remove it
  rebuild gc --keep 7d --yes       remove images older than a week

`rebuild gc` removes an image only if all its tags are build tags (rb-...), it is older than --keep, \
it is not the image of the current inputs or one of the last 3, and no index contains it. It reads \
every tag again before it deletes, since a registry deletes by digest.";

#[derive(Debug, Args)]
pub struct GcArgs {
    /// Keep images younger than this
    #[arg(long, value_name = "AGE", default_value = "30d", value_parser = duration)]
    pub keep: Duration,
    /// Remove, instead of listing
    #[arg(long)]
    pub yes: bool,
    /// List only: the default
    #[arg(long, conflicts_with = "yes")]
    pub dry_run: bool,
    /// Text, or JSON for programs (docs/events.md)
    #[arg(long, value_enum, default_value_t, value_name = "FORMAT")]
    pub format: Format,
}
