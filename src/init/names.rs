//! What images are called, where they are published, and under which tags.
//!
//! **Invariant:** no two images have one name, or one repository and tag; none has the name of an
//! image from outside.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    build_options::DroppedOption,
    candidate::{Given, ImageCandidate},
    evidence::{EvidenceRule, PublishedImage},
    path_words::{self, is_official, is_version, is_weak, kebab, name_part, platform, usual},
    resolve::{Made, Resolution, split},
};
use crate::image::{Repository, Tag};

/// What is proposed for a candidate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct NamedImage {
    pub(super) name: String,
    /// None if it is the registry and the name.
    pub(super) repository: Option<String>,
    /// Empty: those of `defaults`, else `latest`.
    pub(super) tags: Vec<String>,
    pub(super) platform: Option<&'static str>,
    pub(super) rule: EvidenceRule,
    pub(super) place: String,
}

/// All names, and what they have in common.
pub(super) struct Names {
    pub(super) all: Vec<NamedImage>,
    pub(super) registry: Option<String>,
    pub(super) tags: Vec<String>,
    /// Images whose tag was taken by another.
    pub(super) collided: Vec<usize>,
    /// Images whose builds have a tag that is not known.
    pub(super) unknown: Vec<(usize, UnknownTag)>,
}

/// What is written for a tag whose value is not known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum UnknownTag {
    /// Nothing, and no other tag is known: the image has `latest`.
    Latest,
    /// Nothing, beside other tags.
    LeftOut,
    /// The words of the path, since builds publish several images in the repository.
    Path,
}

struct NameProposal {
    repository: Option<Repository>,
    /// For an image without a repository.
    own: String,
    tags: BTreeSet<String>,
    rule: EvidenceRule,
    place: String,
    is_guessed: bool,
    unknown: Option<UnknownTag>,
}

/// What a hierarchy file gives its images already, which the new ones may not have.
pub(super) struct Taken<'a> {
    pub(super) names: &'a BTreeSet<String>,
    /// Repositories and tags.
    pub(super) tags: &'a BTreeSet<(String, String)>,
    /// Of each candidate, whether the file does not have it.
    pub(super) new: &'a [bool],
}

