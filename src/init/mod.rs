//! A hierarchy file for a repository that has none: which images there are, what they are called,
//! and which is based on which, as its Dockerfiles tell.
//!
//! Readers turn files into `evidence`; `resolve` decides by the strongest of it; `names` and
//! `file` write what was decided.
//!
//! `update` merges the same decisions into a file that exists.
//!
//! **Invariant:** nothing is written, and only files are read. What is proposed was loaded as
//! `rebuild` will load it, and each edge that differs from the decision is reported.

mod actions;
mod arrays;
mod bake;
mod bind;
mod build_command;
mod build_options;
mod candidate;
mod cases;
mod ci;
mod circleci;
mod compose;
mod context;
mod copies;
mod edits;
mod entry;
mod evidence;
mod expressions;
mod file;
mod find;
mod functions;
mod gitlab;
mod gone;
mod hcl;
mod image_builder;
mod jenkins;
mod job_matrix;
mod loops;
mod makefile;
mod matrix;
mod names;
mod options;
mod readers;
mod recipes;
mod remote;
mod report;
mod resolve;
mod script_calls;
mod shell;
mod skaffold;
mod step_outputs;
mod target_options;
mod taskfile;
#[cfg(test)]
mod tests;
mod path_fit;
mod path_words;
mod platforms;
mod update;
mod variables;
mod work_tree;

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    path::{Path, PathBuf},
};

pub use self::{
    bake::TargetsError,
    report::UnsureLine,
    update::{UpdateError, update},
};
use self::{
    candidate::{ContextSource, ImageCandidate},
    entry::InitEntry,
    evidence::{Evidence, EvidenceRule, PublishedImage},
    file::Frame,
    names::{NamedImage, Names, Taken},
    resolve::{RepositoryFacts, Resolution},
    work_tree::FolderOfTree,
};
use crate::{
    check::diagnostic::names,
    hierarchy::{
        Hierarchy, LoadError, LoadOptions, Loaded, NamedContext, looks_secret, this_machine,
    },
};

/// Fields that give secrets of this machine to builds. Only a bake or compose file that the user names may give them.
const SECRET_FIELDS: [&str; 2] = ["secrets", "ssh"];

/// Where the images are read from.
#[derive(Clone, Debug)]
pub enum From {
    /// Every Dockerfile of the folder, with the root of the git repository that it is in, the files that git tracks
    /// there although it may ignore them, and the environment, which compose files take variables from.
    Folder {
        repository: Option<PathBuf>,
        tracked: Vec<PathBuf>,
        environment: BTreeMap<String, String>,
    },
    /// A file and what `docker buildx bake --print` says.
    Bake(PathBuf, String),
    /// A compose file, its text and the environment.
    Compose(PathBuf, String, BTreeMap<String, String>),
}

#[derive(Debug)]
pub struct Proposal {
    /// What to write.
    pub text: String,
    /// How it will be loaded.
    pub loaded: Result<Loaded, LoadError>,
    /// What a person should check, a line each, the worst first.
    pub unsure: Vec<UnsureLine>,
    /// Dockerfiles that are not in it.
    pub left_out: Vec<LeftOut>,
    /// The rule and the place by which each image got its name.
    pub explained: Vec<String>,
}

/// Dockerfiles that are not in the proposal for one cause.
#[derive(Debug)]
pub struct LeftOut {
    pub cause: String,
    pub places: Vec<String>,
}

impl fmt::Display for LeftOut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", names(&self.places, report::SHOWN), self.cause)
    }
}

fn none_readable(count: usize) -> String {
    match count {
        1 => "the only Dockerfile cannot be read".to_owned(),
        _ => format!("none of the {count} Dockerfiles can be read"),
    }
}

#[derive(Debug, thiserror::Error)]
pub enum InitError {
    #[error("there is no Dockerfile in `{0}`")]
    NoDockerfile(PathBuf),
    #[error("{}: {first}", none_readable(*.count))]
    NoneReadable { count: usize, first: String },
    #[error(transparent)]
    Targets(#[from] TargetsError),
    /// A text of the repository would have been read as a field that runs a program.
    #[error(
        "a file or a Dockerfile here has a name or a text that would make the proposal run a program"
    )]
    Unsafe,
}

