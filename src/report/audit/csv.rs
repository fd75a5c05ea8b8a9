//! For spreadsheets: RFC 4180.

use std::io::{self, Write};

use super::{AuditView, behind, word};
use crate::report::sanitize;

const HEAD: &str = "repository,tags,platform,digest,owner,state,base,base_digest,evidence,versions_behind,days_behind";

/// Writes a line for each image, those with the oldest bases first. What is not known is empty.
pub fn csv(view: AuditView<'_>, out: &mut dyn Write) -> io::Result<()> {
    writeln!(out, "{HEAD}")?;
    for finding in &view.audit.findings {
        let base = finding.base.as_ref();
        let (versions, days) = base.map(behind).unwrap_or_default();
        let evidence = base.and_then(|base| serde_json::to_value(base.evidence).ok());
        let tags: Vec<&str> = finding.tags.iter().map(crate::image::Tag::as_str).collect();
        let cells = [
            finding.repository.to_string(),
            tags.join(" "),
            finding.platform.as_ref().map(ToString::to_string).unwrap_or_default(),
            finding.digest.to_string(),
            finding.owner.clone().unwrap_or_default(),
            word(finding).to_owned(),
            base.map(|base| base.name.clone()).unwrap_or_default(),
            base.and_then(|base| base.digest.as_ref()).map(ToString::to_string).unwrap_or_default(),
            evidence.and_then(|word| word.as_str().map(str::to_owned)).unwrap_or_default(),
            versions.map(|n| n.to_string()).unwrap_or_default(),
            days.map(|n| n.to_string()).unwrap_or_default(),
        ];
        let cells = cells.iter().map(|cell| quoted(&sanitize::text(cell)));
        writeln!(out, "{}", cells.collect::<Vec<_>>().join(","))?;
    }
    Ok(())
}

/// A text from a label must not be a formula: spreadsheets execute cells that begin with these characters.
fn quoted(text: &str) -> String {
    let text = match text.chars().next() {
        Some('=' | '+' | '-' | '@') => format!("'{text}"),
        _ => text.to_owned(),
    };
    if text.contains([',', '"']) { format!("\"{}\"", text.replace('"', "\"\"")) } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_are_no_formulas() {
        let cells = ["a", "a, b", "say \"x\"", "=1+1", "@x,y"].map(quoted);
        assert_eq!(cells, ["a", "\"a, b\"", "\"say \"\"x\"\"\"", "'=1+1", "\"'@x,y\""]);
    }
}
