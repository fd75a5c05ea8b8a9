//! `${NAME}` in values of the file: from the environment, and from the `env_file`.
//!
//! **Invariant:** only values are expanded, before any field is read, and the place of a value stays its place in the
//! file. Commands, tests and the text of a Dockerfile keep each `$` for a shell.

use std::{
    collections::{BTreeMap, BTreeSet},
    env,
    ffi::OsString,
    ops::Range,
    path::Path,
};

use super::{
    env_file,
    field_table::{self, TOP, VariableUse},
    fields::Problems,
    load::LoadOptions,
    looks_secret,
    trust::Trust,
    yaml::{ValueKind, Yaml},
};
use crate::check::{diagnostic::Diagnostic, rules::RuleCode};

/// Of `${A:-${B:-…}}`.
const DEEPEST: usize = 8;

/// What `${NAME}` reads.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Environment {
    /// That of this process.
    #[default]
    Process,
    Only(BTreeMap<String, String>),
}

impl Environment {
    fn get(&self, name: &str) -> Option<OsString> {
        match self {
            Self::Process => env::var_os(name),
            Self::Only(all) => all.get(name).map(OsString::from),
        }
    }
}

/// Expands the values of a file. What has no value is reported, and left out as if it were not written.
pub(super) fn expand(
    tree: &mut Yaml,
    folder: &Path,
    options: &LoadOptions,
    problems: &mut Problems,
) {
    let ValueKind::Map(entries) = &mut tree.kind else { return };
    let named = entries.iter().find(|(key, _)| key.name == "env_file").map(|(_, value)| value);
    let file = named.map(|named| env_file::read(named, folder, options.trust, problems));
    let variables = Variables { file: file.unwrap_or_default(), options };
    let allowed_by = |entry: &Yaml| texts(entry, "allow_build_args").collect::<BTreeSet<_>>();
    let (mut of_defaults, mut is_incomplete) = (BTreeSet::new(), false);
    for (key, value) in &mut *entries {
        if key.name == "defaults" {
            of_defaults = allowed_by(value);
            is_incomplete = !variables.expand_fields(value, &of_defaults, problems);
        }
    }
    let is_as_written = |name: &str| {
        TOP.iter().any(|row| row.key == name && row.variables == VariableUse::AsWritten)
    };
    for (key, value) in &mut *entries {
        match (key.name.as_str(), &mut value.kind) {
            ("images", ValueKind::Map(images)) => {
                for (_, entry) in images {
                    let allowed = &allowed_by(entry) | &of_defaults;
                    if !variables.expand_fields(entry, &allowed, problems) || is_incomplete {
                        problems.incomplete.insert(entry.span.start);
                    }
                }
            }
            (name, _) if name.starts_with("x-") || is_as_written(name) => {}
            _ => {
                if !variables.expand_value(value, &BTreeSet::new(), problems) {
                    value.kind = ValueKind::Null;
                }
            }
        }
    }
}

fn texts<'y>(entry: &'y Yaml, field: &'static str) -> impl Iterator<Item = String> + 'y {
    let fields = match &entry.kind {
        ValueKind::Map(fields) => fields.as_slice(),
        _ => &[],
    };
    let lists = fields.iter().filter(move |(key, _)| key.name == field);
    lists.flat_map(|(_, list)| match &list.kind {
        ValueKind::List(items) => items.iter().filter_map(Yaml::scalar).collect(),
        _ => Vec::new(),
    })
}

struct Variables<'a> {
    file: BTreeMap<String, String>,
    options: &'a LoadOptions,
}

/// Why a text cannot be expanded.
#[derive(Debug, PartialEq, Eq)]
enum Unexpandable {
    Syntax(String),
    /// `${NAME:?message}` has its own words.
    NoValue(String, Option<String>),
    NotText(String),
    Untrusted(String),
    Secret(String),
    TooDeep,
}

