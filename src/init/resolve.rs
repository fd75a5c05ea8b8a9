//! Which Dockerfile makes which image: one decision for each reference, by the strongest evidence.
//!
//! **Invariant:** the edges make no ring. An edge that is not certain has a doubt.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
};

use super::{
    candidate::{ContextSource as Instead, ImageCandidate},
    evidence::{EvidenceRule, PublishedImage, names_other_tags},
    path_fit::{Fit, Paths, run},
    path_words::{self, is_official, is_one_of, is_version, usual},
};
use crate::image::{Reference, Repository, Tag};

/// Hosts where most of what is named was made by others.
const PUBLIC: &str = "\
    docker.io mcr.microsoft.com gcr.io ghcr.io quay.io registry.k8s.io public.ecr.aws nvcr.io \
    registry.access.redhat.com registry.redhat.io docker.elastic.co registry.gitlab.com";

/// What a candidate makes, and by which rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Made {
    pub(super) rule: EvidenceRule,
    /// `file:line` of the evidence, or the reference.
    pub(super) place: String,
    pub(super) repository: Repository,
    pub(super) tags: BTreeSet<Tag>,
}

/// Everything that was decided.
#[derive(Debug, Default)]
pub(super) struct Resolution {
    /// For each candidate.
    pub(super) made: Vec<Option<Made>>,
    pub(super) parents: Vec<BTreeSet<usize>>,
    pub(super) doubts: Vec<InitDoubt>,
    /// The references that candidates make, in the usual spelling.
    pub(super) made_here: BTreeMap<String, usize>,
    /// Repositories without their last part that are ours, with the number of their images.
    pub(super) namespaces: BTreeMap<String, usize>,
}

/// What a person should look at.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct InitDoubt {
    pub(super) cause: DoubtCause,
    pub(super) image: String,
    pub(super) candidates: Vec<usize>,
}

/// Causes of doubt, the worst first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum DoubtCause {
    /// Several Dockerfiles may make it: there is no edge.
    Several,
    /// The namespace is ours, and nothing here makes it: there is no edge.
    NothingMakes,
    /// Builds here make the repository, but under other tags: there is no edge.
    OtherTag,
    /// An edge would make a ring.
    Ring,
    /// There is an edge, but the tag is not proven.
    Tag,
    /// There is an edge, but the namespace is not proven to be ours.
    Namespace,
}

/// What a repository is known by.
pub(super) struct RepositoryFacts<'a> {
    /// What the folder and the repository it came from are called.
    pub(super) roots: &'a [String],
    /// The owner of `origin`.
    pub(super) owner: Option<&'a str>,
    /// The platform of this machine.
    pub(super) host: &'a str,
}

/// A reference, and the candidates that use it.
pub(super) struct WantedReference {
    pub(super) reference: Reference,
    pub(super) tag: Tag,
    pub(super) namespace: String,
    pub(super) name: Vec<String>,
    pub(super) tag_words: Vec<String>,
    pub(super) users: Vec<usize>,
    /// An image of Docker Hub's, unless this is the repository of that image.
    pub(super) is_official: bool,
}

pub(super) fn resolve(candidates: &[ImageCandidate], known: &RepositoryFacts<'_>) -> Resolution {
    let mut resolved = Resolution {
        made: candidates.iter().map(said).collect(),
        parents: vec![BTreeSet::new(); candidates.len()],
        ..Resolution::default()
    };
    aliases(candidates, &mut resolved);
    let mut wanted = wanted(candidates, known.roots);
    wanted.retain(|one| !resolved.by_output(candidates, one));
    let paths = Paths::of(candidates, known);
    common_words(candidates, &mut wanted, known.roots);
    let fits: Vec<Vec<Fit>> = wanted.iter().map(|one| paths.fits(one)).collect();
    let trust = namespaces(candidates, known, &wanted, &fits, &resolved);
    // What most Dockerfiles say comes first: an image has one repository.
    let mut order: Vec<usize> = (0..wanted.len()).collect();
    order.sort_by_key(|&at| {
        let is_proven = trust.get(&wanted[at].namespace).copied().unwrap_or(false);
        let is_exact = fits[at].first().is_some_and(|fit| fit.leftover == 0);
        (std::cmp::Reverse((is_proven, is_exact)), std::cmp::Reverse(wanted[at].users.len()))
    });
    for at in order {
        let one = &wanted[at];
        match trust.get(&one.namespace) {
            Some(&is_proven) => resolved.by_path(candidates, one, &fits[at], is_proven),
            None => drop(resolved.by_repository(candidates, one)),
        }
    }
    resolved.guess(candidates);
    for one in &wanted {
        resolved.by_last_part(one);
    }
    for made in resolved.made.iter().flatten() {
        let namespace = split(&made.repository).0.to_owned();
        if !namespace.is_empty() {
            *resolved.namespaces.entry(namespace).or_default() += 1;
        }
    }
    resolved
}

