//! What a person should check, grouped by cause, the worst first; and where a decision came from.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Display,
    path::{Path, PathBuf},
};

use super::{
    LeftOut,
    candidate::{ContextSource as Instead, ImageCandidate},
    evidence::EvidenceRule,
    names::{NamedImage, Names, UnknownTag},
    resolve::{DoubtCause, InitDoubt, Made, Resolution, split},
};
use crate::{
    check::diagnostic::names,
    dockerfile::UnreadableDockerfile,
    hierarchy::{Base, Hierarchy},
    image::Reference,
};

/// So many of one cause are named.
pub(super) const SHOWN: usize = 3;
/// All of one cause are named.
const ALL: usize = usize::MAX - 1;

/// Images without an edge are worth a word from this many on.
const MANY: usize = 5;

/// A decision for the user to check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnsureLine {
    /// With the first images or files that it concerns.
    pub short: String,
    /// With all of them.
    pub whole: String,
}

impl UnsureLine {
    /// `line` gets how many images or files it names.
    pub(super) fn new(line: impl Fn(usize) -> String) -> Self {
        Self { short: line(SHOWN), whole: line(ALL) }
    }
}

/// The names of the parents of each image, by its name.
pub(super) type Expected = BTreeMap<String, BTreeSet<String>>;

pub(super) fn expected(resolved: &Resolution, named: &[NamedImage]) -> Expected {
    let parents = |index: usize| {
        resolved.parents[index].iter().map(|&parent| named[parent].name.clone()).collect()
    };
    named.iter().enumerate().map(|(index, one)| (one.name.clone(), parents(index))).collect()
}

/// Images or files, and what they have in common; `None` without any.
pub(super) fn listed<T: Display>(all: &[T], what: &str) -> Option<UnsureLine> {
    (!all.is_empty()).then(|| UnsureLine::new(|shown| format!("{}: {what}", names(all, shown))))
}

/// A line for each cause, and for each repository that it concerns.
pub(super) fn doubts(
    resolved: &Resolution,
    candidates: &[ImageCandidate],
    named: &[NamedImage],
) -> Vec<UnsureLine> {
    let mut groups: BTreeMap<(DoubtCause, String), Vec<&InitDoubt>> = BTreeMap::new();
    for doubt in &resolved.doubts {
        let about = doubt.image.parse::<Reference>().map(|one| match doubt.cause {
            DoubtCause::Several | DoubtCause::OtherTag | DoubtCause::Tag => {
                one.repository.to_string()
            }
            _ => split(&one.repository).0.to_owned(),
        });
        groups.entry((doubt.cause, about.unwrap_or_default())).or_default().push(doubt);
    }
    let line = |((cause, _), doubts): (&(DoubtCause, String), &Vec<&InitDoubt>)| {
        UnsureLine::new(|shown| line(*cause, (doubts, shown), candidates, named))
    };
    let mut lines: Vec<UnsureLine> = groups.iter().map(line).collect();
    if named.len() >= MANY && resolved.parents.iter().all(BTreeSet::is_empty) {
        lines.insert(0, UnsureLine::new(|_| format!("{} images and no edge: no image here is built from another one; check `registry` and the names", named.len())));
    }
    lines
}

fn line(
    cause: DoubtCause,
    (doubts, shown): (&[&InitDoubt], usize),
    candidates: &[ImageCandidate],
    named: &[NamedImage],
) -> String {
    let images: Vec<&str> = doubts.iter().map(|doubt| doubt.image.as_str()).collect();
    let tag = images.first().and_then(|one| one.parse::<Reference>().ok()?.tag_or_latest());
    let tag = tag.map_or_else(|| "latest".to_owned(), |tag| tag.to_string());
    let images = names(&images, shown);
    let all: BTreeSet<usize> = doubts.iter().flat_map(|doubt| doubt.candidates.clone()).collect();
    let paths: Vec<String> =
        all.iter().map(|&one| candidates[one].dockerfile.display().to_string()).collect();
    let paths = names(&paths, shown);
    let first = all.first().map_or("IMAGE", |&one| named[one].name.as_str());
    match cause {
        DoubtCause::Several => format!(
            "{images}: several Dockerfiles may make it ({paths}), and it has no edge; add `tags: [\"{tag}\"]` and the `repository` to the right one, for example to `{first}`"
        ),
        DoubtCause::NothingMakes => format!(
            "{images}: the namespace is of this repository, but no image here makes it; if one does, set its `repository` and `tags`"
        ),
        DoubtCause::OtherTag => format!(
            "{images}: the builds of {paths} have other tags, so it is taken for an upstream; if `{first}` makes it, add `{tag}` to its `tags`"
        ),
        DoubtCause::Ring => {
            format!("{images}: {paths} would be built from itself; it is taken for an upstream")
        }
        DoubtCause::Tag => format!(
            "{images}: taken for {paths}, but nothing says its tag; check `tags` of `{first}`"
        ),
        DoubtCause::Namespace => {
            let is_bare = !doubts.iter().any(|doubt| doubt.image.contains('/'));
            let change = if is_bare { "rename the image" } else { "change the `repository` of" };
            format!(
                "{images}: taken for {paths} by the name alone; if it is an upstream, {change} `{first}`"
            )
        }
    }
}

