//! What stands beside the hierarchy file: each image's context and its Dockerfile.
//!
//! **Invariant:** reading one image looks at no other, so all are read at the same time.

use std::{
    collections::BTreeMap,
    fs,
    path::{Component, Path, PathBuf},
    sync::Arc,
};

use super::{
    GitAddress, NamedContext,
    build_fields::INLINE,
    checkouts::Checkouts,
    draft::Draft,
    fields::Located,
    prepare,
    submodules::Submodules,
    trust::{self, Trust},
};
use crate::{
    check::nearest,
    dockerfile::{
        self, NotText, Scan, ScanError, Settings,
        file_name::{is_dockerfile, stem},
    },
};
use crate::{
    check::{
        diagnostic::{Diagnostic, SourceFile},
        rules::RuleCode,
    },
    host::bounded,
    image::Platform,
};

/// An image's Dockerfile, read.
#[derive(Debug)]
pub(super) struct DockerfileRead {
    pub(super) context: PathBuf,
    pub(super) dockerfile: Arc<SourceFile>,
    pub(super) scan: Scan,
    /// The folder of each named context that is one.
    pub(super) contexts: BTreeMap<String, PathBuf>,
}

/// Where to read, and for what.
#[derive(Clone, Copy, Debug)]
pub(super) struct FileLookup<'a> {
    pub(super) root: &'a Path,
    pub(super) file: &'a Arc<SourceFile>,
    /// The engine's.
    pub(super) platform: &'a Platform,
    pub(super) trust: Trust,
    pub(super) checkouts: &'a Checkouts,
    pub(super) submodules: &'a Submodules,
}

type Read = Result<DockerfileRead, Vec<Diagnostic>>;

/// The files of every image, in order. Of a broken entry, at most that its context is missing.
pub(super) fn read_all(drafts: &[Draft], place: FileLookup<'_>) -> Vec<Option<Read>> {
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let share = drafts.len().div_ceil(threads).max(1);
    let of_share = |drafts: &[Draft]| -> Vec<Option<Read>> {
        let of = |draft: &Draft| {
            if draft.image.is_broken {
                no_context(draft, place).map(|problem| Err(vec![problem]))
            } else {
                Some(read(draft, place))
            }
        };
        drafts.iter().map(of).collect()
    };
    std::thread::scope(|scope| {
        let workers: Vec<_> =
            drafts.chunks(share).map(|share| scope.spawn(move || of_share(share))).collect();
        workers
            .into_iter()
            .flat_map(|worker| {
                worker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
            })
            .collect()
    })
}

/// As if every image had an empty Dockerfile.
pub(super) fn unread(drafts: &[Draft], place: FileLookup<'_>) -> Vec<Option<Read>> {
    let files = |draft: &Draft| {
        let name = draft.image.context.as_ref().map_or(draft.name.image(), |given| &given.value);
        let context = tidy(&place.root.join(name));
        let dockerfile = SourceFile::new(context.join("Dockerfile"), String::new());
        let (scan, contexts) = (Scan::default(), BTreeMap::new());
        Ok(DockerfileRead { context, dockerfile, scan, contexts })
    };
    drafts.iter().map(|draft| (!draft.image.is_broken).then(|| files(draft))).collect()
}

/// That the context of a broken entry is missing, which its other problems do not explain.
fn no_context(draft: &Draft, place: FileLookup<'_>) -> Option<Diagnostic> {
    let is_folder = matches!(draft.image.git_context(), Ok(None));
    (draft.image.context.is_some() && is_folder).then(|| context(draft, place).err())?
}

