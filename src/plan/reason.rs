//! Why an image is built, promoted or kept: data first, a sentence second.

use std::{
    fmt::{self, Write as _},
    time::Duration,
};

use jiff::Timestamp;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

use super::sentence::sentence;
use crate::{
    fingerprint::ListingDifference,
    hierarchy::NodeName,
    host::moment,
    image::{Digest, Tag, packages::PackageUpdate},
};

/// How many tags a sentence names; it counts the others.
const NAMED_TAGS: usize = 5;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "reason")]
pub enum Reason {
    /// The command line names it.
    Requested {
        /// Why it is also out of date.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        besides: Option<Box<Reason>>,
    },
    /// None of its tags exists.
    NeverBuilt,
    /// Of a local run: the engine has none of its tags. The registry may have them.
    NotInEngine,
    /// None of its tags exists, and this run published it.
    TagsDeleted { run: String },
    /// An input of its own changed since the build of the published image.
    Changed {
        what: Vec<Change>,
        /// The changed files and settings, if labels of the published image name them; sorted by `what`.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        parts: Vec<ChangedPart>,
    },
    /// An input of its own differs from the commit of `--since`.
    ChangedSince {
        since: String,
        what: Vec<Change>,
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        parts: Vec<ChangedPart>,
    },
    /// Selected by `--refresh`, with others or alone.
    Refresh {
        /// Why it is also out of date.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        besides: Option<Box<Reason>>,
    },
    /// Its last refresh is older than `every`.
    RefreshDue {
        #[serde(rename = "every_s", serialize_with = "seconds", deserialize_with = "of_seconds")]
        every: Duration,
        #[serde(serialize_with = "moment::whole", deserialize_with = "of_text")]
        last: Timestamp,
    },
    /// A tick of its schedule has passed since its last refresh.
    ScheduleDue {
        #[serde(serialize_with = "moment::whole", deserialize_with = "of_text")]
        at: Timestamp,
        #[serde(serialize_with = "moment::whole", deserialize_with = "of_text")]
        last: Timestamp,
    },
    /// Its refresh is due, and updates of packages that it added are available.
    UpdatesAvailable { updates: Vec<PackageUpdate> },
    /// An upstream tag points at another image now.
    UpstreamMoved { upstream: String, was: Digest, now: Digest },
    /// An upstream cannot be used, so the build will fail.
    UpstreamMissing { upstream: String, why: String },
    /// The run rebuilds a parent first, which may change it.
    ParentRebuilt {
        parent: NodeName,
        /// Why it is also out of date: the reason if the parent stays the same image.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        besides: Option<Box<Reason>>,
    },
    /// Only of a run that has ended: the parent was built, and is the same image as before.
    ParentUnchanged { parent: NodeName },
    /// Its published image is based on another image of the parent.
    ParentMoved {
        parent: NodeName,
        /// The change of tests of its own, if there is one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        besides: Option<Box<Reason>>,
    },
    /// The published image does not name its inputs.
    Unknown,
    /// Another version of `rebuild` built the published image and encoded its inputs differently.
    NewFormat,
    /// The published image has the present inputs, but its build tag was deleted.
    BuildTagGone,
    /// The tested image is stored, and these tags point elsewhere.
    TagsBehind {
        tags: Vec<Tag>,
        /// Those of them that do not exist, though the image is published under others.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        missing: Vec<Tag>,
        /// Those of them that point at an image without the labels of `rebuild`.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        foreign: Vec<Tag>,
    },
    /// Its tags were rolled back, and stay until its inputs change, or until `rebuild resume`.
    RolledBack {
        run: String,
        #[serde(serialize_with = "moment::whole", deserialize_with = "of_text")]
        at: Timestamp,
    },
    /// Its refresh is due, and no updates of packages that it added are available.
    NothingNewer,
    /// Every tag points at the image of the present inputs.
    UpToDate,
}

/// In the syntax of the file: `1d`, `12h`, `1h30m`.
fn span(duration: Duration) -> String {
    let mut left = duration.as_secs();
    let mut text = String::new();
    for (unit, seconds) in [("d", 86_400), ("h", 3600), ("m", 60), ("s", 1)] {
        if left >= seconds {
            _ = write!(text, "{}{unit}", left / seconds);
            left %= seconds;
        }
    }
    text
}

fn seconds<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u64(duration.as_secs())
}

fn of_seconds<'de, D: Deserializer<'de>>(from: D) -> Result<Duration, D::Error> {
    u64::deserialize(from).map(Duration::from_secs)
}

fn of_text<'de, D: Deserializer<'de>>(from: D) -> Result<Timestamp, D::Error> {
    String::deserialize(from)?.parse().map_err(D::Error::custom)
}

/// What a request hides: a change. The builds of parents have reasons of their own.
fn cause_of(besides: Option<&Reason>) -> Option<&Reason> {
    let is_change = |reason: &&Reason| {
        !matches!(reason, Reason::ParentRebuilt { .. }) && !reason.is_unpublished()
    };
    besides.filter(is_change)
}

