//! Which Dockerfile makes an image that others name.
//!
//! A Dockerfile does not say what it makes. How others refer to it does: `FROM
//! registry/dotnet/runtime:8.0-alpine` is most likely made by `src/runtime/8.0/alpine/Dockerfile`.
//!
//! **Invariant:** what is decided makes no ring, and each Dockerfile makes images of one repository.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet},
};

use super::{
    candidate::Candidate,
    words::{self, Cost, cost, is_variant, is_weak, platform},
};
use crate::image::{Reference, Repository, Tag};

/// Hosts where most of what is named was made by somebody else.
const PUBLIC: [&str; 12] = [
    "docker.io",
    "mcr.microsoft.com",
    "gcr.io",
    "ghcr.io",
    "quay.io",
    "registry.k8s.io",
    "public.ecr.aws",
    "nvcr.io",
    "registry.access.redhat.com",
    "registry.redhat.io",
    "docker.elastic.co",
    "registry.gitlab.com",
];

/// What was decided.
#[derive(Debug, Default)]
pub(super) struct Matched {
    /// For each candidate the repository that it publishes to, and the tags that others name.
    pub(super) made: Vec<Option<Made>>,
    /// What is not one of ours.
    pub(super) upstream: BTreeSet<Reference>,
    pub(super) doubts: Vec<Doubt>,
    /// One image that two Dockerfiles make, each for those beside it.
    pub(super) contested: BTreeMap<Reference, Vec<usize>>,
    parents: Vec<BTreeSet<usize>>,
}

#[derive(Clone, Debug)]
pub(super) struct Made {
    pub(super) repository: Repository,
    pub(super) tags: BTreeSet<Tag>,
    /// What of the candidate's path tells its tag, as it is written.
    pub(super) variant: Vec<String>,
}

/// What a person should look at.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Doubt {
    pub(super) kind: DoubtKind,
    /// The repository, or whatever several doubts have in common.
    pub(super) about: String,
    pub(super) image: String,
    /// The candidate that it is about.
    pub(super) candidate: Option<usize>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum DoubtKind {
    /// Others may make it as well as this one.
    OneOfSeveral,
    /// The path does not have all of the tag.
    Guessed,
    /// A bare name may be Docker Hub's.
    MayBeHub,
    /// It looks like ours, but no Dockerfile was found that makes it.
    NobodyMakes,
    /// It would stand on itself.
    Ring,
}

/// A candidate that may make images of a repository.
struct Member {
    candidate: usize,
    strength: u8,
    /// Parts of the repository's path that stand in the candidate's, too.
    more: usize,
    variant: Vec<String>,
    words: Vec<String>,
}

/// All that name one image.
type Users = BTreeMap<Reference, Vec<usize>>;

pub(super) fn matched(candidates: &[Candidate], root_names: &[String], host: &str) -> Matched {
    let mut matched = Matched {
        made: vec![None; candidates.len()],
        parents: vec![BTreeSet::new(); candidates.len()],
        ..Matched::default()
    };
    let mut repositories: BTreeMap<(String, String), Users> = BTreeMap::new();
    for (index, candidate) in candidates.iter().enumerate() {
        for (reference, _) in &candidate.uses {
            if reference.digest.is_some() {
                matched.upstream.insert(reference.clone());
                continue;
            }
            let key = (reference.repository.host().to_owned(), reference.repository.path());
            let users = repositories.entry(key).or_default().entry(reference.clone()).or_default();
            if !users.contains(&index) {
                users.push(index);
            }
        }
    }
    given(candidates, &mut matched);
    let mut classes: Vec<(Class, Vec<Member>, Users)> = repositories
        .into_values()
        .filter_map(|users| {
            let repository = users.keys().next()?.repository.clone();
            let members = members(&repository, candidates, root_names);
            let is_root = root_names.iter().any(|name| *name == last(&repository));
            Some((Class::of(&repository, is_root), members, users))
        })
        .collect();
    classes.sort_by_key(|(class, ..)| *class);
    for (class, members, users) in &classes {
        let whole = Whole { candidates, class: *class, members, host };
        for (reference, users) in users {
            matched.decide(&whole, reference, users);
        }
    }
    matched
}