/// What to write into a hierarchy file, which need not exist. Its path is absolute.
pub fn propose(file: &Path, from: From, options: &LoadOptions) -> Result<Proposal, InitError> {
    let mut study = Study::of(file, from, options, &Present::default())?;
    let (text, loaded, wrong) = study.written(file, options);
    if file::names_a_program(&text, &study.may_name()) {
        return Err(InitError::Unsafe);
    }
    study.unsure.splice(0..0, wrong);
    let explained = report::explained(&study.names, &study.candidates, &study.new);
    let Study { unsure, left_out, .. } = study;
    Ok(Proposal { text, loaded, unsure, left_out, explained })
}

/// What a hierarchy file has already.
#[derive(Debug, Default)]
struct Present {
    names: BTreeSet<String>,
    /// Repositories, and tags that images have there.
    published: BTreeSet<(String, String)>,
    /// The images of each Dockerfile: target and name.
    by_path: BTreeMap<PathBuf, Vec<(Option<String>, String)>>,
    /// Where each image is published, by its name.
    outputs: BTreeMap<String, Vec<PublishedImage>>,
    /// Files and folders that its comments leave out.
    ignored: Vec<PathBuf>,
}

impl Present {
    /// The name of the image that a Dockerfile makes there.
    fn name(&self, candidate: &ImageCandidate) -> Option<&String> {
        let all = self.by_path.get(&candidate.dockerfile)?;
        let same = all.iter().find(|(target, _)| *target == candidate.given.target);
        same.or_else(|| all.first()).map(|(_, name)| name)
    }

    /// What the file says of a Dockerfile is stronger than what builds say.
    fn correct(&self, candidate: &mut ImageCandidate) {
        let all = self.by_path.get(&candidate.dockerfile).map_or(&[][..], Vec::as_slice);
        let target = &candidate.given.target;
        let is_same = |one: &&(Option<String>, String)| one.0 == *target;
        let same = all.iter().filter(|one| is_same(one) || !all.iter().any(|one| is_same(&one)));
        let outputs = same.filter_map(|(_, name)| self.outputs.get(name)).flatten().cloned();
        let outputs: Vec<PublishedImage> = outputs.collect();
        if !outputs.is_empty() {
            candidate.given.outputs = outputs;
            candidate.said = Some((EvidenceRule::Bake, String::new()));
        }
    }
}

/// Everything that was decided about the images of a folder.
struct Study {
    candidates: Vec<ImageCandidate>,
    resolved: Resolution,
    names: Names,
    entries: Vec<InitEntry>,
    /// Parents before children.
    order: Vec<usize>,
    expected: report::Expected,
    /// Whether the file does not have it yet.
    new: Vec<bool>,
    /// Doubts about the new ones.
    unsure: Vec<UnsureLine>,
    left_out: Vec<LeftOut>,
}

