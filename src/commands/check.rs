//! `rebuild check`: everything that can be said of the files; `rebuild explain` and `rebuild schema`,
//! what they should be.

use std::{
    collections::{BTreeMap, BTreeSet},
    env,
    error::Error as _,
    path::{Path, PathBuf},
};

use super::{
    error::CommandError,
    output,
    project::{find, load_options},
};
use crate::{
    check::{
        diagnostic::{Diagnostic, Rendering, Severity, SourceFile, names},
        rules::{self, RuleCode},
    },
    commands::cli::{CheckArgs, CheckFormat, Common, FailOn, SeverityArg},
    exit::Exit,
    fingerprint::context::{Context, ContextEntry, ContextError},
    hierarchy::{Hierarchy, LoadOptions, Loaded, Node, json_schema, path_in_context},
    host::git,
    report::check::{self, Findings},
};

pub(super) fn check(common: &Common, arguments: &CheckArgs) -> Result<Exit, CommandError> {
    output::choose_colour(common.color);
    let file = find(common)?;
    let mut checked = Hierarchy::check(&file, &load_options(common));
    if !checked.problems.iter().any(|problem| problem.severity == Severity::Error) {
        checked.problems.splice(0..0, contexts(&file, &load_options(common)));
    }
    let severity = match arguments.severity {
        SeverityArg::Error => Severity::Error,
        SeverityArg::Warning => Severity::Warning,
        SeverityArg::Note => Severity::Note,
    };
    let fail_on = match arguments.fail_on {
        FailOn::Error => Some(Severity::Error),
        FailOn::Warning => Some(Severity::Warning),
        FailOn::Note => Some(Severity::Note),
        FailOn::Never => None,
    };
    // Nobody is told of an exit code without its reason.
    let least = fail_on.map_or(severity, |fail_on| fail_on.min(severity));
    let root = root(&file);
    let findings = Findings { checked: &checked, least, root: &root };
    let mut text = Vec::new();
    match arguments.format {
        CheckFormat::Text => {
            let current_dir = env::current_dir().unwrap_or_default();
            let colour = output::stdout_has_colour();
            check::text(findings, Rendering { colour, current_dir: &current_dir }, &mut text)
        }
        CheckFormat::Json => check::json(findings, &mut text),
        CheckFormat::Sarif => check::sarif(findings, &mut text),
        CheckFormat::Github => check::github(findings, &mut text),
    }
    .and_then(|()| match arguments.format {
        CheckFormat::Github => output::trusted(&text),
        format => output::view(&text, matches!(format, CheckFormat::Text)),
    })
    .map_err(|error| CommandError::new(Exit::Internal, format!("cannot write: {error}")))?;
    let fails = |fail_on| checked.problems.iter().any(|problem| problem.severity >= fail_on);
    Ok(if fail_on.is_some_and(fails) { Exit::Usage } else { Exit::Done })
}

/// Files of build contexts that a run could not send.
fn contexts(file: &Path, options: &LoadOptions) -> Vec<Diagnostic> {
    let Ok(Loaded { hierarchy, .. }) = Hierarchy::load(file, options) else { return Vec::new() };
    let mut contexts: BTreeMap<(&Path, &Path), Vec<&Node>> = BTreeMap::new();
    for node in hierarchy.in_build_order() {
        contexts.entry((&*node.context, &*node.dockerfile.path)).or_default().push(node);
    }
    let mut ignored = Vec::new();
    let problem = |((root, dockerfile), nodes): ((&Path, &Path), Vec<&Node>)| {
        let error = match Context::open(root, dockerfile).and_then(|context| context.entries()) {
            Ok(entries) => {
                ignored.extend(ignored_sources(root, &entries, &nodes));
                let path = entries.into_iter().find(|entry| !entry.is_text())?.path;
                ContextError::NotText { path }
            }
            Err(error) => error,
        };
        let cause = error.source().map_or(String::new(), |cause| format!(": {cause}"));
        let text = error.to_string() + &cause;
        let (message, hint) = text.split_once("\nhint: ").unwrap_or((&text, ""));
        let mut problem = Diagnostic::of(RuleCode::NotSendable, message).in_file(root);
        problem.hint = (!hint.is_empty()).then(|| hint.to_owned());
        if matches!(error, ContextError::NotText { .. }) {
            problem.severity = Severity::Warning;
        }
        Some(problem)
    };
    let mut problems: Vec<Diagnostic> = contexts.into_iter().filter_map(problem).collect();
    problems.extend(ignored);
    problems.sort_by_key(|problem| std::cmp::Reverse(problem.severity));
    problems
}

