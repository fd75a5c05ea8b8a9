//! `rebuild serve`: the server, made of the command line.

use std::{
    env,
    ffi::OsString,
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};

use super::{error::CommandError, output, project, signals};
use crate::{
    check::diagnostic::{Diagnostic, Rendering},
    commands::cli::{Common, RepositoryArg, ServeArgs},
    exit::Exit,
    host::environment,
    run::state,
    serve::{self, HierarchySource, ServeError, ServeOptions},
};

/// The secret of webhooks, if no file has it.
const WEBHOOK_SECRET: &str = "REBUILD_WEBHOOK_SECRET";
/// The most problems of the files that the page shows.
const PROBLEMS: usize = 20;
/// The shortest secret and token: they are not meant to be remembered.
const SHORTEST: usize = 8;

pub(super) async fn serve(common: &Common, arguments: &ServeArgs) -> Result<Exit, CommandError> {
    let mut stops = signals::listen()
        .map_err(|error| CommandError::new(Exit::Internal, format!("no signals: {error}")))?;
    output::choose_colour(common.color);
    let data = arguments.data.clone().unwrap_or_else(state::serve_folder);
    let data = std::path::absolute(&data).unwrap_or(data);
    let options = ServeOptions {
        listen: arguments.listen,
        hierarchies: hierarchies(common, &arguments.repositories, &data)?,
        data,
        load: load(common),
        program: program()?,
        global_arguments: global_arguments(common),
        run_arguments: run_arguments(arguments),
        webhook_secret: match &arguments.webhook_secret_file {
            Some(file) => Some(secret(file)?),
            None => environment(WEBHOOK_SECRET),
        },
        token: arguments.token_file.as_deref().map(secret).transpose()?,
        trusted_header: arguments.trusted_header.clone(),
        public_hosts: arguments.public_host.clone(),
        poll: arguments.poll,
        audit: arguments.audit.clone(),
    };
    for (name, source) in &options.hierarchies {
        output::line(&format!("hierarchy `{name}`: {}", source.shown()));
    }
    let (takes_webhooks, takes_actions) = (
        options.webhook_secret.is_some(),
        options.token.is_some() || options.trusted_header.is_some(),
    );
    let listening = serve::listen(options).await.map_err(|error| {
        let hint = match &error {
            ServeError::Listen { .. } => "`--listen 127.0.0.1:0` takes a free port",
            ServeError::InUse(_) => "`--data DIR` gives each server a folder of its own",
            ServeError::Database(_) | ServeError::Data { .. } => {
                "`--data DIR` names a folder that this user may write to"
            }
        };
        CommandError::new(Exit::Usage, error.to_string()).hint(hint)
    })?;
    if let Some(damaged) = &listening.damaged {
        output::warning(&format!(
            "the database was damaged: it is now `{}`, and past runs are read from their records",
            damaged.display()
        ));
    }
    if !takes_webhooks {
        output::line("webhooks: refused; `--webhook-secret-file FILE` allows them");
    }
    if !takes_actions {
        output::line("actions: refused; `--token-file FILE` allows them");
    }
    // The last line: a program that waits for it may begin.
    output::line(&format!("serving http://{}; Ctrl-C ends", listening.address));
    let stop = async { _ = stops.recv().await };
    listening.serve(stop, |runs| output::line(&stopping(runs))).await;
    Ok(Exit::Done)
}

/// What the end of the server waits for.
fn stopping(runs: usize) -> String {
    let (them, it) = match runs {
        0 => return "stopping".to_owned(),
        1 => ("the current run".to_owned(), "it"),
        n => (format!("{n} runs"), "them"),
    };
    format!(
        "stopping: cancels {them} and waits at most 10 seconds; a promotion that has begun finishes first\n\
         the next start of the server begins {it} again; a second Ctrl-C ends the server at once"
    )
}

/// `rebuild` itself, also after its file was replaced.
fn program() -> Result<PathBuf, CommandError> {
    env::current_exe().map_err(|error| {
        CommandError::new(Exit::Internal, format!("the program does not find itself: {error}"))
    })
}

fn load(common: &Common) -> Arc<serve::LoadHierarchy> {
    let options = project::load_options(common);
    let no_registry = common.no_registry;
    Arc::new(move |file: &Path| {
        if !file.is_file() {
            return Err(format!("`{}` does not exist", file.display()));
        }
        let folder = file.parent().unwrap_or(file);
        let shown = |problems: &[Diagnostic]| {
            let rendering = Rendering { colour: false, current_dir: folder };
            Diagnostic::render_all(problems.iter().take(PROBLEMS), rendering).join("\n")
        };
        let mut loaded = crate::hierarchy::Hierarchy::load(file, &options)
            .map_err(|error| shown(&error.problems))?
            .hierarchy;
        if no_registry {
            loaded.take_registry();
        }
        Ok(loaded)
    })
}

