//! The upstreams of a hierarchy and their copies.

use std::{
    collections::BTreeMap,
    io::{self, Write},
};

use serde::Serialize;

use super::{
    Paint,
    numbers::{count, size},
    sanitize,
    width::{pad, width},
};
use crate::{
    image::{Digest, Reference, Repository},
    plan::CopyState,
};

/// Everything that `rebuild mirror` found.
#[derive(Clone, Copy)]
pub struct MirrorView<'a> {
    pub upstreams: &'a [UpstreamRow],
    pub prefix: &'a str,
}

/// One upstream.
#[derive(Clone, Debug, Serialize)]
pub struct UpstreamRow {
    pub upstream: Reference,
    pub state: CopyState,
    pub copy: Repository,
    /// The digest of the upstream; `None` if its registry does not have it or does not answer.
    pub upstream_digest: Option<Digest>,
    /// The digest of the copy before.
    pub copy_digest: Option<Digest>,
    /// Bytes that were copied from another registry.
    pub streamed: Option<u64>,
    /// Bytes that the registry had in another repository.
    pub mounted: Option<u64>,
    /// The error of the upstream's registry.
    pub error: Option<String>,
}

fn state_name(state: CopyState) -> &'static str {
    match state {
        CopyState::Missing => "missing",
        CopyState::Unreachable => "unreachable",
        CopyState::OnlyCopy => "only in mirror",
        CopyState::Unconfirmed => "unconfirmed",
        CopyState::Moved => "moved",
        CopyState::New => "not copied",
        CopyState::Copied => "copied",
        CopyState::Current => "current",
    }
}

fn painted(state: CopyState, text: String, paint: Paint) -> String {
    match state {
        CopyState::Missing | CopyState::Unreachable => paint.bad(text),
        CopyState::OnlyCopy | CopyState::Unconfirmed | CopyState::Moved => paint.warning(text),
        CopyState::Copied => paint.good(text),
        CopyState::New | CopyState::Current => text,
    }
}

/// Writes a line for each upstream, and what there is in all.
pub fn text(view: MirrorView<'_>, (colour, out): (bool, &mut dyn Write)) -> io::Result<()> {
    let paint = Paint { colour };
    let mut rows: Vec<&UpstreamRow> = view.upstreams.iter().collect();
    rows.sort_by_key(|row| row.state);
    let states = rows.iter().map(|row| width(state_name(row.state))).max().unwrap_or(0);
    let name = |row: &UpstreamRow| sanitize::text(&row.upstream.to_string());
    let names = rows.iter().map(|row| width(&name(row))).max().unwrap_or(0);
    for row in rows {
        let state = painted(row.state, pad(state_name(row.state), states), paint);
        let line = format!("{state}  {}  {}", pad(&name(row), names), remark(row));
        writeln!(out, "{}", line.trim_end())?;
    }
    if !view.upstreams.is_empty() {
        writeln!(out)?;
    }
    writeln!(out, "{}", total(view))
}

fn remark(row: &UpstreamRow) -> String {
    let short = |digest: &Option<Digest>| digest.as_ref().map_or("", Digest::short).to_owned();
    match row.state {
        CopyState::Missing => "neither its registry nor the mirror has it".to_owned(),
        CopyState::Unreachable => sanitize::text(row.error.as_deref().unwrap_or_default()),
        CopyState::OnlyCopy => {
            format!(
                "{} in the mirror; its registry does not have it any more",
                short(&row.copy_digest)
            )
        }
        CopyState::Unconfirmed => {
            let error = sanitize::text(row.error.as_deref().unwrap_or_default());
            format!("{} in the mirror; {error}", short(&row.copy_digest))
        }
        CopyState::Moved => {
            format!(
                "{} in the mirror, now {}",
                short(&row.copy_digest),
                short(&row.upstream_digest)
            )
        }
        CopyState::New => short(&row.upstream_digest),
        CopyState::Copied => copied(row),
        CopyState::Current => short(&row.copy_digest),
    }
}