/// The namespace and the last part of a repository. Docker Hub's bare names have none.
pub(super) fn split(repository: &Repository) -> (&str, &str) {
    let text = repository.as_str();
    match text.rsplit_once('/') {
        Some((namespace, name)) if !["library", "docker.io/library"].contains(&namespace) => {
            (namespace, name)
        }
        Some((_, name)) => ("", name),
        None => ("", text),
    }
}

/// What the evidence of a candidate says without a doubt.
fn said(candidate: &ImageCandidate) -> Option<Made> {
    let (rule, place) = candidate.said.clone().filter(|(rule, _)| *rule != EvidenceRule::Guess)?;
    published(candidate, rule, place)
}

/// The first image that builds of a candidate publish, if its whole name is known.
fn published(candidate: &ImageCandidate, rule: EvidenceRule, place: String) -> Option<Made> {
    let outputs = &candidate.given.outputs;
    let mut whole = outputs.iter().filter(|one| one.is_whole);
    // Of several repositories, one with a known tag.
    let has_tag = |one: &&PublishedImage| one.tag.is_some() || one.template.is_some();
    let first = whole.clone().find(has_tag).or_else(|| whole.next())?;
    let repository: Repository = first.repository.parse().ok()?;
    // A local name such as `test` or `app` is no proof of where it is published.
    let is_local = !first.repository.contains('/')
        && !matches!(rule, EvidenceRule::Bake | EvidenceRule::Compose);
    if is_local && is_official(&first.repository) {
        return None;
    }
    let same = outputs.iter().filter(|one| one.is_of(&repository));
    let tags = same.filter_map(|one| one.tag.as_ref()?.parse().ok()).collect();
    Some(Made { rule, place, repository, tags })
}

/// What bake and compose files let Dockerfiles call other targets.
fn aliases(candidates: &[ImageCandidate], resolved: &mut Resolution) {
    for (child, candidate) in candidates.iter().enumerate() {
        for image in &candidate.survey.images {
            if let Some(Instead::Target(target)) = candidate.given.contexts.get(&image.image) {
                let by_name = |one: &ImageCandidate| one.given.name.as_ref() == Some(target);
                if let Some(parent) = candidates.iter().position(by_name) {
                    resolved.parents[child].insert(parent);
                    let name = image.image.parse::<Reference>().map(|one| usual(&one));
                    resolved.made_here.extend(name.ok().map(|name| (name, parent)));
                }
            }
        }
    }
}

fn wanted(candidates: &[ImageCandidate], roots: &[String]) -> Vec<WantedReference> {
    let mut all: BTreeMap<(String, String, String), WantedReference> = BTreeMap::new();
    for (index, candidate) in candidates.iter().enumerate() {
        for (reference, _) in &candidate.uses {
            let Some(tag) = reference.tag_or_latest() else { continue };
            if reference.digest.is_some() {
                continue;
            }
            let host = reference.repository.host().to_owned();
            let key = (host, reference.repository.path(), tag.to_string());
            let one = all.entry(key).or_insert_with(|| {
                let (namespace, name) = split(&reference.repository);
                let is_own = roots.iter().any(|root| root == name);
                let tag_words =
                    if tag.as_str() == "latest" { vec![] } else { path_words::words(tag.as_str()) };
                WantedReference {
                    namespace: namespace.to_owned(),
                    name: path_words::words(name),
                    reference: reference.clone(),
                    tag,
                    tag_words,
                    users: vec![],
                    is_official: namespace.is_empty() && is_official(name) && !is_own,
                }
            });
            if !one.users.contains(&index) {
                one.users.push(index);
            }
        }
    }
    all.into_values().collect()
}

