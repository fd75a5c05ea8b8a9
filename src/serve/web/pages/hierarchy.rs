//! The first page, and the page of a hierarchy.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use maud::{Markup, PreEscaped, html};

use super::{
    Chrome, hierarchy_address, image_address, moment, reasons, run_address, runs_table, state_badge,
};
use crate::{
    hierarchy::{NodeName, bytes},
    plan::ImageState,
    report::{
        drawing::{DrawnStanding, ImageFate, Standings},
        html::{outcome_word, sentence},
        tree::{self, TreeView},
    },
    serve::{
        served::HierarchyState,
        web::views::{HierarchyView, ImageRow, LagView, OverviewView, RunRow},
    },
};

/// The runs that are shown at once.
const FIRST_RUNS: usize = 5;

pub(in crate::serve::web) fn overview(chrome: &Chrome, view: &OverviewView) -> Markup {
    let body = html! {
        h1 { "Hierarchies" }
        div.cards {
            @for card in &view.hierarchies {
                article.card {
                    h2 { a href=(hierarchy_address(&card.name)) { (card.name) } }
                    p.note { (card.source) @if let Some(commit) = &card.commit { " at " code { (commit) } } }
                    @if let Some(problem) = &card.problem { p.problem { (sentence(problem)) } }
                    (lag(&card.lag))
                    @if let Some(run) = &card.running { (running(run)) }
                    @if let Some(run) = &card.last {
                        p { "Last run: " a href=(run_address(run.id)) { "#" (run.id) } " " (state_badge(run.state)) " "
                            @if let Some(ended) = run.ended_at { (moment(ended)) } }
                    }
                }
            }
        }
    };
    chrome.page("Hierarchies", Some(""), &body)
}

pub(in crate::serve::web) fn hierarchy(
    chrome: &Chrome,
    view: &HierarchyView,
    state: &HierarchyState,
) -> Markup {
    let body = html! {
        (start_form(chrome, view))
        div #live {
            header.top {
                h1 { (view.name) }
                span.note { (view.source) @if let Some(commit) = &view.commit { " at " code { (commit) } } }
            }
            @if let Some(problem) = &view.problem {
                div.problem role="alert" {
                    p { "The files cannot be read." @if view.hierarchy.is_some() { " The page shows their last valid state." } }
                    pre { (problem) }
                }
            }
            @if let Some(problem) = &view.check_problem {
                p.problem role="alert" { "The states cannot be read: " (sentence(problem)) }
            }
            @if let Some(run) = &view.running { (running(run)) }
            @for run in &view.queued {
                p { (state_badge(run.state)) " " a href=(run_address(run.id)) { "run #" (run.id) } ": " (reasons(&run.why)) }
            }
            @if let Some((at, problem)) = &view.retry {
                p.problem role="alert" { "A run starts again at " (at.strftime("%H:%M:%S").to_string()) ": " (sentence(problem)) }
            }
            (lag(&view.lag))
            p.note {
                @match view.checked_at {
                    Some(at) => { "States read " (moment(at)) "." },
                    None if view.problem.is_some() => "",
                    None => "The states are being read.",
                }
                @if let Some(next) = view.next_schedule {
                    " Next schedule: " (next.strftime("%Y-%m-%d %H:%M").to_string()) "."
                }
            }
            (picture(view, state))
            @if !view.runs.is_empty() {
                section aria-labelledby="runs-heading" {
                    h2 #runs-heading { "Runs" }
                    (runs_table(&view.runs[..view.runs.len().min(FIRST_RUNS)]))
                    @if view.runs.len() > FIRST_RUNS {
                        details { summary { "Older runs" } (runs_table(&view.runs[FIRST_RUNS..])) }
                    }
                }
            }
            (images(view))
        }
    };
    let events = format!("{}/events", hierarchy_address(&view.name));
    chrome.page(&view.name, Some(&events), &body)
}

fn running(run: &RunRow) -> Markup {
    html! {
        p.running {
            (state_badge(run.state)) " " a href=(run_address(run.id)) { "run #" (run.id) } ": " (reasons(&run.why))
            @if let (Some(done), Some(total)) = (run.done, run.total) {
                @if total > 0 {
                    " " progress max=(total) value=(done) {} " " (done) " of " (total)
                }
            }
        }
    }
}

/// How far the images lag behind.
fn lag(lag: &LagView) -> Markup {
    let number = |class: &str, count: usize, word: &str| {
        html! { div.number.(class) { strong { (count) } span { (word) } } }
    };
    html! {
        div.lag {
            (number("current", lag.current, "current"))
            (number("behind", lag.behind, "behind"))
            (number("held-back", lag.held_back, "not promoted"))
            (number("never-built", lag.never_built, "not built"))
            @if lag.updates_pending > 0 { (number("behind", lag.updates_pending, "updates pending")) }
            @if let Some(since) = lag.behind_since { div.number { strong { (moment(since)) } span { "first image behind" } } }
            @if let Some(oldest) = &lag.oldest { div.number { strong { (moment(oldest.built_at)) } span { "oldest: " (oldest.image) } } }
        }
    }
}

