//! The rules that `rebuild check` looks after: one table with a code, a severity and an explanation
//! for each problem of a hierarchy.
//!
//! **Invariant:** a code never changes its meaning, and is never given to another rule: it stands in
//! people's files.

mod advice;
mod diet;
mod dockerfiles;
mod edges;
mod file;
mod explain;

use std::{fmt, str::FromStr};

pub use self::explain::{explanation, summary};

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// Worth knowing.
    Note,
    /// It works, and probably not as was meant.
    Warning,
    /// It cannot be built.
    Error,
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Note => "note",
            Self::Warning => "warning",
            Self::Error => "error",
        })
    }
}

/// Which rule, as the number that people write: `RB012`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u16)]
pub enum RuleCode {
    Unreadable = 1,
    Syntax = 2,
    KeyTwice = 3,
    UnknownField = 4,
    MissingField = 5,
    WrongValue = 6,
    WrongTest = 7,
    WrongMatrix = 8,
    WrongName = 9,
    NameTwice = 10,
    SecretArgument = 11,
    WrongSecret = 12,
    Untrusted = 13,
    NoValue = 14,
    NoContext = 20,
    NoDockerfile = 21,
    BrokenDockerfile = 22,
    UnknownTarget = 23,
    WrongReference = 24,
    PrepareOutside = 25,
    OnbuildName = 26,
    NotSendable = 27,
    Ring = 30,
    UnknownParent = 31,
    UnusedParent = 32,
    LeftOutParent = 33,
    PublishedTwice = 34,
    UnknownTag = 35,
    PinnedParent = 36,
    OtherPlatform = 37,
    MissingPlatform = 38,
    NotBuilt = 39,
    Floating = 40,
    NoDigest = 41,
    UnusedArgument = 42,
    GitInContext = 43,
    NoPrepare = 44,
    HostFileInTest = 45,
    NoHealthcheck = 46,
    SecretInDockerfile = 47,
    UnsummedAdd = 48,
    NoTest = 49,
    NoSecretFile = 50,
    NoStableTag = 51,
    PathOutside = 52,
    UnpinnedOnbuild = 53,
    MissingSource = 54,
    UndeclaredSecret = 55,
    UnknownStage = 56,
    UselessExclude = 57,
    UnusedDockerfile = 58,
    OtherRegistry = 59,
    UselessIgnore = 60,
    CacheInLayer = 61,
    RemovedTooLate = 62,
    Recommends = 63,
    CopyBeforeInstall = 64,
    BuildTools = 65,
    ShellEntrypoint = 66,
    RunsAsRoot = 67,
    OnbuildForAll = 68,
    NoDockerignore = 69,
    SharedContext = 70,
}

/// What is said of a rule.
#[derive(Debug)]
pub struct CheckRule {
    pub code: RuleCode,
    pub severity: Severity,
    /// What is wrong, in a few words.
    pub title: &'static str,
    /// Why it is a problem, and what to do.
    pub why: &'static str,
    /// An example that breaks it, and the same put right; in which language.
    pub bad: &'static str,
    pub good: &'static str,
    pub language: Language,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Language {
    Yaml,
    Dockerfile,
    Text,
}

/// Every rule, by code.
pub fn all() -> impl Iterator<Item = &'static CheckRule> {
    [file::RULES, dockerfiles::RULES, edges::RULES, advice::RULES, diet::RULES]
        .into_iter()
        .flatten()
}

impl RuleCode {
    pub fn rule(self) -> &'static CheckRule {
        all().find(|rule| rule.code == self).expect("a test sees to it that each has a rule")
    }

    pub fn severity(self) -> Severity {
        self.rule().severity
    }
}

impl fmt::Display for RuleCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RB{:03}", *self as u16)
    }
}

/// A text that is no code of a rule.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("there is no rule `{0}`")]
pub struct UnknownCode(pub String);

impl FromStr for RuleCode {
    type Err = UnknownCode;

    /// Also in small letters.
    fn from_str(text: &str) -> Result<Self, UnknownCode> {
        let rule = all().find(|rule| rule.code.to_string().eq_ignore_ascii_case(text));
        rule.map(|rule| rule.code).ok_or_else(|| UnknownCode(text.to_owned()))
    }
}

#[cfg(test)]
mod tests;
