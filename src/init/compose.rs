//! The services of a compose file that are built.

use std::{collections::BTreeMap, path::Path, path::PathBuf};

use serde_json::Value;

use super::bake::{
    Targets, TargetsError, build_args, contexts, is_remote, list, map, outputs, platform, text_of,
};
use super::{
    candidate::Given,
    evidence::{Evidence, Rule, tidy},
};
use crate::{
    check::diagnostic::{Diagnostic, Source},
    dockerfile,
    hierarchy::{self, looks_secret},
    host::bounded,
};

/// Why a compose file cannot be used.
#[derive(Debug)]
pub enum ComposeError {
    Yaml(Box<Diagnostic>),
    Targets(TargetsError),
}

/// Reads services. `folder` is that of the file, seen from the folder of the hierarchy.
pub(super) fn targets(
    file: &Path,
    text: String,
    folder: &Path,
    process: &BTreeMap<String, String>,
) -> Result<Targets, ComposeError> {
    let source = Source::new(file, text);
    let mut value =
        hierarchy::value(&source).map_err(|problem| ComposeError::Yaml(Box::new(problem)))?;
    let mut variables = BTreeMap::new();
    if let Some(own) = file.parent()
        && let Ok(text) = bounded::text(&own.join(".env"))
    {
        variables = environment(&text, process);
    }
    // As in compose, the environment comes before `.env`.
    variables.extend(process.iter().map(|(key, value)| (key.clone(), value.clone())));
    let mut targets = Targets::default();
    leave_out_values(&mut value, &variables, &mut targets.notes);
    variables.retain(|key, _| !looks_secret(key));
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
            outputs: outputs(&published),
            contexts: contexts(map(build.get("additional_contexts")), "service:"),
            context: Some(tidy(&context.to_string_lossy())),
        };
        for field in ["secrets", "ssh"] {
            if build.get(field).is_some() {
                notes.push(format!("`{name}`: its `{field}` is left out; say it with `{field}:`"));
            }
        }
        let dockerfile: PathBuf = tidy(&context.join(dockerfile).to_string_lossy());
        let place = format!("{} `{name}`", file.file_name().unwrap_or_default().display());
        targets.found.push(Evidence { rule: Rule::Compose, place, dockerfile, given });
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
                    dockerfile::expand(piece, variables).unwrap_or_else(|_| piece.to_owned())
                })
                .collect();
            *text = pieces.join("$");
        }
        Value::Array(items) => items.iter_mut().for_each(|item| fill(item, variables)),
        Value::Object(map) => map.values_mut().for_each(|item| fill(item, variables)),
        _ => {}
    }
}

/// `.env` is the place for values that are not committed, and hierarchy.yaml is committed: a build
/// argument or a label that takes a value from it is left out.
fn leave_out_values(
    file: &mut Value,
    variables: &BTreeMap<String, String>,
    notes: &mut Vec<String>,
) {
    let none = BTreeMap::new();
    let is_from_env = |value: &Value| {
        value.as_str().is_some_and(|text| {
            let text = text.replace("$$", "");
            let [with, without] =
                [variables, &none].map(|variables| dockerfile::expand(&text, variables).ok());
            with != without
        })
    };
    let services = file.get_mut("services").and_then(Value::as_object_mut);
    for (name, service) in services.into_iter().flatten() {
        for (field, what) in [("args", "argument"), ("labels", "label")] {
            let mut left_out = Vec::new();
            match service.get_mut("build").and_then(|build| build.get_mut(field)) {
                Some(Value::Object(map)) => map.retain(|key, value| {
                    let is_from_env = is_from_env(value);
                    left_out.extend(is_from_env.then(|| key.clone()));
                    !is_from_env
                }),
                Some(Value::Array(items)) => items.retain(|item| {
                    let is_from_env = is_from_env(item);
                    let key = item.as_str().and_then(|item| item.split('=').next());
                    left_out.extend(key.filter(|_| is_from_env).map(str::to_owned));
                    !is_from_env
                }),
                _ => {}
            }
            notes.extend(left_out.into_iter().map(|key| {
                format!("`{name}`: its {what} `{key}` has its value from the environment or `.env` and is left out")
            }));
        }
    }
}

/// The variables of `.env`. A value may take those above it, and those of the environment first.
fn environment(text: &str, process: &BTreeMap<String, String>) -> BTreeMap<String, String> {
    let mut all = process.clone();
    let lines = text.lines().map(|line| line.trim().trim_start_matches("export "));
    for line in lines.filter(|line| !line.starts_with('#')) {
        let Some((key, value)) = line.split_once('=') else { continue };
        let (key, value) = (key.trim().to_owned(), value.trim());
        let is_literal = value.len() > 1 && value.starts_with('\'') && value.ends_with('\'');
        let plain = value.trim_matches(['"', '\'']);
        let value = if is_literal {
            plain.to_owned()
        } else {
            dockerfile::expand(plain, &all).unwrap_or_else(|_| plain.to_owned())
        };
        all.entry(key).or_insert(value);
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_of_env_files_are_left_out() {
        let folder = tempfile::tempdir().unwrap();
        let env = "DB_URL=postgres://u:hunter2@h/\nDB_PASSWORD=hunter2\nVERSION=3\n";
        std::fs::write(folder.path().join(".env"), env).unwrap();
        let file = "\
services:
  a:
    image: acme/a:${VERSION}
    build:
      context: a
      args: { URL: \"${DB_URL}\", PLAIN: x, DEFAULT: \"${OTHER:-y}\", DOLLAR: \"$$DB_URL\", DEEP: \"${OTHER:-$DB_PASSWORD}\" }
      labels: [\"url=$DB_URL\", fine=1]
  b: { build: { context: b, args: [\"URL=${DB_URL}\", PLAIN=x] } }
";
        let path = folder.path().join("compose.yaml");
        let targets = targets(&path, file.to_owned(), Path::new(""), &BTreeMap::new()).unwrap();
        assert!(!format!("{targets:?}").contains("hunter2"), "{targets:#?}");
        let args: Vec<String> = targets.found[0].given.build_args.keys().cloned().collect();
        assert_eq!(args, ["DEFAULT", "DOLLAR", "PLAIN"]);
        assert_eq!(targets.found[1].given.build_args.len(), 1);
        for what in ["argument `URL`", "argument `DEEP`", "label `url`"] {
            let told = format!(
                "`a`: its {what} has its value from the environment or `.env` and is left out"
            );
            assert!(targets.notes.contains(&told), "{:?}", targets.notes);
        }
    }
}
