//! The arguments of `rebuild size`.

use clap::{Args, ValueEnum};

pub(super) const SIZE_EXAMPLES: &str = "\
Examples:
  rebuild size                     each published image: its own bytes, and those of its bases
  rebuild size --since v1.4        the growth since the images of a commit
  rebuild size --format svg >size.svg
                                   a picture for a browser: which image adds how much
  rebuild size --format csv        for a spreadsheet";

#[derive(Debug, Args)]
pub struct SizeArgs {
    /// Print these images only, by name or glob; the totals stay those of all images
    #[arg(value_name = "NODE")]
    pub nodes: Vec<String>,
    /// Compare with the images that were published at this commit [default: with those that the present ones
    /// replaced]
    ///
    /// Run records tell which images these were: those after the last run of the commit or of its ancestors.
    /// Images that `rebuild gc` deleted count as new.
    #[arg(long, value_name = "REV")]
    pub since: Option<String>,
    /// Text, JSON or CSV for programs (docs/diet.md), or a picture
    #[arg(long, value_enum, default_value_t, value_name = "FORMAT")]
    pub format: SizeFormat,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum SizeFormat {
    /// Each image below its base
    #[default]
    Text,
    /// For programs: docs/diet.md
    Json,
    /// For spreadsheets
    Csv,
    /// A picture for a browser
    Svg,
}
