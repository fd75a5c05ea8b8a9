//! Reads the complete lines of a journal.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use jiff::Timestamp;

use super::{Began, JournalEnd, JournalLine, JournalTime, Move, RunRequest, is_run_id};
use crate::{
    exit::Exit,
    hierarchy::NodeName,
    image::{Repository, Tagged},
};

/// A run, read from its journal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PastRun {
    pub began: Began,
    /// `None` if the run did not reach the commit point.
    pub moves: Option<Vec<Move>>,
    /// The time of the commit point; older journals do not contain it.
    committed: Option<Timestamp>,
    /// The result of each move. Without a result, the process may have died between the write and its line.
    pub fates: BTreeMap<usize, MoveFate>,
    /// Why the run moved tags back.
    pub turned: Option<String>,
    pub ended: Option<JournalEnd>,
    /// The tags that [`only`](Self::only) left out, of moves that a rollback would undo.
    pub left_out: Vec<Tagged>,
}

/// The result of a move.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MoveFate {
    Moved,
    /// Another user moved the tag.
    Left,
    /// The run moved the tag, and moved it back.
    Back,
}

impl PastRun {
    pub(super) fn began(began: Began) -> Self {
        Self {
            began,
            moves: None,
            committed: None,
            fates: BTreeMap::new(),
            turned: None,
            ended: None,
            left_out: Vec::new(),
        }
    }

    /// `None` if the first line is incomplete.
    pub fn read(bytes: &[u8]) -> Option<Self> {
        Some(Self::read_whole(bytes)?.0)
    }

    /// Also returns the length in bytes of the complete lines with a known kind.
    pub(super) fn read_whole(bytes: &[u8]) -> Option<(Self, usize)> {
        let mut lines = bytes.split_inclusive(|byte| *byte == b'\n').map_while(|line| {
            let text = line.strip_suffix(b"\n")?;
            Some((serde_json::from_slice::<JournalLine>(text).ok()?, line.len()))
        });
        let Some((JournalLine::Began(began), mut whole)) = lines.next() else { return None };
        let of_rollback = match &began.asked {
            RunRequest::Rollback { of } => Some(of),
            RunRequest::Run { .. } => None,
        };
        if ![Some(&began.run), of_rollback].into_iter().flatten().all(|run| is_run_id(run)) {
            return None;
        }
        let mut past = Self::began(began);
        for (line, length) in lines {
            past.take(line);
            whole += length;
        }
        Some((past, whole))
    }

    pub(super) fn take(&mut self, line: JournalLine) {
        match line {
            JournalLine::Began(_) => {}
            JournalLine::Committed { moves, at } => {
                self.moves = Some(moves);
                self.committed = at.map(|JournalTime(at)| at);
            }
            JournalLine::Moved(index) => _ = self.fates.insert(index, MoveFate::Moved),
            JournalLine::Left(index) => _ = self.fates.insert(index, MoveFate::Left),
            JournalLine::Back(index) => _ = self.fates.insert(index, MoveFate::Back),
            JournalLine::Turned { why } => self.turned = Some(why),
            JournalLine::Ended(ended) => self.ended = Some(ended),
        }
    }

    /// Whether a rollback can undo something of it.
    pub fn has_moved(&self) -> bool {
        self.wanted().next().is_some() || !self.left_out.is_empty()
    }

    /// Whether the promotion may be incomplete.
    pub fn is_open(&self) -> bool {
        self.moves.is_some() && self.ended.is_none()
    }

    /// When it began to move tags.
    pub fn committed(&self) -> Timestamp {
        self.committed.unwrap_or(self.began.at)
    }

    /// How long ago that was.
    pub fn age(&self) -> Duration {
        Timestamp::now().duration_since(self.committed()).try_into().unwrap_or_default()
    }

    /// When it ended with all its tags moved. The exit code does not tell: a run that holds back a failed
    /// image promotes the others.
    pub fn succeeded(&self) -> Option<Timestamp> {
        let ended = self.ended.as_ref().filter(|_| self.moves.is_some() && self.turned.is_none());
        ended.map(|ended| ended.at)
    }

