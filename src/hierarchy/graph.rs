//! From nodes to the graph: edges, and the one order in which everything is built.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet, BinaryHeap, HashSet, VecDeque},
    path::PathBuf,
};

use petgraph::{
    Direction, algo,
    graph::{DiGraph, NodeIndex},
};

use super::{Hierarchy, Node, NodeName, checkouts::Checkouts, this_machine};
use crate::image::Repository;

/// Why nodes do not make a hierarchy.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum GraphError {
    #[error("there are two nodes named `{0}`")]
    Twice(NodeName),
    #[error("`{child}` is built from `{parent}`, which is no node")]
    UnknownParent { child: NodeName, parent: NodeName },
    #[error("{}", ring_text(.0))]
    Ring(Vec<NodeName>),
}

impl Hierarchy {
    /// The nodes in the order of the file. The edges are what their Dockerfiles name.
    pub fn from_nodes(
        file: PathBuf,
        registry: Option<Repository>,
        nodes: Vec<Node>,
    ) -> Result<Self, GraphError> {
        let mut graph = DiGraph::new();
        let mut index = BTreeMap::new();
        for node in nodes {
            let name = node.name.clone();
            if index.insert(name.clone(), graph.add_node(node)).is_some() {
                return Err(GraphError::Twice(name));
            }
        }
        for child in graph.node_indices() {
            let mut parents = BTreeSet::new();
            for parent in graph[child].parent_names() {
                let error = || GraphError::UnknownParent {
                    child: graph[child].name.clone(),
                    parent: parent.clone(),
                };
                parents.insert(*index.get(parent).ok_or_else(error)?);
            }
            for parent in parents {
                graph.add_edge(parent, child, ());
            }
        }
        if let Some(ring) = rings(&graph).into_iter().next() {
            let names = ring.into_iter().map(|index| graph[index].name.clone()).collect();
            return Err(GraphError::Ring(names));
        }
        let order = order(&graph);
        Ok(Self {
            file,
            registry,
            mirror: None,
            runners: super::Runners::new(),
            notify: None,
            env_file: None,
            engines: Vec::new(),
            platform: this_machine(),
            checkouts: Checkouts::default(),
            graph,
            index,
            order,
        })
    }
}

impl Node {
    /// The nodes that its Dockerfile names, as often as it does.
    pub(super) fn parent_names(&self) -> impl Iterator<Item = &NodeName> {
        self.dockerfile.uses.iter().filter_map(|image| image.base.node())
    }
}

/// Parents before children; of those that are ready, the one that stands first in the file.
fn order<N>(graph: &DiGraph<N, ()>) -> Vec<NodeIndex> {
    let parents = |index| graph.neighbors_directed(index, Direction::Incoming).count();
    let mut missing: Vec<usize> = graph.node_indices().map(parents).collect();
    let mut ready: BinaryHeap<Reverse<NodeIndex>> =
        graph.node_indices().filter(|index| missing[index.index()] == 0).map(Reverse).collect();
    let mut order = Vec::with_capacity(missing.len());
    while let Some(Reverse(next)) = ready.pop() {
        order.push(next);
        for child in graph.neighbors(next) {
            missing[child.index()] -= 1;
            if missing[child.index()] == 0 {
                ready.push(Reverse(child));
            }
        }
    }
    order
}

/// For each knot of nodes that are built from each other, a shortest ring in it: each node is
/// followed by one that it is built from, the last by the first. Edges lead from parent to child.
pub(super) fn rings<N>(graph: &DiGraph<N, ()>) -> Vec<Vec<NodeIndex>> {
    let mut rings: Vec<Vec<NodeIndex>> = algo::kosaraju_scc(graph)
        .into_iter()
        .filter_map(|knot| {
            let first = *knot.iter().min()?;
            let is_ring = knot.len() > 1 || graph.contains_edge(first, first);
            is_ring.then(|| shortest_ring(graph, first, &knot.into_iter().collect()))
        })
        .collect();
    rings.sort();
    rings
}

fn shortest_ring<N>(
    graph: &DiGraph<N, ()>,
    first: NodeIndex,
    knot: &HashSet<NodeIndex>,
) -> Vec<NodeIndex> {
    let mut child_of: BTreeMap<NodeIndex, NodeIndex> = BTreeMap::new();
    let mut queue = VecDeque::from([first]);
    while let Some(child) = queue.pop_front() {
        let mut parents: Vec<NodeIndex> = graph
            .neighbors_directed(child, Direction::Incoming)
            .filter(|parent| knot.contains(parent))
            .collect();
        parents.sort();
        for parent in parents {
            if parent == first {
                let mut ring = vec![child];
                while let Some(&before) = child_of.get(&ring[ring.len() - 1]) {
                    ring.push(before);
                }
                ring.reverse();
                return ring;
            }
            if let std::collections::btree_map::Entry::Vacant(entry) = child_of.entry(parent) {
                entry.insert(child);
                queue.push_back(parent);
            }
        }
    }
    unreachable!("a knot leads back to each of its nodes")
}

/// `a` is built from itself: a <- b <- a
pub(super) fn ring_text(ring: &[NodeName]) -> String {
    /// A longer ring is cut in its middle.
    const SHOWN: usize = 12;
    let mut names: Vec<String> = ring.iter().map(ToString::to_string).collect();
    let first = names.first().cloned().unwrap_or_default();
    if names.len() > SHOWN {
        let left_out = names.len() - SHOWN;
        names.splice(SHOWN / 2..SHOWN / 2 + left_out, [format!("({left_out} more)")]);
    }
    names.push(first.clone());
    format!("`{first}` is built from itself: {}", names.join(" <- "))
}

#[cfg(test)]
mod tests {
    use crate::hierarchy::test_hierarchy;

    fn names<'a>(nodes: impl Iterator<Item = &'a crate::hierarchy::Node>) -> String {
        nodes.map(|node| node.name.as_str()).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn parents_first_and_otherwise_as_in_the_file() {
        for (lines, expected) in [
            ("c\nb\na", "c b a"),
            ("z < m\ny\nm < y\nx < y", "y m z x"),
            ("app < lib os\nlib < os\nos\ntool", "os lib app tool"),
            ("", ""),
        ] {
            assert_eq!(names(test_hierarchy(lines).in_build_order()), expected, "{lines}");
        }
    }

    #[test]
    fn relatives() {
        let hierarchy = test_hierarchy("os\nlib < os\napp < lib os\ntool < os\nfar < app");
        assert_eq!(names(hierarchy.parents(&"app".into())), "lib os");
        assert_eq!(names(hierarchy.children(&"os".into())), "app lib tool");
        let mut below: Vec<&str> =
            hierarchy.descendants(&"lib".into()).map(|node| node.name.as_str()).collect();
        below.sort_unstable();
        assert_eq!(below, ["app", "far"]);
        let mut above: Vec<&str> =
            hierarchy.ancestors(&"far".into()).map(|node| node.name.as_str()).collect();
        above.sort_unstable();
        assert_eq!(above, ["app", "lib", "os"]);
        assert_eq!(
            hierarchy.nearest("toool").map(super::super::node::NodeName::as_str),
            Some("tool")
        );
        assert_eq!(hierarchy.nearest("python"), None);
    }
}
