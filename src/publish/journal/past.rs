//! What a journal says, as far as it is whole.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use jiff::Timestamp;

use super::{Asked, At, Began, Ended, Line, Move, is_run_id};
use crate::{
    hierarchy::NodeName,
    image::{Repository, Tagged},
};

/// A run as its journal tells it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Past {
    pub began: Began,
    /// `None`: it never came to the point where tags move.
    pub moves: Option<Vec<Move>>,
    /// When it came to that point; older journals do not say.
    committed: Option<Timestamp>,
    /// What became of single moves. Where nothing is said, the process may have died in between.
    pub fates: BTreeMap<usize, Fate>,
    /// Why tags went back.
    pub turned: Option<String>,
    pub ended: Option<Ended>,
}

/// What became of a move.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    Moved,
    /// Somebody else moved the tag.
    Left,
    /// It was moved and put back.
    Back,
}

impl Past {
    pub(super) fn began(began: Began) -> Self {
        Self {
            began,
            moves: None,
            committed: None,
            fates: BTreeMap::new(),
            turned: None,
            ended: None,
        }
    }

    /// `None` if not even the first line is whole.
    pub fn read(bytes: &[u8]) -> Option<Self> {
        Some(Self::read_whole(bytes)?.0)
    }

    /// Also says how many bytes are whole lines that we understand.
    pub(super) fn read_whole(bytes: &[u8]) -> Option<(Self, usize)> {
        let mut lines = bytes.split_inclusive(|byte| *byte == b'\n').map_while(|line| {
            let text = line.strip_suffix(b"\n")?;
            Some((serde_json::from_slice::<Line>(text).ok()?, line.len()))
        });
        let Some((Line::Began(began), mut whole)) = lines.next() else { return None };
        let of_rollback = match &began.asked {
            Asked::Rollback { of } => Some(of),
            Asked::Run { .. } => None,
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

    pub(super) fn take(&mut self, line: Line) {
        match line {
            Line::Began(_) => {}
            Line::Committed { moves, at } => {
                self.moves = Some(moves);
                self.committed = at.map(|At(at)| at);
            }
            Line::Moved(index) => _ = self.fates.insert(index, Fate::Moved),
            Line::Left(index) => _ = self.fates.insert(index, Fate::Left),
            Line::Back(index) => _ = self.fates.insert(index, Fate::Back),
            Line::Turned { why } => self.turned = Some(why),
            Line::Ended(ended) => self.ended = Some(ended),
        }
    }

    /// Whether tags may be half moved.
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

    /// When it ended with all its tags moved. The exit code does not say that: a run that holds back an
    /// image which failed promotes the others.
    pub fn succeeded(&self) -> Option<Timestamp> {
        let ended = self.ended.as_ref().filter(|_| self.moves.is_some() && self.turned.is_none());
        ended.map(|ended| ended.at)
    }

    /// The moves that it is known to have made and not to have taken back.
    pub fn made(&self) -> impl Iterator<Item = &Move> {
        let is_made = |index| self.fates.get(&index) == Some(&Fate::Moved);
        let moves = self.moves.iter().flatten().enumerate();
        moves.filter_map(move |(index, one)| is_made(index).then_some(one))
    }

    /// The moves that stand: those that it made and did not take back, and of one that was cut off also
    /// those that it may have made.
    pub fn standing(&self) -> impl Iterator<Item = &Move> {
        self.stands(|fate| fate == Fate::Moved).map(|(one, _)| one)
    }

    /// What may be taken back: also what was there already, since another run of the same images at the
    /// same moment had moved it, unless this run gave way. Says of each whether the run moved it.
    pub fn wanted(&self) -> impl Iterator<Item = (&Move, bool)> {
        let gave_way = self.turned.is_some();
        self.stands(move |fate| fate == Fate::Moved || fate == Fate::Left && !gave_way)
    }

    fn stands(&self, is_fate: impl Fn(Fate) -> bool) -> impl Iterator<Item = (&Move, bool)> {
        let moves = self.moves.iter().flatten().enumerate();
        moves.filter_map(move |(index, one)| match self.fates.get(&index) {
            Some(fate) if is_fate(*fate) => Some((one, *fate == Fate::Moved)),
            None if self.ended.is_none() => Some((one, true)),
            _ => None,
        })
    }

    /// Without the moves of other tags. A record is a text in a registry or in a folder, and what it
    /// says of a tag that is not ours does not move that tag.
    #[must_use]
    pub fn only(mut self, is_ours: impl Fn(&Tagged) -> bool) -> Self {
        let Some(moves) = self.moves.take() else { return self };
        let (mut kept, mut fates) = (Vec::new(), BTreeMap::new());
        for (index, one) in moves.into_iter().enumerate() {
            if is_ours(&one.tag) {
                fates.extend(self.fates.get(&index).map(|fate| (kept.len(), *fate)));
                kept.push(one);
            }
        }
        Self { moves: Some(kept), fates, ..self }
    }

    /// Whether it concerns one of these repositories. Of a run that came to move nothing nobody knows.
    pub fn concerns(&self, repositories: &BTreeSet<&Repository>) -> bool {
        let mut moves = self.moves.iter().flatten().peekable();
        moves.peek().is_none() || moves.any(|one| repositories.contains(&one.tag.repository))
    }

    /// The images that it promoted.
    pub fn promoted(&self) -> BTreeSet<&NodeName> {
        self.standing().map(|one| &one.node).collect()
    }
}
