//! The targets of a bake file, and of a compose file that was put into the same fields.

use std::{collections::BTreeMap, path::Path};

use serde_json::{Map, Value};

use super::{
    candidate::{ContextSource, Given},
    evidence::{Evidence, EvidenceRule, Open, PublishedImage, tidy},
    hcl,
    target_options::options,
};
use crate::{check::diagnostic::Diagnostic, hierarchy::looks_secret, image::Platform};

/// Targets, and what of them a hierarchy cannot say.
#[derive(Debug, Default)]
pub(super) struct Targets {
    pub(super) found: Vec<Evidence>,
    pub(super) notes: Vec<String>,
}

/// Why a file has no targets.
#[derive(Debug, thiserror::Error)]
pub enum TargetsError {
    #[error("this is not a bake file: {0}")]
    NotBake(String),
    #[error("syntax error in line {line}: {problem}")]
    Syntax { line: usize, problem: String },
    #[error("this has no `services`: it is not a compose file")]
    NoServices,
    #[error("none of the services is built: there is no `build` in this file")]
    NothingBuilt,
    #[error("this compose file cannot be read")]
    Yaml(Box<Diagnostic>),
    #[error("none of the targets has a Dockerfile in a folder: {0}")]
    NothingUsable(String),
}

/// The targets of a bake file that is named.
pub(super) fn of_file(root: &Path, path: &Path, text: &str) -> Result<Targets, TargetsError> {
    // Where a file outside is on this machine says nothing on another one.
    let name = path.file_name().map_or(path, Path::new);
    let shown = path.strip_prefix(root).unwrap_or(name);
    // Bake runs in the folder of the hierarchy, or in one nearer to the file.
    let mut folders: Vec<&Path> = shown.ancestors().skip(1).collect();
    folders.reverse();
    let has_file =
        |targets: &Targets| targets.found.iter().any(|one| root.join(&one.dockerfile).is_file());
    let mut all = folders.iter().map(|folder| targets(&[text], shown, folder));
    let first = all.next().unwrap_or_else(|| targets(&[text], shown, Path::new("")))?;
    Ok(if has_file(&first) {
        first
    } else {
        all.filter_map(Result::ok).find(has_file).unwrap_or(first)
    })
}

/// Reads targets. Contexts are relative to the folder that bake runs in, `folder`. In HCL, a text may override those
/// before it.
pub(super) fn targets(texts: &[&str], file: &Path, folder: &Path) -> Result<Targets, TargetsError> {
    let text = texts.first().copied().unwrap_or_default();
    let not_bake = |error: String| TargetsError::NotBake(error);
    let all = if text.trim_start().starts_with('{') {
        let value: Value = serde_json::from_str(text).map_err(|error| TargetsError::Syntax {
            line: error.line(),
            problem: error.to_string().split(" at line ").next().unwrap_or_default().to_owned(),
        })?;
        value.get("target").and_then(Value::as_object).cloned()
    } else {
        Some(hcl::targets(texts)?)
    };
    let all = all.filter(|all| !all.is_empty());
    let all = all.ok_or_else(|| not_bake("it has no `target`".to_owned()))?;
    Targets::read(&all, EvidenceRule::Bake, file, folder)
}

impl Targets {
    /// The notes about targets that are images here, and about those that cannot be read as one.
    pub(super) fn notes_of(&self, is_image: impl Fn(&Evidence) -> bool) -> Vec<String> {
        let others = self.found.iter().filter(|one| !is_image(one));
        let others: Vec<String> =
            others.filter_map(|one| Some(format!("`{}`: ", one.given.name.as_ref()?))).collect();
        let is_other = |note: &String| others.iter().any(|start| note.starts_with(start));
        self.notes.iter().filter(|note| !is_other(note)).cloned().collect()
    }

    /// Reads targets in the fields of bake.
    pub(super) fn read(
        all: &Map<String, Value>,
        rule: EvidenceRule,
        file: &Path,
        folder: &Path,
    ) -> Result<Self, TargetsError> {
        let mut targets = Self::default();
        for (name, fields) in all {
            targets.target(name, fields, rule, (file, folder));
        }
        if targets.found.is_empty() {
            return Err(TargetsError::NothingUsable(targets.notes.join("; ")));
        }
        Ok(targets)
    }

