//! What came of a run, as a page of Markdown: the step summary of GitHub Actions.
//!
//! **Invariant:** it is no longer than it may be, whatever happened in the run: rows, failures and the
//! graph are left out, in that order from the end, and it says so. Nothing that a build printed is Markdown or HTML there.

use std::fmt::Write as _;

use super::{
    Paint, closing,
    numbers::count,
    run_data::Record,
    sanitize, size_changes,
    table::{self, HEAD},
    timeline,
};
use crate::event::{Outcome, StepFailure, StepSummary, Summary};

/// Kept free for the sentences about what was left out.
const RESERVED: usize = 1024;

/// The page, of at most so many bytes.
pub fn page(record: &Record, graph: Option<&str>, limit: usize) -> String {
    let mut page = MarkdownPage::new(limit.saturating_sub(RESERVED));
    let Some(summary) = &record.summary else {
        page.error(record);
        return page.text;
    };
    let asked = match record.asked.as_str() {
        "" => "everything that is out of date".to_owned(),
        flags => escaped(&format!("`{}`", sanitize::text(flags))),
    };
    let commit = record.commit.as_ref().map(|it| escaped(&format!(", commit `{it}`")));
    let result = escaped(&closing::result(summary, Paint { colour: false }));
    page.add(&format!("### rebuild: {result}\n\n"));
    page.add(&format!("Asked for: {asked}{}.\n\n", commit.unwrap_or_default()));
    for line in closing::promotion(summary) {
        page.add(&format!("{}\n\n", escaped(&line)));
    }
    page.rows(summary);
    page.sizes(summary);
    page.failures(summary);
    page.warnings(record);
    if let Some(first) = timeline::first_failure(&record.jobs) {
        page.note(&escaped(&first));
    }
    if let Some(times) = timeline::gantt(&record.jobs)
        && !page.add(&format!(
            "<details><summary>timeline</summary>\n\n```mermaid\n{times}```\n\n</details>\n\n"
        ))
    {
        page.note("The timeline has no room here.");
    }
    if let Some(graph) = graph
        && !page.add(&format!(
            "<details><summary>graph</summary>\n\n```mermaid\n{graph}```\n\n</details>\n\n"
        ))
    {
        page.note("The graph has no room here.");
    }
    page.error(record);
    page.text
}

/// A page that ends where it has no room.
pub(super) struct MarkdownPage {
    pub(super) text: String,
    /// In bytes.
    left: usize,
}

impl MarkdownPage {
    /// At most this number of bytes, without the sentences about what was left out.
    pub(super) fn new(left: usize) -> Self {
        Self { text: String::new(), left }
    }

    /// Adds a whole piece, or nothing.
    pub(super) fn add(&mut self, text: &str) -> bool {
        let fits = text.len() <= self.left;
        if fits {
            self.left -= text.len();
            self.text.push_str(text);
        }
        fits
    }

    /// Of what was left out; there is room for a few.
    fn note(&mut self, text: &str) {
        self.text.push_str(text);
        self.text.push_str("\n\n");
    }

    fn rows(&mut self, summary: &Summary) {
        let (steps, more) = table::shown(summary);
        let rows = steps.into_iter().map(table::cells);
        self.table(&HEAD, "---|---|---|--:|--:|--:|---", rows);
        if more > 0 {
            self.note(&format!("And {more} more skipped or cancelled."));
        }
    }

    fn sizes(&mut self, summary: &Summary) {
        let Some((sentence, rows)) = size_changes::table(summary) else { return };
        if self.add(&format!("{}\n\n", escaped(&sentence))) {
            self.table(&size_changes::HEAD, "---|--:|--:|--:|--:", rows.into_iter());
        }
    }

    /// A row for each image, as many as there is room for.
    pub(super) fn table<const N: usize>(
        &mut self,
        head: &[&str; N],
        columns: &str,
        rows: impl Iterator<Item = [String; N]>,
    ) {
        let mut rows = rows.peekable();
        if rows.peek().is_none() {
            return;
        }
        self.add(&format!("| {} |\n|{columns}|\n", head.join(" | ")));
        let mut left_out = 0;
        for row in rows {
            let row = row.map(|cell| escaped(&cell)).join(" | ");
            left_out += usize::from(left_out > 0 || !self.add(&format!("| {row} |\n")));
        }
        self.text.push('\n');
        if left_out > 0 {
            self.note(&format!(
                "And {}, for which there is no room here.",
                count(left_out, "image")
            ));
        }
    }

