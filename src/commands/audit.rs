//! `rebuild audit`: which images of a registry are based on an outdated base.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::{self, Read as _},
    path::Path,
    pin::pin,
    sync::atomic::Ordering,
    time::Duration,
};

use jiff::Timestamp;
use tokio::time::timeout;

use super::{
    connections::registries,
    error::CommandError,
    history::past_runs,
    output,
    project::{load_names, start},
    signals,
};
use crate::{
    audit::{Audit, BaseMove},
    commands::cli::{AuditArgs, AuditFormat, Common, RegistryPath},
    exit::Exit,
    hierarchy::Hierarchy,
    host::bounded,
    image::{Reference, Repository, Tag},
    publish::store::RemoteTags,
    registry::{Client, RegistryError},
    report::{
        self,
        audit::{self as view, AuditView},
        count,
    },
    run::audit::{AuditProgress, AuditRequest, Fleet, audit as read_and_decide},
};

/// How often the progress is reported.
const PROGRESS: Duration = Duration::from_secs(5);
/// The runs whose records tell the history of a tag.
const RUNS: usize = 200;
/// A list of more text is not one of images.
const LONGEST_LIST: u64 = 64 * 1024 * 1024;
/// So many problems are printed.
const PROBLEMS: usize = 5;

pub(super) async fn audit(common: &Common, arguments: &AuditArgs) -> Result<Exit, CommandError> {
    let mut stops = signals::listen()
        .map_err(|error| CommandError::new(Exit::Internal, format!("no signals: {error}")))?;
    output::choose_colour(common.color);
    let client = registries()?;
    let hierarchy = hierarchy(common)?;
    let arguments = &with_fleet(common, arguments, hierarchy.as_ref())?;
    let work = async {
        let request = request(common, (arguments, hierarchy.as_ref()), &client).await?;
        let progress = AuditProgress::default();
        let audited = read_and_decide(&client, &request, &progress);
        showing_progress(&progress, audited).await.map_err(|error| unlisted(error, arguments))
    };
    let audited = signals::unless_stopped(&mut stops, Box::pin(work)).await?;
    tell_unread(&audited);
    if audited.findings.is_empty() && audited.unread.is_empty() {
        return Err(nothing(arguments));
    }
    print(&audited, arguments)?;
    let is_behind = audited.counts().behind > 0;
    Ok(if arguments.exit_code && is_behind { Exit::Work } else { Exit::Done })
}

async fn request(
    common: &Common,
    (arguments, hierarchy): (&AuditArgs, Option<&Hierarchy>),
    client: &Client,
) -> Result<AuditRequest, CommandError> {
    let fleet = match (&arguments.fleet, &arguments.images) {
        (_, Some(path)) => Fleet::Images(listed(&start(common)?, path)?),
        (Some(registry), None) => {
            Fleet::Registry { host: registry.host.clone(), below: registry.path.clone() }
        }
        (None, None) => Fleet::Images(Vec::new()),
    };
    let (mut bases, mut nodes, mut moves) = (BTreeMap::new(), BTreeMap::new(), Vec::new());
    if let Some(hierarchy) = hierarchy {
        bases.extend(repositories(hierarchy).into_iter().map(|name| (name, None)));
        nodes = moving_tags(hierarchy);
        moves = past_moves(hierarchy, client).await?;
    }
    missing_bases(client, arguments).await;
    for base in &arguments.bases {
        bases.insert(base.repository.clone(), base.tag.clone());
    }
    let tags = arguments.tags.iter().cloned().collect();
    let owner_label = arguments.owner_label.clone();
    Ok(AuditRequest { fleet, bases, nodes, moves, tags, owner_label })
}

