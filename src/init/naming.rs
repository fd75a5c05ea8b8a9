//! What images are called, where they are published, and under which tags.
//!
//! **Invariant:** no two images have one name, and none has the name of an image from outside.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    candidate::Candidate,
    matching::{Made, Matched},
    words::{self, is_variant, is_version, is_weak, name_part, platform},
};
use crate::image::{Reference, Repository, Tag};

/// What is proposed for a candidate.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Named {
    pub(super) name: String,
    /// None if it is the name.
    pub(super) repository: Option<String>,
    /// Empty: `latest`.
    pub(super) tags: Vec<String>,
    pub(super) platform: Option<&'static str>,
}

/// An image before it has a name.
struct Raw {
    /// What comes before the last part of the repository, with a `/` behind it; or nothing.
    prefix: String,
    /// The end of the repository.
    base: Vec<String>,
    variant: Vec<String>,
    tags: BTreeSet<String>,
    is_given: bool,
}

impl Raw {
    fn repository(&self) -> String {
        format!("{}{}", self.prefix, self.base.last().map_or("", String::as_str))
    }
}

/// The prefix that most repositories have, if they have one.
pub(super) fn prefix(matched: &Matched) -> Option<String> {
    let mut counts: BTreeMap<String, BTreeSet<&str>> = BTreeMap::new();
    for made in matched.made.iter().flatten() {
        if let Some((prefix, name)) = made.repository.as_str().rsplit_once('/') {
            counts.entry(prefix.to_owned()).or_default().insert(name);
        }
    }
    // Of two that are as common the shorter, and then the first.
    let best = counts.into_iter().min_by_key(|(prefix, names)| {
        (std::cmp::Reverse(names.len()), prefix.len(), prefix.clone())
    });
    best.map(|(prefix, _)| prefix).filter(|prefix| prefix.parse::<Repository>().is_ok())
}

pub(super) fn named(
    candidates: &[Candidate],
    matched: &Matched,
    root_names: &[String],
) -> Vec<Named> {
    let prefix = prefix(matched).map(|prefix| format!("{prefix}/")).unwrap_or_default();
    let known = Known::of(candidates, matched);
    let mut raws: Vec<Raw> = candidates
        .iter()
        .zip(&matched.made)
        .enumerate()
        .map(|(index, (candidate, made))| {
            if let Some(made) = made {
                return of_made(candidate, made);
            }
            let prefix = beside_parents(index, matched).unwrap_or_else(|| prefix.clone());
            known.guess(candidate, root_names, &prefix)
        })
        .collect();
    tell_apart(&mut raws);
    let mut families: BTreeMap<String, Vec<usize>> = BTreeMap::new();
    for (index, raw) in raws.iter().enumerate() {
        families.entry(raw.repository()).or_default().push(index);
    }
    let mut named = vec![Named::default(); candidates.len()];
    for family in families.values() {
        tag(family, &mut raws);
        let platforms: BTreeSet<&str> = family
            .iter()
            .flat_map(|&one| &raws[one].variant)
            .filter_map(|one| platform(one))
            .collect();
        for &one in family {
            let own = raws[one].variant.iter().find_map(|part| platform(part));
            named[one].platform = own.filter(|_| platforms.len() > 1);
            named[one].tags = raws[one].tags.iter().cloned().collect();
            let name = match &candidates[one].given.name {
                Some(name) => name_part(name),
                None => name(&raws[one], family, &raws),
            };
            named[one].name = name;
        }
    }
    unique(candidates, matched, &raws, &mut named);
    for (one, raw) in named.iter_mut().zip(&raws) {
        let repository = raw.repository();
        let is_bare = raw.is_given && raw.tags.is_empty();
        one.repository = (!is_bare && repository != one.name).then_some(repository);
        if one.tags == ["latest"] {
            one.tags.clear();
        }
    }
    named
}

