//! A table for people.

use std::io::{self, Write};

use super::{AuditView, behind, is_fine, state, word};
use crate::{
    audit::AuditFinding,
    report::{
        Paint,
        numbers::count,
        sanitize,
        width::{fit, pad, width},
    },
};

const HEADINGS: [&str; 4] = ["image", "base", "behind", "owner"];
/// A narrower column says nothing.
const LEAST: usize = 16;

/// Writes a row for each image whose base is not current, the bases, and the total.
pub fn text(
    view: AuditView<'_>,
    columns: Option<usize>,
    (colour, out): (bool, &mut dyn Write),
) -> io::Result<()> {
    let paint = Paint { colour };
    let shown: Vec<&AuditFinding> =
        view.audit.findings.iter().filter(|finding| view.all || !is_fine(finding)).collect();
    let rows: Vec<[String; 4]> = shown.iter().map(|finding| row(finding)).collect();
    let mut widths: [usize; 4] = HEADINGS.map(width);
    for row in &rows {
        for (widest, cell) in widths.iter_mut().zip(row) {
            *widest = (*widest).max(width(cell));
        }
    }
    // The names give way.
    if let Some(columns) = columns {
        let excess = (widths.iter().sum::<usize>() + 6).saturating_sub(columns);
        let [image, base, ..] = &mut widths;
        let from_image =
            (excess * *image / (*image + *base).max(1)).min(image.saturating_sub(LEAST));
        *image -= from_image;
        *base -= (excess - from_image).min(base.saturating_sub(LEAST));
    }
    let line = |cells: &[String; 4]| {
        let cells = cells.iter().zip(widths).map(|(cell, width)| pad(&fit(cell, width), width));
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    if !rows.is_empty() {
        writeln!(out, "{}", paint.faint(line(&HEADINGS.map(str::to_owned))))?;
    }
    for (finding, cells) in shown.iter().zip(&rows) {
        let text = line(cells);
        let text = match word(finding) {
            "behind" => paint.warning(text),
            "current" | "from-scratch" => paint.faint(text),
            _ => text,
        };
        writeln!(out, "{text}")?;
    }
    if !rows.is_empty() {
        writeln!(out)?;
    }
    for (name, counted) in view.bases().into_iter().filter(|(_, counted)| counted.behind > 0) {
        let days = counted.days.filter(|days| *days > 0).map_or(String::new(), |days| {
            let days = count(usize::try_from(days).unwrap_or_default(), "day");
            format!(", at most {days}")
        });
        let images = count(counted.images, "image");
        writeln!(out, "{}: {} of {images} behind{days}", sanitize::text(name), counted.behind)?;
    }
    writeln!(out, "{}", view.total())?;
    if !view.all {
        let counts = view.audit.counts();
        let parts = [
            (counts.current, "with a current base"),
            (counts.from_scratch, "built `FROM scratch`"),
        ];
        let parts = parts.into_iter().filter(|(n, _)| *n > 0);
        let parts: Vec<String> =
            parts.map(|(n, what)| format!("{} {what}", count(n, "image"))).collect();
        if !parts.is_empty() {
            writeln!(out, "not shown: {}; `--all` lists them", parts.join(", "))?;
        }
    }
    Ok(())
}

fn row(finding: &AuditFinding) -> [String; 4] {
    let more = match finding.tags.len() {
        0 | 1 => String::new(),
        n => format!(" (+{})", n - 1),
    };
    let platform = finding.platform.as_ref().map_or(String::new(), |one| format!(" {one}"));
    let state = match &finding.base {
        Some(base) if word(finding) == "behind" => match behind(base) {
            (None, None) => "yes".to_owned(),
            _ => state(finding).trim_end_matches(" behind").to_owned(),
        },
        _ => state(finding),
    };
    let base = finding.base.as_ref().map_or("-", |base| base.name.as_str());
    [
        sanitize::text(&format!("{}{more}{platform}", finding.name())),
        sanitize::text(base),
        sanitize::text(&state),
        sanitize::text(finding.owner.as_deref().unwrap_or("-")),
    ]
}
