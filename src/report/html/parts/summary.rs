//! What was asked, when, how long it took, and what came of it.

use maud::{Markup, html};

use crate::report::{
    html::{
        sentence::{duration, exit_meaning, result},
        view::RunView,
        words::{log_id, sentence, text},
    },
    numbers::count,
};

/// More warnings are folded.
const WARNINGS: usize = 5;

/// The exit in a word, in its colour.
pub fn badge(run: &RunView) -> Markup {
    let (class, word) = match &run.end {
        None => ("running", "running"),
        Some(end) if end.code == 0 => ("built", "done"),
        Some(end) if end.code >= 130 => ("not-built", end.exit.as_str()),
        Some(end) => ("failed", end.exit.as_str()),
    };
    html! { span.badge.(class) { (text(&word.replace('-', " "))) } }
}

pub fn summary(run: &RunView) -> Markup {
    let target = run.registry.as_deref();
    let failed = run.first_failed().and_then(|image| run.place(&image.name));
    html! {
        section.summary aria-label="Summary" {
            p.result {
                (sentence(&result(run)))
                @if let Some(place) = failed {
                    " " a href=(format!("#{}", log_id(place))) { "Log of the first failure" }
                }
            }
            dl {
                (row("Request", &html! {
                    @if run.asked.is_empty() { "everything that is out of date" } @else { code { (text(&run.asked)) } }
                }))
                @if let Some(commit) = &run.commit {
                    (row("Commit", &html! { code { (text(commit)) } }))
                }
                @if !run.run.is_empty() {
                    (row("Target", &html! {
                        @match target {
                            Some(registry) => code { (text(registry)) },
                            None => "local engine (no registry)",
                        }
                    }))
                }
                @if let Some(began) = run.began {
                    (row("Began", &html! {
                        time datetime=(began.to_string()) {
                            (began.strftime("%Y-%m-%d %H:%M:%S UTC").to_string())
                        }
                    }))
                }
                (row("Duration", &html! { (duration(run)) }))
                @if run.jobs > 0 {
                    (row("Jobs", &html! { (run.jobs) }))
                }
                @if let Some(end) = &run.end {
                    (row("Exit code", &html! {
                        strong { (end.code) } " " (text(&end.exit))
                        @if !exit_meaning(&end.exit).is_empty() {
                            ": " (exit_meaning(&end.exit))
                        }
                    }))
                }
            }
        }
    }
}

fn row(name: &str, value: &Markup) -> Markup {
    html! { div { dt { (name) } dd { (value) } } }
}

pub fn warnings(run: &RunView) -> Markup {
    let mut warnings: Vec<(Option<&str>, &str)> =
        run.warnings.iter().map(|(node, message)| (node.as_deref(), message.as_str())).collect();
    for image in &run.images {
        let budget = image.over_budget.iter().filter(|_| image.failure.is_none());
        warnings.extend(budget.map(|excess| (Some(image.name.as_str()), excess.as_str())));
    }
    let (first, rest) = warnings.split_at(warnings.len().min(WARNINGS));
    html! {
        @if !first.is_empty() {
            section.warnings aria-label="Warnings" {
                h2 { (count(warnings.len(), "warning")) }
                ul { @for warning in first { (item(*warning)) } }
                @if !rest.is_empty() {
                    details {
                        summary { (count(rest.len(), "more warning")) }
                        ul { @for warning in rest { (item(*warning)) } }
                    }
                }
            }
        }
    }
}

fn item((node, message): (Option<&str>, &str)) -> Markup {
    html! {
        li {
            @if let Some(node) = node { code { (text(node)) } ": " }
            (sentence(message))
        }
    }
}