impl Study {
    /// The fields that give secrets of this machine to builds, if the user named the file that has them.
    fn may_name(&self) -> Vec<&'static str> {
        let fields = self.entries.iter().flat_map(|entry| entry.options.keys().copied());
        fields.filter(|field| SECRET_FIELDS.contains(field)).collect()
    }

    fn of(
        file: &Path,
        from: From,
        options: &LoadOptions,
        present: &Present,
    ) -> Result<Self, InitError> {
        let root = file.parent().unwrap_or(Path::new("/"));
        let host = options.platform.clone().unwrap_or_else(this_machine);
        let (mut notes, mut left_out) = (Vec::new(), Vec::new());
        let is_named = !matches!(from, From::Folder { .. });
        let repository = match &from {
            From::Folder { repository, .. } => repository.as_deref(),
            From::Bake(..) | From::Compose(..) => None,
        };
        let tree = FolderOfTree::new(root, repository);
        let mut evidence = match from {
            From::Folder { tracked, environment, .. } => {
                found(root, &tree, (&tracked, &environment), (&mut notes, &mut left_out))?
            }
            From::Bake(path, text) => {
                let targets = bake::of_file(root, &path, &text)?;
                notes = targets.notes;
                targets.found
            }
            From::Compose(path, text, environment) => {
                let folder = path.parent().unwrap_or(Path::new(""));
                let folder = folder.strip_prefix(root).unwrap_or(folder).to_owned();
                let targets = compose::targets(&path, text, &folder, &environment)?;
                notes = targets.notes;
                targets.found
            }
        };
        let is_ignored =
            |path: &Path| present.ignored.iter().any(|ignored| path.starts_with(ignored));
        evidence.retain(|one| !is_ignored(&one.dockerfile));
        if !is_named {
            notes.extend(evidence.iter_mut().flat_map(without_secrets));
        }
        let count = evidence.len();
        let (mut candidates, mut unreadable) = (Vec::new(), Vec::new());
        for one in evidence {
            match ImageCandidate::read(root, one, &host) {
                Ok(mut candidate) => {
                    present.correct(&mut candidate);
                    candidates.push(candidate);
                }
                Err(error) => unreadable.push(error),
            }
        }
        candidate::drop_tests(&mut candidates);
        left_out.extend(report::left_out(&unreadable));
        left_out.extend(leave_out_windows(&mut candidates));
        if candidates.is_empty() {
            let first = left_out.first().map(ToString::to_string).unwrap_or_default();
            return Err(InitError::NoneReadable { count, first });
        }

        let (roots, owner) = origin(root, &tree.repository);
        let known =
            RepositoryFacts { roots: &roots, owner: owner.as_deref(), host: &host.to_string() };
        let mut resolved = resolve::resolve(&candidates, &known);
        let new: Vec<bool> = candidates.iter().map(|one| present.name(one).is_none()).collect();
        let taken = Taken { names: &present.names, tags: &present.published, new: &new };
        let mut names = names::names(&candidates, &resolved, (&roots, &taken));
        for (candidate, named) in candidates.iter().zip(&mut names.all) {
            if let Some(name) = present.name(candidate) {
                named.name.clone_from(name);
            }
        }
        // What a person wrote for the others is not doubted.
        let is_about_new = |doubt: &resolve::InitDoubt| {
            doubt.candidates.iter().any(|&one| new[one])
                || candidates.iter().zip(&new).any(|(one, is_new)| {
                    let uses = one.uses.iter().map(|(reference, _)| reference.to_string());
                    *is_new && uses.into_iter().any(|image| image == doubt.image)
                })
        };
        resolved.doubts.retain(is_about_new);
        let is_update = new.contains(&false);
        let mut unsure = report::doubts(&resolved, &candidates, &names.all);
        unsure.extend(report::contexts(root, &candidates, &names.all, &new));
        unsure.extend(report::dropped(&candidates, &names.all, &new));
        unsure.extend(report::collisions(&names, &candidates));
        unsure.extend(report::unknown_tags(&names, &new));
        unsure.extend(report::guesses(&names.all, &new));
        unsure.extend(report::unknown_registries(&names, &resolved, &candidates, &new));
        unsure.extend(report::other_repositories(&resolved, &candidates, &names.all, &new));
        unsure.extend(report::left_out_bases(&candidates, &unreadable, &new));
        unsure.extend(report::unbuilt(&candidates, &names.all, &new));
        unsure.extend(report::grouped(notes).into_iter().filter(|_| !is_update));
        let place = (root, tree.depth());
        let mut entries = entries(place, (&candidates, &new), &names.all, &mut unsure);
        unsure.extend(report::fill_in(&candidates, &names.all, &new));
        unsure.extend(platforms::give_to_bases(&mut entries, &resolved.parents, &new));
        let expected = report::expected(&resolved, &names.all);
        let order = order(&expected, &names.all);
        Ok(Self { candidates, resolved, names, entries, order, expected, new, unsure, left_out })
    }

    /// The text, what it is loaded as, and where that is not what was decided. A matrix that would
    /// change an edge is written out.
    fn written(
        &self,
        file: &Path,
        options: &LoadOptions,
    ) -> (String, Result<Loaded, LoadError>, Vec<UnsureLine>) {
        let root = file.parent().unwrap_or(Path::new("/"));
        let frame = Frame {
            registry: self.names.registry.as_deref(),
            tags: &self.names.tags,
            has_schema: root.join("hierarchy.schema.json").is_file(),
            left_out: &self.left_out,
        };
        let attempt = |may_fold: bool| {
            let text = file::text(&self.blocks(&self.order, &self.entries, may_fold), &frame);
            let loaded = Hierarchy::load_text(file.to_owned(), text.clone(), options);
            let wrong = match &loaded {
                Ok(loaded) => report::differences(&loaded.hierarchy, &self.expected),
                Err(_) => Vec::new(),
            };
            (text, loaded, wrong)
        };
        let folded = attempt(true);
        if folded.1.is_ok() && folded.2.is_empty() { folded } else { attempt(false) }
    }

    /// Entries in an order, and the comments of each.
    fn blocks(
        &self,
        order: &[usize],
        entries: &[InitEntry],
        may_fold: bool,
    ) -> Vec<(matrix::Block, Vec<String>)> {
        let placed =
            order.iter().map(|&one| (entries[one].clone(), self.candidates[one].segments.clone()));
        let blocks = matrix::blocks(&placed.collect::<Vec<_>>(), may_fold);
        let with_comments = blocks.into_iter().map(|block| {
            let comments = self.comments(&block, order);
            (block, comments)
        });
        with_comments.collect()
    }

    /// What stands above an entry: the upstreams, and the rule that gave the name.
    fn comments(&self, block: &matrix::Block, order: &[usize]) -> Vec<String> {
        let mut upstreams: Vec<String> = Vec::new();
        let mut rules: Vec<String> = Vec::new();
        for &member in &block.members {
            let index = order[member];
            for (reference, _) in &self.candidates[index].uses {
                let text = path_words::usual(reference);
                if !self.resolved.made_here.contains_key(&text) && !upstreams.contains(&text) {
                    upstreams.push(text);
                }
            }
            let named = &self.names.all[index];
            let rule = match named.rule {
                EvidenceRule::Path => "path".to_owned(),
                rule => format!("{} {}", rule.name(), named.place),
            };
            if !rules.contains(&rule) {
                rules.push(rule);
            }
        }
        let mut parts = Vec::new();
        if block.entry.build_args.values().any(String::is_empty) {
            parts.push("fill in `build_args`".to_owned());
        }
        if !upstreams.is_empty() {
            parts.push(format!("on {}", names(&upstreams, 2).replace('`', "")));
        }
        let more = rules.len().saturating_sub(1);
        match rules.first() {
            // What the path says needs no proof.
            Some(rule) if rule == "path" && more == 0 => {}
            Some(rule) if more == 0 => parts.push(format!("[{rule}]")),
            Some(rule) => parts.push(format!("[{rule} and {more} more]")),
            None => {}
        }
        parts
    }
}

