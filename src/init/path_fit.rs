//! How well the paths of Dockerfiles fit the names of images.

use std::collections::{BTreeSet, HashMap};

use super::{
    candidate::ImageCandidate,
    path_words::{self, distribution, is_near, is_version, is_weak, platform},
    resolve::{RepositoryFacts, WantedReference, is_same},
};

/// How well a path says what a reference says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Fit {
    /// The tag is for another processor.
    pub(super) is_other: bool,
    /// Words of the tag that the path does not have.
    pub(super) unexplained: usize,
    /// Those of them that are no numbers.
    pub(super) strange: usize,
    /// Words of the path that neither name nor tag have.
    pub(super) leftover: usize,
    /// 0: a part of the path is the name. 1: the path has the words. 2: the repository is.
    pub(super) strength: u8,
    pub(super) is_foreign: bool,
    /// Words that the path has and the tag says.
    pub(super) explained: usize,
    pub(super) candidate: usize,
}

/// All paths, by their words.
pub(super) struct Paths<'a> {
    candidates: &'a [ImageCandidate],
    known: &'a RepositoryFacts<'a>,
    roots: Vec<Vec<String>>,
    by_word: HashMap<&'a str, Vec<usize>>,
    /// Words that every path has.
    common: BTreeSet<&'a str>,
}

impl<'a> Paths<'a> {
    pub(super) fn of(candidates: &'a [ImageCandidate], known: &'a RepositoryFacts<'a>) -> Self {
        let mut by_word: HashMap<&str, Vec<usize>> = HashMap::new();
        for (index, candidate) in candidates.iter().enumerate() {
            let own: BTreeSet<&str> =
                candidate.words.iter().flatten().map(String::as_str).collect();
            for word in own {
                by_word.entry(word).or_default().push(index);
            }
        }
        let is_common = |all: &Vec<usize>| all.len() == candidates.len() && all.len() > 1;
        let common =
            by_word.iter().filter(|(_, all)| is_common(all)).map(|(word, _)| *word).collect();
        let roots = known.roots.iter().map(|root| path_words::words(root)).collect();
        Self { candidates, known, roots, by_word, common }
    }

    /// The candidates whose paths have the name, the best first.
    pub(super) fn fits(&self, wanted: &WantedReference) -> Vec<Fit> {
        let is_root = self.roots.contains(&wanted.name);
        let mut places: Vec<usize> =
            match wanted.name.first().and_then(|one| self.by_word.get(one.as_str())) {
                Some(places) => places.clone(),
                None => Vec::new(),
            };
        if is_root {
            places = (0..self.candidates.len()).collect();
        }
        let fits = places.into_iter().filter(|index| {
            let candidate = &self.candidates[*index];
            // What is built from an image does not make it.
            !candidate.uses.iter().any(|(one, _)| is_same(one, wanted))
        });
        let mut fits: Vec<Fit> =
            fits.filter_map(|index| self.fit(wanted, index, is_root)).collect();
        // Beside `teams/blue/base`, `base` does not make `blue/base`.
        let folder = path_words::words(wanted.namespace.rsplit('/').next().unwrap_or_default());
        let is_inside = |fit: &Fit| {
            let own = &self.candidates[fit.candidate].words;
            !folder.is_empty() && folder.iter().all(|word| own.iter().flatten().any(|w| w == word))
        };
        let is_whole = |fit: &Fit| fit.strength == 0 && fit.unexplained == 0;
        if fits.iter().any(|fit| is_whole(fit) && is_inside(fit)) {
            fits.retain(is_inside);
        }
        fits.sort();
        fits
    }

    fn fit(&self, wanted: &WantedReference, index: usize, is_root: bool) -> Option<Fit> {
        let candidate = &self.candidates[index];
        let all: Vec<&str> = candidate.words.iter().flatten().map(String::as_str).collect();
        let (mut rest, strength) = match run(&candidate.words, &wanted.name) {
            Some(rest) => (rest, 0),
            None => match without(&all, &wanted.name) {
                Some(rest) => (rest, 1),
                None if is_root => (all.clone(), 2),
                None => return None,
            },
        };
        // Words of the namespace may stand in the path as well.
        let above = path_words::words(&wanted.namespace);
        let (mut unexplained, mut strange, mut explained) = (0, 0, 0);
        let own = rest.iter().find_map(|word| platform(word));
        let mut open: Vec<&String> = Vec::new();
        for word in &wanted.tag_words {
            match rest.iter().position(|one| one == word) {
                Some(at) => {
                    rest.remove(at);
                    explained += 1;
                }
                None => open.push(word),
            }
        }
        for word in open {
            // `trixie` says `debian`, unless a path says `trixie`.
            let of = distribution(word).filter(|_| !self.by_word.contains_key(word.as_str()));
            match rest.iter().position(|one| is_near(one, word) || of == Some(one)) {
                Some(at) => {
                    rest.remove(at);
                    explained += 1;
                }
                // A tag repeats the name, or says a processor that no path says.
                None if all.contains(&word.as_str()) || platform(word).is_some() => {}
                None => {
                    unexplained += 1;
                    strange += usize::from(!is_version(word));
                }
            }
        }
        let said = wanted.tag_words.iter().find_map(|word| platform(word));
        let is_foreign = own.is_some_and(|own| own != said.unwrap_or(self.known.host));
        let is_other = said.is_some() && is_foreign;
        let counts = |word: &&&str| {
            let is_free = is_weak(word)
                || self.common.contains(**word)
                || platform(word).is_some()
                || above.iter().any(|one| one == *word)
                || (wanted.tag.as_str() == "latest" && **word == "latest");
            !is_free
        };
        let leftover = rest.iter().filter(counts).count();
        Some(Fit {
            is_other,
            unexplained,
            strange,
            leftover,
            strength,
            is_foreign,
            explained,
            candidate: index,
        })
    }
}

/// The words outside of the parts of the path that are the name, the last such parts.
pub(super) fn run<'w>(path: &'w [Vec<String>], name: &[String]) -> Option<Vec<&'w str>> {
    for start in (0..path.len()).rev() {
        for end in start + 1..=path.len() {
            let joined = path[start..end].iter().flatten();
            if joined.clone().count() > name.len() {
                break;
            }
            if joined.eq(name.iter()) {
                let rest = path[..start].iter().chain(&path[end..]).flatten();
                return Some(rest.map(String::as_str).collect());
            }
        }
    }
    None
}

/// The words without those of the name; `None` if one of them is missing.
fn without<'w>(all: &[&'w str], name: &[String]) -> Option<Vec<&'w str>> {
    let mut rest = all.to_vec();
    for word in name {
        let at = rest.iter().rposition(|one| one == word)?;
        rest.remove(at);
    }
    Some(rest)
}