/// The hierarchies to serve: the repositories, and the file here unless only repositories are named.
fn hierarchies(
    common: &Common,
    repositories: &[RepositoryArg],
    data: &Path,
) -> Result<Vec<(String, HierarchySource)>, CommandError> {
    let mut hierarchies: Vec<(String, HierarchySource)> = Vec::new();
    let mut add = |name: &str, source: HierarchySource| {
        if hierarchies.iter().any(|(_, other)| *other == source) {
            let error = format!("{} is named twice", source.shown());
            return Err(CommandError::new(Exit::Usage, error));
        }
        let name = slug(name);
        let is_used = |name: &String| hierarchies.iter().any(|(other, _)| other == name);
        let mut names = (2..).map(|n| format!("{name}-{n}"));
        let name = if is_used(&name) { names.find(|name| !is_used(name)) } else { Some(name) };
        hierarchies.push((name.unwrap_or_default(), source));
        Ok(())
    };
    if repositories.is_empty() || common.file.is_some() {
        let file = project::find(common)?;
        let file = fs::canonicalize(&file).unwrap_or(file);
        let folder = file.parent().and_then(Path::file_name).unwrap_or_default();
        add(&folder.to_string_lossy(), HierarchySource::File(file.clone()))?;
    }
    for RepositoryArg { url, branch, path } in repositories {
        let last = url.trim_end_matches('/').rsplit(['/', ':']).next().unwrap_or_default();
        let name = last.trim_end_matches(".git");
        let part = path.file_name().map(|part| format!("{name}-{}", part.to_string_lossy()));
        let name = part.unwrap_or_else(|| name.to_owned());
        // Two branches of one repository are two clones.
        let key = format!("{url}#{}:{}", branch.as_deref().unwrap_or_default(), path.display());
        let key = crate::image::Digest::of(key.as_bytes());
        let folder = data.join("repositories").join(format!("{}-{}", slug(&name), &key.hex()[..8]));
        let url = match Path::new(url).canonicalize() {
            // A folder of this machine: git runs in another one.
            Ok(folder) => folder.display().to_string(),
            Err(_) => url.clone(),
        };
        let source =
            HierarchySource::Clone { url, branch: branch.clone(), path: path.clone(), folder };
        add(&name, source)?;
    }
    Ok(hierarchies)
}

/// A name for an address and for a label.
fn slug(name: &str) -> String {
    let is_good = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    let slug: String = name.chars().map(|c| if is_good(c) { c } else { '-' }).collect();
    let slug = slug.trim_matches(['.', '-']).to_lowercase();
    if slug.is_empty() { "hierarchy".to_owned() } else { slug }
}

/// A secret of one line.
fn secret(file: &Path) -> Result<String, CommandError> {
    let usage = |message: String| CommandError::new(Exit::Usage, message);
    let text = fs::read_to_string(file)
        .map_err(|error| usage(format!("`{}` cannot be read: {error}", file.display())))?;
    let text = text.trim();
    if text.len() < SHORTEST || text.contains('\n') {
        let error = usage(format!("`{}` does not contain a secret", file.display()));
        let hint = format!(
            "one line with at least {SHORTEST} characters, such as `openssl rand -hex 32` prints"
        );
        return Err(error.hint(hint));
    }
    Ok(text.to_owned())
}

/// The global options, for the commands that the server starts.
fn global_arguments(common: &Common) -> Vec<OsString> {
    let mut arguments: Vec<OsString> = Vec::new();
    let mut option = |name: &str, value: String| {
        arguments.extend([OsString::from(name), OsString::from(value)]);
    };
    if let Some(registry) = &common.registry {
        option("--registry", registry.to_string());
    }
    for argument in &common.build_args {
        let place = match &argument.image {
            Some(image) => format!("{image}.{}", argument.name),
            None => argument.name.clone(),
        };
        option("--build-arg", format!("{place}={}", argument.value));
    }
    for field in &common.fields {
        option("--set", format!("{}.{}={}", field.image, field.field, field.value));
    }
    for engine in &common.engines {
        option("--engine", engine.url.clone());
    }
    let switches = [
        ("--no-registry", common.no_registry),
        ("--offline", common.offline),
        ("--untrusted", common.untrusted),
        ("--emulate", common.emulate),
    ];
    arguments.extend(switches.iter().filter(|(_, on)| *on).map(|(name, _)| OsString::from(name)));
    arguments
}

fn run_arguments(arguments: &ServeArgs) -> Vec<OsString> {
    let mut run: Vec<OsString> = Vec::new();
    if let Some(jobs) = arguments.jobs {
        run.extend(["--jobs".into(), jobs.to_string().into()]);
    }
    if arguments.keep_going {
        run.push("--keep-going".into());
    }
    run
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_the_server_names_what_it_waits_for_and_the_second_signal() {
        assert_eq!(stopping(0), "stopping");
        assert_eq!(
            stopping(1),
            "stopping: cancels the current run and waits at most 10 seconds; a promotion that has begun finishes first\n\
             the next start of the server begins it again; a second Ctrl-C ends the server at once"
        );
        assert!(
            stopping(2).contains("cancels 2 runs") && stopping(2).contains("begins them again")
        );
    }
}
