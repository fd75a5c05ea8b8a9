//! `.dockerignore`, with docker's exact semantics.
//!
//! The reference is github.com/moby/patternmatcher (`patternmatcher.go`, `ignorefile/ignorefile.go`)
//! for the patterns, and github.com/tonistiigi/fsutil (`filter.go`) for which ignored folders are
//! looked into: that is what `docker build` has done since BuildKit became its default (23.0). The
//! classic builder's client looks into fewer: with `*` and `!**/*.md` it never finds `docs/a.md`.
//!
//! One thing is stricter on purpose: docker notices some wrong patterns, such as `[b-a]`, only when
//! it comes to ask them about a file, so that it depends on the other files whether it builds.
//! Here a wrong pattern is always an error.
//!
//! **Invariant:** paths are bytes, and a verdict depends on nothing but the path, its parents'
//! verdicts and the patterns.

mod glob;
mod lines;
mod pattern;
#[cfg(test)]
mod tests;

use std::{os::unix::ffi::OsStrExt, path::Path};

use pattern::Pattern;

/// Of one file. Each path of a context is compared with all of them.
const MOST_PATTERNS: usize = 10_000;
/// In bytes, of the patterns that become regular expressions.
const MOST_WILD: usize = 64 * 1024;

/// The patterns of one `.dockerignore` file, in its order. The default ignores nothing.
#[derive(Clone, Debug, Default)]
pub struct Ignore {
    patterns: Vec<Pattern>,
}

/// A line of a `.dockerignore` that docker would refuse too.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: `{pattern}` is not a pattern: {reason}")]
pub struct IgnoreError {
    /// Counted from 1.
    pub line: usize,
    /// As it is written.
    pub pattern: String,
    pub reason: String,
}

/// Which patterns a path, or a folder above it, matched: what its children inherit.
///
/// A pattern that was skipped for a folder (an exception while nothing was ignored yet) counts as
/// not matched, and the children do not ask again whether it would have matched the folder.
#[derive(Clone, Debug, Default)]
pub(super) struct Matched(Vec<bool>);

impl Ignore {
    /// Reads the text of a `.dockerignore`.
    pub fn parse(text: &[u8]) -> Result<Self, IgnoreError> {
        let (mut patterns, mut wild) = (Vec::new(), 0);
        for line in lines::lines(text)? {
            let error = |reason| IgnoreError {
                line: line.number,
                pattern: String::from_utf8_lossy(&line.written).into_owned(),
                reason,
            };
            let length = line.cleaned.len();
            let pattern = Pattern::new(line.cleaned, line.exception).map_err(error)?;
            wild += if pattern.is_compiled() { length } else { 0 };
            patterns.push(pattern);
            if patterns.len() > MOST_PATTERNS || wild > MOST_WILD {
                return Err(error(format!(
                    "the patterns before it are too many: {MOST_PATTERNS}, or {} KiB with wildcards",
                    MOST_WILD / 1024
                )));
            }
        }
        Ok(Self { patterns })
    }

    /// These patterns, and those of another text after them. What is wrong with that one is told with
    /// its own line numbers.
    pub fn with(mut self, text: &[u8]) -> Result<Self, IgnoreError> {
        self.patterns.extend(Self::parse(text)?.patterns);
        Ok(self)
    }

    /// Whether docker leaves this path out. It is relative to the context, and need not exist.
    ///
    /// A folder that is left out is nevertheless sent when something below it is not.
    pub fn excludes(&self, path: &Path) -> bool {
        let path = path.as_os_str().as_bytes();
        let mut parent = Matched::default();
        for (end, _) in path.iter().enumerate().filter(|(_, byte)| **byte == b'/') {
            let (ignored, matched) = self.judge(&path[..end], &parent);
            if ignored && !self.may_except_below(&path[..end]) {
                return true;
            }
            parent = matched;
        }
        self.judge(path, &parent).0
    }

    /// Whether a path is ignored, given what the folder it lies in matched: the last pattern that
    /// matches wins. (`MatchesUsingParentResults`)
    pub(super) fn judge(&self, path: &[u8], parent: &Matched) -> (bool, Matched) {
        let text = glob::runes(path);
        let mut ignored = false;
        let mut matched = vec![false; self.patterns.len()];
        for (i, pattern) in self.patterns.iter().enumerate() {
            let inherited = parent.0.get(i).copied().unwrap_or(false);
            // A pattern that could change nothing is not asked, and so is not inherited either.
            let asked = pattern.exception == ignored;
            if inherited || (asked && pattern.matches(path, &text)) {
                matched[i] = true;
                ignored = !pattern.exception;
            }
        }
        (ignored, Matched(matched))
    }

    /// Whether something in this ignored folder may be excepted, so that it must be looked into.
    /// (fsutil's `onlyPrefixExcludeExceptions`)
    pub(super) fn may_except_below(&self, folder: &[u8]) -> bool {
        let mut exceptions = self.patterns.iter().filter(|pattern| pattern.exception);
        // One exception with a wildcard anywhere but at its end is enough to look everywhere.
        exceptions.clone().any(Pattern::is_wild)
            || exceptions.any(|pattern| pattern.may_match_below(folder))
    }
}
