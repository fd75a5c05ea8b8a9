//! The page around the parts.

use base64::{Engine as _, prelude::BASE64_STANDARD};
use maud::{DOCTYPE, Markup, PreEscaped, html};

use super::{RunView, SCRIPT, STYLE, parts, words::text};
use crate::image::Digest;

/// The report of a run in one file that requests nothing.
pub fn page(run: &RunView) -> String {
    let name = match run.run.as_str() {
        "" => "A run that did not begin".to_owned(),
        run => format!("Run {}", text(run)),
    };
    let body = html! {
        header.top {
            h1 { (name) }
            (parts::badge(run))
        }
        main {
            (parts::summary(run))
            (parts::warnings(run))
            (parts::picture(run))
            (parts::table(run))
            (parts::timeline(run))
            (parts::moves(run))
            (parts::packages(run))
            (parts::logs(run))
        }
        footer { "rebuild " (env!("CARGO_PKG_VERSION")) }
    };
    document(&format!("{name} - rebuild"), STYLE, SCRIPT, &body)
}

/// A file with a style sheet and a script, which a browser opens from the disk. The policy allows exactly these two,
/// and no request.
pub fn document(title: &str, style: &str, script: &str, body: &Markup) -> String {
    let policy = format!(
        "default-src 'none'; style-src {}; script-src {}; base-uri 'none'; form-action 'none'",
        source(style),
        source(script)
    );
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta http-equiv="Content-Security-Policy" content=(policy);
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { (title) }
                style { (PreEscaped(style)) }
            }
            body {
                (body)
                script { (PreEscaped(script)) }
            }
        }
    };
    page.into_string()
}

/// A text of ours as a source of a content security policy.
fn source(text: &str) -> String {
    let digest = Digest::of(text.as_bytes());
    let hex = digest.hex().as_bytes();
    let digit = |c: u8| char::from(c).to_digit(16).and_then(|n| u8::try_from(n).ok()).unwrap_or(0);
    let bytes: Vec<u8> = hex.chunks(2).map(|pair| digit(pair[0]) * 16 + digit(pair[1])).collect();
    format!("'sha256-{}'", BASE64_STANDARD.encode(bytes))
}
