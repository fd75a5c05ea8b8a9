//! Tag templates: `12-{date}-{git}`, `{version:curl}`.

use std::{collections::BTreeMap, fmt, str::FromStr};

use super::NodeName;
use crate::check::glob;
use crate::image::{ReferenceError, Tag, Tagged};

/// A moving tag with `{date}`, `{git}`, `{fingerprint}`, `{name}` and what is in the image left open.
///
/// **Invariant:** filled in, it is a tag, whatever the day and the commit, unless what is in the image has no place in a
/// tag.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct TagTemplate(String);

/// What the placeholders stand for in one run.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct TagValues {
    /// Today in UTC, `20261123`.
    pub date: String,
    /// The first twelve digits of the commit, `-dirty` behind them if the work tree is changed;
    /// none outside a git repository.
    pub git: Option<String>,
}

/// Something in an image that a tag names.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum TagContent {
    /// The version of a package.
    Version(String),
    Label(String),
    /// The content of a file, by its absolute path.
    File(String),
}

/// What an image has of that.
pub type TagContents = BTreeMap<TagContent, String>;

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TemplateError {
    #[error(
        "there is no `{{{0}}}`: a tag may hold `{{date}}`, `{{git}}`, `{{fingerprint}}`, `{{name}}`, \
         `{{version:PACKAGE}}`, `{{label:NAME}}` and `{{file:/PATH}}`"
    )]
    UnknownPlaceholder(String),
    #[error("`{0}` is known after the build")]
    InImage(TagContent),
    #[error("`{0}` is empty")]
    Empty(TagContent),
    #[error("it begins with `rb-`, as only build tags do")]
    BuildTag,
    #[error("`{0}` and `{1}` would both publish `{2}`")]
    PublishedTwice(NodeName, NodeName, Tagged),
    #[error("`{0}` opens a `{{` that is not closed")]
    Unclosed(String),
    #[error(
        "the tag `{0}` needs a commit, and there is none: not a git repository, or no commits yet"
    )]
    NotInGit(TagTemplate),
    #[error(transparent)]
    Tag(#[from] ReferenceError),
}

impl TemplateError {
    /// What to do about it.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::NotInGit(_) => {
                Some("commit, or run in a clone, or use `{fingerprint}` or `{date}` instead")
            }
            _ => None,
        }
    }
}

#[derive(Clone, PartialEq, Eq)]
enum Placeholder {
    Date,
    Git,
    Fingerprint,
    Name,
    Content(TagContent),
}

enum TemplatePiece<'t> {
    Text(&'t str),
    Open(Placeholder),
}

impl TagTemplate {
    /// The same with more text at its end, which has no placeholder.
    #[must_use]
    pub(super) fn followed_by(&self, text: &str) -> Self {
        Self(format!("{}{text}", self.0))
    }

    /// Whether it names the same tag every day and at every commit.
    pub fn is_stable(&self) -> bool {
        !self.is_late() && !["{date}", "{git}"].iter().any(|open| self.0.contains(open))
    }

    /// Whether it can be filled in only once the fingerprint is known, or the image is built.
    pub fn is_late(&self) -> bool {
        self.0.contains("{fingerprint}") || self.contents().next().is_some()
    }

    /// What it names of the image.
    pub fn contents(&self) -> impl Iterator<Item = TagContent> {
        pieces(&self.0).filter_map(|piece| match piece {
            Ok(TemplatePiece::Open(Placeholder::Content(content))) => Some(content),
            _ => None,
        })
    }

    /// Whether it needs to know the commit.
    pub fn needs_git(&self) -> bool {
        self.0.contains("{git}")
    }

    /// Fills in the placeholders. `fingerprint` is the hexadecimal text, of which twelve are used.
    ///
    /// # Errors
    /// One of them is something in the image.
    pub fn expand(
        &self,
        values: &TagValues,
        name: &str,
        fingerprint: &str,
    ) -> Result<Tag, TemplateError> {
        self.expand_of(values, (name, fingerprint), &TagContents::new())
    }

