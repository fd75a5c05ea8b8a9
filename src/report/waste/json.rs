//! For programs: see `docs/diet.md`.

use std::{
    io::{self, Write},
    path::PathBuf,
};

use serde::Serialize;

use super::WasteView;
use crate::{
    hierarchy::NodeName,
    image::Digest,
    report::{json, plan::VERSION},
    waste::{FindingFile, ImageWaste, LayerPlace, WasteFinding, WasteOwner, WritePlace},
};

#[derive(Serialize)]
struct WasteDocument<'a> {
    v: u32,
    place: &'a str,
    findings: Vec<FindingView<'a>>,
    nodes: Vec<WasteNodeView<'a>>,
    unpublished: &'a [NodeName],
}

#[derive(Serialize)]
struct FindingView<'a> {
    owner: OwnerView<'a>,
    kind: &'static str,
    is_certain: bool,
    path: &'a str,
    files: usize,
    listed: &'a [FindingFile],
    bytes: u64,
    layer: LayerView<'a>,
    by: Option<LayerView<'a>>,
    carried_by: usize,
    fix: &'a str,
    write: Option<WriteView<'a>>,
}

#[derive(Serialize)]
struct OwnerView<'a> {
    kind: &'static str,
    name: &'a str,
}

#[derive(Serialize)]
struct LayerView<'a> {
    owner: OwnerView<'a>,
    number: usize,
    digest: &'a Digest,
    file: Option<PathBuf>,
    line: Option<usize>,
    text: Option<&'a str>,
}

#[derive(Serialize)]
struct WriteView<'a> {
    file: PathBuf,
    line: Option<usize>,
    text: &'a str,
}

#[derive(Serialize)]
struct WasteNodeView<'a> {
    node: &'a NodeName,
    files: u64,
    wasted: u64,
    inherited: u64,
}

/// Writes one JSON object with every finding.
pub fn json(view: WasteView<'_>, out: &mut dyn Write) -> io::Result<()> {
    let document = WasteDocument {
        v: VERSION,
        place: view.place,
        findings: view.findings().map(|finding| one(view, finding)).collect(),
        nodes: view.images().map(node).collect(),
        unpublished: &view.waste.unpublished,
    };
    json::write(&document, out)
}

fn node(image: &ImageWaste) -> WasteNodeView<'_> {
    let ImageWaste { node, whole, own, inherited } = image;
    WasteNodeView { node, files: *whole, wasted: *own, inherited: *inherited }
}

fn one<'a>(view: WasteView<'a>, finding: &'a WasteFinding) -> FindingView<'a> {
    let write = finding.fix.write.as_ref().map(|(place, text)| {
        let (file, line) = match place {
            WritePlace::Instead(file, line) => (file, Some(*line)),
            WritePlace::Append(file) => (file, None),
        };
        WriteView { file: view.relative(file), line, text }
    });
    FindingView {
        owner: owner(&finding.owner),
        kind: finding.kind.name(),
        is_certain: finding.kind.is_certain(),
        path: &finding.path,
        files: finding.files,
        listed: &finding.listed,
        bytes: finding.bytes,
        layer: layer(view, &finding.layer),
        by: finding.by.as_ref().map(|by| layer(view, by)),
        carried_by: finding.carried_by,
        fix: &finding.fix.advice,
        write,
    }
}

fn owner(owner: &WasteOwner) -> OwnerView<'_> {
    let kind = match owner {
        WasteOwner::Node(_) => "node",
        WasteOwner::Older(_) => "older",
        WasteOwner::Upstream(_) => "upstream",
    };
    OwnerView { kind, name: owner.name() }
}

fn layer<'a>(view: WasteView<'a>, place: &'a LayerPlace) -> LayerView<'a> {
    let source = place.source.as_ref();
    LayerView {
        owner: owner(&place.owner),
        number: place.number,
        digest: &place.digest,
        file: source.map(|source| view.relative(&source.file)),
        line: source.map(|source| source.line),
        text: source.map(|source| source.text.as_str()).or(place.history.as_deref()),
    }
}
