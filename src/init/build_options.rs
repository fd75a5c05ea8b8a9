//! Options of build commands: those that an entry has fields for, and those that it cannot have.

use std::path::Path;

use serde_json::{Map, Value};

use super::{
    bake,
    candidate::Given,
    evidence::{Open, unknown},
    path_words::is_one_of,
    target_options::options,
};
use crate::{hierarchy::looks_secret, image::Platform};

/// Something of a build that is not in the entry of its image.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct DroppedOption {
    pub(super) cause: &'static str,
    /// The option, or what it names.
    pub(super) item: String,
}

impl DroppedOption {
    /// Whether it has a variable without a known value.
    pub(super) fn is_unknown(&self) -> bool {
        self.is_tag() || [ARGUMENT, LABEL, TARGET, PLATFORM].contains(&self.cause)
    }

    /// A tag whose image is not known, or that only some builds have.
    pub(super) fn of_tag(tag: &Open) -> Self {
        let cause = if tag.is_conditional() { CONDITION } else { IMAGE };
        Self { cause, item: tag.shown() }
    }

    /// A value that is the content of a file.
    pub(super) fn of_copy(file: &Path) -> Self {
        Self { cause: COPY, item: file.display().to_string() }
    }

    pub(super) fn is_tag(&self) -> bool {
        [CONDITION, IMAGE].contains(&self.cause)
    }
}

const COPY: &str = "the entry has a copy of the file's content; change it with the file, or write `${VERSION}` and set that variable in each run";
const CONDITION: &str =
    "the tag depends on a condition without a known result, and it is left out; check `tags`";
const IMAGE: &str = "the name of an image of the build is not known, and it is left out; check `repository` and `tags`";

const SECRET: &str = "the argument looks like a secret, and its value is left out; fill it in if it is not a secret, \
                      otherwise use `secrets:`";
const ARGUMENT: &str =
    "the value of the argument is not known, and it is left out; check `build_args`";
const LABEL: &str = "the value of the label is not known, and it is left out; check `labels`";
const TARGET: &str = "the value of the option is not known, and it is left out; check `target`";
const PLATFORM: &str = "the value of the option is not known, and it is left out; check `platform`";
const CONTEXT: &str =
    "the named context is left out; write the image or the files into the Dockerfile";
const SECRETS: &str = "the option is left out; use `secrets:`";
const SSH: &str = "the option is left out; use `ssh:`";
const NO_CACHE: &str =
    "the option is left out; `rebuild` uses the layer cache, see `refresh` to build without it";
const OTHER: &str = "the option is left out; check whether the image needs it";

/// Options with a field of bake targets, and whether it is a list.
const FIELDS: [(&str, &str, bool); 6] = [
    ("--add-host", "extra-hosts", true),
    ("--annotation", "annotations", true),
    ("--network", "network", false),
    ("--no-cache-filter", "no-cache-filter", true),
    ("--shm-size", "shm-size", false),
    ("--ulimit", "ulimits", true),
];
/// Options that change the image or the build, and that no field of an entry stands for.
const OTHERS: &str = "\
    --squash --allow --volume -v --cap-add --device --security-opt --env --from --memory -m";

/// Options of a build, beside those that say which Dockerfile is built and what it makes.
#[derive(Debug, Default)]
pub(super) struct BuildOptions {
    platforms: Vec<Open>,
    /// `KEY=value`.
    arguments: Vec<Open>,
    /// `KEY=value`.
    labels: Vec<Open>,
    /// `NAME=place`.
    contexts: Vec<Open>,
    target: Option<Open>,
    /// Values of [`FIELDS`].
    fields: Vec<(usize, Open)>,
    dropped: Vec<DroppedOption>,
}

