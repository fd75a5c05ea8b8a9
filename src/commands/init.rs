//! `rebuild init`: a hierarchy file for a repository that has none.

use std::{
    env,
    fmt::Write as _,
    fs,
    io::{Read as _, Write as _},
    path::{Path, PathBuf},
};

use jiff::Timestamp;

use super::{
    error::CommandError,
    output,
    project::{self, load_options, start},
};
use crate::{
    check::{
        diagnostic::{Diagnostic, Rendering},
        rules::RuleCode,
    },
    commands::cli::{Common, InitArgs},
    exit::Exit,
    hierarchy::{Hierarchy, LoadOptions, Loaded},
    host::{bounded, git, owner},
    init::{
        self, From, InitError, LeftOut, Proposal, TargetsError, UnsureLine, UpdateError, propose,
    },
    report::{count, sanitize, tree},
};

const FILE: &str = "hierarchy.yaml";

pub(super) fn init(common: &Common, arguments: &InitArgs) -> Result<Exit, CommandError> {
    output::choose_colour(common.color);
    let file = file(common, arguments)?;
    if arguments.update {
        return update(&file, common, arguments);
    }
    if !arguments.dry_run && !arguments.force && fs::symlink_metadata(&file).is_ok() {
        return Err(usage(format!("`{}` is already there", file.display()))
            .hint("`--update` adds new Dockerfiles to it; `--dry-run` prints what would be written; `--force` writes over it"));
    }
    let from = from(&file, common, arguments)?;
    let proposal = propose(&file, from, &options(common)).map_err(failed)?;
    if arguments.dry_run {
        answer(&proposal.text)?;
    } else {
        write(&file, &proposal.text, arguments.force)?;
    }
    tell(&proposal, &file, (common, arguments))
}

/// What the file says is read without the registry of this run.
fn options(common: &Common) -> LoadOptions {
    LoadOptions { registry: None, ..load_options(common) }
}

/// Changes a file that is there, and keeps what its user wrote.
fn update(file: &Path, common: &Common, arguments: &InitArgs) -> Result<Exit, CommandError> {
    let shown = shown(file);
    if fs::symlink_metadata(file).is_ok_and(|found| found.is_symlink()) {
        return Err(usage(format!("`{shown}` is a link, which is not followed")));
    }
    let text = bounded::text(file).map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => {
            usage(format!("there is no `{shown}` to update")).hint("`rebuild init` writes one")
        }
        _ => usage(format!("`{shown}` cannot be read: {error}")),
    })?;
    let from = from(file, common, arguments)?;
    let folder = file.parent().unwrap_or(file);
    let committed = |path: &Path| git::last_text(folder, path);
    let updated = init::update((file, &shown, &text), from, &options(common), &committed);
    let update = updated.map_err(|error| not_updated(error, &shown, arguments.dry_run))?;
    let is_new = !update.diff.is_empty();
    if arguments.dry_run {
        answer(&update.diff)?;
    } else if is_new {
        // An editor may have saved it in between.
        if bounded::text(file).ok().as_ref() != Some(&text) {
            return Err(usage(format!("`{shown}` changed during the update")).hint("try again"));
        }
        write(file, &update.text, true)?;
    }
    let explained = if arguments.explain { &update.explained[..] } else { &[] };
    // The same each time.
    let is_told = is_new || arguments.verbose;
    let left_out = if is_told { left_out(&update.left_out, arguments) } else { Vec::new() };
    let mut page = lists(&[
        ("added", &update.added),
        ("moved", &update.moved),
        ("gone", &update.gone),
        ("explained", explained),
        ("left out", &left_out),
        ("unsure", &unsure(&update.unsure, arguments)),
    ]);
    _ = if is_new {
        let verb = if arguments.dry_run { "would update" } else { "updated" };
        writeln!(page, "\n{verb} `{shown}`: {}", size(&update.loaded))
    } else {
        writeln!(page, "\n`{shown}` has every Dockerfile here: nothing to update")
    };
    if is_new && !arguments.dry_run {
        _ = writeln!(page, "next: `{}`", next(file));
    }
    other_warnings(&update.loaded.warnings, &update.unsure);
    if arguments.dry_run {
        output::line(page.trim());
    } else {
        view(page.trim_start_matches('\n'))?;
    }
    Ok(ending(arguments, &update.unsure))
}