pub(super) fn names(
    candidates: &[ImageCandidate],
    resolved: &Resolution,
    (roots, taken): (&[String], &Taken<'_>),
) -> Names {
    let most =
        resolved.namespaces.iter().max_by_key(|(name, count)| (**count, std::cmp::Reverse(*name)));
    let registry: Option<String> = most.map(|(name, _)| name.clone());
    let mut raws = raws(candidates, resolved, roots, registry.as_deref());
    let tags = common_tags(&raws, candidates.len());
    for raw in raws.iter_mut().filter(|raw| raw.is_guessed && raw.tags.is_empty()) {
        raw.tags = tags.iter().cloned().collect();
    }
    let collided = collisions(&mut raws, candidates, taken);
    let called = called(candidates, resolved, &raws, (registry.as_deref(), taken.names));
    let platforms = platforms(candidates);
    let all = raws.iter().zip(called).zip(platforms).map(|((raw, name), platform)| {
        let implied = match &registry {
            Some(registry) => format!("{registry}/{name}"),
            None => name.clone(),
        };
        let repository = raw.repository.as_ref().map(|one| one.as_str().to_owned());
        let repository = repository.filter(|one| *one != implied);
        let own: Vec<String> = raw.tags.iter().cloned().collect();
        let is_usual = own == tags
            || (own.is_empty() && tags.is_empty())
            || (tags.is_empty() && own == ["latest"]);
        let own = if own.is_empty() && !tags.is_empty() { vec!["latest".to_owned()] } else { own };
        NamedImage {
            name,
            repository,
            tags: if is_usual { Vec::new() } else { own },
            platform,
            rule: raw.rule,
            place: raw.place.clone(),
        }
    });
    let said = raws.iter().enumerate().filter(|(_, raw)| raw.rule != EvidenceRule::Guess);
    let unknown = said.filter_map(|(index, raw)| Some((index, raw.unknown?))).collect();
    Names { all: all.collect(), registry, tags, collided, unknown }
}

fn raws(
    candidates: &[ImageCandidate],
    resolved: &Resolution,
    roots: &[String],
    registry: Option<&str>,
) -> Vec<NameProposal> {
    let shared = shared_start(candidates);
    let shapes = PathPattern::all(candidates, resolved, |one| by_path(one, shared, roots));
    let published = |own: &str| registry.and_then(|one| format!("{one}/{own}").parse().ok());
    let raw = |(candidate, made): (&ImageCandidate, &Option<Made>)| {
        let mut raw = NameProposal {
            repository: None,
            own: String::new(),
            tags: BTreeSet::new(),
            rule: EvidenceRule::Path,
            place: candidate.dockerfile.display().to_string(),
            is_guessed: false,
            unknown: None,
        };
        let Given { name, outputs, .. } = &candidate.given;
        if let (Some((rule, place)), true) =
            (&candidate.said, name.is_some() || !outputs.is_empty())
        {
            (raw.rule, raw.place) = (*rule, place.clone());
        }
        let by_shape = |says_tag: bool| shape_of(&shapes, candidate, says_tag);
        if let Some(made) = made {
            (raw.rule, raw.place) = (made.rule, made.place.clone());
            let own = || outputs.iter().filter(|one| one.is_of(&made.repository));
            raw.tags = made.tags.iter().map(|tag| tag.as_str().to_owned()).collect();
            raw.tags.extend(own().filter_map(|one| one.template.clone()));
            raw.unknown = unknown_tag(own(), &raw.tags);
            let mut repository = made.repository.clone();
            let is_same = |one: &&Made| one.repository.is_same(&made.repository);
            let is_shared = || resolved.made.iter().flatten().filter(is_same).count() > 1;
            // Images that share a repository need different tags: those that the paths of siblings say. So do images
            // with the commit in each tag, which a later step gives another one.
            let is_commit = made.tags.is_empty() && raw.unknown.is_none();
            if (is_commit || raw.unknown == Some(UnknownTag::Latest) && is_shared())
                && let Some((shape, Some(tag))) = by_shape(true)
                && split(&shape).1 == split(&repository).1
            {
                (repository, raw.tags) = (shape, BTreeSet::from([tag]));
                raw.unknown = Some(UnknownTag::Path);
            }
            split(&repository).1.clone_into(&mut raw.own);
            raw.repository = Some(repository);
        } else if let Some(name) = name {
            raw.own = name_part(name);
        } else if let Some(output) = outputs.first() {
            let last = output.repository.rsplit('/').next();
            last.unwrap_or_default().clone_into(&mut raw.own);
            raw.repository = published(&raw.own);
            let same = || outputs.iter().filter(|one| one.repository == output.repository);
            raw.tags =
                same().flat_map(|one| one.tag.iter().chain(&one.template).cloned()).collect();
            raw.unknown = unknown_tag(same(), &raw.tags);
        } else if let Some((repository, tag)) = by_shape(false) {
            split(&repository).1.clone_into(&mut raw.own);
            (raw.repository, raw.is_guessed) = (Some(repository), true);
            // A build says the tag, but not its value.
            let has_tag = candidate.given.dropped.iter().any(DroppedOption::is_tag);
            raw.tags.extend(tag.filter(|_| !has_tag));
        } else {
            raw.own = by_path(candidate, shared, roots);
            (raw.repository, raw.is_guessed) = (published(&raw.own), true);
        }
        // A name without a registry is the image's name here. A `repository` of it would be Docker Hub's.
        let bare = raw.repository.as_ref().map(split).filter(|(namespace, _)| namespace.is_empty());
        if let Some(beside) = bare.and_then(|(_, own)| published(own)) {
            raw.repository = Some(beside);
        }
        raw
    };
    candidates.iter().zip(&resolved.made).map(raw).collect()
}

/// What to write for a tag of some outputs that is not known, beside known ones.
fn unknown_tag<'o>(
    mut outputs: impl Iterator<Item = &'o PublishedImage>,
    known: &BTreeSet<String>,
) -> Option<UnknownTag> {
    let is_unknown = outputs.any(|one| one.tag.is_none() && one.template.is_none());
    let case = if known.is_empty() { UnknownTag::Latest } else { UnknownTag::LeftOut };
    is_unknown.then_some(case)
}

/// How the paths of named images say their names: `{1}` is the second part of the path.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct PathPattern {
    length: usize,
    repository: String,
    /// Empty if no part of the path says it.
    tag: String,
}