impl BuildOptions {
    /// Takes an option by the name that `docker build` has for it. Options of the cache, the output and
    /// the progress do not matter.
    pub(super) fn take(&mut self, name: &str, value: Open) {
        match name {
            "--platform" => self.platforms.push(value),
            "--build-arg" => self.arguments.push(value),
            "--label" => self.labels.push(value),
            "--build-context" => self.contexts.push(value),
            // Builders take an empty target for none.
            "--target" => self.target = Some(value).filter(|value| !value.0.is_empty()),
            _ => {
                if let Some(field) = FIELDS.iter().position(|(option, ..)| *option == name) {
                    return self.fields.push((field, value));
                }
                let cause = match name {
                    "--secret" => SECRETS,
                    "--ssh" => SSH,
                    "--no-cache" => NO_CACHE,
                    _ if is_one_of(name, OTHERS) => OTHER,
                    _ => return,
                };
                self.drop(cause, name);
            }
        }
    }

    fn drop(&mut self, cause: &'static str, item: &str) {
        self.dropped.push(DroppedOption { cause, item: item.to_owned() });
    }

    /// What they give. `known` fills in the variables of a text, if all are known.
    pub(super) fn give(&self, known: impl Fn(&Open) -> Option<String>) -> Given {
        let mut given = Given::default();
        let mut drop = |cause: &'static str, item: &str| {
            let dropped = DroppedOption { cause, item: item.to_owned() };
            if !given.dropped.contains(&dropped) {
                given.dropped.push(dropped);
            }
        };
        for one in &self.dropped {
            drop(one.cause, &one.item);
        }
        for argument in &self.arguments {
            let Some((key, value)) = pair(argument) else {
                drop(ARGUMENT, "--build-arg");
                continue;
            };
            // The builder itself sets `TARGETARCH` and the like.
            if is_builtin(&key) {
                continue;
            }
            match known(&value) {
                _ if looks_secret(&key) => {
                    drop(SECRET, &key);
                    given.build_args.insert(key, String::new());
                }
                Some(value) => _ = given.build_args.insert(key, value),
                None => drop(ARGUMENT, &key),
            }
        }
        for label in &self.labels {
            match pair(label).map(|(key, value)| (known(&value), key)) {
                Some((Some(value), key)) => _ = given.labels.insert(key, value),
                Some((None, key)) => drop(LABEL, &key),
                None => drop(LABEL, "--label"),
            }
        }
        let mut fields = Map::new();
        for (field, value) in &self.fields {
            let (option, field, is_list) = FIELDS[*field];
            match known(value) {
                None => drop(OTHER, option),
                Some(value) if !is_list => _ = fields.insert(field.to_owned(), value.into()),
                Some(value) => {
                    let all = fields.entry(field).or_insert_with(|| Value::Array(Vec::new()));
                    // Only stages may be several in one option.
                    let separator = if option == "--no-cache-filter" { "," } else { "\n" };
                    let values = value.split(separator).map(Value::from);
                    all.as_array_mut().into_iter().for_each(|all| all.extend(values.clone()));
                }
            }
        }
        let (options, left_out) = options(&Value::Object(fields));
        given.options = options;
        if !left_out.is_empty() {
            let options = self.fields.iter().map(|(field, _)| FIELDS[*field].0);
            options.for_each(|option| drop(OTHER, option));
        }
        let mut contexts = std::collections::BTreeMap::new();
        for context in &self.contexts {
            match pair(context).map(|(key, value)| (known(&value), key)) {
                Some((Some(value), key)) => _ = contexts.insert(key, value),
                _ => drop(CONTEXT, "--build-context"),
            }
        }
        if let Some(target) = &self.target {
            given.target = known(target);
            if given.target.is_none() {
                drop(TARGET, "--target");
            }
        }
        let platforms: Option<Vec<String>> = self.platforms.iter().map(known).collect();
        let platforms = platforms.map(|all| all.join(","));
        let each = platforms.iter().flat_map(|all| all.split(','));
        let each: Vec<&str> = each.map(str::trim).filter(|one| !one.is_empty()).collect();
        let parsed: Result<Vec<Platform>, _> = each.into_iter().map(str::parse).collect();
        match (&platforms, parsed) {
            (Some(_), Ok(parsed)) => given.take_platforms(parsed),
            (Some(_), Err(_)) | (None, _) => drop(PLATFORM, "--platform"),
        }
        given.contexts = bake::contexts(contexts, Path::new(""));
        given
    }
}

