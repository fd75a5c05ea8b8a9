//! A hierarchy file for a repository that has none: which images there are, what they are called,
//! and which stands on which, as its Dockerfiles tell.
//!
//! **Invariant:** nothing is written and nobody is asked but the files. What is proposed was loaded
//! as `rebuild` will load it, and each edge that differs from what was meant is told.

mod bake;
mod candidate;
mod compose;
mod context;
mod doubts;
mod entry;
mod file;
mod find;
mod matching;
mod matrix;
mod meant;
mod naming;
mod tree;
mod words;

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
};

pub use self::{bake::TargetsError, compose::ComposeError, tree::tree};
use self::{
    bake::{Target, Targets},
    candidate::{Candidate, Given},
    entry::Entry,
    file::Frame,
    matching::Matched,
    naming::Named,
};
use crate::{
    bounded,
    diagnostic::names,
    hierarchy::{Hierarchy, LoadError, LoadOptions, Loaded, this_machine},
    image::Reference,
};

/// Where the images are read from.
#[derive(Debug)]
pub enum From {
    /// Every Dockerfile of the folder, with the files that git tracks although it may ignore them.
    Folder { tracked: Vec<PathBuf> },
    /// What `docker buildx bake --print` says.
    Bake(String),
    /// A compose file and its text.
    Compose(PathBuf, String),
}

#[derive(Debug)]
pub struct Proposal {
    /// What to write.
    pub text: String,
    /// How it will be loaded.
    pub loaded: Result<Loaded, LoadError>,
    /// What a person should look at, a line each.
    pub unsure: Vec<String>,
    /// Dockerfiles that are not in it, and why, a line each.
    pub left_out: Vec<String>,
}

#[derive(Debug, thiserror::Error)]
pub enum InitError {
    #[error("there is no Dockerfile in `{0}`")]
    NoDockerfile(PathBuf),
    #[error("none of the {count} Dockerfiles can be read: {first}")]
    NoneReadable { count: usize, first: String },
    #[error(transparent)]
    Targets(#[from] TargetsError),
    /// A text of the repository would have been read as a field that runs a program.
    #[error(
        "a file or a Dockerfile here has a name or a text that would make the proposal run a program"
    )]
    Unsafe,
    #[error("this compose file cannot be read")]
    Compose(Box<crate::diagnostic::Diagnostic>),
}

impl std::convert::From<ComposeError> for InitError {
    fn from(error: ComposeError) -> Self {
        match error {
            ComposeError::Yaml(problem) => Self::Compose(problem),
            ComposeError::Targets(error) => Self::Targets(error),
        }
    }
}