/// Where the images are published that one is built from.
fn beside_parents(index: usize, matched: &Matched) -> Option<String> {
    let mut parents = matched.parents(index).iter().filter_map(|&one| matched.made[one].as_ref());
    parents.find_map(|made| {
        let (prefix, _) = made.repository.as_str().rsplit_once('/')?;
        Some(format!("{prefix}/"))
    })
}

fn of_made(candidate: &Candidate, made: &Made) -> Raw {
    let (prefix, base) = match made.repository.as_str().rsplit_once('/') {
        Some((prefix, base)) => (format!("{prefix}/"), base.to_owned()),
        None => (String::new(), made.repository.to_string()),
    };
    Raw {
        prefix,
        base: vec![base],
        variant: made.variant.clone(),
        tags: made.tags.iter().map(|tag| tag.as_str().to_owned()).collect(),
        is_given: candidate.given.name.is_some(),
    }
}

/// What others that are known say of those that nobody names.
struct Known {
    /// The repositories, by the last part of their name.
    repositories: BTreeMap<String, Repository>,
    /// Where in a path of so many folders the name of the repository stands.
    places: BTreeMap<usize, BTreeSet<usize>>,
    /// Whether folders or files are called by both: `runtime-8.0`.
    has_joined: bool,
}

impl Known {
    fn of(candidates: &[Candidate], matched: &Matched) -> Self {
        let mut known =
            Self { repositories: BTreeMap::new(), places: BTreeMap::new(), has_joined: false };
        for (candidate, made) in candidates.iter().zip(&matched.made) {
            let Some(made) = made else { continue };
            let last = made.repository.as_str().rsplit('/').next().unwrap_or_default().to_owned();
            if let Some(place) = candidate.segments.iter().rposition(|one| *one == last) {
                known.places.entry(candidate.segments.len()).or_default().insert(place);
            } else if let Some((base, _)) = candidate.segments.last().and_then(|one| split(one)) {
                known.has_joined |= name_part(base) == last;
            }
            known.repositories.entry(last).or_insert_with(|| made.repository.clone());
        }
        known
    }

    /// The one image of a known repository, or of one beside those, that the candidate's comments, labels or neighbours name
    /// and that it does not use.
    fn said(&self, candidate: &Candidate, prefix: &str) -> Option<Raw> {
        let is_known = |one: &Reference| {
            let rest = one.repository.as_str().strip_prefix(prefix);
            let is_beside = !prefix.is_empty() && rest.is_some_and(|rest| !rest.contains('/'));
            is_beside || self.repositories.values().any(|known| known.is_same(&one.repository))
        };
        let only = |is_it: &dyn Fn(&Reference) -> bool| {
            let words = candidate.said.iter().filter(|word| word.contains([':', '/']));
            let mut found = words
                .filter_map(|word| word.parse::<Reference>().ok())
                .filter(|one| is_it(one) && is_known(one) && !candidate.uses_image(one));
            found.next().filter(|_| found.next().is_none())
        };
        let whole = only(&|one| one.tag.is_some());
        let (repository, tag) = if let Some(Reference { repository, tag: Some(tag), .. }) = whole {
            (repository, tag.as_str().to_owned())
        } else {
            // A Makefile often has the two in variables of their own.
            let mut tags = candidate.said.iter().filter(|word| {
                is_version(word) && word.contains('-') && word.parse::<Tag>().is_ok()
            });
            let tag = tags.next().filter(|_| tags.next().is_none())?;
            (only(&|one| one.tag.is_none() && one.digest.is_none())?.repository, tag.clone())
        };
        let text = repository.as_str();
        let (prefix, base) = match text.rsplit_once('/') {
            Some((prefix, base)) => (format!("{prefix}/"), base),
            None => (String::new(), text),
        };
        Some(Raw {
            prefix,
            base: vec![base.to_owned()],
            variant: Vec::new(),
            tags: BTreeSet::from([tag]),
            is_given: false,
        })
    }