impl Given {
    /// Adds the platforms of another build of the same image.
    pub(super) fn take_platforms(&mut self, others: Vec<Platform>) {
        for other in others.into_iter().map(Platform::normalized) {
            if !self.platforms.contains(&other) {
                self.platforms.push(other);
            }
        }
    }
}

/// `KEY=value`; without a value, it is that of a variable of the environment.
fn pair(text: &Open) -> Option<(String, Open)> {
    let (key, value) = match text.0.split_once('=') {
        Some((key, value)) => (key, value.to_owned()),
        None => (text.0.as_str(), unknown(&text.0)),
    };
    let key = key.trim();
    let is_key = !key.is_empty() && Open(key.to_owned()).is_known();
    is_key.then(|| (key.to_owned(), Open(value)))
}

fn is_builtin(key: &str) -> bool {
    let rest = key.strip_prefix("TARGET").or_else(|| key.strip_prefix("BUILD"));
    rest.is_some_and(|rest| ["ARCH", "OS", "PLATFORM", "VARIANT"].contains(&rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn given(words: &[(&str, &str)]) -> Given {
        let mut options = BuildOptions::default();
        for (name, value) in words {
            options.take(name, Open((*value).to_owned()));
        }
        options.give(|open| open.is_known().then(|| open.0.clone()))
    }

    #[test]
    fn an_argument_that_looks_like_a_secret_is_kept_without_its_value() {
        let given = given(&[("--build-arg", "NPM_TOKEN=hunter2")]);
        assert_eq!(given.build_args, [("NPM_TOKEN".to_owned(), String::new())].into());
        let dropped = DroppedOption { cause: SECRET, item: "NPM_TOKEN".to_owned() };
        assert_eq!(given.dropped, [dropped]);
    }

    #[test]
    fn options_are_fields_or_doubts() {
        for (options, expected) in [
            (&[("--platform", "linux/arm64")][..], "linux/arm64"),
            (
                &[("--platform", "linux/arm64/v8,linux/amd64,linux/arm64")],
                "linux/arm64 linux/amd64",
            ),
            (&[("--platform", "linux/\u{1}A\u{2}")], "--platform: the value"),
            (&[("--label", "a=b=c")], "a: b=c"),
            (&[("--label", "a=\u{1}B\u{2}")], "a: the value of the label"),
            (&[("--build-arg", "TARGETARCH"), ("--build-arg", "V=1")], "V: 1"),
            (&[("--build-arg", "V")], "V: the value of the argument"),
            (&[("--secret", "id=x"), ("--cache-from", "x")], "--secret: the option"),
            (&[("--target", "\u{1}T\u{2}")], "--target: the value"),
            (&[("--no-cache", "")], "--no-cache: the option"),
            (&[("--network", "host")], "network: host"),
            (&[("--network", "shared")], "--network: the option"),
            (&[("--ulimit", "nofile=10"), ("--ulimit", "core=0")], "ulimits: {"),
            (&[("--annotation", "a=b,c")], "annotations: { a: \"b,c\" }"),
            (&[("--add-host", "\u{1}H\u{2}:::1")], "--add-host: the option"),
            (&[("--pull", "")], ""),
        ] {
            let given = given(options);
            let dropped = given.dropped.iter().map(|one| format!("{}: {}", one.item, one.cause));
            let pairs = given.labels.iter().chain(&given.build_args);
            let pairs = pairs.map(|(key, value)| format!("{key}: {value}"));
            let platforms: Vec<String> = given.platforms.iter().map(ToString::to_string).collect();
            let platforms = Some(platforms.join(" ")).filter(|all| !all.is_empty());
            let fields = given.options.iter().map(|(key, value)| format!("{key}: {value}"));
            let pairs = pairs.chain(fields);
            let shown: Vec<String> = platforms.into_iter().chain(pairs).chain(dropped).collect();
            assert!(
                shown.len() <= 1 && shown.concat().starts_with(expected),
                "{shown:?} {expected}"
            );
            assert_eq!(shown.is_empty(), expected.is_empty());
        }
    }
}
