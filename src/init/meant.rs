//! Which image is meant to stand on which, and where that is not what will be.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    candidate::{Candidate, Named as Instead},
    matching::Matched,
    naming::Named,
    words,
};
use crate::{diagnostic::names, hierarchy::Hierarchy, image::Reference};

/// The names of the parents of each image, by its name.
pub(super) type Meant = BTreeMap<String, BTreeSet<String>>;

/// Names images as the bake or compose file lets others call them. Which candidates stand on which
/// for that reason.
pub(super) fn alias(
    candidates: &[Candidate],
    named: &mut [Named],
    unsure: &mut Vec<String>,
) -> BTreeSet<(usize, usize)> {
    let mut edges = BTreeSet::new();
    for (child, candidate) in candidates.iter().enumerate() {
        let name = candidate.given.name.clone().unwrap_or_default();
        for image in &candidate.survey.images {
            match candidate.given.contexts.get(&image.image) {
                None => {}
                Some(Instead::Target(target)) => {
                    let by_name = |one: &Candidate| one.given.name.as_ref() == Some(target);
                    let Some(parent) = candidates.iter().position(by_name) else { continue };
                    edges.insert((child, parent));
                    let is_free = named.iter().all(|one| one.name != image.image);
                    let makes = named[parent].name == image.image
                        || candidates[parent].given.tags.iter().any(|tag| {
                            image.image.parse::<Reference>().is_ok_and(|one| {
                                one.repository.is_same(&tag.repository)
                                    && one.tag_or_latest() == tag.tag_or_latest()
                            })
                        });
                    if !makes && is_free && words::name_part(&image.image) == image.image {
                        let repository = named[parent].name.clone();
                        named[parent].name.clone_from(&image.image);
                        if !candidates[parent].given.tags.is_empty() {
                            named[parent].repository.get_or_insert(repository);
                        }
                    } else if !makes {
                        unsure.push(format!(
                            "`{name}`: `{}` in its Dockerfile stands for the target `{target}`; write that name there",
                            image.image
                        ));
                    }
                }
                Some(Instead::Image(other)) => unsure.push(format!(
                    "`{name}`: `{}` in its Dockerfile stands for `{other}`; write that there",
                    image.image
                )),
                Some(Instead::Elsewhere(place)) => unsure.push(format!(
                    "`{name}`: `{}` in its Dockerfile stands for `{place}`, which a hierarchy cannot say",
                    image.image
                )),
            }
        }
    }
    edges
}

/// The names of each image's parents, as they are meant.
pub(super) fn expected(
    candidates: &[Candidate],
    matched: &Matched,
    named: &[Named],
    aliases: &BTreeSet<(usize, usize)>,
) -> Meant {
    let mut expected = BTreeMap::new();
    for (index, _) in candidates.iter().enumerate() {
        let by_alias =
            aliases.iter().filter(|(child, _)| *child == index).map(|(_, parent)| parent);
        let parents = matched.parents(index).iter().chain(by_alias);
        let parents = parents.map(|&parent| named[parent].name.clone()).collect();
        expected.insert(named[index].name.clone(), parents);
    }
    expected
}

/// Those that nobody names and that stand elsewhere than all that somebody does: examples, tests.
pub(super) fn outsiders(
    matched: &Matched,
    candidates: &[Candidate],
    named: &[Named],
) -> Option<String> {
    let first = |index: usize| candidates[index].folder().iter().next();
    let is_made = |index: &usize| matched.made[*index].is_some();
    let homes: BTreeSet<_> = (0..candidates.len()).filter(is_made).map(first).collect();
    let outside = (0..candidates.len()).filter(|index| {
        !is_made(index) && !homes.contains(&first(*index)) && !homes.contains(&None)
    });
    let outside: Vec<&str> = outside.map(|index| named[index].name.as_str()).collect();
    let is_apart = !homes.is_empty() && !outside.is_empty() && homes.len() <= 2;
    is_apart.then(|| {
        format!(
            "{}: nobody names them, and they stand apart from the others; take out those that are only examples",
            names(&outside, 3)
        )
    })
}

/// Where what would be loaded has other edges than what was meant.
pub(super) fn differences(hierarchy: &Hierarchy, expected: &Meant) -> Vec<String> {
    let mut lines = Vec::new();
    for node in hierarchy.in_build_order() {
        let parents: BTreeSet<String> =
            hierarchy.parents(&node.name).map(|parent| parent.name.to_string()).collect();
        let meant = expected.get(node.name.as_str()).cloned().unwrap_or_default();
        if parents != meant {
            let list = |all: &BTreeSet<String>| match all.len() {
                0 => "no image here".to_owned(),
                _ => names(&all.iter().collect::<Vec<_>>(), 3),
            };
            lines.push(format!(
                "`{}` is built from {}, and not from {} as it seems to be meant; check their `tags` and names",
                node.name,
                list(&parents),
                list(&meant)
            ));
        }
    }
    if hierarchy.len() != expected.len() {
        lines.push(format!(
            "{} images were found, and {} are written",
            expected.len(),
            hierarchy.len()
        ));
    }
    lines
}

/// One name for two images: that is not one hierarchy.
pub(super) fn contested(matched: &Matched, candidates: &[Candidate]) -> String {
    let mut folders: BTreeSet<String> = BTreeSet::new();
    for index in matched.contested.values().flatten() {
        if let Some(first) = candidates[*index].folder().iter().next() {
            folders.insert(format!("rebuild -C {} init", first.to_string_lossy()));
        }
    }
    let images: Vec<&Reference> = matched.contested.keys().collect();
    let folders: Vec<String> = folders.into_iter().collect();
    format!(
        "{}: made by several Dockerfiles; if these are hierarchies of their own, make a file of each: {}",
        names(&images, 3),
        names(&folders, 3)
    )
}
