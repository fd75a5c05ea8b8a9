//! The hierarchy as a tree of lines.

use std::{collections::BTreeSet, fmt::Write as _};

use crate::{
    hierarchy::{Base, Hierarchy, Node, TagTemplate},
    image::Reference,
};

/// Longer trees are cut.
const LINES: usize = 60;

/// Each image below the one that it is built from; what stands on several is below its base.
pub fn tree(hierarchy: &Hierarchy) -> String {
    let mut rows = Vec::new();
    let mut shown = BTreeSet::new();
    for node in hierarchy.in_build_order() {
        if above(hierarchy, node).is_none() {
            add(hierarchy, node, &mut rows, &mut shown);
        }
    }
    let width = |(depth, name, _): &(usize, String, String)| depth * 2 + name.chars().count();
    let widest = rows.iter().take(LINES).map(width).max().unwrap_or(0);
    let mut text = String::new();
    for (depth, name, rest) in rows.iter().take(LINES) {
        let line = format!(
            "{:indent$}{name:<rest_width$}  {rest}",
            "",
            indent = depth * 2,
            rest_width = widest - depth * 2
        );
        _ = writeln!(text, "{}", line.trim_end());
    }
    if rows.len() > LINES {
        _ = writeln!(text, "… and {} more: `rebuild tree` shows all", rows.len() - LINES);
    }
    text
}

fn add(
    hierarchy: &Hierarchy,
    root: &Node,
    rows: &mut Vec<(usize, String, String)>,
    shown: &mut BTreeSet<String>,
) {
    let mut open = vec![(root, 0)];
    while let Some((node, depth)) = open.pop() {
        if !shown.insert(node.name.to_string()) {
            continue;
        }
        rows.push((depth, node.name.to_string(), rest(hierarchy, node)));
        let below = hierarchy
            .children(&node.name)
            .filter(|child| above(hierarchy, child).is_some_and(|parent| parent.name == node.name));
        let below: Vec<&Node> = below.collect();
        open.extend(below.into_iter().rev().map(|child| (child, depth + 1)));
    }
}

/// Where a node hangs: at its base, else at the first image that it takes something from.
fn above<'h>(hierarchy: &'h Hierarchy, node: &Node) -> Option<&'h Node> {
    hierarchy.base(node).or_else(|| hierarchy.parents(&node.name).next())
}

/// One spelling for each image: `debian:latest` for `docker.io/library/debian`.
pub(super) fn usual(reference: &Reference) -> String {
    let text = reference.repository.as_str();
    let short = if reference.repository.host() == "docker.io" {
        let path = reference.repository.path();
        path.strip_prefix("library/").map_or(path.clone(), str::to_owned)
    } else {
        text.to_owned()
    };
    match reference.tag_or_latest() {
        Some(tag) => format!("{short}:{tag}"),
        None => short,
    }
}

/// Tags, what it stands on from outside, and other parents.
fn rest(hierarchy: &Hierarchy, node: &Node) -> String {
    let tags: Vec<&str> = node.tags.iter().map(TagTemplate::as_str).collect();
    let mut rest = format!("{}:{}", node.repository, tags.join(","));
    let mut others: Vec<String> = Vec::new();
    let hangs = above(hierarchy, node).map(|parent| &parent.name);
    for one in &node.dockerfile.uses {
        let other = match &one.base {
            Base::Upstream(one) => usual(one),
            Base::Node(name) if Some(name) != hangs => name.to_string(),
            Base::Node(_) => continue,
        };
        if !others.contains(&other) {
            others.push(other);
        }
    }
    if !others.is_empty() {
        _ = write!(rest, "  on {}", others.join(", "));
    }
    rest
}
