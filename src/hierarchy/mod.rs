//! The hierarchy: which images there are, and which is built from which.
//!
//! **Invariant:** a [`Hierarchy`] is acyclic and every parent it names exists.
//! **Invariant:** nothing outside this module knows that it is a `petgraph` graph, or that the
//! file is YAML.

mod budget;
mod attestations;
mod build_fields;
mod layer_cache;
mod checkouts;
pub mod calendar;
mod channels;
mod draft;
mod edges;
mod engines;
mod entry;
mod env_file;
mod field_table;
mod fields;
mod files;
mod find;
mod gates;
mod graph;
mod groups;
mod ignore;
mod json_schema;
mod lints;
mod load;
mod matrix;
mod mirror;
mod name_match;
mod named_contexts;
mod node;
mod outline;
mod overrides;
mod pinned;
mod platform_edges;
mod platform_files;
mod platforms;
mod step_places;
mod prepare;
mod runners;
mod schema;
mod secrets;
mod submodules;
mod template;
mod triggers;
mod trust;
mod units;
mod validate;
mod variables;
mod yaml;

#[cfg(test)]
mod test_hierarchy;
#[cfg(test)]
mod tests;

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use petgraph::{
    Direction,
    graph::{DiGraph, NodeIndex},
    visit::{Bfs, Reversed, Walker as _},
};

use self::checkouts::Checkouts;
#[cfg(test)]
pub(crate) use self::field_table::tests::FieldSample;
pub use self::node::{
    Base, BaseUse, Check, Dockerfile, Flatten, Node, NodeName, OnFailure, Refresh, Test,
    command_line,
};
#[cfg(test)]
pub(crate) use self::test_hierarchy::test_hierarchy;
pub use self::{
    attestations::{Attestations, Provenance, Sbom},
    budget::{Budget, GrowthLimit, OnExcess},
    build_fields::{BuildNetwork, BuildSettings, HOST_GATEWAY, Ulimit},
    channels::{GitlabTrigger, Notify, RepositoryDispatch},
    engines::EngineEntry,
    entry::{Entry, entries},
    find::Foreign,
    gates::Gate,
    graph::GraphError,
    ignore::ignored_by_init,
    json_schema::json_schema,
    layer_cache::{CacheKind, CachePlace, CachePlaces},
    lints::copies::path_in_context,
    load::{CheckedHierarchy, LoadError, LoadOptions, Loaded, this_machine},
    mirror::Mirror,
    name_match::NamingError,
    named_contexts::{GitAddress, NamedContext},
    outline::{AxisLines, ImageSection, MatrixText, Outline, OutlineError, OutlineImage, outline},
    overrides::{BuildArgOverride, FieldOverride, Overrides},
    runners::{Runners, check_label},
    secrets::{SecretSource, Ssh, looks_secret},
    step_places::StepPlace,
    template::{TagContent, TagContents, TagTemplate, TagValues, TemplateError},
    trust::Trust,
    units::{bytes, duration},
    variables::Environment,
    yaml::value,
};
use crate::{
    check::nearest,
    image::{Platform, Repository},
};

/// Every image we build, each pointing at those built from it.
#[derive(Debug)]
pub struct Hierarchy {
    /// The file it was read from, absolute.
    pub file: PathBuf,
    /// Where images are published; without it they live in the engine only.
    pub registry: Option<Repository>,
    /// Where copies of upstreams are.
    pub mirror: Option<Mirror>,
    /// Which runners of a CI system build for which platform.
    pub runners: Runners,
    /// Who hears of a run that is over.
    pub notify: Option<Notify>,
    /// The file of values for `${NAME}`, absolute.
    pub env_file: Option<PathBuf>,
    /// The engines of the pool; none: the one that docker would use.
    pub engines: Vec<EngineEntry>,
    /// The platform of images that name none, and of `$BUILDPLATFORM`.
    pub platform: Platform,
    /// Where contexts from git repositories are.
    #[expect(dead_code, reason = "the folders are removed with it")]
    checkouts: Checkouts,
    graph: DiGraph<Node, ()>,
    index: BTreeMap<NodeName, NodeIndex>,
    order: Vec<NodeIndex>,
}

impl Hierarchy {
    /// The folder of the file; every path in the file is relative to it.
    pub fn root(&self) -> &Path {
        self.file.parent().unwrap_or(Path::new("/"))
    }

    pub fn len(&self) -> usize {
        self.order.len()
    }

    /// How many images it has. One with several platforms has a node for each.
    pub fn images(&self) -> usize {
        NodeName::images(self.index.keys())
    }

    pub fn is_empty(&self) -> bool {
        self.order.is_empty()
    }

    pub fn get(&self, name: &NodeName) -> Option<&Node> {
        self.index.get(name).map(|&index| &self.graph[index])
    }

    /// The node whose name is nearest to this one, if it is near enough to have been meant.
    pub fn nearest(&self, name: &str) -> Option<&NodeName> {
        let near = nearest(name, self.index.keys().map(NodeName::as_str))?;
        self.index.get_key_value(near).map(|(name, _)| name)
    }

