//! The services of a compose file that are built.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Component, Path, PathBuf},
};

use serde_json::{Map, Value, json};

use super::{
    bake::{Targets, TargetsError, list, text_of},
    candidate::variables,
    evidence::{EvidenceRule, tidy, unknown},
    readers::text_inside,
};
use crate::{
    check::diagnostic::SourceFile,
    dockerfile,
    hierarchy::{self, looks_secret},
    host::{bounded, git},
};

/// Services that extend each other are followed to this depth.
const DEEPEST: usize = 8;
/// More files that include each other are not read.
const FILES: usize = 64;

/// Reads services, and those of the files that the file includes. `folder` is that of the file, seen from the
/// folder of the hierarchy.
pub(super) fn targets(
    file: &Path,
    text: String,
    folder: &Path,
    process: &BTreeMap<String, String>,
) -> Result<Targets, TargetsError> {
    with_included((file, text), folder, process, &mut BTreeSet::new())
}

fn with_included(
    (file, text): (&Path, String),
    folder: &Path,
    process: &BTreeMap<String, String>,
    read: &mut BTreeSet<PathBuf>,
) -> Result<Targets, TargetsError> {
    let source = SourceFile::new(file, text);
    let value =
        hierarchy::value(&source).map_err(|problem| TargetsError::Yaml(Box::new(problem)))?;
    let own = file.parent().unwrap_or(Path::new(""));
    let mut found = Targets::default();
    read.insert(file.to_owned());
    for name in included(value.get("include")) {
        let path = tidy_path(&own.join(&name));
        if read.len() >= FILES || !read.insert(path.clone()) {
            continue;
        }
        // As with `extends`: no file outside is read.
        let is_inside = !name.starts_with('/') && !name.split('/').any(|part| part == "..");
        let text = if is_inside { text_inside(own, &path) } else { None };
        let Some(text) = text else { continue };
        let below = folder.join(&name).parent().map(tidy_path).unwrap_or_default();
        if let Ok(targets) = with_included((&path, text), &below, process, read) {
            found.found.extend(targets.found);
            found.notes.extend(targets.notes);
        }
    }
    match services(file, value, folder, process) {
        Ok(targets) => {
            found.found.extend(targets.found);
            found.notes.extend(targets.notes);
            Ok(found)
        }
        Err(_) if !found.found.is_empty() => Ok(found),
        Err(error) => Err(error),
    }
}

/// Whether compose reads a file on top of another one: <https://docs.docker.com/compose/how-tos/multiple-compose-files/merge/>.
pub(super) fn is_override(file: &Path) -> bool {
    let name = file.file_name().unwrap_or_default().to_string_lossy();
    let Some((stem, "yml" | "yaml")) = name.split_once(".override.") else { return false };
    ["yml", "yaml"].iter().any(|ending| file.with_file_name(format!("{stem}.{ending}")).is_file())
}

fn tidy_path(path: &Path) -> PathBuf {
    tidy(&path.to_string_lossy())
}

/// The files of an `include`: <https://docs.docker.com/reference/compose-file/include/>.
fn included(include: Option<&Value>) -> Vec<String> {
    let path = |one: &Value| match one.get("path") {
        Some(path) => list(Some(path)),
        None => list(Some(one)),
    };
    include.and_then(Value::as_array).into_iter().flatten().flat_map(path).collect()
}

/// The services of a file alone.
fn services(
    file: &Path,
    mut value: Value,
    folder: &Path,
    process: &BTreeMap<String, String>,
) -> Result<Targets, TargetsError> {
    let own = file.parent().unwrap_or(Path::new(""));
    let (mut variables, mut public) = (BTreeMap::new(), BTreeMap::new());
    if let Ok(text) = bounded::text(&own.join(".env")) {
        variables = environment(&text, process);
        if git::tracked_among(own, [&PathBuf::from(".env")].into_iter())
            .is_ok_and(|tracked| !tracked.is_empty())
        {
            public = environment(&text, &BTreeMap::new());
            public.retain(|key, _| !looks_secret(key));
        }
    }
    // As in compose, the environment comes before `.env`.
    variables.extend(process.iter().map(|(key, value)| (key.clone(), value.clone())));
    let mut notes = Vec::new();
    leave_out_values(&mut value, (&variables, &public), own, &mut notes);
    variables.retain(|key, _| !looks_secret(key));
    for service in value.get_mut("services").and_then(Value::as_object_mut).into_iter().flatten() {
        mark_unset(service.1, &variables);
    }
    fill(&mut value, &variables);
    let Some(services) = value.get("services").and_then(Value::as_object) else {
        return Err(TargetsError::NoServices);
    };
    let mut all = Map::new();
    for name in services.keys() {
        let service = extended(services, name, own, DEEPEST);
        if let Some(build) = service.get("build") {
            let mut fields = bake_fields(&service, build);
            if let Some(secrets) = fields.get_mut("secret") {
                *secrets = secret_sources(secrets, value.get("secrets"), folder);
            }
            all.insert(name.clone(), fields);
        }
    }
    if all.is_empty() {
        return Err(TargetsError::NothingBuilt);
    }
    let name = Path::new(file.file_name().unwrap_or_default());
    let mut read = Targets::read(&all, EvidenceRule::Compose, name, folder)?;
    read.notes.splice(0..0, notes);
    Ok(read)
}