    /// The moves that it recorded and did not undo.
    pub fn made(&self) -> impl Iterator<Item = &Move> {
        let is_made = |index| self.fates.get(&index) == Some(&MoveFate::Moved);
        self.tags().filter_map(move |(index, one)| is_made(index).then_some(one))
    }

    /// Without those that it only checks.
    fn tags(&self) -> impl Iterator<Item = (usize, &Move)> {
        self.moves.iter().flatten().enumerate().filter(|(_, one)| !one.is_check())
    }

    /// The moves in effect: those that it made and did not undo. For a run that was cut off, also those that
    /// it may have made.
    pub fn standing(&self) -> impl Iterator<Item = &Move> {
        self.stands(|fate| fate == MoveFate::Moved).map(|(one, _)| one)
    }

    /// The moves that a rollback can undo, each with whether this run made it. Unless this run lost against
    /// another run, they include tags that a concurrent run of the same images had already moved.
    pub fn wanted(&self) -> impl Iterator<Item = (&Move, bool)> {
        let gave_way = self.turned.is_some();
        self.stands(move |fate| fate == MoveFate::Moved || fate == MoveFate::Left && !gave_way)
    }

    fn stands(&self, is_fate: impl Fn(MoveFate) -> bool) -> impl Iterator<Item = (&Move, bool)> {
        self.tags().filter_map(move |(index, one)| match self.fates.get(&index) {
            Some(fate) if is_fate(*fate) => Some((one, *fate == MoveFate::Moved)),
            None if self.ended.is_none() => Some((one, true)),
            _ => None,
        })
    }

    /// Removes moves of tags of other repositories. Other users can write a record, and it must not move such
    /// tags.
    #[must_use]
    pub fn only(mut self, is_ours: impl Fn(&Tagged) -> bool) -> Self {
        let left_out = self.wanted().map(|(one, _)| &one.tag).filter(|tag| !is_ours(tag));
        let left_out = left_out.cloned().collect();
        let Some(moves) = self.moves.take() else { return self };
        let (mut kept, mut fates) = (Vec::new(), BTreeMap::new());
        for (index, one) in moves.into_iter().enumerate() {
            if is_ours(&one.tag) {
                fates.extend(self.fates.get(&index).map(|fate| (kept.len(), *fate)));
                kept.push(one);
            }
        }
        Self { moves: Some(kept), fates, left_out, ..self }
    }

    /// Whether it moves tags of one of these repositories. A run without moves has no repositories, so the
    /// answer is unknown.
    pub fn concerns(&self, repositories: &BTreeSet<&Repository>) -> bool {
        let mut moves = self.moves.iter().flatten().peekable();
        moves.peek().is_none() || moves.any(|one| repositories.contains(&one.tag.repository))
    }

    /// Whether it ended well, and neither built an image nor moved a tag.
    pub fn had_nothing_to_do(&self) -> bool {
        self.ended.as_ref().is_some_and(|ended| {
            ended.exit == Exit::Done && ended.built == Some(0) && ended.failed.is_empty()
        }) && self.standing().next().is_none()
    }

    /// The moves that it did not record, and those that it undid.
    pub fn unmade(&self) -> impl Iterator<Item = &Move> {
        let gave_way = self.turned.is_some();
        let is_there = move |fate: Option<&MoveFate>| match fate {
            Some(MoveFate::Moved) => true,
            Some(MoveFate::Left) => !gave_way,
            Some(MoveFate::Back) | None => false,
        };
        let moves = self.tags().filter(move |(index, _)| !is_there(self.fates.get(index)));
        moves.map(|(_, one)| one)
    }

    /// The images that it promoted.
    pub fn promoted(&self) -> BTreeSet<&NodeName> {
        self.standing().map(|one| &one.node).collect()
    }
}