    /// Every node, parents before children; where the graph leaves a choice, as in the file.
    pub fn in_build_order(&self) -> impl DoubleEndedIterator<Item = &Node> {
        self.order.iter().map(|&index| &self.graph[index])
    }

    /// The nodes this one is built from, in order of name, each once.
    pub fn parents(&self, name: &NodeName) -> impl Iterator<Item = &Node> {
        self.beside(name, Direction::Incoming)
    }

    /// The nodes built directly from this one, in order of name, each once.
    pub fn children(&self, name: &NodeName) -> impl Iterator<Item = &Node> {
        self.beside(name, Direction::Outgoing)
    }

    /// The nodes built from this one, directly or not, without itself.
    pub fn descendants(&self, name: &NodeName) -> impl Iterator<Item = &Node> {
        let start = self.index[name];
        Bfs::new(&self.graph, start)
            .iter(&self.graph)
            .filter(move |&index| index != start)
            .map(|index| &self.graph[index])
    }

    /// The nodes this one is built from, directly or not, without itself.
    pub fn ancestors(&self, name: &NodeName) -> impl Iterator<Item = &Node> {
        let start = self.index[name];
        let reversed = Reversed(&self.graph);
        Bfs::new(reversed, start)
            .iter(reversed)
            .filter(move |&index| index != start)
            .map(|index| &self.graph[index])
    }

    /// The node that this one's last stage is `FROM`, if it is one of ours.
    pub fn base(&self, node: &Node) -> Option<&Node> {
        let last = node.dockerfile.uses.iter().find(|used| used.is_final)?;
        match &last.base {
            Base::Node(name) => self.get(name),
            Base::Upstream(_) | Base::Files(_) => None,
        }
    }

    /// The files of the context that a node's `prepare` command names: as they are named, and where
    /// they are, both relative to the context. `Err` is a path that leads out of it by now.
    pub fn prepare_files(&self, node: &Node) -> Result<Vec<(PathBuf, PathBuf)>, PathBuf> {
        let words = node.prepare.iter().flatten();
        let files = words.map(|word| {
            let file = prepare::file(word, &node.context, self.root());
            let named = || Path::new(word).components().collect();
            file.map(|file| file.map(|real| (named(), real))).map_err(|_| node.context.join(word))
        });
        files.filter_map(Result::transpose).collect()
    }

    /// Where the file of a secret is.
    pub fn secret_path(&self, file: &Path) -> PathBuf {
        self.root().join(file)
    }

    /// The tests a candidate must pass: those that the images it is `FROM` hand down, eldest
    /// first, then its own. What is only copied from an image does not make it that image.
    pub fn tests(&self, name: &NodeName) -> impl Iterator<Item = &Test> {
        self.tests_with_origin(name).map(|(_, test)| test)
    }

    /// The same, each with the node whose entry has it.
    pub fn tests_with_origin(&self, name: &NodeName) -> impl Iterator<Item = (&Node, &Test)> {
        let line = self.line(name);
        line.into_iter().flat_map(move |node| {
            let tests = node.tests.iter().filter(move |test| test.inherit || node.name == *name);
            tests.map(move |test| (node, test))
        })
    }

    /// The gates that a candidate must pass: those that the images it is `FROM` hand down, eldest first, then its
    /// own.
    pub fn gates(&self, name: &NodeName) -> impl Iterator<Item = &Gate> {
        self.gates_with_origin(name).map(|(_, gate)| gate)
    }

    /// The same, each with the node whose entry has it.
    pub fn gates_with_origin(&self, name: &NodeName) -> impl Iterator<Item = (&Node, &Gate)> {
        let line = self.line(name);
        line.into_iter().flat_map(move |node| {
            let gates = node.gates.iter().filter(move |gate| gate.inherit || node.name == *name);
            gates.map(move |gate| (node, gate))
        })
    }

    /// The patterns of paths that a candidate may have otherwise and still count as the same: its
    /// own, and those of the images it is `FROM`.
    pub fn volatile(&self, name: &NodeName) -> Vec<String> {
        self.line(name).into_iter().flat_map(|node| node.volatile.iter().cloned()).collect()
    }

    /// The node and the nodes that it is `FROM`, the eldest first.
    fn line(&self, name: &NodeName) -> Vec<&Node> {
        let mut line: Vec<&Node> =
            std::iter::successors(self.get(name), |node| self.base(node)).collect();
        line.reverse();
        line
    }

    fn beside(&self, name: &NodeName, direction: Direction) -> impl Iterator<Item = &Node> {
        let mut nodes: Vec<&Node> = self
            .graph
            .neighbors_directed(self.index[name], direction)
            .map(|index| &self.graph[index])
            .collect();
        nodes.sort_by(|a, b| a.name.cmp(&b.name));
        nodes.into_iter()
    }
}
