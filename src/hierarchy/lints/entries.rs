//! Advice on the entries of `hierarchy.yaml` and the folders that they name.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    ops::Range,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

use super::{Problems, read};
use crate::{
    check::{
        diagnostic::{self, Diagnostic},
        rules::RuleCode,
    },
    hierarchy::{
        Check, SecretSource, draft::Draft, files::DockerfileRead, load::HierarchySurvey, trust,
    },
};

/// How many images a problem names; it counts the others.
const NAMED: usize = 3;

pub(super) fn look(survey: &HierarchySurvey) -> Problems {
    let mut problems = Vec::new();
    let file = &survey.problems.source;
    let mut tell = |span: &Range<usize>, problem: Diagnostic, hint: &str| {
        problems.push(problem.at(file, span.clone(), "").hint(hint));
    };
    for (draft, files) in read(survey) {
        if let Some((program, hint)) = no_prepare(draft, files) {
            let message = format!("`{program}` of `prepare` cannot be run");
            let problem = Diagnostic::of(RuleCode::NoPrepare, message);
            tell(&draft.image.places.prepare, problem, hint);
        }
        if files.context.join(".git").exists() && !has_dockerignore(files) {
            let folder = files.context.strip_prefix(survey.root()).unwrap_or(&files.context);
            let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
            let message = format!("the `.git` in `{}` is a part of the context", folder.display());
            let span = draft.image.context.as_ref().map_or(&draft.span, |given| &given.span);
            let hint = "write a `.dockerignore` with the line `.git`";
            tell(span, Diagnostic::of(RuleCode::GitInContext, message), hint);
        }
        let dockerfile = (&files.dockerfile.path, "the Dockerfile", &draft.image.dockerfile);
        let context = (&files.context, "the context", &draft.image.context);
        // A checkout of git is in a temporary folder.
        let is_git = matches!(draft.image.git_context(), Ok(Some(_)));
        let outside = [context, dockerfile].into_iter().filter(|_| !is_git).find_map(
            |(path, what, given)| Some((trust::outside(path, survey.root())?, what, given)),
        );
        if let Some((real, what, given)) = outside {
            let message = format!("{what} of `{}` is outside: `{}`", draft.name, real.display());
            let span = given.as_ref().map_or(&draft.span, |given| &given.span);
            let hint = "keep it in the folder of hierarchy.yaml, or move hierarchy.yaml above both";
            tell(span, Diagnostic::of(RuleCode::PathOutside, message), hint);
        }
        for (word, span) in host_files(draft, files, survey.root()) {
            let message =
                format!("`{word}` is a file here, and nothing takes it into `{}`", draft.name);
            let hint = "copy it into the image, and name it as it is called there";
            tell(&span, Diagnostic::of(RuleCode::HostFileInTest, message), hint);
        }
    }
    problems.extend(shared_contexts(survey));
    for draft in &survey.drafts {
        for (id, source) in &draft.image.secrets.sources {
            let SecretSource::File(path) = source else { continue };
            if draft.image.secrets.optional.contains(id) {
                continue;
            }
            let span = draft.image.places.secrets.get(id);
            if let (false, Some(span)) = (survey.root().join(path).exists(), span) {
                let message = format!("the secret `{id}` is in a file that is not here");
                let hint = "a run that builds the image needs it";
                let problem = Diagnostic::of(RuleCode::NoSecretFile, message);
                problems.push(problem.at_name(file, span.clone()).hint(hint));
            }
        }
        let is_stable = draft.tags.iter().any(crate::hierarchy::TagTemplate::is_stable);
        if !draft.tags.is_empty() && !is_stable {
            let message = format!("no tag of `{}` stays the same", draft.name);
            let span = draft.image.tags.as_ref().map_or(&draft.span, |tags| &tags.span);
            let problem = Diagnostic::of(RuleCode::NoStableTag, message);
            let hint = "add one that people can name, such as `latest`";
            problems.push(problem.at(file, span.clone(), "").hint(hint));
        }
    }
    problems
}