fn not_updated(error: UpdateError, shown: &str, dry_run: bool) -> CommandError {
    let message = format!("`{shown}` was not updated");
    match error {
        UpdateError::Init(error) => failed(error),
        UpdateError::Problems(problems) => {
            notice(&problems);
            usage(message).hint("correct the file, and try again")
        }
        UpdateError::Layout(reason) => usage(format!("{message}: {reason}"))
            .hint("write each image on a line of its own below `images:`, and try again"),
        UpdateError::Broken(error, diff) => {
            if dry_run {
                _ = answer(&diff);
            }
            notice(&error.problems);
            usage(format!("{message}, because the new text would have these problems"))
                .hint("`rebuild init --update --dry-run` prints the changes, to make by hand")
        }
        UpdateError::Changes(names) => usage(format!(
            "{message}, because the new text would change {names}"
        ))
        .hint("add and remove the entries by hand; `rebuild init --dry-run` prints new ones"),
    }
}

fn usage(message: String) -> CommandError {
    CommandError::new(Exit::Usage, message)
}

/// The file to write, absolute.
fn file(common: &Common, arguments: &InitArgs) -> Result<PathBuf, CommandError> {
    let start = start(common)?;
    let folder = match &arguments.folder {
        Some(folder) => start.join(folder),
        None => start.clone(),
    };
    if !folder.is_dir() {
        return Err(usage(format!("`{}` is not a folder", folder.display())));
    }
    let file = match (&common.file, &arguments.folder) {
        (Some(_), Some(_)) => {
            return Err(usage("`--file` and a folder say two places".to_owned())
                .hint("the folder is that of the file"));
        }
        (Some(file), None) => start.join(file),
        (None, _) => folder.join(FILE),
    };
    let folder = file.parent().unwrap_or(Path::new("/"));
    // `..` and links would make paths seem to lead out of the folder.
    let folder = folder
        .canonicalize()
        .map_err(|error| usage(format!("`{}` cannot be used: {error}", folder.display())))?;
    Ok(folder.join(file.file_name().unwrap_or(FILE.as_ref())))
}

fn from(file: &Path, common: &Common, arguments: &InitArgs) -> Result<From, CommandError> {
    let start = start(common)?;
    let read = |path: &Path| {
        let path = start.join(path);
        let text = bounded::text(&path)
            .map_err(|error| usage(format!("`{}` cannot be read: {error}", path.display())))?;
        let path = path.canonicalize().unwrap_or(path);
        Ok::<_, CommandError>((path, text))
    };
    let environment = env::vars_os()
        .filter_map(|(key, value)| Some((key.into_string().ok()?, value.into_string().ok()?)))
        .collect();
    Ok(match (&arguments.from_bake, &arguments.from_compose) {
        (Some(path), _) if path.as_os_str() == "-" => {
            let mut text = String::new();
            std::io::stdin()
                .read_to_string(&mut text)
                .map_err(|error| usage(format!("standard input cannot be read: {error}")))?;
            From::Bake(PathBuf::from("docker-bake.json"), text)
        }
        (Some(path), _) => {
            let (path, text) = read(path)?;
            From::Bake(path, text)
        }
        (None, Some(path)) => {
            let (path, text) = read(path)?;
            From::Compose(path, text, environment)
        }
        (None, None) => {
            let folder = file.parent().unwrap_or(file);
            let repository = git::work_tree(folder).ok();
            // Without git, or outside of a work tree, nothing is tracked.
            let tracked = git::tracked(repository.as_deref().unwrap_or(folder));
            From::Folder { repository, tracked: tracked.unwrap_or_default(), environment }
        }
    })
}

fn failed(error: InitError) -> CommandError {
    let message = error.to_string();
    match error {
        InitError::NoDockerfile(_) => usage(message).hint(
            "they are called `Dockerfile`, `Dockerfile.x`, `x.Dockerfile` or `Containerfile`; `init` does not \
             read those that git ignores",
        ),
        InitError::Targets(TargetsError::Yaml(problem)) => {
            notice(&[*problem]);
            usage(message)
        }
        InitError::Targets(_) | InitError::NoneReadable { .. } => usage(message),
        InitError::Unsafe => CommandError::new(Exit::Internal, message)
            .hint("nothing was written; please report this repository as a bug"),
    }
}

