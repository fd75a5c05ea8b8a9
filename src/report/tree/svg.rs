//! A picture that a browser shows, light or dark, without a script.

use std::{collections::BTreeMap, fmt::Write as _};

use jiff::Timestamp;

use super::{
    TreeView,
    layout::{ArrowPath, HEIGHT, layout},
};
use crate::report::{
    drawing::{BoxKind, Drawing, ImageFate, Link},
    numbers::{ago, size},
    sanitize,
    svg::{text_width, xml},
    width::fit,
};

/// Around everything.
const MARGIN: i32 = 20;
/// Above the boxes, for the title and the legend.
const HEAD: i32 = 64;
/// Longer labels are cut; the tooltip has all of them.
const LONGEST: usize = 48;
/// Within a box, left and right of the label; the mark of the state is at the left.
const PADDING: i32 = 12;
const MARK: i32 = 16;

const STYLE: &str = "\
svg{background:var(--paper);--paper:#fff;--ink:#1c2430;--faint:#667080;--line:#9aa5b4;--image:#eef1f5;\
--current:#dcf3e2;--current-line:#2c8a4b;--behind:#dcebfb;--behind-line:#2b6cb0;--held:#fdf0cd;\
--held-line:#b7791f;--never:#fbe0dd;--never-line:#c0392b}
@media(prefers-color-scheme:dark){svg{--paper:#11161d;--ink:#e6ebf2;--faint:#9aa5b4;--line:#5d6a7a;\
--image:#222b36;--current:#143a22;--current-line:#4cba73;--behind:#14304f;--behind-line:#5fa3ea;\
--held:#453410;--held-line:#e0a83c;--never:#4d1c17;--never-line:#ef7b6e}}
text{font:12px ui-monospace,SFMono-Regular,Menlo,Consolas,'DejaVu Sans Mono',monospace;fill:var(--ink)}
.title{font-weight:bold;font-size:15px}.note{fill:var(--faint)}
path{fill:none;stroke:var(--line);stroke-width:1.3}
path.copied{stroke-dasharray:5 4;opacity:.75}
path:hover{stroke:var(--ink);stroke-width:2.5;opacity:1}
rect{fill:var(--image);stroke:var(--line);stroke-width:1.2}
.current rect{fill:var(--current);stroke:var(--current-line)}
.behind rect{fill:var(--behind);stroke:var(--behind-line)}
.held-back rect{fill:var(--held);stroke:var(--held-line)}
.never-built rect{fill:var(--never);stroke:var(--never-line)}
.upstream rect{fill:var(--paper);stroke-dasharray:4 3}
g:hover>rect{stroke-width:2.5}
";

/// What a picture shows.
pub(in crate::report) struct Picture<'a> {
    pub(in crate::report) drawing: &'a Drawing,
    pub(in crate::report) title: &'a str,
    /// For a file of its own; without it, the page has the styles.
    pub(in crate::report) style: Option<&'a str>,
    /// Of each box.
    pub(in crate::report) tooltip: &'a dyn Fn(usize) -> String,
    /// The address that a box leads to.
    pub(in crate::report) link: &'a dyn Fn(usize) -> Option<String>,
}

/// The whole picture as one SVG document.
pub fn svg(view: TreeView<'_>, now: Timestamp) -> String {
    let drawing = view.drawing();
    let title = format!("{}: {}", project(view), drawing.count());
    let tooltip = |n: usize| tooltip(view, &drawing.boxes[n].label, drawing.boxes[n].kind, now);
    Picture {
        drawing: &drawing,
        title: &title,
        style: Some(STYLE),
        tooltip: &tooltip,
        link: &|_| None,
    }
    .draw()
}

/// The same as a part of a page that has the styles. The box of an image leads to the address of its name.
/// What a run makes of images replaces their states.
pub fn linked_svg(
    view: TreeView<'_>,
    (now, fates): (Timestamp, &BTreeMap<&str, ImageFate>),
    link: &dyn Fn(&str) -> String,
) -> String {
    let mut drawing = view.drawing();
    for one in drawing.boxes.iter_mut().filter(|one| one.kind != BoxKind::Upstream) {
        if let Some(fate) = fates.get(&*one.label) {
            one.kind = BoxKind::Ended(*fate);
        }
    }
    let title = drawing.count();
    let tooltip = |n: usize| tooltip(view, &drawing.boxes[n].label, drawing.boxes[n].kind, now);
    let link = |n: usize| {
        let one = &drawing.boxes[n];
        (one.kind != BoxKind::Upstream).then(|| link(&one.label))
    };
    Picture { drawing: &drawing, title: &title, style: None, tooltip: &tooltip, link: &link }.draw()
}

impl Picture<'_> {
    pub(in crate::report) fn draw(&self) -> String {
        let Self { drawing, title, style, tooltip, link } = self;
        let labels: Vec<String> =
            drawing.boxes.iter().map(|one| fit(&sanitize::text(&one.label), LONGEST)).collect();
        let widths: Vec<i32> =
            labels.iter().map(|label| text_width(label) + 2 * PADDING + MARK).collect();
        let placed = layout(drawing, &widths);
        let legend = legend(drawing);
        let legend_width: i32 = legend.iter().map(|(_, text)| text_width(text) + 44).sum();
        let width = placed.width.max(legend_width).max(text_width(title) * 5 / 4) + 2 * MARGIN;
        let height = placed.height + HEAD + 2 * MARGIN;

        // Links within an image could not be reached.
        let role = if style.is_some() { "img" } else { "group" };
        let style = style.map_or(String::new(), |style| format!("<style>{style}</style>\n"));
        let mut out = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" \
             viewBox=\"0 0 {width} {height}\" role=\"{role}\">\n<title>{}</title>\n{style}\
             <text class=\"title\" x=\"{MARGIN}\" y=\"{}\">{}</text>\n",
            xml(title),
            MARGIN + 12,
            xml(title),
        );
        draw_legend(&legend, &mut out);
        _ = writeln!(out, "<g transform=\"translate({MARGIN} {})\">", HEAD + MARGIN);
        draw_arrows(drawing, &placed.runs, &mut out);
        for (n, one) in drawing.boxes.iter().enumerate() {
            let place = placed.places[n];
            let link = link(n).map(|link| xml(&link));
            let (open, close) = match &link {
                Some(link) => (format!("<a href=\"{link}\">"), "</a>"),
                None => (String::new(), ""),
            };
            _ = writeln!(
                out,
                "{open}<g class=\"{}\" transform=\"translate({} {})\"><title>{}</title>\
                 <rect width=\"{}\" height=\"{HEIGHT}\" rx=\"5\"/>\
                 <text x=\"{PADDING}\" y=\"17\">{} {}</text></g>{close}",
                one.kind.class(),
                place.x,
                place.y,
                xml(&tooltip(n)),
                place.width,
                mark(one.kind),
                xml(&labels[n]),
            );
        }
        out.push_str("</g>\n</svg>\n");
        out
    }
}