/// A service on top of the one that it extends, which may be in another file.
fn extended(services: &Map<String, Value>, name: &str, folder: &Path, depth: usize) -> Value {
    let own = services.get(name).cloned().unwrap_or_default();
    let Some(extends) = own.get("extends").filter(|_| depth > 0) else { return own };
    let base = text_of(Some(extends)).or_else(|| text_of(extends.get("service")));
    let Some(base) = base else { return own };
    let mut value = match text_of(extends.get("file")) {
        None => extended(services, &base, folder, depth - 1),
        Some(other) => {
            let path = folder.join(&other);
            let is_inside = !other.starts_with('/') && !other.split('/').any(|part| part == "..");
            let text = if is_inside { text_inside(folder, &path) } else { None };
            let all = text.and_then(|text| hierarchy::value(&SourceFile::new(&path, text)).ok());
            let all = all.and_then(|all| all.get("services")?.as_object().cloned());
            all.map(|all| extended(&all, &base, folder, depth - 1)).unwrap_or_default()
        }
    };
    lay(&mut value, own);
    value
}

/// A map of a compose or CI file on top of another.
pub(super) fn lay(under: &mut Value, over: Value) {
    match (under, over) {
        (Value::Object(under), Value::Object(over)) => {
            for (key, value) in over {
                lay(under.entry(key).or_insert(Value::Null), value);
            }
        }
        (under, over) => *under = over,
    }
}

/// A service as a target of bake.
fn bake_fields(service: &Value, build: &Value) -> Value {
    let mut fields = Map::new();
    for (key, value) in build.as_object().into_iter().flatten() {
        let key = match key.as_str() {
            "additional_contexts" => "contexts",
            "secrets" => "secret",
            "extra_hosts" => "extra-hosts",
            "shm_size" => "shm-size",
            "no_cache" => "no-cache",
            "cache_from" => "cache-from",
            "cache_to" => "cache-to",
            "dockerfile_inline" => "dockerfile-inline",
            key => key,
        };
        fields.insert(key.to_owned(), value.clone());
    }
    if let Some(folder) = text_of(Some(build)) {
        fields.insert("context".to_owned(), folder.into());
    }
    if let (false, Some(platform)) = (fields.contains_key("platforms"), service.get("platform")) {
        fields.insert("platforms".to_owned(), platform.clone());
    }
    let tags = [list(service.get("image")), list(build.get("tags"))].concat();
    fields.insert("tags".to_owned(), tags.into());
    Value::Object(fields)
}

/// The secrets that a build names, each with its source at the top of the file.
fn secret_sources(named: &Value, sources: Option<&Value>, folder: &Path) -> Value {
    let items = named.as_array().into_iter().flatten();
    let source = |item: &Value| {
        let name = text_of(Some(item)).or_else(|| text_of(item.get("source")))?;
        let id = text_of(item.get("target")).unwrap_or_else(|| name.clone());
        let source = sources?.get(&name)?;
        if let Some(variable) = text_of(source.get("environment")) {
            return Some(json!({ "id": id, "env": variable }));
        }
        let file = tidy(&folder.join(text_of(source.get("file"))?).to_string_lossy());
        Some(json!({ "id": id, "src": file.to_string_lossy() }))
    };
    // Without an ID the secret is reported as not known.
    items.map(|item| source(item).unwrap_or_else(|| json!({ "unknown": "" }))).collect()
}

/// In names and tags of images, a variable that is not set has a value that is not known.
fn mark_unset(service: &mut Value, variables: &BTreeMap<String, String>) {
    if let Some(image) = service.get_mut("image") {
        mark(image, variables);
    }
    let tags = service.get_mut("build").and_then(|build| build.get_mut("tags"));
    tags.and_then(Value::as_array_mut).into_iter().flatten().for_each(|tag| mark(tag, variables));
}