/// The arguments with the registry of the hierarchy, if they name nothing to audit.
fn with_fleet(
    common: &Common,
    arguments: &AuditArgs,
    hierarchy: Option<&Hierarchy>,
) -> Result<AuditArgs, CommandError> {
    if arguments.fleet.is_some() || arguments.images.is_some() {
        return Ok(arguments.clone());
    }
    let of_hierarchy = hierarchy.and_then(|hierarchy| hierarchy.registry.as_ref());
    let prefix = common.registry.as_ref().or(of_hierarchy);
    let fleet = prefix.and_then(RegistryPath::of).ok_or_else(|| {
        let why = match hierarchy {
            Some(_) => "hierarchy.yaml has no `registry`",
            None => "there is no hierarchy.yaml here",
        };
        CommandError::new(Exit::Usage, format!("there is no registry to audit: {why}"))
            .hint("name it: `rebuild audit registry.example.com/team`, or `--images FILE` for a list of images")
    })?;
    Ok(AuditArgs { fleet: Some(fleet), ..arguments.clone() })
}

/// The hierarchy, if there is one here or if the command line names one.
fn hierarchy(common: &Common) -> Result<Option<Hierarchy>, CommandError> {
    let is_named = common.file.is_some();
    if !is_named && Hierarchy::find_file(&start(common)?).is_ok_and(|file| file.is_none()) {
        return Ok(None);
    }
    load_names(common).map(Some)
}

fn repositories(hierarchy: &Hierarchy) -> BTreeSet<Repository> {
    let nodes = hierarchy.in_build_order().filter(|_| hierarchy.registry.is_some());
    nodes.flat_map(|node| node.repositories().cloned().collect::<Vec<_>>()).collect()
}

/// The first stable tag of each node, in each of its repositories.
fn moving_tags(hierarchy: &Hierarchy) -> BTreeMap<(Repository, String), Tag> {
    let mut tags = BTreeMap::new();
    for node in hierarchy.in_build_order() {
        let tag = node.stable_tags().find_map(|tag| tag.as_str().parse::<Tag>().ok());
        for (repository, tag) in node.repositories().zip(tag.iter().cycle()) {
            tags.insert((repository.clone(), node.name.to_string()), tag.clone());
        }
    }
    tags
}

/// The moves of moving tags by earlier runs, the oldest first.
async fn past_moves(hierarchy: &Hierarchy, client: &Client) -> Result<Vec<BaseMove>, CommandError> {
    let Some(prefix) = &hierarchy.registry else { return Ok(Vec::new()) };
    let tags = RemoteTags::new(client.clone(), prefix);
    let runs = past_runs(hierarchy, (&prefix.to_string(), &tags), RUNS).await?;
    let mut moves: Vec<BaseMove> = Vec::new();
    for run in runs.iter().rev() {
        moves.extend(run.standing().filter_map(|one| {
            Some(BaseMove { tag: one.tag.clone(), to: one.to.clone()?, at: run.committed() })
        }));
    }
    Ok(moves)
}

/// The names in a file or on stdin.
fn listed(folder: &Path, path: &Path) -> Result<Vec<Reference>, CommandError> {
    let usage = |message: String| CommandError::new(Exit::Usage, message);
    let text = if path == Path::new("-") {
        let mut text = String::new();
        let read = io::stdin().lock().take(LONGEST_LIST).read_to_string(&mut text);
        read.map_err(|error| usage(format!("stdin cannot be read: {error}")))?;
        text
    } else {
        let bytes = bounded::read(&folder.join(path), LONGEST_LIST)
            .map_err(|error| usage(format!("`{}` cannot be read: {error}", path.display())))?;
        String::from_utf8_lossy(&bytes).into_owned()
    };
    let lines = text.lines().enumerate();
    let lines = lines.map(|(n, line)| (n + 1, line.trim()));
    let mut names = BTreeSet::new();
    for (number, line) in lines.filter(|(_, line)| !line.is_empty() && !line.starts_with('#')) {
        let name = line
            .parse::<Reference>()
            .map_err(|error| usage(format!("line {number} of `{}`: {error}", path.display())))?;
        names.insert(name);
    }
    Ok(names.into_iter().collect())
}