fn draw_arrows(drawing: &Drawing, runs: &[ArrowPath], out: &mut String) {
    // Those that run straight may pass behind boxes, so they come first.
    let mut runs: Vec<&ArrowPath> = runs.iter().collect();
    runs.sort_by_key(|run| run.is_in_band);
    for ArrowPath { arrow, path, .. } in runs {
        let [from, to] =
            [arrow.from, arrow.to].map(|n| xml(&sanitize::text(&drawing.boxes[n].label)));
        let how = if arrow.link == Link::Base { "is FROM" } else { "takes from" };
        _ = writeln!(
            out,
            "<path class=\"{}\" d=\"{path}\"><title>{to} {how} {from}</title></path>",
            arrow.link.class()
        );
    }
}

/// Says the same as the colour.
fn mark(kind: BoxKind) -> &'static str {
    match kind.class() {
        "current" | "built" => "●",
        "behind" => "◐",
        "held-back" | "not-built" => "◌",
        "never-built" | "waiting" => "○",
        "upstream" => "↗",
        "same" => "=",
        "failed" => "✕",
        "running" => "▶",
        _ => "·",
    }
}

/// The kinds that there are, each with its number.
fn legend(drawing: &Drawing) -> Vec<(Option<BoxKind>, String)> {
    let mut kinds: Vec<BoxKind> = drawing.boxes.iter().map(|one| one.kind).collect();
    kinds.sort_unstable();
    kinds.dedup();
    let entry = |kind: BoxKind| {
        let count = drawing.boxes.iter().filter(|one| one.kind == kind).count();
        let word = match kind {
            BoxKind::Image(None) => "image".to_owned(),
            BoxKind::Image(Some(state)) => state.to_string(),
            BoxKind::Ended(ImageFate::Same) => "unchanged".to_owned(),
            BoxKind::Ended(ImageFate::Kept) => "up to date".to_owned(),
            BoxKind::Upstream | BoxKind::Ended(_) => kind.class().replace('-', " "),
        };
        (Some(kind), format!("{} {word} ({count})", mark(kind)))
    };
    let mut legend: Vec<_> = kinds.into_iter().map(entry).collect();
    if drawing.arrows.iter().any(|arrow| arrow.link == Link::Copied) {
        legend.push((None, "takes files from".to_owned()));
    }
    legend
}

fn draw_legend(legend: &[(Option<BoxKind>, String)], out: &mut String) {
    let (mut x, y) = (MARGIN, MARGIN + 24);
    for (kind, text) in legend {
        let width = text_width(text);
        _ = match kind {
            Some(kind) => writeln!(
                out,
                "<g class=\"{}\" transform=\"translate({x} {y})\">\
                 <rect width=\"{}\" height=\"22\" rx=\"5\"/><text x=\"10\" y=\"15\">{text}</text></g>",
                kind.class(),
                width + 20,
            ),
            None => writeln!(
                out,
                "<path class=\"copied\" d=\"M{x} {}h26\"/><text class=\"note\" x=\"{}\" y=\"{}\">{text}</text>",
                y + 11,
                x + 32,
                y + 15,
            ),
        };
        x += width + 32;
    }
}

fn tooltip(view: TreeView<'_>, label: &str, kind: BoxKind, now: Timestamp) -> String {
    let name = sanitize::text(label);
    let standing = view.standings.and_then(|standings| standings.get(label));
    let (BoxKind::Image(_), Some(standing)) = (kind, standing) else {
        let upstream = kind == BoxKind::Upstream;
        return if upstream { format!("{name}\nfrom outside") } else { name };
    };
    let mut lines = vec![name, format!("{}: {}", standing.state, sanitize::text(&standing.why))];
    let since = standing.since.map(|then| ago(then, now));
    let facts: Vec<String> = since.into_iter().chain(standing.size.map(size)).collect();
    if !facts.is_empty() {
        lines.push(facts.join(", "));
    }
    lines.join("\n")
}

/// The folder's name, as people call the project.
fn project(view: TreeView<'_>) -> String {
    let folder = view.hierarchy.root().file_name().unwrap_or_default();
    sanitize::text(&folder.to_string_lossy())
}