fn mark(value: &mut Value, known: &BTreeMap<String, String>) {
    let mut known = known.clone();
    let text = value.as_str().unwrap_or_default();
    for name in variables(text) {
        let has = |sign: &str| text.contains(&format!("${{{name}{sign}"));
        if ![":-", "-", ":+", "+"].into_iter().any(has) {
            known.entry(name.clone()).or_insert_with(|| unknown(&name));
        }
    }
    fill(value, &known);
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
/// argument or a label that takes a value from it is left out. An argument in the name of a base stays, if all of
/// its values are `public`: git tracks them.
fn leave_out_values(
    file: &mut Value,
    (variables, public): (&BTreeMap<String, String>, &BTreeMap<String, String>),
    folder: &Path,
    notes: &mut Vec<String>,
) {
    let none = BTreeMap::new();
    let with = |text: &str, variables: &BTreeMap<String, String>| {
        dockerfile::expand(&text.replace("$$", ""), variables).ok()
    };
    let is_public = |text: &str| with(text, variables) == with(text, public);
    let is_from_env = |value: &Value| {
        value.as_str().is_some_and(|text| with(text, variables) != with(text, &none))
    };
    let services = file.get_mut("services").and_then(Value::as_object_mut);
    for (name, service) in services.into_iter().flatten() {
        let text = service.get("build").and_then(|build| dockerfile_of(build, folder));
        let text = text.unwrap_or_default();
        for (field, what) in [
            ("args", "argument"),
            ("labels", "label"),
            ("extra_hosts", "host"),
            ("ulimits", "limit"),
            ("additional_contexts", "context"),
        ] {
            let is_base =
                |key: &str| field == "args" && !looks_secret(key) && names_base(&text, key);
            let mut left_out = Vec::new();
            match service.get_mut("build").and_then(|build| build.get_mut(field)) {
                Some(Value::Object(map)) => map.retain(|key, value| {
                    let stays = || is_base(key) && value.as_str().is_some_and(is_public);
                    let is_from_env = is_from_env(value) && !stays();
                    left_out.extend(is_from_env.then(|| key.clone()));
                    !is_from_env
                }),
                Some(Value::Array(items)) => items.retain(|item| {
                    let key = item.as_str().and_then(|item| item.split('=').next());
                    let stays = || key.is_some_and(is_base) && item.as_str().is_some_and(is_public);
                    let is_from_env = is_from_env(item) && !stays();
                    left_out.extend(key.filter(|_| is_from_env).map(str::to_owned));
                    !is_from_env
                }),
                _ => {}
            }
            notes.extend(left_out.into_iter().map(|key| {
                format!("`{name}`: its {what} `{key}` has its value from the environment or `.env` and is left out")
            }));
        }
        let Some(Value::Object(build)) = service.get_mut("build") else { continue };
        for field in ["dockerfile_inline", "network", "shm_size"] {
            if build.get(field).is_some_and(is_from_env) {
                build.remove(field);
                notes.push(format!(
                    "`{name}`: its `{field}` has its value from the environment or `.env` and is left out"
                ));
            }
        }
    }
}

/// The Dockerfile of a service, if it is below the folder of the compose file.
fn dockerfile_of(build: &Value, folder: &Path) -> Option<String> {
    let context = text_of(Some(build)).or_else(|| text_of(build.get("context")));
    let context = context.unwrap_or_else(|| ".".to_owned());
    let name = text_of(build.get("dockerfile")).unwrap_or_else(|| "Dockerfile".to_owned());
    let path = Path::new(&context).join(name);
    let is_below =
        path.components().all(|part| matches!(part, Component::Normal(_) | Component::CurDir));
    if is_below { bounded::text(&folder.join(path)).ok() } else { None }
}

/// Whether an argument is a part of the name of an image that the Dockerfile is `FROM`, perhaps by the default of
/// another argument.
fn names_base(dockerfile: &str, argument: &str) -> bool {
    let lines = || dockerfile.lines().map(str::trim);
    let is_from = |line: &&str| {
        line.split_whitespace().next().is_some_and(|word| word.eq_ignore_ascii_case("from"))
    };
    let mut names: Vec<String> = lines().filter(is_from).flat_map(variables).collect();
    for line in lines().take_while(|line| !is_from(line)) {
        let default =
            line.split_once(char::is_whitespace).and_then(|(_, rest)| rest.split_once('='));
        if let Some((name, default)) = default
            && names.iter().any(|known| known == name.trim())
        {
            names.extend(variables(default));
        }
    }
    names.iter().any(|name| name == argument)
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
    use crate::init::evidence::Evidence;

    #[test]
    fn services_extend_others_and_have_profiles() {
        let folder = tempfile::tempdir().unwrap();
        let other = "services: { s: { build: { context: sub, target: t } } }\n";
        std::fs::write(folder.path().join("other.yaml"), other).unwrap();
        std::fs::create_dir(folder.path().join("inc")).unwrap();
        let included = "services: { i: { image: x/i, build: one } }\n";
        std::fs::write(folder.path().join("inc/sub.yaml"), included).unwrap();
        let file = "\
include: [inc/sub.yaml, compose.yaml, ./inc/sub.yaml, { path: [missing.yaml, ../x.yaml] }]
services:
  a: { image: x/a, profiles: [all], build: { context: a, args: { A: 1, B: 1 } } }
  b: { extends: { service: a }, image: x/b, build: { args: { B: 2 } } }
  c: { extends: { file: other.yaml, service: s }, image: x/c }
  ring: { extends: ring }
";
        let path = folder.path().join("compose.yaml");
        let targets = targets(&path, file.to_owned(), Path::new(""), &BTreeMap::new()).unwrap();
        let shown: Vec<String> = targets.found.iter().map(Evidence::shown).collect();
        assert_eq!(
            shown,
            [
                "inc/one/Dockerfile x/i:latest",
                "a/Dockerfile x/a:latest A=1 B=1",
                "a/Dockerfile x/b:latest A=1 B=2",
                "sub/Dockerfile x/c:latest @t"
            ]
        );
    }

    #[test]
    fn an_override_is_beside_its_file() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("compose.yaml"), "services: {}").unwrap();
        for (name, is_one) in
            [("compose.override.yml", true), ("other.override.yml", false), ("compose.yaml", false)]
        {
            assert_eq!(is_override(&folder.path().join(name)), is_one, "{name}");
        }
    }

    #[test]
    fn a_variable_without_a_value_makes_no_tag() {
        let file = "services: { a: { image: \"x/a:${T?no}\", build: a }, b: { image: \"x/b:1-$T\", build: { context: b, args: [B] } }, c: { image: \"x/c:${T:-3}\", build: c } }";
        let none = BTreeMap::new();
        let targets = targets(Path::new("c.yaml"), file.to_owned(), Path::new(""), &none).unwrap();
        let shown: Vec<String> = targets.found.iter().map(Evidence::shown).collect();
        assert_eq!(shown, ["a/Dockerfile x/a:?", "b/Dockerfile x/b:?", "c/Dockerfile x/c:3"]);
        let told = "`b`: its argument `B` takes its value from the environment and is left out";
        assert_eq!(targets.notes, [told]);
    }

    /// The base is `x/base` with a version of `.env`, which git tracks or not.
    #[test]
    fn a_tracked_value_in_the_name_of_a_base_stays() {
        let folder = tempfile::tempdir().unwrap();
        let write =
            |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
        write(".env", "MAJOR=3\nVERSION=${MAJOR}.1\nNPM_TOKEN=hunter2\nOTHER=4\n");
        write("Dockerfile", "ARG V\nARG W\nARG IMAGE=x/base:${V}\nFROM $IMAGE\nARG W\nRUN $W\n");
        let file = "\
services:
  a:
    image: x/a
    build: { context: ., args: { V: \"${VERSION}\", W: \"${OTHER}\", IMAGE: \"x/${NPM_TOKEN}\" } }
  b: { image: x/b, build: { context: ., args: [\"V=${VERSION}\", \"W=${OTHER}\"] } }
";
        let given = |process: &[(&str, &str)]| {
            let process = process.iter().map(|(key, value)| (key.to_string(), value.to_string()));
            let path = folder.path().join("compose.yaml");
            let read = targets(&path, file.to_owned(), Path::new(""), &process.collect());
            let shown = read.unwrap().found.iter().map(Evidence::shown).collect::<Vec<_>>();
            shown.join(", ")
        };
        let none = "Dockerfile x/a:latest, Dockerfile x/b:latest";
        assert_eq!(given(&[]), none);
        let git = |arguments: &[&str]| {
            let ended = std::process::Command::new("git")
                .arg("-C")
                .arg(folder.path())
                .args(arguments)
                .status();
            assert!(ended.unwrap().success());
        };
        git(&["init", "--quiet"]);
        assert_eq!(given(&[]), none);
        git(&["add", ".env"]);
        assert_eq!(given(&[]), "Dockerfile x/a:latest V=3.1, Dockerfile x/b:latest V=3.1");
        // A value of this machine.
        assert_eq!(given(&[("MAJOR", "4")]), none);
    }

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
