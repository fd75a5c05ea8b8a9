//! Which images a command is about.

use clap::Args;

use crate::image::Platform;

/// Which images.
#[derive(Clone, Debug, Default, PartialEq, Eq, Args)]
pub struct SelectionArgs {
    /// Rebuild these images even if they are up to date, and the descendants that change with them;
    /// names or globs, 'ruby-*'
    #[arg(long, value_name = "NODE,…", value_delimiter = ',', conflicts_with = "only")]
    pub from: Vec<String>,
    /// Rebuild only these images, even if they are up to date, on their published parents; names or
    /// globs
    #[arg(long, value_name = "NODE,…", value_delimiter = ',')]
    pub only: Vec<String>,
    /// Only images whose files or entry in hierarchy.yaml changed since this commit (A, A..B or A...B), and
    /// their descendants; uncommitted changes included
    ///
    /// Images that are already stored or published are not built again. Compares the working tree
    /// with the commit; with A...B, with the commit where B branched off A. Changes of files that git
    /// ignores are not seen; a warning names those that a build uses. A shallow clone must contain the
    /// commit. Forty zeros, which GitHub sends for a new branch, select everything that is out of date.
    #[arg(long, value_name = "REV", conflicts_with_all = ["from", "only"])]
    pub since: Option<String>,
    /// Of these images and their descendants, only those that are out of date; names or globs
    #[arg(long, value_name = "NODE,…", value_delimiter = ',')]
    #[arg(conflicts_with_all = ["from", "only", "since"])]
    pub among: Vec<String>,
    /// Build the selected images, by default all, without the layer cache, to install package updates
    ///
    /// An image whose files did not change keeps its tags, and its descendants are not rebuilt.
    /// `refresh:` in hierarchy.yaml does the same automatically, by age.
    #[arg(long)]
    pub refresh: bool,
    /// With --refresh: only images that are due by their `refresh: { every: … }` or their `schedule:`
    ///
    /// And descendants of them that are out of date. Several missed ticks count as one.
    #[arg(long, requires = "refresh", conflicts_with_all = ["from", "only", "since", "among"])]
    pub due: bool,
    /// Only images for these platforms: build, test and store them, and move no tag
    ///
    /// Tags of an image with several platforms point at an index of all of them. The next run without
    /// this option finds the stored images, and moves the tags.
    #[arg(long, value_name = "PLATFORM,…", value_delimiter = ',')]
    pub platform: Vec<Platform>,
}
