//! The options of a bake target that an entry has a field for, in the YAML of that field.
//!
//! A table in docs/init.md says what becomes of each field of a target.

use std::collections::BTreeMap;

use serde_json::Value;

use super::{
    bake::{list, map, text_of},
    file::quoted,
};

/// Fields of an entry, by their name in hierarchy.yaml.
pub(super) type OptionTexts = BTreeMap<&'static str, String>;

/// Why something of a target is not in the entry.
const CACHE: &str = "a cache is `type=registry` or `type=inline`";
const ATTEST: &str = "`attest` has `provenance` and `sbom`";
const ANNOTATIONS: &str = "an annotation is `name=value`, for the manifest or the index";
const NO_CACHE: &str = "the layer cache is used unless `refresh` says otherwise; `rebuild --refresh` builds without it";
const ENTITLEMENTS: &str = "privileged builds are not supported";

/// The options of a target, and what of it is left out, each with the reason.
pub(super) fn options(target: &Value) -> (OptionTexts, Vec<String>) {
    let (mut options, mut notes) = (OptionTexts::new(), Vec::new());
    let mut leave_out = |field: &str, why: &str| {
        notes.push(format!("its `{field}` is left out: {why}"));
    };
    let has = |field: &str| match target.get(field) {
        None | Some(Value::Null | Value::Bool(false)) => false,
        Some(Value::Array(items)) => !items.is_empty(),
        Some(Value::Object(fields)) => !fields.is_empty(),
        Some(_) => true,
    };
    let network = text_of(target.get("network"));
    match network.as_deref() {
        None | Some("" | "default") => {}
        Some(network @ ("none" | "host")) => _ = options.insert("network", network.to_owned()),
        Some(_) => leave_out("network", "`network` is `default`, `none` or `host`"),
    }
    insert(&mut options, "add_hosts", &hosts(target.get("extra-hosts")));
    if let Some(size) = text_of(target.get("shm-size")) {
        options.insert("shm_size", quoted(&binary(&size)));
    }
    insert(&mut options, "ulimits", &limits(target.get("ulimits")));
    let stages = list(target.get("no-cache-filter"));
    if !stages.is_empty() {
        let stages: Vec<String> = stages.iter().map(|stage| quoted(stage)).collect();
        options.insert("no_cache_filter", format!("[{}]", stages.join(", ")));
    }
    let (secrets, unknown) = secrets(target.get("secret"));
    if !secrets.is_empty() {
        let secrets: Vec<String> = secrets
            .iter()
            .map(|(id, (kind, from))| format!("{}: {{ {kind}: {} }}", quoted(id), quoted(from)))
            .collect();
        options.insert("secrets", format!("{{ {} }}", secrets.join(", ")));
    }
    if unknown {
        leave_out("secret", "its ID or its source is not known; use `secrets:`");
    }
    let agents = agents(target.get("ssh"));
    let is_ours = |agent: &String| agent == "default";
    if agents.iter().any(is_ours) {
        options.insert("ssh", "true".to_owned());
    }
    if !agents.iter().all(is_ours) {
        leave_out("ssh", "`ssh` is the agent of `SSH_AUTH_SOCK`, with the ID `default`");
    }
    if has("no-cache") {
        leave_out("no-cache", NO_CACHE);
    }
    for (field, why, carried) in [
        ("annotations", ANNOTATIONS, annotations(target, &mut options)),
        ("attest", ATTEST, attestations(target, &mut options)),
    ] {
        if !carried {
            leave_out(field, why);
        }
    }
    let places = ["cache-from", "cache-to"].map(|field| cache_places(target.get(field)));
    for (field, (_, all)) in ["cache-from", "cache-to"].iter().zip(&places) {
        if !all {
            leave_out(field, CACHE);
        }
    }
    let lists = ["from", "to"].iter().zip(places).filter(|(_, (places, _))| !places.is_empty());
    let lists: Vec<String> =
        lists.map(|(name, (places, _))| format!("{name}: [{}]", places.join(", "))).collect();
    if !lists.is_empty() {
        options.insert("cache", format!("{{ {} }}", lists.join(", ")));
    }
    // `network: host` needs no second permission here.
    if list(target.get("entitlements")).iter().any(|one| one != "network.host") {
        leave_out("entitlements", ENTITLEMENTS);
    }
    (options, notes)
}

/// `key=value`, `manifest:key=value` or `index,manifest:key=value`. Whether all are carried over.
fn annotations(target: &Value, options: &mut OptionTexts) -> bool {
    let all = list(target.get("annotations"));
    let read = |text: &String| {
        let (name, value) = text.split_once('=')?;
        let name = match name.split_once(':') {
            Some((kinds, name)) => {
                let mut kinds = kinds.split(',');
                kinds.all(|kind| ["manifest", "index"].contains(&kind)).then_some(name)?
            }
            None => name,
        };
        Some((name.to_owned(), value.to_owned()))
    };
    let known: BTreeMap<String, String> = all.iter().filter_map(read).collect();
    insert(options, "annotations", &known);
    all.iter().all(|one| read(one).is_some())
}