    /// The same of an image that is there.
    ///
    /// # Errors
    /// It has something that a tag cannot have.
    pub fn expand_of(
        &self,
        values: &TagValues,
        (name, fingerprint): (&str, &str),
        contents: &TagContents,
    ) -> Result<Tag, TemplateError> {
        let mut tag = String::new();
        for piece in pieces(&self.0) {
            match piece? {
                TemplatePiece::Text(text) => tag.push_str(text),
                TemplatePiece::Open(Placeholder::Date) => tag.push_str(&values.date),
                TemplatePiece::Open(Placeholder::Git) => match &values.git {
                    Some(git) => tag.push_str(git),
                    None => return Err(TemplateError::NotInGit(self.clone())),
                },
                TemplatePiece::Open(Placeholder::Fingerprint) => {
                    tag.push_str(fingerprint.get(..12).unwrap_or(fingerprint));
                }
                // A name may be a path, a tag may not.
                TemplatePiece::Open(Placeholder::Name) => tag.push_str(&name.replace('/', "-")),
                TemplatePiece::Open(Placeholder::Content(content)) => {
                    match contents.get(&content) {
                        Some(text) if text.is_empty() => return Err(TemplateError::Empty(content)),
                        Some(text) => tag.push_str(text),
                        None => return Err(TemplateError::InImage(content)),
                    }
                }
            }
        }
        if !contents.is_empty() && tag.starts_with("rb-") {
            return Err(TemplateError::BuildTag);
        }
        Ok(tag.parse()?)
    }

    /// Whether it might name this tag, on some day and at some commit.
    pub fn matches(&self, tag: &Tag) -> bool {
        let mut literals = vec![String::new()];
        for piece in pieces(&self.0) {
            match piece {
                Ok(TemplatePiece::Text(text)) => {
                    literals.last_mut().expect("not empty").push_str(text);
                }
                Ok(TemplatePiece::Open(_)) => literals.push(String::new()),
                Err(_) => return false,
            }
        }
        let literals: Vec<&str> = literals.iter().map(String::as_str).collect();
        glob(&literals, tag.as_str(), 1)
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

fn pieces(mut text: &str) -> impl Iterator<Item = Result<TemplatePiece<'_>, TemplateError>> {
    std::iter::from_fn(move || {
        let open = text.find('{').unwrap_or(text.len());
        if open > 0 {
            let (before, rest) = text.split_at(open);
            text = rest;
            return Some(Ok(TemplatePiece::Text(before)));
        }
        let rest = text.strip_prefix('{')?;
        let Some((name, after)) = rest.split_once('}') else {
            let whole = std::mem::take(&mut text);
            return Some(Err(TemplateError::Unclosed(whole.to_owned())));
        };
        text = after;
        Some(Ok(TemplatePiece::Open(match name {
            "date" => Placeholder::Date,
            "git" => Placeholder::Git,
            "fingerprint" => Placeholder::Fingerprint,
            "name" => Placeholder::Name,
            _ => match TagContent::read(name) {
                Some(content) => Placeholder::Content(content),
                None => return Some(Err(TemplateError::UnknownPlaceholder(name.to_owned()))),
            },
        })))
    })
}

impl TagContent {
    /// `version:curl`, `label:NAME` or `file:/PATH`.
    fn read(text: &str) -> Option<Self> {
        let (kind, of) = text.split_once(':').filter(|(_, of)| !of.is_empty())?;
        let is_package = || of.bytes().all(|c| c.is_ascii_alphanumeric() || b"+-._@".contains(&c));
        let is_path = || of.starts_with('/') && of.len() > 1 && !of.split('/').any(|it| it == "..");
        match kind {
            "version" if is_package() && !of.starts_with('-') => Some(Self::Version(of.to_owned())),
            "label" => Some(Self::Label(of.to_owned())),
            "file" if is_path() => Some(Self::File(of.to_owned())),
            _ => None,
        }
    }
}

impl fmt::Display for TagContent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Version(package) => write!(f, "{{version:{package}}}"),
            Self::Label(name) => write!(f, "{{label:{name}}}"),
            Self::File(path) => write!(f, "{{file:{path}}}"),
        }
    }
}

impl FromStr for TagTemplate {
    type Err = TemplateError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let template = Self(text.to_owned());
        // The values are as long as they get, so that what fits now always fits. The name is
        // checked with the node's own.
        let values = TagValues { date: "20261123".into(), git: Some("0123456789ab-dirty".into()) };
        // What is in the image is not known.
        let contents = template.contents().map(|content| (content, "0".to_owned())).collect();
        match template.expand_of(&values, ("name", "0123456789ab"), &contents) {
            Ok(_) => Ok(template),
            Err(TemplateError::Tag(_)) => {
                Err(TemplateError::Tag(ReferenceError::Tag(text.to_owned())))
            }
            Err(error) => Err(error),
        }
    }
}