/// Takes off what all names of a namespace begin or end with, if no path has it; and forgets the one
/// tag that all images of it have.
fn common_words(candidates: &[ImageCandidate], wanted: &mut [WantedReference], roots: &[String]) {
    let has = |word: &String| {
        candidates.iter().any(|one| one.words.iter().flatten().any(|own| own == word))
    };
    // What the repository itself begins with: `s2i-core` of `s2i-base-container`.
    let own: Vec<String> =
        roots.iter().filter_map(|root| path_words::words(root).into_iter().next()).collect();
    for one in &mut *wanted {
        let is_root = roots.iter().any(|root| path_words::words(root) == one.name);
        if one.name.len() > 1 && own.contains(&one.name[0]) && !has(&one.name[0]) && !is_root {
            one.name.remove(0);
        }
    }
    let mut groups: BTreeMap<String, Vec<usize>> = BTreeMap::new();
    for (index, one) in wanted.iter().enumerate() {
        groups.entry(one.namespace.clone()).or_default().push(index);
    }
    for group in groups.into_values() {
        let names: BTreeSet<Vec<String>> =
            group.iter().map(|&one| wanted[one].name.clone()).collect();
        if names.len() < 2 {
            continue;
        }
        for is_last in [false, true] {
            let end =
                |name: &Vec<String>| if is_last { name.last() } else { name.first() }.cloned();
            while let Some(word) = group.first().and_then(|&one| end(&wanted[one].name)) {
                let is_common = group.iter().all(|&one| {
                    wanted[one].name.len() > 1 && end(&wanted[one].name).as_ref() == Some(&word)
                });
                if !is_common || has(&word) {
                    break;
                }
                for &one in &group {
                    let at = if is_last { wanted[one].name.len() - 1 } else { 0 };
                    wanted[one].name.remove(at);
                }
            }
        }
        let tags: BTreeSet<Vec<String>> =
            group.iter().map(|&one| wanted[one].tag_words.clone()).collect();
        if tags.len() == 1 && !tags.iter().flatten().all(has) {
            for &one in &group {
                wanted[one].tag_words.clear();
            }
        }
    }
}

pub(super) fn is_same(one: &Reference, wanted: &WantedReference) -> bool {
    one.digest.is_none()
        && one.repository.is_same(&wanted.reference.repository)
        && one.tag_or_latest().as_ref() == Some(&wanted.tag)
}

/// The words of a name, and those of a tag.
type NameAndTag<'w> = (&'w [String], &'w [String]);