impl PathPattern {
    /// The shapes, each with the paths that have it. An image of the hierarchy file that has the name of its path says
    /// nothing of others.
    fn all(
        candidates: &[ImageCandidate],
        resolved: &Resolution,
        by_path: impl Fn(&ImageCandidate) -> String,
    ) -> Shapes {
        let made = || candidates.iter().zip(&resolved.made);
        let heads = made().filter_map(|(candidate, made)| {
            let name = split(&made.as_ref()?.repository).1.to_owned();
            candidate.last().starts_with(&format!("{name}-")).then_some(name)
        });
        let heads: BTreeSet<String> = heads.collect();
        let mut shapes = Shapes { heads, all: BTreeMap::new() };
        for (candidate, made) in candidates.iter().zip(&resolved.made) {
            let Some(made) = made else { continue };
            let [tag] = &made.tags.iter().collect::<Vec<_>>()[..] else { continue };
            let (namespace, name) = split(&made.repository);
            let is_of_file = candidate.said.as_ref().is_some_and(|(_, at)| at.is_empty());
            if is_of_file && by_path(candidate) == name {
                continue;
            }
            let parts = shapes.parts(candidate);
            let open = |text: &str| opened(text, &parts);
            let name = open(name);
            let repository =
                if namespace.is_empty() { name } else { format!("{namespace}/{name}") };
            // A tag that no part of the path says is that of one image.
            let tag = Some(open(tag.as_str())).filter(|tag| tag.contains('{')).unwrap_or_default();
            let shape = Self { length: parts.len(), repository, tag };
            shapes.all.entry(shape).or_default().push(parts);
        }
        shapes
    }
}

struct Shapes {
    /// Names of repositories with which file names begin: `web-1.2.Dockerfile` makes `web:1.2`.
    heads: BTreeSet<String>,
    all: BTreeMap<PathPattern, Vec<Vec<String>>>,
}

impl Shapes {
    /// The parts of a path, and a file's name in two where it begins with that of a repository.
    fn parts(&self, candidate: &ImageCandidate) -> Vec<String> {
        let (last, whole) = (candidate.last(), candidate.segments.clone());
        let of_head = self.heads.iter().rfind(|head| last.starts_with(&format!("{head}-")));
        // If some file names are a repository and a tag, others with a version are, too.
        let before_version = || {
            let mut dashes = last.match_indices('-').filter(|_| !self.heads.is_empty());
            dashes.find(|(at, _)| last[at + 1..].starts_with(|c: char| c.is_ascii_digit()))
        };
        let at = of_head.map(String::len).or_else(|| Some(before_version()?.0));
        let Some(at) = at else { return whole };
        let own = [last[..at].to_owned(), last[at + 1..].to_owned()];
        let folders = &whole[..whole.len() - 1];
        folders.iter().cloned().chain(own).collect()
    }
}

fn opened(text: &str, segments: &[String]) -> String {
    let mut parts: Vec<(usize, String)> = segments
        .iter()
        .map(|one| kebab(one))
        .enumerate()
        .filter(|(_, one)| !one.is_empty())
        .collect();
    parts.sort_by_key(|(_, one)| std::cmp::Reverse(one.len()));
    let mut text = text.to_owned();
    for (index, part) in parts {
        let found = text.match_indices(part.as_str()).find(|(at, _)| {
            let before = text[..*at].chars().next_back();
            let after = text[at + part.len()..].chars().next();
            let is_edge = |c: Option<char>| c.is_none_or(|c| "-_{}".contains(c));
            is_edge(before) && is_edge(after)
        });
        if let Some((at, _)) = found {
            text.replace_range(at..at + part.len(), &format!("{{{index}}}"));
        }
    }
    text
}

/// The image that siblings say a path makes. Every part in which the path differs from a sibling's must be
/// in it. Of several shapes, the one of the nearest sibling counts. `says_tag`: the path must say the tag.
fn shape_of(
    shapes: &Shapes,
    candidate: &ImageCandidate,
    says_tag: bool,
) -> Option<(Repository, Option<String>)> {
    let parts = shapes.parts(candidate);
    let of_length = shapes
        .all
        .iter()
        .filter(|(shape, _)| shape.length == parts.len() && (!says_tag || shape.tag.contains('{')));
    let filled = of_length.filter_map(|(shape, siblings)| {
        let says = |index: usize| {
            let part = format!("{{{index}}}");
            shape.repository.contains(&part) || shape.tag.contains(&part)
        };
        let is_said = |one: &&Vec<String>| {
            let mut pairs = one.iter().zip(&parts).enumerate();
            pairs.all(|(index, (a, b))| a == b || says(index))
        };
        let shared = |one: &Vec<String>| {
            let pairs = one.iter().zip(&parts);
            pairs.take_while(|(a, b)| a == b).count()
        };
        let (count, nearest) = (siblings.len(), siblings.iter().filter(is_said).map(shared).max()?);
        let fill = |text: &str| {
            parts.iter().enumerate().fold(text.to_owned(), |text, (index, part)| {
                text.replace(&format!("{{{index}}}"), &kebab(part))
            })
        };
        let repository = fill(&shape.repository);
        if (count < 2 && !shape.repository.contains('{')) && !shape.tag.contains('{') {
            return None;
        }
        let literal: Vec<&str> = shape.repository.rsplit('/').next()?.split(['{', '}']).collect();
        // A name that no part of the path says belongs to the image that has it.
        let has_own = literal.iter().any(|one| one.chars().any(char::is_alphabetic));
        if has_own && !shape.tag.contains('{') {
            return None;
        }
        let tag = (!shape.tag.is_empty()).then(|| fill(&shape.tag));
        Some(((nearest, count), repository.parse::<Repository>().ok()?, tag))
    });
    let (_, repository, tag) = filled.max_by_key(|(weight, ..)| *weight)?;
    if let Some(tag) = &tag {
        tag.parse::<Tag>().ok()?;
    }
    Some((repository, tag))
}

