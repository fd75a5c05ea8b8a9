//! What can only be seen with all images side by side: edges, rings, and who publishes where.
//!
//! **Invariant:** nothing here looks at all images for each image.

use std::{
    collections::{BTreeMap, HashMap},
    ops::Range,
    sync::{Arc, LazyLock},
};

use petgraph::graph::{DiGraph, NodeIndex};
use regex::Regex;

use super::{
    Base, BaseUse, Flatten, NamedContext, NodeName,
    draft::Draft,
    edges::{NodeIdentity, ReferenceIndex},
    fields::Problems,
    files::DockerfileRead,
    graph,
    mirror::Mirror,
    platform_edges::PlatformEdges,
    triggers,
};
use crate::check::nearest;
use crate::{
    check::{
        diagnostic::{Diagnostic, Severity, SourceFile},
        rules::RuleCode,
    },
    dockerfile::ImageUse,
    image::{Platform, Reference, Repository},
};

/// Edges of a ring that are shown where they stand.
const SHOWN_EDGES: usize = 8;

/// What each Dockerfile is built from.
pub(super) fn resolve(
    (drafts, native): (&[Draft], &Platform),
    files: &[Option<DockerfileRead>],
    registries: Vec<&Repository>,
    problems: &mut Problems,
) -> Vec<Vec<BaseUse>> {
    let all = files;
    let first = |&(at, draft): &(usize, &Draft)| {
        at == 0 || drafts[at - 1].name.image() != draft.name.image()
    };
    let images = drafts.iter().enumerate().filter(first).map(|(_, draft)| named(draft));
    let index = ReferenceIndex::new(images.collect()).in_registries(registries);
    let edges = PlatformEdges::new(index, drafts, native);
    let each = drafts.iter().zip(files).map(|(draft, files)| match files {
        Some(files) => bases(draft, files, &edges, problems),
        None => Vec::new(),
    });
    let mut uses: Vec<Vec<BaseUse>> = each.collect();
    let names: HashMap<&str, usize> =
        drafts.iter().enumerate().map(|(at, draft)| (draft.name.as_str(), at)).collect();
    for (at, (draft, files)) in drafts.iter().zip(files.iter()).enumerate() {
        let Some(child) = files else { continue };
        let parent = |name: &NodeName| all[*names.get(name.as_str())?].as_ref();
        let triggered = triggers::triggered((draft, child), &uses[at], parent, (&edges, problems));
        uses[at].extend(triggered);
        uses[at].sort_by_key(|used| used.span.start);
    }
    uses
}

/// What is built from an image that misses a value is left out with it.
pub(super) fn without_values(
    drafts: &[Draft],
    uses: &[Vec<BaseUse>],
    left_out: &mut [bool],
    problems: &mut Problems,
) {
    if !left_out.contains(&true) {
        return;
    }
    let names: HashMap<&str, usize> =
        drafts.iter().enumerate().map(|(index, draft)| (draft.name.as_str(), index)).collect();
    let mut children: Vec<Vec<usize>> = vec![Vec::new(); drafts.len()];
    for (child, uses) in uses.iter().enumerate() {
        let parents = uses.iter().filter_map(|one| names.get(one.base.node()?.as_str()));
        parents.for_each(|&parent| children[parent].push(child));
    }
    let mut open: Vec<usize> = (0..drafts.len()).filter(|&index| left_out[index]).collect();
    while let Some(parent) = open.pop() {
        for &child in &children[parent] {
            if std::mem::replace(&mut left_out[child], true) {
                continue;
            }
            let message =
                format!("`{}` is left out: so is `{}`", drafts[child].name, drafts[parent].name);
            let mut warning = Diagnostic::of(RuleCode::BrokenDockerfile, message);
            warning.severity = Severity::Warning;
            problems.found.push(warning.at(&problems.source, drafts[child].span.clone(), ""));
            open.push(child);
        }
    }
}

