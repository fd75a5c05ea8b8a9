//! Webhook deliveries, messages that could not be sent, and the fleet.

use maud::{Markup, html};
use serde_json::Value;

use super::{Chrome, moment, run_address};
use crate::report::{count, html::sentence};
use crate::serve::database::{Delivery, DeliveryState, MessageState, StoredMessage};

pub(in crate::serve::web) fn deliveries(
    chrome: &Chrome,
    deliveries: &[Delivery],
    takes_webhooks: bool,
) -> Markup {
    let body = html! {
        div #live {
            h1 { "Webhooks" }
            @if !takes_webhooks {
                p.problem { "This server takes no webhooks: start it with " code { "--webhook-secret-file FILE" } "." }
            } @else if deliveries.is_empty() {
                p { "No delivery has come yet. Addresses: " code { "/hooks/github" } ", " code { "/hooks/gitlab" } ", " code { "/hooks/gitea" }
                    ", " code { "/hooks/registry" } ", " code { "/hooks/harbor" } ", " code { "/hooks/docker-hub" } ", and "
                    code { "/hooks/NAME" } " for a hierarchy or an image." }
            }
            @if !deliveries.is_empty() {
                table {
                    thead { tr { th { "#" } th { "when" } th { "hook" } th { "event" } th { "outcome" } th { "runs" } } }
                    tbody {
                        @for delivery in deliveries {
                            tr {
                                th.number scope="row" { (delivery.id) }
                                td.number data-label="when" { (moment(delivery.at)) }
                                td data-label="hook" { code { (delivery.hook) } }
                                td.why data-label="event" { (sentence(&delivery.summary)) }
                                td data-label="outcome" {
                                    @match delivery.state {
                                        DeliveryState::Received => span.badge.not-built { "received" },
                                        DeliveryState::Started => span.badge.built { "started" },
                                        DeliveryState::Ignored => span.badge { "ignored" },
                                    }
                                    " " @if let Some(outcome) = &delivery.outcome { (sentence(outcome)) }
                                }
                                td data-label="runs" { @for run in &delivery.runs { a href=(run_address(*run)) { "#" (run) } " " } }
                            }
                        }
                    }
                }
            }
        }
    };
    chrome.page("Webhooks", Some(""), &body)
}

pub(in crate::serve::web) fn messages(chrome: &Chrome, messages: &[StoredMessage]) -> Markup {
    let body = html! {
        h1 { "Messages" }
        p { "Messages to the channels of " code { "notify:" } " that a run could not send. The server tries again with growing pauses, for a day." }
        @if messages.is_empty() { p.note { "none" } } @else {
            table {
                thead { tr { th { "channel" } th { "hierarchy" } th { "when" } th { "state" } th { "attempts" } th { "next attempt" } th { "problem" } th { "" } } }
                tbody {
                    @for message in messages {
                        tr {
                            th scope="row" { code { (message.channel) } }
                            td data-label="hierarchy" { (message.hierarchy) }
                            td.number data-label="when" { (moment(message.at)) }
                            td data-label="state" {
                                @match message.state {
                                    MessageState::Waiting => span.badge.not-built { "waiting" },
                                    MessageState::Sent => span.badge.built { "sent" },
                                    MessageState::Dead => span.badge.failed { "not sent" },
                                }
                            }
                            td.number data-label="attempts" { (message.attempts) }
                            td.number data-label="next attempt" { @if message.state == MessageState::Waiting { (message.next_at.strftime("%H:%M:%S").to_string()) } }
                            td.why data-label="problem" { (sentence(&message.problem)) }
                            td { @if message.state != MessageState::Sent {
                                (chrome.action(&format!("/messages/{}/retry", message.id), "Send now", &html! {}))
                            } }
                        }
                    }
                }
            }
        }
    };
    chrome.page("Messages", Some(""), &body)
}

/// The images of a registry and their bases: docs/audit.md.
pub(in crate::serve::web) fn fleet(
    chrome: &Chrome,
    registry: Option<&str>,
    audit: Option<&Result<Value, String>>,
) -> Markup {
    let body = html! {
        h1 { "Fleet" }
        @match (registry, audit) {
            (None, _) => p { "Start the server with " code { "--audit REGISTRY/PREFIX" } " to see which images of a registry have an outdated base." },
            (Some(registry), None) => p { "The server reads " code { (registry) } "." },
            (Some(registry), Some(Err(problem))) => p.problem { code { (registry) } " cannot be read: " (problem) },
            (Some(registry), Some(Ok(audit))) => { p { "Images in " code { (registry) } "." } (fleet_table(audit)) },
        }
    };
    chrome.page("Fleet", Some(""), &body)
}

fn fleet_table(audit: &Value) -> Markup {
    let images = audit["images"].as_array();
    let unread = audit["unread"].as_array().map_or(0, Vec::len);
    html! {
        div.lag {
            @for (key, class, word) in FLEET {
                @let count = audit["counts"][key].as_u64().unwrap_or_default();
                div.number.(class) { strong { (count) } span { (word) } }
            }
        }
        @if unread > 0 { p.problem { (count(unread, "image")) " cannot be read." } }
        label.search {
            "Search: "
            input type="search" data-filter="#fleet" autocomplete="off" aria-label="Search images";
            " " output {}
        }
        table #fleet {
            thead { tr { th { "image" } th { "base" } th { "state" } th { "versions behind" } th { "days behind" } th { "owner" } } }
            tbody { @for image in images.into_iter().flatten() { (fleet_row(image)) } }
        }
    }
}

/// The counts of an audit: the key, the class of the colour, and the words.
const FLEET: [(&str, &str, &str); 5] = [
    ("current", "current", "with a current base"),
    ("behind", "never-built", "with an outdated base"),
    ("not_published", "held-back", "on a base that is not published"),
    ("unchecked", "behind", "not checked"),
    ("unknown", "behind", "with an unknown base"),
];

/// The fields: docs/audit.md.
fn fleet_row(image: &Value) -> Markup {
    let tags: Vec<&str> =
        image["tags"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    let base = &image["base"];
    let state = shown(&image["state"]);
    let class = match &*state {
        "current" => "built",
        "behind" => "failed",
        _ => "not-built",
    };
    html! {
        tr {
            th scope="row" {
                (shown(&image["repository"])) @if !tags.is_empty() { ":" (tags.join(", ")) }
                @if let Some(platform) = image["platform"].as_str() { " " span.note { (platform) } }
            }
            td data-label="base" { (shown(&base["name"])) }
            td data-label="state" { span.badge.(class) { (state.replace('-', " ")) } }
            td.number data-label="versions" { (shown(&base["versions_behind"])) }
            td.number data-label="days" { (shown(&base["days_behind"])) }
            td data-label="owner" { (shown(&image["owner"])) }
        }
    }
}

fn shown(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Number(number) => number.to_string(),
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => String::new(),
    }
}
