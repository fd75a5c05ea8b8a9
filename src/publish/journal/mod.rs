//! The journal of a run: what it was asked, which tags it is going to move, and how far it got.
//!
//! A file of JSON lines, one a run. It makes a promotion that was cut off one that the next command
//! finishes, and past runs something that can be listed and taken back.
//!
//! **Invariant:** what stands before a cut counts, wherever the cut is: half a line is no line.
//! **Invariant:** a run that is committed and has not ended is to be finished, and no other.

mod folder;
mod past;
mod writer;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

#[cfg(test)]
pub(crate) use self::writer::Memory;
pub use self::{
    folder::{file, find, forget_old, open},
    past::{Fate, Past},
    writer::{Journal, JournalError},
};
use crate::{
    exit::Exit,
    hierarchy::NodeName,
    image::{Digest, Tagged},
};

/// Of the lines below. A reader that does not know a line's kind takes it for a cut.
const VERSION: u32 = 1;

/// One moving tag that is to point elsewhere.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Move {
    pub node: NodeName,
    pub tag: Tagged,
    /// Where the plan saw it; `None` if it did not exist.
    pub from: Option<Digest>,
    /// `None` if it is to be taken away, as a rollback does with one that was new.
    pub to: Option<Digest>,
    /// Moves of one wave may happen at once; a wave begins when the one before is done.
    pub wave: usize,
}

/// A line of the journal. Tags are named by their place in the list of moves.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Line {
    Began(Began),
    /// From here on tags move, and the next run that finds the journal finishes it.
    Committed {
        moves: Vec<Move>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        at: Option<At>,
    },
    /// The tag was written and read back.
    Moved(usize),
    /// Somebody else moved the tag, so it was left where it is.
    Left(usize),
    /// It cannot be finished: from here on tags go back.
    Turned {
        why: String,
    },
    /// The tag is back where it was.
    Back(usize),
    Ended(Ended),
}

/// The first line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Began {
    pub v: u32,
    pub run: String,
    #[serde(with = "moment")]
    pub at: Timestamp,
    /// Where it publishes: a registry prefix, or the engine's endpoint.
    pub place: String,
    pub asked: Asked,
    /// The commit of the hierarchy's folder, `-dirty` behind it if files differed.
    pub commit: Option<String>,
    /// When that commit was made, in seconds since 1970, if nothing differed from it and it decides
    /// which of two runs at once gives way.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub committed: Option<i64>,
}

/// What somebody wanted of a run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Asked {
    /// The flags that say which images, empty for all that is out of date.
    Run {
        flags: String,
    },
    Rollback {
        of: String,
    },
}

/// The last line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ended {
    #[serde(with = "moment")]
    pub at: Timestamp,
    pub exit: Exit,
    /// The run was cut off, and a later command finished it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub recovered: bool,
}

/// Whether a text is the ID of a run: a ULID in lower case, which may stand in a path and in a tag.
/// Whatever a record calls a run else is no run of ours.
pub fn is_run_id(text: &str) -> bool {
    ulid::Ulid::from_string(&text.to_uppercase())
        .is_ok_and(|id| id.to_string().to_lowercase() == text)
}

impl Began {
    pub fn new(run: impl Into<String>, place: impl Into<String>, asked: Asked) -> Self {
        let (run, place) = (run.into(), place.into());
        Self { v: VERSION, run, at: Timestamp::now(), place, asked, commit: None, committed: None }
    }
}

/// A moment that older journals do not have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct At(#[serde(with = "moment")] Timestamp);

/// An ID of a run, for tests: a number, or letters that a ULID may have.
#[cfg(test)]
pub(crate) fn test_id(short: impl std::fmt::Display) -> String {
    format!("{short:0>26}")
}

/// Times as RFC 3339 has them.
mod moment {
    use jiff::Timestamp;
    use serde::{Deserialize as _, Deserializer, Serializer, de::Error as _};

    pub(super) fn serialize<S: Serializer>(at: &Timestamp, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(at)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Timestamp, D::Error> {
        String::deserialize(from)?.parse().map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests;
