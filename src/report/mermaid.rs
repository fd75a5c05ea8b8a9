//! A hierarchy as a Mermaid diagram, for pages and summaries that draw those.
//!
//! **Invariant:** whatever is in a label, it stays a label.

use std::{collections::BTreeMap, fmt::Write as _};

use super::{
    drawing::{Arrow, BoxKind, Drawing, Drawn, Link},
    numbers::count,
    sanitize,
};
use crate::{event::Summary, hierarchy::Hierarchy};

/// Mermaid draws nothing at all of a diagram with more arrows than this (`maxEdges`), and a page
/// cannot change it.
const MOST_ARROWS: usize = 500;
/// Nor of one whose text is longer, in characters (`maxTextSize`).
const LONGEST: usize = 50_000;
/// So many names of images that share a box are told.
const NAMES: usize = 3;

/// Fill, line and text of each kind; they can be read on a light page and on a dark one.
const STYLES: [(&str, &str); 13] = [
    ("image", "fill:#eef1f5,stroke:#7d8896,color:#1c2430"),
    ("current", "fill:#dcf3e2,stroke:#2c8a4b,color:#0f3a1e"),
    ("behind", "fill:#dcebfb,stroke:#2b6cb0,color:#0f2f52"),
    ("held-back", "fill:#fdf0cd,stroke:#b7791f,color:#4a3208"),
    ("never-built", "fill:#fbe0dd,stroke:#c0392b,color:#561710"),
    ("built", "fill:#dcf3e2,stroke:#2c8a4b,color:#0f3a1e"),
    ("same", "fill:#dcebfb,stroke:#2b6cb0,color:#0f2f52"),
    ("kept", "fill:#eef1f5,stroke:#7d8896,color:#1c2430"),
    ("failed", "fill:#fbe0dd,stroke:#c0392b,color:#561710"),
    ("not-built", "fill:#fdf0cd,stroke:#b7791f,color:#4a3208"),
    ("waiting", "fill:#eef1f5,stroke:#7d8896,color:#3c4653"),
    ("running", "fill:#e6e0fa,stroke:#6b4fbb,color:#2b1d5c"),
    ("upstream", "fill:#ffffff,stroke:#7d8896,color:#3c4653,stroke-dasharray:4 3"),
];

/// What a run did, each image in the colour of what became of it; none if it did nothing, or if it is
/// more than Mermaid draws on a page.
pub fn of_run(hierarchy: &Hierarchy, summary: &Summary) -> Option<String> {
    let text = text(&Drawing::of_run(hierarchy, summary)?);
    (text.len() <= LONGEST).then_some(text)
}

/// A drawing. If it has more arrows than Mermaid takes, images that nothing is built on, and that
/// have state and parents in common, share a box.
pub fn text(drawing: &Drawing) -> String {
    let merged = (drawing.arrows.len() > MOST_ARROWS).then(|| merged(drawing));
    let drawing = merged.as_ref().unwrap_or(drawing);
    let mut text = String::from("graph LR\n");
    for (n, Drawn { label, kind }) in drawing.boxes.iter().enumerate() {
        let (open, close) = if *kind == BoxKind::Upstream { ("([", "])") } else { ("[", "]") };
        _ = writeln!(text, "  n{n}{open}\"{}\"{close}", escaped(label));
    }
    for Arrow { from, to, link } in &drawing.arrows {
        let arrow = if *link == Link::Base { "-->" } else { "-.->" };
        _ = writeln!(text, "  n{from} {arrow} n{to}");
    }
    let mut members: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for (n, one) in drawing.boxes.iter().enumerate() {
        members.entry(one.kind.class()).or_default().push(format!("n{n}"));
    }
    for (class, style) in STYLES {
        if let Some(members) = members.get(class) {
            _ = writeln!(text, "  classDef {class} {style}");
            // Not `n0["…"]:::{class}`: the sanitizer breaks `::` before a letter, a command of GitHub.
            _ = writeln!(text, "  class {} {class}", members.join(","));
        }
    }
    text
}

/// Mermaid's own entities: `#` and a name or a number and `;`.
fn escaped(label: &str) -> String {
    let mut out = String::new();
    for c in sanitize::text(label).chars() {
        match c {
            c if c.is_alphanumeric() || " ._-/:@,".contains(c) => out.push(c),
            c => _ = write!(out, "#{};", u32::from(c)),
        }
    }
    out
}

/// What images that share a box have in common.
type Alike<'a> = (BoxKind, &'a [(usize, Link)]);

