//! Reports what happens to tags outside a run: a line for each of the first tags on stderr.

use std::{collections::BTreeSet, io};

use super::output;
use crate::{
    event::{Event, EventKind, Reporter, StopReason},
    image::{Digest, Tagged},
    report::count,
};

/// More tags are only counted.
const LISTED: usize = 10;

#[derive(Default)]
pub(super) struct TagProgress {
    /// The reason to end the command when the tags are moved.
    pub(super) stopped: Option<StopReason>,
    is_listed: bool,
    /// The tags so far, each with its image. A tag that is written again is the same move.
    moved: BTreeSet<(String, Option<Digest>)>,
}

impl TagProgress {
    /// Of a command that has printed all tags before.
    pub(super) fn listed() -> Self {
        Self { is_listed: true, ..Self::default() }
    }

    /// The line for a tag that moved, if it has one.
    fn moved(&mut self, tag: &Tagged, to: Option<&Digest>) -> Option<String> {
        let is_new = self.moved.insert((tag.to_string(), to.cloned()));
        let line = match to {
            Some(to) => format!("`{tag}` now points at {}", to.short()),
            None => format!("`{tag}` was deleted"),
        };
        (is_new && !self.is_listed && self.moved.len() <= LISTED).then_some(line)
    }

    /// How many tags had no line. The next tags are those of another run.
    pub(super) fn rest(&mut self) -> Option<String> {
        let rest = std::mem::take(&mut self.moved).len().saturating_sub(LISTED);
        (rest > 0 && !self.is_listed).then(|| format!("and {} moved", count(rest, "more tag")))
    }
}

impl Reporter for TagProgress {
    fn report(&mut self, event: &Event) -> io::Result<()> {
        match &event.kind {
            EventKind::Warning { message, .. } => output::warning(message),
            EventKind::TagMoved { tag, to, .. } => {
                if let Some(line) = self.moved(tag, to.as_ref()) {
                    output::line(&line);
                }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_move_has_one_line_and_many_are_counted() {
        let image = Digest::of(b"app");
        let mut progress = TagProgress::default();
        let tag = |n: usize| -> Tagged {
            Tagged { repository: "app".parse().unwrap(), tag: format!("t{n}").parse().unwrap() }
        };
        let mut lines = 0;
        for _ in 0..2 {
            lines += (0..13).filter_map(|n| progress.moved(&tag(n), Some(&image))).count();
        }
        assert_eq!(lines, 10);
        assert_eq!(progress.rest().unwrap(), "and 3 more tags moved");
        assert_eq!(progress.rest(), None);
    }
}