    fn guess(&self, candidate: &Candidate, root_names: &[String], prefix: &str) -> Raw {
        let is_given = candidate.given.name.is_some();
        if let Some(name) = &candidate.given.name {
            let base = vec![name_part(name)];
            let (variant, tags) = (Vec::new(), BTreeSet::new());
            return Raw { prefix: String::new(), base, variant, tags, is_given };
        }
        if let Some(raw) = self.said(candidate, prefix) {
            return raw;
        }
        let segments = &candidate.segments;
        let raw = |base: Vec<String>, variant: Vec<String>, prefix: String| Raw {
            prefix,
            base: base.iter().map(|part| name_part(part)).filter(|part| !part.is_empty()).collect(),
            variant,
            tags: BTreeSet::new(),
            is_given,
        };
        // One more variant of an image that others name by another.
        let places = self.places.get(&segments.len()).filter(|places| places.len() == 1);
        let at = places.and_then(|places| places.first().copied());
        for (place, segment) in segments.iter().enumerate().rev() {
            let Some(repository) = self.repositories.get(&name_part(segment)) else { continue };
            let behind = &segments[place + 1..];
            if at == Some(place) || behind.iter().all(|part| is_variant(part)) {
                let (prefix, base) = match repository.as_str().rsplit_once('/') {
                    Some((prefix, base)) => (format!("{prefix}/"), base),
                    None => (String::new(), repository.as_str()),
                };
                return raw(vec![base.to_owned()], around(segments, place), prefix);
            }
        }
        if let Some(place) = at.filter(|&place| !is_version(&segments[place])) {
            return raw(vec![segments[place].clone()], around(segments, place), prefix.to_owned());
        }
        if let Some((base, rest)) = segments.last().and_then(|one| split(one))
            && self.has_joined
        {
            return raw(vec![base.to_owned()], vec![rest.to_owned()], prefix.to_owned());
        }
        // The folder of all is one image in many variants, as docker-library's are.
        let root = root_names.first().cloned().unwrap_or_else(|| "image".to_owned());
        let of_root = root_names.iter().find_map(|name| self.repositories.get(name));
        let strong: Vec<String> = segments.iter().filter(|one| !is_weak(one)).cloned().collect();
        let strong = if strong.is_empty() {
            segments.iter().next_back().cloned().into_iter().collect()
        } else {
            strong
        };
        if let Some(repository) = of_root {
            let text = repository.as_str();
            let base = text.rsplit('/').next().unwrap_or(text);
            let prefix = text.strip_suffix(base).unwrap_or_default().to_owned();
            return raw(vec![base.to_owned()], strong, prefix);
        }
        if strong.first().is_none_or(|first| is_version(first)) {
            return raw(vec![root], strong, prefix.to_owned());
        }
        let cut = (1..strong.len()).find(|&at| is_variant(&strong[at])).unwrap_or(strong.len());
        raw(strong[..cut].to_vec(), strong[cut..].to_vec(), prefix.to_owned())
    }
}

/// `runtime-8.0-alpine` is `runtime`, `8.0-alpine`.
fn split(segment: &str) -> Option<(&str, &str)> {
    let mut cuts = segment.match_indices('-').map(|(at, _)| (&segment[..at], &segment[at + 1..]));
    cuts.find(|(_, rest)| is_version(rest))
}

/// What tells variants apart around the name of the image.
fn around(segments: &[String], place: usize) -> Vec<String> {
    let counts = |(at, segment): (usize, &String)| {
        (at > place || (at < place && is_version(segment))).then(|| segment.clone())
    };
    segments.iter().enumerate().filter_map(counts).collect()
}

/// Two images in folders of one name are called by the folder above as well.
fn tell_apart(raws: &mut [Raw]) {
    let bases: BTreeSet<(Vec<String>, String)> =
        raws.iter().map(|raw| (raw.base.clone(), raw.prefix.clone())).collect();
    let of_last =
        |last: Option<&String>| bases.iter().filter(|(base, _)| base.last() == last).count();
    for raw in raws {
        if raw.base.len() > 1 && of_last(raw.base.last()) > 1 {
            raw.base = vec![raw.base.join("-")];
        }
        let last = raw.base.pop().unwrap_or_else(|| "image".to_owned());
        raw.base = vec![last];
    }
}

