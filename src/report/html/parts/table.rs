//! A row for each image: its outcome, why, and what it is now.

use maud::{Markup, html};

use crate::{
    event::SizeBefore,
    report::{
        html::{
            view::{ImageOutcome, ImageSize, ImageView, RunView},
            words::{digest, first, log_id, sentence, text},
        },
        numbers::{count, seconds, size, size_change},
    },
};

/// So many tags of an image are named.
const TAGS: usize = 6;
/// From this number of images on, the table has a field to filter it.
const FILTERED: usize = 12;

pub fn table(run: &RunView) -> Markup {
    if run.images.is_empty() {
        return html! {};
    }
    let mut images: Vec<(usize, &ImageView)> = run.images.iter().enumerate().collect();
    images.sort_by_key(|(place, image)| (rank(image), *place));
    html! {
        section.images aria-labelledby="images-heading" {
            h2 #images-heading { (count(images.len(), "image")) }
            @if images.len() >= FILTERED {
                label.search { "Filter: " input type="search" data-filter="#images-table" autocomplete="off"; " " output {} }
            }
            table #images-table role="table" {
                thead role="rowgroup" {
                    tr role="row" {
                        @for column in ["Image", "Outcome", "Why", "Time", "Size", "Digest", "Tags"] {
                            th scope="col" role="columnheader" { (column) }
                        }
                    }
                }
                tbody role="rowgroup" {
                    @for (place, image) in images { (row(run, place, image)) }
                }
            }
        }
    }
}

/// What needs attention first.
fn rank(image: &ImageView) -> u8 {
    match image.outcome {
        Some(ImageOutcome::Failed) => 0,
        None if image.is_running() => 1,
        Some(ImageOutcome::Skipped | ImageOutcome::Cancelled) => 2,
        Some(ImageOutcome::Built) => 3,
        Some(ImageOutcome::Unchanged | ImageOutcome::Reused) => 4,
        None => 5,
        Some(ImageOutcome::Held | ImageOutcome::Kept) => 6,
    }
}

fn row(run: &RunView, place: usize, image: &ImageView) -> Markup {
    let has_log = image.log.lines().len() > 0 || image.failure.is_some();
    html! {
        tr role="row" {
            th scope="row" role="rowheader" {
                @if has_log {
                    a href=(format!("#{}", log_id(place))) { (text(&image.name)) }
                } @else {
                    (text(&image.name))
                }
            }
            td role="cell" data-label="Outcome" {
                span.badge.(image.class()) { (text(image.state())) }
                @if image.attempts > 1 { " " span.note { (image.attempts) " attempts" } }
            }
            td.why role="cell" data-label="Why" {
                @if image.why != image.state() { (sentence(&image.why)) }
            }
            td.number role="cell" data-label="Time" {
                @if let Some(took) = image.took(run.now).filter(|_| image.started.is_some()) { (seconds(took)) }
            }
            td.number role="cell" data-label="Size" {
                @if let Some(ImageSize { unpacked, before }) = image.size {
                    (size(unpacked))
                    @if before != SizeBefore::Unknown {
                        " " span.note { "(" (size_change(unpacked, before)) ")" }
                    }
                }
            }
            td role="cell" data-label="Digest" {
                @if let Some(one) = &image.digest { (digest(one)) }
            }
            td.tags role="cell" data-label="Tags" {
                @if image.promoted.is_empty() {
                    span.note { (first(&image.tags, TAGS)) }
                } @else {
                    (first(&image.promoted, TAGS)) " " span.note { "moved" }
                }
            }
        }
    }
}
