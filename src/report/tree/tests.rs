use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;

use super::{
    layout::{BoxPlace, HEIGHT, Layout, layout},
    *,
};
use crate::{
    hierarchy::test_hierarchy,
    plan::ImageState,
    report::drawing::{BoxKind, Drawing, Drawn, DrawnStanding, Standings},
};

fn names(hierarchy: &Hierarchy) -> BTreeSet<NodeName> {
    hierarchy.in_build_order().map(|node| node.name.clone()).collect()
}

fn now() -> Timestamp {
    "2026-11-24T12:00:00Z".parse().unwrap()
}

/// One of every state.
fn standings(names: &BTreeSet<NodeName>) -> Standings {
    let states =
        [ImageState::Current, ImageState::Behind, ImageState::NotPromoted, ImageState::NeverBuilt];
    let standing = |(n, name): (usize, &NodeName)| {
        let state = states[n % states.len()];
        let is_there = state != ImageState::NeverBuilt;
        let since = is_there.then(|| "2026-11-21T12:00:00Z".parse().unwrap());
        let size = is_there.then_some(4_200_000);
        (
            name.clone(),
            DrawnStanding { state, since, size, why: "`a<b>` & \"c\" changed".to_owned() },
        )
    };
    names.iter().enumerate().map(standing).collect()
}

const SHARED: &str = "os\nweb < os\ntool < os\nshop < web tool\njob < os\nreport < job shop\nalone";

fn shown(lines: &str, asked: bool) -> String {
    shown_in(lines, asked, None)
}

fn shown_in(lines: &str, asked: bool, columns: Option<usize>) -> String {
    let hierarchy = test_hierarchy(lines);
    let shown = names(&hierarchy);
    let standings = standings(&shown);
    let view =
        TreeView { hierarchy: &hierarchy, shown: &shown, standings: asked.then_some(&standings) };
    let mut out = Vec::new();
    text(view, (now(), columns), (false, &mut out)).unwrap();
    String::from_utf8(out).unwrap()
}

#[test]
fn the_platforms_of_an_image_are_counted_once() {
    let one = |label: &str, kind| Drawn { label: label.to_owned(), kind };
    let image = BoxKind::Image(None);
    let boxes = vec![
        one("debian:12", BoxKind::Upstream),
        one("app (linux/amd64)", image),
        one("app (linux/arm64)", image),
        one("web", image),
    ];
    assert_eq!(Drawing { boxes, arrows: Vec::new() }.count(), "2 images on 1 upstream");
}