    fn target(
        &mut self,
        name: &str,
        fields: &Value,
        rule: EvidenceRule,
        (file, folder): (&Path, &Path),
    ) {
        let mut note = |text: String| self.notes.push(format!("`{name}`: {text}"));
        let text = |field: &str| text_of(fields.get(field));
        let context = text("context").unwrap_or_else(|| ".".to_owned());
        if context.contains("://")
            || context.starts_with("git@")
            || context.starts_with("github.com/")
        {
            return note(format!(
                "its context `{context}` is not a folder here; write `context: {context}` into an entry for it"
            ));
        }
        let (options, left_out) = options(fields);
        left_out.into_iter().for_each(&mut note);
        for key in without_value(fields.get("args")) {
            note(format!(
                "its argument `{key}` takes its value from the environment and is left out"
            ));
        }
        let mut build_args = map(fields.get("args"));
        build_args.retain(|_, value| Open(value.clone()).is_known());
        for (key, value) in &mut build_args {
            if looks_secret(key) {
                value.clear();
                note(format!(
                    "its argument `{key}` looks like a secret, and its value is left out; fill it in if it is not a \
                     secret, otherwise use `secrets:`"
                ));
            }
        }
        let platforms = list(fields.get("platforms"));
        let platforms = platforms.iter().filter_map(|text| text.parse::<Platform>().ok());
        let platforms: Vec<Platform> = platforms.collect();
        let outputs = list(fields.get("tags")).into_iter().map(Open);
        let mut given = Given {
            name: Some(name.to_owned()),
            // Builders take an empty target for none.
            target: text("target").filter(|target| !target.is_empty()),
            build_args,
            labels: map(fields.get("labels")),
            platforms: Vec::new(),
            outputs: outputs.filter_map(|tag| PublishedImage::read(&tag)).collect(),
            contexts: contexts(map(fields.get("contexts")), folder),
            inline: text("dockerfile-inline"),
            options,
            context: Some(tidy(&folder.join(&context).to_string_lossy())),
            is_local: false,
            is_only_match: false,
            dropped: Vec::new(),
        };
        given.take_platforms(platforms);
        let usual = || match &given.inline {
            Some(_) => format!("{name}.Dockerfile"),
            None => "Dockerfile".to_owned(),
        };
        let dockerfile =
            text("dockerfile").filter(|_| given.inline.is_none()).unwrap_or_else(usual);
        let dockerfile = tidy(&folder.join(&context).join(dockerfile).to_string_lossy());
        let place = format!("{} `{name}`", file.display());
        self.found.push(Evidence { rule, place, dockerfile, given });
    }
}

/// What the builder takes instead of images of those names.
pub(super) fn contexts(
    all: BTreeMap<String, String>,
    folder: &Path,
) -> BTreeMap<String, ContextSource> {
    let named = |value: String| {
        let target = ["target:", "service:"].iter().find_map(|kind| value.strip_prefix(kind));
        if let Some(name) = target {
            ContextSource::Target(name.to_owned())
        } else if let Some(image) = value.strip_prefix("docker-image://") {
            ContextSource::Image(image.to_owned())
        } else {
            let is_url = value.contains("://") || value.contains('@');
            let path = tidy(&folder.join(&value).to_string_lossy()).to_string_lossy().into_owned();
            ContextSource::Files(if is_url { value } else { path })
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

/// The keys of such a map or list that have no value.
fn without_value(value: Option<&Value>) -> Vec<String> {
    match value {
        Some(Value::Object(map)) => {
            map.iter().filter(|(_, value)| value.is_null()).map(|(key, _)| key.clone()).collect()
        }
        Some(Value::Array(_)) => {
            list(value).into_iter().filter(|item| !item.contains('=')).collect()
        }
        _ => Vec::new(),
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
            _ = super::targets(
                &[&String::from_utf8_lossy(text)],
                Path::new("x.json"),
                Path::new(""),
            );
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
