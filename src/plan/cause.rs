//! Finds root causes: follows the reason of a node to the reasons of its ancestors.

use std::{
    collections::{BTreeMap, VecDeque},
    fmt,
};

use super::{Action, Plan, Reason};
use crate::hierarchy::NodeName;

/// The root cause of a build: the reason of the node or of an ancestor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RootCause {
    pub node: NodeName,
    /// Never `ParentRebuilt`.
    pub reason: Reason,
    /// From [`node`](Self::node) to the requested one, both included.
    pub path: Vec<NodeName>,
}

impl Plan {
    /// Every root cause of a node's build, the nearest first. Empty if it is not built.
    pub fn causes(&self, node: &NodeName) -> Vec<RootCause> {
        let steps: BTreeMap<&NodeName, _> = self
            .steps
            .iter()
            .filter(|step| matches!(step.action, Action::Build { .. }))
            .map(|step| (&step.node, step))
            .collect();
        let Some(start) = steps.get(node) else { return vec![] };
        let mut child_of: BTreeMap<&NodeName, &NodeName> = BTreeMap::new();
        let mut queue = VecDeque::from([*start]);
        let mut causes: Vec<RootCause> = Vec::new();
        // Tests change no image, so they come after what does.
        let mut of_tests = Vec::new();
        while let Some(step) = queue.pop_front() {
            let reason = match &step.reason {
                // A request is not a cause.
                Reason::Requested { besides: Some(besides) } => besides,
                reason => reason,
            };
            let below = |name: &&NodeName| child_of.get(*name).copied();
            let path = || std::iter::successors(Some(&step.node), below).cloned().collect();
            let cause = |reason: &Reason| RootCause {
                node: step.node.clone(),
                reason: reason.clone(),
                path: path(),
            };
            if matches!(reason, Reason::ParentRebuilt { .. } | Reason::ParentMoved { .. }) {
                of_tests.extend(reason.own_tests().map(&cause));
            }
            if !matches!(reason, Reason::ParentRebuilt { .. }) {
                let cause = self.at_origin(cause(reason));
                // Two descendants may inherit the same tests.
                let is_same =
                    |other: &RootCause| other.node == cause.node && other.reason == cause.reason;
                if !causes.iter().any(is_same) {
                    causes.push(cause);
                }
            }
            for parent in step.after.iter().filter_map(|parent| steps.get(parent)) {
                if parent.node != *node && !child_of.contains_key(&parent.node) {
                    child_of.insert(&parent.node, &step.node);
                    queue.push_back(parent);
                }
            }
        }
        causes.extend(of_tests);
        causes
    }

    /// The cause of changed tests is the image whose entry has them.
    fn at_origin(&self, cause: RootCause) -> RootCause {
        let Some((origin, reason)) = cause.reason.at_origin() else { return cause };
        let base = |node: &NodeName| Some(NodeName::from(self.step(node)?.base.as_deref()?));
        let line: Vec<NodeName> = std::iter::successors(Some(cause.node.clone()), base).collect();
        let at = line.iter().position(|node| node.image() == origin);
        // The plan may be of some images only.
        let ancestors = at.map_or_else(|| vec![NodeName::from(origin)], |at| line[1..=at].to_vec());
        let node = ancestors.last().unwrap_or(&cause.node).clone();
        let path = ancestors.into_iter().rev().chain(cause.path).collect();
        RootCause { node, reason, path }
    }
}

impl fmt::Display for RootCause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.reason.of(&self.node))
    }
}
