//! A picture that a browser shows, light or dark, without a script: an icicle. Each image is a bar to the right
//! of its base. The height of a bar is its own bytes and those of its descendants.

use std::{collections::BTreeMap, fmt::Write as _};

use super::SizeView;
use crate::{
    hierarchy::NodeName,
    report::{
        numbers::{count, size},
        sanitize,
        svg::{letters, text_width, xml},
        width::fit,
    },
    size::Measured,
};

const MARGIN: i32 = 20;
/// Above the bars, for the title and the legend.
const HEAD: i32 = 70;
/// The width of a bar, with the gap to the next one, as the longest name needs it.
const COLUMNS: [i32; 2] = [230, 340];
const GAP: i32 = 2;
/// A bar needs this height for a label.
const LINE: i32 = 16;
/// The height that all bytes share. Each image has at least its smallest height in addition.
const BYTES: i32 = 640;
/// The same for a label of small letters.
const SMALL_LINE: i32 = 11;
/// The smallest height of an image, by the number of images: each of up to 1000 has room for a label.
const SMALLEST: [(usize, i32); 3] = [(60, LINE + GAP), (1000, SMALL_LINE + 1), (usize::MAX, 4)];

/// The classes of bars, by their share of all bytes in thousandths.
const SHARES: [(u64, &str, &str); 4] = [
    (200, "s3", "20 % of all bytes or more"),
    (50, "s2", "5 % or more"),
    (10, "s1", "1 % or more"),
    (0, "s0", "less"),
];

