//! Which images changed since a commit: `--since`.
//!
//! Git lists the paths that differ between the commit and the working tree, including uncommitted and
//! untracked files. Each path is compared with every context. Files that git ignores are not compared, since
//! git does not know their old content. If a context contains such files, a notice says so.
//!
//! **Invariant:** in doubt an image counts as changed. If its fingerprint did not change, only time is lost.

mod image_files;
mod range;

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use self::{image_files::ImageFiles, range::Range};
use crate::{
    check::diagnostic,
    fingerprint::{ListingDifference, context::ContextError, readable},
    hierarchy::{Hierarchy, LoadOptions, NodeName, entries},
    host::git::{self, GitError, PathChange},
    plan::{Change, ChangedPart, Reason, Selection},
};

/// How many names a notice contains; it counts the others.
const NAMED: usize = 3;

/// The selection, and notices for the user.
#[derive(Debug)]
pub struct Since {
    pub selection: Selection,
    pub notices: Vec<String>,
}

#[derive(Debug, thiserror::Error)]
pub enum SinceError {
    #[error("`--since` was given no commit")]
    Empty,
    #[error("`{0}` is not a commit: it begins with `-`")]
    Option(String),
    #[error("`--since` needs a git repository: {0}")]
    NoRepository(GitError),
    #[error("there is no commit `{0}`")]
    Unknown(String),
    /// The clone is too shallow.
    #[error(
        "there is no commit `{revision}` in this clone: it is shallow, {} deep",
        commits(*.depth)
    )]
    Shallow { revision: String, depth: usize, needed: Option<usize> },
    #[error("`{0}` and `{1}` have no commit in common")]
    Unrelated(String, String),
    #[error(transparent)]
    Git(#[from] GitError),
    #[error("`{node}`: {source}")]
    Context { node: NodeName, source: ContextError },
}

fn commits(n: usize) -> String {
    format!("{n} commit{}", if n == 1 { "" } else { "s" })
}

impl SinceError {
    /// The hint for the user.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Empty => Some("if it comes from a variable, is that variable set?".to_owned()),
            Self::Unknown(_) => Some("`git fetch` it first, or name one of `git log`".to_owned()),
            Self::Shallow { needed, .. } => {
                let depth = needed.map_or(String::new(), |depth| {
                    format!(" or at least `git fetch --depth={depth}`,")
                });
                Some(format!(
                    "`git fetch --unshallow`,{depth} or in GitHub Actions `fetch-depth: {}` for \
                     actions/checkout",
                    needed.unwrap_or(0)
                ))
            }
            _ => None,
        }
    }
}

/// Compares a revision with the working tree.
///
/// The revision is `A`, `A..B` (the same as `A`) or `A...B` (since `B` branched off `A`). Forty zeros, which
/// GitHub sends for a new branch, select everything that is out of date.
pub fn since(
    hierarchy: &Hierarchy,
    revision: &str,
    options: &LoadOptions,
) -> Result<Since, SinceError> {
    let range: Range = revision.parse()?;
    let root = hierarchy.root();
    let work_tree = git::work_tree(root).map_err(|error| match error {
        GitError::Failed { .. } => SinceError::NoRepository(error),
        GitError::Start(_) => SinceError::Git(error),
    })?;
    if range.is_nothing() {
        let notice = format!("`{range}` stands for no commit: all that is out of date is selected");
        return Ok(Since { selection: Selection::OutOfDate, notices: vec![notice] });
    }
    let mut notices = Vec::new();
    let commit = range.resolve(root, &mut notices)?;
    let mut changes = Changes { since: range.to_string(), of: BTreeMap::new() };
    let places = ImageFiles::all(hierarchy, &work_tree)?;

    let mut paths: BTreeMap<PathBuf, ListingDifference> = BTreeMap::new();
    for (change, path) in git::changed_since(&work_tree, &commit)? {
        let difference = match change {
            PathChange::Added => ListingDifference::New,
            PathChange::Deleted => ListingDifference::Gone,
            PathChange::Modified => ListingDifference::Changed,
        };
        paths.insert(path, difference);
    }
    for path in git::untracked(&work_tree)? {
        // A file that is no longer tracked may still exist.
        let found = paths.entry(path).or_insert(ListingDifference::New);
        if *found == ListingDifference::Gone {
            *found = ListingDifference::Changed;
        }
    }
    for (path, difference) in &paths {
        let path = work_tree.join(path);
        for place in &places {
            if let Some((what, name)) = place.touched_by(&path) {
                changes.add(place.node, what, name.map(|name| (*difference, name)));
            }
        }
    }
    // The old values are not compared: any image may use them.
    let env_file = hierarchy.env_file.as_ref().and_then(|file| fs::canonicalize(file).ok());
    if env_file.is_some_and(|file| paths.keys().any(|path| work_tree.join(path) == file)) {
        for node in hierarchy.in_build_order() {
            changes.add(&node.name, Change::Entry, None);
        }
    }
    entries_changed(hierarchy, (&work_tree, &commit), options, &mut changes, &mut notices)?;

    notices.extend(outside(&places, &work_tree));
    notices.extend(unseen(&places, &work_tree)?);
    Ok(Since { selection: Selection::Because(changes.reasons()), notices })
}

