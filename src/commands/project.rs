//! Finds and loads the hierarchy that a command is about.

use std::{
    collections::BTreeSet,
    env,
    path::{Path, PathBuf},
};

use jiff::Timestamp;

use super::{error::CommandError, output};
use crate::{
    check::diagnostic::{Diagnostic, Rendering, Severity, names},
    commands::cli::{Common, SelectionArgs},
    exit::Exit,
    hierarchy::{Hierarchy, LoadOptions, NodeName, Overrides, TagTemplate, TagValues, Trust},
    host::git,
    image::{Platform, Repository},
    plan::{
        PlanRequest, Selection,
        since::{Since, since},
    },
};

/// Loads the hierarchy; its problems and warnings are printed here, each with its place.
pub(super) fn load(common: &Common) -> Result<Hierarchy, CommandError> {
    told(common, &load_options(common))
}

/// The same, publishing below this prefix if the command line names no other.
pub(super) fn load_to(
    common: &Common,
    registry: Option<&Repository>,
) -> Result<Hierarchy, CommandError> {
    let options = load_options(common);
    let registry = options.registry.or_else(|| registry.cloned());
    told(common, &LoadOptions { registry, ..load_options(common) })
}

/// The hierarchy as an engine of another platform than this machine's builds it: images without a platform get that of
/// the engine, and so does `$BUILDPLATFORM`. `None`: as it was loaded.
pub(super) fn for_engine(
    hierarchy: &Hierarchy,
    common: &Common,
    native: &Platform,
) -> Result<Option<Hierarchy>, CommandError> {
    if hierarchy.platform == *native {
        return Ok(None);
    }
    let options = LoadOptions { platform: Some(native.clone()), ..load_options(common) };
    // Its warnings were printed before.
    let reloaded = read(common, &options).map(|(hierarchy, _)| Some(hierarchy));
    reloaded.map_err(|(error, problems)| {
        for problem in &problems {
            output::notice(problem);
        }
        error
    })
}

/// The same without Dockerfiles, for commands that need only names and tags: a broken Dockerfile must not stop
/// a rollback.
pub(super) fn load_names(common: &Common) -> Result<Hierarchy, CommandError> {
    told(common, &LoadOptions { names_only: true, ..load_options(common) })
}

fn told(common: &Common, options: &LoadOptions) -> Result<Hierarchy, CommandError> {
    output::choose_colour(common.color);
    let (read, notices) = match read(common, options) {
        Ok((hierarchy, warnings)) => (Ok(hierarchy), warnings),
        Err((error, problems)) => (Err(error), problems),
    };
    for notice in &notices {
        output::notice(notice);
    }
    read
}

/// The hierarchy with its warnings, or the error with each problem.
pub(super) fn read(
    common: &Common,
    options: &LoadOptions,
) -> Result<(Hierarchy, Vec<String>), (CommandError, Vec<String>)> {
    let file = find(common).map_err(|error| (error, Vec::new()))?;
    let current_dir = env::current_dir().unwrap_or_default();
    let rendering = Rendering { colour: output::stderr_has_colour(), current_dir: &current_dir };
    match Hierarchy::load(&file, options) {
        Ok(mut loaded) => {
            if common.no_registry {
                loaded.hierarchy.take_registry();
            }
            for engine in &mut loaded.hierarchy.engines {
                engine.emulate |= common.emulate;
            }
            let warnings = Diagnostic::render_all(loaded.warnings.iter(), rendering);
            Ok((loaded.hierarchy, warnings))
        }
        Err(error) => {
            let problems = error.problems.iter().map(|problem| problem.render(rendering)).collect();
            let message = told_where(&error.problems, &file, |path| path.display().to_string());
            let causes = errors(&error.problems).map(|it| it.line(&current_dir));
            Err((CommandError::new(Exit::Usage, message).caused_by(causes.collect()), problems))
        }
    }
}

fn errors(problems: &[Diagnostic]) -> impl Iterator<Item = &Diagnostic> + Clone {
    problems.iter().filter(|problem| problem.severity == Severity::Error)
}

/// Which files the errors are in, and how many they are. `file` is that of the hierarchy.
pub(super) fn told_where(
    problems: &[Diagnostic],
    file: &Path,
    shown: impl Fn(&Path) -> String,
) -> String {
    let errors = errors(problems);
    let count = match errors.clone().count() {
        1 => "a problem".to_owned(),
        count => format!("{count} problems"),
    };
    let excerpt = |it: &&Diagnostic| it.excerpts.first().map(|excerpt| excerpt.source.path.clone());
    let places = errors.filter_map(|it| excerpt(&it).or_else(|| it.file.clone()));
    let files: BTreeSet<String> = places.map(|path| shown(&path)).collect();
    let verb = if files.len() == 1 { "has" } else { "have" };
    if files.is_empty() {
        // For example, an option of the command line names an image that is not there.
        return format!("`{}` cannot be loaded with these options", shown(file));
    }
    format!("{} {verb} {count}", names(&Vec::from_iter(files), 3))
}

pub(super) fn load_options(common: &Common) -> LoadOptions {
    let trust = if common.untrusted { Trust::Untrusted } else { Trust::Full };
    let overrides =
        Overrides { fields: common.fields.clone(), build_args: common.build_args.clone() };
    let (registry, engines) = (common.registry.clone(), common.engines.clone());
    LoadOptions { registry, trust, overrides, engines, ..LoadOptions::default() }
}