async fn showing_progress<T>(progress: &AuditProgress, work: impl Future<Output = T>) -> T {
    let mut work = pin!(work);
    loop {
        if let Ok(done) = timeout(PROGRESS, &mut work).await {
            return done;
        }
        let [done, all, images] =
            [&progress.repositories, &progress.of_repositories, &progress.images]
                .map(|counter| counter.load(Ordering::Relaxed));
        let images = count(images, "image");
        output::line(&match all {
            0 => "listing the repositories".to_owned(),
            all if done < all => format!("read {images} in {done} of {all} repositories"),
            _ => format!("read {images}; reading the versions of the bases"),
        });
    }
}

/// What to do if a registry does not list its repositories.
fn unlisted(error: RegistryError, arguments: &AuditArgs) -> CommandError {
    let is_list = matches!(
        &error,
        RegistryError::Refused { action: "list", .. }
            | RegistryError::Answer { action: "list", .. }
    );
    let hint = error.hint();
    let error = CommandError::from(error);
    if !is_list || arguments.fleet.is_none() {
        return error;
    }
    let mut text =
        "name the images yourself: `rebuild audit --images FILE` reads a list, one name a line. \
                    GHCR, ECR and Docker Hub list their repositories by their own APIs only"
            .to_owned();
    if let Some(hint) = hint {
        text = format!("{hint}, or {text}");
    }
    error.hint(text)
}

/// The registry has no image for this command line.
fn nothing(arguments: &AuditArgs) -> CommandError {
    let place = match &arguments.fleet {
        Some(RegistryPath { host, path: None }) => format!("`{host}`"),
        Some(below) => format!("`{below}` or below that path"),
        None => "the registry for a name of the list".to_owned(),
    };
    let tags: Vec<String> = arguments.tags.iter().map(|tag| format!("`{tag}`")).collect();
    let of_tags = match tags.as_slice() {
        [] => String::new(),
        tags => format!(" with the tag {}", tags.join(" or ")),
    };
    CommandError::new(Exit::Usage, format!("there is no image{of_tags} in {place}"))
}

/// The bases of the command line that the registry does not have. An error is printed when their tags are read again.
async fn missing_bases(client: &Client, arguments: &AuditArgs) {
    for base in &arguments.bases {
        let Ok(tags) = client.tags(&base.repository).await else { continue };
        if tags.is_empty() || base.tag.as_ref().is_some_and(|tag| !tags.contains(tag)) {
            output::warning(&format!("`--base {base}` does not exist in the registry"));
        }
    }
}

fn tell_unread(audited: &Audit) {
    for (name, why) in audited.unread.iter().take(PROBLEMS) {
        output::warning(&format!("`{name}` was not read: {why}"));
    }
    let more = audited.unread.len().saturating_sub(PROBLEMS);
    if more > 0 {
        output::warning(&format!("{} not read", count(more, "more image")));
    }
}

fn print(audited: &Audit, arguments: &AuditArgs) -> Result<(), CommandError> {
    let place = match (&arguments.fleet, &arguments.images) {
        (Some(registry), _) => registry.to_string(),
        (None, Some(path)) if path == Path::new("-") => "a list of images".to_owned(),
        (None, path) => path.as_ref().map_or(String::new(), |path| path.display().to_string()),
    };
    let view =
        AuditView { audit: audited, place: &place, all: arguments.all, at: Timestamp::now() };
    let mut text = Vec::new();
    match arguments.format {
        AuditFormat::Text => {
            let columns = report::stdout_size().map(|(columns, _)| columns.into());
            view::text(view, columns, (output::stdout_has_colour(), &mut text))
        }
        AuditFormat::Json => view::json(view, &mut text),
        AuditFormat::Csv => view::csv(view, &mut text),
        AuditFormat::Html => {
            text = view::page(view).into();
            Ok(())
        }
    }
    .and_then(|()| match arguments.format {
        AuditFormat::Html => output::page(&text),
        format => output::view(&text, matches!(format, AuditFormat::Text)),
    })
    .map_err(|error| CommandError::new(Exit::Internal, format!("cannot write: {error}")))
}
