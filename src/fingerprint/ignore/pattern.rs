//! One pattern, compiled like in docker.

use regex::Regex;

use super::glob;

#[derive(Clone, Debug)]
pub(super) struct Pattern {
    /// Cleaned, without the `!`.
    text: Vec<u8>,
    pub(super) exception: bool,
    matcher: Matcher,
}

/// As in docker, simple patterns are compared as bytes: a name that is not UTF-8 matches only itself, and a
/// wildcard matches each byte as one character.
#[derive(Clone, Debug)]
enum Matcher {
    Exact,
    /// `a/**`: the part before the stars.
    Prefix(Vec<u8>),
    /// `**/a` and `**a`: the part after the stars.
    Suffix(Vec<u8>),
    Wild(Regex),
}

impl Pattern {
    pub(super) fn new(text: Vec<u8>, exception: bool) -> Result<Self, String> {
        glob::check(&text)?;
        let matcher = match glob::compile(&text)? {
            glob::Compiled::Exact => Matcher::Exact,
            glob::Compiled::Prefix => Matcher::Prefix(text[..text.len() - 2].to_vec()),
            glob::Compiled::Suffix => Matcher::Suffix(text[2..].to_vec()),
            glob::Compiled::Wild(regex) => Matcher::Wild(regex),
        };
        Ok(Self { text, exception, matcher })
    }

    /// `runes` is the path as [`glob::runes`] reads it.
    pub(super) fn matches(&self, path: &[u8], runes: &str) -> bool {
        match &self.matcher {
            Matcher::Exact => path == self.text,
            Matcher::Prefix(prefix) => path.starts_with(prefix),
            // `**/a` matches `a` itself too.
            Matcher::Suffix(suffix) => {
                path.ends_with(suffix) || suffix.strip_prefix(b"/") == Some(path)
            }
            Matcher::Wild(regex) => regex.is_match(runes),
        }
    }

    /// Whether it is a regular expression.
    pub(super) fn is_compiled(&self) -> bool {
        matches!(self.matcher, Matcher::Wild(_))
    }

    /// Whether it has a wildcard before its end.
    pub(super) fn is_wild(&self) -> bool {
        self.before_last_stars().iter().any(|byte| b"*[]?^\\".contains(byte))
    }

    /// Whether something in this folder may match, for a pattern that is not wild.
    pub(super) fn may_match_below(&self, folder: &[u8]) -> bool {
        let text = self.before_last_stars();
        text == folder || text.strip_prefix(folder).is_some_and(|rest| rest.starts_with(b"/"))
    }

    fn before_last_stars(&self) -> &[u8] {
        let text = self.text.strip_suffix(b"/**").unwrap_or(&self.text);
        text.strip_suffix(b"/*").unwrap_or(text)
    }
}