/// The hierarchy's file.
pub(super) fn find(common: &Common) -> Result<PathBuf, CommandError> {
    let usage = |message: String| CommandError::new(Exit::Usage, message);
    let start = start(common)?;
    if !start.is_dir() {
        let error = usage(format!("`{}` is not a folder", start.display()));
        return Err(error.hint("`--directory` takes the folder of the hierarchy, or one below it"));
    }
    if let Some(file) = &common.file {
        let file = start.join(file);
        return if file.is_file() {
            Ok(file)
        } else {
            let problem = match (file.is_dir(), file.exists()) {
                (true, _) => "is a folder: name the file in it",
                (false, true) => "is not a regular file",
                (false, false) => "does not exist",
            };
            let error = usage(format!("`{}` {problem}", file.display()));
            Err(match Hierarchy::find_file(&start).ok().flatten() {
                Some(found) => {
                    error.hint(format!("there is `{}`: leave `--file` out", found.display()))
                }
                None => error,
            })
        };
    }
    let found = Hierarchy::find_file(&start).map_err(|foreign| {
        // A hierarchy can run programs. Git refuses the same with `safe.directory`.
        usage(foreign.to_string()).hint(format!(
            "if you trust that user, name the file: `rebuild --file {}`",
            foreign.0.display()
        ))
    })?;
    found.ok_or_else(|| {
        usage(format!("no hierarchy.yaml in `{}` or a folder above it", start.display())).hint(
            "name one with `--file`, or let `rebuild init` write one for the Dockerfiles here",
        )
    })
}

/// The folder that the command is about.
pub(super) fn start(common: &Common) -> Result<PathBuf, CommandError> {
    let here = env::current_dir()
        .map_err(|error| CommandError::new(Exit::Usage, format!("no working folder: {error}")))?;
    Ok(match &common.directory {
        Some(directory) => here.join(directory),
        None => here,
    })
}

/// What the command line asks for.
pub(super) fn request(
    hierarchy: &Hierarchy,
    common: &Common,
    arguments: &SelectionArgs,
) -> Result<PlanRequest, CommandError> {
    let selection = selection(hierarchy, common, arguments)?;
    // Which images are due is asked of the place where they are published.
    let refresh = arguments.refresh && !arguments.due;
    let platforms = platforms(hierarchy, &arguments.platform)?;
    let by_schedule = arguments.due;
    Ok(PlanRequest { selection, refresh, by_schedule, platforms, now: Timestamp::now() })
}

/// The platforms that `--platform` names.
fn platforms(
    hierarchy: &Hierarchy,
    asked: &[Platform],
) -> Result<BTreeSet<Platform>, CommandError> {
    let built_for: BTreeSet<&Platform> =
        hierarchy.in_build_order().map(|node| hierarchy.platform_of(node)).collect();
    let asked: BTreeSet<Platform> = asked.iter().cloned().map(Platform::normalized).collect();
    if let Some(unknown) = asked.iter().find(|platform| !built_for.contains(platform)) {
        let all: Vec<String> = built_for.iter().map(|it| format!("`{it}`")).collect();
        let message = format!("no image is built for `{unknown}`");
        let hint = format!("the images are built for {}", all.join(", "));
        return Err(CommandError::new(Exit::Usage, message).hint(hint));
    }
    Ok(asked)
}

/// The selection that the command line names. What a person should know about it is printed here.
fn selection(
    hierarchy: &Hierarchy,
    common: &Common,
    arguments: &SelectionArgs,
) -> Result<Selection, CommandError> {
    if let Some(revision) = &arguments.since {
        let Since { selection, notices } = since(hierarchy, revision, &load_options(common))?;
        for notice in &notices {
            output::warning(notice);
        }
        return Ok(selection);
    }
    if !arguments.among.is_empty() {
        return Ok(Selection::Among(nodes(hierarchy, &arguments.among)?));
    }
    Ok(match (&arguments.from[..], &arguments.only[..]) {
        ([], []) => Selection::OutOfDate,
        (from, []) => Selection::From(nodes(hierarchy, from)?),
        (_, only) => Selection::Only(nodes(hierarchy, only)?),
    })
}

/// The images that names and globs of the command line mean.
pub(super) fn nodes(
    hierarchy: &Hierarchy,
    names: &[String],
) -> Result<BTreeSet<NodeName>, CommandError> {
    let mut nodes = BTreeSet::new();
    for name in names {
        nodes.extend(hierarchy.named(name)?.into_iter().cloned());
    }
    Ok(nodes)
}

/// The image that a name of the command line means.
pub(super) fn node(hierarchy: &Hierarchy, name: &str) -> Result<NodeName, CommandError> {
    let named = nodes(hierarchy, &[name.to_owned()])?;
    let mut named = named.into_iter();
    match (named.next(), named.next()) {
        (Some(node), None) => Ok(node),
        _ => Err(CommandError::new(Exit::Usage, format!("`{name}` means several images"))),
    }
}

/// What the placeholders in tags stand for today.
pub(super) fn tag_values(hierarchy: &Hierarchy) -> Result<TagValues, CommandError> {
    let needs_git =
        hierarchy.in_build_order().flat_map(|node| &node.tags).any(TagTemplate::needs_git);
    let git = if needs_git { commit(hierarchy.root())? } else { None };
    let date = Timestamp::now().strftime("%Y%m%d").to_string();
    Ok(TagValues { date, git })
}

fn commit(folder: &Path) -> Result<Option<String>, CommandError> {
    git::describe(folder).map_err(|error| CommandError::new(Exit::Usage, error.to_string()))
}