fn named(draft: &Draft) -> NodeIdentity<'_> {
    NodeIdentity {
        name: &draft.name,
        repositories: [&draft.repository, &draft.repository_of_file]
            .into_iter()
            .flatten()
            .collect(),
        tags: (!draft.image.is_broken).then_some(&draft.tags),
    }
}

fn bases(
    draft: &Draft,
    files: &DockerfileRead,
    edges: &PlatformEdges<'_>,
    problems: &mut Problems,
) -> Vec<BaseUse> {
    let source = &files.dockerfile;
    let mut bases = Vec::new();
    for image in &files.scan.uses {
        let mut used = BaseUse {
            span: image.span.clone(),
            line: image.line,
            base: Base::Files(String::new()),
            stage: image.stage,
            is_final: image.is_final,
            on_build: None,
            platform: image.platform.clone().filter(|it| it != edges.platform_of(draft)),
        };
        let context = named_context(draft, &image.image);
        if let Some((name, NamedContext::Folder(_) | NamedContext::Git(_))) = context {
            used.base = Base::Files(name.clone());
            bases.push(used);
            continue;
        }
        let reference: Reference = match image.image.parse() {
            Ok(reference) => reference,
            Err(error) => {
                let written = &source.text[image.span.clone()];
                let label = if written == image.image {
                    String::new()
                } else {
                    format!("`{}` when it is expanded", image.image)
                };
                let error = Diagnostic::of(RuleCode::WrongReference, error.to_string());
                let mut error = error.at(source, image.span.clone(), label);
                error.hint = without_value(written, &image.image);
                problems.found.push(error);
                continue;
            }
        };
        // The name itself is checked even if another image takes its place.
        let reference = match context {
            Some((_, NamedContext::Image(instead))) => instead.clone(),
            _ => reference,
        };
        let resolved = edges.resolve(&reference, (draft, image.platform.as_ref()), problems);
        if let Some(warning) = resolved.warning {
            let diagnostic = Diagnostic::of(warning.code, warning.message)
                .at(source, image.span.clone(), "")
                .hint(warning.hint);
            problems.found.push(diagnostic);
        }
        let near = near_stage(image, &resolved.base, files).filter(|_| context.is_none());
        if let Some(stage) = near {
            let message = format!("`{}` is no stage and no image here", image.image);
            let diagnostic = Diagnostic::of(RuleCode::UnknownStage, message)
                .at(source, image.span.clone(), "")
                .hint(format!("did you mean the stage `{stage}`?"));
            problems.found.push(diagnostic);
        }
        used.base = resolved.base;
        bases.push(used);
    }
    bases
}

/// The variables of a reference with an empty part, one of which has no value.
fn without_value(written: &str, expanded: &str) -> Option<String> {
    static NAME: LazyLock<Regex> =
        LazyLock::new(|| Regex::new(r"\$\{?([A-Za-z_]\w*)").expect("a valid pattern"));
    let names: Vec<String> =
        NAME.captures_iter(written).map(|name| format!("`{}`", &name[1])).collect();
    let is_empty = expanded.split(['/', ':', '@']).any(str::is_empty);
    (is_empty && !names.is_empty()).then(|| {
        let names = names.join(" or ");
        format!("{names} has no value: give it one with `ARG` before the first `FROM`, or in `build_args`")
    })
}

/// The context of the image that takes the place of an image of this name, as BuildKit compares them:
/// `alpine` is `docker.io/library/alpine:latest`.
fn named_context<'d>(draft: &'d Draft, written: &str) -> Option<(&'d String, &'d NamedContext)> {
    let contexts = &draft.image.settings.contexts;
    contexts.get_key_value(written).or_else(|| {
        let image: Reference = written.parse().ok().filter(|_| !contexts.is_empty())?;
        contexts.iter().find(|(name, _)| {
            name.parse::<Reference>().is_ok_and(|name| {
                name.repository.is_same(&image.repository)
                    && name.tag_or_latest() == image.tag_or_latest()
                    && name.digest == image.digest
            })
        })
    })
}

