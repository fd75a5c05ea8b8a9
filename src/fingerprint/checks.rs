//! The checks of an image: tests, gates and size limit, as one digest and in parts.

use std::collections::BTreeMap;

use super::encoding;
use crate::{
    hierarchy::{Gate, Hierarchy, Node, Test},
    image::Digest,
};

/// What a candidate of a node must pass.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checks {
    /// The part of the fingerprint.
    pub digest: Digest,
    /// A digest for `max_size` (always), `tests`, `gates`, and inherited ones: `tests.IMAGE`, `gates.IMAGE`. Not part
    /// of the identity.
    pub parts: BTreeMap<String, Digest>,
}

impl Checks {
    /// `files` reads the files that the command of a gate names.
    pub fn of(node: &Node, hierarchy: &Hierarchy, files: impl Fn(&Gate) -> Vec<Digest>) -> Self {
        let size = node.budget.enforced_size();
        let gates = hierarchy.gates_with_origin(&node.name);
        let gates: Vec<_> = gates.map(|(origin, gate)| (origin, gate, files(gate))).collect();
        let digest = encoding::with_gates(
            encoding::tests(size, hierarchy.tests(&node.name)),
            gates.iter().map(|(_, gate, files)| (*gate, files.clone())),
        );
        let key = |kind: &str, origin: &Node| match origin.name.image() {
            _ if origin.name == node.name => kind.to_owned(),
            image => format!("{kind}.{image}"),
        };
        let mut tests_of: BTreeMap<String, Vec<&Test>> = BTreeMap::new();
        for (origin, test) in hierarchy.tests_with_origin(&node.name) {
            tests_of.entry(key("tests", origin)).or_default().push(test);
        }
        let mut gates_of: BTreeMap<String, Vec<(&Gate, Vec<Digest>)>> = BTreeMap::new();
        for (origin, gate, files) in gates {
            gates_of.entry(key("gates", origin)).or_default().push((gate, files));
        }
        let tests = tests_of
            .into_iter()
            .map(|(key, tests)| (key, encoding::tests(None, tests.into_iter())));
        let gates = gates_of
            .into_iter()
            .map(|(key, gates)| (key, encoding::with_gates(Digest::of(b""), gates.into_iter())));
        let size = ("max_size".to_owned(), encoding::tests(size, std::iter::empty()));
        Self { digest, parts: tests.chain(gates).chain([size]).collect() }
    }
}