#[test]
fn an_image_stands_below_what_it_is_from_and_is_named_below_the_others() {
    insta::assert_snapshot!(shown(SHARED, false), @r"
    os
    ├─ web
    │  └─ shop       takes from tool
    │     └─ report  shown below
    ├─ tool
    │  └─ shop       shown above
    └─ job
       └─ report     takes from shop
    alone

    7 images
    ");
    insta::assert_snapshot!(shown("os\nweb < os\ntool < os web", true), @r"
    os          current       3 days ago  4.2 MB
    ├─ web      not promoted  3 days ago  4.2 MB
    │  └─ tool                                    shown below
    └─ tool     behind        3 days ago  4.2 MB  takes from web

    3 images, 1 current
    ");
    assert_eq!(shown("", true), "0 images\n");
}

#[test]
fn a_narrow_terminal_gets_no_sizes_and_then_no_times() {
    let shown = |columns| shown_in("os\nweb < os\ntool < os web", true, Some(columns));
    insta::assert_snapshot!(shown(55), @"
    os          current       3 days ago
    ├─ web      not promoted  3 days ago
    │  └─ tool                            shown below
    └─ tool     behind        3 days ago  takes from web

    3 images, 1 current
    ");
    insta::assert_snapshot!(shown(40), @"
    os          current
    ├─ web      not promoted
    │  └─ tool                shown below
    └─ tool     behind        takes from web

    3 images, 1 current
    ");
}

#[test]
fn a_part_of_a_hierarchy_says_what_it_leaves_out() {
    let hierarchy = test_hierarchy(SHARED);
    let shown: BTreeSet<NodeName> = ["tool", "shop", "report"].map(NodeName::from).into();
    let view = TreeView { hierarchy: &hierarchy, shown: &shown, standings: None };
    let mut out = Vec::new();
    text(view, (now(), None), (false, &mut out)).unwrap();
    insta::assert_snapshot!(String::from_utf8(out).unwrap(), @r"
    tool          FROM os
    └─ shop       FROM web
       └─ report  FROM job

    3 images
    ");
    let mut out = Vec::new();
    json(view, &mut out).unwrap();
    insta::assert_snapshot!(String::from_utf8(out).unwrap(), @r#"{"v":1,"asked":false,"nodes":[{"node":"tool","parents":["os"],"upstreams":[],"base":"os","children":["shop"],"state":null,"since":null,"size":null},{"node":"shop","parents":["tool","web"],"upstreams":[],"base":"web","children":["report"],"state":null,"since":null,"size":null},{"node":"report","parents":["job","shop"],"upstreams":[],"base":"job","children":[],"state":null,"since":null,"size":null}]}"#);
    insta::assert_snapshot!(dot(view), @r##"
    digraph hierarchy {
      rankdir=LR;
      node [shape=box, style="rounded,filled", fillcolor="#eef1f5", fontname="monospace"];
      n0 [label="tool"];
      n1 [label="shop"];
      n2 [label="report"];
      n0 -> n1 [style=dashed];
      n1 -> n2 [style=dashed];
    }
    "##);
}

/// Six bases of a hundred, and every seventh takes files from elsewhere.
fn six_hundred() -> Hierarchy {
    let mut lines = vec!["os".to_owned(), "tool".to_owned()];
    lines.extend((0..6).map(|n| format!("base-{n} < os")));
    lines.extend((0..592).map(|n| {
        let more = if n % 7 == 0 { " tool" } else { "" };
        format!("app-{n} < base-{}{more}", n % 6)
    }));
    test_hierarchy(&lines.join("\n"))
}

fn overlap(a: BoxPlace, b: BoxPlace) -> bool {
    a.x < b.x + b.width && b.x < a.x + a.width && a.y < b.y + HEIGHT && b.y < a.y + HEIGHT
}

fn laid_out(hierarchy: &Hierarchy) -> (Drawing, Layout) {
    let drawing = Drawing::of(hierarchy, &names(hierarchy), |_| None);
    let widths: Vec<i32> =
        [60, 180, 90, 240, 120].into_iter().cycle().take(drawing.boxes.len()).collect();
    let placed = layout(&drawing, &widths);
    for (place, width) in placed.places.iter().zip(&widths) {
        assert!(place.width >= *width, "a label does not fit");
    }
    (drawing, placed)
}

#[test]
fn boxes_keep_apart_and_arrows_lead_to_the_right() {
    let chain: Vec<String> = (0..3000)
        .map(|n| if n == 0 { "n0".to_owned() } else { format!("n{n} < n{}", n - 1) })
        .collect();
    let (small, large, chain) =
        (test_hierarchy(SHARED), six_hundred(), test_hierarchy(&chain.join("\n")));
    for hierarchy in [&small, &large, &chain, &test_hierarchy(""), &test_hierarchy("one")] {
        let (drawing, placed) = laid_out(hierarchy);
        assert_eq!(placed.places.len(), drawing.boxes.len());
        // By height, so that only neighbours need be compared.
        let mut rows: BTreeMap<i32, Vec<BoxPlace>> = BTreeMap::new();
        for &place in &placed.places {
            assert!(place.x >= 0 && place.y >= 0, "{place:?}");
            assert!(place.x + place.width <= placed.width && place.y + HEIGHT <= placed.height);
            let near = rows.range(place.y - HEIGHT..place.y + HEIGHT).flat_map(|(_, row)| row);
            for other in near.copied() {
                assert!(!overlap(place, other), "{place:?} {other:?}");
            }
            rows.entry(place.y).or_default().push(place);
        }
        let arrows: BTreeSet<_> = placed.runs.iter().map(|run| run.arrow).collect();
        assert_eq!(arrows, drawing.arrows.iter().copied().collect(), "each arrow runs once");
        for run in &placed.runs {
            let (from, to) = (placed.places[run.arrow.from], placed.places[run.arrow.to]);
            let begin = format!("M{} {}", from.x + from.width, from.y + HEIGHT / 2);
            assert!(run.path.starts_with(&begin), "{run:?} does not begin at {from:?}");
            assert!(run.path.ends_with(&format!("H{}", to.x)), "{run:?} does not end at {to:?}");
            assert!(from.x + from.width < to.x, "{run:?}");
        }
    }
    let (_, placed) = laid_out(&large);
    assert!(placed.height < placed.width * 3, "{} x {}", placed.width, placed.height);
}

/// What is between a start and an end, each time.
fn between<'t>(text: &'t str, start: &str, end: &str) -> Vec<&'t str> {
    text.split(start).skip(1).map(|rest| rest.split(end).next().unwrap()).collect()
}

#[test]
fn a_picture_has_every_name_and_nothing_that_acts() {
    for hierarchy in [test_hierarchy(SHARED), six_hundred()] {
        let shown = names(&hierarchy);
        let standings = standings(&shown);
        let view = TreeView { hierarchy: &hierarchy, shown: &shown, standings: Some(&standings) };
        let picture = svg(view, now());
        let labels: BTreeSet<&str> = between(&picture, "y=\"17\">", "</text>")
            .iter()
            .map(|text| &text[text.find(' ').unwrap() + 1..])
            .collect();
        assert_eq!(labels, shown.iter().map(NodeName::as_str).collect());
        assert_eq!(picture.matches("</title></path>").count(), view.drawing().arrows.len());
        for state in ["current", "behind", "held-back", "never-built"] {
            assert!(picture.contains(&format!("<g class=\"{state}\"")), "{state}");
        }
        assert!(
            picture.contains(
                "not promoted: `a&lt;b&gt;` &amp; &quot;c&quot; changed\n3 days ago, 4.2 MB"
            ),
            "{picture}"
        );
        for active in ["<script", "onclick", "javascript:", "href", "<foreignObject"] {
            assert!(!picture.contains(active), "{active}");
        }
        assert!(picture.contains("prefers-color-scheme:dark"));
        assert_eq!(
            picture.matches('<').count(),
            picture.matches('>').count() - picture.matches("g:hover>rect").count()
        );
    }
}
