//! Why the last run on this machine did not publish an image.
//!
//! **Invariant:** it decides nothing: `status` and `why` print it, `log` and `shell` use it. A missing or
//! damaged file counts as empty.

use std::{collections::BTreeMap, path::PathBuf};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{
    event::{Outcome, Promotion, StepFailure, StepSummary, StopReason, Summary},
    hierarchy::{NodeName, OnFailure},
    host::moment,
    image::{Reference, Tagged},
};

/// The last failures of one hierarchy.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failures {
    nodes: BTreeMap<NodeName, LastFailure>,
}

/// What happened to an image in the last run that did not publish it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LastFailure {
    pub run: String,
    #[serde(serialize_with = "moment::whole")]
    pub at: Timestamp,
    pub setback: Setback,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "result")]
pub enum Setback {
    /// Its build or one of its tests failed.
    Failed {
        /// `test 1 of 2, `cat /page`: exit code 1`.
        message: String,
        log: Option<PathBuf>,
        /// The name in the engine of the image whose test failed.
        #[serde(skip_serializing_if = "Option::is_none")]
        image: Option<String>,
    },
    /// The failure of another image held it back.
    Blocked {
        by: NodeName,
        /// Further failed images, each of which held it back.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        others: Vec<NodeName>,
    },
    /// Every image was ready, and the tags could not move.
    NotPromoted { message: String },
    /// The run stopped before the promotion: because of another image's failure, if `by` names one.
    Cancelled { by: Option<NodeName>, stopped: Option<StopReason> },
}

impl Failures {
    /// Parses the bytes of [`kept`](Self::kept).
    pub fn read(kept: &[u8]) -> Self {
        serde_json::from_slice(kept).unwrap_or_default()
    }

    /// The bytes to store for the next run.
    pub fn kept(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("plain data is always JSON")
    }

    pub fn of(&self, node: &NodeName) -> Option<&LastFailure> {
        self.nodes.get(node)
    }

    /// Adds the result of a run. Returns images of earlier failures, which are no longer needed.
    pub fn update(&mut self, summary: &Summary, at: Timestamp) -> Vec<Tagged> {
        let mut gone = Vec::new();
        for step in &summary.steps {
            let setback = match &step.outcome {
                // Its own failure in an earlier run says more.
                Outcome::Cancelled if self.has_failed(&step.node) => continue,
                Outcome::Cancelled => {
                    let (by, stopped) = (blocking(summary).next(), summary.stopped);
                    Some(Setback::Cancelled { by, stopped })
                }
                Outcome::Failed(failure) => Some(failed(failure)),
                Outcome::Skipped { failed } => blocked(failed.clone()),
                Outcome::Kept { .. } | Outcome::Held { .. } => None,
                _ => held_back(summary, &step.node),
            };
            let before = match setback {
                Some(setback) => {
                    let failure = LastFailure { run: summary.run.clone(), at, setback };
                    self.nodes.insert(step.node.clone(), failure)
                }
                None => self.nodes.remove(&step.node),
            };
            gone.extend(before.and_then(|before| before.setback.image()));
        }
        gone
    }

    fn has_failed(&self, node: &NodeName) -> bool {
        self.of(node).is_some_and(LastFailure::is_own)
    }
}

impl LastFailure {
    /// Whether the image itself failed.
    pub fn is_own(&self) -> bool {
        matches!(self.setback, Setback::Failed { .. })
    }
}

impl Setback {
    /// The image whose test failed.
    pub fn image(&self) -> Option<Tagged> {
        match self {
            Self::Failed { image, .. } => {
                let Reference { repository, tag, .. } = image.as_ref()?.parse().ok()?;
                Some(repository.tagged(tag?))
            }
            Self::Blocked { .. } | Self::NotPromoted { .. } | Self::Cancelled { .. } => None,
        }
    }
}

fn failed(failure: &StepFailure) -> Setback {
    Setback::Failed {
        message: first_line(&failure.message),
        log: failure.log.clone(),
        image: failure.kept.as_ref().map(ToString::to_string),
    }
}

fn first_line(text: &str) -> String {
    text.lines().find(|line| !line.trim().is_empty()).unwrap_or_default().to_owned()
}

fn blocked(by: Vec<NodeName>) -> Option<Setback> {
    let mut by = by.into_iter();
    Some(Setback::Blocked { by: by.next()?, others: by.collect() })
}

/// What keeps a successful image from being published.
fn held_back(summary: &Summary, node: &NodeName) -> Option<Setback> {
    match &summary.promotion {
        Promotion::Done { held, .. } => blocked(held.get(node).cloned().into_iter().collect()),
        Promotion::Withheld => blocked(blocking(summary).collect()).or_else(|| {
            summary.stopped.map(|reason| Setback::Cancelled { by: None, stopped: Some(reason) })
        }),
        Promotion::Incomplete { why, .. } => {
            Some(Setback::NotPromoted { message: first_line(why) })
        }
        Promotion::Nothing | Promotion::NotAsked(_) | Promotion::Staged => None,
    }
}

/// The images whose failures keep the run from publishing.
fn blocking(summary: &Summary) -> impl Iterator<Item = NodeName> {
    let blocks = |step: &&StepSummary| matches!(&step.outcome, Outcome::Failed(failure) if failure.on_failure == OnFailure::Block);
    summary.steps.iter().filter(blocks).map(|step| step.node.clone())
}