fn read(draft: &Draft, place: FileLookup<'_>) -> Read {
    let context = context(draft, place).map_err(|problem| vec![problem])?;
    let command = draft.image.prepare.as_deref().unwrap_or_default();
    if let Some((word, refused)) = prepare::refused(command, &context, place.root) {
        let message = format!("`{word}` of `prepare` leads out of the build context");
        let problem = Diagnostic::of(RuleCode::PrepareOutside, message)
            .at(place.file, draft.image.places.prepare.clone(), "")
            .hint(refused.hint());
        return Err(vec![problem]);
    }
    let contexts = named_contexts(draft, place).map_err(|problem| vec![problem])?;
    let path = dockerfile_path(&context, draft, place.file);
    if place.trust == Trust::Untrusted {
        let named = contexts.values().map(|folder| ("the context", folder));
        for (what, path) in
            [("the context", &context), ("the Dockerfile", &path)].into_iter().chain(named)
        {
            if trust::outside(path, place.root).is_some() {
                let problem = trust::refused(what, &shown(path, place.root));
                return Err(vec![problem.at(place.file, draft.span.clone(), "")]);
            }
        }
    }
    let source = text(draft, &path, place).map_err(|problem| vec![problem])?;
    let settings = Settings {
        build_args: &draft.image.build_args,
        target: draft.image.target.as_ref().map(|target| target.value.as_str()),
        platform: draft.image.platform.as_ref().map_or(place.platform, |own| &own.value),
        build_platform: place.platform,
    };
    match dockerfile::scan(&source.text, settings) {
        Ok(scan) => match no_stages(draft, &scan, place) {
            problems if problems.is_empty() => {
                Ok(DockerfileRead { context, dockerfile: source, scan, contexts })
            }
            problems => Err(problems),
        },
        Err(ScanError::Problems(problems)) => {
            Err(problems
                .into_iter()
                .map(|problem| {
                    let diagnostic = Diagnostic::of(RuleCode::BrokenDockerfile, problem.message)
                        .at(&source, problem.span, problem.label);
                    match problem.hint {
                        Some(hint) => diagnostic.hint(hint),
                        None => diagnostic,
                    }
                })
                .collect())
        }
        Err(ScanError::UnknownTarget { stages }) => {
            let stages = if source.is_outside { Vec::new() } else { stages };
            Err(vec![unknown_target(draft, &stages, &shown(&path, place.root), place)])
        }
    }
}

/// Where the Dockerfile of an image is, or should be.
pub(super) fn dockerfile(draft: &Draft, root: &Path) -> PathBuf {
    let context = if let Some(given) = &draft.image.context {
        tidy(&root.join(&given.value))
    } else {
        let [first, last] = usual(draft.name.image()).map(|one| root.join(one));
        // Of a deleted folder only the one above it is left.
        let has_images = root.join("images").is_dir() && !last.is_dir();
        if first.is_dir() || has_images { first } else { last }
    };
    within(&context, draft)
}

fn within(context: &Path, draft: &Draft) -> PathBuf {
    let dockerfile = draft.image.dockerfile.as_ref();
    tidy(&context.join(dockerfile.map_or("Dockerfile", |given| &given.value)))
}

/// Where the Dockerfile is. One that the entry itself has gets a name that no file has, which messages show.
fn dockerfile_path(context: &Path, draft: &Draft, file: &SourceFile) -> PathBuf {
    if draft.image.build.text(INLINE).is_none() {
        return within(context, draft);
    }
    let mut path = file.path.clone().into_os_string();
    path.push(format!("#{}", draft.name.image().replace('/', "-")));
    path.into()
}

/// Whether the Dockerfile is a file of this machine, which is not fetched first.
pub(super) fn has_dockerfile_here(draft: &Draft) -> bool {
    draft.image.build.text(INLINE).is_none() && matches!(draft.image.git_context(), Ok(None))
}

/// The folders of the named contexts.
fn named_contexts(
    draft: &Draft,
    place: FileLookup<'_>,
) -> Result<BTreeMap<String, PathBuf>, Diagnostic> {
    let mut folders = BTreeMap::new();
    for (name, text) in draft.image.build.contexts() {
        let folder = match draft.image.settings.contexts.get(name) {
            Some(NamedContext::Folder(folder)) => {
                let folder = tidy(&place.root.join(folder));
                if !folder.is_dir() {
                    let message = format!("there is no folder `{}`", text.value);
                    return Err(Diagnostic::of(RuleCode::NoContext, message)
                        .at(place.file, text.span.clone(), "")
                        .hint("a context is a folder, `docker-image://…` or the URL of a git repository"));
                }
                folder
            }
            Some(NamedContext::Git(address)) => checked_out(address, text, place)?,
            Some(NamedContext::Image(_)) | None => continue,
        };
        folders.insert(name.clone(), folder);
    }
    Ok(folders)
}

fn checked_out(
    address: &GitAddress,
    text: &Located<String>,
    place: FileLookup<'_>,
) -> Result<PathBuf, Diagnostic> {
    // What is refused anyway is not fetched.
    let folder = match place.trust {
        Trust::Untrusted => Err("not with `--untrusted`".to_owned()),
        Trust::Full => place.checkouts.folder(address),
    };
    folder.map_err(|error| {
        let message = format!("`{}` cannot be checked out: {error}", text.value);
        Diagnostic::of(RuleCode::NoContext, message).at(place.file, text.span.clone(), "")
    })
}

