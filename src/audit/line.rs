//! The versions of a base in their order: what one moving tag pointed at.

use std::collections::BTreeSet;

use jiff::Timestamp;

use super::{BaseHistory, KnownBase, Standing, Unchecked, evidence::Identified};
use crate::image::{Digest, Repository, Tag, Tagged};

/// The characters between a moving tag and the rest of a version's tag: `12` and `12-20261130`.
const SEPARATORS: [char; 3] = ['.', '-', '_'];

/// A moving tag, and what it points at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Line<'a> {
    pub(super) repository: &'a Repository,
    pub(super) tag: &'a Tag,
    pub(super) newest: &'a Digest,
}

impl Line<'_> {
    pub(super) fn is_newest(&self, base: &KnownBase) -> bool {
        base.digests.contains(self.newest)
    }
}

/// The moving tag of a version: the tag that a label names, the one that the user named for the repository, that of its
/// node, the longest moving tag of which one of its own tags is a version, or that of the newest version of its node.
pub(super) fn line_of<'a>(
    base: &'a KnownBase,
    named: Option<&Tagged>,
    bases: &'a BaseHistory,
) -> Option<Line<'a>> {
    let repository = &base.repository;
    let node = || bases.nodes.get(&(repository.clone(), base.node()?.to_owned()));
    let named = named.map(|named| &named.tag).filter(|tag| !is_fixed(tag.as_str()));
    if let Some(tag) = named.or_else(|| bases.moving.get(repository)).or_else(node) {
        return line(bases, repository, tag);
    }
    line_of_tags(base, bases).or_else(|| line_of_newest(base, bases))
}

fn line_of_tags<'a>(base: &'a KnownBase, bases: &'a BaseHistory) -> Option<Line<'a>> {
    let repository = &base.repository;
    let own: BTreeSet<&Tag> = base.tags.iter().chain(former_tags(base, bases)).collect();
    let all: Vec<&Tag> = bases.tags_of(repository).collect();
    let fits = |tag: &&&Tag| {
        let versions = own.iter().any(|own| is_version(own.as_str(), tag.as_str()));
        (versions || own.contains(*tag)) && is_moving(tag, &all, bases, repository)
    };
    let longest = all.iter().filter(fits).max_by_key(|tag| tag.as_str().len());
    let is_latest = |tag: &&&Tag| tag.as_str() == "latest";
    let is_of_latest = own.iter().any(|tag| tag.as_str() == "latest" || is_dated(tag.as_str()));
    let latest = all.iter().find(is_latest).filter(|_| is_of_latest);
    // No tag points at another version.
    let is_its = |tag: &&Tag| line(bases, repository, tag).is_some_and(|line| line.is_newest(base));
    let only = all.iter().find(|_| all.iter().all(&is_its));
    line(bases, repository, longest.or(latest).or(only)?)
}

/// The moving tag of the published version of this node that was built last; without one, its tag with a date.
fn line_of_newest<'a>(base: &'a KnownBase, bases: &'a BaseHistory) -> Option<Line<'a>> {
    let node = base.node()?;
    let is_its =
        |other: &&KnownBase| other.repository == base.repository && other.node() == Some(node);
    let lines = bases.images.iter().filter(is_its).filter_map(|other| {
        let mut tags = other.tags.iter();
        let dated = || line(bases, &base.repository, tags.find(|tag| is_dated(tag.as_str()))?);
        Some((other.at()?, line_of_tags(other, bases).or_else(dated)?))
    });
    lines.max_by_key(|(at, _)| *at).map(|(_, line)| line)
}

/// Whether a tag is known to move: it has moved, or other tags are its versions.
fn is_moving(tag: &Tag, all: &[&Tag], bases: &BaseHistory, repository: &Repository) -> bool {
    let is_its = |one: &&super::BaseMove| one.tag.tag == *tag && one.tag.repository == *repository;
    let versions = |other: &&&Tag| is_version(other.as_str(), tag.as_str());
    !is_fixed(tag.as_str())
        && (all.iter().any(|other| versions(&other))
            || bases.moves.iter().filter(is_its).count() > 1)
}

fn line<'a>(bases: &'a BaseHistory, repository: &'a Repository, tag: &Tag) -> Option<Line<'a>> {
    let (at, newest) = bases.present.get_key_value(&repository.tagged(tag.clone()))?;
    Some(Line { repository: &at.repository, tag: &at.tag, newest })
}

/// The tags that pointed at a version once.
fn former_tags<'a>(base: &'a KnownBase, bases: &'a BaseHistory) -> impl Iterator<Item = &'a Tag> {
    let is_its = move |one: &&super::BaseMove| {
        one.tag.repository == base.repository && base.digests.contains(&one.to)
    };
    bases.moves.iter().filter(is_its).map(|one| &one.tag.tag)
}

/// Whether a tag is a version of a moving tag: `12-20261130` of `12`.
pub(super) fn is_version(tag: &str, moving: &str) -> bool {
    is_fixed(tag) && tag.strip_prefix(moving).is_some_and(|rest| rest.starts_with(SEPARATORS))
}

/// Whether a tag has the form of one that never moves: with a date, or with three numbers, such as 1.4.2.
fn is_fixed(tag: &str) -> bool {
    let mut numbers = tag.split(['.', '-', '_', '+']).map(|part| part.trim_start_matches('v'));
    let count = numbers
        .by_ref()
        .take_while(|part| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit()))
        .count();
    count >= 3 || is_dated(tag)
}