/// A kind of input of one node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Change {
    Dockerfile,
    Context,
    Settings,
    Tests,
    Platform,
    Upstreams,
    /// Any field of its entry in the file.
    Entry,
}

/// One changed file or setting.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ChangedPart {
    pub what: Change,
    #[serde(rename = "is")]
    pub difference: ListingDifference,
    /// A path in the context, `build_args.NAME`, `labels.NAME`, `secrets.ID`, `target`,
    /// `prepare`, `ssh`. Of checks: `tests`, `gates`, `max_size`, and inherited ones: `tests.IMAGE`, `gates.IMAGE`.
    pub name: String,
}

impl ChangedPart {
    /// The image that an inherited test or gate comes from.
    fn origin(&self) -> Option<&str> {
        match self.what {
            Change::Tests => self.name.split_once('.').map(|(_, image)| image),
            _ => None,
        }
    }

    /// The subject of a sentence for inherited tests or gates: it names their image.
    pub(super) fn inherited(&self) -> Option<String> {
        let image = self.origin()?;
        let (kind, _) = self.name.split_once('.')?;
        Some(format!("the {kind} of `{image}`"))
    }
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Dockerfile => "its Dockerfile",
            Self::Context => "its build context",
            Self::Settings => "its settings in the hierarchy",
            Self::Tests => "its checks (own or inherited tests, gates, size limit)",
            Self::Platform => "its platform",
            Self::Upstreams => "its list of upstream images",
            Self::Entry => "its entry in hierarchy.yaml",
        })
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Requested { besides } => match cause_of(besides.as_deref()) {
                Some(cause) => write!(f, "{cause} (and requested)"),
                None => f.write_str("requested"),
            },
            Self::NeverBuilt => f.write_str("never built"),
            Self::NotInEngine => f.write_str("not in the local engine yet"),
            Self::TagsDeleted { run } => {
                write!(f, "its tags were deleted after run {run} published it")
            }
            Self::Changed { what, parts } => f.write_str(&sentence(what, parts, None)),
            Self::ChangedSince { since, what, parts } => {
                write!(f, "{} since `{since}`", sentence(what, parts, None))
            }
            Self::Refresh { besides } => match cause_of(besides.as_deref()) {
                Some(cause) => write!(f, "{cause} (and a refresh was requested)"),
                None => f.write_str("a refresh was requested"),
            },
            Self::RefreshDue { every, last } => {
                write!(f, "its refresh is due: every {}, last {last:.0}", span(*every))
            }
            Self::ScheduleDue { at, last } => {
                write!(f, "its schedule was due at {at:.0}, last {last:.0}")
            }
            Self::UpdatesAvailable { updates } => {
                let verb = if updates.len() == 1 { "is" } else { "are" };
                write!(f, "{} {verb} available", PackageUpdate::several(updates))
            }
            Self::NothingNewer => f.write_str("up to date, and so are its packages"),
            Self::UpstreamMoved { upstream, was, now } => {
                write!(f, "`{upstream}` moved from {} to {}", was.short(), now.short())
            }
            Self::UpstreamMissing { why, .. } => f.write_str(why),
            Self::ParentRebuilt { parent, .. } => {
                write!(f, "`{parent}` is rebuilt")?;
                self.own_tests().map_or(Ok(()), |tests| write!(f, ", and {tests}"))
            }
            Self::ParentUnchanged { parent } => write!(f, "`{parent}` is unchanged"),
            Self::ParentMoved { parent, .. } => {
                write!(f, "it is based on another `{parent}`")?;
                self.own_tests().map_or(Ok(()), |tests| write!(f, ", and {tests}"))
            }
            Self::Unknown => f.write_str("what it was built from is not known"),
            Self::NewFormat => f.write_str("new fingerprint format"),
            Self::BuildTagGone => f.write_str("its build tag is missing"),
            Self::TagsBehind { tags, missing, foreign } => {
                let others: Vec<&Tag> = tags
                    .iter()
                    .filter(|tag| !missing.contains(tag) && !foreign.contains(tag))
                    .collect();
                let list = |tags: &[&Tag]| {
                    // One more name is as short as "1 more".
                    let most = if tags.len() <= NAMED_TAGS + 1 { tags.len() } else { NAMED_TAGS };
                    let names: Vec<String> =
                        tags[..most].iter().map(|tag| format!("`{tag}`")).collect();
                    match tags.len() - most {
                        0 => names.join(", "),
                        more => format!("{} and {more} more", names.join(", ")),
                    }
                };
                let (missing, foreign) = (Vec::from_iter(missing), Vec::from_iter(foreign));
                let clause = |tags: &[&Tag], one: &str, several: &str| {
                    let text = if tags.len() == 1 { one } else { several };
                    (!tags.is_empty()).then(|| text.replace("TAGS", &list(tags)))
                };
                let clauses = [
                    clause(&others, "built, not promoted to TAGS", "built, not promoted to TAGS"),
                    clause(
                        &foreign,
                        "TAGS points at an image that was not built for it",
                        "TAGS point at an image that was not built for it",
                    ),
                    clause(&missing, "its tag TAGS does not exist", "its tags TAGS do not exist"),
                ];
                let clauses: Vec<String> = clauses.into_iter().flatten().collect();
                f.write_str(&clauses.join("; "))
            }
            Self::RolledBack { run, .. } => write!(f, "rolled back by run {run}"),
            Self::UpToDate => f.write_str("up to date"),
        }
    }
}