/// What bake and compose files say needs no guess.
fn given(candidates: &[Candidate], matched: &mut Matched) {
    for (index, candidate) in candidates.iter().enumerate() {
        let Some(first) = candidate.given.tags.first() else { continue };
        let same =
            candidate.given.tags.iter().filter(|tag| tag.repository.is_same(&first.repository));
        matched.made[index] = Some(Made {
            repository: first.repository.clone(),
            tags: same.filter_map(Reference::tag_or_latest).collect(),
            variant: Vec::new(),
        });
    }
}

/// How sure it is that a repository is ours, surest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Class {
    Private,
    Root,
    Public,
    Bare,
    Official,
}

impl Class {
    fn of(repository: &Repository, is_root: bool) -> Self {
        let is_hub = repository.host() == "docker.io";
        let path = repository.path();
        let bare = path.strip_prefix("library/").filter(|_| is_hub);
        match bare {
            _ if !PUBLIC.contains(&repository.host()) => Self::Private,
            _ if is_root => Self::Root,
            Some(name) if words::is_official(name) => Self::Official,
            Some(_) => Self::Bare,
            None => Self::Public,
        }
    }
}

struct Whole<'a> {
    candidates: &'a [Candidate],
    class: Class,
    members: &'a [Member],
    /// The processor that this machine has, for images that are there for several.
    host: &'a str,
}

/// One that may make an image, with how well it does.
struct Choice<'m> {
    member: &'m Member,
    cost: Cost,
}

impl Matched {
    /// The candidates that one is built from.
    pub(super) fn parents(&self, child: usize) -> &BTreeSet<usize> {
        &self.parents[child]
    }

    fn decide(&mut self, whole: &Whole<'_>, reference: &Reference, users: &[usize]) {
        let Some(tag) = reference.tag_or_latest() else { return };
        if let Some(index) = self.published(reference, &tag) {
            self.take(index, reference, users, whole);
            return;
        }
        let choices = self.choices(whole, reference, &tag, users);
        let best = self.best(whole, &choices, reference, users);
        let said = || said(whole.candidates, reference, &tag, whole.members);
        match best {
            Some((index, None)) => {
                self.take(index, reference, users, whole);
            }
            Some((index, Some(kind))) => {
                let index = said().unwrap_or(index);
                let is_sure = said().is_some();
                if self.take(index, reference, users, whole) && !is_sure {
                    self.doubt(kind, reference, Some(index));
                }
            }
            None => {
                if let Some(index) = said() {
                    self.take(index, reference, users, whole);
                    return;
                }
                let by_name = choices.iter().any(|choice| choice.member.strength > 2);
                if self.is_known(reference) || (by_name && whole.class <= Class::Root) {
                    self.doubt(DoubtKind::NobodyMakes, reference, None);
                }
                self.upstream.insert(reference.clone());
            }
        }
    }

    /// Who makes exactly this, as a bake or compose file says.
    fn published(&self, reference: &Reference, tag: &Tag) -> Option<usize> {
        self.made.iter().position(|made| {
            made.as_ref().is_some_and(|made| {
                made.repository.is_same(&reference.repository) && made.tags.contains(tag)
            })
        })
    }

