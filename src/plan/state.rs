//! The state of an image.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

use super::{Action, Reason, Step};

/// Two pairs share a name in JSON: programs tell them apart by the reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ImageState {
    /// The tags point at the image of the present inputs.
    Current,
    /// The tags point at an older image.
    Behind,
    /// The image of the present inputs is built and tested, but its tags did not move: the run ended before, or
    /// another image of the run failed.
    NotPromoted,
    /// The tags were rolled back.
    Held,
    /// No image is published.
    NeverBuilt,
    /// The tags were deleted after a run had published the image.
    Missing,
}

impl ImageState {
    pub const ALL: [Self; 6] = [
        Self::Current,
        Self::Behind,
        Self::NotPromoted,
        Self::Held,
        Self::NeverBuilt,
        Self::Missing,
    ];

    /// As in JSON.
    pub fn name(self) -> &'static str {
        match self {
            Self::Current => "current",
            Self::Behind => "behind",
            Self::NotPromoted | Self::Held => "held-back",
            Self::NeverBuilt | Self::Missing => "never-built",
        }
    }

    /// The state that a JSON name and the name of a reason mean together.
    #[must_use]
    pub fn with_reason(self, reason: &str) -> Self {
        match (self, reason) {
            (Self::NotPromoted, "rolled-back") => Self::Held,
            (Self::NeverBuilt, "tags-deleted") => Self::Missing,
            (state, _) => state,
        }
    }
}

impl Serialize for ImageState {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(self.name())
    }
}

impl<'de> Deserialize<'de> for ImageState {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let name = String::deserialize(from)?;
        let named = Self::ALL.into_iter().find(|state| state.name() == name);
        named.ok_or_else(|| D::Error::custom(format!("`{name}` is not a state")))
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
        // Its tests are part of its fingerprint.
        let is_inherited = matches!(self.reason, Reason::ParentRebuilt { .. })
            && self.reason.own_tests().is_none();
        is_inherited && matches!(self.action, Action::Build { again: None, fresh: false })
    }

    pub fn state(&self) -> ImageState {
        if self.is_held() {
            return ImageState::Held;
        }
        if matches!(self.reason, Reason::TagsDeleted { .. }) {
            return ImageState::Missing;
        }
        match (&self.action, &self.published) {
            (Action::Keep { .. }, _) => ImageState::Current,
            (Action::Promote { .. }, _) => ImageState::NotPromoted,
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
            Self::NotPromoted => "not promoted",
            Self::Held => "held",
            Self::NeverBuilt => "never built",
            Self::Missing => "missing",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_in_json_and_a_reason_are_one_state() {
        for state in ImageState::ALL {
            let reason = match state {
                ImageState::Held => "rolled-back",
                ImageState::Missing => "tags-deleted",
                _ => "other",
            };
            let text = serde_json::to_string(&state).unwrap();
            let read: ImageState = serde_json::from_str(&text).unwrap();
            assert_eq!(read.with_reason(reason), state);
        }
    }
}