/// What to write into a hierarchy file, which need not exist. Its path is absolute.
pub fn propose(file: &Path, from: From, options: &LoadOptions) -> Result<Proposal, InitError> {
    let root = file.parent().unwrap_or(Path::new("/"));
    let host = options.platform.clone().unwrap_or_else(this_machine);
    let mut unsure = Vec::new();
    let targets = match from {
        From::Folder { tracked } => found(root, &tracked, &mut unsure)?,
        From::Bake(text) => bake::targets(&text)?,
        From::Compose(path, text) => {
            let folder = path.parent().unwrap_or(Path::new(""));
            let folder = folder.strip_prefix(root).unwrap_or(folder).to_owned();
            compose::targets(&path, text, &folder)?
        }
    };
    unsure.extend(targets.notes);
    let count = targets.found.len();
    let (mut candidates, mut unreadable) = (Vec::new(), Vec::new());
    for Target { dockerfile, given } in targets.found {
        match Candidate::read(root, dockerfile.clone(), given, &host) {
            Ok(candidate) => candidates.push(candidate),
            Err(error) => unreadable.push((dockerfile, error)),
        }
    }
    let mut left_out = doubts::left_out(&unreadable);
    leave_out_windows(&mut candidates, &mut left_out);
    if candidates.is_empty() {
        let first = left_out.first().cloned().unwrap_or_default();
        return Err(InitError::NoneReadable { count, first });
    }
    listen(root, &mut candidates);

    let roots = root_names(root);
    let matched = matching::matched(&candidates, &roots, &host.to_string());
    let mut named = naming::named(&candidates, &matched, &roots);
    let aliases = meant::alias(&candidates, &mut named, &mut unsure);
    unsure.extend(doubts::lines(&matched.doubts, &candidates));
    if !matched.contested.is_empty() {
        unsure.push(meant::contested(&matched, &candidates));
    }
    let entries = entries(root, &candidates, &named, &mut unsure);
    let expected = meant::expected(&candidates, &matched, &named, &aliases);
    let order = order(&expected, &named);
    unsure.extend(meant::outsiders(&matched, &candidates, &named));
    let prefix = naming::prefix(&matched);
    let frame = Frame {
        prefix: prefix.as_deref(),
        has_schema: root.join("hierarchy.schema.json").is_file(),
        left_out: &left_out,
    };
    let mut last = None;
    // A matrix that would not mean the same is written out.
    for may_fold in [true, false] {
        let ordered: Vec<matrix::Placed> = order
            .iter()
            .map(|&one| (entries[one].clone(), candidates[one].segments.clone()))
            .collect();
        let blocks = matrix::blocks(&ordered, may_fold);
        let with_comments: Vec<_> = blocks
            .into_iter()
            .map(|block| {
                let comments = comments(&candidates, &matched, &block, &order);
                (block, comments)
            })
            .collect();
        let text = file::text(&with_comments, &frame);
        let loaded = Hierarchy::load_text(file.to_owned(), text.clone(), options);
        let wrong = match &loaded {
            Ok(loaded) => meant::differences(&loaded.hierarchy, &expected),
            Err(_) => Vec::new(),
        };
        let is_good = loaded.is_ok() && wrong.is_empty();
        last = Some((text, loaded, wrong));
        if is_good {
            break;
        }
    }
    let Some((text, loaded, wrong)) = last else {
        return Err(InitError::NoDockerfile(root.to_owned()));
    };
    if file::names_a_program(&text) {
        return Err(InitError::Unsafe);
    }
    unsure.extend(wrong);
    Ok(Proposal { text, loaded, unsure, left_out })
}

/// The Dockerfiles of a folder, of which nobody has said anything.
fn found(root: &Path, tracked: &[PathBuf], unsure: &mut Vec<String>) -> Result<Targets, InitError> {
    let found = find::find(root, tracked);
    if found.dockerfiles.is_empty() {
        return Err(InitError::NoDockerfile(root.to_owned()));
    }
    unsure.extend(found.unreadable);
    for folder in found.hierarchies {
        unsure.push(format!("`{}` has a hierarchy of its own and is left out", folder.display()));
    }
    if let Some(file) = found.bake_files.first() {
        let folder = file.parent().unwrap_or(Path::new(""));
        let place = if folder.as_os_str().is_empty() {
            String::new()
        } else {
            format!("-C {} ", folder.display())
        };
        // Without `-f`, bake reads only `docker-bake.hcl` and `docker-bake.override.hcl`.
        unsure.push(format!(
            "`{0}` may know names and tags better: `docker buildx bake -f {0} --print | rebuild {place}init --from-bake -`",
            file.display()
        ));
    }
    let target = |dockerfile| Target { dockerfile, given: Given::default() };
    Ok(Targets { found: found.dockerfiles.into_iter().map(target).collect(), notes: Vec::new() })
}

/// Images for Windows need an engine on Windows, and so does what stands on them.
fn leave_out_windows(candidates: &mut Vec<Candidate>, left_out: &mut Vec<String>) {
    let is_windows = |reference: &Reference| {
        let text = reference.repository.as_str();
        text.starts_with("mcr.microsoft.com/windows/")
            || text.starts_with("mcr.microsoft.com/windows:")
            || reference.tag.as_ref().is_some_and(|tag| {
                ["nanoserver", "windowsservercore"].iter().any(|word| tag.as_str().contains(word))
                    && text.starts_with("mcr.microsoft.com/")
            })
    };
    let before = candidates.len();
    let mut first = None;
    candidates.retain(|candidate| {
        let keeps = !candidate.uses.iter().any(|(reference, _)| is_windows(reference));
        if !keeps && first.is_none() {
            first = Some(candidate.dockerfile.display().to_string());
        }
        keeps
    });
    match (before - candidates.len(), first) {
        (0, _) | (_, None) => {}
        (1, Some(first)) => left_out.push(format!("{first}: it is for Windows")),
        (count, Some(first)) => {
            left_out.push(format!("{first} and {} more: they are for Windows", count - 1));
        }
    }
}

