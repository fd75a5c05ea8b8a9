//! The arguments of `rebuild waste`.

use clap::{Args, ValueEnum};

pub(super) const WASTE_EXAMPLES: &str = "\
Examples:
  rebuild waste                    the largest findings, each with the Dockerfile line and the fix
  rebuild waste app                what app itself adds, not what it inherits
  rebuild waste --all              every finding
  rebuild waste --format json      for a program

Reads each layer once: the next command reads only layers that are new.";

#[derive(Debug, Args)]
pub struct WasteArgs {
    /// Print the findings of these images only, by name or glob
    #[arg(value_name = "NODE")]
    pub nodes: Vec<String>,
    /// Print every finding [default: the 20 largest, and files that look like secrets]
    #[arg(long)]
    pub all: bool,
    /// Text, or JSON for programs (docs/diet.md); JSON has every finding
    #[arg(long, value_enum, default_value_t, value_name = "FORMAT")]
    pub format: WasteFormat,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum WasteFormat {
    /// Each finding with its fix, then a table
    #[default]
    Text,
    /// For programs: docs/diet.md
    Json,
}
