//! The arguments of `rebuild size`.

use std::str::FromStr;

use clap::{Args, ValueEnum};

use crate::hierarchy::Flatten;

pub(super) const SIZE_EXAMPLES: &str = "\
Examples:
  rebuild size                     each published image: its own bytes, and those of its bases
  rebuild size --since v1.4        the growth since the images of a commit
  rebuild size --format svg >size.svg
                                   a picture for a browser: which image adds how much
  rebuild size --format csv        for a spreadsheet
  rebuild size --what-if flatten=os-base
                                   what one layer for os-base would save and cost";

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
    /// Compute what `flatten: true` on an image would save and cost, or `flatten: own` with `NODE:own`; build nothing
    ///
    /// Reads the layers of the published image once. The bytes of uncompressed layers are exact.
    #[arg(long, value_name = "flatten=NODE", conflicts_with_all = ["since", "nodes"])]
    pub what_if: Option<WhatIf>,
    /// Text, JSON or CSV for programs (docs/diet.md), or a picture
    #[arg(long, value_enum, default_value_t, value_name = "FORMAT")]
    pub format: SizeFormat,
}

/// A change that is not made: `flatten=NODE`, `flatten=NODE:own`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WhatIf {
    pub node: String,
    pub flatten: Flatten,
}

impl FromStr for WhatIf {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || "expected `flatten=NODE` or `flatten=NODE:own`".to_owned();
        let change = text.strip_prefix("flatten=").ok_or_else(wrong)?;
        let (node, how) = change.split_once(':').unwrap_or((change, "true"));
        let flatten = how.parse().ok().filter(|flatten| *flatten != Flatten::No);
        let flatten = flatten.filter(|_| !node.is_empty()).ok_or_else(wrong)?;
        Ok(Self { node: node.to_owned(), flatten })
    }
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
