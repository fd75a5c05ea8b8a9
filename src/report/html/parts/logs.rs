//! The last lines of each log, the failed images first and open.

use maud::{Markup, html};

use crate::{
    hierarchy::{NodeName, bytes},
    report::{
        html::{
            view::{ImageFailure, ImageView, LogTail, RunView},
            words::{log_id, sentence, text},
        },
        numbers::count,
        sanitize,
    },
};

pub fn logs(run: &RunView) -> Markup {
    let has_log = |image: &ImageView| image.log.lines().len() > 0 || image.failure.is_some();
    let mut images: Vec<usize> =
        (0..run.images.len()).filter(|place| has_log(&run.images[*place])).collect();
    images.sort_by_key(|place| (run.images[*place].failure.is_none(), *place));
    html! {
        @if !images.is_empty() {
            section.logs aria-labelledby="logs-heading" {
                h2 #logs-heading { "Logs" }
                @for place in images { (log(run, place)) }
            }
        }
    }
}

/// The log of the image at this place; open if it failed.
fn log(run: &RunView, place: usize) -> Markup {
    let Some(image) = run.images.get(place) else { return html! {} };
    let name = text(&image.name);
    html! {
        details.log open[image.failure.is_some()] {
            summary {
                span.name { (name) }
                " " span.badge.(image.class()) { (text(image.state())) }
                " " span.note { (count(image.log.lines().len(), "line")) }
            }
            div.log-body id=(log_id(place)) {
                @if let Some(failure) = &image.failure { (failed(failure)) }
                (lines(run, image))
                @if !image.reports.is_empty() {
                    p.note { "Reports of its gates: " @for path in &image.reports { code { (text(path)) } " " } }
                }
            }
        }
    }
}

fn failed(failure: &ImageFailure) -> Markup {
    let message = failure.message.lines().map(|line| sanitize::line(line.as_bytes(), false));
    html! {
        div.failure {
            p { strong { @if failure.phase.is_empty() { "failed" } @else { "failed: " (text(&failure.phase)) } } }
            pre { (message.collect::<Vec<_>>().join("\n")) }
            @if let Some((place, instruction)) = &failure.at {
                p { code { (text(place)) } @if !instruction.is_empty() { ": " code { (text(instruction)) } } }
            }
            @match failure.on_failure.as_str() {
                "hold" => p.note { (sentence("`on_failure: hold`: the image and its descendants get no new tags")) },
                "optional" => p.note { (sentence("`on_failure: optional`: the run continues")) },
                _ => {}
            }
        }
    }
}

fn lines(run: &RunView, image: &ImageView) -> Markup {
    let name = text(&image.name);
    let argument = NodeName::from(&*image.name).argument();
    let tail = image.failure.as_ref().map(|failure| &failure.tail[..]).unwrap_or_default();
    let path = image.failure.as_ref().and_then(|failure| failure.log.as_deref());
    let is_empty = image.log.lines().len() == 0;
    html! {
        @if let Some(left_out) = left_out(&image.log) {
            p.note { (left_out) }
        }
        @if !is_empty {
            label.search {
                "Search: "
                input type="search" data-search="" autocomplete="off" aria-label=(format!("Search in the log of {name}"));
                " " output {}
            }
            pre.lines tabindex="0" role="region" aria-label=(format!("Log of {name}")) {
                @for line in image.log.lines() {
                    @if line.is_heading { b { (line.text) } } @else { (line.text) }
                    "\n"
                }
            }
        } @else if !tail.is_empty() {
            pre.lines tabindex="0" role="region" aria-label=(format!("Log of {name}")) {
                @for line in tail { (sanitize::line(line.as_bytes(), false)) "\n" }
            }
        }
        p.note {
            "Whole log: "
            @if let Some(path) = path { code { (text(path)) } ", or " }
            code { "rebuild log " (text(&argument)) @if !run.run.is_empty() { " --run " (text(&run.run)) } }
            " on the machine of the run."
        }
    }
}

fn left_out(log: &LogTail) -> Option<String> {
    let lines = (log.left_out > 0).then(|| count(log.left_out, "earlier line"));
    let unread = (log.unread > 0).then(|| format!("the first {}", bytes(log.unread)));
    let parts: Vec<String> = unread.into_iter().chain(lines).collect();
    (!parts.is_empty()).then(|| format!("Left out here: {}.", parts.join(" and ")))
}
