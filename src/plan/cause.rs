//! The root cause: from the reason of a node up to the reasons of the images it is based on.

use std::{
    collections::{BTreeMap, VecDeque},
    fmt,
};

use super::{Action, Plan, Reason};
use crate::hierarchy::NodeName;

/// Why a node is built in the end: the reason of a node at or above it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cause {
    pub node: NodeName,
    /// Never that a parent is rebuilt.
    pub reason: Reason,
    /// From [`node`](Self::node) down to the one that was asked about, both included.
    pub path: Vec<NodeName>,
}

impl Plan {
    /// Every cause of a node's being built, the nearest first. None if it is not built.
    pub fn causes(&self, node: &NodeName) -> Vec<Cause> {
        let steps: BTreeMap<&NodeName, _> = self
            .steps
            .iter()
            .filter(|step| matches!(step.action, Action::Build { .. }))
            .map(|step| (&step.node, step))
            .collect();
        let Some(start) = steps.get(node) else { return vec![] };
        let mut child_of: BTreeMap<&NodeName, &NodeName> = BTreeMap::new();
        let mut queue = VecDeque::from([*start]);
        let mut causes = Vec::new();
        while let Some(step) = queue.pop_front() {
            let reason = match (&step.reason, &step.besides) {
                // That somebody asked is not why it was due.
                (Reason::Requested, Some(besides)) => besides,
                (reason, _) => reason,
            };
            if !matches!(reason, Reason::ParentRebuilt { .. }) {
                let below = |name: &&NodeName| child_of.get(*name).copied();
                let path = std::iter::successors(Some(&step.node), below).cloned().collect();
                causes.push(Cause { node: step.node.clone(), reason: reason.clone(), path });
            }
            for parent in step.after.iter().filter_map(|parent| steps.get(parent)) {
                if parent.node != *node && !child_of.contains_key(&parent.node) {
                    child_of.insert(&parent.node, &step.node);
                    queue.push_back(parent);
                }
            }
        }
        causes
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.reason.of(&self.node))
    }
}