/// Whether a tag contains a date, such as 20261130 or 2026-11-30: it never moves.
fn is_dated(tag: &str) -> bool {
    let digits: String = tag.chars().filter(|c| !SEPARATORS.contains(c)).collect();
    let runs =
        tag.split(|c: char| !c.is_ascii_digit()).chain(digits.split(|c: char| !c.is_ascii_digit()));
    let is_date = |run: &str| {
        let year = run.get(..4).and_then(|year| year.parse::<u16>().ok());
        let month = run.get(4..6).and_then(|month| month.parse::<u8>().ok());
        run.len() >= 8
            && year.is_some_and(|year| (2000..2100).contains(&year))
            && month.is_some_and(|month| (1..=12).contains(&month))
    };
    runs.into_iter().any(is_date)
}

/// The name of a base, and whether it is the newest version.
pub(super) fn standing(found: &Identified<'_>, bases: &BaseHistory) -> (String, Standing) {
    let unchecked = |name: String, why| (name, Standing::Unchecked(why));
    let named = found.name.as_ref().and_then(|name| {
        let repository = bases.repository(&name.repository)?;
        Some(repository.tagged(name.tag_or_latest()?))
    });
    let written = || match &found.name {
        Some(name) => name.to_string(),
        None => found.digest.as_ref().map(ToString::to_string).unwrap_or_default(),
    };
    let line = match (found.known, &named) {
        (Some(known), named) => {
            // A label with the name that the repository had elsewhere says nothing about a tag here.
            let named = named.as_ref().filter(|named| named.repository == known.repository);
            line_of(known, named, bases)
        }
        (None, Some(named)) => line(bases, &named.repository, &named.tag),
        (None, None) => return unchecked(written(), Unchecked::NotRead),
    };
    let Some(line) = line else {
        let name = found.known.map_or_else(written, known_name);
        return unchecked(name, Unchecked::NoTag);
    };
    let name = format!("{}:{}", line.repository, line.tag);
    let Some(digest) = &found.digest else { return unchecked(name, Unchecked::NoDigest) };
    let own: BTreeSet<&Digest> =
        found.known.iter().flat_map(|known| &known.digests).chain([digest]).collect();
    if own.contains(line.newest) {
        return (name, Standing::Current);
    }
    let newest = bases.with_digest(line.newest);
    let of = |digests: &BTreeSet<&Digest>, base: Option<&KnownBase>| {
        base.and_then(KnownBase::at).or_else(|| moved_at(bases, &line, digests))
    };
    let newest_own = [line.newest].into();
    let times = (of(&own, found.known), of(&newest_own, newest.first().copied()));
    if let (Some(own_at), Some(newest_at)) = times
        && own_at > newest_at
    {
        return (name, Standing::NotPublished);
    }
    let days =
        times.0.zip(times.1).map(|(own, newest)| (newest.as_second() - own.as_second()) / 86_400);
    let versions =
        later_moves(bases, &line, &own).or_else(|| later_images(bases, found.known?, &line, times));
    (name, Standing::Behind { versions, days, newest: line.newest.clone() })
}

fn known_name(known: &KnownBase) -> String {
    match known.tags.first() {
        Some(tag) => format!("{}:{tag}", known.repository),
        None => known.repository.to_string(),
    }
}

/// When a tag last moved to one of these digests.
fn moved_at(
    bases: &BaseHistory,
    line: &Line<'_>,
    digests: &BTreeSet<&Digest>,
) -> Option<Timestamp> {
    let moves = bases.moves.iter().rev();
    let mut of_line = moves.filter(|one| is_of(line, &one.tag) && digests.contains(&one.to));
    of_line.next().map(|one| one.at)
}

fn is_of(line: &Line<'_>, tag: &Tagged) -> bool {
    tag.repository == *line.repository && tag.tag == *line.tag
}

/// The versions that the tag pointed at later, by the records of runs. `None` if they do not have this version, or if
/// they do not lead to the newest one.
fn later_moves(bases: &BaseHistory, line: &Line<'_>, own: &BTreeSet<&Digest>) -> Option<usize> {
    let moves: Vec<&Digest> =
        bases.moves.iter().filter(|one| is_of(line, &one.tag)).map(|one| &one.to).collect();
    let last = moves.iter().rposition(|to| own.contains(to))?;
    let later: BTreeSet<&Digest> = moves[last + 1..].iter().copied().collect();
    later.contains(line.newest).then_some(later.len())
}

/// The versions with the same moving tag that were built later, up to the newest. `None` if a time is missing,
/// or if it is not known whether a build was published.
fn later_images(
    bases: &BaseHistory,
    known: &KnownBase,
    line: &Line<'_>,
    (own, newest): (Option<Timestamp>, Option<Timestamp>),
) -> Option<usize> {
    let (own, newest) = (own?, newest?);
    let has_record = bases.moves.iter().any(|one| is_of(line, &one.tag));
    let mut later: BTreeSet<&Digest> = BTreeSet::new();
    for base in &bases.images {
        let is_version = base.repository == known.repository && base.node() == known.node();
        if !is_version || line_of(base, None, bases).as_ref() != Some(line) {
            continue;
        }
        let at = base.at()?;
        if base.tags.is_empty() && former_tags(base, bases).next().is_none() {
            // Without records of runs, this build may have been published.
            if !has_record && own < at && at <= newest {
                return None;
            }
            continue;
        }
        if own < at && at <= newest {
            later.insert(&base.version);
        }
    }
    Some(later.len().max(1))
}