/// Images that lost their tag to another one.
pub(super) fn collisions(all: &Names, candidates: &[ImageCandidate]) -> Option<UnsureLine> {
    let path = |&one: &usize| {
        let path = &candidates[one].dockerfile;
        let same = candidates.iter().filter(|other| other.dockerfile == *path).count();
        let name = if same == 1 { String::new() } else { format!(" ({})", all.all[one].name) };
        format!("{}{name}", path.display())
    };
    let paths: Vec<String> = all.collided.iter().map(path).collect();
    listed(
        &paths,
        "another build makes the same image and tag; they have names of their own, check `repository` and `tags`",
    )
}

/// Images whose builds say a tag that cannot be read.
pub(super) fn unknown_tags(all: &Names, new: &[bool]) -> Vec<UnsureLine> {
    let line = |case: UnknownTag, what: &str| {
        let unknown = all.unknown.iter().filter(|(one, own)| new[*one] && *own == case);
        let unknown: Vec<String> = unknown
            .map(|&(one, _)| format!("{} ({})", all.all[one].name, all.all[one].place))
            .collect();
        listed(&unknown, what)
    };
    let lines = [
        line(
            UnknownTag::Latest,
            "the value of the tag is not known, and `latest` is written; check `tags`",
        ),
        line(
            UnknownTag::Path,
            "the value of the tag is not known, and the words of the path are written; check `tags`",
        ),
        line(
            UnknownTag::LeftOut,
            "the value of another tag is not known, and it is left out; check `tags`",
        ),
    ];
    lines.into_iter().flatten().collect()
}

/// Images that a command may build whose Dockerfile depends on a variable.
pub(super) fn guesses(named: &[NamedImage], new: &[bool]) -> Option<UnsureLine> {
    let all =
        named.iter().zip(new).filter(|(one, is_new)| **is_new && one.rule == EvidenceRule::Guess);
    let all: Vec<String> = all.map(|(one, _)| format!("{} ({})", one.name, one.place)).collect();
    listed(
        &all,
        "the command may build it, but the value of a variable in the path of its Dockerfile is not known; check `repository`, `tags` and `build_args`",
    )
}

/// Images whose builds have a registry that is not known, beside one that most images have. There is no doubt if a
/// reference says that another build with such a registry publishes there.
pub(super) fn unknown_registries(
    all: &Names,
    resolved: &Resolution,
    candidates: &[ImageCandidate],
    new: &[bool],
) -> Option<UnsureLine> {
    let registry = all.registry.as_ref()?;
    let open = |one: &ImageCandidate| one.given.outputs.iter().any(|one| !one.is_whole);
    let is_there = |(candidate, made): (&ImageCandidate, &Option<Made>)| {
        let made = made.as_ref().filter(|made| split(&made.repository).0 == registry);
        open(candidate) && made.is_some()
    };
    if candidates.iter().zip(&resolved.made).any(is_there) {
        return None;
    }
    let unknown = (0..candidates.len()).filter(|&at| {
        let given = &candidates[at].given;
        let has_open_name = given.outputs.first().is_some_and(|one| !one.is_whole);
        new[at] && has_open_name && given.name.is_none() && resolved.made[at].is_none()
    });
    let unknown: Vec<String> =
        unknown.map(|at| format!("{} ({})", all.all[at].name, all.all[at].place)).collect();
    let what = format!(
        "the registry of the build is not known, and `{registry}` is taken; check `repository`"
    );
    listed(&unknown, &what)
}

