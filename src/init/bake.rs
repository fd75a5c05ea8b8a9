//! The targets of a bake file, as `docker buildx bake --print` gives them.

use std::{collections::BTreeMap, path::Path};

use serde_json::Value;

use super::{
    candidate::{Given, Named},
    evidence::{Evidence, Open, Output, Rule, tidy},
};
use crate::{hierarchy::looks_secret, image::Platform};

/// Targets, and what of them a hierarchy cannot say.
#[derive(Debug, Default)]
pub(super) struct Targets {
    pub(super) found: Vec<Evidence>,
    pub(super) notes: Vec<String>,
}

/// Why a file has no targets.
#[derive(Debug, thiserror::Error)]
pub enum TargetsError {
    #[error("this is not JSON: {0}")]
    NotJson(#[from] serde_json::Error),
    #[error("this has no `target`: it is not what `docker buildx bake --print` prints")]
    NoTargets,
    #[error("this has no `services`: it is not a compose file")]
    NoServices,
    #[error("none of the services is built: there is no `build` in this file")]
    NothingBuilt,
    #[error("none of the targets has a Dockerfile in a folder: {0}")]
    NothingUsable(String),
}

/// Reads targets; `folder` is that of the file, which contexts are relative to.
pub(super) fn targets(text: &str, file: &Path) -> Result<Targets, TargetsError> {
    let folder = file.parent().unwrap_or(Path::new(""));
    let value: Value = serde_json::from_str(text)?;
    let Some(all) = value.get("target").and_then(Value::as_object) else {
        return Err(TargetsError::NoTargets);
    };
    let mut targets = Targets::default();
    for (name, fields) in all {
        let notes = &mut targets.notes;
        if fields.get("dockerfile-inline").is_some() {
            notes.push(format!("`{name}`: its `dockerfile-inline` has no file; write it into one"));
            continue;
        }
        let context = text_of(fields.get("context")).unwrap_or_else(|| ".".to_owned());
        if is_remote(&context) {
            notes.push(format!("`{name}`: its context `{context}` is not a folder here"));
            continue;
        }
        let dockerfile = text_of(fields.get("dockerfile"));
        let given = Given {
            name: Some(name.clone()),
            target: text_of(fields.get("target")),
            build_args: build_args(name, map(fields.get("args")), notes),
            labels: map(fields.get("labels")),
            platform: platform(name, fields.get("platforms"), notes),
            outputs: outputs(&list(fields.get("tags"))),
            contexts: contexts(map(fields.get("contexts")), "target:"),
            context: Some(tidy(&folder.join(&context).to_string_lossy())),
        };
        for (field, instead) in [("secret", "secrets"), ("ssh", "ssh")] {
            if fields
                .get(field)
                .is_some_and(|value| value.as_array().is_none_or(|all| !all.is_empty()))
            {
                notes
                    .push(format!("`{name}`: its `{field}` is left out; say it with `{instead}:`"));
            }
        }
        let dockerfile = folder.join(&context).join(dockerfile.as_deref().unwrap_or("Dockerfile"));
        let dockerfile = tidy(&dockerfile.to_string_lossy());
        let place = format!("{} `{name}`", file.display());
        targets.found.push(Evidence { rule: Rule::Bake, place, dockerfile, given });
    }
    if targets.found.is_empty() {
        return Err(TargetsError::NothingUsable(targets.notes.join("; ")));
    }
    Ok(targets)
}

pub(super) fn is_remote(context: &str) -> bool {
    context.contains("://") || context.starts_with("git@") || context.starts_with("github.com/")
}

/// Those that may stand in a file that everybody reads.
pub(super) fn build_args(
    name: &str,
    mut args: BTreeMap<String, String>,
    notes: &mut Vec<String>,
) -> BTreeMap<String, String> {
    args.retain(|key, _| {
        let is_secret = looks_secret(key);
        if is_secret {
            notes.push(format!("`{name}`: its argument `{key}` looks like a secret and is left out; say it with `secrets:`"));
        }
        !is_secret
    });
    args
}

pub(super) fn platform(
    name: &str,
    value: Option<&Value>,
    notes: &mut Vec<String>,
) -> Option<Platform> {
    match &list(value)[..] {
        [] => None,
        [only] => only.parse().ok(),
        several => {
            notes.push(format!(
                "`{name}` is built for {}; here it is built for one, the engine's own",
                several.join(", ")
            ));
            None
        }
    }
}

/// The images that a target is published as.
pub(super) fn outputs(tags: &[String]) -> Vec<Output> {
    tags.iter().filter_map(|tag| Output::read(&Open(tag.clone()))).collect()
}

/// What the builder takes instead of images of those names.
pub(super) fn contexts(all: BTreeMap<String, String>, target: &str) -> BTreeMap<String, Named> {
    let named = |value: String| {
        if let Some(name) = value.strip_prefix(target) {
            Named::Target(name.to_owned())
        } else if let Some(image) = value.strip_prefix("docker-image://") {
            Named::Image(image.to_owned())
        } else {
            Named::Elsewhere(value)
        }
    };
    all.into_iter().map(|(name, value)| (name, named(value))).collect()
}

pub(super) fn text_of(value: Option<&Value>) -> Option<String> {
    match value? {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(value) => Some(value.to_string()),
        _ => None,
    }
}

/// A map, or a list of `KEY=value`, which compose knows as well. What has no value is not in it.
pub(super) fn map(value: Option<&Value>) -> BTreeMap<String, String> {
    match value {
        Some(Value::Object(map)) => map
            .iter()
            .filter_map(|(key, value)| Some((key.clone(), text_of(Some(value))?)))
            .collect(),
        Some(Value::Array(items)) => items
            .iter()
            .filter_map(|item| item.as_str()?.split_once('='))
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .collect(),
        _ => BTreeMap::new(),
    }
}

pub(super) fn list(value: Option<&Value>) -> Vec<String> {
    match value {
        Some(Value::Array(items)) => items.iter().filter_map(|item| text_of(Some(item))).collect(),
        Some(one) => text_of(Some(one)).into_iter().collect(),
        None => Vec::new(),
    }
}

#[cfg(test)]
mod fuzz_tests {
    use std::{collections::BTreeMap, path::Path};

    const WORDS: [&str; 16] = [
        "{", "}", "[", "]", "\"", ":", ",", "target", "services", "${X}", "$$", "null", "context",
        "../", "\n", "  ",
    ];

    #[test]
    fn fuzz_bake() {
        let example: &[u8] = b"{\"target\":{\"a\":{\"context\":\".\",\"dockerfile\":\"D\",\"args\":{\"A\":\"1\",\"B\":null},\"tags\":[\"acme/a:1\"],\"contexts\":{\"b\":\"target:b\"},\"platforms\":[\"linux/amd64\"]}}}";
        crate::testing::fuzz::each(&[example], &WORDS, |text| {
            _ = super::targets(&String::from_utf8_lossy(text), std::path::Path::new("x.json"));
        });
    }

    #[test]
    fn fuzz_compose() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("compose.yaml");
        std::fs::write(folder.path().join(".env"), "X=1\nY=$X\n").unwrap();
        let example: &[u8] = b"services:\n  a: { image: \"acme/a:${X}\", build: { context: a, args: { A: \"${Y:-2}\" }, labels: [l=1] } }\n  b: { build: ./b, depends_on: [a] }\n";
        crate::testing::fuzz::each(&[example], &WORDS, |text| {
            let text = String::from_utf8_lossy(text).into_owned();
            _ = super::super::compose::targets(&file, text, Path::new(""), &BTreeMap::new());
        });
    }
}
