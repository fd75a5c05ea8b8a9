//! How an image stands today, in one word.

use std::fmt;

use serde::Serialize;

use super::{Action, Reason, Step};

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// People pull the image of today's inputs.
    Current,
    /// They pull an older one.
    Behind,
    /// The image of today's inputs is built and tested, and its tags were not moved: a run ended
    /// before, or another image of it failed. Or its tags were rolled back.
    HeldBack,
    /// No image is published.
    NeverBuilt,
}

impl Step {
    pub fn state(&self) -> State {
        if matches!(self.reason, Reason::RolledBack { .. }) {
            return State::HeldBack;
        }
        match (&self.action, &self.published) {
            (Action::Keep { .. }, _) => State::Current,
            (Action::Promote { .. }, _) => State::HeldBack,
            (Action::Build { .. }, Some(_)) => State::Behind,
            (Action::Build { .. }, None) => State::NeverBuilt,
        }
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Current => "current",
            Self::Behind => "behind",
            Self::HeldBack => "held back",
            Self::NeverBuilt => "never built",
        })
    }
}