/// `type=provenance,mode=max` or a map of the same. Whether all are carried over.
fn attestations(target: &Value, options: &mut OptionTexts) -> bool {
    let mut known = BTreeMap::new();
    let mut all = true;
    for fields in entries(target.get("attest")) {
        let is_off = fields.get("disabled").is_some_and(|off| off == "true");
        let value = |name: &str| fields.get(name).cloned();
        match fields.get("type").map(String::as_str) {
            Some("provenance" | "sbom") if is_off => {}
            Some("provenance") => {
                _ = known
                    .insert("provenance".to_owned(), value("mode").unwrap_or("min".to_owned()));
            }
            Some("sbom") => {
                let scanner = value("generator").unwrap_or("true".to_owned());
                _ = known.insert("sbom".to_owned(), scanner);
            }
            _ => all = false,
        }
    }
    if !known.is_empty() {
        let pair = |(name, value): (&String, &String)| match value.as_str() {
            "true" => format!("{name}: true"),
            value => format!("{name}: {}", quoted(value)),
        };
        let pairs: Vec<String> = known.iter().map(pair).collect();
        options.insert("attest", format!("{{ {} }}", pairs.join(", ")));
    }
    all
}

/// The places that BuildKit in an engine has, in YAML, and whether those are all.
fn cache_places(value: Option<&Value>) -> (Vec<String>, bool) {
    let all = entries(value);
    let count = all.len();
    let written = |fields: BTreeMap<String, String>| {
        let kind = fields.get("type").map_or("registry", String::as_str);
        let is_known = ["registry", "inline"].contains(&kind);
        let pairs: Vec<String> =
            fields.iter().map(|(name, value)| format!("{name}={value}")).collect();
        is_known.then(|| quoted(&if kind == "inline" { kind.to_owned() } else { pairs.join(",") }))
    };
    let places: Vec<String> = all.into_iter().filter_map(written).collect();
    let is_all = places.len() == count;
    (places, is_all)
}

/// A list of `name=value,…`, of references or of maps.
fn entries(value: Option<&Value>) -> Vec<BTreeMap<String, String>> {
    let Some(Value::Array(items)) = value else { return Vec::new() };
    let read = |item: &Value| match item {
        Value::String(text) if !text.contains('=') => [("ref".to_owned(), text.clone())].into(),
        Value::String(text) => text
            .split(',')
            .filter_map(|part| part.split_once('='))
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect(),
        item => map(Some(item)),
    };
    items.iter().map(read).collect()
}

fn insert(options: &mut OptionTexts, field: &'static str, values: &BTreeMap<String, String>) {
    if !values.is_empty() {
        options.insert(field, map_text(values));
    }
}

/// `{ a: b, c: d }`
pub(super) fn map_text(values: &BTreeMap<String, String>) -> String {
    let pairs: Vec<String> =
        values.iter().map(|(key, value)| format!("{}: {}", quoted(key), quoted(value))).collect();
    format!("{{ {} }}", pairs.join(", "))
}

/// A map, or a list of `name:address` or `name=address`.
fn hosts(value: Option<&Value>) -> BTreeMap<String, String> {
    let Some(Value::Array(items)) = value else { return map(value) };
    let pairs = items.iter().filter_map(|item| item.as_str()?.split_once(['=', ':']));
    let address = |text: &str| text.trim_matches(['[', ']']).to_owned();
    pairs.map(|(name, text)| (name.to_owned(), address(text))).collect()
}

/// A list of `name=soft:hard`, or a map to a number or to `soft` and `hard`.
fn limits(value: Option<&Value>) -> BTreeMap<String, String> {
    let Some(Value::Object(fields)) = value else { return map(value) };
    let limit = |value: &Value| match (text_of(value.get("soft")), text_of(value.get("hard"))) {
        (Some(soft), Some(hard)) => Some(format!("{soft}:{hard}")),
        _ => text_of(Some(value)),
    };
    fields.iter().filter_map(|(name, value)| Some((name.clone(), limit(value)?))).collect()
}

/// Docker's `m` is 1024 × 1024 (github.com/docker/go-units, `RAMInBytes`), and that of hierarchy.yaml is a million.
fn binary(size: &str) -> String {
    let text = size.trim();
    let split = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = (&text[..split], text[split..].trim().to_ascii_lowercase());
    match unit.trim_end_matches('b').trim_end_matches('i') {
        "" => number.to_owned(),
        unit => format!("{number}{}iB", unit.to_ascii_uppercase()),
    }
}