fn notice(problems: &[Diagnostic]) {
    let current_dir = env::current_dir().unwrap_or_default();
    let rendering = Rendering { colour: output::stderr_has_colour(), current_dir: &current_dir };
    for problem in Diagnostic::render_all(problems.iter(), rendering) {
        output::notice(&problem);
    }
}

/// Nothing that is there is lost, even if it came there a moment ago.
fn write(file: &Path, text: &str, force: bool) -> Result<(), CommandError> {
    let failed = |error: std::io::Error| match error.kind() {
        std::io::ErrorKind::AlreadyExists => {
            usage(format!("`{}` is already there", file.display())).hint("`--force` writes over it")
        }
        _ => CommandError::new(
            Exit::Internal,
            format!("`{}` cannot be written: {error}", file.display()),
        ),
    };
    if force {
        return owner::replace(file, text.as_bytes()).map_err(failed);
    }
    let mut opened = fs::File::create_new(file).map_err(failed)?;
    opened.write_all(text.as_bytes()).and_then(|()| opened.sync_all()).map_err(failed)
}

fn answer(text: &str) -> Result<(), CommandError> {
    output::answer(text.as_bytes())
        .map_err(|error| CommandError::new(Exit::Internal, format!("cannot write: {error}")))
}

/// Sentences for the user.
fn view(text: &str) -> Result<(), CommandError> {
    output::view(text.as_bytes(), true)
        .map_err(|error| CommandError::new(Exit::Internal, format!("cannot write: {error}")))
}

/// Prints the warnings that no line below `unsure:` contains.
fn other_warnings(warnings: &[Diagnostic], unsure: &[UnsureLine]) {
    let is_known = |warning: &&Diagnostic| {
        let image = warning.excerpts.first().and_then(|excerpt| {
            let span = excerpt.labels.first()?.span.clone();
            excerpt.source.text.get(span)
        });
        warning.code == Some(RuleCode::UnknownTag)
            && image.is_some_and(|image| {
                unsure.iter().any(|line| line.whole.contains(&format!("`{image}`")))
            })
    };
    let others: Vec<_> = warnings.iter().filter(|one| !is_known(one)).cloned().collect();
    notice(&others);
}

/// The tree, what is to be looked at, and what to type next.
fn tell(
    proposal: &Proposal,
    file: &Path,
    (common, arguments): (&Common, &InitArgs),
) -> Result<Exit, CommandError> {
    let mut text = String::new();
    if let Ok(loaded) = &proposal.loaded {
        text.push_str(&tree(&loaded.hierarchy)?);
    }
    let explained = if arguments.explain { &proposal.explained[..] } else { &[] };
    text.push_str(&lists(&[
        ("explained", explained),
        ("left out", &left_out(&proposal.left_out, arguments)),
        ("unsure", &unsure(&proposal.unsure, arguments)),
    ]));
    let problems = match &proposal.loaded {
        Ok(loaded) => &loaded.warnings,
        Err(error) => &error.problems,
    };
    let shown = shown(file);
    let verb = if arguments.dry_run { "would write" } else { "wrote" };
    _ = match &proposal.loaded {
        Ok(loaded) => writeln!(text, "\n{verb} `{shown}`: {}", size(loaded)),
        Err(_) => writeln!(text, "\n{verb} `{shown}`, which is not right yet"),
    };
    if let (Ok(loaded), false) = (&proposal.loaded, arguments.dry_run) {
        let next = next(file);
        _ = match common.registry.as_ref().or(loaded.hierarchy.registry.as_ref()) {
            None => writeln!(text, "next: `{next}`"),
            Some(registry) => writeln!(
                text,
                "next: `{next} --no-registry`; without `--no-registry`, rebuild reads and publishes at `{registry}`"
            ),
        };
    }
    if proposal.loaded.is_ok() {
        other_warnings(problems, &proposal.unsure);
    }
    if arguments.dry_run {
        output::line(text.trim_start_matches('\n').trim_end());
    } else {
        view(text.trim_start_matches('\n'))?;
    }
    if proposal.loaded.is_err() {
        notice(problems);
        return Err(usage(project::told_where(problems, file, self::shown))
            .hint("correct the text there, and then try `rebuild plan`"));
    }
    Ok(ending(arguments, &proposal.unsure))
}

