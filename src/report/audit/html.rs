//! A page of the same.

use maud::{Markup, html};

use super::{AuditView, in_days, is_fine, state, word};
use crate::{
    audit::{AuditFinding, BaseEvidence},
    report::{
        html::{
            SCRIPT, STYLE, document,
            words::{digest, first, sentence, text},
        },
        numbers::count,
    },
};

/// So many tags of an image are named.
const TAGS: usize = 6;

/// The audit in one file that requests nothing.
pub fn page(view: AuditView<'_>) -> String {
    let title = format!("Audit of {}", text(view.place));
    let body = html! {
        header.top { h1 { (title) } }
        main {
            section.summary aria-label="Summary" {
                p.result { (upper(&view.total())) "." }
                p.note { (view.at.strftime("%Y-%m-%d %H:%M:%S UTC").to_string()) }
            }
            (tables(view))
        }
        footer { "rebuild " (env!("CARGO_PKG_VERSION")) }
    };
    document(&format!("{title} - rebuild"), STYLE, SCRIPT, &body)
}

fn upper(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map(|first| first.to_uppercase().chain(chars).collect()).unwrap_or_default()
}

/// The bases, the images, and what could not be read.
fn tables(view: AuditView<'_>) -> Markup {
    let findings = &view.audit.findings;
    html! {
        section.bases aria-labelledby="bases-heading" {
            h2 #bases-heading { "Bases" }
            table role="table" {
                (head(&["Base", "Images", "Behind", "At most"]))
                tbody role="rowgroup" {
                    @for (name, counted) in view.bases() {
                        tr role="row" {
                            th scope="row" role="rowheader" { (text(name)) }
                            td.number role="cell" data-label="Images" { (counted.images) }
                            td.number role="cell" data-label="Behind" {
                                @if counted.behind > 0 { span.badge.not-built { (counted.behind) } } @else { "0" }
                            }
                            td.number role="cell" data-label="At most" {
                                @if let Some(days) = counted.days {
                                    (in_days(days))
                                }
                            }
                        }
                    }
                }
            }
        }
        section.images aria-labelledby="fleet-heading" {
            h2 #fleet-heading { (count(findings.len(), "image")) }
            label.search { "Filter: " input type="search" data-filter="#fleet-table" autocomplete="off"; " " output {} }
            table #fleet-table role="table" {
                (head(&["Image", "State", "Base", "Digest of the base", "Owner"]))
                tbody role="rowgroup" { @for finding in findings { (row(finding)) } }
            }
        }
        @if !view.audit.unread.is_empty() {
            section.warnings aria-label="Not read" {
                h2 { (count(view.audit.unread.len(), "image")) " not read" }
                ul {
                    @for (name, why) in &view.audit.unread { li { code { (text(name)) } ": " (sentence(why)) } }
                }
            }
        }
    }
}

fn head(columns: &[&str]) -> Markup {
    html! {
        thead role="rowgroup" {
            tr role="row" {
                @for column in columns { th scope="col" role="columnheader" { (column) } }
            }
        }
    }
}

fn row(finding: &AuditFinding) -> Markup {
    let tags: Vec<String> = finding.tags.iter().map(ToString::to_string).collect();
    let class = match word(finding) {
        "current" => "built",
        "behind" => "not-built",
        "not-published" => "running",
        _ => "kept",
    };
    html! {
        tr role="row" {
            th scope="row" role="rowheader" {
                (text(finding.repository.as_str()))
                @if let Some(platform) = &finding.platform { " " span.note { (text(&platform.to_string())) } }
                br;
                span.note.tags { (first(&tags, TAGS)) }
            }
            td role="cell" data-label="State" {
                span.badge.(class) { (word(finding).replace('-', " ")) }
                @if !(is_fine(finding) || word(finding) == "unknown") || state(finding).len() > 20 {
                    " " span.note { (sentence(&state(finding))) }
                }
            }
            td role="cell" data-label="Base" {
                @if let Some(base) = &finding.base {
                    (text(&base.name)) " " span.note { (evidence(base.evidence)) }
                }
            }
            td role="cell" data-label="Digest" {
                @if let Some(of_base) = finding.base.as_ref().and_then(|base| base.digest.as_ref()) {
                    (digest(of_base.as_str()))
                }
            }
            td role="cell" data-label="Owner" { @if let Some(owner) = &finding.owner { (text(owner)) } }
        }
    }
}

fn evidence(evidence: BaseEvidence) -> &'static str {
    match evidence {
        BaseEvidence::Annotation => "by annotation",
        BaseEvidence::Label => "by label",
        BaseEvidence::InheritedLabels => "by inherited labels",
        BaseEvidence::Layers => "by layers",
    }
}