impl fmt::Display for TagTemplate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(git: Option<&str>) -> TagValues {
        TagValues { date: "20261123".into(), git: git.map(str::to_owned) }
    }

    #[test]
    fn placeholders_are_filled_in() {
        for (template, expected) in [
            ("latest", "latest"),
            ("12-{date}", "12-20261123"),
            ("{git}", "abc123"),
            ("{name}-{fingerprint}", "team-os-0123456789ab"),
            ("{date}{git}", "20261123abc123"),
        ] {
            let tag = template.parse::<TagTemplate>().unwrap().expand(
                &values(Some("abc123")),
                "team/os",
                "0123456789abcdef",
            );
            assert_eq!(tag.unwrap().as_str(), expected);
        }
    }

    #[test]
    fn a_commit_is_needed_only_where_it_is_named() {
        let template: TagTemplate = "12-{git}".parse().unwrap();
        let error = template.expand(&values(None), "os", "").unwrap_err();
        assert_eq!(
            error.to_string(),
            "the tag `12-{git}` needs a commit, and there is none: not a git repository, or no commits yet"
        );
        assert_eq!(
            error.hint(),
            Some("commit, or run in a clone, or use `{fingerprint}` or `{date}` instead")
        );
        let plain: TagTemplate = "12".parse().unwrap();
        assert_eq!(plain.expand(&values(None), "os", "").unwrap().as_str(), "12");
    }

    #[test]
    fn what_would_not_be_a_tag_is_refused() {
        for (template, expected) in [
            (
                "{day}",
                "there is no `{day}`: a tag may hold `{date}`, `{git}`, `{fingerprint}`, `{name}`, \
                 `{version:PACKAGE}`, `{label:NAME}` and `{file:/PATH}`",
            ),
            ("1-{date", "`{date` opens a `{` that is not closed"),
            (
                "-{date}",
                "`-{date}` is not a tag: a tag is at most 128 letters, digits, `_`, `.` and `-`, and \
                 starts with a letter, a digit or `_`",
            ),
        ] {
            assert_eq!(template.parse::<TagTemplate>().unwrap_err().to_string(), expected);
        }
        let long = format!("{}{{git}}", "x".repeat(115));
        assert!(long.parse::<TagTemplate>().is_err());
    }

    #[test]
    fn what_is_in_the_image_is_filled_in_when_it_is_known() {
        let template: TagTemplate =
            "{version:libssl3}-{label:a.b/c}-{file:/etc/v}-{name}".parse().unwrap();
        let known = |pairs: [(&str, &str); 3]| -> TagContents {
            let read =
                |(what, value): (&str, &str)| (TagContent::read(what).unwrap(), value.to_owned());
            pairs.into_iter().map(read).collect()
        };
        let expand = |values: [&str; 3]| {
            let [version, label, file] = values;
            let contents = known([
                ("version:libssl3", version),
                ("label:a.b/c", label),
                ("file:/etc/v", file),
            ]);
            let tag = template.expand_of(&self::values(None), ("os", "0"), &contents);
            tag.map(|tag| tag.to_string()).map_err(|error| error.to_string())
        };
        assert_eq!(expand(["3.0", "x", "7"]), Ok("3.0-x-7-os".to_owned()));
        assert_eq!(expand(["3.0", "", "7"]), Err("`{label:a.b/c}` is empty".to_owned()));
        assert_eq!(
            expand(["rb-3.0", "x", "7"]),
            Err("it begins with `rb-`, as only build tags do".to_owned())
        );
        assert!(
            expand(["3.0", "a b", "7"]).unwrap_err().starts_with("`3.0-a b-7-os` is not a tag: ")
        );
        let early = template.expand(&values(None), "os", "0").unwrap_err();
        assert_eq!(early.to_string(), "`{version:libssl3}` is known after the build");
        assert!(template.is_late() && !template.is_stable());
        for wrong in [
            "{version:}",
            "{version:-q}",
            "{version:a b}",
            "{file:etc}",
            "{file:/a/../b}",
            "{file:/}",
            "{labels:x}",
        ] {
            let error = wrong.parse::<TagTemplate>().unwrap_err();
            assert!(matches!(error, TemplateError::UnknownPlaceholder(_)), "{wrong}");
        }
    }

    #[test]
    fn templates_match_what_they_might_make() {
        for (template, tag, expected) in [
            ("latest", "latest", true),
            ("latest", "12", false),
            ("12-{date}", "12-20261123", true),
            ("12-{date}", "12-", false),
            ("12-{date}-{git}", "12-20261123", false),
            ("12-{date}-{git}", "12-20261123-abc", true),
            ("{date}", "anything", true),
            ("{version:curl}-slim", "8.5.0-slim", true),
            ("{version:curl}-slim", "8.5.0", false),
        ] {
            let template: TagTemplate = template.parse().unwrap();
            assert_eq!(template.matches(&tag.parse().unwrap()), expected, "{template} {tag}");
        }
    }
}
