//! The services of a compose file that are built.

use std::{collections::BTreeMap, fs, path::Path, path::PathBuf};

use serde_json::Value;

use super::bake::{
    Target, Targets, TargetsError, build_args, contexts, is_remote, list, map, platform, tags,
    text_of, tidy,
};
use super::candidate::Given;
use crate::{
    diagnostic::{Diagnostic, Source},
    hierarchy::{self, looks_secret},
};

/// Why a compose file cannot be used.
#[derive(Debug)]
pub enum ComposeError {
    Yaml(Box<Diagnostic>),
    Targets(TargetsError),
}

/// Reads services. `folder` is that of the file, seen from the folder of the hierarchy.
pub(super) fn targets(file: &Path, text: String, folder: &Path) -> Result<Targets, ComposeError> {
    let source = Source::new(file, text);
    let mut value =
        hierarchy::value(&source).map_err(|problem| ComposeError::Yaml(Box::new(problem)))?;
    let mut variables = BTreeMap::new();
    if let Some(own) = file.parent()
        && let Ok(text) = fs::read_to_string(own.join(".env"))
    {
        variables = environment(&text);
    }
    let mut targets = Targets::default();
    fill(&mut value, &variables);
    let Some(services) = value.get("services").and_then(Value::as_object) else {
        return Err(ComposeError::Targets(TargetsError::NoServices));
    };
    for (name, service) in services {
        let Some(build) = service.get("build") else { continue };
        let notes = &mut targets.notes;
        if build.get("dockerfile_inline").is_some() {
            notes.push(format!("`{name}`: its `dockerfile_inline` has no file; write it into one"));
            continue;
        }
        let context = text_of(Some(build)).or_else(|| text_of(build.get("context")));
        let context = context.unwrap_or_else(|| ".".to_owned());
        if is_remote(&context) {
            notes.push(format!("`{name}`: its context `{context}` is not a folder here"));
            continue;
        }
        let context = folder.join(context);
        let dockerfile =
            text_of(build.get("dockerfile")).unwrap_or_else(|| "Dockerfile".to_owned());
        let mut published = list(service.get("image"));
        published.extend(list(build.get("tags")));
        let platforms = build.get("platforms").or_else(|| service.get("platform"));
        let given = Given {
            name: Some(name.clone()),
            target: text_of(build.get("target")),
            build_args: build_args(name, map(build.get("args")), notes),
            labels: map(build.get("labels")),
            platform: platform(name, platforms, notes),
            tags: tags(name, &published, notes),
            contexts: contexts(map(build.get("additional_contexts")), "service:"),
            context: Some(tidy(&context.to_string_lossy())),
        };
        for field in ["secrets", "ssh"] {
            if build.get(field).is_some() {
                notes.push(format!("`{name}`: its `{field}` is left out; say it with `{field}:`"));
            }
        }
        let dockerfile: PathBuf = tidy(&context.join(dockerfile).to_string_lossy());
        targets.found.push(Target { dockerfile, given });
    }
    match (targets.found.is_empty(), targets.notes.is_empty()) {
        (true, true) => Err(ComposeError::Targets(TargetsError::NothingBuilt)),
        (true, false) => {
            Err(ComposeError::Targets(TargetsError::NothingUsable(targets.notes.join("; "))))
        }
        _ => Ok(targets),
    }
}

/// Compose fills in variables everywhere. What is not set is empty; `$$` is a dollar sign.
fn fill(value: &mut Value, variables: &BTreeMap<String, String>) {
    match value {
        Value::String(text) if text.contains('$') => {
            let pieces: Vec<String> = text
                .split("$$")
                .map(|piece| {
                    hierarchy::expand(piece, variables).unwrap_or_else(|_| piece.to_owned())
                })
                .collect();
            *text = pieces.join("$");
        }
        Value::Array(items) => items.iter_mut().for_each(|item| fill(item, variables)),
        Value::Object(map) => map.values_mut().for_each(|item| fill(item, variables)),
        _ => {}
    }
}

/// The variables of `.env`, those that may be secrets left out.
fn environment(text: &str) -> BTreeMap<String, String> {
    let lines = text.lines().map(|line| line.trim().trim_start_matches("export "));
    lines
        .filter(|line| !line.starts_with('#'))
        .filter_map(|line| line.split_once('='))
        .map(|(key, value)| {
            (key.trim().to_owned(), value.trim().trim_matches(['"', '\'']).to_owned())
        })
        .filter(|(key, _)| !looks_secret(key))
        .collect()
}
