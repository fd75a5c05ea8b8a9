//! What a Dockerfile takes from outside its images: files of the context, and secrets.

use std::path::{Path, PathBuf};

use super::{Problems, line, read};
use crate::{
    check::{diagnostic::Diagnostic, rules::RuleCode},
    dockerfile::Instruction,
    hierarchy::load::HierarchySurvey,
};

pub(super) fn look(survey: &HierarchySurvey) -> Problems {
    let mut problems = Vec::new();
    for (draft, files) in read(survey) {
        let instructions = &files.scan.instructions;
        let built = built(instructions, draft.image.target.is_some());
        for (one, is_built) in instructions.iter().zip(built) {
            let (name, rest) = one.text.split_once(' ').unwrap_or((&one.text, ""));
            let span = || line(&files.dockerfile, one.line);
            if is_built && draft.image.prepare.is_none() && matches!(name, "COPY" | "ADD") {
                for path in sources(rest).filter(|path| !is_there(&files.context, path)) {
                    let message = format!("`{path}` is not in the context of `{}`", draft.name);
                    let problem = Diagnostic::of(RuleCode::MissingSource, message);
                    let hint = "paths are relative to the build context, not to the Dockerfile";
                    problems.push(problem.at(&files.dockerfile, span(), "").hint(hint));
                }
            }
            for id in
                secrets(name, rest).filter(|id| !draft.image.secrets.sources.contains_key(*id))
            {
                let message = format!("`{}` has no secret `{id}`", draft.name);
                let problem = Diagnostic::of(RuleCode::UndeclaredSecret, message);
                let hint = format!(
                    "name its source in hierarchy.yaml: `secrets: {{ {id}: {{ env: NAME }} }}`"
                );
                problems.push(problem.at(&files.dockerfile, span(), "").hint(hint));
            }
        }
    }
    problems
}

/// Whether the builder comes to each instruction: it leaves out stages that the last one does not need.
fn built(instructions: &[Instruction], has_target: bool) -> Vec<bool> {
    let stage_of = |text: &str| {
        text.strip_prefix("FROM ").map(|rest| {
            let mut words = rest.split(' ').skip_while(|word| !word.eq_ignore_ascii_case("as"));
            words.nth(1).unwrap_or_default().to_ascii_lowercase()
        })
    };
    let last = instructions.iter().rposition(|one| stage_of(&one.text).is_some()).unwrap_or(0);
    let mut is_built = true;
    let mut number = 0;
    let each = instructions.iter().enumerate().map(|(n, one)| {
        if let Some(name) = stage_of(&one.text) {
            let is_named = instructions[n + 1..].iter().any(|later| {
                let mut words = later.text.split([' ', '=', ',']).map(str::to_ascii_lowercase);
                let is_name =
                    |word: String| word == name && !name.is_empty() || word == number.to_string();
                words.any(is_name)
            });
            is_built = has_target || n == last || is_named;
            number += 1;
        }
        is_built
    });
    each.collect()
}

/// The paths that a `COPY` or an `ADD` takes from the context, as far as they can be known.
fn sources(rest: &str) -> impl Iterator<Item = &str> {
    let is_plain = !rest.contains(['$', '\\', '"', '\'', '[', '<']);
    let comes_from_an_image = rest.split(' ').any(|word| word.starts_with("--from="));
    let words: Vec<&str> = rest.split(' ').filter(|word| !word.starts_with("--")).collect();
    let sources = if is_plain && !comes_from_an_image { words.len().saturating_sub(1) } else { 0 };
    let is_elsewhere = |word: &&str| word.contains("://") || word.starts_with("git@");
    words
        .into_iter()
        .take(sources)
        .filter(move |word| !is_elsewhere(word) && !word.contains(['*', '?']))
}

/// The path cannot leave the context: the builder takes `..` for its root.
fn is_there(context: &Path, path: &str) -> bool {
    let parts = path.split('/').filter(|part| !["", ".", ".."].contains(part));
    context.join(parts.collect::<PathBuf>()).symlink_metadata().is_ok()
}

/// The IDs of secrets that a `RUN` mounts.
fn secrets<'t>(name: &str, rest: &'t str) -> impl Iterator<Item = &'t str> {
    let flags = rest.split(' ').take_while(|word| word.starts_with("--"));
    let mounts = flags.filter_map(|flag| flag.strip_prefix("--mount="));
    let is_run = name == "RUN";
    mounts.filter(move |_| is_run).filter_map(|mount| {
        let field = |key: &str| {
            mount.split(',').find_map(|field| field.strip_prefix(key)?.strip_prefix('='))
        };
        let is_secret = field("type") == Some("secret") && !mount.contains('$');
        // Without an ID it is the last part of where it is mounted.
        let target = || field("target").or_else(|| field("dst")).or_else(|| field("destination"));
        let id = field("id").or_else(|| target()?.rsplit('/').next());
        id.filter(|_| is_secret)
    })
}