fn copied(row: &UpstreamRow) -> String {
    let digest = row.upstream_digest.as_ref().map_or("", Digest::short);
    let parts = [(row.streamed, "copied"), (row.mounted, "shared within the registry")];
    let parts = parts.iter().filter_map(|(bytes, verb)| {
        let bytes = bytes.filter(|bytes| *bytes > 0)?;
        Some(format!("{} {verb}", size(bytes)))
    });
    let parts: Vec<String> = parts.collect();
    if parts.is_empty() { digest.to_owned() } else { format!("{digest}, {}", parts.join(", ")) }
}

/// `3 upstreams in registry.example.com/mirror: 1 moved, 2 current`.
fn total(view: MirrorView<'_>) -> String {
    let mut counts: BTreeMap<CopyState, usize> = BTreeMap::new();
    for row in view.upstreams {
        *counts.entry(row.state).or_default() += 1;
    }
    let counted = counts.iter().map(|(state, n)| format!("{n} {}", state_name(*state)));
    let counted: Vec<String> = counted.collect();
    let prefix = sanitize::text(view.prefix);
    let all = count(view.upstreams.len(), "upstream");
    if counted.is_empty() {
        format!("no upstream for {prefix}")
    } else {
        format!("{all} for {prefix}: {}", counted.join(", "))
    }
}

/// Writes one object.
pub fn json(view: MirrorView<'_>, out: &mut dyn Write) -> io::Result<()> {
    #[derive(Serialize)]
    struct MirrorObject<'a> {
        v: u32,
        mirror: &'a str,
        upstreams: &'a [UpstreamRow],
    }
    let object = MirrorObject { v: 1, mirror: view.prefix, upstreams: view.upstreams };
    serde_json::to_writer_pretty(&mut *out, &object)?;
    writeln!(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(upstream: &str, state: CopyState) -> UpstreamRow {
        let digest = |text: &str| Some(Digest::of(text.as_bytes()));
        let is_there = !matches!(state, CopyState::Missing | CopyState::OnlyCopy);
        UpstreamRow {
            upstream: upstream.parse().unwrap(),
            state,
            copy: "r.io/mirror/docker.io/library/x".parse().unwrap(),
            upstream_digest: digest("now").filter(|_| is_there),
            copy_digest: digest("copy"),
            streamed: (state == CopyState::Copied).then_some(74_000_000),
            mounted: (state == CopyState::Copied).then_some(0),
            error: (state == CopyState::Unconfirmed).then(|| "cannot reach it".to_owned()),
        }
    }

    #[test]
    fn upstreams_that_need_an_action_come_first() {
        let upstreams = [
            row("alpine:3.20", CopyState::Current),
            row("debian:12", CopyState::Moved),
            row("old:1", CopyState::OnlyCopy),
            row("busybox", CopyState::Copied),
            row("ghcr.io/a/b", CopyState::Unconfirmed),
            row("gone", CopyState::Missing),
        ];
        let view = MirrorView { upstreams: &upstreams, prefix: "r.io/mirror" };
        let mut out = Vec::new();
        text(view, (false, &mut out)).unwrap();
        insta::assert_snapshot!(String::from_utf8(out).unwrap(), @r"
        missing         gone         neither its registry nor the mirror has it
        only in mirror  old:1        6f5a6034e770 in the mirror; its registry does not have it any more
        unconfirmed     ghcr.io/a/b  6f5a6034e770 in the mirror; cannot reach it
        moved           debian:12    6f5a6034e770 in the mirror, now ed5eb9a37e2d
        copied          busybox      ed5eb9a37e2d, 74 MB copied
        current         alpine:3.20  6f5a6034e770

        6 upstreams for r.io/mirror: 1 missing, 1 only in mirror, 1 unconfirmed, 1 moved, 1 copied, 1 current
        ");
        let mut out = Vec::new();
        let none = MirrorView { upstreams: &[], prefix: "r.io/mirror" };
        text(none, (false, &mut out)).unwrap();
        assert_eq!(String::from_utf8(out).unwrap(), "no upstream for r.io/mirror\n");
    }
}
