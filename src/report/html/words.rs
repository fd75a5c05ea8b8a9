//! Texts of others on a page. maud escapes them; this makes control characters visible.

use maud::{Markup, html};

use crate::report::sanitize;

/// A name or a message in one line.
pub(in crate::report) fn text(text: &str) -> String {
    sanitize::text(text)
}

/// A sentence: what is between backticks is code.
pub fn sentence(text: &str) -> Markup {
    let text = sanitize::text(text);
    let parts: Vec<&str> = text.split('`').collect();
    if parts.len().is_multiple_of(2) {
        return html! { (text) };
    }
    html! {
        @for (n, part) in parts.iter().enumerate() {
            @if n % 2 == 1 { code { (part) } } @else { (part) }
        }
    }
}

/// `sha256:9f86d0818842`, and all of it in the tooltip.
pub(in crate::report) fn digest(digest: &str) -> Markup {
    let digest = sanitize::text(digest);
    let short = match digest.split_once(':') {
        Some((kind, hex)) => format!("{kind}:{}", hex.chars().take(12).collect::<String>()),
        None => digest.clone(),
    };
    html! { code.digest title=(digest) { (short) } }
}

/// The address on the page of the log of the image at this place.
pub(in crate::report) fn log_id(place: usize) -> String {
    format!("log-{place}")
}

/// A list of texts, of which at most `most` are shown.
pub(in crate::report) fn first(texts: &[String], most: usize) -> Markup {
    html! {
        @for (n, one) in texts.iter().take(most).enumerate() {
            @if n > 0 { ", " }
            code { (text(one)) }
        }
        @if texts.len() > most { " and " (texts.len() - most) " more" }
    }
}
