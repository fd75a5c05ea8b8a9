//! Secrets: where an image's come from, and which build args look like one.
//!
//! **Invariant:** a hierarchy has no secret's value, and no message shows one that somebody has
//! written into the file all the same.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Range,
    path::{Path, PathBuf},
};

use super::{
    fields::{Located, Problems},
    yaml::{MappingKey, ValueKind, Yaml},
};
use crate::check::{
    diagnostic::{Diagnostic, RuleCode},
    nearest,
};

/// Where the value of a secret is found when it is needed.
///
/// It is a part of the fingerprint: an image that was built with another secret is another image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SecretSource {
    /// An environment variable of ours.
    Env(String),
    /// A file, relative to the folder of the hierarchy if it is below that.
    File(PathBuf),
}

impl SecretSource {
    /// The same on every machine: without `./`, and relative where that is possible.
    pub(super) fn relative_to(self, root: &Path) -> Self {
        match self {
            Self::File(path) => {
                let path: PathBuf = path.components().collect();
                Self::File(path.strip_prefix(root).unwrap_or(&path).to_owned())
            }
            env @ Self::Env(_) => env,
        }
    }
}

/// Whether a build may use the user's SSH agent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Ssh {
    #[default]
    None,
    /// That of `SSH_AUTH_SOCK`, under the ID `default`.
    Agent,
}

/// A word of a name that ends with one of these holds a secret: `DB_PASSWORD`, `PGPASSWORD`.
/// `TOKENS` is left out: it counts the tokens of a language model.
const TELLTALES: [&str; 10] = [
    "PASSWORD",
    "PASSWORDS",
    "PASSWD",
    "PASSPHRASE",
    "SECRET",
    "SECRETS",
    "TOKEN",
    "CREDENTIAL",
    "CREDENTIALS",
    "APIKEY",
];
/// The last word of a name, or all of it.
const TELLTALE_ENDS: [&str; 4] = ["KEY", "AUTH", "PWD", "PWORD"];
/// Before `KEY`: a public key's fingerprint, or a key that opens nothing.
const HARMLESS_KEYS: [&str; 10] =
    ["CACHE", "FOREIGN", "GPG", "GROUP", "INDEX", "MAP", "PARTITION", "PGP", "PRIMARY", "SORT"];
/// A name that ends with one of these says where a secret is, not what it is.
const PLACES: [&str; 4] = ["FILE", "PATH", "DIR", "URL"];

/// `NPM_TOKEN`, `DB_PASSWORD`, `DEPLOY_KEY`; not `SIGNING_PUBLIC_KEY`, `GPG_KEY` or `TOKEN_FILE`.
pub fn looks_secret(name: &str) -> bool {
    let name = name.to_ascii_uppercase();
    let words: Vec<&str> = name.split(['_', '-', '.']).filter(|word| !word.is_empty()).collect();
    let Some((last, before)) = words.split_last() else { return false };
    if words.contains(&"PUBLIC") || PLACES.contains(last) {
        return false;
    }
    // `Filters__0__Key` is a field of a list in the configuration of .NET.
    let is_harmless_key = *last == "KEY"
        && before.last().is_some_and(|word| {
            HARMLESS_KEYS.contains(word) || word.bytes().all(|byte| byte.is_ascii_digit())
        });
    let has_telltale =
        words.iter().any(|word| TELLTALES.iter().any(|telltale| word.ends_with(telltale)));
    has_telltale
        || name.contains("AWS_ACCESS_KEY_ID")
        || (TELLTALE_ENDS.contains(last) && !is_harmless_key)
}

/// The build args whose names look like that of a secret, each where it stands.
pub(super) fn suspects(yaml: Option<&Yaml>) -> Vec<Located<String>> {
    let Some(Yaml { kind: ValueKind::Map(entries), .. }) = yaml else { return Vec::new() };
    let keys = entries.iter().map(|(key, _)| key).filter(|key| looks_secret(&key.name));
    keys.map(|key| Located { value: key.name.clone(), span: key.span.clone() }).collect()
}

/// Build args are in the image's history for everybody to read.
pub(super) fn refuse(suspects: &[Located<String>], allowed: &[String], problems: &mut Problems) {
    for Located { value: name, span } in suspects.iter().filter(|one| !allowed.contains(&one.value))
    {
        let message = format!(
            "the build arg `{name}` looks like a secret, and build args can be read from the image"
        );
        let problem = Diagnostic::of(RuleCode::WrongValue, message);
        problems.found.push(problem.at_name(&problems.source, span.clone()).hint(format!(
            "give it under `secrets`, or write `allow_build_args: [{name}]` if it is not a secret"
        )));
    }
}

/// The secrets of an entry.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct SecretFields {
    pub(super) sources: BTreeMap<String, SecretSource>,
    /// Those with `required: false`.
    pub(super) optional: BTreeSet<String>,
}

impl SecretFields {
    /// These before those of `defaults`.
    pub(super) fn over(mut self, defaults: &Self) -> Self {
        for (id, source) in &defaults.sources {
            if !self.sources.contains_key(id) {
                self.sources.insert(id.clone(), source.clone());
                self.optional.extend(defaults.optional.get(id).cloned());
            }
        }
        self
    }
}

