//! Advice on Dockerfiles: their bases, their downloads, their secrets.

use std::sync::Arc;

use super::{Problems, line, read};
use crate::{
    check::{diagnostic::Diagnostic, rules::RuleCode},
    hierarchy::{Base, load::HierarchySurvey, secrets::looks_secret},
};

pub(super) fn look(survey: &HierarchySurvey) -> Problems {
    let mut problems = upstreams(survey);
    for (_, files) in read(survey) {
        let source = &files.dockerfile;
        for one in &files.scan.instructions {
            let (name, rest) = one.text.split_once(' ').unwrap_or((&one.text, ""));
            let found = match name {
                "ADD" => fetched(rest),
                "ARG" | "ENV" => given_away(name, rest),
                _ => None,
            };
            let Some((code, message, hint)) = found else { continue };
            let problem = Diagnostic::of(code, message);
            let span = line(source, one.line);
            // The line may contain the secret itself.
            let problem = match code {
                RuleCode::SecretInDockerfile => problem.at_secret(source, span),
                _ => problem.at(source, span, ""),
            };
            problems.push(problem.hint(hint));
        }
    }
    problems
}

const VERSIONS: &str = "name a line of versions by its tag, such as `12` or `3.4`";

/// Upstreams that may become something else.
fn upstreams(survey: &HierarchySurvey) -> Problems {
    let mut problems = Vec::new();
    for (files, uses) in survey.files.iter().zip(&survey.uses) {
        let Some(files) = files else { continue };
        for used in uses {
            let Base::Upstream(reference) = &used.base else { continue };
            // Its place is in the Dockerfile of the base.
            if reference.digest.is_some() || used.on_build.is_some() {
                continue;
            }
            // Probably it is not meant to be an upstream.
            let is_doubtful = survey.problems.found.iter().any(|problem| {
                problem.excerpts.first().is_some_and(|excerpt| {
                    Arc::ptr_eq(&excerpt.source, &files.dockerfile)
                        && excerpt.labels.first().is_some_and(|label| label.span == used.span)
                })
            });
            if is_doubtful {
                continue;
            }
            // The same words for the same image, however it is written.
            let repository = reference.repository.as_str();
            let repository = repository.strip_prefix("docker.io/").unwrap_or(repository);
            let repository = repository.strip_prefix("library/").unwrap_or(repository);
            let tag = reference.tag.as_ref().map(ToString::to_string);
            let (code, message, hint) = match tag.as_deref() {
                None => (
                    RuleCode::Floating,
                    format!("`{repository}` may be any version: it has no tag"),
                    VERSIONS.to_owned(),
                ),
                Some("latest") => (
                    RuleCode::Floating,
                    format!("`{repository}:latest` may be any version"),
                    VERSIONS.to_owned(),
                ),
                Some(tag) => (
                    RuleCode::NoDigest,
                    format!("`{repository}:{tag}` is not pinned to a digest"),
                    "it is rebuilt whenever that tag moves; pin it if each change should be a commit"
                        .to_owned(),
                ),
            };
            let problem = Diagnostic::of(code, message);
            problems.push(problem.at(&files.dockerfile, used.span.clone(), "").hint(hint));
        }
    }
    problems
}

type Found = Option<(RuleCode, String, String)>;

fn fetched(rest: &str) -> Found {
    let is_summed = rest.split(' ').any(|word| word.starts_with("--checksum="));
    let is_file = |word: &&str| {
        let word = word.trim_matches(['"', '[', ',']);
        let is_repository = word.strip_suffix(".git").is_some();
        (word.starts_with("https://") || word.starts_with("http://")) && !is_repository
    };
    let url = rest.split(' ').find(is_file).filter(|_| !is_summed)?;
    let url = url.trim_matches(['"', '[', ',']);
    Some((
        RuleCode::UnsummedAdd,
        format!("no image is rebuilt when `{url}` changes"),
        "add `--checksum=sha256:…`: the build fails when the file changes, and a new checksum is a change of the Dockerfile".to_owned(),
    ))
}

fn given_away(instruction: &str, rest: &str) -> Found {
    let is_old = instruction == "ENV" && !rest.split(' ').next().unwrap_or_default().contains('=');
    // `ENV name value` has one name; the other form has many.
    let words = rest.split(' ').take(if is_old { 1 } else { usize::MAX });
    let mut names = words.map(|word| word.split('=').next().unwrap_or(word));
    let name = names.find(|name| {
        let is_name = name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
        // `ENV PASSWORD_FILE=/run/…` says where it is.
        let is_file = name.to_ascii_uppercase().ends_with("_FILE");
        is_name && !is_file && looks_secret(name)
    })?;
    Some((
        RuleCode::SecretInDockerfile,
        format!("`{instruction} {name}` looks like a secret, and can be read from the image"),
        "take it with `RUN --mount=type=secret,id=…`, and name it under `secrets`".to_owned(),
    ))
}