/// Images that no build makes, where builds make most of the others.
pub(super) fn unbuilt(
    candidates: &[ImageCandidate],
    named: &[NamedImage],
    new: &[bool],
) -> Option<UnsureLine> {
    // What the hierarchy file says of its images has no place.
    let has_build = |one: &&ImageCandidate| one.said.as_ref().is_some_and(|(_, at)| !at.is_empty());
    let built = candidates.iter().filter(has_build).count();
    let all = candidates.iter().zip(named).zip(new).filter(|(_, is_new)| **is_new);
    let unbuilt =
        all.filter(|((one, named), _)| one.said.is_none() && named.rule == EvidenceRule::Path);
    let unbuilt: Vec<&str> = unbuilt.map(|((_, named), _)| named.name.as_str()).collect();
    let what = "no file that `init` reads builds it; check its `tags`, or delete the entry if the image is not used";
    listed(&unbuilt, what).filter(|_| built * 2 >= candidates.len())
}

/// Images that a build also publishes to another repository.
pub(super) fn other_repositories(
    resolved: &Resolution,
    candidates: &[ImageCandidate],
    named: &[NamedImage],
    new: &[bool],
) -> Option<UnsureLine> {
    let mut all: Vec<String> = Vec::new();
    for (index, candidate) in candidates.iter().enumerate().filter(|(index, _)| new[*index]) {
        let made = resolved.made[index].as_ref().filter(|made| made.rule != EvidenceRule::Guess);
        let Some(made) = made else { continue };
        for output in candidate.given.outputs.iter().filter(|one| one.is_whole) {
            // A name without a registry is one of this machine.
            let is_other = output.repository.contains('/') && !output.is_of(&made.repository);
            let text = format!("{}: {}", named[index].name, output.repository);
            if is_other && !all.contains(&text) {
                all.push(text);
            }
        }
    }
    listed(&all, "a build publishes the image there, too; see `publish`")
}

/// Images with arguments that have no value.
pub(super) fn fill_in(
    candidates: &[ImageCandidate],
    named: &[NamedImage],
    new: &[bool],
) -> Option<UnsureLine> {
    let new = candidates.iter().zip(named).zip(new).filter(|(_, is_new)| **is_new);
    let missing = new.map(|(one, _)| one).filter(|(one, _)| !one.fill_in.is_empty());
    let missing: Vec<String> =
        missing.map(|(one, named)| format!("{}: {}", named.name, one.fill_in.join(", "))).collect();
    listed(&missing, "arguments without a value; fill in `build_args`")
}

/// Dockerfiles that cannot be read, those of one fault in one line.
pub(super) fn left_out(all: &[(PathBuf, UnreadableDockerfile)]) -> Vec<LeftOut> {
    let mut groups: BTreeMap<(&str, &Option<String>), Vec<String>> = BTreeMap::new();
    for (path, error) in all {
        let place = format!("{}:{}", path.display(), error.line);
        groups.entry((&error.message, &error.hint)).or_default().push(place);
    }
    let line = |((message, hint), places): ((&str, &Option<String>), Vec<String>)| {
        let hint = hint.as_ref().map(|hint| format!("; {hint}")).unwrap_or_default();
        LeftOut { cause: format!("{message}{hint}"), places }
    };
    groups.into_iter().map(line).collect()
}

/// Bases that have the name of the folder of a Dockerfile that is left out.
pub(super) fn left_out_bases(
    candidates: &[ImageCandidate],
    unreadable: &[(PathBuf, UnreadableDockerfile)],
    new: &[bool],
) -> Vec<UnsureLine> {
    let new = candidates.iter().zip(new).filter(|(_, is_new)| **is_new);
    let bases = new.flat_map(|(candidate, _)| &candidate.uses).map(|(reference, _)| reference);
    let bases: BTreeSet<String> =
        bases.filter(|base| base.tag.is_none()).map(|base| base.repository.to_string()).collect();
    let line = |(path, _): &(PathBuf, UnreadableDockerfile)| {
        let name = path.parent()?.file_name()?.to_str()?;
        let what = format!("taken for an upstream, since `{}` cannot be read", path.display());
        listed(&[name], &what).filter(|_| bases.contains(name))
    };
    unreadable.iter().filter_map(line).collect()
}

/// `name: repository:tags by rule, place`.
pub(super) fn explained(all: &Names, candidates: &[ImageCandidate], new: &[bool]) -> Vec<String> {
    let line = |(named, candidate): (&NamedImage, &ImageCandidate)| {
        let (rank, rule) = (named.rule.rank(), named.rule.name());
        format!(
            "{}: {} by `{rule}` (rank {rank}), {}",
            named.name,
            candidate.dockerfile.display(),
            named.place
        )
    };
    let all = all.all.iter().zip(candidates).zip(new);
    all.filter(|(_, is_new)| **is_new).map(|(one, _)| line(one)).collect()
}

