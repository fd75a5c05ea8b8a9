//! The arguments of `rebuild plan` and `rebuild why`.

use std::path::PathBuf;

use clap::Args;

use super::{Format, SelectionArgs};

pub(super) const PLAN_EXAMPLES: &str = "\
Examples:
  rebuild plan                     each image with the reason, below its parent
  rebuild plan --from os-base      what a rebuild of os-base would touch
  rebuild plan 'ruby-*'            these images only
  rebuild plan --local app         what `rebuild --local app` would build
  rebuild plan --changed           only images that are built or promoted
  rebuild plan --out plan.json     write the plan for jobs on other machines
  rebuild plan --exit-code         in scripts: exit code 3 if there is work, else 0";

pub(super) const WHY_EXAMPLES: &str = "\
Examples:
  rebuild why app                  why app is out of date, through which parents
  rebuild why app --format json    the same for a program";

#[derive(Debug, Args)]
pub struct PlanArgs {
    /// Print these images only, by name or glob; the totals below them are those of the whole run
    #[arg(value_name = "NODE")]
    pub nodes: Vec<String>,
    #[command(flatten)]
    pub selection: SelectionArgs,
    /// What `rebuild --local` would do: build, test and tag in the engine only
    #[arg(long, value_name = "NODE,…", value_delimiter = ',', num_args = 0..)]
    #[arg(conflicts_with_all = ["from", "only", "since", "out"])]
    pub local: Option<Vec<String>>,
    /// Print only images that are built or promoted [default with more than 40 images]
    #[arg(long, conflicts_with = "all")]
    pub changed: bool,
    /// Print all images of the run, also if there are more than 40
    #[arg(long)]
    pub all: bool,
    /// Text, or JSON for programs (docs/events.md)
    #[arg(long, value_enum, default_value_t, value_name = "FORMAT")]
    pub format: Format,
    /// Also write the whole plan to a file, for `rebuild stage` and `rebuild promote` (docs/scale.md)
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
    /// Exit code 3 if there is work
    #[arg(long)]
    pub exit_code: bool,
}

#[derive(Debug, Args)]
pub struct WhyArgs {
    /// Which images, by name or glob: 'ruby-*'
    #[arg(required = true, value_name = "NODE")]
    pub nodes: Vec<String>,
    /// Text, or JSON for programs
    #[arg(long, value_enum, default_value_t, value_name = "FORMAT")]
    pub format: Format,
}
