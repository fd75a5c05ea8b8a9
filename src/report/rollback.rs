//! `rebuild rollback` for programs: which tags move back, which stay, and why.

use std::io::{self, Write};

use serde::Serialize;

use super::plan::VERSION;
use crate::{
    exit::Exit,
    hierarchy::NodeName,
    image::{Digest, Tagged},
    publish::{
        journal::Move,
        promote::{Rollback, Staying},
    },
};

/// A rollback that ended, or that is only planned.
pub struct RollbackReport<'a> {
    /// The run whose tags move back.
    pub of: &'a str,
    /// The run that moved them; `None` if nothing moved.
    pub by: Option<&'a str>,
    pub planned: &'a Rollback,
    /// Tags of that run in repositories that no image of the hierarchy has now.
    pub left_out: &'a [Tagged],
    pub exit: Exit,
}

/// Writes one JSON object: see `docs/events.md`.
pub fn json(rolled_back: &RollbackReport<'_>, out: &mut dyn Write) -> io::Result<()> {
    #[derive(Serialize)]
    struct RollbackDocument<'a> {
        v: u32,
        of: &'a str,
        run: Option<&'a str>,
        exit: Exit,
        exit_code: u8,
        moves: Vec<MovedBack<'a>>,
        staying: Vec<StayingTag<'a>>,
        left_out: Vec<String>,
    }
    #[derive(Serialize)]
    struct MovedBack<'a> {
        node: &'a NodeName,
        tag: String,
        from: Option<&'a Digest>,
        to: Option<&'a Digest>,
    }
    #[derive(Serialize)]
    struct StayingTag<'a> {
        node: &'a NodeName,
        tag: String,
        reason: &'static str,
        why: String,
    }
    let RollbackReport { of, by, planned, left_out, exit } = *rolled_back;
    let moves = planned.moves.iter().map(|Move { node, tag, from, to, .. }| MovedBack {
        node,
        tag: tag.to_string(),
        from: from.as_ref(),
        to: to.as_ref(),
    });
    let staying = planned.staying.iter().map(|(one, staying)| StayingTag {
        node: &one.node,
        tag: one.tag.to_string(),
        reason: reason(staying),
        why: staying.to_string(),
    });
    let document = RollbackDocument {
        v: VERSION,
        of,
        run: by,
        exit,
        exit_code: exit.code(),
        moves: moves.collect(),
        staying: staying.collect(),
        left_out: left_out.iter().map(ToString::to_string).collect(),
    };
    super::json::write(&document, out)
}

fn reason(staying: &Staying) -> &'static str {
    match staying {
        Staying::BackAlready => "back-already",
        Staying::MovedSince { .. } => "moved-since",
        Staying::New => "new",
        Staying::Gone => "gone",
    }
}
