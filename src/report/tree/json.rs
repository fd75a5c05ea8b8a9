//! For programs: see `docs/tree.md`.

use std::io::{self, Write};

use serde::Serialize;

use super::TreeView;
use crate::{
    hierarchy::{Base, NodeName},
    plan::ImageState,
    report::{
        drawing::{Link, bases_of},
        json::whole_seconds,
        plan::VERSION,
    },
};

#[derive(Serialize)]
struct TreeDocument<'a> {
    v: u32,
    /// Whether it was asked how the images stand.
    asked: bool,
    nodes: Vec<TreeNodeView<'a>>,
}

#[derive(Serialize)]
struct TreeNodeView<'a> {
    node: &'a NodeName,
    parents: Vec<&'a NodeName>,
    upstreams: Vec<String>,
    /// The node or the upstream that it is `FROM`; `null` for `scratch`.
    base: Option<String>,
    children: Vec<&'a NodeName>,
    state: Option<ImageState>,
    since: Option<String>,
    size: Option<u64>,
}

/// Writes one JSON object, images in build order. Parents and children that are not shown are named.
pub fn json(view: TreeView<'_>, out: &mut dyn Write) -> io::Result<()> {
    let nodes = view.hierarchy.in_build_order().filter(|node| view.shown.contains(&node.name));
    let nodes = nodes.map(|node| {
        let bases = bases_of(node);
        let upstream = |(base, _): &(&Base, Link)| match base {
            Base::Upstream(reference) => Some(reference.to_string()),
            Base::Node(_) | Base::Files(_) => None,
        };
        let base = bases.iter().find(|(_, link)| *link == Link::Base).map(|(base, _)| match base {
            Base::Node(name) => name.to_string(),
            Base::Upstream(reference) => reference.to_string(),
            Base::Files(name) => name.clone(),
        });
        let standing = view.standings.and_then(|standings| standings.get(&node.name));
        TreeNodeView {
            node: &node.name,
            parents: view.hierarchy.parents(&node.name).map(|parent| &parent.name).collect(),
            upstreams: bases.iter().filter_map(upstream).collect(),
            base,
            children: view.hierarchy.children(&node.name).map(|child| &child.name).collect(),
            state: standing.map(|standing| standing.state),
            since: standing.and_then(|standing| Some(whole_seconds(standing.since?))),
            size: standing.and_then(|standing| standing.size),
        }
    });
    let document =
        TreeDocument { v: VERSION, asked: view.standings.is_some(), nodes: nodes.collect() };
    crate::report::json::write(&document, out)
}
