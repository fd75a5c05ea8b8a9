//! The page of an image.

use maud::{Markup, html};

use super::{
    Chrome, hierarchy::row_badge, hierarchy::short, hierarchy_address, image_address, log_address,
    moment,
};
use crate::{
    hierarchy::bytes,
    report::{count, html::sentence},
    serve::{
        database::PublishedSize,
        web::views::{ImageDetails, LogView, TestView},
    },
};

pub(in crate::serve::web) fn image(chrome: &Chrome, view: &ImageDetails) -> Markup {
    let row = &view.row;
    let fields = html! { input type="hidden" name="from" value=(row.name); };
    let run = format!("{}/run", hierarchy_address(&view.hierarchy));
    let body = html! {
        div #live {
            p { a href=(hierarchy_address(&view.hierarchy)) { (view.hierarchy) } }
            header.top {
                h1 { (row.name) }
                (row_badge(row))
            }
            section.summary {
                @if let Some(why) = &row.why { p.result { (sentence(why)) } }
                dl {
                    div { dt { "Built" } dd { @match row.built_at { Some(at) => (moment(at)), None => "never" } } }
                    @if let Some(since) = row.behind_since { div { dt { "Not current since" } dd { (moment(since)) } } }
                    @if let Some(digest) = &row.digest { div { dt { "Digest" } dd { code title=(digest) { (short(digest)) } } } }
                    @if let Some(size) = row.size { div { dt { @if view.is_in_registry { "Size in the registry, compressed" } @else { "Size, unpacked" } } dd { (bytes(size)) } } }
                    div { dt { "Repository" } dd { code { (row.repository) } } }
                    div { dt { "Tags" } dd { @for tag in &view.tags { code { (tag) } " " } } }
                }
            }
            @if let Some(failure) = &view.last_failure { (last_failure(failure)) }
            section {
                h2 { "Based on" }
                (links(&view.hierarchy, &row.parents))
                @if !view.upstreams.is_empty() { p { "Upstreams: " @for upstream in &view.upstreams { code { (upstream) } " " } } }
                h2 { "Dependents" }
                (links(&view.hierarchy, &view.children))
                @if view.descendants.len() > view.children.len() {
                    p.note { (view.descendants.len()) " descendants in all" }
                }
            }
            section { h2 { "Inputs of its fingerprint" } (inputs(&view.inputs)) }
            section { h2 { "Tests" } (tests(&view.hierarchy, &view.tests)) }
            (sizes(&view.sizes))
        }
        (chrome.action(&run, "Rebuild this image and its descendants", &fields))
        (log(view))
    };
    let events = format!("{}/events", hierarchy_address(&view.hierarchy));
    chrome.page(&row.name, Some(&events), &body)
}

fn links(hierarchy: &str, names: &[String]) -> Markup {
    html! {
        @if names.is_empty() { p.note { "none" } } @else {
            ul.names { @for name in names { li { a href=(image_address(hierarchy, name)) { (name) } } } }
        }
    }
}

fn last_failure(failure: &serde_json::Value) -> Markup {
    let text = |key: &str| failure[key].as_str().unwrap_or_default().to_owned();
    let setback = &failure["setback"];
    let others = setback["others"].as_array().into_iter().flatten();
    html! {
        div.failure {
            p { strong { "Not published in its last run" } " " span.note { (text("run")) } }
            @match (setback["message"].as_str(), setback["by"].as_str()) {
                (Some(message), _) => pre { (message) },
                (None, Some(by)) => p {
                    "because " code { (by) }
                    @for other in others.filter_map(|other| other.as_str()) { ", " code { (other) } }
                    " failed"
                },
                (None, None) => {}
            }
        }
    }
}

fn inputs(inputs: &[(String, String)]) -> Markup {
    html! {
        table {
            tbody { @for (name, value) in inputs { tr { th scope="row" { (name) } td data-label="value" { code { (value) } } } } }
        }
    }
}

fn tests(hierarchy: &str, tests: &[TestView]) -> Markup {
    html! {
        @if tests.is_empty() { p.note { "none" } } @else {
            ul {
                @for test in tests {
                    li { code { (test.test) }
                        @if let Some(from) = &test.from { span.note { " of " a href=(image_address(hierarchy, from)) { (from) } } }
                    }
                }
            }
        }
    }
}

/// The sizes of the published images over time, as bars and as a table.
fn sizes(sizes: &[PublishedSize]) -> Markup {
    const BAR: usize = 14;
    const HEIGHT: u64 = 80;
    let most = sizes.iter().map(|size| size.bytes).max().unwrap_or(1).max(1);
    html! {
        @if !sizes.is_empty() {
            section {
                h2 { "Sizes" }
                div.scroll.sizes tabindex="0" role="region" aria-label="Sizes over time" {
                    svg width=(sizes.len() * BAR) height=(HEIGHT) role="img" aria-label="Sizes over time" {
                        @for (n, size) in sizes.iter().enumerate() {
                            @let height = (size.bytes * HEIGHT / most).max(1);
                            g {
                                title { (bytes(size.bytes)) ", " (size.seen_at.strftime("%Y-%m-%d %H:%M").to_string()) }
                                rect x=(n * BAR) y=(HEIGHT - height) width=(BAR - 3) height=(height) {}
                            }
                        }
                    }
                }
                details {
                    summary { (count(sizes.len(), "published version")) }
                    table {
                        thead { tr { th { "seen" } th { "size" } th { "digest" } } }
                        tbody {
                            @for size in sizes.iter().rev() {
                                tr {
                                    td.number data-label="seen" { (moment(size.seen_at)) }
                                    td.number data-label="size" { (bytes(size.bytes)) }
                                    td.digest data-label="digest" { code title=(size.digest) { (short(&size.digest)) } }
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}

fn log(view: &ImageDetails) -> Markup {
    let Some(LogView { run, text, is_cut, .. }) = &view.log else {
        return html! { section { h2 { "Log" } p.note { "No log of this image is on this machine." } } };
    };
    html! {
        section.logs {
            h2 { "Log of the last build" }
            div.log-body {
                p.note {
                    "Run " code { (run) } ". "
                    @if *is_cut { "The beginning is left out. " }
                    a href=(log_address(&view.hierarchy, &view.row.name)) { "Whole log" }
                }
                label.search {
                    "Search: "
                    input type="search" data-search="" autocomplete="off" aria-label="Search in the log";
                    " " output {}
                }
                pre.lines tabindex="0" role="region" aria-label="Log" { (text) }
            }
        }
    }
}
