//! The page of a run, which changes while the run goes on.

use maud::{Markup, html};

use super::{Chrome, hierarchy_address, moment, run_address, state_badge, took};
use crate::{
    report::html::{RunView, parts, sentence},
    serve::{
        database::RunState,
        live_run::{EventReader, RunFiles},
        web::views::RunPage,
    },
};

/// What the events of a run have said so far. A file that is missing has said nothing.
pub(in crate::serve::web) fn read_events(files: &RunFiles) -> RunView {
    let mut view = RunView::default();
    let Ok(mut reader) = EventReader::new(&files.events) else { return view };
    while let Ok(Some(line)) = reader.next() {
        if let Ok(event) = serde_json::from_str(line) {
            view.take(&event);
        }
    }
    view
}

pub(in crate::serve::web) fn run(chrome: &Chrome, page: &RunPage, events: &RunView) -> Markup {
    let run = &page.run;
    let has_events = !events.images.is_empty();
    let body = html! {
        div #live {
            p { a href=(hierarchy_address(&run.hierarchy)) { (run.hierarchy) } }
            header.top { h1 { "Run #" (run.id) } (state_badge(run.state)) }
            @match (&run.result, run.state) {
                (Some(result), _) if !has_events => p.result { (sentence(result)) },
                (None, RunState::Queued) => p.result { "waits for the run before it" },
                _ => {}
            }
            @if let Some(next) = run.followed_by {
                p { "Its request was queued again as " a href=(run_address(next)) { "run #" (next) } "." }
            }
            @if !run.why.is_empty() {
                p { "Started by:" }
                ul { @for why in &run.why { li { (sentence(why)) } } }
            }
            p.note {
                code { (run.request) } ". Queued " (moment(run.queued_at))
                @if let Some(began) = run.began_at {
                    ", began " (moment(began))
                    @if let Some(ended) = run.ended_at { ", took " (took(began, ended)) }
                }
                "."
            }
            @if has_events {
                (parts::summary(events))
                (parts::warnings(events))
                (parts::picture(events))
                (parts::table(events))
                (parts::timeline(events))
                (parts::moves(events))
                (parts::packages(events))
                @if run.state.is_over() { (parts::logs(events)) }
            }
        }
        @if !run.state.is_over() && run.state != RunState::Queued {
            section.logs {
                h2 { "Live log" }
                div.log-body {
                    label.search {
                        "Search: "
                        input type="search" data-live-search="" autocomplete="off" aria-label="Search in the live log";
                        " " output {}
                    }
                    pre.lines #live-log tabindex="0" role="log" aria-label="Live log" {}
                    noscript { p.note { "The live log needs a script. The logs are here when the run has ended." } }
                }
            }
        }
        div.actions {
            @if run.state.is_over() {
                (chrome.action(&format!("{}/retry", run_address(run.id)), "Run again", &html! {}))
                @if has_events { p { a href=(format!("{}/report.html", run_address(run.id))) { "Download this report as one file" } } }
            } @else {
                (chrome.action(&format!("{}/cancel", run_address(run.id)), "Cancel", &html! {}))
            }
        }
    };
    let address = (!run.state.is_over()).then(|| format!("{}/events", run_address(run.id)));
    chrome.page(&format!("Run #{}", run.id), address.as_deref(), &body)
}
