//! How long the rest of a run will take, counted down between two estimates.

use std::time::Duration;

use super::numbers::about;

/// The last estimate: since the run began, when everything will be over.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Eta(Option<Duration>);

impl Eta {
    pub(super) fn new(at: Duration, left: Option<Duration>) -> Self {
        Self(left.map(|left| at.saturating_add(left)))
    }

    /// `about 3 min left`; nothing once the time is up, for how long it will then be nobody knows.
    pub(super) fn left(self, now: Duration) -> Option<String> {
        let left = self.0?.saturating_sub(now);
        (!left.is_zero()).then(|| format!("{} left", about(left)))
    }
}