    fn failures(&mut self, summary: &Summary) {
        let mut left_out = 0;
        for step in &summary.steps {
            if let Outcome::Failed(failure) = &step.outcome {
                left_out += usize::from(!self.add(&failed(step, failure)));
            }
        }
        if left_out > 0 {
            self.note(&format!("The ends of {} have no room here.", count(left_out, "log")));
        }
    }

    fn warnings(&mut self, record: &Record) {
        let mut left_out = 0;
        for (node, message) in &record.warnings {
            let node = node.as_ref().map_or(String::new(), |node| format!("`{node}`: "));
            let line =
                format!("- warning: {}\n", escaped(&sanitize::text(&format!("{node}{message}"))));
            left_out += usize::from(left_out > 0 || !self.add(&line));
        }
        if left_out > 0 {
            self.note(&format!("\nAnd {}.", count(left_out, "warning")));
        } else if !record.warnings.is_empty() {
            self.text.push('\n');
        }
    }

    fn error(&mut self, record: &Record) {
        if let Some((exit, message)) = &record.error {
            let message: Vec<String> =
                message.lines().map(|line| html(&sanitize::line(line.as_bytes(), false))).collect();
            let message = message.join("\n");
            let code = exit.code();
            self.add(&format!(
                "### rebuild: failed (exit code {code})\n\n<pre>{message}</pre>\n\n"
            ));
        }
    }
}

/// The last words of a failure, folded.
fn failed(step: &StepSummary, failure: &StepFailure) -> String {
    let mut text = String::new();
    let lines = failure.message.lines().map(str::as_bytes);
    for line in lines.chain(failure.tail.iter().map(Vec::as_slice)) {
        _ = writeln!(text, "{}", html(&sanitize::line(line, false)));
    }
    if let Some((path, line, instruction)) = &failure.at {
        let path = html(&sanitize::text(&path.to_string_lossy()));
        _ = writeln!(text, "at {path}:{line}: {}", html(&sanitize::text(instruction)));
    }
    let name = html(&sanitize::text(step.node.as_str()));
    let what = super::step::failed(failure);
    // An empty line would end the HTML block, and what follows would be Markdown.
    let text: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
    let text = text.join("\n");
    format!("<details><summary>{name}: {what}</summary>\n<pre>{text}</pre>\n</details>\n\n")
}

/// Text of one line as it may stand in a cell of a table: no Markdown, no HTML, but that what stands
/// in backticks is set as code.
pub(super) fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut is_code = false;
    for c in text.chars() {
        match c {
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '&' => out.push_str("&amp;"),
            '|' => out.push_str("&#124;"),
            '`' => {
                out.push_str(if is_code { "</code>" } else { "<code>" });
                is_code = !is_code;
            }
            '\\' | '*' | '_' | '[' | ']' | '!' | '#' | '~' | '$' | '@' => {
                out.push('\\');
                out.push(c);
            }
            c => out.push(c),
        }
    }
    if is_code {
        out.push_str("</code>");
    }
    out
}

