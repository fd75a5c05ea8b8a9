//! For programs: see `docs/diet.md`.

use std::io::{self, Write};

use serde::Serialize;

use super::SizeView;
use crate::{
    hierarchy::NodeName,
    image::Digest,
    report::{json, plan::VERSION},
    size::{Bytes, Measured},
};

#[derive(Serialize)]
struct SizeDocument<'a> {
    v: u32,
    place: &'a str,
    since: Option<&'a str>,
    nodes: Vec<SizeNodeView<'a>>,
    unpublished: &'a [NodeName],
    total: TotalView,
}

#[derive(Serialize)]
struct SizeNodeView<'a> {
    node: &'a NodeName,
    digest: &'a Digest,
    parent: Option<&'a NodeName>,
    layers: usize,
    own_layers: usize,
    own: BytesView,
    inherited: BytesView,
    whole: BytesView,
    with_descendants: BytesView,
    carried_by: usize,
    before: Option<BeforeView<'a>>,
    has_old_base: bool,
    includes_upstream: bool,
}

#[derive(Serialize)]
struct BeforeView<'a> {
    digest: &'a Digest,
    #[serde(flatten)]
    bytes: BytesView,
}

#[derive(Serialize)]
struct BytesView {
    compressed: Option<u64>,
    unpacked: Option<u64>,
}

#[derive(Serialize)]
struct TotalView {
    layers: usize,
    once: BytesView,
    alone: BytesView,
}

impl From<Bytes> for BytesView {
    fn from(Bytes { compressed, unpacked }: Bytes) -> Self {
        Self { compressed, unpacked }
    }
}

/// Writes one JSON object, images in build order.
pub fn json(view: SizeView<'_>, out: &mut dyn Write) -> io::Result<()> {
    let images = view.sizes.images.iter().filter(|image| view.is_shown(&image.node));
    let total = view.sizes.total;
    let document = SizeDocument {
        v: VERSION,
        place: view.place,
        since: view.since,
        nodes: images.map(node).collect(),
        unpublished: &view.sizes.unpublished,
        total: TotalView {
            layers: total.layers,
            once: total.once.into(),
            alone: total.alone.into(),
        },
    };
    json::write(&document, out)
}

fn node(image: &Measured) -> SizeNodeView<'_> {
    SizeNodeView {
        node: &image.node,
        digest: &image.digest,
        parent: image.parent.as_ref(),
        layers: image.layers,
        own_layers: image.own_layers,
        own: image.own.into(),
        inherited: image.inherited.into(),
        whole: image.whole().into(),
        with_descendants: image.with_descendants.into(),
        carried_by: image.carried_by,
        before: image
            .before
            .as_ref()
            .map(|(digest, bytes)| BeforeView { digest, bytes: (*bytes).into() }),
        has_old_base: image.has_old_base,
        includes_upstream: image.includes_upstream,
    }
}