/// The stage that a `--from` was probably meant to name.
fn near_stage<'f>(image: &ImageUse, base: &Base, files: &'f DockerfileRead) -> Option<&'f str> {
    if image.is_from || !image.is_word() || base.node().is_some() {
        return None;
    }
    nearest(&image.image, files.scan.stages.iter().map(String::as_str))
}

/// `parents:`, where it is given, must say what the Dockerfile says.
pub(super) fn parents(
    drafts: &[Draft],
    files: &[Option<DockerfileRead>],
    uses: &[Vec<BaseUse>],
    problems: &mut Problems,
) {
    let names: HashMap<&str, &Draft> =
        drafts.iter().map(|draft| (draft.name.image(), draft)).collect();
    for ((draft, files), uses) in drafts.iter().zip(files).zip(uses) {
        let Some(declared) = &draft.image.parents else { continue };
        for parent in &declared.value {
            let is_used =
                uses.iter().any(|one| one.base.node().is_some_and(|n| n.image() == parent.value));
            if !names.contains_key(parent.value.as_str()) {
                let message = format!(
                    "`{}` has a parent `{}`, which is no image here",
                    draft.name.image(),
                    parent.value
                );
                match nearest(&parent.value, names.keys().copied()) {
                    Some(near) => {
                        let hint = format!("did you mean `{near}`?");
                        problems.push_with_hint(&parent.span, message, hint);
                    }
                    None => problems.push(&parent.span, message),
                }
                problems.last_is(RuleCode::UnknownParent);
            } else if let (false, Some(files)) = (is_used, files) {
                let message = format!(
                    "`{}` is not built from its parent `{}`",
                    draft.name.image(),
                    parent.value
                );
                problems.push_with_hint(
                    &parent.span,
                    message,
                    format!(
                        "no `FROM` and no `--from` of its {} names that image",
                        files.dockerfile.path.file_name().unwrap_or_default().display()
                    ),
                );
                problems.last_is(RuleCode::UnusedParent);
            }
        }
        let Some(files) = files else { continue };
        let mut seen: Vec<&str> = Vec::new();
        for one in uses {
            let Some(parent) = one.base.node().map(NodeName::image) else { continue };
            let is_declared = declared.value.iter().any(|name| name.value == parent);
            if is_declared || seen.contains(&parent) {
                continue;
            }
            seen.push(parent);
            let image = draft.name.image();
            let message =
                format!("`{image}` is built from `{parent}`, which its `parents` leave out");
            problems.found.push(
                Diagnostic::of(RuleCode::LeftOutParent, message)
                    .at(&files.dockerfile, one.span.clone(), "")
                    .at(&problems.source, declared.span.clone(), format!("add `{parent}` here"))
                    .hint("parents are read from the Dockerfile; `parents` may be left out altogether"),
            );
        }
    }
}

/// `flatten: own` keeps the layers of a parent.
pub(super) fn flattened(
    (drafts, files): (&[Draft], &[Option<DockerfileRead>]),
    uses: &[Vec<BaseUse>],
    problems: &mut Problems,
) {
    for ((draft, files), uses) in drafts.iter().zip(files).zip(uses) {
        let own = draft.image.flatten.as_ref().filter(|it| it.value == Flatten::Own);
        let (Some(own), Some(_)) = (own, files) else { continue };
        if uses.iter().any(|used| used.is_final && used.base.node().is_some()) {
            continue;
        }
        let message =
            format!("`{}` has `flatten: own`, and no parent in this hierarchy", draft.name);
        let hint = "its last stage must be `FROM` an image of this hierarchy; `flatten: true` makes all its layers one";
        problems.push_with_hint(&own.span, message, hint);
    }
}

