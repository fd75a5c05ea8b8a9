use clap::Args;

use super::HowArgs;

pub(super) const WATCH_EXAMPLES: &str = "\
Examples:
  rebuild watch                    build and test on each save, in the engine only
  rebuild watch --only app         one image, on published parents
  rebuild watch --push             publish, too
  rebuild watch --schedule --push  refresh images by their `schedule:`, too";

#[derive(Debug, Args)]
pub struct WatchArgs {
    /// Build only these images and their descendants; names or globs
    #[arg(long, value_name = "NODE,…", value_delimiter = ',', conflicts_with = "only")]
    pub from: Vec<String>,
    /// Build only these images; names or globs
    #[arg(long, value_name = "NODE,…", value_delimiter = ',')]
    pub only: Vec<String>,
    /// Publish to the registry, too
    #[arg(long)]
    pub push: bool,
    /// Refresh images by their `schedule:`, too
    #[arg(long)]
    pub schedule: bool,
    #[command(flatten)]
    pub how: HowArgs,
}