/// The namespaces that are ours; `true` if that is proven.
fn namespaces(
    candidates: &[ImageCandidate],
    known: &RepositoryFacts<'_>,
    wanted: &[WantedReference],
    fits: &[Vec<Fit>],
    resolved: &Resolution,
) -> BTreeMap<String, bool> {
    let mut trust = BTreeMap::new();
    let mut names: BTreeMap<&str, BTreeSet<&[String]>> = BTreeMap::new();
    let mut tagged: BTreeMap<&str, BTreeSet<NameAndTag<'_>>> = BTreeMap::new();
    for (one, fits) in wanted.iter().zip(fits) {
        if one.is_official {
            continue;
        }
        let is_good = |fit: &Fit| {
            (fit.strength == 0 || fit.leftover == 0) && fit.strength < 2 && fit.unexplained == 0
        };
        if fits.iter().any(|fit| is_good(fit) || (fit.strength == 0 && fits.len() == 1)) {
            names.entry(&one.namespace).or_default().insert(&one.name);
        }
        let has_tag = one.tag_words.len() > 1 || one.tag_words.iter().any(|word| !is_version(word));
        if has_tag && fits.iter().any(|fit| fit.unexplained == 0 && fit.strength != 1) {
            tagged.entry(&one.namespace).or_default().insert((&one.name, &one.tag_words));
        }
    }
    let mut unproven: Vec<(usize, &str)> = Vec::new();
    for (at, one) in wanted.iter().enumerate() {
        let namespace = one.namespace.as_str();
        let is_said = !namespace.is_empty()
            && resolved.made.iter().flatten().any(|made| split(&made.repository).0 == namespace);
        let host = one.reference.repository.host();
        let is_owned = known.owner.is_some_and(|owner| {
            namespace
                .split('/')
                .find(|part| *part != host)
                .is_some_and(|first| first.eq_ignore_ascii_case(owner))
        });
        let count = names.get(namespace).map_or(0, BTreeSet::len);
        let tags = tagged.get(namespace).map_or(0, BTreeSet::len);
        let is_private = !is_one_of(host, PUBLIC) && count > 0;
        let is_bare = namespace.is_empty();
        if is_said || is_owned || is_private || count > 1 || tags > 1 {
            trust.insert(namespace.to_owned(), true);
        } else if count == 1 && (!is_bare || candidates.len() > 1) {
            unproven.push((at, host));
        }
    }
    // Beside a namespace of ours on the same public host, another one is of others, unless a path
    // has its words.
    let hosts: BTreeSet<&str> = wanted
        .iter()
        .filter(|one| trust.contains_key(&one.namespace) && !one.namespace.is_empty())
        .map(|one| one.reference.repository.host())
        .collect();
    let mut likely = BTreeSet::new();
    for (at, host) in unproven {
        let namespace = &wanted[at].namespace;
        let above = path_words::words(namespace.rsplit('/').next().unwrap_or_default());
        let is_in_path = fits[at].iter().any(|fit| {
            let own: Vec<&String> = candidates[fit.candidate].words.iter().flatten().collect();
            !above.is_empty() && above.iter().all(|word| own.contains(&word))
        });
        if !hosts.contains(host) || is_in_path {
            likely.insert(namespace.clone());
        }
    }
    trust.extend(likely.into_iter().map(|one| (one, false)));
    trust
}

impl Resolution {
    /// Decides by what builds say that they publish; `false` if they do not say it.
    fn by_output(&mut self, candidates: &[ImageCandidate], wanted: &WantedReference) -> bool {
        let reference = &wanted.reference;
        let makers = |is_it: &dyn Fn(&PublishedImage) -> bool| -> Vec<usize> {
            let all = candidates.iter().enumerate();
            all.filter(|(_, one)| one.given.outputs.iter().any(is_it)).map(|(at, _)| at).collect()
        };
        let mut found = makers(&|one| one.is_whole && one.tag.is_some() && one.makes(reference));
        if found.is_empty() {
            found = makers(&|one| {
                one.makes(reference) && (one.is_whole || !wanted.namespace.is_empty())
            });
        }
        // What is built from an image does not make it, even if its script says so.
        found.retain(|&one| !candidates[one].uses.iter().any(|(used, _)| is_same(used, wanted)));
        let is_guess = |&one: &usize| candidates[one].is_guess();
        if !found.iter().all(is_guess) {
            found.retain(|one| !is_guess(one));
        }
        // What the hierarchy file says of its images, and has no place, is stronger.
        let is_of_file =
            |&one: &usize| candidates[one].said.as_ref().is_some_and(|(_, at)| at.is_empty());
        if found.iter().any(is_of_file) {
            found.retain(is_of_file);
        }
        if found.len() > 1 {
            // Of several that make the repository, the one whose variant the tag says.
            let says = |&index: &usize| {
                let one = &candidates[index];
                let given = one.given.build_args.values().chain(&one.given.target);
                let mut own: Vec<String> =
                    given.flat_map(|value| path_words::words(value)).collect();
                own.extend(one.words.iter().flatten().cloned());
                std::cmp::Reverse(wanted.tag_words.iter().filter(|word| own.contains(word)).count())
            };
            found.sort_by_key(says);
            let best = says(&found[0]);
            found.retain(|one| says(one) == best);
        }
        match found[..] {
            [] => false,
            [only] => {
                let own = candidates[only].given.outputs.iter();
                let own: Vec<&PublishedImage> = own
                    .filter(|one| one.tag.is_some() && one.is_of(&reference.repository))
                    .collect();
                // The tag may be the one that is not known, beside others that are.
                if !own.is_empty() && !own.iter().any(|one| one.makes(reference)) {
                    self.take_unsure(candidates, only, wanted, true);
                } else {
                    self.take(candidates, only, wanted);
                }
                true
            }
            _ => {
                self.doubt(DoubtCause::Several, wanted, found);
                true
            }
        }
    }

