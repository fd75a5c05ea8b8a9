//! What files of the repository say about the images that it makes.
//!
//! **Invariant:** evidence is an output of a build (`-t`, `tags:`, `image:`), never prose.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
};

use super::{candidate::Given, script_calls::Scripts};
use crate::image::{Reference, Repository};

/// The rules by which an image gets its name, its tags and its edges, the strongest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum EvidenceRule {
    Bake,
    Compose,
    ImageBuilder,
    Ci,
    Makefile,
    Script,
    Skaffold,
    Reference,
    /// A build command whose Dockerfile depends on a variable without a known value.
    Guess,
    Path,
}

impl EvidenceRule {
    /// Rank 1 says it; rank 2 concludes it from references; rank 3 concludes it from paths, also from those that fit a
    /// command.
    pub(super) fn rank(self) -> u8 {
        match self {
            Self::Reference => 2,
            Self::Guess | Self::Path => 3,
            _ => 1,
        }
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Bake => "bake",
            Self::Compose => "compose",
            Self::ImageBuilder => "imagebuilder",
            Self::Ci => "ci",
            Self::Makefile => "makefile",
            Self::Script => "script",
            Self::Skaffold => "skaffold",
            Self::Reference => "reference",
            Self::Guess => "guess",
            Self::Path => "path",
        }
    }
}

/// One build that a file of the repository names.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Evidence {
    pub(super) rule: EvidenceRule,
    /// `file:line`.
    pub(super) place: String,
    pub(super) dockerfile: PathBuf,
    pub(super) given: Given,
}

/// What the files of a repository say of builds.
#[derive(Debug, Default)]
pub(super) struct FoundBuilds {
    pub(super) known: Vec<Evidence>,
    /// Commands that build a Dockerfile that is not known: `file:line (image)`.
    pub(super) unknown: Vec<String>,
    /// The folder that paths are relative to, for files with values.
    pub(super) root: PathBuf,
    pub(super) scripts: Scripts,
}

#[cfg(test)]
impl Evidence {
    /// `Dockerfile repository:tag,… @target ARG=value …`
    pub(super) fn shown(&self) -> String {
        let Given { outputs, target, build_args, .. } = &self.given;
        let outputs = outputs.iter().map(|one| match &one.tag {
            Some(tag) => format!("{}:{tag}", one.repository),
            None => format!("{}:?", one.repository),
        });
        let outputs = outputs.collect::<Vec<_>>().join(",");
        let target = target.iter().map(|one| format!(" @{one}"));
        let args = build_args.iter().map(|(key, value)| format!(" {key}={value}"));
        let rest: String = target.chain(args).collect();
        format!("{} {outputs}{rest}", self.dockerfile.display())
    }
}

/// The image that a build publishes, as far as the file says it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct PublishedImage {
    /// The repository, or its last parts if a variable without a value stands before them.
    pub(super) repository: String,
    pub(super) is_whole: bool,
    pub(super) tag: Option<String>,
    /// The tag as a template of a hierarchy, if only the commit in it is not known.
    pub(super) template: Option<String>,
}

impl PublishedImage {
    pub(super) fn read(text: &Open) -> Option<Self> {
        let text = text.0.trim();
        let plain = without_names(text);
        let name_start = plain.rfind('/').map_or(0, |at| at + 1);
        let (repository, tag) = match plain[name_start..].find(':') {
            Some(at) => (&text[..name_start + at], Some(&text[name_start + at + 1..])),
            None => (text, Some("latest")),
        };
        let template = tag.and_then(by_commit);
        let tag = tag.filter(|tag| !tag.contains(OPEN)).map(str::to_owned);
        let (repository, is_whole) = match repository.rfind(CLOSE) {
            None => (repository, true),
            Some(at) => (repository[at + CLOSE.len_utf8()..].strip_prefix('/')?, false),
        };
        let repository = repository.trim_start_matches('/').to_ascii_lowercase();
        repository.parse::<Repository>().ok()?;
        Some(Self { repository, is_whole, tag, template })
    }

    /// Whether a reference may mean it: the repository, and the tag if it is known.
    pub(super) fn makes(&self, reference: &Reference) -> bool {
        self.is_of(&reference.repository)
            && self
                .tag
                .as_ref()
                .is_none_or(|tag| reference.tag_or_latest().is_some_and(|one| one.as_str() == tag))
    }

