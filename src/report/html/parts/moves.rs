//! The tags that moved, and the packages that were updated.

use maud::{Markup, html};

use crate::report::{
    html::{
        view::RunView,
        words::{digest, first, text},
    },
    numbers::count,
};

/// More rows are folded.
const ROWS: usize = 12;
/// So many images of a package are named.
const IMAGES: usize = 8;

pub fn moves(run: &RunView) -> Markup {
    if run.moved.is_empty() {
        return html! {};
    }
    let table = html! {
        table role="table" {
            thead role="rowgroup" {
                tr role="row" {
                    @for column in ["Tag", "From", "To"] {
                        th scope="col" role="columnheader" { (column) }
                    }
                }
            }
            tbody role="rowgroup" {
                @for tag in &run.moved {
                    tr role="row" {
                        th scope="row" role="rowheader" { (text(&tag.tag)) }
                        td role="cell" data-label="From" {
                            @match &tag.from { Some(from) => (digest(from)), None => "new" }
                        }
                        td role="cell" data-label="To" {
                            @match &tag.to { Some(to) => (digest(to)), None => "deleted" }
                        }
                    }
                }
            }
        }
    };
    let heading = format!("{} moved", count(run.moved.len(), "tag"));
    html! {
        section.moves aria-labelledby="moves-heading" {
            h2 #moves-heading { (heading) }
            @if run.moved.len() > ROWS {
                details { summary { "All " (run.moved.len()) " tags" } (table) }
            } @else {
                (table)
            }
        }
    }
}

pub fn packages(run: &RunView) -> Markup {
    if run.packages.is_empty() {
        return html! {};
    }
    html! {
        section.packages aria-labelledby="packages-heading" {
            h2 #packages-heading { "Package updates" }
            table role="table" {
                thead role="rowgroup" {
                    tr role="row" {
                        @for column in ["Package", "From", "To", "Images"] {
                            th scope="col" role="columnheader" { (column) }
                        }
                    }
                }
                tbody role="rowgroup" {
                    @for package in &run.packages {
                        tr role="row" {
                            th scope="row" role="rowheader" { (text(&package.package)) }
                            td role="cell" data-label="From" { code { (text(&package.from)) } }
                            td role="cell" data-label="To" {
                                code { (text(&package.to)) }
                                @if let Some(left) = &package.left {
                                    " " span.badge.failed { "not updated" } " still " code { (text(left)) }
                                }
                            }
                            td role="cell" data-label="Images" { (first(&package.images, IMAGES)) }
                        }
                    }
                }
            }
        }
    }
}