    /// What nothing else says, a command says whose Dockerfile is not known.
    fn guess(&mut self, candidates: &[ImageCandidate]) {
        for (made, candidate) in self.made.iter_mut().zip(candidates) {
            if made.is_none()
                && let Some((rule @ EvidenceRule::Guess, place)) = &candidate.said
            {
                *made = published(candidate, *rule, place.clone());
            }
        }
    }

    /// The one build that publishes the repository, but under another tag. With an edge, the next
    /// run would move that tag to other content.
    fn by_repository(&mut self, candidates: &[ImageCandidate], wanted: &WantedReference) -> bool {
        let publishes = |one: &&ImageCandidate| {
            let is_of = |output: &PublishedImage| {
                output.is_whole && output.is_of(&wanted.reference.repository)
            };
            one.given.outputs.iter().any(is_of)
                && !one.uses.iter().any(|(used, _)| is_same(used, wanted))
        };
        let mut makers = candidates.iter().enumerate().filter(|(_, one)| publishes(one));
        match (makers.next(), makers.next()) {
            (Some((only, _)), None) if !wanted.namespace.is_empty() => {
                self.doubt(DoubtCause::OtherTag, wanted, vec![only]);
                true
            }
            _ => false,
        }
    }

    /// Decides by the words of paths.
    fn by_path(
        &mut self,
        candidates: &[ImageCandidate],
        wanted: &WantedReference,
        fits: &[Fit],
        is_proven: bool,
    ) {
        if wanted.is_official {
            return;
        }
        let (is_bare, name) = (wanted.namespace.is_empty(), split(&wanted.reference.repository).1);
        // Evidence that an image has another name is stronger than its path.
        let is_free = |fit: &&Fit| match &self.made[fit.candidate] {
            Some(made) => {
                let is_taken = self.made_here.values().any(|&one| one == fit.candidate);
                made.repository.is_same(&wanted.reference.repository)
                    // A local name, or the same image in two registries.
                    || (!is_taken
                        && (!made.repository.as_str().contains('/')
                            || split(&made.repository).1 == name))
            }
            None => true,
        };
        let has_other_tags = |fit: &&Fit| {
            let one = &candidates[fit.candidate];
            !one.is_guess() && names_other_tags(&one.given.outputs, &wanted.reference)
        };
        let (others, free): (Vec<&Fit>, Vec<&Fit>) =
            fits.iter().filter(is_free).partition(has_other_tags);
        let others = nearest_of(&others);
        let is_latest = wanted.tag_words.is_empty();
        let key =
            |fit: &Fit| (fit.is_other, fit.unexplained, fit.leftover, fit.strength, fit.is_foreign);
        let tied: Vec<usize> = free
            .iter()
            .take_while(|fit| key(fit) == key(free[0]))
            .map(|fit| fit.candidate)
            .collect();
        let Some(best) = free.first() else {
            if !others.is_empty() {
                self.doubt(DoubtCause::OtherTag, wanted, others);
            } else if !self.by_repository(candidates, wanted) && is_proven && !is_bare {
                self.doubt(DoubtCause::NothingMakes, wanted, vec![]);
            }
            return;
        };
        let is_alone = free.len() == 1 && others.is_empty();
        let whole = best.strength == 0;
        let is_exact = best.leftover == 0 && best.unexplained == 0;
        let is_certain = if best.is_other {
            false
        } else if is_latest {
            is_exact || (is_alone && whole && best.unexplained == 0)
        } else {
            best.unexplained == 0 && (whole || best.leftover == 0 || best.strength == 2 || wanted.tag_words.len() > 1)
                // The reference says all of the path, and more: a patch level, a preview.
                || (whole && best.leftover == 0 && best.explained > 0)
        };
        // The only Dockerfile of the name, whose path says nothing of the tag; or the only one whose
        // path says all of the tag but a number.
        let is_likely = !best.is_other
            && ((whole
                && is_alone
                && (best.leftover == 0 || best.unexplained < wanted.tag_words.len()))
                || (tied.len() == 1
                    && best.strength < 2
                    && best.explained > 0
                    && best.strange + best.leftover == 0));
        if !is_certain && !is_likely {
            if !others.is_empty() {
                self.doubt(DoubtCause::OtherTag, wanted, others);
                return;
            }
            if self.by_repository(candidates, wanted) {
                return;
            }
            let near = free.iter().filter(|fit| fit.strength == 0).map(|fit| fit.candidate);
            let near: Vec<usize> = near.collect();
            if is_latest && let Some(one) = nearest(candidates, &near, &wanted.users) {
                self.take_unsure(candidates, one, wanted, is_proven);
            } else if is_latest && !near.is_empty() && is_proven {
                self.doubt(DoubtCause::Several, wanted, near);
            } else if is_proven && !is_bare {
                self.doubt(DoubtCause::NothingMakes, wanted, vec![]);
            }
            return;
        }
        let index = if tied.len() > 1 {
            match newest(candidates, &tied).or_else(|| nearest(candidates, &tied, &wanted.users)) {
                Some(one) => self.take_unsure(candidates, one, wanted, is_proven),
                None => self.doubt(DoubtCause::Several, wanted, tied),
            }
            return;
        } else {
            best.candidate
        };
        if !self.take(candidates, index, wanted) {
            return;
        }
        if !is_proven {
            self.doubt(DoubtCause::Namespace, wanted, vec![index]);
        } else if !is_certain {
            // With one image of one version, its tag is what others call it.
            let others =
                candidates.iter().filter(|one| one.dockerfile != candidates[index].dockerfile);
            let has_variants = others.clone().any(|one| run(&one.words, &wanted.name).is_some());
            if has_variants || best.leftover > 0 || best.explained > 0 {
                self.doubt(DoubtCause::Tag, wanted, vec![index]);
            }
        }
    }

