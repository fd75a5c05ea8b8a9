//! What a run is to do. Requests of one lane that wait are merged, so that a burst of pushes is one run.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::hierarchy::NodeName;

/// The most reasons that a request keeps.
const REASONS: usize = 20;

/// A request, and the reasons for it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkRequest {
    pub work: RequestedWork,
    /// Sentences without a final full stop, the oldest first.
    pub why: Vec<String>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum RequestedWork {
    /// Everything that is out of date.
    #[default]
    OutOfDate,
    /// Of what changed since these commits, and of these images, with all descendants: what is out of date.
    Changed { since: BTreeSet<String>, images: BTreeSet<String> },
    /// These images, even if they are current, and the descendants that change with them.
    Images { images: BTreeSet<String>, refresh: bool },
    /// Every image without the layer cache.
    Refresh,
    /// The images whose `schedule:` or `refresh:` is due.
    Due,
}

/// Requests of different lanes are different runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lane {
    Changes,
    Requested,
    Scheduled,
}

impl Lane {
    pub fn name(self) -> &'static str {
        match self {
            Self::Changes => "changes",
            Self::Requested => "requested",
            Self::Scheduled => "scheduled",
        }
    }
}

impl WorkRequest {
    pub fn new(work: RequestedWork, why: impl Into<String>) -> Self {
        Self { work, why: vec![why.into()] }
    }

    pub fn lane(&self) -> Lane {
        match self.work {
            RequestedWork::OutOfDate | RequestedWork::Changed { .. } => Lane::Changes,
            RequestedWork::Images { .. } | RequestedWork::Refresh => Lane::Requested,
            RequestedWork::Due => Lane::Scheduled,
        }
    }

    /// One request that does the work of both. Both are of one lane.
    #[must_use]
    #[expect(clippy::match_same_arms, reason = "in this order, each arm says which one is wider")]
    pub fn merge(self, newer: Self) -> Self {
        use RequestedWork::{Changed, Images, OutOfDate};
        let work = match (self.work, newer.work) {
            (
                Changed { mut since, mut images },
                Changed { since: more_since, images: more_images },
            ) => {
                since.extend(more_since);
                images.extend(more_images);
                Changed { since, images }
            }
            (Images { mut images, refresh }, Images { images: more, refresh: also }) => {
                images.extend(more);
                Images { images, refresh: refresh || also }
            }
            (work @ OutOfDate, _) => work,
            // The newer one is as wide, or wider.
            (Changed { .. } | Images { .. }, work) => work,
            (work, _) => work,
        };
        let mut why = self.why;
        for reason in newer.why {
            if !why.contains(&reason) && why.len() < REASONS {
                why.push(reason);
            }
        }
        Self { work, why }
    }
}

impl std::fmt::Display for RequestedWork {
    /// `rebuild --since 1f3c…`: as a user would type it, but for images among which `rebuild` selects.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let typed = |name: &String| NodeName::from(name.as_str()).argument();
        let list = |names: &BTreeSet<String>| names.iter().map(typed).collect::<Vec<_>>().join(",");
        match self {
            Self::OutOfDate => f.write_str("rebuild"),
            Self::Changed { since, images } => {
                f.write_str("rebuild")?;
                let short = |commit: &String| commit.get(..12).unwrap_or(commit).to_owned();
                let since: Vec<String> = since.iter().map(short).collect();
                if !since.is_empty() {
                    write!(f, " --since {}", since.join(" --since "))?;
                }
                if images.is_empty() { Ok(()) } else { write!(f, " --among {}", list(images)) }
            }
            Self::Images { images, refresh } => {
                write!(f, "rebuild --from {}", list(images))?;
                if *refresh { f.write_str(" --refresh") } else { Ok(()) }
            }
            Self::Refresh => f.write_str("rebuild --refresh"),
            Self::Due => f.write_str("rebuild --refresh --due"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn changed(since: &[&str], images: &[&str]) -> RequestedWork {
        let set = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect();
        RequestedWork::Changed { since: set(since), images: set(images) }
    }

    #[test]
    fn merged_requests_do_the_work_of_both() {
        let images = |names: &[&str], refresh| RequestedWork::Images {
            images: names.iter().map(|name| (*name).to_owned()).collect(),
            refresh,
        };
        for (older, newer, expected) in [
            (changed(&["a"], &[]), changed(&["b"], &["x"]), changed(&["a", "b"], &["x"])),
            (changed(&["a"], &[]), RequestedWork::OutOfDate, RequestedWork::OutOfDate),
            (RequestedWork::OutOfDate, changed(&["a"], &[]), RequestedWork::OutOfDate),
            (images(&["x"], false), images(&["y"], true), images(&["x", "y"], true)),
            (images(&["x"], false), RequestedWork::Refresh, RequestedWork::Refresh),
            (RequestedWork::Refresh, images(&["x"], false), RequestedWork::Refresh),
            (RequestedWork::Due, RequestedWork::Due, RequestedWork::Due),
        ] {
            let merged = WorkRequest::new(older, "1").merge(WorkRequest::new(newer, "2"));
            assert_eq!(merged, WorkRequest { work: expected, why: vec!["1".into(), "2".into()] });
        }
    }

    #[test]
    fn reasons_are_listed_once_and_are_bounded() {
        let mut request = WorkRequest::new(RequestedWork::Due, "0");
        for n in 0..100 {
            request = request.merge(WorkRequest::new(RequestedWork::Due, (n % 50).to_string()));
        }
        assert_eq!(request.why.len(), REASONS);
    }
}