/// Contexts without a `.dockerignore` that contain the folders of other images, each once.
fn shared_contexts(survey: &HierarchySurvey) -> Problems {
    let all: Vec<(&Draft, &DockerfileRead)> = read(survey).collect();
    let folder = |files: &DockerfileRead| files.dockerfile.path.parent().map(Path::to_owned);
    let mut contexts: BTreeMap<&Path, Vec<(&Draft, Option<PathBuf>)>> = BTreeMap::new();
    for (draft, files) in &all {
        let is_git = matches!(draft.image.git_context(), Ok(Some(_)));
        if !is_git && !has_dockerignore(files) {
            contexts.entry(&files.context).or_default().push((draft, folder(files)));
        }
    }
    let folders: BTreeSet<PathBuf> = all.iter().filter_map(|(_, files)| folder(files)).collect();
    let mut problems = Vec::new();
    for (context, images) in contexts {
        let inside = |folder: &&PathBuf| folder.starts_with(context) && *folder != context;
        let inside: Vec<&PathBuf> = folders.iter().filter(inside).collect();
        let other = |own: &Option<PathBuf>| {
            let is_other = |folder: &&&PathBuf| {
                own.as_ref().is_none_or(|own| !own.starts_with(folder) && !folder.starts_with(own))
            };
            inside.iter().find(is_other).copied()
        };
        let found: Vec<(&Draft, &PathBuf)> =
            images.iter().filter_map(|(draft, own)| Some((*draft, other(own)?))).collect();
        let Some((first, example)) = found.first() else { continue };
        let mut names: Vec<&str> = found.iter().map(|(draft, _)| draft.name.as_str()).collect();
        names.dedup();
        let example = example.strip_prefix(survey.root()).unwrap_or(example).display();
        let folder = context.strip_prefix(survey.root()).unwrap_or(context);
        let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
        let (all, first_name) = (diagnostic::names(&names, NAMED), &first.name);
        let message = format!(
            "the context `{}` of {all} contains other images: a change in `{example}` also rebuilds `{first_name}`",
            folder.display()
        );
        let span = first.image.context.as_ref().map_or(&first.span, |given| &given.span);
        let hint = "name the folders of the other images in `.dockerignore` in the context, or in \
                    `Dockerfile.dockerignore` beside each Dockerfile";
        let problem = Diagnostic::of(RuleCode::SharedContext, message);
        problems.push(problem.at(&survey.problems.source, span.clone(), "").hint(hint));
    }
    problems
}

pub(super) fn has_dockerignore(files: &DockerfileRead) -> bool {
    let mut own = files.dockerfile.path.clone().into_os_string();
    own.push(".dockerignore");
    files.context.join(".dockerignore").exists() || Path::new(&own).exists()
}

/// The program that does not exist, or cannot be executed.
fn no_prepare<'d>(draft: &'d Draft, files: &DockerfileRead) -> Option<(&'d str, &'static str)> {
    let program = draft.image.prepare.as_ref()?.first()?;
    // Others are looked for in `PATH`, which may be another one where it runs.
    if !program.contains('/') || program.starts_with('/') {
        return None;
    }
    match fs::metadata(files.context.join(program)) {
        Err(_) => Some((program, "there is no such file in the context")),
        Ok(found) if !found.is_file() => Some((program, "it is not a file")),
        Ok(found) if found.permissions().mode() & 0o111 == 0 => {
            Some((program, "it is not executable: `chmod +x` it, and commit that"))
        }
        Ok(_) => None,
    }
}

/// Words of tests that are files of this machine, while nothing of it is in the image.
fn host_files(draft: &Draft, files: &DockerfileRead, root: &Path) -> Vec<(String, Range<usize>)> {
    let takes_in = files.scan.instructions.iter().any(|one| {
        let rest = one.text.strip_prefix("COPY ").or_else(|| one.text.strip_prefix("ADD "));
        rest.is_some_and(|rest| !rest.split(' ').any(|word| word.starts_with("--from=")))
            || one.text.contains("type=bind")
    });
    if takes_in {
        return Vec::new();
    }
    let is_here = |word: &&String| {
        word.contains('/')
            && Path::new(word).is_relative()
            && (root.join(word).is_file() || files.context.join(word).is_file())
    };
    let tests = draft.image.test.iter().flatten().zip(&draft.image.places.tests);
    tests
        .filter_map(|(test, span)| match &test.check {
            Check::Run { argv, .. } => Some((argv.iter().find(is_here)?.clone(), span.clone())),
            Check::Healthy => None,
        })
        .collect()
}