/// Stages that options name and the Dockerfile does not have, or has beside a context of the same name.
fn no_stages(draft: &Draft, scan: &Scan, place: FileLookup<'_>) -> Vec<Diagnostic> {
    let has_stage = |name: &str| scan.stages.contains(&name.to_ascii_lowercase());
    let filtered = draft.image.build.list("no_cache_filter").iter();
    let missing = filtered.filter(|stage| !has_stage(&stage.value)).map(|stage| {
        let message =
            format!("`no_cache_filter` names no stage of the Dockerfile: `{}`", stage.value);
        let problem = Diagnostic::of(RuleCode::WrongValue, message);
        let problem = problem.at(place.file, stage.span.clone(), "");
        match nearest(&stage.value, scan.stages.iter().map(String::as_str)) {
            Some(near) => problem.hint(format!("did you mean `{near}`?")),
            None => problem.hint("name a stage with `FROM image AS name`"),
        }
    });
    let contexts = draft.image.build.contexts().filter(|(name, _)| has_stage(name));
    let twice = contexts.map(|(name, text)| {
        let message = format!("the Dockerfile has a stage `{name}`, and `contexts` too");
        let problem = Diagnostic::of(RuleCode::WrongValue, message);
        problem.at(place.file, text.span.clone(), "").hint("rename one of them")
    });
    missing.chain(twice).collect()
}

/// The contexts of an image that names none.
fn usual(name: &str) -> [String; 2] {
    [format!("images/{name}"), name.to_owned()]
}

fn context(draft: &Draft, place: FileLookup<'_>) -> Result<PathBuf, Diagnostic> {
    if let Some(given) = &draft.image.context {
        match draft.image.git_context() {
            Ok(None) => {}
            Ok(Some(address)) => return checked_out(&address, given, place),
            Err(error) => {
                let problem = Diagnostic::of(RuleCode::NoContext, error);
                return Err(problem.at(place.file, given.span.clone(), ""));
            }
        }
        let folder = tidy(&place.root.join(&given.value));
        return if folder.is_dir() {
            Ok(folder)
        } else {
            let message = format!("there is no folder `{}`", given.value);
            Err(Diagnostic::of(RuleCode::NoContext, message)
                .at(place.file, given.span.clone(), "")
                .hint(match (place.submodules.empty_at(&folder, place.root), beside(&folder, Path::is_dir)) {
                    (Some(submodule), _) => submodule,
                    (None, Some(near)) => format!("did you mean `{}`?", shown(&near, place.root)),
                    (None, None) => "a context is relative to the folder of hierarchy.yaml; `rebuild init --update` comments out images whose files were deleted".to_owned(),
                }))
        };
    }
    let name = draft.name.image();
    let choices = usual(name);
    if let Some(folder) = choices.iter().map(|one| place.root.join(one)).find(|one| one.is_dir()) {
        return Ok(folder);
    }
    Err(Diagnostic::of(RuleCode::NoContext, format!("`{name}` has no context"))
        .at(
            place.file,
            draft.span.clone(),
            format!("neither `{}` nor `{}` is a folder", choices[0], choices[1]),
        )
        .hint("make one of the two, or name another with `context:`; if it was deleted: `rebuild init --update`"))
}