fn ending(arguments: &InitArgs, unsure: &[UnsureLine]) -> Exit {
    if arguments.strict && !unsure.is_empty() { Exit::Work } else { Exit::Done }
}

/// Lines below headings.
fn lists(all: &[(&str, &[String])]) -> String {
    let mut text = String::new();
    for (what, lines) in all.iter().filter(|(_, lines)| !lines.is_empty()) {
        _ = writeln!(text, "\n{what}:");
        for line in *lines {
            // A name of a file may have line breaks.
            _ = writeln!(text, "  {}", sanitize::text(line));
        }
    }
    text
}

fn left_out(all: &[LeftOut], arguments: &InitArgs) -> Vec<String> {
    if arguments.verbose {
        all.iter().flat_map(whole).collect()
    } else {
        all.iter().map(ToString::to_string).collect()
    }
}

fn unsure(all: &[UnsureLine], arguments: &InitArgs) -> Vec<String> {
    if arguments.verbose {
        return all.iter().map(|line| line.whole.clone()).collect();
    }
    let is_cut = all.iter().any(|line| line.short != line.whole);
    // Without `--dry-run`, an update has written the images that its lines are about.
    let can_repeat = !arguments.update || arguments.dry_run;
    let hint = "`-v` with `--dry-run` names the others".to_owned();
    let lines = all.iter().map(|line| line.short.clone());
    lines.chain((is_cut && can_repeat).then_some(hint)).collect()
}

/// Longer trees are cut.
const LINES: usize = 60;

/// Each image below its base.
fn tree(hierarchy: &Hierarchy) -> Result<String, CommandError> {
    let shown = hierarchy.in_build_order().map(|node| node.name.clone()).collect();
    let view = tree::TreeView { hierarchy, shown: &shown, standings: None };
    let mut text = Vec::new();
    tree::text(view, (Timestamp::now(), None), (false, &mut text))
        .map_err(|error| CommandError::new(Exit::Internal, format!("cannot write: {error}")))?;
    let text = String::from_utf8_lossy(&text);
    let mut lines: Vec<&str> = text.lines().take(LINES).collect();
    let more = text.lines().count().saturating_sub(LINES);
    let rest = format!("… and {more} more: `rebuild tree` shows all");
    lines.extend((more > 0).then_some(rest.as_str()));
    Ok(lines.join("\n") + "\n")
}

/// A cause, and every file that it concerns.
fn whole(one: &LeftOut) -> Vec<String> {
    let head = format!("{} ({}):", one.cause, count(one.places.len(), "file"));
    [head].into_iter().chain(one.places.iter().map(|place| format!("  {place}"))).collect()
}

fn size(loaded: &Loaded) -> String {
    let hierarchy = &loaded.hierarchy;
    let edges: usize =
        hierarchy.in_build_order().map(|node| hierarchy.parents(&node.name).count()).sum();
    // An image whose Dockerfile cannot be read without the value of an argument is a warning.
    let lacks_value = |one: &&Diagnostic| one.code == Some(RuleCode::BrokenDockerfile);
    let lacking = match loaded.warnings.iter().filter(lacks_value).count() {
        0 => String::new(),
        n => format!(", and {} without a value that it needs", count(n, "image")),
    };
    format!("{}, {}{lacking}", count(hierarchy.images(), "image"), count(edges, "edge"))
}

/// As short as it can be said from here.
fn shown(file: &Path) -> String {
    let here = env::current_dir().and_then(|here| here.canonicalize()).unwrap_or_default();
    file.strip_prefix(here).unwrap_or(file).display().to_string()
}

fn next(file: &Path) -> String {
    let path = shown(file);
    match path.strip_suffix(FILE) {
        Some("") => "rebuild plan".to_owned(),
        Some(folder) => format!("rebuild -C {} plan", folder.trim_end_matches('/')),
        None => format!("rebuild -f {path} plan"),
    }
}