fn html(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        exit::Exit,
        report::scenario::{self, recorded},
    };

    const PLENTY: usize = 1024 * 1024;

    #[test]
    fn a_run_with_a_failure() {
        let record = recorded(&scenario::held());
        insta::assert_snapshot!(page(&record, Some("graph LR\n  a --> b\n"), PLENTY), @r"
        ### rebuild: failed after 42 s (exit code 10): 1 failed, 1 skipped, 1 built, 1 unchanged, 1 already built, 1 up to date

        Asked for: <code>--since abc</code>, commit <code>0123456789ab</code>.

        promoted 2 tags of 2 images in 0.2 s, parents first

        <code>webapp-base</code> and 1 descendant keep their tags: <code>webapp-base</code> failed

        | image | result | why | time | size | change | tags |
        |---|---|---|--:|--:|--:|---|
        | os-base | built | its Dockerfile changed | 12 s | 118 MB | +1.2 MB | latest |
        | webapp-base | build failed | <code>os-base</code> is rebuilt | 30 s |  |  |  |
        | tools | built, unchanged, flaky | <code>os-base</code> is rebuilt | 30 s |  |  |  |
        | cron | already built | built, not promoted to <code>latest</code> |  |  |  | latest |
        | ruby-3.4 | skipped | <code>webapp-base</code> failed |  |  |  |  |

        Unpacked sizes: 1 image grew, 1.2 MB in all.

        | image | published | now | change | own |
        |---|--:|--:|--:|--:|
        | os-base | 117 MB | 118 MB | +1.2 MB (+1.0%) | 3.0 MB |

        <details><summary>webapp-base: build failed</summary>
        <pre>RUN make: exit code 2
        cc -o app app.c
        make: *** [app] Error 1\xff␛[2J
        at images/webapp-base/Dockerfile:7: RUN make</pre>
        </details>

        - warning: <code>tools</code>: <code>debian:1</code> is a tag nobody makes
        - warning: <code>tools</code>: attempt 1 of 3 failed: <code>RUN make</code> ended with exit code 2
        - warning: <code>tools</code>: failed once and then succeeded: <code>RUN make</code> ended with exit code 2

        <details><summary>graph</summary>

        ```mermaid
        graph LR
          a --> b
        ```

        </details>
        ");
    }

    #[test]
    fn an_image_over_its_budget() {
        let page = page(&recorded(&scenario::over_budget()), None, PLENTY);
        let row = "| os-base | built, over budget | its Dockerfile changed | 12 s | 118 MB | +1.2 MB | latest |";
        let change = "| os-base | 117 MB | 118 MB | +1.2 MB (+1.0%) | 3.0 MB |";
        let warning = "- warning: <code>os-base</code>: it has 32 layers, 2 more than its <code>layers</code> budget of 30";
        for expected in [row, change, warning] {
            assert!(page.contains(expected), "{expected}: {page}");
        }
    }

    #[test]
    fn a_run_that_did_not_begin() {
        let mut record = Record::new(String::new());
        let message = "no engine answers at <unix:///x>\n  hint: is it running?".to_owned();
        record.error = Some((Exit::EngineUnreachable, message));
        insta::assert_snapshot!(page(&record, None, PLENTY), @r"
        ### rebuild: failed (exit code 20)

        <pre>no engine answers at &lt;unix:///x&gt;
          hint: is it running?</pre>
        ");
    }

    #[test]
    fn it_is_never_too_long() {
        for events in [scenario::held(), scenario::refreshed(), scenario::wide(2000)] {
            let record = recorded(&events);
            let graph = "a --> b\n".repeat(10_000);
            let whole = page(&record, Some(&graph), usize::MAX);
            for limit in [RESERVED, RESERVED + 200, 2000, 20_000, whole.len() - 1] {
                let page = page(&record, Some(&graph), limit);
                assert!(page.len() <= limit, "{} of {limit}", page.len());
                assert!(page.contains("no room"), "{page}");
            }
        }
    }

    #[test]
    fn nothing_that_a_build_says_is_markup() {
        let text = "</pre>\n\n# head\n<img src=x>\n```\n| a | b |\n[x](y) @team";
        let page = page(&recorded(&scenario::hostile(text.as_bytes())), None, PLENTY);
        assert_eq!(page.matches("</pre>").count(), 1, "{page}");
        // Between the tags lines are not read as Markdown, up to the first that is empty.
        let (before, rest) = page.split_once("<pre>").unwrap();
        let (inside, after) = rest.split_once("</pre>").unwrap();
        assert!(!inside.contains("\n\n") && !inside.contains('<'), "{page}");
        for markup in ["<img", "\n# head", "```", "\n| a |", " [x]"] {
            assert!(!before.contains(markup) && !after.contains(markup), "{markup}: {page}");
        }
    }
}
