//! For people: the largest findings, each with its lines and its fix, and a table of images.

use std::io::{self, Write};

use super::{WasteView, owner};
use crate::{
    check::diagnostic::names,
    report::{
        Paint,
        numbers::{count, size},
        sanitize,
        width::{fit, pad, pad_left, width},
    },
    waste::{LayerPlace, WasteFinding, WasteKind, WritePlace},
};

/// Longer instructions are cut, in columns. The line to write is whole.
const INSTRUCTION: usize = 90;
/// How many images a note names; it counts the others.
const NAMED: usize = 5;

/// Writes the findings up to the limit, a table, and the totals.
pub fn text(view: WasteView<'_>, (colour, out): (bool, &mut dyn Write)) -> io::Result<()> {
    let paint = Paint { colour };
    let is_secret = |finding: &&WasteFinding| finding.kind == WasteKind::Secret;
    let secrets = view.findings().filter(is_secret).count();
    let shown: Vec<&WasteFinding> =
        view.findings().take(view.limit.saturating_add(secrets)).collect();
    for some in shown.chunk_by(|a, b| has_one_cause(a, b)) {
        for finding in some {
            heading(finding, (paint, out))?;
        }
        details(view, some[0], (paint, out))?;
        writeln!(out)?;
    }
    let all = view.findings().count();
    let hidden = all.saturating_sub(view.limit.saturating_add(secrets));
    if hidden > 0 {
        writeln!(out, "not shown: {}; `--all` prints all\n", count(hidden, "smaller finding"))?;
    }
    if shown.iter().any(|finding| finding.files > 1) {
        writeln!(out, "{}\n", paint.faint("`--format json` lists the files of each folder"))?;
    }
    table(view, (paint, out))?;
    totals(view, out)?;
    if !view.waste.unpublished.is_empty() {
        let unpublished: Vec<_> = view.waste.unpublished.iter().collect();
        let verb = if unpublished.len() == 1 { "is" } else { "are" };
        let names = sanitize::text(&names(&unpublished, NAMED));
        writeln!(out, "{}", paint.warning(format!("{names} {verb} not published")))?;
    }
    Ok(())
}

/// Whether layers and fix are the same.
fn has_one_cause(a: &WasteFinding, b: &WasteFinding) -> bool {
    let cause =
        |finding: &WasteFinding| (finding.owner.clone(), finding.kind, finding.layer.number);
    cause(a) == cause(b) && a.by == b.by && a.fix == b.fix
}

fn heading(finding: &WasteFinding, (paint, out): (Paint, &mut dyn Write)) -> io::Result<()> {
    let files = match (finding.kind, finding.files) {
        (WasteKind::BuildTools, n) => format!(" ({})", count(n, "package")),
        (_, 1) => String::new(),
        (_, n) => format!(" ({})", count(n, "file")),
    };
    let path = paint.strong(sanitize::text(&finding.path));
    let owner = sanitize::text(&owner(&finding.owner));
    let bytes = pad_left(&size(finding.bytes), 8);
    let same = match (finding.kind, &finding.same) {
        (WasteKind::Duplicate, Some(same)) => format!("same content as {}", sanitize::text(same)),
        (WasteKind::Moved, Some(same)) => {
            format!("same content again, as {}", sanitize::text(same))
        }
        (kind, _) => kind.to_string(),
    };
    writeln!(out, "{bytes}  {owner}: {path}{files}: {same}")
}

/// What the later layer does.
fn verb(kind: WasteKind) -> &'static str {
    match kind {
        WasteKind::Deleted => "deleted in",
        WasteKind::Replaced => "replaced in",
        WasteKind::Secret => "hidden in",
        _ => "again in",
    }
}

fn details(
    view: WasteView<'_>,
    finding: &WasteFinding,
    (paint, out): (Paint, &mut dyn Write),
) -> io::Result<()> {
    let indent = " ".repeat(8);
    writeln!(
        out,
        "{indent}  {} {}",
        paint.faint("added in"),
        place(view, &finding.layer, finding)
    )?;
    if let Some(by) = &finding.by {
        writeln!(
            out,
            "{indent}  {} {}",
            paint.faint(verb(finding.kind)),
            place(view, by, finding)
        )?;
    }
    if finding.carried_by > 0 {
        let carried = count(finding.carried_by, "other image");
        writeln!(out, "{indent}  {} {carried}", paint.faint("also in"))?;
    }
    writeln!(out, "{indent}  {} {}", paint.faint("fix:"), sanitize::text(&finding.fix.advice))?;
    if let Some((place, line)) = &finding.fix.write {
        let place = match place {
            WritePlace::Instead(file, number) => {
                format!("change {}:{number} to:", view.relative(file).display())
            }
            WritePlace::Append(file) => format!("add to {}:", view.relative(file).display()),
        };
        let place = paint.faint(sanitize::text(&place));
        writeln!(out, "{indent}  {place} {}", paint.good(sanitize::text(line)))?;
    }
    Ok(())
}

/// `layer 3, web/Dockerfile:2: RUN …`
fn place(view: WasteView<'_>, layer: &LayerPlace, finding: &WasteFinding) -> String {
    let of = if layer.owner == finding.owner {
        String::new()
    } else {
        format!(" of {}", owner(&layer.owner))
    };
    let number = format!("layer {}{of}", layer.number);
    let made = match (&layer.source, &layer.history) {
        (Some(source), _) => {
            let file = view.relative(&source.file);
            format!(", {}:{}: {}", file.display(), source.line, fit(&source.text, INSTRUCTION))
        }
        (None, Some(history)) if !history.is_empty() => format!(": {}", fit(history, INSTRUCTION)),
        _ => String::new(),
    };
    sanitize::text(&(number + &made))
}

fn table(view: WasteView<'_>, (paint, out): (Paint, &mut dyn Write)) -> io::Result<()> {
    let head = ["image", "size", "wasted", "wasted in bases"].map(String::from);
    let row = |image: &crate::waste::ImageWaste| {
        [
            sanitize::text(image.node.as_str()),
            size(image.whole),
            size(image.own),
            size(image.inherited),
        ]
    };
    let rows: Vec<[String; 4]> = view.images().map(row).collect();
    if rows.is_empty() {
        return Ok(());
    }
    let widths: Vec<usize> = (0..head.len())
        .map(|column| rows.iter().chain([&head]).map(|row| width(&row[column])).max().unwrap_or(0))
        .collect();
    let line = |row: &[String; 4]| {
        let cells = row.iter().zip(&widths).enumerate().map(|(column, (cell, width))| {
            if column == 0 { pad(cell, *width) } else { pad_left(cell, *width) }
        });
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    writeln!(out, "{}", paint.faint(line(&head)))?;
    rows.iter().try_for_each(|row| writeln!(out, "{}", line(row)))?;
    writeln!(out)
}

fn totals(view: WasteView<'_>, out: &mut dyn Write) -> io::Result<()> {
    let images = view.images().count();
    let place = sanitize::text(view.place);
    if images == 0 {
        return writeln!(out, "no image that could be read is published in {place}");
    }
    let sum = |is_certain: bool| -> u64 {
        let of = view.findings().filter(|finding| finding.kind.is_certain() == is_certain);
        of.map(|finding| finding.bytes).fold(0, u64::saturating_add)
    };
    let findings = count(view.findings().count(), "finding");
    writeln!(
        out,
        "{}, {findings}: {} wasted, and {} that the images may not need (unpacked; shared bytes count once)",
        count(images, "image"),
        size(sum(true)),
        size(sum(false))
    )
}