    fn choices<'m>(
        &self,
        whole: &Whole<'m>,
        reference: &Reference,
        tag: &Tag,
        users: &[usize],
    ) -> Vec<Choice<'m>> {
        let is_free = |member: &&Member| match &self.made[member.candidate] {
            None => true,
            Some(made) => {
                made.repository.is_same(&reference.repository)
                    || (matches!(whole.class, Class::Bare)
                        && last(&made.repository) == last(&reference.repository))
            }
        };
        let strongest = whole.members.iter().map(|member| member.strength).max().unwrap_or(0);
        let free = whole.members.iter().filter(|member| {
            (member.strength > 1 || strongest == 1)
                && whole.candidates[member.candidate].given.tags.is_empty()
                && !whole.candidates[member.candidate].uses_image(reference)
        });
        let mut choices: Vec<Choice<'m>> = free
            .filter(is_free)
            .map(|member| Choice { member, cost: cost(tag.as_str(), &member.words) })
            .collect();
        let closeness = |choice: &Choice<'_>| -> usize {
            let shared = |user: &usize| {
                let path = &whole.candidates[*user].segments;
                let own = &whole.candidates[choice.member.candidate].segments;
                path.iter().zip(own).take_while(|(a, b)| a == b).count()
                    + own.iter().filter(|one| path.contains(one)).count()
            };
            users.iter().map(shared).sum()
        };
        let is_foreign = |choice: &Choice<'_>| {
            let platforms = choice.member.words.iter().filter_map(|word| platform(word));
            platforms.into_iter().any(|one| one != whole.host)
        };
        choices.sort_by_key(|choice| {
            let member = choice.member;
            (
                choice.cost.total,
                Reverse(member.strength),
                Reverse(member.more),
                is_foreign(choice),
                Reverse(closeness(choice)),
                // Of two versions the newer one, whose folder mostly comes later.
                Reverse(member.candidate),
            )
        });
        choices
    }

    /// The best choice if it is good enough, with what is doubtful about it.
    fn best(
        &mut self,
        whole: &Whole<'_>,
        choices: &[Choice<'_>],
        reference: &Reference,
        users: &[usize],
    ) -> Option<(usize, Option<DoubtKind>)> {
        let (first, second) = (choices.first()?, choices.get(1));
        let index = first.member.candidate;
        let is_tie = second.is_some_and(|second| {
            second.cost.total == first.cost.total
                && second.member.strength == first.member.strength
                && second.member.more == first.member.more
        });
        let wraps = whole.candidates[index]
            .uses
            .iter()
            .any(|(one, _)| one.repository.is_same(&reference.repository));
        let words = words::words(reference.tag.as_ref().map_or("", Tag::as_str)).len();
        let is_explained = first.cost.unexplained == 0;
        let is_alone = choices.len() == 1;
        let in_part = (first.cost.unexplained as usize) < words;
        let is_exact = is_explained && first.cost.total <= 1;
        let good = match whole.class {
            Class::Private => is_explained || is_alone || in_part,
            Class::Root => is_explained || in_part,
            Class::Public | Class::Bare => {
                is_explained
                    || (is_alone && (in_part || whole.class == Class::Bare) && !wraps)
                    || (in_part && self.is_known(reference))
            }
            Class::Official => is_exact && !wraps,
        };
        let weak = first.member.strength == 1 && !(is_alone && is_exact);
        // A tag that says nothing of what makes the paths differ means none of them.
        let blind = is_tie && words == 0 && first.cost.total > 0;
        if !good || weak || blind {
            return None;
        }
        if is_tie {
            let tied = choices.iter().take_while(|one| one.cost.total == first.cost.total);
            let tied: Vec<usize> = tied.map(|one| one.member.candidate).collect();
            if users.len() > 1 && first.cost.total == 0 {
                self.contested.insert(reference.clone(), tied);
            }
            return Some((index, Some(DoubtKind::OneOfSeveral)));
        }
        let doubt = match whole.class {
            _ if !is_explained => Some(DoubtKind::Guessed),
            Class::Official => Some(DoubtKind::MayBeHub),
            _ if first.member.strength == 1 => Some(DoubtKind::Guessed),
            _ => None,
        };
        Some((index, doubt))
    }

    /// Whether somebody makes images of that repository already.
    fn is_known(&self, reference: &Reference) -> bool {
        self.made.iter().flatten().any(|made| made.repository.is_same(&reference.repository))
    }

    /// Says that a candidate makes an image, unless it would then stand on itself.
    fn take(
        &mut self,
        index: usize,
        reference: &Reference,
        users: &[usize],
        whole: &Whole<'_>,
    ) -> bool {
        if users.iter().any(|&user| user == index || self.stands_on(index, user)) {
            self.upstream.insert(reference.clone());
            let is_own = users.iter().all(|&user| user == index);
            if !is_own && whole.class < Class::Official {
                self.doubt(DoubtKind::Ring, reference, Some(index));
            }
            return false;
        }
        for &user in users {
            self.parents[user].insert(index);
        }
        let Some(tag) = reference.tag_or_latest() else { return false };
        let member = whole.members.iter().find(|member| member.candidate == index);
        let made = self.made[index].get_or_insert_with(|| Made {
            repository: reference.repository.clone(),
            tags: BTreeSet::new(),
            variant: member.map(|member| member.variant.clone()).unwrap_or_default(),
        });
        made.tags.insert(tag);
        true
    }

    fn stands_on(&self, child: usize, parent: usize) -> bool {
        let (mut open, mut seen) = (vec![child], BTreeSet::from([child]));
        while let Some(one) = open.pop() {
            if one == parent {
                return true;
            }
            open.extend(self.parents[one].iter().filter(|next| seen.insert(**next)));
        }
        false
    }

    fn doubt(&mut self, kind: DoubtKind, reference: &Reference, candidate: Option<usize>) {
        let (about, image) = (reference.repository.to_string(), reference.to_string());
        self.doubts.push(Doubt { kind, about, image, candidate });
    }
}