/// The Dockerfiles of a folder, with the evidence of the files around them.
fn found(
    root: &Path,
    tree: &FolderOfTree,
    (tracked, environment): (&[PathBuf], &BTreeMap<String, String>),
    (notes, left_out): (&mut Vec<String>, &mut Vec<LeftOut>),
) -> Result<Vec<Evidence>, InitError> {
    let found = find::find(root, &tree.inside(tracked));
    if found.dockerfiles.is_empty() {
        return Err(InitError::NoDockerfile(root.to_owned()));
    }
    for folder in &found.hierarchies {
        notes.push(format!("`{}` has a hierarchy of its own and is left out", folder.display()));
    }
    if !found.templates.is_empty() {
        let places = found.templates.iter().map(|path| path.display().to_string());
        let cause = "templates of Dockerfiles; generate the Dockerfiles first".to_owned();
        left_out.push(LeftOut { cause, places: places.collect() });
    }
    if !found.skipped.is_empty() {
        let places = found.skipped.iter().map(|path| path.display().to_string());
        let cause =
            "in a folder for files of others (`node_modules`, `vendor` or `testdata`)".to_owned();
        left_out.push(LeftOut { cause, places: places.collect() });
    }
    let evidence = tree.evidence(&found, tracked, environment, notes);
    notes.extend(found.unreadable);
    let real = root.canonicalize().unwrap_or_else(|_| root.to_owned());
    let (links, evidence): (Vec<Evidence>, Vec<Evidence>) =
        readers::variants(evidence, &found.dockerfiles)
            .into_iter()
            .partition(|one| is_link_to_another(&real, one, &found.dockerfiles));
    if !links.is_empty() {
        let places = links.iter().map(|one| one.dockerfile.display().to_string());
        let cause = "links to other Dockerfiles here, and no build names them".to_owned();
        left_out.push(LeftOut { cause, places: places.collect() });
    }
    Ok(evidence)
}

/// Whether a Dockerfile that no build names is a link to one of the others.
fn is_link_to_another(real: &Path, one: &Evidence, dockerfiles: &[PathBuf]) -> bool {
    one.rule == EvidenceRule::Path
        && real.join(&one.dockerfile).canonicalize().is_ok_and(|target| {
            target != real.join(&one.dockerfile)
                && dockerfiles.iter().any(|path| real.join(path) == target)
        })
}

