//! Advice on Dockerfiles: their bases, their downloads, their secrets.

use std::sync::Arc;

use super::{Problems, line, read};
use crate::{
    check::{diagnostic::Diagnostic, rules::RuleCode},
    hierarchy::{Base, load::HierarchySurvey, named_contexts::is_scp, secrets::looks_secret},
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
                    match files.scan.uses.iter().find(|image| image.span == used.span) {
                        Some(image) if !image.is_from && image.is_word() && image.image == repository => {
                            format!("there is no stage `{}`, so it names an upstream; {VERSIONS}", image.image)
                        }
                        _ => VERSIONS.to_owned(),
                    },
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
    // A checksum of a git repository is a commit.
    if rest.split(' ').any(|word| word.starts_with("--checksum=")) {
        return None;
    }
    let words = rest.split(' ').filter(|word| !word.starts_with("--"));
    let words = words.map(|word| word.trim_matches(['"', '[', ',', ']']));
    let (url, hint) = words.into_iter().find_map(|word| match GitSource::read(word) {
        Some(git) => (!git.is_fixed()).then_some((word, COMMIT)),
        None => is_web(word).then_some((word, CHECKSUM)),
    })?;
    let message = format!("no image is rebuilt when `{url}` changes");
    Some((RuleCode::UnsummedAdd, message, hint.to_owned()))
}

const CHECKSUM: &str = "add `--checksum=sha256:…`: the build fails when the file changes, and a new checksum is a change of the Dockerfile";
const COMMIT: &str =
    "name the full commit, `#<commit>`: a new commit is then a change of the Dockerfile";

fn is_web(url: &str) -> bool {
    url.starts_with("https://") || url.starts_with("http://")
}

/// A git repository as a source of `ADD`: <https://docs.docker.com/reference/dockerfile/#adding-files-from-a-git-repository>.
struct GitSource<'a> {
    /// The branch, the tag or the commit; empty for the default branch.
    reference: &'a str,
    /// The build fails if the ref is another commit.
    has_checksum: bool,
}

impl<'a> GitSource<'a> {
    /// `None` for files.
    fn read(source: &'a str) -> Option<Self> {
        let (url, fragment) = source.split_once('#').unwrap_or((source, ""));
        let (url, query) = url.split_once('?').unwrap_or((url, ""));
        let is_git = url.starts_with("ssh://") || url.starts_with("git://");
        let is_web_git = is_web(url) && url.strip_suffix(".git").is_some();
        if !is_git && !is_scp(url) && !is_web_git {
            return None;
        }
        let mut reference = fragment.split(':').next().unwrap_or_default();
        let mut has_checksum = false;
        for (key, value) in query.split('&').filter_map(|field| field.split_once('=')) {
            match key {
                "ref" => reference = value,
                "checksum" | "commit" => has_checksum = true,
                _ => {}
            }
        }
        Some(Self { reference, has_checksum })
    }

    /// Whether it names a full commit of SHA-1 or SHA-256. The value of a variable may be one.
    fn is_fixed(&self) -> bool {
        let is_commit = matches!(self.reference.len(), 40 | 64)
            && self.reference.bytes().all(|byte| byte.is_ascii_hexdigit());
        self.has_checksum || is_commit || self.reference.starts_with('$')
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn git_sources_need_a_full_commit() {
        let sha1 = "0123456789abcdef0123456789abcdef01234567";
        let sha256 = sha1.repeat(2)[..64].to_owned();
        let hint = |source: &str| fetched(&format!("{source} /x")).map(|(_, _, hint)| hint);
        for floating in [
            "https://github.com/acme/x.git",
            "https://github.com/acme/x.git#v1.0",
            "http://h/x.git#main:sub",
            "https://h/x.git#:sub",
            "https://h/x.git?ref=v1.0",
            "https://h/x.git?tag=v1&subdir=a",
            "git@github.com:acme/x.git#v1.0",
            "ssh://git@github.com/acme/x#v1.0",
            "git://h/x.git",
            "--keep-git-dir=true git@github.com:acme/x.git#0123456",
            "[\"https://h/x.git#v1\",",
        ] {
            assert_eq!(hint(floating).as_deref(), Some(COMMIT), "{floating}");
        }
        for fixed in [
            format!("https://github.com/acme/x.git#{sha1}"),
            format!("https://github.com/acme/x.git#{sha1}:sub"),
            format!("git@github.com:acme/x.git#{sha256}"),
            format!("https://h/x.git?ref={sha1}"),
            format!("https://h/x.git?tag=v1&commit={sha1}"),
            "https://h/x.git?branch=main&checksum=0123456".to_owned(),
            format!("--checksum={sha1} https://h/x.git#v1"),
            "https://h/x.git#${COMMIT}".to_owned(),
            "src/a@b:c".to_owned(),
        ] {
            assert_eq!(hint(&fixed), None, "{fixed}");
        }
        assert_eq!(hint("https://h/x.tar.gz").as_deref(), Some(CHECKSUM));
        assert_eq!(hint("a https://h/x.git.tar").as_deref(), Some(CHECKSUM));
    }
}