    pub(super) fn is_of(&self, repository: &Repository) -> bool {
        if self.is_whole {
            return self.repository.parse::<Repository>().is_ok_and(|own| own.is_same(repository));
        }
        let name = repository.as_str();
        name.strip_suffix(&self.repository).is_some_and(|rest| rest.ends_with('/'))
    }
}

/// Whether builds name tags of the image, and none of them is this one.
pub(super) fn names_other_tags(outputs: &[PublishedImage], reference: &Reference) -> bool {
    let Some(wanted) = reference.tag_or_latest() else { return false };
    let last = |repository: &str| repository.rsplit('/').next().unwrap_or_default().to_owned();
    let name = last(reference.repository.as_str());
    let is_own = outputs.iter().any(|one| one.is_of(&reference.repository));
    let is_same = |one: &&PublishedImage| {
        if is_own { one.is_of(&reference.repository) } else { last(&one.repository) == name }
    };
    let same = outputs.iter().filter(is_same);
    let mut tags = same.map(|one| one.tag.as_deref()).peekable();
    // A local name without a tag says nothing of those that are published.
    let says = |tag: Option<&str>| {
        tag.is_some_and(|tag| tag != wanted.as_str() && (is_own || tag != "latest"))
    };
    tags.peek().is_some() && tags.all(says)
}

/// The text with another character for each byte of a variable's name, which may have `:` and `/`.
fn without_names(text: &str) -> String {
    let mut is_name = false;
    let bytes = text.bytes().map(|byte| {
        is_name = (is_name || char::from(byte) == OPEN) && char::from(byte) != CLOSE;
        if is_name || !byte.is_ascii() { '.' } else { char::from(byte) }
    });
    bytes.collect()
}

/// A tag with `{git}` and `{date}` in the places of the commit and the date, if nothing else in it is unknown.
fn by_commit(tag: &str) -> Option<String> {
    let open = Open(tag.to_owned());
    let pieces = open.pieces().into_iter().map(|piece| match piece {
        PatternPiece::Text(text) => Some(text),
        PatternPiece::Variable(name) if is_commit(name) => Some("{git}"),
        PatternPiece::Variable(name) => is_date(name).then_some("{date}"),
    });
    (!open.is_known()).then(|| pieces.collect()).flatten()
}

/// Whether a command prints the date as `20261130`.
fn is_date(command: &str) -> bool {
    let words = command.strip_prefix("shell ").unwrap_or(command).split_whitespace();
    let words: Vec<&str> = words.filter(|word| !["-u", "--utc"].contains(word)).collect();
    matches!(words[..], ["date", format] if format.trim_matches(['"', '\'']) == "+%Y%m%d")
}

/// Whether a variable or a command is the commit of the working tree.
fn is_commit(name: &str) -> bool {
    const VARIABLES: [&str; 11] = [
        "github.sha",
        "GITHUB_SHA",
        "CI_COMMIT_SHA",
        "CI_COMMIT_SHORT_SHA",
        "COMMIT_SHA",
        "SHORT_SHA",
        "CIRCLE_SHA1",
        "pipeline.git.revision",
        "GIT_COMMIT",
        "BUILD_SOURCEVERSION",
        "Build.SourceVersion",
    ];
    let command = name.strip_prefix("shell ").unwrap_or(name);
    let words: Vec<&str> = command.split_whitespace().collect();
    let is_rev =
        |word: &&str| *word == "HEAD" || word.starts_with("--short") || *word == "--verify";
    match &words[..] {
        [variable] => VARIABLES.contains(variable),
        ["git", "rev-parse", rest @ ..] => rest.contains(&"HEAD") && rest.iter().all(is_rev),
        _ => false,
    }
}

/// A text with variables that have no value: each is between these two.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Open(pub(super) String);

pub(super) const OPEN: char = '\u{1}';
pub(super) const CLOSE: char = '\u{2}';

pub(super) type Values = BTreeMap<String, String>;

/// A variable whose value is not known.
pub(super) fn unknown(name: &str) -> String {
    format!("{OPEN}{name}{CLOSE}")
}

