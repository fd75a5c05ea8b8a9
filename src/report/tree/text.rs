//! For people: each image below the one that it is built from.
//!
//! An image with several parents stands in full below the one that it is `FROM`; below the others it
//! is only named.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::{self, Write},
};

use jiff::Timestamp;

use super::TreeView;
use crate::{
    hierarchy::{Base, Node, NodeName},
    plan::ImageState,
    report::{
        Paint,
        drawing::{DrawnStanding, Link, bases_of},
        numbers::{ago, size},
        sanitize,
        width::{pad, width},
    },
};

struct TreeLine<'a> {
    node: &'a Node,
    /// What stands before the name.
    branch: String,
    /// Where the image stands in full, if not here.
    elsewhere: Option<&'static str>,
}

/// Writes the tree, and a line that counts. A terminal that is too narrow gets no sizes, and then no times.
pub fn text(
    view: TreeView<'_>,
    (now, columns): (Timestamp, Option<usize>),
    (colour, out): (bool, &mut dyn Write),
) -> io::Result<()> {
    let paint = Paint { colour };
    let lines = lines(view);
    let standing = |node: &Node| view.standings.and_then(|standings| standings.get(&node.name));
    let rows: Vec<[String; 4]> = lines
        .iter()
        .map(|line| {
            let name = line.branch.clone() + &sanitize::text(line.node.name.as_str());
            let (state, since, bytes) =
                match standing(line.node).filter(|_| line.elsewhere.is_none()) {
                    Some(DrawnStanding { state, since, size: bytes, .. }) => (
                        state.to_string(),
                        since.map_or(String::new(), |then| ago(then, now)),
                        bytes.map_or(String::new(), size),
                    ),
                    None => Default::default(),
                };
            [name, state, since, bytes]
        })
        .collect();
    let widest = |column: usize| rows.iter().map(|row| width(&row[column])).max().unwrap_or(0);
    let mut widths = [widest(0), widest(1), widest(2), widest(3)];
    let notes_width = lines.iter().map(|line| width(&notes(line, view))).max().unwrap_or(0);
    for optional in [3, 2] {
        let shown = widths.iter().filter(|width| **width > 0);
        let all = shown.map(|width| width + 2).sum::<usize>() + notes_width;
        if columns.is_some_and(|columns| all > columns) {
            widths[optional] = 0;
        }
    }
    for (line, row) in lines.iter().zip(&rows) {
        let mut cells = vec![pad(&row[0], widths[0])];
        if view.standings.is_some() {
            let state = pad(&row[1], widths[1]);
            cells.push(
                match standing(line.node).filter(|_| line.elsewhere.is_none()).map(|it| it.state) {
                    Some(ImageState::Current) => paint.good(state),
                    Some(ImageState::Behind) => paint.active(state),
                    Some(ImageState::NotPromoted | ImageState::Held) => paint.warning(state),
                    Some(ImageState::NeverBuilt | ImageState::Missing) => paint.bad(state),
                    None => state,
                },
            );
            let optional = [2, 3].into_iter().filter(|n| widths[*n] > 0);
            cells.extend(optional.map(|n| pad(&row[n], widths[n])));
        }
        let notes = notes(line, view);
        if !notes.is_empty() {
            cells.push(paint.faint(notes));
        }
        writeln!(out, "{}", cells.join("  ").trim_end())?;
    }
    if !lines.is_empty() {
        writeln!(out)?;
    }
    writeln!(out, "{}", count(view))
}

/// What the place in the tree does not say.
fn notes(line: &TreeLine<'_>, view: TreeView<'_>) -> String {
    if let Some(place) = line.elsewhere {
        return format!("shown {place}");
    }
    let full = full_parent(line.node, view);
    let mut notes: Vec<String> = Vec::new();
    for (base, link) in bases_of(line.node) {
        let named = match base {
            Base::Node(name) if Some(name) == full => continue,
            Base::Node(name) => name.to_string(),
            Base::Upstream(reference) => reference.to_string(),
            Base::Files(name) => format!("the context {name}"),
        };
        let how = if link == Link::Base { "FROM" } else { "takes from" };
        notes.push(format!("{how} {}", sanitize::text(&named)));
    }
    notes.join(", ")
}

/// The parent below which an image stands in full: what it is `FROM`, else the first that is shown.
fn full_parent<'a>(node: &'a Node, view: TreeView<'_>) -> Option<&'a NodeName> {
    let parents = bases_of(node).into_iter().filter_map(|(base, _)| base.node());
    parents.into_iter().find(|name| view.shown.contains(*name))
}

fn lines<'a>(view: TreeView<'a>) -> Vec<TreeLine<'a>> {
    let shown = || view.hierarchy.in_build_order().filter(|node| view.shown.contains(&node.name));
    let mut below: BTreeMap<&NodeName, Vec<(&'a Node, bool)>> = BTreeMap::new();
    let mut roots = Vec::new();
    for node in shown() {
        let full = full_parent(node, view);
        if full.is_none() {
            roots.push(node);
        }
        for parent in bases_of(node).into_iter().filter_map(|(base, _)| base.node()) {
            if view.shown.contains(parent) {
                below.entry(parent).or_default().push((node, Some(parent) == full));
            }
        }
    }
    // No recursion: a chain may be as long as the hierarchy.
    let mut lines = Vec::new();
    let mut full: BTreeSet<&NodeName> = BTreeSet::new();
    let mut stack: Vec<(&Node, bool, String, String)> =
        roots.into_iter().rev().map(|node| (node, true, String::new(), String::new())).collect();
    while let Some((node, is_full, branch, inside)) = stack.pop() {
        let seen = if full.contains(&node.name) { "above" } else { "below" };
        lines.push(TreeLine { node, branch, elsewhere: (!is_full).then_some(seen) });
        if is_full {
            full.insert(&node.name);
        }
        let children = below.get(&node.name).filter(|_| is_full).map_or(&[][..], Vec::as_slice);
        let last = children.len().saturating_sub(1);
        for (n, &(child, is_full)) in children.iter().enumerate().rev() {
            let (turn, rest) = if n == last { ("└─ ", "   ") } else { ("├─ ", "│  ") };
            stack.push((child, is_full, format!("{inside}{turn}"), format!("{inside}{rest}")));
        }
    }
    lines
}

/// `8 images on 2 upstreams`, and how many of them are current.
fn count(view: TreeView<'_>) -> String {
    let all = view.drawing().count();
    let Some(standings) = view.standings.filter(|_| !view.shown.is_empty()) else { return all };
    let is_current =
        |name: &&NodeName| standings.get(*name).is_some_and(|one| one.state == ImageState::Current);
    let shown = NodeName::images(view.shown);
    match shown - NodeName::images(view.shown.iter().filter(|name| !is_current(name))) {
        n if n == shown => format!("{all}, all current"),
        n => format!("{all}, {n} current"),
    }
}