    /// A bare name is that of the one image here whose repository ends in it: people tag it so on their machines.
    fn by_last_part(&mut self, wanted: &WantedReference) {
        let is_bare = wanted.namespace.is_empty() && wanted.reference.tag.is_none();
        let usual = usual(&wanted.reference);
        if !is_bare || wanted.is_official || self.made_here.contains_key(&usual) {
            return;
        }
        let name = split(&wanted.reference.repository).1;
        let has_name = |made: &Option<Made>| {
            made.as_ref().is_some_and(|made| split(&made.repository).1 == name)
        };
        let mut all = (0..self.made.len()).filter(|&one| has_name(&self.made[one]));
        let (Some(only), None) = (all.next(), all.next()) else { return };
        if wanted.users.iter().any(|&user| user == only || self.stands_on(only, user)) {
            return;
        }
        for &user in &wanted.users {
            self.parents[user].insert(only);
        }
        self.made_here.insert(usual, only);
        self.doubt(DoubtCause::Namespace, wanted, vec![only]);
    }

    /// Makes an edge that a person should check.
    fn take_unsure(
        &mut self,
        candidates: &[ImageCandidate],
        one: usize,
        wanted: &WantedReference,
        is_proven: bool,
    ) {
        if self.take(candidates, one, wanted) {
            let cause = if is_proven { DoubtCause::Tag } else { DoubtCause::Namespace };
            self.doubt(cause, wanted, vec![one]);
        }
    }