const STYLE: &str = "\
svg{background:var(--paper);--paper:#fff;--ink:#1c2430;--faint:#667080;--line:#8b97a7;--s0:#eef3f9;\
--s1:#cfe0f4;--s2:#f7dfa4;--s3:#f4b8a8}
@media(prefers-color-scheme:dark){svg{--paper:#11161d;--ink:#e6ebf2;--faint:#9aa5b4;--line:#5d6a7a;\
--s0:#1c2733;--s1:#1d3f66;--s2:#5c4613;--s3:#6e2a1f}}
text{font:12px ui-monospace,SFMono-Regular,Menlo,Consolas,'DejaVu Sans Mono',monospace;fill:var(--ink)}
.title{font-weight:bold;font-size:15px}.note{fill:var(--faint)}.small{font-size:9px}
rect{stroke:var(--line);stroke-width:.6}
.s0 rect{fill:var(--s0)}.s1 rect{fill:var(--s1)}.s2 rect{fill:var(--s2)}.s3 rect{fill:var(--s3)}
g:hover>rect{stroke:var(--ink);stroke-width:2}
";

/// The whole picture as one SVG document.
pub fn svg(view: SizeView<'_>) -> String {
    let images = view.below_bases();
    let own = |image: &Measured| {
        let own = if view.is_registry { image.own.compressed } else { image.own.unpacked };
        own.unwrap_or(0)
    };
    let all: u64 = images.iter().map(|(_, image)| own(image)).fold(0, u64::saturating_add);
    let least = SMALLEST.iter().find(|(most, _)| images.len() <= *most);
    let smallest = least.map_or(LINE, |(_, height)| *height);
    let label = |image: &Measured| {
        text_width(&sanitize::text(image.node.as_str())) + text_width(&size(own(image))) + 30
    };
    let longest = images.iter().map(|(_, image)| label(image)).max().unwrap_or(0);
    let column = longest.clamp(COLUMNS[0], COLUMNS[1]);
    // Descendants stand behind their bases, so from the end each image is complete when it is reached.
    let mut heights: BTreeMap<&NodeName, (i32, i32)> = BTreeMap::new();
    for (_, image) in images.iter().rev() {
        let alone = smallest + scaled(own(image), all);
        let whole = heights.entry(&image.node).or_default();
        *whole = (alone, whole.1 + alone);
        let whole = whole.1;
        if let Some(parent) = &image.parent {
            heights.entry(parent).or_default().1 += whole;
        }
    }
    let mut tops: BTreeMap<&NodeName, i32> = BTreeMap::new();
    let (mut bars, mut bottom) = (String::new(), HEAD + MARGIN);
    let mut deepest = 0;
    for (depth, image) in &images {
        let (alone, height) = heights[&image.node];
        let top = match image.parent.as_ref().and_then(|parent| tops.get_mut(parent)) {
            Some(top) => top,
            None => &mut bottom,
        };
        let y = *top;
        *top += height;
        tops.insert(&image.node, y + alone);
        deepest = deepest.max(*depth);
        let x = MARGIN + column * i32::try_from(*depth).unwrap_or(0);
        let place = Rectangle { x, y, width: column - GAP, height };
        bar(view, image, (place, share(own(image), all)), &mut bars);
    }
    let total = view.sizes.total.once;
    let total = if view.is_registry { total.compressed } else { total.unpacked };
    let kind = if view.is_registry { "compressed" } else { "unpacked" };
    let title = format!(
        "{}: {} {kind} in {}, shared layers counted once",
        count(view.sizes.images.len(), "image"),
        total.map_or("unknown".to_owned(), size),
        sanitize::text(view.place)
    );
    let columns = MARGIN * 2 + column * (1 + i32::try_from(deepest).unwrap_or(0));
    let legend: i32 = SHARES.iter().map(|(.., text)| text_width(text) + 40).sum();
    let width = columns.max(text_width(&title) * 5 / 4 + 2 * MARGIN).max(legend + 2 * MARGIN);
    let height = bottom + MARGIN;
    let title = xml(&title);
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" \
         viewBox=\"0 0 {width} {height}\" role=\"img\">\n<title>{title}</title>\n<style>{STYLE}</style>\n\
         <text class=\"title\" x=\"{MARGIN}\" y=\"{}\">{title}</text>\n",
        MARGIN + 12,
    );
    let mut x = MARGIN;
    for (_, class, text) in SHARES {
        _ = writeln!(
            out,
            "<g class=\"{class}\"><rect x=\"{x}\" y=\"{}\" width=\"14\" height=\"14\"/>\
             <text class=\"note\" x=\"{}\" y=\"{}\">{text}</text></g>",
            MARGIN + 28,
            x + 20,
            MARGIN + 39,
        );
        x += text_width(text) + 40;
    }
    out.push_str(&bars);
    out.push_str("</svg>\n");
    out
}

/// In pixels.
#[derive(Clone, Copy)]
struct Rectangle {
    x: i32,
    y: i32,
    width: i32,
    height: i32,
}

fn bar(
    view: SizeView<'_>,
    image: &Measured,
    (Rectangle { x, y, width, height }, class): (Rectangle, &str),
    out: &mut String,
) {
    let main = |bytes: crate::size::Bytes| {
        let main = if view.is_registry { bytes.compressed } else { bytes.unpacked };
        main.map_or("unknown".to_owned(), size)
    };
    let name = sanitize::text(image.node.as_str());
    let tooltip = format!(
        "{name}\nadds {}, inherits {}\nwith descendants {}\nits layers are in {}",
        main(image.own),
        main(image.inherited),
        main(image.with_descendants),
        count(image.carried_by + 1, "image"),
    );
    _ = write!(
        out,
        "<g class=\"{class}\"><title>{}</title><rect x=\"{x}\" y=\"{y}\" width=\"{width}\" height=\"{}\" rx=\"2\"/>",
        xml(&tooltip),
        height - GAP.min(height / 3),
    );
    if height >= SMALL_LINE {
        let bytes = main(image.own);
        let (class, baseline) = if height >= LINE { ("", 12) } else { (" class=\"small\"", 8) };
        let room = letters(width - 18 - text_width(&bytes));
        _ = write!(
            out,
            "<text{class} x=\"{}\" y=\"{}\">{} <tspan class=\"note\">{}</tspan></text>",
            x + 6,
            y + baseline,
            xml(&fit(&name, room)),
            xml(&bytes),
        );
    }
    out.push_str("</g>\n");
}

fn scaled(bytes: u64, all: u64) -> i32 {
    let share = u128::from(bytes) * u128::from(BYTES.unsigned_abs()) / u128::from(all.max(1));
    i32::try_from(share).unwrap_or(BYTES)
}

fn share(bytes: u64, all: u64) -> &'static str {
    let thousandths = u128::from(bytes) * 1000 / u128::from(all.max(1));
    SHARES
        .iter()
        .find(|(least, ..)| thousandths >= u128::from(*least))
        .map_or("s0", |(_, class, _)| class)
}