/// Reads what stands beside Dockerfiles that are alone in their folders.
fn listen(root: &Path, candidates: &mut [Candidate]) {
    let mut counts: BTreeMap<PathBuf, usize> = BTreeMap::new();
    for candidate in &*candidates {
        *counts.entry(candidate.folder().to_owned()).or_default() += 1;
    }
    for candidate in candidates {
        let is_root = candidate.folder().as_os_str().is_empty();
        if counts.get(candidate.folder()) == Some(&1) && !is_root {
            candidate.listen(root);
        }
    }
}

/// What the repository is called: by where it came from, and by its folder.
fn root_names(root: &Path) -> Vec<String> {
    let mut names = Vec::new();
    if let Ok(config) = bounded::text(&root.join(".git/config")) {
        let mut urls = config.lines().filter_map(|line| line.trim().strip_prefix("url"));
        let url = urls.find_map(|rest| rest.trim_start().strip_prefix('='));
        if let Some(name) = url.and_then(|url| url.trim().rsplit(['/', ':']).next()) {
            names.push(name.trim_end_matches(".git").to_owned());
        }
    }
    names.extend(root.file_name().map(|name| name.to_string_lossy().into_owned()));
    let mut good: Vec<String> = Vec::new();
    for name in names {
        let name = words::name_part(&name);
        let short = name.strip_prefix("docker-").or_else(|| name.strip_suffix("-docker"));
        for name in [short, Some(&name)].into_iter().flatten() {
            if !name.is_empty() && !good.iter().any(|one| one == name) {
                good.push(name.to_owned());
            }
        }
    }
    good
}

fn entries(
    root: &Path,
    candidates: &[Candidate],
    named: &[Named],
    unsure: &mut Vec<String>,
) -> Vec<Entry> {
    let mut missing: Vec<String> = Vec::new();
    let mut elsewhere: Vec<String> = Vec::new();
    let mut entries = Vec::new();
    for (candidate, named) in candidates.iter().zip(named) {
        let context = context::context(root, candidate);
        if let Some(first) = context.missing.first() {
            missing.push(format!("{}: {first}", candidate.dockerfile.display()));
        }
        if candidate.given.context.is_none() && context.folder != candidate.folder() {
            elsewhere.push(named.name.clone());
        }
        let given = &candidate.given;
        let mut entry = Entry {
            name: named.name.clone(),
            repository: named.repository.clone(),
            tags: named.tags.clone(),
            target: given.target.clone(),
            platform: given
                .platform
                .as_ref()
                .map(ToString::to_string)
                .or_else(|| named.platform.map(str::to_owned)),
            build_args: given.build_args.clone(),
            labels: given.labels.clone(),
            ..Entry::default()
        };
        entry.place(root, &context.folder, &candidate.dockerfile);
        entries.push(entry);
    }
    if !elsewhere.is_empty() {
        unsure.push(format!(
            "{}: built in a folder above the Dockerfile, where the files are that it copies; check `context`",
            names(&elsewhere, 3)
        ));
    }
    if !missing.is_empty() {
        unsure.push(format!(
            "{}: copied, and neither beside the Dockerfile nor above; check `context`, or `prepare` it",
            names(&missing, 3)
        ));
    }
    entries
}

/// Parents before children. Images with others around them come before those that stand alone.
fn order(expected: &meant::Meant, named: &[Named]) -> Vec<usize> {
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

/// What stands above an entry: the images from outside that it is built from.
fn comments(
    candidates: &[Candidate],
    matched: &Matched,
    block: &matrix::Block,
    order: &[usize],
) -> Vec<String> {
    let mut upstreams: Vec<String> = Vec::new();
    for &member in &block.members {
        for (reference, _) in &candidates[order[member]].uses {
            let text = Reference { digest: None, ..reference.clone() }.to_string();
            if matched.upstream.contains(reference) && !upstreams.contains(&text) {
                upstreams.push(text);
            }
        }
    }
    if upstreams.is_empty() {
        Vec::new()
    } else {
        vec![format!("on {}", names(&upstreams, 4).replace('`', ""))]
    }
}