impl Reason {
    /// Whether it holds regardless of the parents.
    pub(super) fn is_its_own(&self) -> bool {
        matches!(
            self,
            Self::NeverBuilt
                | Self::NotInEngine
                | Self::TagsDeleted { .. }
                | Self::Changed { .. }
                | Self::UpstreamMoved { .. }
                | Self::UpstreamMissing { .. }
                | Self::RefreshDue { .. }
                | Self::ScheduleDue { .. }
                | Self::UpdatesAvailable { .. }
        )
    }

    /// Whether none of its tags exists.
    pub fn is_unpublished(&self) -> bool {
        matches!(self, Self::NeverBuilt | Self::NotInEngine | Self::TagsDeleted { .. })
    }

    /// Whether nothing but tests, gates and limits changed.
    pub fn is_of_tests(&self) -> bool {
        matches!(self, Self::Changed { what, .. } if *what == [Change::Tests])
    }

    /// The change of tests, gates and limits of its own, beside another parent or alone.
    pub(super) fn own_tests(&self) -> Option<&Self> {
        match self {
            Self::Changed { what, parts } if *what == [Change::Tests] => {
                parts.iter().any(|part| part.origin().is_none()).then_some(self)
            }
            Self::ParentRebuilt { besides, .. } | Self::ParentMoved { besides, .. } => {
                besides.as_ref()?.own_tests()
            }
            _ => None,
        }
    }

    /// The only ancestor whose tests or gates changed, if nothing else did, and the reason as one of that ancestor.
    pub(super) fn at_origin(&self) -> Option<(&str, Self)> {
        let Self::Changed { what, parts } = self else { return None };
        let origin = parts.first()?.origin()?;
        let is_only =
            *what == [Change::Tests] && parts.iter().all(|part| part.origin() == Some(origin));
        let own = |part: &ChangedPart| {
            let kind = part.name.split_once('.').map_or(&*part.name, |(kind, _)| kind);
            ChangedPart { name: kind.to_owned(), ..part.clone() }
        };
        let parts = parts.iter().map(own).collect();
        is_only.then(|| (origin, Self::Changed { what: what.clone(), parts }))
    }

    /// The sentence with the name of the node: `` `files/x` of `os-base` changed ``.
    pub fn of(&self, node: &NodeName) -> String {
        match self {
            Self::Requested { besides } => match cause_of(besides.as_deref()) {
                Some(cause) => format!("{} (and requested)", cause.of(node)),
                None => format!("`{node}` was requested"),
            },
            Self::NeverBuilt => format!("`{node}` was never built"),
            Self::NotInEngine => format!("`{node}` is not in the local engine yet"),
            Self::TagsDeleted { run } => {
                format!("the tags of `{node}` were deleted after run {run} published it")
            }
            Self::Changed { what, parts } => sentence(what, parts, Some(node)),
            Self::ChangedSince { since, what, parts } => {
                format!("{} since `{since}`", sentence(what, parts, Some(node)))
            }
            Self::Refresh { besides } => match cause_of(besides.as_deref()) {
                Some(cause) => format!("{} (and a refresh was requested)", cause.of(node)),
                None => format!("a refresh of `{node}` was requested"),
            },
            Self::RefreshDue { every, last } => {
                format!("the refresh of `{node}` was due: every {}, last {last:.0}", span(*every))
            }
            Self::ScheduleDue { at, last } => {
                format!("the schedule of `{node}` was due at {at:.0}, last {last:.0}")
            }
            Self::UpdatesAvailable { updates } => {
                let verb = if updates.len() == 1 { "was" } else { "were" };
                format!("{} {verb} available for `{node}`", PackageUpdate::several(updates))
            }
            Self::NothingNewer => format!("`{node}` is up to date, and so are its packages"),
            Self::UpstreamMoved { .. } => format!("{self} below `{node}`"),
            Self::UpstreamMissing { .. } => format!("{self}, and `{node}` needs it"),
            Self::ParentMoved { parent, .. } => format!("`{node}` is based on another `{parent}`"),
            Self::Unknown => format!("what `{node}` was built from is not known"),
            Self::NewFormat => format!("new fingerprint format of `{node}`"),
            Self::BuildTagGone => format!("the build tag of `{node}` is missing"),
            Self::UpToDate => format!("`{node}` is up to date"),
            other => format!("`{node}`: {other}"),
        }
    }
}