/// Files that a Dockerfile copies, that exist, and that `.dockerignore` excludes.
fn ignored_sources(root: &Path, entries: &[ContextEntry], nodes: &[&Node]) -> Vec<Diagnostic> {
    let sent: BTreeSet<&Path> = entries.iter().map(|entry| &*entry.path).collect();
    let mut missing: BTreeMap<(usize, String), Vec<&Node>> = BTreeMap::new();
    for node in nodes.iter().filter(|node| node.prepare.is_none()) {
        for (line, path) in node.copied_paths() {
            let inside = path_in_context(&path);
            let is_sent = inside.as_os_str().is_empty() || sent.contains(&*inside);
            // The builder follows a link to another folder, whose files are listed there.
            let is_linked = inside
                .ancestors()
                .skip(1)
                .any(|folder| !folder.as_os_str().is_empty() && root.join(folder).is_symlink());
            if !is_sent && !is_linked && root.join(&inside).symlink_metadata().is_ok() {
                missing.entry((line, path)).or_default().push(node);
            }
        }
    }
    let problem = |((line, path), nodes): ((usize, String), Vec<&Node>)| {
        let all: Vec<&str> = nodes.iter().map(|node| node.name.as_str()).collect();
        let message = format!(
            "`{path}` is not in the context of {}: `.dockerignore` excludes it",
            names(&all, 3)
        );
        let dockerfile = &nodes[0].dockerfile;
        let source = SourceFile::new(&*dockerfile.path, dockerfile.text.as_str());
        let start = source.offset(line, 1);
        let end = start + source.text[start..].lines().next().unwrap_or_default().len();
        let hint = format!("add `!{path}` to the end of `.dockerignore`");
        Diagnostic::of(RuleCode::MissingSource, message).at(&source, start..end, "").hint(hint)
    };
    missing.into_iter().map(problem).collect()
}

/// Of the git repository; without one the file's folder.
fn root(file: &Path) -> PathBuf {
    let file = std::path::absolute(file).unwrap_or_else(|_| file.to_owned());
    let folder = file.parent().unwrap_or(&file).to_owned();
    // git resolves links, and the paths of problems are as they were given.
    let Ok(top) = git::work_tree(&folder) else { return folder };
    let same = |above: &&Path| above.canonicalize().is_ok_and(|above| above == top);
    folder.ancestors().find(same).map_or(folder.clone(), Path::to_owned)
}

pub(super) fn explain(code: Option<&str>) -> Result<Exit, CommandError> {
    let text = match code {
        None => rules::summary() + "\n`rebuild explain RB040` says more of one\n",
        Some(code) => rules::explanation(code.parse::<RuleCode>().map_err(|error| {
            let number = code.trim_start_matches(|c: char| !c.is_ascii_digit()).parse::<u16>();
            let meant = number.ok().and_then(|n| format!("RB{n:03}").parse::<RuleCode>().ok());
            CommandError::new(Exit::Usage, error.to_string()).hint(match meant {
                Some(meant) => format!("did you mean `{meant}`?"),
                None => "`rebuild explain` lists all rules".to_owned(),
            })
        })?),
    };
    answer(&text)
}

pub(super) fn schema() -> Result<Exit, CommandError> {
    answer(&json_schema())
}

fn answer(text: &str) -> Result<Exit, CommandError> {
    output::answer(text.as_bytes())
        .map_err(|error| CommandError::new(Exit::Internal, format!("cannot write: {error}")))?;
    Ok(Exit::Done)
}