/// The repositories of a mirror have upstreams, and no image of the hierarchy.
pub(super) fn outside_of_mirror(
    drafts: &[Draft],
    mirror: Option<&Mirror>,
    problems: &mut Problems,
) {
    let Some(mirror) = mirror else { return };
    for draft in drafts {
        if let Some(repository) = draft.repository.as_ref().filter(|one| mirror.contains(one)) {
            let message = format!(
                "`{}` would be published in the mirror: `{repository}`",
                draft.name.image()
            );
            let hint =
                format!("choose another `repository`, or another prefix than `{}`", mirror.prefix);
            problems.push_with_hint(&draft.span, message, hint);
        }
    }
}

/// Two images cannot move one tag.
pub(super) fn published_once(drafts: &[Draft], problems: &mut Problems) {
    let mut taken: HashMap<(String, String, String), (&Draft, &Range<usize>)> = HashMap::new();
    for draft in drafts {
        let repositories = draft.repository.iter().chain(&draft.destinations);
        let tags = repositories.flat_map(|it| {
            draft.tags.iter().zip(&draft.tag_spans).map(move |(tag, span)| (it, tag, span))
        });
        for (repository, tag, span) in tags {
            let tag = tag.as_str().replace("{name}", draft.name.image());
            let key = (repository.host().to_owned(), repository.path(), tag.clone());
            let Some((other, other_span)) = taken.insert(key, (draft, span)) else { continue };
            if other.name.image() == draft.name.image() {
                continue;
            }
            let message = format!(
                "`{}` and `{}` would both publish `{repository}:{tag}`",
                other.name.image(),
                draft.name.image()
            );
            // Both may have their tags from `defaults`, or both be of one matrix.
            let (first, second) =
                if span == other_span { (&other.span, &draft.span) } else { (other_span, span) };
            let mut diagnostic = Diagnostic::of(RuleCode::PublishedTwice, message).at(
                &problems.source,
                second.clone(),
                "",
            );
            if first != second {
                diagnostic = diagnostic.at(&problems.source, first.clone(), "");
            }
            problems
                .found
                .push(diagnostic.hint("give one of them another tag or another `repository`"));
        }
    }
}

/// Images that are built from themselves, by whatever way round.
pub(super) fn rings(
    drafts: &[Draft],
    files: &[Option<DockerfileRead>],
    uses: &[Vec<BaseUse>],
    problems: &mut Problems,
) {
    let mut graph: DiGraph<(), ()> = DiGraph::new();
    let names: HashMap<&str, NodeIndex> =
        drafts.iter().map(|draft| (draft.name.as_str(), graph.add_node(()))).collect();
    // One use for each edge: the first that makes it.
    let mut edges: BTreeMap<(NodeIndex, NodeIndex), &BaseUse> = BTreeMap::new();
    for (child, uses) in uses.iter().enumerate() {
        for one in uses {
            if let Some(parent) = one.base.node() {
                let edge = (names[parent.as_str()], NodeIndex::new(child));
                edges.entry(edge).or_insert(one);
            }
        }
    }
    for &(parent, child) in edges.keys() {
        graph.add_edge(parent, child, ());
    }
    for ring in graph::rings(&graph) {
        let of = |index: NodeIndex| drafts[index.index()].name.clone();
        let shown: Vec<NodeName> = ring.iter().map(|&index| of(index)).collect();
        let mut diagnostic = Diagnostic::of(RuleCode::Ring, graph::ring_text(&shown));
        for (at, &child) in ring.iter().enumerate().take(SHOWN_EDGES) {
            let parent = ring[(at + 1) % ring.len()];
            let (Some(one), Some(files)) = (edges.get(&(parent, child)), &files[child.index()])
            else {
                continue;
            };
            let label = format!("`{}` is built from `{}`", of(child), of(parent));
            let source: &Arc<SourceFile> = &files.dockerfile;
            diagnostic = diagnostic.at(source, one.span.clone(), label);
        }
        problems.found.push(diagnostic.hint("take one of these references out"));
    }
}