/// How many parts all paths begin with.
fn shared_start(candidates: &[ImageCandidate]) -> usize {
    let Some(first) = candidates.first() else { return 0 };
    if candidates.len() < 2 {
        return 0;
    }
    (0..first.segments.len())
        .take_while(|&at| {
            candidates
                .iter()
                .all(|one| one.segments.len() > at + 1 && one.segments[at] == first.segments[at])
        })
        .count()
}

fn by_path(candidate: &ImageCandidate, shared: usize, roots: &[String]) -> String {
    let segments = &candidate.segments[shared.min(candidate.segments.len())..];
    let strong: Vec<String> = segments
        .iter()
        .filter(|one| !path_words::words(one).iter().all(|word| is_weak(word)))
        .map(|one| kebab(one))
        .filter(|one| !one.is_empty())
        .collect();
    let root = || roots.first().cloned().unwrap_or_else(|| "image".to_owned());
    let name = match strong.first() {
        None => candidate
            .segments
            .last()
            .map(|one| kebab(one))
            .filter(|one| !one.is_empty() && one != "dockerfile")
            .unwrap_or_else(root),
        Some(first) if is_version(first) => format!("{}-{}", root(), strong.join("-")),
        Some(_) => strong.join("-"),
    };
    name_part(&name)
}

/// Tags that more than half of the images have in common, and at least two. An image without evidence of its tags has
/// `latest`.
fn common_tags(raws: &[NameProposal], count: usize) -> Vec<String> {
    let mut counts: BTreeMap<Vec<String>, usize> = BTreeMap::new();
    for raw in raws.iter().filter(|raw| !raw.tags.is_empty()) {
        *counts.entry(raw.tags.iter().cloned().collect()).or_default() += 1;
    }
    let best = counts.into_iter().max_by_key(|(_, count)| *count);
    match best {
        Some((tags, most))
            if tags != ["latest"] && most * 2 > count && (most > 1 || count == 1) =>
        {
            tags
        }
        _ => Vec::new(),
    }
}

/// Takes a tag away from the second image that has it: the stronger evidence comes first.
fn collisions(
    raws: &mut [NameProposal],
    candidates: &[ImageCandidate],
    taken: &Taken<'_>,
) -> Vec<usize> {
    let mut order: Vec<usize> = (0..raws.len()).collect();
    order.sort_by_key(|&index| (raws[index].is_guessed, raws[index].rule));
    let Taken { tags, new, .. } = taken;
    let mut taken = (*tags).clone();
    let mut collided = Vec::new();
    for index in order.into_iter().filter(|&index| new[index]) {
        let raw = &mut raws[index];
        let Some(repository) = &raw.repository else { continue };
        let key =
            |tag: &String| (format!("{}/{}", repository.host(), repository.path()), tag.clone());
        let own: Vec<String> = if raw.tags.is_empty() {
            vec!["latest".to_owned()]
        } else {
            raw.tags.iter().cloned().collect()
        };
        let free: BTreeSet<String> =
            own.iter().filter(|tag| !taken.contains(&key(tag))).cloned().collect();
        if free.is_empty() {
            // It is known by its name alone.
            raw.repository = None;
            raw.tags.clear();
            raw.own = by_path(&candidates[index], 0, std::slice::from_ref(&raw.own));
            collided.push(index);
        } else {
            taken.extend(free.iter().map(key));
            if !raw.tags.is_empty() {
                raw.tags = free;
            }
        }
    }
    collided
}