/// More combinations of values than this are not tried.
const MOST: usize = 256;

/// Each row once with each of the values.
pub(super) fn turns<R: Clone, V>(rows: Vec<R>, values: &[V], put: impl Fn(&mut R, &V)) -> Vec<R> {
    if values.is_empty() || rows.len() * values.len() > MOST {
        return rows;
    }
    let with = |(row, value): (&R, &V)| {
        let mut row = row.clone();
        put(&mut row, value);
        row
    };
    let pairs = rows.iter().flat_map(|row| values.iter().map(move |value| (row, value)));
    pairs.map(with).collect()
}

impl Open {
    /// As a shell script would have it: `$NAME`, `$(command)`.
    pub(super) fn shown(&self) -> String {
        let pieces = self.pieces().into_iter().map(|piece| match piece {
            PatternPiece::Text(text) => text.to_owned(),
            PatternPiece::Variable(name) if name.starts_with("{{") => format!("${name}"),
            PatternPiece::Variable(name) if name.contains([' ', '<']) => format!("$({name})"),
            PatternPiece::Variable(name) => format!("${name}"),
        });
        pieces.collect()
    }

    pub(super) fn is_known(&self) -> bool {
        !self.0.contains(OPEN)
    }

    /// What is not a variable.
    pub(super) fn texts(&self) -> Vec<&str> {
        let texts = self.pieces().into_iter().filter_map(|piece| match piece {
            PatternPiece::Text(text) => Some(text),
            PatternPiece::Variable(_) => None,
        });
        texts.collect()
    }

    /// Whether a condition without a known result is in it.
    pub(super) fn is_conditional(&self) -> bool {
        let is_condition = |name: &str| name.starts_with("{{") && name.contains(['&', '|', '=']);
        self.pieces()
            .iter()
            .any(|piece| matches!(piece, PatternPiece::Variable(name) if is_condition(name)))
    }

    /// The lines.
    pub(super) fn lines(&self) -> Vec<Self> {
        self.split(|c| c == '\n')
    }

    /// The items of a list of lines or commas.
    pub(super) fn items(&self) -> Vec<Self> {
        self.split(|c| c == '\n' || c == ',')
    }

    /// The value of `name=value` between commas.
    pub(super) fn field(&self, name: &str) -> Option<Self> {
        let fields = self.split(|c| c == ',').into_iter();
        let mut values = fields.filter_map(|one| {
            one.0.strip_prefix(name)?.strip_prefix('=').map(|value| Self(value.to_owned()))
        });
        values.next()
    }

    /// The parts that are not empty. Names of variables are not taken apart.
    fn split(&self, is_between: impl Fn(char) -> bool) -> Vec<Self> {
        let mut is_name = false;
        let parts = self.0.split(|c| {
            if [OPEN, CLOSE].contains(&c) {
                is_name = c == OPEN;
            }
            !is_name && is_between(c)
        });
        let parts = parts.map(str::trim).filter(|part| !part.is_empty());
        parts.map(|part| Self(part.to_owned())).collect()
    }

    fn pieces(&self) -> Vec<PatternPiece<'_>> {
        let mut pieces = Vec::new();
        let mut rest = self.0.as_str();
        while let Some(at) = rest.find(OPEN) {
            if at > 0 {
                pieces.push(PatternPiece::Text(&rest[..at]));
            }
            let Some(end) = rest[at..].find(CLOSE).map(|end| at + end) else { break };
            pieces.push(PatternPiece::Variable(&rest[at + 1..end]));
            rest = &rest[end + 1..];
        }
        if !rest.is_empty() {
            pieces.push(PatternPiece::Text(rest));
        }
        pieces
    }

    /// The values that make this text that one: each variable is a part of a path, or several.
    pub(super) fn bind(&self, text: &str) -> Option<Values> {
        let mut values = Values::new();
        bind(&self.pieces(), text, &mut values).then_some(values)
    }

    /// Puts values in.
    pub(super) fn fill(&self, values: &Values) -> Self {
        let filled = self.pieces().into_iter().map(|piece| match piece {
            PatternPiece::Text(text) => text.to_owned(),
            PatternPiece::Variable(name) => filled(name, values).unwrap_or_else(|| unknown(name)),
        });
        Self(filled.collect())
    }

    /// The names of its variables.
    pub(super) fn variables(&self) -> BTreeSet<&str> {
        let names = self.pieces().into_iter().filter_map(|piece| match piece {
            PatternPiece::Variable(name) => Some(name.rsplit(':').next().unwrap_or(name)),
            PatternPiece::Text(_) => None,
        });
        names.collect()
    }
}

