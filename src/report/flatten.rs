//! What flattening an image saves and costs, for people and for programs.

use std::io::{self, Write};

use serde::Serialize;

use super::{
    json,
    numbers::{count, names, size},
    plan::VERSION,
    sanitize,
};
use crate::{
    hierarchy::{Flatten, NodeName},
    size::{FlattenForecast, ForecastBytes},
};

/// How many images a sentence names; it counts the others.
const NAMED: usize = 3;

/// Writes the answer of `rebuild size --what-if`.
pub fn text(forecast: &FlattenForecast, out: &mut dyn Write) -> io::Result<()> {
    sentences(forecast).iter().try_for_each(|sentence| writeln!(out, "{sentence}"))
}

/// The same as one JSON object.
pub fn json(forecast: &FlattenForecast, place: &str, out: &mut dyn Write) -> io::Result<()> {
    #[derive(Serialize)]
    struct WhatIfDocument<'a> {
        v: u32,
        place: &'a str,
        flatten: FlattenView<'a>,
    }
    let flatten = FlattenView::new(forecast);
    json::write(&WhatIfDocument { v: VERSION, place, flatten }, out)
}

/// The sizes are those of uncompressed layer tars, unless a sentence says something else.
pub(super) fn sentences(forecast: &FlattenForecast) -> Vec<String> {
    let name = |names_of: &[NodeName]| {
        let all: Vec<&NodeName> = names_of.iter().collect();
        sanitize::text(&names(&all, NAMED))
    };
    let node = sanitize::text(forecast.node.as_str());
    let Some(replaced) = forecast.replaced else {
        return vec![format!("`{node}`: the savings are unknown until its first build")];
    };
    let layers = count(replaced, "layer");
    let which = if forecast.flatten == Flatten::Own { " above its parent's" } else { "" };
    let has = if forecast.sharers.len() == 1 { "needs" } else { "need" };
    let mut sentences = Vec::new();
    if let Some(bytes) = forecast.bytes {
        sentences.push(format!(
            "`{node}`: {layers}{which} become one of {}, instead of {} (uncompressed)",
            size(bytes.after),
            size(bytes.before)
        ));
        let carried = match &forecast.descendants[..] {
            [] => String::new(),
            [_] => format!(", and its descendant {} too", name(&forecast.descendants)),
            descendants => format!(", and each of its descendants {} too", name(descendants)),
        };
        sentences.push(format!("it has {}{carried}", change(-bytes.saved())));
        if bytes.shared > 0 {
            let who = name(&forecast.sharers);
            let twice = size(bytes.shared);
            sentences.push(format!("{who} still {has} {twice} of these layers"));
        }
        sentences.push(format!("all published images together have {}", change(bytes.change())));
        return sentences;
    }
    sentences.push(format!(
        "`{node}`: {layers}{which} become one; the savings are unknown, because no command has read these layers"
    ));
    match forecast.compressed_shared {
        Some(shared) if shared > 0 => sentences.push(format!(
            "up to {} (compressed) are then stored twice: {} still {has} them",
            size(shared),
            name(&forecast.sharers)
        )),
        None if !forecast.sharers.is_empty() => sentences.push(format!(
            "some of these layers are then stored twice: {} still {has} them",
            name(&forecast.sharers)
        )),
        _ => sentences.push("no other image needs these layers: it costs nothing".to_owned()),
    }
    let own = if forecast.flatten == Flatten::Own { ":own" } else { "" };
    let argument = sanitize::text(&forecast.node.argument());
    sentences.push(format!("`rebuild size --what-if flatten={argument}{own}` reads them"));
    sentences
}

/// `1.2 MB less`, `340 kB more`, `the same size`.
fn change(bytes: i128) -> String {
    let amount = size(u64::try_from(bytes.unsigned_abs()).unwrap_or(u64::MAX));
    match bytes {
        0 => "the same size".to_owned(),
        ..0 => format!("{amount} less"),
        _ => format!("{amount} more"),
    }
}