fn picture(view: &HierarchyView, state: &HierarchyState) -> Markup {
    let Some(hierarchy) = &view.hierarchy else { return html! {} };
    let standings: Standings = state
        .images
        .values()
        .map(|image| {
            let standing = DrawnStanding {
                state: image.state,
                since: image.since,
                size: image.size,
                why: image.cause.clone(),
            };
            (image.node.as_str().into(), standing)
        })
        .collect();
    let shown: BTreeSet<NodeName> =
        hierarchy.in_build_order().map(|node| node.name.clone()).collect();
    let is_asked = !standings.is_empty();
    let drawn = TreeView { hierarchy, shown: &shown, standings: is_asked.then_some(&standings) };
    let link = |image: &str| image_address(&view.name, image);
    let fates: BTreeMap<&str, ImageFate> = view
        .images
        .iter()
        .filter_map(|row| Some((&*row.name, fate(row.in_run.as_deref()?))))
        .collect();
    let svg = tree::linked_svg(drawn, (Timestamp::now(), &fates), &link);
    html! {
        section.picture-part aria-labelledby="picture-heading" {
            h2 #picture-heading { "Hierarchy" }
            div.picture.scroll role="region" aria-label="Picture of the hierarchy" tabindex="0" { (PreEscaped(svg)) }
        }
    }
}

/// The colour of an image in the current run.
fn fate(in_run: &str) -> ImageFate {
    match in_run {
        "building" => ImageFate::Running,
        "waiting" => ImageFate::Waiting,
        "built" => ImageFate::Built,
        "failed" => ImageFate::Failed,
        "skipped" | "cancelled" => ImageFate::NotBuilt,
        _ => ImageFate::Same,
    }
}

fn images(view: &HierarchyView) -> Markup {
    html! {
        section aria-labelledby="images-heading" {
            h2 #images-heading { "Images" }
            label.search {
                "Search: "
                input type="search" data-filter="#images" autocomplete="off" aria-label="Search images";
                " " output {}
            }
            table #images {
                thead { tr { th { "image" } th { "state" } th { "built" } th { "size" } th { "why" } th { "digest" } } }
                tbody {
                    // Those that need a look come first.
                    @for row in view.images.iter().filter(|row| !is_fine(row)) { (image_row(&view.name, row)) }
                    @for row in view.images.iter().filter(|row| is_fine(row)) { (image_row(&view.name, row)) }
                }
            }
        }
    }
}

fn is_fine(row: &ImageRow) -> bool {
    row.state == Some(ImageState::Current) && row.in_run.is_none()
}

fn image_row(hierarchy: &str, row: &ImageRow) -> Markup {
    html! {
        tr {
            th scope="row" { a href=(image_address(hierarchy, &row.name)) { (row.name) } }
            td data-label="state" {
                (row_badge(row))
            }
            td.number data-label="built" { @if let Some(at) = row.built_at { (moment(at)) } }
            td.number data-label="size" { @if let Some(size) = row.size { (bytes(size)) } }
            td.why data-label="why" {
                @if let (Some(why), true) = (&row.why, row.state != Some(ImageState::Current)) { (sentence(why)) }
                @if let Some(since) = row.behind_since { span.note { ", since " (moment(since)) } }
            }
            td.digest data-label="digest" { @if let Some(digest) = &row.digest { code title=(digest) { (short(digest)) } } }
        }
    }
}

/// What the current run does with an image, else its state.
pub(super) fn row_badge(row: &ImageRow) -> Markup {
    html! {
        @match (row.in_run.as_deref(), row.state) {
            (Some("building"), _) => span.badge.running { "building" },
            (Some("waiting"), _) => span.badge.not-built { "waiting" },
            (Some("failed"), _) => span.badge.failed { "failed" },
            (Some(outcome), _) => span.badge.built { (outcome_word(outcome)) },
            (None, Some(state)) if row.has_failed && state != ImageState::Current => {
                span.badge.failed { "failed" } " " span.badge.(state.name()) { (state) }
            },
            (None, Some(state)) => span.badge.(state.name()) { (state) },
            (None, None) => span.badge { "unknown" },
        }
    }
}

/// The first digits of a digest.
pub(super) fn short(digest: &str) -> &str {
    digest.strip_prefix("sha256:").and_then(|hex| hex.get(..12)).unwrap_or(digest)
}

fn start_form(chrome: &Chrome, view: &HierarchyView) -> Markup {
    let fields = html! {
        label { "Images, separated by commas " input type="text" name="from" placeholder="all that are out of date" list="names"; }
        datalist #names { @for row in &view.images { option value=(row.name) {} } }
        label { input type="checkbox" name="refresh" value="1"; " without the layer cache" }
    };
    let address = format!("{}/run", hierarchy_address(&view.name));
    html! {
        section.start aria-label="Start a run" {
            @if chrome.actor.is_some() {
                (chrome.action(&address, "Rebuild", &fields))
            } @else if chrome.can_log_in {
                p { a href="/login" { "Log in" } " to start, cancel and retry runs." }
            } @else if !chrome.can_act {
                p.note { "This server only shows: start it with " code { "--token-file FILE" } " to allow actions." }
            }
        }
    }
}