    /// Says that a candidate makes an image, unless it would then be built from itself.
    fn take(
        &mut self,
        candidates: &[ImageCandidate],
        index: usize,
        wanted: &WantedReference,
    ) -> bool {
        let users = &wanted.users;
        if users.iter().any(|&user| user == index || self.stands_on(index, user)) {
            if users.iter().any(|&user| user != index) {
                self.doubt(DoubtCause::Ring, wanted, vec![index]);
            }
            return false;
        }
        for &user in users {
            self.parents[user].insert(index);
        }
        let place = users.first().map(|&user| {
            let line = candidates[user].uses.iter().find(|(one, _)| is_same(one, wanted));
            let mut place = candidates[user].dockerfile.display().to_string();
            _ = write!(place, ":{}", line.map_or(1, |(_, line)| *line));
            place
        });
        self.made_here.insert(usual(&wanted.reference), index);
        let is_weak = |made: &Made| !made.repository.is_same(&wanted.reference.repository);
        if self.made[index].as_ref().is_none_or(is_weak) {
            let known = self.made[index].take();
            let (rule, place) = match (&candidates[index].said, known) {
                (Some(said), _)
                    if said.0 != EvidenceRule::Guess
                        && candidates[index]
                            .given
                            .outputs
                            .iter()
                            .any(|one| one.is_of(&wanted.reference.repository)) =>
                {
                    said.clone()
                }
                _ => (EvidenceRule::Reference, place.unwrap_or_default()),
            };
            let repository = wanted.reference.repository.clone();
            let same = candidates[index].given.outputs.iter().filter(|one| one.is_of(&repository));
            let tags = same.filter_map(|one| one.tag.as_ref()?.parse().ok()).collect();
            self.made[index] = Some(Made { rule, place, repository, tags });
        }
        if let Some(made) = &mut self.made[index] {
            made.tags.insert(wanted.tag.clone());
        }
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

    fn doubt(&mut self, cause: DoubtCause, wanted: &WantedReference, candidates: Vec<usize>) {
        self.doubts.push(InitDoubt { cause, image: wanted.reference.to_string(), candidates });
    }
}

/// Those that the reference describes as well as the first.
fn nearest_of(fits: &[&Fit]) -> Vec<usize> {
    let is_near =
        |fit: &&&Fit| (fit.explained, fit.leftover) == (fits[0].explained, fits[0].leftover);
    fits.iter().take_while(is_near).map(|fit| fit.candidate).collect()
}

/// The one of the highest version, if nothing else differs: `3.24` is what `alpine` means.
fn newest(candidates: &[ImageCandidate], tied: &[usize]) -> Option<usize> {
    let words = |&one: &usize| candidates[one].words.concat();
    let first = words(tied.first()?);
    let all: Vec<Vec<String>> = tied.iter().map(words).collect();
    let differs = |at: &usize| all.iter().any(|one| one.get(*at) != first.get(*at));
    let mut places = (0..first.len()).filter(differs);
    let (Some(place), None) = (places.next(), places.next()) else { return None };
    let is_alike = |one: &Vec<String>| one.len() == first.len() && is_version(&one[place]);
    if !all.iter().all(is_alike) {
        return None;
    }
    let number = |one: &usize| -> Vec<u64> {
        words(one)[place].split('.').map(|part| part.parse().unwrap_or_default()).collect()
    };
    tied.iter().copied().max_by_key(number)
}

/// The one whose path has most of the words of every user's path: `core/Dockerfile.rhel9` for
/// `base/Dockerfile.rhel9`.
fn nearest(candidates: &[ImageCandidate], of: &[usize], users: &[usize]) -> Option<usize> {
    let words = |one: usize| candidates[one].words.concat().into_iter().collect::<BTreeSet<_>>();
    let of_user = |&user: &usize| {
        let own = words(user);
        let shared = |&one: &usize| words(one).intersection(&own).count();
        let most = of.iter().map(shared).max()?;
        let mut best = of.iter().filter(|one| shared(one) == most);
        best.next().copied().filter(|_| best.next().is_none())
    };
    let first = of_user(users.first()?)?;
    users.iter().all(|user| of_user(user) == Some(first)).then_some(first)
}
