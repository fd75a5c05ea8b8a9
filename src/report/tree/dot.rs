//! For Graphviz.

use std::fmt::Write as _;

use super::TreeView;
use crate::report::{
    drawing::{Arrow, BoxKind, Drawn, Link},
    sanitize,
};

/// A graph in the language of `dot`.
pub fn dot(view: TreeView<'_>) -> String {
    let drawing = view.drawing();
    let mut text = String::from(
        "digraph hierarchy {\n  rankdir=LR;\n  node [shape=box, style=\"rounded,filled\", fillcolor=\"#eef1f5\", fontname=\"monospace\"];\n",
    );
    for (n, Drawn { label, kind }) in drawing.boxes.iter().enumerate() {
        let look = match kind.class() {
            "current" => ", fillcolor=\"#dcf3e2\", tooltip=\"current\"",
            "behind" => ", fillcolor=\"#dcebfb\", tooltip=\"behind\"",
            "held-back" => ", fillcolor=\"#fdf0cd\", tooltip=\"not promoted\"",
            "never-built" => ", fillcolor=\"#fbe0dd\", tooltip=\"never built\"",
            _ if *kind == BoxKind::Upstream => ", style=dashed, tooltip=\"upstream\"",
            _ => "",
        };
        _ = writeln!(text, "  n{n} [label=\"{}\"{look}];", escaped(label));
    }
    for Arrow { from, to, link } in &drawing.arrows {
        let look = if *link == Link::Copied { " [style=dashed]" } else { "" };
        _ = writeln!(text, "  n{from} -> n{to}{look};");
    }
    text.push_str("}\n");
    text
}

/// In a quoted string a quote ends it, and a backslash begins an escape.
fn escaped(label: &str) -> String {
    sanitize::text(label).replace('\\', "\\\\").replace('"', "\\\"")
}