/// Removes the fields that only a file that the user names may give.
fn without_secrets(evidence: &mut Evidence) -> Vec<String> {
    let given = &mut evidence.given;
    let name = given.name.clone().unwrap_or_default();
    let removed = SECRET_FIELDS.into_iter().filter(|field| given.options.remove(field).is_some());
    let option = if evidence.rule == EvidenceRule::Bake { "--from-bake" } else { "--from-compose" };
    let file = evidence.place.split(" `").next().unwrap_or_default();
    let line = |field| {
        format!(
            "`{name}`: its field `{field}` is left out; `rebuild init {option} {file}` writes it"
        )
    };
    removed.map(line).collect()
}

/// Images for Windows need an engine on Windows, and so do images based on them.
fn leave_out_windows(candidates: &mut Vec<ImageCandidate>) -> Option<LeftOut> {
    let is_for_windows =
        |one: &ImageCandidate| one.uses.iter().any(|(image, _)| image.is_for_windows());
    let windows = candidates.iter().filter(|one| is_for_windows(one));
    let places: Vec<String> = windows.map(|one| one.dockerfile.display().to_string()).collect();
    candidates.retain(|one| !is_for_windows(one));
    (!places.is_empty()).then(|| LeftOut { cause: "for Windows".to_owned(), places })
}

/// What the repository is called, by where it came from and by its folder; and the owner there.
fn origin(root: &Path, repository: &Path) -> (Vec<String>, Option<String>) {
    let (mut names, mut owner) = (Vec::new(), None);
    let url = remote::address(repository);
    let mut parts = url.iter().flat_map(|url| url.rsplit(['/', ':']));
    if let Some(name) = parts.next() {
        names.push(name.trim_end_matches(".git").to_owned());
        // A path of this machine has no owner.
        let is_remote = url.as_ref().is_some_and(|url| url.contains("://") || url.contains('@'));
        owner = parts.next().filter(|_| is_remote).map(str::to_owned);
    }
    let own = root.file_name().map(|name| name.to_string_lossy().into_owned());
    // The name of the repository is not that of one folder of it.
    let at = if root == repository { names.len() } else { 0 };
    names.splice(at..at, own);
    let mut good: Vec<String> = Vec::new();
    for name in names {
        let name = path_words::name_part(&name);
        let short = name.strip_prefix("docker-").or_else(|| name.strip_suffix("-docker"));
        for name in [short, Some(&name)].into_iter().flatten() {
            if !name.is_empty() && !good.iter().any(|one| one == name) {
                good.push(name.to_owned());
            }
        }
    }
    (good, owner)
}

fn entries(
    (root, depth): (&Path, usize),
    (candidates, new): (&[ImageCandidate], &[bool]),
    named: &[NamedImage],
    unsure: &mut Vec<UnsureLine>,
) -> Vec<InitEntry> {
    let (mut missing, mut elsewhere): (Vec<String>, Vec<String>) = (Vec::new(), Vec::new());
    let (mut outside, mut shared): (Vec<&str>, Vec<&str>) = (Vec::new(), Vec::new());
    let (mut entries, all_named) = (Vec::new(), named);
    for ((candidate, is_new), named) in candidates.iter().zip(new).zip(named) {
        let context = context::context(root, candidate, depth);
        if let Some(first) = context.missing.first().filter(|_| *is_new) {
            missing.push(format!("{}: {first}", candidate.dockerfile.display()));
        }
        if *is_new && candidate.given.context.is_none() && context.folder != candidate.folder() {
            elsewhere.push(named.name.clone());
        }
        if *is_new && context.folder.starts_with("..") {
            outside.push(&named.name);
        }
        if *is_new && context::is_shared(root, (&context.folder, candidate), candidates) {
            shared.push(&named.name);
        }
        let given = &candidate.given;
        let mut entry = InitEntry {
            name: named.name.clone(),
            repository: named.repository.clone(),
            tags: named.tags.clone(),
            target: given.target.clone(),
            platform: match &given.platforms[..] {
                [] => named.platform.map(str::to_owned),
                [only] => Some(only.to_string()),
                _ => None,
            },
            platforms: match &given.platforms[..] {
                [] | [_] => Vec::new(),
                several => several.iter().map(ToString::to_string).collect(),
            },
            build_args: candidate
                .fill_in
                .iter()
                .map(|name| (name.clone(), String::new()))
                .chain(given.build_args.clone())
                .collect(),
            labels: given.labels.clone(),
            options: given.options.clone(),
            ..InitEntry::default()
        };
        entry.place(root, &context.folder, &candidate.dockerfile);
        if let Some(inline) = &given.inline {
            entry.dockerfile = None;
            entry.options.insert("dockerfile_inline", file::quoted_verbatim(inline));
        }
        let suspects: Vec<String> = entry
            .build_args
            .keys()
            .filter(|name| looks_secret(name))
            .map(|name| file::quoted(name))
            .collect();
        if !suspects.is_empty() {
            entry.options.insert("allow_build_args", format!("[{}]", suspects.join(", ")));
        }
        let contexts = written_contexts(root, candidate, (candidates, all_named));
        if !contexts.is_empty() {
            entry.options.insert("contexts", target_options::map_text(&contexts));
        }
        entries.push(entry);
    }
    unsure.extend(report::listed(&elsewhere, "its `context` is a folder above the Dockerfile, since that has the files of `COPY`; check `context`"));
    unsure.extend(report::listed(&outside, "its `context` is outside the folder of hierarchy.yaml, see RB052; run `rebuild init` at the root of the repository instead, or move the image's files"));
    unsure.extend(report::listed(&shared, "the build context has files of other images, so each commit that changes a file there rebuilds it; leave files out with a `.dockerignore`, or choose a smaller `context`, see RB070"));
    unsure.extend(report::listed(&missing, "`COPY` names it, and it is not in the folder of the Dockerfile or in one above; check `context`, or make the file with `prepare`"));
    entries
}