/// The only candidate whose comments, labels or neighbours say that it makes this.
fn said(
    candidates: &[Candidate],
    reference: &Reference,
    tag: &Tag,
    members: &[Member],
) -> Option<usize> {
    let only = |is_it: &dyn Fn(usize, &Candidate) -> bool| {
        let mut found = candidates.iter().enumerate().filter(|(index, candidate)| {
            candidate.given.tags.is_empty()
                && !candidate.uses_image(reference)
                && is_it(*index, candidate)
        });
        match (found.next(), found.next()) {
            (Some((index, _)), None) => Some(index),
            _ => None,
        }
    };
    let repository = reference.repository.as_str();
    let whole = format!("{repository}:{tag}");
    let path = reference.repository.path();
    let says = |candidate: &Candidate, word: &str| candidate.said.contains(word);
    only(&|_, one| says(one, &whole))
        .or_else(|| only(&|_, one| says(one, &format!("{path}:{tag}"))))
        .or_else(|| only(&|_, one| says(one, &format!("{}:{tag}", last(&reference.repository)))))
        .or_else(|| {
            only(&|index, one| {
                let is_member = members.iter().any(|member| member.candidate == index);
                let names_it = says(one, repository)
                    || says(one, &path)
                    || is_member
                    || says(one, &last(&reference.repository));
                names_it && says(one, tag.as_str())
            })
        })
}

/// Those whose path says that they might make images of a repository.
fn members(
    repository: &Repository,
    candidates: &[Candidate],
    root_names: &[String],
) -> Vec<Member> {
    let path = repository.path().replace('_', "-");
    let parts: Vec<&str> = path.split('/').collect();
    let Some((name, above)) = parts.split_last() else { return Vec::new() };
    let is_root = root_names.iter().any(|root| root == name);
    let members = candidates.iter().enumerate().filter_map(|(index, candidate)| {
        let segments: Vec<String> = candidate
            .segments
            .iter()
            .map(|one| one.to_ascii_lowercase().replace('_', "-"))
            .collect();
        let own = own(&segments, name);
        let (strength, at, rest) = match own {
            Some(own) => own,
            None if is_root => (2, 0..0, Vec::new()),
            None => return None,
        };
        let more = above.iter().filter(|part| segments.iter().any(|one| one == *part)).count();
        let mut variant = rest;
        for (place, segment) in candidate.segments.iter().enumerate() {
            let is_above = above.contains(&segments[place].as_str());
            let counts = place >= at.end || (is_variant(segment) && !is_above);
            if !at.contains(&place) && counts {
                variant.push(segment.clone());
            }
        }
        let words = variant.iter().flat_map(|part| words::words(part));
        let words = words.filter(|word| !is_weak(word) || word == "build").collect();
        Some(Member { candidate: index, strength, more, variant, words })
    });
    members.collect()
}

/// Where a repository's name stands in a path, how surely, and what else stands in that place.
fn own(segments: &[String], name: &str) -> Option<(u8, std::ops::Range<usize>, Vec<String>)> {
    if let Some(at) = segments.iter().rposition(|one| one == name) {
        return Some((4, at..at + 1, Vec::new()));
    }
    for start in 0..segments.len() {
        for end in start + 2..=segments.len() {
            if segments[start..end].join("-") == name {
                return Some((3, start..end, Vec::new()));
            }
        }
    }
    let behind = |one: &String| {
        let rest = one.strip_prefix(name)?.strip_prefix(['-', '.'])?;
        Some(rest.to_owned())
    };
    if let Some((at, rest)) =
        segments.iter().enumerate().rev().find_map(|(at, one)| Some((at, behind(one)?)))
    {
        return Some((2, at..at + 1, vec![rest]));
    }
    let ends = |long: &str, short: &str| {
        short.len() > 2 && long.strip_suffix(short).is_some_and(|rest| rest.ends_with('-'))
    };
    let at = segments.iter().rposition(|one| ends(name, one) || ends(one, name))?;
    Some((1, at..at + 1, Vec::new()))
}

fn last(repository: &Repository) -> String {
    repository.path().rsplit('/').next().unwrap_or_default().to_owned()
}
