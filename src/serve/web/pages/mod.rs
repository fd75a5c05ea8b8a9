//! The pages, as HTML that needs no script.
//!
//! **Invariant:** maud escapes every text. What a page shows is in its view, so that JSON has the same.

mod hierarchy;
mod image;
mod lists;
mod run;

use std::fmt::Write as _;

use jiff::Timestamp;
use maud::{DOCTYPE, Markup, html};

pub(super) use self::{
    hierarchy::{hierarchy, overview},
    image::image,
    lists::{deliveries, fleet, messages},
    run::{read_events, run},
};
use super::{access::WebUser, views::RunRow};
use crate::{
    report::{ago, html::sentence},
    serve::database::RunState,
};

/// What surrounds each page.
pub(super) struct Chrome {
    /// The client, if it may act.
    pub actor: Option<WebUser>,
    /// Whether there is a token to log in with.
    pub can_log_in: bool,
    /// Whether the server takes actions at all.
    pub can_act: bool,
    pub hierarchies: Vec<String>,
    pub has_fleet: bool,
    /// The number of changes that the page shows.
    pub changes: Option<u64>,
}

impl Chrome {
    /// A form with a button and the secret of this client. Nothing for a client that may not act.
    fn action(&self, address: &str, label: &str, fields: &Markup) -> Markup {
        let Some(actor) = &self.actor else { return html! {} };
        html! {
            form.action method="post" action=(address) {
                @if let Some(secret) = &actor.form_secret {
                    input type="hidden" name="secret" value=(secret);
                }
                (fields)
                button type="submit" { (label) }
            }
        }
    }

    /// With the address of the events that make an open page load again; empty for a page that loads every 5 seconds.
    fn page(&self, title: &str, events: Option<&str>, body: &Markup) -> Markup {
        html! {
            (DOCTYPE)
            html lang="en" {
                head {
                    meta charset="utf-8";
                    meta name="viewport" content="width=device-width, initial-scale=1";
                    meta name="color-scheme" content="light dark";
                    title { (title) " · rebuild" }
                    link rel="icon" href="data:,";
                    link rel="stylesheet" href="/assets/style.css";
                    script src="/assets/page.js" defer {}
                    @if events.is_some() {
                        // Without scripts, the browser loads the page again.
                        noscript { meta http-equiv="refresh" content="5"; }
                    }
                }
                body data-events=[events] data-changes=[self.changes] {
                    a.skip href="#main" { "Skip to content" }
                    (self.navigation())
                    main #main { (body) }
                    footer { "rebuild " (env!("CARGO_PKG_VERSION")) " · times are UTC · every page is JSON for programs: " code { "curl" } " it" }
                }
            }
        }
    }

    fn navigation(&self) -> Markup {
        html! {
            nav aria-label="Pages" {
                a.brand href="/" { "rebuild" }
                @if self.hierarchies.len() > 1 {
                    @for name in &self.hierarchies { a href=(hierarchy_address(name)) { (name) } }
                }
                a href="/deliveries" { "webhooks" }
                a href="/messages" { "messages" }
                @if self.has_fleet { a href="/fleet" { "fleet" } }
                span.space {}
                @match &self.actor {
                    Some(WebUser { user: Some(user), .. }) => span.note { (user) },
                    Some(_) => form.action method="post" action="/logout" { button.plain type="submit" { "log out" } },
                    None if self.can_log_in => a href="/login" { "log in" },
                    None => {}
                }
            }
        }
    }
}

pub(super) fn login(problem: Option<&str>) -> Markup {
    let chrome = Chrome {
        actor: None,
        can_log_in: false,
        can_act: true,
        hierarchies: Vec::new(),
        has_fleet: false,
        changes: None,
    };
    let body = html! {
        h1 { "Log in" }
        p { "Reading needs no login. The token starts, cancels and retries runs." }
        @if let Some(problem) = problem { p.problem role="alert" { (problem) } }
        form.login method="post" action="/login" {
            label for="token" { "Token" }
            input #token type="password" name="token" autocomplete="current-password" required autofocus;
            button type="submit" { "Log in" }
        }
    };
    chrome.page("Log in", None, &body)
}

pub(super) fn refusal(chrome: &Chrome, title: &str, what: &str) -> Markup {
    let body = html! {
        h1 { (title) }
        p { (what) "." }
        p { a href="/" { "All hierarchies" } }
    };
    chrome.page(title, None, &body)
}

fn hierarchy_address(name: &str) -> String {
    format!("/h/{}", path(name))
}

pub(super) fn image_address(hierarchy: &str, image: &str) -> String {
    format!("/h/{}/image/{}", path(hierarchy), path(image))
}

fn log_address(hierarchy: &str, image: &str) -> String {
    format!("/h/{}/log/{}", path(hierarchy), path(image))
}

fn run_address(run: i64) -> String {
    format!("/runs/{run}")
}

/// A text as a part of an address.
fn path(text: &str) -> String {
    let mut out = String::new();
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~/".contains(&byte) {
            out.push(char::from(byte));
        } else {
            _ = write!(out, "%{byte:02X}");
        }
    }
    out
}

/// `3 hours ago`, with the exact time as a tooltip.
fn moment(at: Timestamp) -> Markup {
    let exact = at.strftime("%Y-%m-%d %H:%M:%S UTC").to_string();
    html! { time datetime=(at.to_string()) title=(exact) { (ago(at, Timestamp::now())) } }
}

/// `1 min 20 s`.
fn took(began: Timestamp, ended: Timestamp) -> String {
    crate::report::seconds(began.duration_until(ended).unsigned_abs())
}

fn state_badge(state: RunState) -> Markup {
    let class = match state {
        RunState::Succeeded => "built",
        RunState::Failed => "failed",
        RunState::Running => "running",
        RunState::Queued | RunState::Cancelled | RunState::Superseded => "not-built",
    };
    html! { span.badge.(class) { (state.name()) } }
}

/// A table of runs.
fn runs_table(runs: &[RunRow]) -> Markup {
    html! {
        table {
            thead { tr { th { "run" } th { "state" } th { "when" } th { "took" } th { "why" } th { "result" } } }
            tbody {
                @for run in runs {
                    tr {
                        th scope="row" { a href=(run_address(run.id)) { "#" (run.id) } }
                        td data-label="state" { (state_badge(run.state)) }
                        td.number data-label="when" { (moment(run.began_at.unwrap_or(run.queued_at))) }
                        td.number data-label="took" {
                            @if let (Some(began), Some(ended)) = (run.began_at, run.ended_at) { (took(began, ended)) }
                        }
                        td.why data-label="why" { (reasons(&run.why)) }
                        td data-label="result" { @if let Some(result) = &run.result { (sentence(result)) } }
                    }
                }
            }
        }
    }
}

/// The first reason, and the number of the others.
fn reasons(why: &[String]) -> Markup {
    html! {
        @if let Some(first) = why.first() { (sentence(first)) }
        @if why.len() > 1 { span.note title=(why[1..].join("\n")) { " and " (why.len() - 1) " more" } }
    }
}
