//! What each image's build printed, in one piece that a CI system shows folded.
//!
//! Several builds print at once; a fold needs its lines together. So they are kept until the image is
//! done. **Invariant:** of each image no more is kept than [`KEPT`]; the rest is in its log.

use std::{
    collections::{BTreeMap, VecDeque},
    io::{self, Write as _},
};

use jiff::Timestamp;

use super::{Ci, Out, github::Guard, numbers::count};
use crate::hierarchy::NodeName;

/// In bytes, of one image: some ten thousand lines.
const KEPT: usize = 1024 * 1024;

pub(super) struct Folds {
    ci: Ci,
    kept: BTreeMap<NodeName, KeptLines>,
    /// How many there were, for their names.
    number: usize,
}

#[derive(Default)]
struct KeptLines {
    lines: VecDeque<String>,
    bytes: usize,
    /// How many lines before these are only in the log.
    dropped: usize,
}

impl Folds {
    pub(super) fn new(ci: Ci) -> Self {
        Self { ci, kept: BTreeMap::new(), number: 0 }
    }

    /// Whether anybody folds.
    pub(super) fn are_shown(&self) -> bool {
        self.ci != Ci::None
    }

    /// Keeps a line that may be shown as it is.
    pub(super) fn keep(&mut self, node: &NodeName, line: String) {
        let kept = self.kept.entry(node.clone()).or_default();
        kept.bytes += line.len();
        kept.lines.push_back(line);
        while kept.bytes > KEPT {
            let Some(first) = kept.lines.pop_front() else { break };
            kept.bytes -= first.len();
            kept.dropped += 1;
        }
    }

    /// Shows what was kept of an image, if anything was, under a title of one line that was sanitized.
    pub(super) fn show(
        &mut self,
        node: &NodeName,
        title: &str,
        (guard, out): (&Guard, &mut Out),
    ) -> io::Result<()> {
        let Some(kept) = self.kept.remove(node) else { return Ok(()) };
        self.number += 1;
        let name = format!("rebuild_{}", self.number);
        let now = || Timestamp::now().as_second();
        match self.ci {
            Ci::GitHub => guard.lifted(out, &format!("::group::{title}"))?,
            // https://docs.gitlab.com/ci/jobs/job_logs/#custom-collapsible-sections
            Ci::GitLab => out.ours(&format!(
                "\x1b[0Ksection_start:{}:{name}[collapsed=true]\r\x1b[0K{title}\n",
                now()
            ))?,
            Ci::None => {}
        }
        if kept.dropped > 0 {
            writeln!(out, "… {} before these", count(kept.dropped, "line"))?;
        }
        kept.lines.iter().try_for_each(|line| writeln!(out, "{line}"))?;
        match self.ci {
            Ci::GitHub => guard.lifted(out, "::endgroup::"),
            Ci::GitLab => out.ours(&format!("\x1b[0Ksection_end:{}:{name}\r\x1b[0K\n", now())),
            Ci::None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::{
        ProgressMode, ReportOptions, reporter,
        scenario::{self, Paper, options, tell},
    };

    fn shown(ci: Ci) -> String {
        let paper = Paper::default();
        let options = ReportOptions { ci, ..options() };
        let mut reporter =
            reporter(ProgressMode::Plain, options, paper.out(), Paper::default().out());
        tell(&mut *reporter, &scenario::failure());
        paper.text()
    }

    /// Every line that GitHub would obey, as its runner reads them, with what it does not.
    #[test]
    fn groups_stand_outside_of_what_github_does_not_obey() {
        let text = shown(Ci::GitHub);
        let (mut stopped, mut groups, mut inside) = (None, 0, false);
        for line in text.lines() {
            if let Some(token) = &stopped {
                if line == format!("::{token}::") {
                    stopped = None;
                }
            } else if let Some(token) = line.strip_prefix("::stop-commands::") {
                stopped = Some(token.to_owned());
            } else if line.starts_with("::group::") {
                assert!(!inside, "{text}");
                (groups, inside) = (groups + 1, true);
            } else if line == "::endgroup::" {
                inside = false;
            } else {
                panic!("{line} is not guarded in\n{text}");
            }
        }
        assert_eq!((stopped, inside), (None, false), "{text}");
        assert!(groups > 0, "{text}");
    }

    #[test]
    fn sections_of_gitlab_begin_and_end() {
        let text = shown(Ci::GitLab);
        let begun = text.matches("section_start:").count();
        assert!(begun > 0 && text.matches("section_end:").count() == begun, "{text}");
        let shown_in = |name: &str| text.matches(&format!(":{name}")).count();
        assert_eq!(shown_in("rebuild_1[collapsed=true]\r\u{1b}[0Kwhat "), 1, "{text}");
        assert_eq!(shown_in("rebuild_1\r\u{1b}[0K"), 1, "{text}");
    }

    #[test]
    fn no_more_is_kept_than_there_is_room_for() {
        let mut folds = Folds::new(Ci::GitLab);
        let node = NodeName::from("os");
        for n in 0..3000 {
            folds.keep(&node, format!("{n:01000}"));
        }
        let paper = Paper::default();
        folds.show(&node, "os", (&Guard::new(Ci::GitLab), &mut paper.out())).unwrap();
        let text = paper.text();
        assert!(text.len() < KEPT + 2000, "{}", text.len());
        assert!(text.contains("… 1952 lines before these\n"), "{}", &text[..200]);
        assert!(text.contains("2999\n"));
        assert!(folds.kept.is_empty());
    }
}
