//! Tells what happens to tags outside a run: a line each on stderr.

use std::io;

use super::output;
use crate::event::{Event, EventKind, Reporter, StopReason};

#[derive(Default)]
pub(super) struct TagProgress {
    /// Somebody wants the command to end, once the tags are moved.
    pub(super) stopped: Option<StopReason>,
    /// The command has printed all tags before.
    pub(super) is_listed: bool,
}

impl Reporter for TagProgress {
    fn report(&mut self, event: &Event) -> io::Result<()> {
        match &event.kind {
            EventKind::Warning { message, .. } => output::warning(message),
            EventKind::TagMoved { .. } if self.is_listed => {}
            EventKind::TagMoved { tag, to: Some(to), .. } => {
                output::line(&format!("`{tag}` now points at {}", to.short()));
            }
            EventKind::TagMoved { tag, to: None, .. } => {
                output::line(&format!("`{tag}` was deleted"));
            }
            EventKind::StopBegan { reason, .. } => {
                self.stopped = Some(*reason);
                output::warning(
                    "stopping after all tags are moved, so that no mix of old and new images is published",
                );
            }
            _ => {}
        }
        Ok(())
    }
}
