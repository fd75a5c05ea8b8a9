//! Images by what a person types: a name, or a glob that means several.

use globset::{GlobBuilder, GlobSetBuilder};

use super::{Hierarchy, NodeName};
use crate::{check::slips, image::Platform};

/// The most groups, such as `{a,b}`, of a glob.
const GROUPS: usize = 20;
/// More names than this are no hint.
const MOST: usize = 3;

/// No image has the name, or is matched by the glob.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NamingError {
    #[error("no image is called `{name}`")]
    Unknown { name: String, near: Vec<NodeName> },
    #[error("no image matches `{glob}`")]
    Unmatched { glob: String, near: Vec<NodeName> },
    #[error("`{glob}` is not a glob: {reason}")]
    Glob { glob: String, reason: String },
}

impl NamingError {
    /// What to do about it.
    pub fn hint(&self) -> String {
        let near = match self {
            Self::Unknown { near, .. } | Self::Unmatched { near, .. } => near,
            Self::Glob { .. } => {
                return "`*` is any text, `?` one character, `[ab]` one of these".to_owned();
            }
        };
        let near: Vec<String> = near.iter().map(|name| format!("`{name}`")).collect();
        match near.split_last() {
            None => "`rebuild tree --no-state` shows all of them".to_owned(),
            Some((only, [])) => format!("did you mean {only}?"),
            Some((last, others)) => format!("did you mean {} or {last}?", others.join(", ")),
        }
    }
}

impl Hierarchy {
    /// The images that a name or a glob means, in the order of their names; never none. `*` goes
    /// over `/` too: a name with one in it is no path.
    pub fn named(&self, text: &str) -> Result<Vec<&NodeName>, NamingError> {
        if let Some(node) = self.get(&NodeName::from(text)) {
            return Ok(vec![&node.name]);
        }
        if let Some((image, platform)) = text.split_once('@')
            && let Ok(platform) = platform.parse::<Platform>()
            && let Some(node) = self.get(&NodeName::of_platform(image, &platform.normalized()))
        {
            return Ok(vec![&node.name]);
        }
        let of_image = self.nodes_of(text);
        if !of_image.is_empty() {
            return Ok(of_image.into_iter().map(|node| &node.name).collect());
        }
        if !text.contains(['*', '?', '[', '{']) {
            let near = self.nearest(text).into_iter().cloned().collect();
            return Err(NamingError::Unknown { name: text.to_owned(), near });
        }
        let refused = |reason: String| {
            Err(NamingError::Glob { glob: text.chars().take(100).collect(), reason })
        };
        // globset works through nested groups by recursion.
        if text.matches('{').count() > GROUPS {
            return refused("it has too many groups".to_owned());
        }
        let glob = match GlobBuilder::new(text).build() {
            Ok(glob) => glob,
            Err(error) => return refused(error.kind().to_string()),
        };
        // One alone is compiled with a panic where this is an error, which shows all of the glob.
        let Ok(glob) = GlobSetBuilder::new().add(glob).build() else {
            return refused("it is too long, or nested too deeply".to_owned());
        };
        let matched: Vec<&NodeName> =
            self.index.keys().filter(|name| glob.is_match(name.image())).collect();
        if matched.is_empty() {
            let glob = text.to_owned();
            return Err(NamingError::Unmatched { near: self.near_glob(&glob), glob });
        }
        Ok(matched)
    }