/// The changes by image.
struct Changes {
    since: String,
    of: BTreeMap<NodeName, (Vec<Change>, Vec<ChangedPart>)>,
}

impl Changes {
    fn add(&mut self, node: &NodeName, what: Change, part: Option<(ListingDifference, String)>) {
        let (changes, parts) = self.of.entry(node.clone()).or_default();
        if !changes.contains(&what) {
            changes.push(what);
            changes.sort();
        }
        parts.extend(part.map(|(difference, name)| ChangedPart { what, difference, name }));
        parts.sort();
    }

    fn reasons(self) -> BTreeMap<NodeName, Reason> {
        let reason =
            |(what, parts)| Reason::ChangedSince { since: self.since.clone(), what, parts };
        self.of.into_iter().map(|(node, change)| (node, reason(change))).collect()
    }
}

/// Compares the present entry of each image with its old entry.
fn entries_changed(
    hierarchy: &Hierarchy,
    (work_tree, commit): (&Path, &str),
    options: &LoadOptions,
    changes: &mut Changes,
    notices: &mut Vec<String>,
) -> Result<(), SinceError> {
    let file = fs::canonicalize(&hierarchy.file).unwrap_or_else(|_| hierarchy.file.clone());
    let Ok(path) = file.strip_prefix(work_tree) else {
        notices.push(format!(
            "`{}` is outside the repository: `--since` does not see what changes in it",
            file.display()
        ));
        return Ok(());
    };
    let read = |text: &[u8]| entries(&file, text, options);
    let then = match git::file_at(work_tree, commit, path)? {
        None => BTreeMap::new(),
        Some(text) => read(&text).unwrap_or_else(|| {
            notices.push(format!(
                "`{}` of `{}` cannot be read: every entry in it counts as changed",
                path.display(),
                changes.since
            ));
            BTreeMap::new()
        }),
    };
    let now = fs::read(&file).ok().and_then(|text| read(&text)).unwrap_or_default();
    for node in hierarchy.in_build_order() {
        let (then, now) = (then.get(&node.name), now.get(&node.name));
        if then.is_none() || then != now {
            changes.add(&node.name, Change::Entry, None);
        }
    }
    Ok(())
}

/// Contexts outside this repository.
fn outside(places: &[ImageFiles<'_>], work_tree: &Path) -> Option<String> {
    let outside = places.iter().filter(|place| !place.context.root.starts_with(work_tree));
    let names: Vec<&str> = outside.map(|place| place.node.as_str()).collect();
    let (of, does) = if names.len() == 1 { ("context", "is") } else { ("contexts", "are") };
    (!names.is_empty()).then(|| {
        format!(
            "the build {of} of {} {does} outside the repository: `--since` does not see what \
             changes there",
            diagnostic::names(&names, NAMED)
        )
    })
}

/// Files of a context that git ignores.
fn unseen(places: &[ImageFiles<'_>], work_tree: &Path) -> Result<Option<String>, SinceError> {
    let mut names = Vec::new();
    for path in git::ignored(work_tree)? {
        let full = work_tree.join(&path);
        if places.iter().any(|place| place.touched_by(&full).is_some()) {
            names.push(readable(&path));
        }
    }
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let they = if names.len() == 1 { "it" } else { "they" };
    Ok((!names.is_empty()).then(|| {
        format!(
            "git ignores {}, but build contexts contain {}: `--since` does not see whether {they} changed",
            diagnostic::names(&names, NAMED),
            if names.len() == 1 { "it" } else { "them" },
        )
    }))
}
