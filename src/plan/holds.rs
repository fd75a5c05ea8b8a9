//! Images that were rolled back: later runs leave them alone for a while.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::hierarchy::NodeName;

/// The name of the note that has them. No image can have it.
pub const HOLDS: &str = ":holds";

/// Of one place that is published to. What is damaged is empty.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holds {
    pub nodes: BTreeMap<NodeName, Hold>,
}

/// Why an image stays where it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hold {
    /// The rollback.
    pub run: String,
    pub at: Timestamp,
    /// When the commit was made whose images were rolled back, in seconds since 1970; `None` if it is not known.
    pub committed: Option<i64>,
}

impl Holds {
    pub fn read(note: &[u8]) -> Self {
        serde_json::from_slice(note).unwrap_or_default()
    }

    pub fn written(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("plain data is always JSON")
    }
}

impl Hold {
    /// Whether it holds for a commit that is checked out: one that is newer than what was rolled back ends it.
    pub fn is_for(&self, head: Option<i64>) -> bool {
        match (self.committed, head) {
            (Some(then), Some(now)) => now <= then,
            _ => true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_newer_commit_ends_a_hold() {
        let hold = |committed| Hold { run: "r".to_owned(), at: Timestamp::UNIX_EPOCH, committed };
        for (committed, head, expected) in [
            (Some(5), Some(5), true),
            (Some(5), Some(4), true),
            (Some(5), Some(6), false),
            (Some(5), None, true),
            (None, Some(6), true),
        ] {
            assert_eq!(hold(committed).is_for(head), expected, "{committed:?} {head:?}");
        }
        let holds = Holds { nodes: [("a".into(), hold(Some(5)))].into() };
        assert_eq!(Holds::read(&holds.written()), holds);
        assert_eq!(Holds::read(b"{"), Holds::default());
    }
}