    /// Images whose names begin and end nearly as the glob does.
    fn near_glob(&self, glob: &str) -> Vec<NodeName> {
        let wild = |c| matches!(c, '*' | '?' | '[' | ']' | '{' | '}');
        let first = glob.split(wild).next().unwrap_or_default();
        let last = glob.rsplit(wild).next().unwrap_or_default();
        if first.is_empty() && last.is_empty() {
            return Vec::new();
        }
        let away = |name: &NodeName| {
            let letters: Vec<char> = name.as_str().chars().collect();
            let reversed: Vec<char> = letters.iter().rev().copied().collect();
            let last: String = last.chars().rev().collect();
            Some(slips_at_start(first, &letters)? + slips_at_start(&last, &reversed)?)
        };
        let mut near: Vec<(usize, &NodeName)> =
            self.index.keys().filter_map(|name| Some((away(name)?, name))).collect();
        let fewest = near.iter().map(|(slips, _)| *slips).min();
        near.retain(|(slips, _)| Some(*slips) == fewest);
        near.into_iter().take(MOST).map(|(_, name)| name.clone()).collect()
    }
}

/// A letter too many or too few is a slip as well.
fn slips_at_start(text: &str, letters: &[char]) -> Option<usize> {
    let length = text.chars().count();
    if length == 0 {
        return Some(0);
    }
    let lengths = (length - 1..=length + 1).map(|length| length.min(letters.len()));
    lengths.filter_map(|length| slips(text, &String::from_iter(&letters[..length]))).min()
}

#[cfg(test)]
mod tests {
    use super::super::test_hierarchy;

    #[test]
    fn names_and_globs() {
        let hierarchy =
            test_hierarchy("os-base\nruby-3.3\nruby-3.4\nruby-3.4-slim\nteam/app\nteam/web");
        for (text, expected) in [
            ("os-base", "os-base"),
            ("ruby-*", "ruby-3.3 ruby-3.4 ruby-3.4-slim"),
            ("ruby-3.?", "ruby-3.3 ruby-3.4"),
            ("ruby-3.[4-9]*", "ruby-3.4 ruby-3.4-slim"),
            ("*-slim", "ruby-3.4-slim"),
            ("*a*", "os-base team/app team/web"),
            ("team/*", "team/app team/web"),
            ("{os,team}*p*", "team/app"),
            ("*", "os-base ruby-3.3 ruby-3.4 ruby-3.4-slim team/app team/web"),
            ("os-bsae", "! no image is called `os-bsae`; did you mean `os-base`?"),
            (
                "python",
                "! no image is called `python`; `rebuild tree --no-state` shows all of them",
            ),
            (
                "rubi-*",
                "! no image matches `rubi-*`; did you mean `ruby-3.3`, `ruby-3.4` or `ruby-3.4-slim`?",
            ),
            ("*-slm", "! no image matches `*-slm`; did you mean `ruby-3.4-slim`?"),
            (
                "python-*",
                "! no image matches `python-*`; `rebuild tree --no-state` shows all of them",
            ),
            ("?", "! no image matches `?`; `rebuild tree --no-state` shows all of them"),
            ("RUBY-*-slim", "! no image matches `RUBY-*-slim`; did you mean `ruby-3.4-slim`?"),
            (
                "ruby-[",
                "! `ruby-[` is not a glob: unclosed character class; missing ']'; `*` is any text, \
                 `?` one character, `[ab]` one of these",
            ),
            ("", "! no image is called ``; `rebuild tree --no-state` shows all of them"),
        ] {
            let found = match hierarchy.named(text) {
                Ok(names) => names.iter().map(ToString::to_string).collect::<Vec<_>>().join(" "),
                Err(error) => format!("! {error}; {}", error.hint()),
            };
            assert_eq!(found, expected, "{text}");
        }
    }

    #[test]
    fn braces_without_end_are_refused() {
        let hierarchy = crate::hierarchy::test_hierarchy("os");
        let nested = |n: usize| "{a,".repeat(n) + "os" + &"}".repeat(n);
        assert_eq!(hierarchy.named(&nested(20)).unwrap().len(), 1);
        for glob in [nested(400), nested(12_000), "{os,a}".repeat(24), "{".repeat(50_000)] {
            let error = hierarchy.named(&glob).unwrap_err().to_string();
            assert!(error.len() < 400, "{} bytes: {}", error.len(), &error[..200]);
        }
    }
}
