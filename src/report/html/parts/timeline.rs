//! A bar for each image in the order of the starts.

use std::{fmt::Write as _, time::Duration};

use maud::{Markup, html};

use crate::report::{
    html::{
        timing::{Bar, bars, chain, scale},
        view::{BarPart, RunView},
        words::{log_id, text},
    },
    numbers::seconds,
};

/// The width of a bar in its own units.
const WIDTH: f64 = 1000.0;
const HEIGHT: f64 = 16.0;
/// The most parts of the scale.
const PARTS: f64 = 6.0;
/// The most images of the chain that are named.
const CHAIN: usize = 12;

pub fn timeline(run: &RunView) -> Markup {
    let bars = bars(run);
    let Some(last) = bars.iter().map(|bar| bar.ended).max_by(f64::total_cmp) else {
        return html! {};
    };
    let (step, parts) = scale(last.max(0.1), PARTS);
    let length = step * f64::from(parts);
    let grid = (1..parts).fold(String::new(), |mut path, n| {
        _ = write!(path, "M{:.1} 0V{HEIGHT}", WIDTH * f64::from(n) / f64::from(parts));
        path
    });
    html! {
        section.timeline aria-labelledby="timeline-heading" {
            h2 #timeline-heading { "Timeline" }
            (chain_sentence(run, &bars))
            p.legend aria-hidden="true" {
                @for part in ["queued", "build", "wait", "test", "store"] {
                    span { svg.key viewBox="0 0 10 10" { rect.(part) width="10" height="10" {} } (legend(part)) }
                }
                span { svg.key viewBox="0 0 10 10" { path.critical d="M0 5h10" {} } "critical path" }
            }
            div.row.axis aria-hidden="true" {
                span {}
                span.ticks {
                    @for n in 0..=parts { span { (tick(step * f64::from(n), step)) } }
                }
                span {}
            }
            ol.bars {
                @for bar in &bars { (row(run, bar, length, &grid)) }
            }
        }
    }
}

fn legend(part: &str) -> &str {
    match part {
        "queued" => "waits for a job",
        "wait" => "waits for tests",
        part => part,
    }
}

fn tick(at: f64, step: f64) -> String {
    if at == 0.0 {
        return "0".to_owned();
    }
    if step < 1.0 {
        format!("{at:.1} s")
    } else {
        short(at).replace(".0 s", " s").replace("min 0 s", "min").replace("h 0 min", "h")
    }
}

fn short(at: f64) -> String {
    seconds(Duration::try_from_secs_f64(at).unwrap_or_default())
}

fn row(run: &RunView, bar: &Bar, length: f64, grid: &str) -> Markup {
    let image = &run.images[bar.image];
    let x = |at: f64| format!("{:.1}", (at / length * WIDTH).clamp(0.0, WIDTH));
    let width = |from: f64, to: f64| format!("{:.1}", ((to - from) / length * WIDTH).max(1.5));
    let has_log = image.log.lines().len() > 0 || image.failure.is_some();
    let took = image.took(bar.ended).map_or_else(|| short(bar.ended - bar.began), seconds);
    html! {
        li.row.critical[bar.is_critical] title=(description(run, bar)) {
            span.name {
                @if has_log {
                    a href=(format!("#{}", log_id(bar.image))) { (text(&image.name)) }
                } @else {
                    (text(&image.name))
                }
            }
            svg viewBox=(format!("0 0 {WIDTH} {HEIGHT}")) preserveAspectRatio="none" role="img"
                aria-label=(description(run, bar)) {
                path.grid d=(grid) {}
                @if let Some(queued) = bar.queued {
                    rect.queued x=(x(queued)) width=(width(queued, bar.began)) y="6" height="4" {}
                }
                @for (part, from, to) in &bar.parts {
                    rect.(part.word()) x=(x(*from)) width=(width(*from, *to)) y="2" height="12" {}
                }
                @if bar.is_critical {
                    path.critical d=(format!("M{} 15H{}", x(bar.began), x(bar.ended))) {}
                }
                @if image.failure.is_some() {
                    rect.failed x=(x(bar.ended - length / 250.0)) width=(WIDTH / 250.0) y="0" height=(HEIGHT) {}
                }
            }
            span.took { (took) @if let Some(waited) = waited(run, bar) { " " span.note { (waited) } } }
        }
    }
}

/// `after os-base`, `after os-base and 1.2 s for a job`.
fn waited(run: &RunView, bar: &Bar) -> Option<String> {
    let parent = bar.after.map(|parent| format!("after {}", text(&run.images[parent].name)));
    let queued = bar.queued.map(|since| format!("{} for a job", short(bar.began - since)));
    match (parent, queued) {
        (Some(parent), Some(queued)) => Some(format!("{parent} and {queued}")),
        (parent, queued) => parent.or(queued),
    }
}

fn description(run: &RunView, bar: &Bar) -> String {
    let image = &run.images[bar.image];
    let mut words =
        vec![format!("{}: {}, began at {}", text(&image.name), image.state(), short(bar.began))];
    words.extend(waited(run, bar));
    let parts = image.parts(bar.ended).into_iter().filter(|(_, took)| *took >= 0.05);
    words.extend(parts.map(|(part, took)| match part {
        BarPart::Wait => format!("{} wait for tests", short(took)),
        part => format!("{} {}", short(took), part.word()),
    }));
    if let Some(engine) = &image.engine {
        words.push(format!("on {}", text(engine)));
    }
    words.join(", ")
}

fn chain_sentence(run: &RunView, bars: &[Bar]) -> Markup {
    let chain = chain(bars);
    let Some((first, last)) = chain.first().zip(chain.last()) else { return html! {} };
    let shown = chain.iter().rev().take(CHAIN).rev();
    html! {
        p {
            "Critical path, " (short(last.ended - first.began)) ": "
            @if chain.len() > CHAIN { "… → " }
            @for (n, bar) in shown.enumerate() {
                @if n > 0 { " → " }
                code { (text(&run.images[bar.image].name)) }
            }
            "."
        }
    }
}
