//! A command that builds an image, or renames one: `docker build -t X .`, `docker tag X Y`.

use std::collections::BTreeSet;

use super::{
    build_options::BuildOptions,
    evidence::{Evidence, Open, PublishedImage, Values},
    path_words::is_one_of,
    variables::{Syntax, expand},
};

/// Options of `build` that take no value.
const FLAGS: &str = "\
    --pull --no-cache --rm --force-rm --squash -q --quiet --compress --layers \
    --debug -D --tls-verify --isolation --disable-content-trust";

/// A build command with its variables filled in.
#[derive(Debug, Default)]
pub(super) struct BuildCommand {
    pub(super) dockerfile: Option<Open>,
    pub(super) context: Option<Open>,
    pub(super) tags: Vec<Open>,
    /// The Dockerfile comes from standard input, without a context.
    pub(super) has_no_context: bool,
    /// The image is for this machine: it is loaded into the engine, or not kept at all.
    pub(super) is_local: bool,
    /// Variables of loops over files.
    pub(super) files: BTreeSet<String>,
    pub(super) options: BuildOptions,
}

fn is_engine(word: &str) -> bool {
    let name = word.rsplit('/').next().unwrap_or(word).to_ascii_lowercase();
    let is_variable = word.starts_with('\u{1}') && word.ends_with('\u{2}');
    ["docker", "podman", "buildah", "nerdctl"].contains(&name.as_str())
        || (is_variable
            && ["docker", "podman", "engine", "container", "buildah"]
                .iter()
                .any(|one| name.contains(one)))
}

/// What follows the name of the engine and its own options.
fn after_engine(words: &[String]) -> Option<&[String]> {
    let at = words.iter().position(|word| is_engine(word))?;
    let rest = &words[at + 1..];
    let skip = rest.iter().take_while(|word| word.starts_with('-')).count();
    Some(&rest[skip..])
}

/// `docker tag A B`.
pub(super) fn renamed(words: &[String]) -> Option<[Open; 2]> {
    match after_engine(words)? {
        [tag, from, to] if tag == "tag" => Some([Open(from.clone()), Open(to.clone())]),
        _ => None,
    }
}

pub(super) fn rename([from, to]: &[Open; 2], found: &mut [Evidence]) {
    let (Some(from), Some(to)) = (PublishedImage::read(from), PublishedImage::read(to)) else {
        return;
    };
    for one in found {
        if one.given.outputs.contains(&from) && !one.given.outputs.contains(&to) {
            one.given.outputs.push(to.clone());
        }
    }
}

/// A build, if the words are one.
pub(super) fn command(words: &[String], values: &Values) -> Option<BuildCommand> {
    if words.iter().any(|word| word.ends_with("kaniko/executor")) {
        return Some(options(words, values));
    }
    let rest = after_engine(words)?;
    let rest = match rest.first()?.as_str() {
        "buildx" | "image" | "builder" => &rest[1..],
        _ => rest,
    };
    ["build", "bud", "b", "build-using-dockerfile"]
        .contains(&rest.first()?.as_str())
        .then(|| options(&rest[1..], values))
}

fn options(words: &[String], values: &Values) -> BuildCommand {
    let mut command = BuildCommand::default();
    let mut places: Vec<Open> = Vec::new();
    let mut words = words.iter();
    while let Some(word) = words.next() {
        if word == "<" {
            command.dockerfile = words.next().cloned().map(Open);
            continue;
        }
        if word == "--" {
            continue;
        }
        if !word.starts_with('-') || word == "-" {
            places.push(Open(word.clone()));
            continue;
        }
        if ["--load", "--push"].contains(&word.as_str()) {
            command.is_local = word == "--load";
            continue;
        }
        if is_one_of(word, FLAGS) {
            command.options.take(word, Open(String::new()));
            continue;
        }
        let (name, value) = match word.split_once('=') {
            Some((name, value)) if word.starts_with("--") => (name, value.to_owned()),
            _ => match words.next() {
                Some(value) => (word.as_str(), value.clone()),
                None => break,
            },
        };
        let value = Open(value);
        match name {
            "-t" | "--tag" | "--destination" => command.tags.push(value),
            "-f" | "--file" | "--dockerfile" => command.dockerfile = Some(value),
            "--context" => places.push(value),
            "--build-arg" => {
                let own = values.get(&value.0).map(|own| expand(own, values, Syntax::Shell));
                let own = own.map(|own| Open(format!("{}={own}", value.0)));
                command.options.take(name, own.unwrap_or(value));
            }
            _ => command.options.take(name, value),
        }
    }
    let is_place =
        |place: &&Open| place.0 != "-" && !place.0.starts_with('>') && !place.0.starts_with("2>");
    let known: Vec<Open> = places.iter().filter(is_place).cloned().collect();
    // `$OPTIONS .`: what stands last is the folder.
    command.context = known.last().cloned();
    command.has_no_context = known.is_empty() && places.iter().any(|place| place.0 == "-");
    command
}
