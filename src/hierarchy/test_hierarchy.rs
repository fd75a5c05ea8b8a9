//! Hierarchies for the tests of other modules, written as lines.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
    time::Duration,
};

use super::{
    Base, BaseUse, Budget, BuildSettings, Dockerfile, Flatten, Hierarchy, Node, NodeName,
    OnFailure, Refresh, Ssh,
};
use crate::dockerfile::Instruction;

/// A node a line, its parents behind `<`: `app < lib os`. Nothing of it is on disk.
pub(crate) fn test_hierarchy(lines: &str) -> Hierarchy {
    let nodes = lines.lines().filter(|line| !line.trim().is_empty()).map(node).collect();
    Hierarchy::from_nodes(PathBuf::from("/test/hierarchy.yaml"), None, nodes).unwrap()
}

fn node(line: &str) -> Node {
    let (name, parents) = line.split_once('<').unwrap_or((line, ""));
    let name = name.trim();
    let context = PathBuf::from("/test/images").join(name);
    Node {
        name: name.into(),
        repository: name.parse().unwrap(),
        tags: vec!["latest".parse().unwrap()],
        dockerfile: dockerfile(context.join("Dockerfile"), parents),
        context,
        target: None,
        platform: None,
        is_optional_platform: false,
        other_platforms_files: Vec::new(),
        build_args: BTreeMap::new(),
        labels: BTreeMap::new(),
        settings: BuildSettings::default(),
        secrets: BTreeMap::new(),
        optional_secrets: BTreeSet::new(),
        contexts: BTreeMap::new(),
        ssh: Ssh::None,
        prepare: None,
        tests: Vec::new(),
        gates: Vec::new(),
        sign: None,
        destinations: Vec::new(),
        on_failure: OnFailure::Block,
        timeout: Duration::from_secs(3600),
        retries: 0,
        keep: super::load::KEPT,
        file_labels: true,
        budget: Budget::default(),
        flatten: Flatten::No,
        refresh: Refresh::default(),
        schedule: None,
        volatile: Vec::new(),
    }
}

/// `FROM` the first parent, `COPY --from` each other.
fn dockerfile(path: PathBuf, parents: &str) -> Dockerfile {
    let (mut text, mut uses) = (String::new(), Vec::new());
    for (index, parent) in parents.split_whitespace().enumerate() {
        text.push_str(if index == 0 { "FROM " } else { "COPY --from=" });
        let span = text.len()..text.len() + parent.len();
        let base = Base::Node(NodeName::from(parent));
        uses.push(BaseUse {
            span,
            line: index + 1,
            base,
            stage: 0,
            is_final: index == 0,
            on_build: None,
            platform: None,
        });
        text.push_str(parent);
        text.push_str(if index == 0 { "\n" } else { " / /\n" });
    }
    if uses.is_empty() {
        text.push_str("FROM scratch\n");
    }
    let instructions =
        text.lines().enumerate().map(|(index, line)| Instruction::new(index + 1, line)).collect();
    Dockerfile { path, text, uses, instructions }
}
