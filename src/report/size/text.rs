//! For people: each image below its base.

use std::io::{self, Write};

use super::SizeView;
use crate::{
    check::diagnostic::names,
    event::SizeBefore,
    report::{
        Paint,
        numbers::{count, size, size_change},
        sanitize,
        width::{pad, pad_left, width},
    },
    size::{Bytes, Measured},
};

/// How many images a note names; it counts the others.
const NAMED: usize = 5;

/// What a narrow terminal has no room for, the first first.
const OPTIONAL: [&str; 3] = ["unpacked", "layers", "inherited"];
/// A longer name is cut, but not further than this.
const NAME: usize = 16;

/// Writes a table, not wider than the terminal has columns, and what all images cost together.
pub fn text(
    view: SizeView<'_>,
    columns: Option<usize>,
    (colour, out): (bool, &mut dyn Write),
) -> io::Result<()> {
    let paint = Paint { colour };
    let rows: Vec<Vec<String>> = view
        .below_bases()
        .into_iter()
        .filter(|(_, image)| view.is_shown(&image.node))
        .map(|(depth, image)| row(view, depth, image))
        .collect();
    if !rows.is_empty() {
        table(&rows, (view, columns), (paint, out))?;
        writeln!(out)?;
    }
    for line in totals(view) {
        writeln!(out, "{line}")?;
    }
    for note in notes(view) {
        writeln!(out, "{}", paint.warning(note))?;
    }
    Ok(())
}

fn row(view: SizeView<'_>, depth: usize, image: &Measured) -> Vec<String> {
    let main =
        |bytes: Bytes| told(if view.is_registry { bytes.compressed } else { bytes.unpacked });
    let whole = image.whole();
    let indent = if view.named.is_empty() { "  ".repeat(depth) } else { String::new() };
    let mut row = vec![
        indent + &sanitize::text(image.node.as_str()),
        main(image.own),
        main(image.inherited),
        main(whole),
        format!("{} of {}", image.own_layers, image.layers),
    ];
    if view.is_registry {
        row.push(told(whole.unpacked));
    }
    row.push(match image.before.as_ref().map(|(_, before)| before.main()) {
        Some(before) => whole.main().map_or("unknown".to_owned(), |now| {
            size_change(now, before.map_or(SizeBefore::New, SizeBefore::Unpacked))
        }),
        None if view.since.is_some() => "new".to_owned(),
        None => String::new(),
    });
    row
}

fn table(
    rows: &[Vec<String>],
    (view, columns): (SizeView<'_>, Option<usize>),
    (paint, out): (Paint, &mut dyn Write),
) -> io::Result<()> {
    let kind = if view.is_registry { "compressed" } else { "unpacked" };
    let mut head = ["image", "own", "inherited", kind, "layers"].map(String::from).to_vec();
    if view.is_registry {
        head.push("unpacked".to_owned());
    }
    head.push(view.since.map_or("change".to_owned(), |since| format!("since {since}")));
    let mut widths: Vec<usize> = (0..head.len())
        .map(|column| {
            // A column that says nothing is left out. The totals say what is unknown.
            let is_unknown = |row: &Vec<String>| head[column] != kind && row[column] == "unknown";
            let is_empty = |row: &Vec<String>| row[column].is_empty() || is_unknown(row);
            if rows.iter().all(is_empty) {
                return 0;
            }
            rows.iter().chain([&head]).map(|row| width(&row[column])).max().unwrap_or(0)
        })
        .collect();
    if let Some(columns) = columns {
        let all = |widths: &[usize]| -> usize {
            let shown = widths.iter().filter(|width| **width > 0);
            shown.map(|width| width + 2).sum::<usize>().saturating_sub(2)
        };
        for name in OPTIONAL {
            let is_wide = all(&widths) > columns;
            let column = head.iter().skip(1).position(|one| one == name && name != kind);
            if let Some(column) = column.filter(|_| is_wide) {
                widths[column + 1] = 0;
            }
        }
        let excess = all(&widths).saturating_sub(columns);
        widths[0] -= excess.min(widths[0].saturating_sub(NAME));
    }
    let line = |row: &[String]| {
        let cells = row.iter().zip(&widths).enumerate().filter(|(_, (_, width))| **width > 0);
        let cells = cells.map(
            |(column, (cell, width))| {
                if column == 0 { pad(cell, *width) } else { pad_left(cell, *width) }
            },
        );
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    writeln!(out, "{}", paint.faint(line(&head)))?;
    rows.iter().try_for_each(|row| writeln!(out, "{}", line(row)))
}

fn told(bytes: Option<u64>) -> String {
    bytes.map_or("unknown".to_owned(), size)
}

fn totals(view: SizeView<'_>) -> Vec<String> {
    let total = view.sizes.total;
    let images = count(view.sizes.images.len(), "image");
    let layers = count(total.layers, "layer");
    let place = sanitize::text(view.place);
    let mut lines = Vec::new();
    let once = if view.is_registry { total.once.compressed } else { total.once.unpacked };
    let alone = if view.is_registry { total.alone.compressed } else { total.alone.unpacked };
    let kind = if view.is_registry { "compressed" } else { "unpacked" };
    if view.sizes.images.is_empty() {
        lines.push(format!("no image is published in {place}"));
    } else {
        lines.push(format!(
            "{images}, {layers}: {} {kind} in {place}, shared layers counted once ({} without sharing)",
            told(once),
            told(alone)
        ));
    }
    if view.is_registry && !view.sizes.images.is_empty() {
        let unknown = count(total.unknown, "image");
        lines.push(total.once.unpacked.map_or_else(
            || format!("on a host: unknown until `rebuild waste` has read the layers of {unknown}"),
            |unpacked| format!("on a host: {} unpacked", size(unpacked)),
        ));
    }
    lines
}

fn notes(view: SizeView<'_>) -> Vec<String> {
    let images = || view.sizes.images.iter();
    let told = |told: Vec<&crate::hierarchy::NodeName>, is: &str, are: &str| {
        let verb = if told.len() == 1 { is } else { are };
        (!told.is_empty()).then(|| format!("{} {verb}", sanitize::text(&names(&told, NAMED))))
    };
    let old = images().filter(|image| image.has_old_base).map(|image| &image.node).collect();
    let upstream = images().filter(|image| image.includes_upstream).map(|image| &image.node);
    [
        told(view.sizes.unpublished.iter().collect(), "is not published", "are not published"),
        told(
            old,
            "is based on an image of its parent that is no longer published: the layers of both count",
            "are based on images of their parents that are no longer published: the layers of both count",
        ),
        told(
            upstream.collect(),
            "includes the layers of its upstream, which could not be read",
            "include the layers of their upstreams, which could not be read",
        ),
    ]
    .into_iter()
    .flatten()
    .collect()
}