/// Where the value of each secret is, by ID; and whether one is not known.
fn secrets(value: Option<&Value>) -> (BTreeMap<String, (&'static str, String)>, bool) {
    let (mut secrets, mut is_unknown) = (BTreeMap::new(), false);
    for one in sources(value) {
        let get = |names: &[&str]| names.iter().find_map(|name| one.get(*name).cloned());
        let file =
            get(&["src", "source", "file"]).filter(|_| get(&["type"]).as_deref() != Some("env"));
        let variable = get(&["env"]).or_else(|| get(&["src", "source"]));
        match (get(&["id"]), file, variable) {
            (Some(id), Some(file), _) => _ = secrets.insert(id, ("file", file)),
            (Some(id), None, Some(variable)) => _ = secrets.insert(id, ("env", variable)),
            // As buildx: a variable with the name of the ID.
            (Some(id), None, None) => _ = secrets.insert(id.clone(), ("env", id)),
            (None, ..) => is_unknown = true,
        }
    }
    (secrets, is_unknown)
}

/// The agents of a build: an ID, with its keys behind it unless they are those of the user's agent.
fn agents(value: Option<&Value>) -> Vec<String> {
    let Some(Value::Array(items)) = value else { return Vec::new() };
    let agent = |item: &Value| {
        if let Some(text) = item.as_str() {
            return text.to_owned();
        }
        let id = text_of(item.get("id")).unwrap_or_else(|| "default".to_owned());
        let paths = list(item.get("paths"));
        if paths.is_empty() { id } else { format!("{id}={}", paths.join(",")) }
    };
    items.iter().map(agent).collect()
}

/// Items as maps, or as texts of `key=value` with commas between them. A text alone is the ID.
fn sources(value: Option<&Value>) -> Vec<BTreeMap<String, String>> {
    let Some(Value::Array(items)) = value else { return Vec::new() };
    let source = |item: &Value| match item.as_str() {
        None => map(Some(item)),
        Some(text) => text
            .split(',')
            .map(|part| part.split_once('=').unwrap_or(("id", part)))
            .map(|(key, value)| (key.trim().to_owned(), value.to_owned()))
            .collect(),
    };
    items.iter().map(source).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn fields_of_a_target_become_fields_of_an_entry() {
        for (target, expected) in [
            (json!({ "network": "none" }), "network: none"),
            (json!({ "network": "default" }), ""),
            (json!({ "extra-hosts": { "a": "1.2.3.4" } }), "add_hosts: { a: \"1.2.3.4\" }"),
            (
                json!({ "extra-hosts": ["a:1.2.3.4", "b=::1"] }),
                "add_hosts: { a: \"1.2.3.4\", b: \"::1\" }",
            ),
            (json!({ "shm-size": "128m" }), "shm_size: \"128MiB\""),
            (json!({ "shm-size": 4096 }), "shm_size: \"4096\""),
            (json!({ "ulimits": ["nofile=1024:2048"] }), "ulimits: { nofile: \"1024:2048\" }"),
            (
                json!({ "ulimits": { "nproc": 5, "nofile": { "soft": 1, "hard": 2 } } }),
                "ulimits: { nofile: \"1:2\", nproc: \"5\" }",
            ),
            (json!({ "no-cache-filter": ["a"] }), "no_cache_filter: [a]"),
            (
                json!({ "secret": ["id=a,env=A", "type=file,id=b,src=x/y", { "id": "c" }, "id=d,type=env,src=D"] }),
                "secrets: { a: { env: A }, b: { file: x/y }, c: { env: c }, d: { env: D } }",
            ),
            (json!({ "ssh": ["default"] }), "ssh: true"),
            (json!({ "ssh": [{ "id": "default" }] }), "ssh: true"),
            (
                json!({ "ssh": ["key=/x"] }),
                "- its `ssh` is left out: `ssh` is the agent of `SSH_AUTH_SOCK`, with the ID `default`",
            ),
            (
                json!({ "attest": ["type=sbom", { "type": "provenance", "mode": "max" }] }),
                "attest: { provenance: max, sbom: true }",
            ),
            (
                json!({ "attest": ["type=sbom,disabled=true", "type=other"] }),
                "- its `attest` is left out: `attest` has `provenance` and `sbom`",
            ),
            (
                json!({ "annotations": ["a.b=c", "index,manifest:d=e=f", "x:y=z"] }),
                "annotations: { a.b: c, d: \"e=f\" }\n- its `annotations` is left out: an annotation \
                 is `name=value`, for the manifest or the index",
            ),
            (
                json!({
                    "cache-from": ["r.example/a:b", { "type": "gha" }],
                    "cache-to": ["type=registry,ref=r.example/a:b,mode=max", "type=inline"],
                }),
                "cache: { from: [\"ref=r.example/a:b\"], to: [\"mode=max,ref=r.example/a:b,type=registry\", inline] }\n\
                 - its `cache-from` is left out: a cache is `type=registry` or `type=inline`",
            ),
            (json!({ "cache-to": [], "no-cache": false, "pull": true, "output": ["x"] }), ""),
            (json!({ "entitlements": ["network.host"] }), ""),
            (
                json!({ "entitlements": ["security.insecure"] }),
                "- its `entitlements` is left out: privileged builds are not supported",
            ),
        ] {
            let (options, notes) = options(&target);
            let options = options.iter().map(|(name, text)| format!("{name}: {text}"));
            let found: Vec<String> =
                options.chain(notes.iter().map(|note| format!("- {note}"))).collect();
            assert_eq!(found.join("\n"), expected, "{target}");
        }
    }
}
