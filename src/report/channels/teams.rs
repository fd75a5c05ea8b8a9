//! An Adaptive Card in the message that the workflow "Post to a channel when a webhook request is received" of Teams takes:
//! <https://learn.microsoft.com/microsoftteams/platform/webhooks-and-connectors/how-to/connectors-using>,
//! <https://adaptivecards.io/explorer/>.

use serde_json::{Value, json};

use super::{Parts, cut, most};
use crate::report::{Record, numbers::count, table};

/// A message has at most 28 KB; a kilobyte stays for what Teams adds.
const LIMIT: usize = 27 * 1024;
/// The columns of the closing table that are shown: image, result, why, change.
const SHOWN: [(usize, u8); 4] = [(0, 3), (1, 2), (2, 5), (5, 1)];
/// Of each text.
const TEXT: usize = 500;

/// The body of the request. `job` is the address of the CI job.
pub fn message(record: &Record, job: Option<&str>) -> Value {
    let parts = Parts::of(record);
    let card = |rows: usize, failures: usize| card(&parts, rows, failures, job);
    let fits = |rows: usize, failures: usize| card(rows, failures).to_string().len() <= LIMIT;
    let failures = most(parts.failures.len(), |failures| fits(0, failures));
    let rows = most(parts.steps.len(), |rows| fits(rows, failures));
    card(rows, failures)
}

fn card(parts: &Parts<'_>, rows: usize, failures: usize, job: Option<&str>) -> Value {
    let mut body = vec![json!({
        "type": "TextBlock", "text": plain(&cut(&parts.title, TEXT)), "weight": "Bolder", "size": "Medium", "wrap": true,
    })];
    body.extend(parts.facts.iter().take(8).map(|fact| runs(&cut(fact, TEXT))));
    if rows > 0 {
        let head = SHOWN.map(|(column, _)| table::HEAD[column].to_owned());
        let cells = |step: &&crate::event::StepSummary| {
            let cells = table::cells(step);
            SHOWN.map(|(column, _)| cut(&cells[column].replace('`', ""), TEXT))
        };
        let all = std::iter::once(head).chain(parts.steps[..rows].iter().map(cells));
        body.push(json!({
            "type": "Table",
            "firstRowAsHeader": true,
            "columns": SHOWN.map(|(_, width)| json!({ "width": width })),
            "rows": all.map(row).collect::<Vec<_>>(),
        }));
    }
    let more = parts.steps.len() - rows;
    body.extend((more > 0).then(|| runs(&format!("and {}", count(more, "more image")))));
    for (name, what, tail) in &parts.failures[..failures] {
        body.push(runs(&format!("`{}`: {what}", cut(name, TEXT))));
        body.push(json!({
            "type": "RichTextBlock",
            "inlines": [{ "type": "TextRun", "text": tail, "fontType": "Monospace", "size": "Small" }],
        }));
    }
    let actions: Vec<Value> = job
        .map(|job| json!({ "type": "Action.OpenUrl", "title": "Log of the job", "url": job }))
        .into_iter()
        .collect();
    json!({
        "type": "message",
        "attachments": [{
            "contentType": "application/vnd.microsoft.card.adaptive",
            "contentUrl": null,
            "content": {
                "$schema": "http://adaptivecards.io/schemas/adaptive-card.json",
                "type": "AdaptiveCard",
                "version": "1.5",
                "msteams": { "width": "Full" },
                "body": body,
                "actions": actions,
            },
        }],
    })
}

fn row(cells: [String; SHOWN.len()]) -> Value {
    let cells = cells.map(|cell| json!({ "type": "TableCell", "items": [runs(&cell)] }));
    json!({ "type": "TableRow", "cells": cells })
}

/// Text that is no Markdown; what is in backticks has a font of its own.
fn runs(text: &str) -> Value {
    let mut inlines: Vec<Value> = Vec::new();
    for (n, part) in text.split('`').enumerate().filter(|(_, part)| !part.is_empty()) {
        inlines.push(if n % 2 == 1 {
            json!({ "type": "TextRun", "text": part, "fontType": "Monospace" })
        } else {
            json!(part)
        });
    }
    json!({ "type": "RichTextBlock", "inlines": inlines })
}

/// A `TextBlock` reads some Markdown.
fn plain(text: &str) -> String {
    text.replace(['`', '*', '_', '[', ']'], "")
}
