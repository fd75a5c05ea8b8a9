//! `.dockerignore`, with docker's exact semantics.
//!
//! The reference for patterns is github.com/moby/patternmatcher (`patternmatcher.go`,
//! `ignorefile/ignorefile.go`). The reference for which ignored folders are searched is
//! github.com/tonistiigi/fsutil (`filter.go`), as in `docker build` since BuildKit became its default (23.0).
//! The classic builder's client searches fewer: with `*` and `!**/*.md` it never finds `docs/a.md`.
//!
//! One difference is on purpose: docker reports some invalid patterns, such as `[b-a]`, only when it compares
//! them with a file, so the result depends on other files. Here an invalid pattern is always an error.
//!
//! **Invariant:** paths are bytes, and a result depends only on the path, the results of its parents and the
//! patterns.

mod glob;
mod pattern_lines;
mod pattern;
#[cfg(test)]
mod tests;

use std::{os::unix::ffi::OsStrExt, path::Path};

use pattern::Pattern;

/// The maximal number of patterns of one file. Each path of a context is compared with all of them.
const MOST_PATTERNS: usize = 10_000;
/// The maximal size in bytes of patterns that become regular expressions.
const MOST_WILD: usize = 64 * 1024;

/// The patterns of one `.dockerignore` file, in order. The default ignores nothing.
#[derive(Clone, Debug, Default)]
pub struct Ignore {
    patterns: Vec<Pattern>,
}

/// A line of a `.dockerignore` that docker also refuses.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: `{pattern}` is not a pattern: {reason}")]
pub struct IgnoreError {
    /// Counted from 1.
    pub line: usize,
    /// As it is written.
    pub pattern: String,
    pub reason: String,
}

/// The patterns that a path or one of its parents matched; its children inherit them.
///
/// A pattern that was skipped for a folder (an exception before anything was ignored) counts as not matched,
/// and the children do not compare it with the folder again.
#[derive(Clone, Debug, Default)]
pub(super) struct Matched(Vec<bool>);

impl Ignore {
    /// Reads the text of a `.dockerignore`.
    pub fn parse(text: &[u8]) -> Result<Self, IgnoreError> {
        let (mut patterns, mut wild) = (Vec::new(), 0);
        for line in pattern_lines::pattern_lines(text)? {
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

    /// These patterns, followed by those of another text. Errors in that text have its own line numbers.
    pub fn with(mut self, text: &[u8]) -> Result<Self, IgnoreError> {
        self.patterns.extend(Self::parse(text)?.patterns);
        Ok(self)
    }

    /// Whether docker ignores this path, which is relative to the context and may not exist.
    ///
    /// An ignored folder is still sent if an entry below it is not ignored.
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

    /// Whether a path is ignored, given the matches of its parent: the last matching pattern wins.
    /// (`MatchesUsingParentResults`)
    pub(super) fn judge(&self, path: &[u8], parent: &Matched) -> (bool, Matched) {
        let text = glob::runes(path);
        let mut ignored = false;
        let mut matched = vec![false; self.patterns.len()];
        for (i, pattern) in self.patterns.iter().enumerate() {
            let inherited = parent.0.get(i).copied().unwrap_or(false);
            // A pattern that cannot change the result is skipped, and therefore not inherited.
            let asked = pattern.exception == ignored;
            if inherited || (asked && pattern.matches(path, &text)) {
                matched[i] = true;
                ignored = !pattern.exception;
            }
        }
        (ignored, Matched(matched))
    }

    /// Whether this ignored folder may contain an exception, so that it must be searched. (fsutil's
    /// `onlyPrefixExcludeExceptions`)
    pub(super) fn may_except_below(&self, folder: &[u8]) -> bool {
        let mut exceptions = self.patterns.iter().filter(|pattern| pattern.exception);
        // An exception with a wildcard before its end requires searching all folders.
        exceptions.clone().any(Pattern::is_wild)
            || exceptions.any(|pattern| pattern.may_match_below(folder))
    }
}