fn merged(drawing: &Drawing) -> Drawing {
    let (parents, leaf) = (drawing.parents(), drawing.is_leaf());
    let mut groups: BTreeMap<Alike<'_>, Vec<usize>> = BTreeMap::new();
    for n in (0..drawing.boxes.len()).filter(|&n| leaf[n]) {
        groups.entry((drawing.boxes[n].kind, &parents[n])).or_default().push(n);
    }
    let label = |members: &[usize]| {
        let names = members.iter().take(NAMES).map(|&n| drawing.boxes[n].label.as_str());
        let names = names.collect::<Vec<_>>().join(", ");
        let more = if members.len() > NAMES { ", …" } else { "" };
        format!("{}: {names}{more}", count(members.len(), "image"))
    };
    let mut places: Vec<Option<usize>> = Vec::new();
    let mut out = Drawing::default();
    for (n, one) in drawing.boxes.iter().enumerate() {
        let group = leaf[n].then(|| &groups[&(one.kind, &parents[n][..])]);
        let label = match group {
            Some(members) if members[0] != n => {
                places.push(None);
                continue;
            }
            Some(members) if members.len() > 1 => label(members),
            _ => one.label.clone(),
        };
        places.push(Some(out.boxes.len()));
        out.boxes.push(Drawn { label, kind: one.kind });
    }
    out.arrows.extend(drawing.arrows.iter().filter_map(|arrow| {
        Some(Arrow { from: places[arrow.from]?, to: places[arrow.to]?, ..*arrow })
    }));
    out
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::{hierarchy::NodeName, plan::ImageState};
    use crate::{
        hierarchy::test_hierarchy,
        report::scenario::{self, recorded},
    };

    /// All of a hierarchy, each image in the colour of its state.
    fn mermaid(hierarchy: &Hierarchy, states: &BTreeMap<NodeName, ImageState>) -> String {
        let all: BTreeSet<NodeName> =
            hierarchy.in_build_order().map(|node| node.name.clone()).collect();
        text(&Drawing::of(hierarchy, &all, |name| states.get(name).copied()))
    }

    #[test]
    fn a_hierarchy_with_its_states() {
        let hierarchy = test_hierarchy("os\nlib < os\napp < lib os\nend");
        let states = [
            ("os", ImageState::Current),
            ("lib", ImageState::Behind),
            ("app", ImageState::NeverBuilt),
        ];
        let states = states.map(|(name, state)| (NodeName::from(name), state)).into();
        let text = mermaid(&hierarchy, &states);
        assert_eq!(sanitize::lines(&text), text);
        insta::assert_snapshot!(text, @r#"
        graph LR
          n0["os"]
          n1["lib"]
          n2["app"]
          n3["end"]
          n0 --> n1
          n1 --> n2
          n0 -.-> n2
          classDef image fill:#eef1f5,stroke:#7d8896,color:#1c2430
          class n3 image
          classDef current fill:#dcf3e2,stroke:#2c8a4b,color:#0f3a1e
          class n0 current
          classDef behind fill:#dcebfb,stroke:#2b6cb0,color:#0f2f52
          class n1 behind
          classDef never-built fill:#fbe0dd,stroke:#c0392b,color:#561710
          class n2 never-built
        "#);
    }

    #[test]
    fn a_run_by_what_became_of_its_images() {
        let hierarchy = test_hierarchy(
            "os-base\nwebapp-base < os-base\nruby-3.4 < webapp-base\ntools < os-base\ncron\nmirror",
        );
        let record = recorded(&scenario::held());
        insta::assert_snapshot!(of_run(&hierarchy, record.summary.as_ref().unwrap()).unwrap(), @r#"
        graph LR
          n0["os-base"]
          n1["webapp-base"]
          n2["ruby-3.4"]
          n3["tools"]
          n4["cron"]
          n0 --> n1
          n1 --> n2
          n0 --> n3
          classDef built fill:#dcf3e2,stroke:#2c8a4b,color:#0f3a1e
          class n0 built
          classDef same fill:#dcebfb,stroke:#2b6cb0,color:#0f2f52
          class n3,n4 same
          classDef failed fill:#fbe0dd,stroke:#c0392b,color:#561710
          class n1 failed
          classDef not-built fill:#fdf0cd,stroke:#b7791f,color:#4a3208
          class n2 not-built
        "#);
        let record = recorded(&scenario::nothing_to_do());
        assert_eq!(of_run(&hierarchy, record.summary.as_ref().unwrap()), None);
    }

    #[test]
    fn a_label_cannot_end_itself() {
        let label = "a\"]; click n0 \"javascript:x\" <b>&#35;`\n\u{1b}[31m";
        let kind = BoxKind::Upstream;
        let boxes = vec![Drawn { label: label.to_owned(), kind }];
        let text = text(&Drawing { boxes, arrows: vec![] });
        let line = text.lines().nth(1).unwrap();
        let label = line.strip_prefix("  n0([\"").unwrap();
        let label = label.strip_suffix("\"])").unwrap();
        assert!(
            !label.contains(['"', '<', '>', '&', '`', '[', ']', '(', ')', '\u{1b}']),
            "{label}"
        );
        assert!(
            label.starts_with(
                "a#34;#93;#59; click n0 #34;javascript:x#34; #60;b#62;#38;#35;35#59;#96;"
            ),
            "{label}"
        );
    }

    #[test]
    fn a_large_hierarchy_stays_within_what_mermaid_draws() {
        let lines: Vec<String> = (0..600)
            .map(|n| format!("app-{n:03} < base-{}", n % 6))
            .chain((0..6).map(|n| format!("base-{n} < os")))
            .chain(["os".to_owned()])
            .collect();
        let hierarchy = test_hierarchy(&lines.join("\n"));
        let text = mermaid(&hierarchy, &[("app-000".into(), ImageState::Behind)].into());
        let arrows = text.lines().filter(|line| line.contains("-->")).count();
        assert_eq!(arrows, 6 + 6 + 1, "{text}");
        assert!(text.contains("[\"99 images: app-006, app-012, app-018, #8230;\"]"), "{text}");
        assert!(text.contains("[\"app-000\"]\n") && text.contains(" behind\n"), "{text}");
    }
}
