//! The journal of a run: its request, the tags that it will move, and its progress.
//!
//! A file of JSON lines for each run. With it, the next command can finish a promotion that was cut off,
//! `history` can list past runs, and `rollback` can undo them.
//!
//! **Invariant:** in a truncated file, all complete lines count, and an incomplete line does not.
//! **Invariant:** exactly the runs that are committed and have not ended are unfinished.

mod before;
mod folder;
mod past;
mod writer;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

#[cfg(test)]
pub(crate) use self::writer::Memory;
pub use self::{
    before::{published_between, replaced},
    folder::{all, file, find, forget_old, open},
    past::{MoveFate, PastRun},
    writer::{Journal, JournalError},
};
use crate::{
    exit::Exit,
    hierarchy::NodeName,
    image::{Digest, Tagged},
};

/// The version of the lines below. For a reader, a line of an unknown kind ends the file.
const VERSION: u32 = 1;

/// The move of one moving tag.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Move {
    pub node: NodeName,
    pub tag: Tagged,
    /// The digest that the plan saw; `None` if the tag did not exist.
    pub from: Option<Digest>,
    /// `None` to delete the tag: a rollback does that if the tag was new.
    pub to: Option<Digest>,
    /// Moves of one wave may happen at once. A wave begins when the previous one is done.
    pub wave: usize,
}

impl Move {
    /// Whether the tag belongs where it is: the run only checks that it stays there.
    pub fn is_check(&self) -> bool {
        self.from == self.to
    }
}

/// A line of the journal. It identifies a tag by its index in the list of moves.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum JournalLine {
    Began(Began),
    /// The commit point: tags move after this line, and the next run that finds the journal finishes it.
    Committed {
        moves: Vec<Move>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        at: Option<JournalTime>,
    },
    /// The tag was written and read back.
    Moved(usize),
    /// Another user moved the tag, so this run left it.
    Left(usize),
    /// The promotion failed: after this line, tags move back.
    Turned {
        why: String,
    },
    /// The tag is back where it was.
    Back(usize),
    Ended(JournalEnd),
}

/// The first line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Began {
    pub v: u32,
    pub run: String,
    #[serde(with = "moment")]
    pub at: Timestamp,
    /// The target: a registry prefix, or the engine's endpoint.
    pub place: String,
    pub asked: RunRequest,
    /// The commit of the hierarchy's folder, followed by `-dirty` if files differed.
    pub commit: Option<String>,
    /// The time of that commit, in seconds since 1970; `None` if files differed. It decides which of two
    /// concurrent runs wins.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub committed: Option<i64>,
}

/// The request of a run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RunRequest {
    /// The flags that select images; empty for everything that is out of date.
    Run {
        flags: String,
    },
    Rollback {
        of: String,
    },
}

/// The last line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct JournalEnd {
    #[serde(with = "moment")]
    pub at: Timestamp,
    pub exit: Exit,
    /// The run was cut off, and a later command finished it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub recovered: bool,
    /// The run stopped because the reader of its output closed it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub output_closed: bool,
    /// The images that failed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub failed: Vec<NodeName>,
    /// The number of images that it built; older journals do not contain it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub built: Option<usize>,
}

/// Whether a text is the ID of a run: a lower-case ULID, which is safe in a path and in a tag. Records with
/// any other ID are ignored.
pub fn is_run_id(text: &str) -> bool {
    ulid::Ulid::from_string(&text.to_uppercase())
        .is_ok_and(|id| id.to_string().to_lowercase() == text)
}

impl Began {
    pub fn new(run: impl Into<String>, place: impl Into<String>, asked: RunRequest) -> Self {
        let (run, place) = (run.into(), place.into());
        Self { v: VERSION, run, at: Timestamp::now(), place, asked, commit: None, committed: None }
    }
}

/// A time that older journals do not contain.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct JournalTime(#[serde(with = "moment")] Timestamp);

/// An ID of a run, for tests: from a number, or from letters that a ULID may contain.
#[cfg(test)]
pub(crate) fn test_id(short: impl std::fmt::Display) -> String {
    format!("{short:0>26}")
}

/// Times in RFC 3339.
pub(in crate::publish) mod moment {
    use jiff::Timestamp;
    use serde::{Deserialize as _, Deserializer, Serializer, de::Error as _};

    pub fn serialize<S: Serializer>(at: &Timestamp, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(at)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Timestamp, D::Error> {
        String::deserialize(from)?.parse().map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests;