/// As it stands in JSON.
#[derive(Serialize)]
pub(super) struct FlattenView<'a> {
    node: &'a NodeName,
    flatten: &'static str,
    layers: Option<usize>,
    bytes: Option<ForecastView>,
    compressed: Option<u64>,
    compressed_shared: Option<u64>,
    sharers: &'a [NodeName],
    descendants: &'a [NodeName],
}

#[derive(Serialize)]
struct ForecastView {
    before: u64,
    after: u64,
    shared: u64,
    saved: i128,
    change: i128,
}

impl<'a> FlattenView<'a> {
    pub(super) fn new(forecast: &'a FlattenForecast) -> Self {
        let view = |bytes: ForecastBytes| ForecastView {
            before: bytes.before,
            after: bytes.after,
            shared: bytes.shared,
            saved: bytes.saved(),
            change: bytes.change(),
        };
        Self {
            node: &forecast.node,
            flatten: forecast.flatten.as_str(),
            layers: forecast.replaced,
            bytes: forecast.bytes.map(view),
            compressed: forecast.compressed,
            compressed_shared: forecast.compressed_shared,
            sharers: &forecast.sharers,
            descendants: &forecast.descendants,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn savings_and_costs_are_sentences() {
        let mut forecast = FlattenForecast {
            node: "app".into(),
            flatten: Flatten::Own,
            replaced: Some(4),
            compressed: Some(50_000_000),
            compressed_shared: Some(0),
            bytes: Some(ForecastBytes { before: 120_400_000, after: 98_100_000, shared: 0 }),
            sharers: vec![],
            descendants: vec![],
        };
        let told = |forecast: &FlattenForecast| {
            let mut out = Vec::new();
            text(forecast, &mut out).unwrap();
            String::from_utf8(out).unwrap()
        };
        assert_eq!(
            told(&forecast),
            "`app`: 4 layers above its parent's become one of 98 MB, instead of 120 MB (uncompressed)\n\
             it has 22 MB less\n\
             all published images together have 22 MB less\n"
        );
        forecast.bytes = None;
        assert_eq!(
            told(&forecast),
            "`app`: 4 layers above its parent's become one; the savings are unknown, because no command has read these layers\n\
             no other image needs these layers: it costs nothing\n\
             `rebuild size --what-if flatten=app:own` reads them\n"
        );
        forecast.flatten = Flatten::All;
        forecast.sharers = vec!["os".into(), "tool".into()];
        forecast.descendants = vec!["x".into(), "y".into()];
        forecast.compressed_shared = Some(30_000_000);
        assert_eq!(
            told(&forecast),
            "`app`: 4 layers become one; the savings are unknown, because no command has read these layers\n\
             up to 30 MB (compressed) are then stored twice: `os` and `tool` still need them\n\
             `rebuild size --what-if flatten=app` reads them\n"
        );
        forecast.bytes =
            Some(ForecastBytes { before: 120_400_000, after: 98_100_000, shared: 80_000_000 });
        assert_eq!(
            told(&forecast),
            "`app`: 4 layers become one of 98 MB, instead of 120 MB (uncompressed)\n\
             it has 22 MB less, and each of its descendants `x` and `y` too\n\
             `os` and `tool` still need 80 MB of these layers\n\
             all published images together have 58 MB more\n"
        );
        let mut out = Vec::new();
        json(&forecast, "r.example/x", &mut out).unwrap();
        assert_eq!(
            String::from_utf8(out).unwrap().trim_end(),
            r#"{"v":1,"place":"r.example/x","flatten":{"node":"app","flatten":"true","layers":4,"bytes":{"before":120400000,"after":98100000,"shared":80000000,"saved":22300000,"change":57700000},"compressed":50000000,"compressed_shared":30000000,"sharers":["os","tool"],"descendants":["x","y"]}}"#
        );
    }
}