/// What bake and compose files put in the place of an image, and a hierarchy cannot.
pub(super) fn contexts(
    root: &Path,
    candidates: &[ImageCandidate],
    named: &[NamedImage],
    new: &[bool],
) -> Vec<UnsureLine> {
    let line = |candidate: &ImageCandidate, name: &str, image: &str| {
        let start = format!("`{name}`: `{image}` in its Dockerfile stands for");
        match candidate.given.contexts.get(image)? {
            Instead::Target(_) | Instead::Image(_) => None,
            Instead::Files(place) if super::is_context(root, place) => None,
            Instead::Files(place) => {
                let what = "which is no folder here and no git repository";
                Some(UnsureLine::new(|_| format!("{start} `{place}`, {what}")))
            }
        }
    };
    let of = |one: &ImageCandidate, name: &str| -> Vec<UnsureLine> {
        one.survey.images.iter().filter_map(|image| line(one, name, &image.image)).collect()
    };
    let new = candidates.iter().zip(named).zip(new).filter(|(_, is_new)| **is_new);
    new.flat_map(|((one, named), _)| of(one, &named.name)).collect()
}

/// What the entries of images cannot say of their builds, a line for each cause.
pub(super) fn dropped(
    candidates: &[ImageCandidate],
    named: &[NamedImage],
    new: &[bool],
) -> Vec<UnsureLine> {
    let mut groups: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for ((candidate, named), _) in candidates.iter().zip(named).zip(new).filter(|(_, new)| **new) {
        let mut own: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        // Arguments to fill in have a line of their own.
        let dropped = &candidate.given.dropped;
        for one in dropped.iter().filter(|one| !candidate.fill_in.contains(&one.item)) {
            own.entry(one.cause).or_default().push(&one.item);
        }
        for (cause, items) in own {
            let line = format!("{}: {}", named.name, items.join(", "));
            groups.entry(cause).or_default().push(line);
        }
    }
    groups.iter().filter_map(|(cause, all)| listed(all, cause)).collect()
}

/// Notes "`image`: text", those of one text in one line, in the order in which they came.
pub(super) fn grouped(notes: Vec<String>) -> Vec<UnsureLine> {
    let mut groups: Vec<(Vec<String>, String)> = Vec::new();
    for note in notes {
        let (images, text) = match note.strip_prefix('`').and_then(|note| note.split_once("`: ")) {
            Some((image, text)) => (vec![image.to_owned()], text.to_owned()),
            None => (Vec::new(), note),
        };
        match groups.iter_mut().find(|(_, known)| *known == text) {
            Some((known, _)) => known.extend(images),
            None => groups.push((images, text)),
        }
    }
    let line = |(images, text): (Vec<String>, String)| {
        listed(&images, &text).unwrap_or_else(|| UnsureLine::new(|_| text.clone()))
    };
    groups.into_iter().map(line).collect()
}

/// Where what would be loaded has other edges than were decided.
pub(super) fn differences(hierarchy: &Hierarchy, expected: &Expected) -> Vec<UnsureLine> {
    let mut lines = Vec::new();
    for node in hierarchy.in_build_order() {
        let parents: BTreeSet<String> =
            hierarchy.parents(&node.name).map(|it| it.name.image().to_owned()).collect();
        let decided = expected.get(node.name.image()).cloned().unwrap_or_default();
        // `ONBUILD` instructions of a base add edges that no reference of its own makes.
        let uses = node.dockerfile.uses.iter().filter(|one| one.on_build.is_none());
        let mut named = uses.filter_map(|one| match &one.base {
            Base::Node(name) => Some(name.image().to_owned()),
            Base::Upstream(_) | Base::Files(_) => None,
        });
        if !decided.is_subset(&parents) || !named.all(|name| decided.contains(&name)) {
            let list = |all: &BTreeSet<String>, shown: usize| match all.len() {
                0 => "no image here".to_owned(),
                _ => names(&all.iter().collect::<Vec<_>>(), shown),
            };
            lines.push(UnsureLine::new(|shown| format!(
                "`{}` would be built from {}, but its Dockerfile and the builds here say {}; check their `tags` and names",
                node.name,
                list(&parents, shown),
                list(&decided, shown)
            )));
        }
    }
    lines
}