/// The contexts that an entry needs: not those of an image whose name they have.
fn written_contexts(
    root: &Path,
    candidate: &ImageCandidate,
    (candidates, named): (&[ImageCandidate], &[NamedImage]),
) -> BTreeMap<String, String> {
    let image = |target: &String| {
        let at = candidates.iter().position(|one| one.given.name.as_ref() == Some(target))?;
        let named = &named[at];
        let tag = named.tags.first().filter(|tag| !tag.contains('{'));
        let tag = tag.filter(|tag| *tag != "latest").map_or(String::new(), |tag| format!(":{tag}"));
        Some((named.name.clone(), format!("docker-image://{}{tag}", named.name)))
    };
    let written = candidate.given.contexts.iter().filter_map(|(name, source)| {
        let text = match source {
            ContextSource::Target(target) => {
                image(target).filter(|(own, _)| own != name).map(|(_, text)| text)?
            }
            ContextSource::Image(image) => format!("docker-image://{image}"),
            ContextSource::Files(files) if is_context(root, files) => files.clone(),
            ContextSource::Files(_) => return None,
        };
        Some((name.clone(), text))
    });
    written.collect()
}

/// Whether a hierarchy can have it: a folder that is here, or a git repository.
fn is_context(root: &Path, text: &str) -> bool {
    match text.parse() {
        Ok(NamedContext::Folder(folder)) => root.join(folder).is_dir(),
        Ok(NamedContext::Git(_)) => true,
        _ => false,
    }
}

/// Parents before children. Images with others around them come before those that stand alone.
fn order(expected: &report::Expected, named: &[NamedImage]) -> Vec<usize> {
    let parents: BTreeSet<&String> = expected.values().flatten().collect();
    let is_alone = |index: &usize| {
        let name = &named[*index].name;
        expected.get(name).is_none_or(BTreeSet::is_empty) && !parents.contains(name)
    };
    let mut starts: Vec<usize> = (0..named.len()).collect();
    starts.sort_by_key(|index| is_alone(index));
    let index: BTreeMap<&str, usize> =
        named.iter().enumerate().map(|(index, one)| (one.name.as_str(), index)).collect();
    let mut order = Vec::new();
    let mut done = vec![false; named.len()];
    for start in starts {
        let mut open = vec![(start, false)];
        while let Some((one, parents_done)) = open.pop() {
            if done[one] {
                continue;
            }
            if parents_done {
                done[one] = true;
                order.push(one);
                continue;
            }
            open.push((one, true));
            let parents = expected.get(&named[one].name).into_iter().flatten();
            open.extend(
                parents.filter_map(|name| index.get(name.as_str())).map(|&one| (one, false)),
            );
        }
    }
    order
}