/// `id: { env: NAME }` or `id: { file: PATH }`, with `required: false` if a build needs no value.
pub(super) fn read(yaml: Option<&Yaml>, problems: &mut Problems) -> SecretFields {
    let Some(yaml) = yaml else { return SecretFields::default() };
    let ValueKind::Map(entries) = &yaml.kind else {
        wrong(&yaml.span, "`secrets` must be a map from ID to where the value is", problems);
        return SecretFields::default();
    };
    let mut secrets = SecretFields::default();
    for (MappingKey { name: id, span }, value) in entries {
        if !is_id(id) {
            let message = format!("`{id}` is no ID of a secret: letters, digits, `.`, `_` and `-`");
            problems.push_secret(span, message, "it is the `id` of `RUN --mount=type=secret,id=…`");
            continue;
        }
        match source(value) {
            Some((source, is_required)) => {
                secrets.sources.insert(id.clone(), source);
                secrets.optional.extend((!is_required).then(|| id.clone()));
            }
            None if refuse_misspelled(value, problems) => {}
            None => wrong(
                span,
                format!(
                    "`secrets.{id}` must be `{{ env: NAME }}` or `{{ file: PATH }}`, and may have `required: false`"
                ),
                problems,
            ),
        }
    }
    secrets
}

/// Reports misspelled keys, and returns whether there are any. Other keys are not shown: one may be the secret.
fn refuse_misspelled(yaml: &Yaml, problems: &mut Problems) -> bool {
    const KEYS: [&str; 3] = ["env", "file", "required"];
    let ValueKind::Map(entries) = &yaml.kind else { return false };
    let mut found = false;
    for (MappingKey { name, span }, _) in
        entries.iter().filter(|(key, _)| !KEYS.contains(&&*key.name))
    {
        if let Some(known) = nearest(name, KEYS) {
            let message = format!("unknown field `{name}` of a secret");
            problems.push_secret(span, message, format!("did you mean `{known}`?"));
            found = true;
        }
    }
    found
}

fn wrong(span: &Range<usize>, message: impl Into<String>, problems: &mut Problems) {
    problems.push_secret(span, message, "the value itself has no place in this file");
}

/// Where the value is, and whether a build needs it.
fn source(yaml: &Yaml) -> Option<(SecretSource, bool)> {
    let ValueKind::Map(entries) = &yaml.kind else { return None };
    let is_required = |key: &MappingKey| key.name == "required";
    let (required, sources): (Vec<_>, Vec<_>) =
        entries.iter().partition(|(key, _)| is_required(key));
    let is_required = match required.first().map(|(_, value)| &value.kind) {
        None => true,
        Some(ValueKind::Bool(is_required)) => *is_required,
        Some(_) => return None,
    };
    let [(MappingKey { name: kind, .. }, value)] = &sources[..] else { return None };
    let text = value.scalar().filter(|text| !text.is_empty())?;
    let source = match kind.as_str() {
        "env" if is_variable(&text) => SecretSource::Env(text),
        "file" => SecretSource::File(text.into()),
        _ => return None,
    };
    Some((source, is_required))
}

fn is_id(text: &str) -> bool {
    let good = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    !text.is_empty() && text.chars().all(good) && text.chars().any(|c| c != '.')
}

/// The placeholders of a matrix may stand in it.
fn is_variable(text: &str) -> bool {
    let good = |c: char| c.is_ascii_alphanumeric() || "_{}".contains(c);
    !text.starts_with(|c: char| c.is_ascii_digit()) && text.chars().all(good)
}

/// `true` or `default`: there is one agent.
pub(super) fn ssh(yaml: &Yaml, problems: &mut Problems) -> Option<Ssh> {
    match &yaml.kind {
        ValueKind::Bool(true) => Some(Ssh::Agent),
        ValueKind::Bool(false) => Some(Ssh::None),
        ValueKind::Text(text) if text == "default" => Some(Ssh::Agent),
        _ => {
            problems.expected("ssh", "`true` or `false`", yaml);
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_look_like_secrets() {
        let secret = [
            "NPM_TOKEN",
            "npm_token",
            "DB_PASSWORD",
            "MYSQL_PWD",
            "DEPLOY_KEY",
            "KEY",
            "APIKEY",
            "CLIENT_SECRET",
            "AWS_ACCESS_KEY_ID",
            "AWS_SECRET_ACCESS_KEY",
            "GITHUBTOKEN",
            "PGPASSWORD",
            "BASIC_AUTH",
            "GPG_SECRET_KEY",
            "GPG_PRIVATE_KEY",
            "API_CREDENTIALS",
        ];
        let fine = [
            "AWS_REGION",
            "KEYBOARD",
            "MONKEY",
            "SIGNING_PUBLIC_KEY",
            "PWD_DIR",
            "GPG_KEY",
            "SLACK_GPG_KEY",
            "CACHE_KEY",
            "SORT_KEY",
            "Filters__0__Key",
            "TOKENIZER_MODEL",
            "MAX_TOKENS",
            "PASSWORDLESS_SUDO",
            "SECRETARY_NAME",
            "TRUST_STORE_PASSWORD_FILE",
            "AUTHORIZED_KEYS_FILE",
            "AUTHOR",
            "VERSION",
            "",
        ];
        let all = secret.into_iter().chain(fine);
        let unsuspected: Vec<&str> = all.filter(|name| !looks_secret(name)).collect();
        assert_eq!(unsuspected, fine);
    }
}