/// A name for each image.
fn called(
    candidates: &[ImageCandidate],
    resolved: &Resolution,
    raws: &[NameProposal],
    (registry, taken): (Option<&str>, &BTreeSet<String>),
) -> Vec<String> {
    let mut families: BTreeMap<&str, usize> = BTreeMap::new();
    for raw in raws {
        *families.entry(&raw.own).or_default() += 1;
    }
    let outside: BTreeSet<&str> = candidates
        .iter()
        .flat_map(|one| &one.uses)
        .filter(|(one, _)| !resolved.made_here.contains_key(&usual(one)))
        .map(|(one, _)| split(&one.repository))
        .filter(|(namespace, _)| namespace.is_empty())
        .map(|(_, name)| name)
        .collect();
    let published: BTreeSet<String> = raws
        .iter()
        .filter_map(|raw| raw.repository.as_ref().map(|one| one.as_str().to_owned()))
        .collect();
    let local = resolved.made_here.iter().filter_map(|(reference, index)| {
        let name = reference.strip_suffix(":latest").filter(|name| !name.contains('/'))?;
        Some((*index, name_part(name)))
    });
    let local: BTreeMap<usize, String> = local.collect();
    let mut taken = taken.clone();
    let mut all = Vec::new();
    for (candidate, raw) in candidates.iter().zip(raws) {
        let base = name_part(&raw.own);
        let mut choices = vec![base.clone()];
        // Of several images of a repository, `latest` has its name.
        if families[raw.own.as_str()] > 1 && !raw.tags.contains("latest") {
            choices.clear();
        }
        if let Some(tag) = raw.tags.iter().find(|tag| *tag != "latest") {
            choices.push(format!("{base}-{}", name_part(tag)));
        }
        let given = candidate.given.name.as_ref();
        let same = candidates.iter().filter(|one| one.given.name.as_ref() == given).count();
        choices.splice(0..0, given.filter(|_| same == 1).map(|name| name_part(name)));
        // A name alone is found by the name of the image.
        choices.splice(0..0, local.get(&all.len()).cloned());
        let path: Vec<String> =
            candidate.segments.iter().map(|one| kebab(one)).filter(|one| !one.is_empty()).collect();
        choices.push(base.clone());
        for from in (0..path.len()).rev() {
            // `red/base` has the name in it.
            let of_path = path[from..].join("-");
            choices.push(if of_path.ends_with(&format!("-{base}")) {
                of_path
            } else {
                format!("{base}-{of_path}")
            });
        }
        choices.retain(|name| *name != format!("{base}-{base}"));
        let suffix =
            candidate.given.target.as_ref().map(|one| format!("{base}-{}", name_part(one)));
        choices.extend(suffix);
        choices.extend(
            candidate.given.build_args.values().map(|one| format!("{base}-{}", name_part(one))),
        );
        let is_good = |name: &String| {
            let is_foreign = outside.contains(name.as_str())
                || (registry.is_none() && raw.repository.is_none() && is_official(name));
            let is_published = raw.repository.is_none()
                && registry
                    .is_some_and(|registry| published.contains(&format!("{registry}/{name}")));
            !name.is_empty()
                && !is_foreign
                && !is_published
                && !taken.contains(name)
                && name.parse::<Repository>().is_ok()
        };
        let base = if base.is_empty() { "image" } else { &base };
        let numbers = (1..).map(|number| format!("{base}-image-{number}"));
        let mut names = choices.into_iter().chain([format!("{base}-image")]).chain(numbers);
        let name = names.find(is_good).unwrap_or_default();
        taken.insert(name.clone());
        all.push(name);
    }
    all
}

/// The platform of each, if its path says one and a sibling's path says another.
fn platforms(candidates: &[ImageCandidate]) -> Vec<Option<&'static str>> {
    let own = |candidate: &ImageCandidate| {
        candidate.segments.iter().enumerate().find_map(|(at, part)| Some((at, platform(part)?)))
    };
    let siblings = |candidate: &ImageCandidate, at: usize| {
        let mut segments = candidate.segments.clone();
        segments.remove(at);
        segments
    };
    let mut all: BTreeMap<Vec<String>, BTreeSet<&str>> = BTreeMap::new();
    for candidate in candidates {
        if let Some((at, platform)) = own(candidate) {
            all.entry(siblings(candidate, at)).or_default().insert(platform);
        }
    }
    let several = |candidate: &ImageCandidate| {
        let (at, platform) = own(candidate)?;
        (all[&siblings(candidate, at)].len() > 1).then_some(platform)
    };
    candidates.iter().map(several).collect()
}