/// The value of a variable, or the part of it that `base:` and `dir:` before its name ask for.
fn filled(name: &str, values: &Values) -> Option<String> {
    if let Some(value) = values.get(name) {
        return Some(value.clone());
    }
    let (part, rest) = name.split_once(':')?;
    let part = PathPart::ALL.into_iter().find(|one| one.name() == part)?;
    Some(part.of(&filled(rest, values)?))
}

/// A part of a path that a command or a function gives.
#[derive(Clone, Copy)]
pub(super) enum PathPart {
    /// The last part.
    Base,
    /// The folder.
    Dir,
}

impl PathPart {
    const ALL: [Self; 2] = [Self::Base, Self::Dir];

    fn name(self) -> &'static str {
        match self {
            Self::Base => "base",
            Self::Dir => "dir",
        }
    }

    pub(super) fn of(self, path: &str) -> String {
        let path = path.trim_end_matches('/');
        let (folder, last) = path.rsplit_once('/').unwrap_or((".", path));
        if let Self::Base = self { last } else { folder }.to_owned()
    }

    /// Of a variable without a value.
    pub(super) fn of_open(self, text: &str) -> Option<String> {
        let name = text.trim_end_matches('/').strip_prefix(OPEN)?.strip_suffix(CLOSE)?;
        (!name.contains(OPEN)).then(|| unknown(&format!("{}:{name}", self.name())))
    }
}

enum PatternPiece<'a> {
    Text(&'a str),
    Variable(&'a str),
}

fn bind(pieces: &[PatternPiece<'_>], text: &str, values: &mut Values) -> bool {
    match pieces.split_first() {
        None => text.is_empty(),
        Some((PatternPiece::Text(piece), rest)) => {
            text.strip_prefix(piece).is_some_and(|text| bind(rest, text, values))
        }
        Some((PatternPiece::Variable(name), rest)) => {
            if let Some(value) = values.get(*name).cloned() {
                return text.strip_prefix(&value).is_some_and(|text| bind(rest, text, values));
            }
            let ends = text.char_indices().map(|(at, c)| at + c.len_utf8());
            let ends: Vec<usize> = ends.collect();
            for end in ends {
                values.insert((*name).to_owned(), text[..end].to_owned());
                if bind(rest, &text[end..], values) {
                    return true;
                }
                values.remove(*name);
            }
            false
        }
    }
}

/// Without `.` and without `folder/..`.
pub(super) fn tidy(path: &str) -> PathBuf {
    let mut tidy = PathBuf::new();
    for part in Path::new(path).components() {
        match part {
            std::path::Component::CurDir => {}
            std::path::Component::ParentDir
                if tidy.file_name().is_some_and(|name| name != "..") =>
            {
                tidy.pop();
            }
            part => tidy.push(part),
        }
    }
    tidy
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outputs_say_what_is_known() {
        for (text, expected) in [
            ("acme/base:1", Some("acme/base true 1")),
            ("acme/base", Some("acme/base true latest")),
            ("host:5000/base", Some("host:5000/base true latest")),
            ("acme/base:\u{1}V\u{2}", Some("acme/base true ?")),
            ("\u{1}R\u{2}/web:1", Some("web false 1")),
            ("acme/\u{1}R\u{2}", None),
            ("\u{1}R\u{2}", None),
            ("acme/\u{1}base:dir:E\u{2}:\u{1}git describe a/b:c\u{2}", None),
            ("acme/web:\u{1}git describe a/b:c\u{2}", Some("acme/web true ?")),
        ] {
            let shown = PublishedImage::read(&Open(text.to_owned())).map(|one| {
                let tag = one.tag.unwrap_or_else(|| "?".to_owned());
                format!("{} {} {tag}", one.repository, one.is_whole)
            });
            assert_eq!(shown.as_deref(), expected, "{text}");
        }
    }
}