impl Variables<'_> {
    /// Whether each value of an entry was found.
    fn expand_fields(
        &self,
        entry: &mut Yaml,
        allowed: &BTreeSet<String>,
        problems: &mut Problems,
    ) -> bool {
        let ValueKind::Map(fields) = &mut entry.kind else { return true };
        let mut is_complete = true;
        fields.retain_mut(|(key, value)| {
            let usage = field_table::of_image(&key.name).map(|row| row.variables);
            if usage == Some(VariableUse::AsWritten) {
                return true;
            }
            let is_needed = !self.options.names_only || usage == Some(VariableUse::ForNames);
            let before = problems.found.len();
            let is_good = self.expand_value(value, allowed, problems);
            if !is_needed {
                problems.found.truncate(before);
            }
            is_complete &= is_good || !is_needed;
            is_good
        });
        is_complete
    }

    /// Items without a value are taken out. Whether anything is left.
    fn expand_value(
        &self,
        yaml: &mut Yaml,
        allowed: &BTreeSet<String>,
        problems: &mut Problems,
    ) -> bool {
        match &mut yaml.kind {
            ValueKind::Text(text) if text.contains("${") => {
                match self.expand_text(text, allowed, DEEPEST) {
                    Ok(value) => {
                        let label = format!("`{text}` is `{value}` here");
                        problems.expanded.insert(yaml.span.start, label);
                        yaml.kind = match value.as_str() {
                            "true" => ValueKind::Bool(true),
                            "false" => ValueKind::Bool(false),
                            _ => ValueKind::Text(value),
                        };
                        true
                    }
                    Err(error) => {
                        error.report(&yaml.span, problems);
                        false
                    }
                }
            }
            ValueKind::List(items) => {
                let before = items.len();
                items.retain_mut(|item| self.expand_value(item, allowed, problems));
                items.len() == before
            }
            ValueKind::Map(entries) => {
                let before = entries.len();
                entries.retain_mut(|(_, value)| self.expand_value(value, allowed, problems));
                entries.len() == before
            }
            _ => true,
        }
    }

    fn expand_text(
        &self,
        text: &str,
        allowed: &BTreeSet<String>,
        depth: usize,
    ) -> Result<String, Unexpandable> {
        let mut expanded = String::new();
        let mut rest = text;
        while let Some(at) = rest.find("${") {
            let before = &rest[..at];
            if let Some(before) = before.strip_suffix('$') {
                expanded.push_str(before);
                expanded.push_str("${");
                rest = &rest[at + 2..];
                continue;
            }
            expanded.push_str(before);
            let inner = &rest[at + 2..];
            let end = closing(inner).ok_or_else(|| {
                Unexpandable::Syntax(format!("`${{{inner}` has no closing brace"))
            })?;
            expanded.push_str(&self.value(&inner[..end], allowed, depth)?);
            rest = &inner[end + 1..];
        }
        Ok(expanded + rest)
    }

    /// The value of `NAME`, `NAME:-default` or `NAME:?message`.
    fn value(
        &self,
        inner: &str,
        allowed: &BTreeSet<String>,
        depth: usize,
    ) -> Result<String, Unexpandable> {
        let depth = depth.checked_sub(1).ok_or(Unexpandable::TooDeep)?;
        let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_';
        let (name, rest) = inner.split_at(inner.find(|c| !is_part(c)).unwrap_or(inner.len()));
        let is_name = !name.is_empty() && !name.starts_with(|c: char| c.is_ascii_digit());
        let rest = match rest.get(..2) {
            _ if !is_name => None,
            None if rest.is_empty() => Some((None, "")),
            Some(":-") => Some((Some('-'), &rest[2..])),
            Some(":?") => Some((Some('?'), &rest[2..])),
            _ => None,
        };
        let Some((operator, rest)) = rest else {
            return Err(Unexpandable::Syntax(format!("`${{{inner}}}` is not a variable")));
        };
        if looks_secret(name) && !allowed.contains(name) {
            return Err(Unexpandable::Secret(name.to_owned()));
        }
        let found = self.get(name)?;
        match (operator, found) {
            (None, Some(value)) => Ok(value),
            (Some(_), Some(value)) if !value.is_empty() => Ok(value),
            (Some('-'), _) => self.expand_text(rest, allowed, depth),
            (_, _) => {
                let message = (!rest.is_empty()).then(|| rest.to_owned());
                Err(Unexpandable::NoValue(name.to_owned(), message))
            }
        }
    }

    fn get(&self, name: &str) -> Result<Option<String>, Unexpandable> {
        match self.options.environment.get(name) {
            Some(_) if self.options.trust == Trust::Untrusted => {
                Err(Unexpandable::Untrusted(name.to_owned()))
            }
            Some(value) => {
                let value = value.into_string();
                value.map(Some).map_err(|_| Unexpandable::NotText(name.to_owned()))
            }
            None => Ok(self.file.get(name).cloned()),
        }
    }
}

/// Where the brace of a variable is closed: pairs of braces may stand in its default.
fn closing(text: &str) -> Option<usize> {
    let mut open = 0_usize;
    for (at, c) in text.char_indices() {
        match c {
            '{' => open += 1,
            '}' if open == 0 => return Some(at),
            '}' => open -= 1,
            _ => {}
        }
    }
    None
}

impl Unexpandable {
    fn report(self, span: &Range<usize>, problems: &mut Problems) {
        let (code, message, hint) = match self {
            Self::Syntax(message) => (
                RuleCode::WrongValue,
                message,
                "write `${NAME}`, `${NAME:-default}` or `${NAME:?message}`; `$${` is a literal `${`"
                    .to_owned(),
            ),
            Self::TooDeep => (
                RuleCode::WrongValue,
                format!("variables are nested more than {DEEPEST} levels deep"),
                "set the variable instead".to_owned(),
            ),
            Self::NoValue(name, message) => (
                RuleCode::NoValue,
                match message {
                    Some(message) => format!("`{name}` has no value: {message}"),
                    None => format!("`{name}` has no value"),
                },
                format!(
                    "set the environment variable `{name}`, write it into the `env_file`, or write a default: `${{{name}:-…}}`"
                ),
            ),
            Self::NotText(name) => (
                RuleCode::NoValue,
                format!("the environment variable `{name}` is not UTF-8 text"),
                "set it to a text".to_owned(),
            ),
            Self::Untrusted(name) => {
                let problem = Diagnostic::of(
                    RuleCode::Untrusted,
                    format!("`{name}` is a variable of this machine: refused"),
                );
                let hint = "unset it, or give the value with `--set` or `--build-arg`; \
                            `--untrusted` or `REBUILD_UNTRUSTED` is set: docs/security.md";
                problems
                    .found
                    .push(problem.at(&problems.source, span.clone(), "").hint(hint));
                return;
            }
            Self::Secret(name) => (
                RuleCode::SecretArgument,
                format!("`{name}` looks like a secret, and this value can be read from the image or its records"),
                format!(
                    "give it under `secrets`, or write `allow_build_args: [{name}]` if it is not a secret"
                ),
            ),
        };
        problems.push_with_hint(span, message, hint);
        problems.last_is(code);
    }
}

#[cfg(test)]
mod tests;