/// Tags for those of a repository that nobody names: what their paths say.
fn tag(family: &[usize], raws: &mut [Raw]) {
    let mut taken: BTreeSet<String> =
        family.iter().flat_map(|&one| raws[one].tags.iter().cloned()).collect();
    let left_out: BTreeSet<String> = left_out(family, raws);
    for &one in family {
        if !raws[one].tags.is_empty() || raws[one].is_given {
            continue;
        }
        let short: Vec<&String> =
            raws[one].variant.iter().filter(|part| !left_out.contains(*part)).collect();
        let short = joined(short.into_iter());
        let long = joined(raws[one].variant.iter());
        let mut tag = if taken.contains(&short) { long } else { short };
        let first = tag.clone();
        for number in 2.. {
            if taken.insert(tag.clone()) {
                break;
            }
            tag = format!("{first}-{number}");
        }
        raws[one].tags.insert(tag);
    }
}

/// Parts of paths that no known tag of the repository has, as the processor's name often.
fn left_out(family: &[usize], raws: &[Raw]) -> BTreeSet<String> {
    let (mut with, mut without) = (BTreeSet::new(), BTreeSet::new());
    for &one in family {
        for tag in &raws[one].tags {
            let tag = words::words(tag);
            for part in &raws[one].variant {
                let is_in = words::words(part)
                    .iter()
                    .any(|word| tag.iter().any(|one| one.starts_with(word.as_str())));
                if is_in {
                    with.insert(part.clone())
                } else {
                    without.insert(part.clone())
                };
            }
        }
    }
    without.retain(|part| !with.contains(part));
    without
}

fn joined<'p>(parts: impl Iterator<Item = &'p String>) -> String {
    let parts: Vec<String> = parts
        .map(|part| {
            let good =
                |c: char| if c.is_ascii_alphanumeric() || "._-".contains(c) { c } else { '-' };
            part.chars().map(good).collect()
        })
        .collect();
    let tag = parts.join("-");
    let tag = tag.trim_start_matches(['.', '-']);
    if tag.parse::<Tag>().is_ok() { tag.to_owned() } else { "latest".to_owned() }
}

/// The repository's last part, and what tells the image from others of the same repository.
fn name(raw: &Raw, family: &[usize], raws: &[Raw]) -> String {
    let base = raw.base.last().map_or("image", String::as_str);
    if family.len() == 1 {
        return name_part(base);
    }
    let differs = |part: &&String| !family.iter().all(|&one| raws[one].variant.contains(part));
    let parts: Vec<String> =
        raw.variant.iter().filter(differs).map(|part| name_part(part)).collect();
    match (parts.is_empty(), raw.tags.first()) {
        (false, _) => format!("{}-{}", name_part(base), parts.join("-")),
        (true, Some(tag)) if tag != "latest" => format!("{}-{}", name_part(base), name_part(tag)),
        (true, _) => name_part(base),
    }
}

/// Makes names good and different.
fn unique(candidates: &[Candidate], matched: &Matched, raws: &[Raw], named: &mut [Named]) {
    let hub = |name: &str, own: usize| {
        let others = candidates
            .iter()
            .enumerate()
            .filter(|(index, _)| *index != own || raws[own].prefix.is_empty());
        others
            .flat_map(|(_, candidate)| &candidate.uses)
            .any(|(one, _)| one.repository.as_str() == name && matched.upstream.contains(one))
    };
    let mut taken: BTreeSet<String> = BTreeSet::new();
    for (index, one) in named.iter_mut().enumerate() {
        let first = match one.name.as_str() {
            "" => "image".to_owned(),
            name if hub(name, index) => format!("{name}-image"),
            name => name.to_owned(),
        };
        let mut name = first.clone();
        let mut number = 2;
        while !taken.insert(name.clone()) {
            name = format!("{first}-{number}");
            number += 1;
        }
        one.name = name;
    }
}
