//! The state of an image.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::{Action, Reason, Step};

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ImageState {
    /// The tags point at the image of the present inputs.
    Current,
    /// The tags point at an older image.
    Behind,
    /// The image of the present inputs is built and tested, but its tags did not move: the run ended before,
    /// another image of the run failed, or the tags were rolled back.
    HeldBack,
    /// No image is published.
    NeverBuilt,
}

impl ImageState {
    /// As in JSON.
    pub fn name(self) -> &'static str {
        match self {
            Self::Current => "current",
            Self::Behind => "behind",
            Self::HeldBack => "held-back",
            Self::NeverBuilt => "never-built",
        }
    }
}

impl Step {
    /// Whether its published image stays because of a rollback.
    pub fn is_held(&self) -> bool {
        matches!(self.reason, Reason::RolledBack { .. })
    }

    /// Whether it is built only if a parent changes: the run finds its build tag if the rebuilt parent is
    /// unchanged.
    pub fn may_be_cut_off(&self) -> bool {
        let is_inherited = matches!(self.reason, Reason::ParentRebuilt { .. });
        is_inherited && matches!(self.action, Action::Build { again: None, fresh: false })
    }

    pub fn state(&self) -> ImageState {
        if self.is_held() {
            return ImageState::HeldBack;
        }
        match (&self.action, &self.published) {
            (Action::Keep { .. }, _) => ImageState::Current,
            (Action::Promote { .. }, _) => ImageState::HeldBack,
            (Action::Build { .. }, Some(_)) => ImageState::Behind,
            (Action::Build { .. }, None) => ImageState::NeverBuilt,
        }
    }
}

impl fmt::Display for ImageState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Current => "current",
            Self::Behind => "behind",
            Self::HeldBack => "held back",
            Self::NeverBuilt => "never built",
        })
    }
}
