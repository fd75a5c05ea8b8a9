//! A message of Block Kit, as an incoming webhook of Slack takes it:
//! <https://api.slack.com/messaging/webhooks>, <https://api.slack.com/reference/block-kit/blocks>.

use serde_json::{Value, json};

use super::{Parts, cut, most};
use crate::{
    event::Summary,
    report::{Paint, Record, numbers::count, table},
};

/// Of a `header`, and of the text of a `section`. A message has at most 50 blocks; this has fewer than 15.
const HEADER: usize = 150;
const SECTION: usize = 3000;
/// Sections with rows: more would be a long message.
const TABLES: usize = 4;
/// Columns of the table, which Slack does not wrap on a wide screen.
const COLUMNS: usize = 110;
/// Around a table, and for what is escaped.
const FENCE: usize = 8;

/// The body of the request. `job` is the address of the CI job.
pub fn message(record: &Record, job: Option<&str>) -> Value {
    let parts = Parts::of(record);
    let mut blocks = vec![
        json!({ "type": "header", "text": { "type": "plain_text", "text": cut(&parts.title, HEADER), "emoji": false } }),
        section(&cut(&escaped(&parts.facts.join("\n")), SECTION)),
    ];
    let rows = |shown: usize| match &record.summary {
        Some(summary) => {
            let steps = parts.steps[..shown].iter().map(|&step| step.clone()).collect();
            chunks(&Summary { steps, ..summary.clone() })
        }
        None => Vec::new(),
    };
    let shown = most(parts.steps.len(), |shown| rows(shown).len() <= TABLES);
    blocks.extend(rows(shown).iter().map(|rows| section(&fenced(rows))));
    for (name, what, tail) in &parts.failures {
        let tail = fenced(&cut(&escaped(tail), SECTION / 2));
        blocks.push(section(&format!("*{}*: {what}\n{tail}", escaped(&cut(name, 200)))));
    }
    let more = parts.steps.len() - shown;
    let more = (more > 0).then(|| format!("and {}", count(more, "more image")));
    let job = job.map(|job| format!("<{}|log of the job>", escaped(job).replace('|', "%7C")));
    let foot: Vec<String> = more.into_iter().chain(job).collect();
    if !foot.is_empty() {
        blocks.push(json!({ "type": "context", "elements": [marked_up(&foot.join(" · "))] }));
    }
    json!({ "text": escaped(&parts.title), "blocks": blocks })
}

fn section(text: &str) -> Value {
    json!({ "type": "section", "text": marked_up(text) })
}

/// `verbatim`: Slack makes no links and mentions of words that a build printed, such as `@here`.
fn marked_up(text: &str) -> Value {
    json!({ "type": "mrkdwn", "text": text, "verbatim": true })
}

fn fenced(text: &str) -> String {
    format!("```\n{}\n```", text.trim_matches('\n'))
}

/// The table in pieces, each of which fits into a section.
fn chunks(summary: &Summary) -> Vec<String> {
    let mut text = Vec::new();
    // A vector takes everything.
    _ = table::write(summary, false, Some(COLUMNS), (Paint { colour: false }, &mut text));
    let text = escaped(&String::from_utf8_lossy(&text));
    let mut chunks: Vec<String> = Vec::new();
    let mut length = SECTION;
    for line in text.trim_matches('\n').lines() {
        let own = line.chars().count() + 1;
        if length + own > SECTION - FENCE {
            chunks.push(String::new());
            length = 0;
        }
        length += own;
        if let Some(last) = chunks.last_mut() {
            last.push_str(line);
            last.push('\n');
        }
    }
    chunks
}

/// Slack's three control characters, <https://api.slack.com/reference/surfaces/formatting#escaping>, and what would end a
/// block of code.
fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace("```", "'''")
}