fn text(draft: &Draft, path: &Path, place: FileLookup<'_>) -> Result<Arc<SourceFile>, Diagnostic> {
    if let Some(inline) = draft.image.build.text(INLINE) {
        return Ok(SourceFile::new(path, inline.value.clone()));
    }
    let span = draft.image.dockerfile.as_ref().or(draft.image.context.as_ref());
    let span = span.map_or(&draft.span, |given| &given.span).clone();
    let shown = shown(path, place.root);
    let bytes = bounded::read(path, bounded::TEXT).map_err(|error| {
        let is_missing = error.kind() == std::io::ErrorKind::NotFound;
        let message = if is_missing {
            format!("there is no file `{shown}`")
        } else {
            format!("`{shown}` cannot be read: {error}")
        };
        let diagnostic = Diagnostic::of(RuleCode::NoDockerfile, message).at(place.file, span, "");
        if path.is_dir() {
            return diagnostic.hint("name the file in it with `dockerfile:`");
        }
        if !is_missing {
            return diagnostic;
        }
        let other = path.with_file_name("Containerfile");
        if draft.image.dockerfile.is_none() && other.is_file() {
            return diagnostic
                .hint("there is a `Containerfile`: write `dockerfile: Containerfile`");
        }
        let submodule = place.submodules.empty_at(path, place.root);
        diagnostic.hint(submodule.unwrap_or_else(|| no_dockerfile(draft, path)))
    })?;
    let source = match trust::outside(path, place.root) {
        Some(_) => SourceFile::outside,
        None => SourceFile::new,
    };
    dockerfile::decode(bytes).map(|text| source(path, text)).map_err(|NotText { text, span }| {
        let message = "this file is not UTF-8 text".to_owned();
        Diagnostic::of(RuleCode::BrokenDockerfile, message)
            .at(&source(path, text), span, "the first byte that is not")
            .hint("save it as UTF-8; other bytes may stand in comments only")
    })
}

/// What to do about a Dockerfile that does not exist: another file in its folder may be meant.
fn no_dockerfile(draft: &Draft, path: &Path) -> String {
    let name = |path: &Path| path.file_name().unwrap_or_default().display().to_string();
    let is_known = |other: &Path| is_dockerfile(&name(other)) && other.is_file();
    // Not a template, a backup or the notes of a Dockerfile.
    let may_be_one =
        |other: &Path| is_known(other) || stem(&name(other)).is_none() && other.is_file();
    let near = beside(path, may_be_one).as_deref().map(name);
    let files = path.parent().and_then(|folder| folder.read_dir().ok()).into_iter().flatten();
    let known = files.flatten().map(|entry| entry.path()).filter(|path| is_known(path)).min();
    match (near, known.as_deref().map(name)) {
        (Some(near), _) if draft.image.dockerfile.is_some() => format!("did you mean `{near}`?"),
        (_, Some(other)) | (Some(other), None) => format!(
            "there is a `{other}` beside it: name it with `dockerfile:`; if `{}` was moved or deleted: \
             `rebuild init --update`",
            name(path)
        ),
        _ => "a Dockerfile is relative to its context: name it with `dockerfile:`; if it was moved or deleted: `rebuild init --update`"
            .to_owned(),
    }
}

fn unknown_target(
    draft: &Draft,
    stages: &[String],
    shown: &str,
    place: FileLookup<'_>,
) -> Diagnostic {
    let Some(target) = &draft.image.target else {
        let message = format!("`{shown}` has no stage to build");
        return Diagnostic::of(RuleCode::UnknownTarget, message);
    };
    let message = format!("there is no stage `{}` in `{shown}`", target.value);
    let diagnostic = Diagnostic::of(RuleCode::UnknownTarget, message);
    let diagnostic = diagnostic.at(place.file, target.span.clone(), "");
    let hint = match (nearest(&target.value, stages.iter().map(String::as_str)), stages) {
        (Some(near), _) => format!("did you mean `{near}`?"),
        (None, []) => "none of its stages has a name: write `FROM image AS name`".to_owned(),
        (None, stages) => {
            let names: Vec<String> = stages.iter().map(|stage| format!("`{stage}`")).collect();
            format!("it has {}", names.join(", "))
        }
    };
    diagnostic.hint(hint)
}

/// What there is in the same folder with nearly the same name.
fn beside(path: &Path, is_kind: impl Fn(&Path) -> bool) -> Option<PathBuf> {
    let names: Vec<String> = fs::read_dir(path.parent()?)
        .ok()?
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .filter(|name| is_kind(&path.with_file_name(name)))
        .collect();
    let near = nearest(path.file_name()?.to_str()?, names.iter().map(String::as_str))?;
    Some(path.with_file_name(near))
}

/// As the person wrote it, more or less.
fn shown(path: &Path, root: &Path) -> String {
    path.strip_prefix(root).unwrap_or(path).display().to_string()
}

/// Without `.` in it, and without `folder/..` unless the folder is a symlink, behind which `..` is
/// another place.
fn tidy(path: &Path) -> PathBuf {
    let mut tidy = PathBuf::new();
    for component in path.components() {
        match component {
            Component::ParentDir if tidy.file_name().is_some() && !tidy.is_symlink() => {
                tidy.pop();
            }
            component => tidy.push(component),
        }
    }
    tidy
}
