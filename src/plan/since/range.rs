//! The commit of `--since`.

use std::{fmt, path::Path, str::FromStr};

use super::SinceError;
use crate::host::git;

/// `A`, `A..B` or `A...B`, as in git; a missing side is `HEAD`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Range {
    text: String,
    from: String,
    to: Option<String>,
    /// Three dots: since the merge base instead of `from`.
    is_from_merge_base: bool,
}

impl FromStr for Range {
    type Err = SinceError;

    fn from_str(text: &str) -> Result<Self, SinceError> {
        let trimmed = text.trim();
        if trimmed.is_empty() {
            return Err(SinceError::Empty);
        }
        let (from, to, is_from_merge_base) = match trimmed.split_once("...") {
            Some((from, to)) => (from, Some(to), true),
            None => match trimmed.split_once("..") {
                Some((from, to)) => (from, Some(to), false),
                None => (trimmed, None, false),
            },
        };
        let side = |side: &str| match side {
            "" => Ok("HEAD".to_owned()),
            // Git would parse it as an option.
            side if side.starts_with('-') => Err(SinceError::Option(side.to_owned())),
            side => Ok(side.to_owned()),
        };
        let to = to.map(side).transpose()?;
        Ok(Self { text: trimmed.to_owned(), from: side(from)?, to, is_from_merge_base })
    }
}

impl Range {
    /// Whether it is the zeros that GitHub and GitLab send instead of a missing commit.
    pub(super) fn is_nothing(&self) -> bool {
        [40, 64].contains(&self.from.len()) && self.from.bytes().all(|digit| digit == b'0')
    }

    /// The commit to compare the working tree with.
    pub(super) fn resolve(
        &self,
        folder: &Path,
        notices: &mut Vec<String>,
    ) -> Result<String, SinceError> {
        let from = known(folder, &self.from)?;
        let Some(to_name) = &self.to else { return Ok(from) };
        let to = known(folder, to_name)?;
        if git::commit(folder, "HEAD")?.as_ref() != Some(&to) {
            notices.push(format!(
                "`{to_name}` is not what is checked out: the working tree is compared"
            ));
        }
        if !self.is_from_merge_base {
            return Ok(from);
        }
        match git::merge_base(folder, &from, &to)? {
            Some(base) => Ok(base),
            None => Err(match git::depth_of_shallow(folder)? {
                Some(depth) => {
                    SinceError::Shallow { revision: self.text.clone(), depth, needed: None }
                }
                None => SinceError::Unrelated(self.from.clone(), to_name.clone()),
            }),
        }
    }
}

fn known(folder: &Path, revision: &str) -> Result<String, SinceError> {
    if let Some(commit) = git::commit(folder, revision)? {
        return Ok(commit);
    }
    Err(match git::depth_of_shallow(folder)? {
        Some(depth) => {
            SinceError::Shallow { revision: revision.to_owned(), depth, needed: needed(revision) }
        }
        None => SinceError::Unknown(revision.to_owned()),
    })
}

/// The clone depth for a relative revision: `HEAD~3`, `HEAD^^`.
fn needed(revision: &str) -> Option<usize> {
    let back = revision.strip_prefix("HEAD").or_else(|| revision.strip_prefix('@'))?;
    match back.strip_prefix('~') {
        Some("") => Some(2),
        Some(number) => number.parse::<usize>().ok()?.checked_add(1),
        None => (!back.is_empty() && back.bytes().all(|c| c == b'^')).then(|| back.len() + 1),
    }
}

/// The revision as given; a full commit ID is shortened.
impl fmt::Display for Range {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let is_id = self.text.len() >= 40 && self.text.bytes().all(|c| c.is_ascii_hexdigit());
        f.write_str(if is_id { &self.text[..12] } else { &self.text })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn revisions_as_git_takes_them() {
        for (text, expected) in [
            ("main", "main"),
            (" HEAD~1\n", "HEAD~1"),
            ("a..b", "a to b"),
            ("a..", "a to HEAD"),
            ("..b", "HEAD to b"),
            ("main...", "main to HEAD, from where they parted"),
            ("a...b", "a to b, from where they parted"),
            ("", "`--since` was given no commit"),
            ("  ", "`--since` was given no commit"),
            ("-x", "`-x` is not a commit: it begins with `-`"),
            ("--output=x", "`--output=x` is not a commit: it begins with `-`"),
            ("a..--all", "`--all` is not a commit: it begins with `-`"),
        ] {
            let said = match text.parse::<Range>() {
                Ok(Range { from, to: None, .. }) => from,
                Ok(Range { from, to: Some(to), is_from_merge_base: false, .. }) => {
                    format!("{from} to {to}")
                }
                Ok(Range { from, to: Some(to), .. }) => {
                    format!("{from} to {to}, from where they parted")
                }
                Err(error) => error.to_string(),
            };
            assert_eq!(said, expected, "{text}");
        }
    }

    #[test]
    fn how_deep_a_clone_must_be() {
        for (revision, expected) in [
            ("HEAD~3", Some(4)),
            ("HEAD~", Some(2)),
            ("@^^", Some(3)),
            ("HEAD", None),
            ("main~3", None),
            ("HEAD~x", None),
        ] {
            assert_eq!(needed(revision), expected, "{revision}");
        }
    }
}
