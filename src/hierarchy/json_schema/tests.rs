use std::{collections::BTreeSet, fs, path::Path};

use boon::{Compiler, SchemaIndex, Schemas};

use super::*;
use crate::{
    check::diagnostic::{Diagnostic, SourceFile},
    hierarchy::{
        Environment, LoadOptions, draft,
        fields::Problems,
        schema::{File, Image},
        yaml::{self, ValueKind, Yaml},
    },
};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// With `UPDATE_DOCS=1` the file is written instead.
#[test]
fn the_file_is_what_the_program_prints() {
    let path = root().join("hierarchy.schema.json");
    if std::env::var_os("UPDATE_DOCS").is_some() {
        fs::write(&path, json_schema()).unwrap();
    }
    assert!(
        fs::read_to_string(&path).unwrap() == json_schema(),
        "run the tests with UPDATE_DOCS=1"
    );
}

fn read(text: &str) -> (Yaml, Vec<Diagnostic>) {
    let source = SourceFile::new("/h.yaml", text.to_owned());
    let (mut tree, mut found) = yaml::parse(&source).unwrap();
    let written = tree.clone();
    let mut problems = Problems::new(&source);
    let values = [("N", "3"), ("D", "90s"), ("T", "true"), ("P", "linux/amd64"), ("S", "1MB")];
    let values = values.map(|(name, value)| (name.to_owned(), value.to_owned()));
    let environment = Environment::Only(values.into());
    let options = LoadOptions { environment, ..LoadOptions::default() };
    if let Some(file) = File::expanded(&mut tree, &source.path, &options, &mut problems) {
        draft::drafts(file, &options, &mut problems);
    }
    found.extend(problems.found);
    (written, found)
}

/// As an editor sees it.
fn to_json(yaml: &Yaml) -> Value {
    match &yaml.kind {
        ValueKind::Null => Value::Null,
        ValueKind::Bool(value) => json!(value),
        ValueKind::Number(text) => serde_json::from_str(text).unwrap_or_else(|_| json!(text)),
        ValueKind::Text(text) => json!(text),
        ValueKind::List(items) => items.iter().map(to_json).collect(),
        ValueKind::Map(entries) => {
            let entries = entries.iter().map(|(key, value)| (key.name.clone(), to_json(value)));
            Value::Object(entries.collect())
        }
    }
}

struct Validator(Schemas, SchemaIndex);

impl Validator {
    fn new() -> Self {
        let (mut schemas, mut compiler) = (Schemas::new(), Compiler::new());
        let schema: Value = serde_json::from_str(&json_schema()).unwrap();
        compiler.add_resource("file:///hierarchy.schema.json", schema).unwrap();
        let index = compiler.compile("file:///hierarchy.schema.json", &mut schemas).unwrap();
        Self(schemas, index)
    }

    fn complaint(&self, yaml: &Yaml) -> Option<String> {
        self.0.validate(&to_json(yaml), self.1).err().map(|error| format!("{error:#}"))
    }
}

/// The names in backticks of a text.
fn quoted(text: &str) -> BTreeSet<String> {
    text.split('`').skip(1).step_by(2).map(str::to_owned).collect()
}

/// The names of the first column of the first table below a heading.
fn documented(heading: &str) -> BTreeSet<String> {
    let docs = fs::read_to_string(root().join("docs/hierarchy.md")).unwrap();
    let section = docs.split(&format!("\n## {heading}\n")).nth(1).unwrap();
    let section = section.split("\n## ").next().unwrap();
    let rows = section.lines().filter(|line| line.starts_with("| `"));
    rows.filter_map(|row| {
        quoted(row).into_iter().find(|name| row.starts_with(&format!("| `{name}`")))
    })
    .collect()
}

#[test]
fn the_fields_are_those_that_are_read_and_documented() {
    let schema: Value = serde_json::from_str(&json_schema()).unwrap();
    let top = "version: 1\nimages: {}\n";
    for (place, text, heading) in [
        ("/properties", format!("{top}zzzzzzzzzzzzzzzzzzzzzzzz: 1"), "At the top"),
        (
            "/$defs/image/properties",
            "version: 1\nimages: {a: {zzzzzzzzzzzzzzzzzzzzzzzz: 1}}".to_owned(),
            "An image",
        ),
        (
            "/$defs/test/properties",
            "version: 1\nimages: {a: {test: [{run: [x], zzzzzzzzzzzzzzzzzzzzzzzz: 1}]}}".to_owned(),
            "tests",
        ),
        (
            "/$defs/gate/properties",
            "version: 1\nimages: {a: {gate: [{run: [x], zzzzzzzzzzzzzzzzzzzzzzzz: 1}]}}".to_owned(),
            "gates",
        ),
        (
            "/$defs/image/properties/refresh/properties",
            "version: 1\nimages: {a: {refresh: {zzzzzzzzzzzzzzzzzzzzzzzz: 1}}}".to_owned(),
            "refresh",
        ),
    ] {
        let fields = schema.pointer(place).unwrap().as_object().unwrap();
        let fields: BTreeSet<String> = fields.keys().cloned().collect();
        let (_, problems) = read(&text);
        let [problem] = &problems[..] else { panic!("{problems:?}") };
        // A longer list is not in the hint.
        let read = match heading {
            "An image" => Image::known(&mut Problems::new(&SourceFile::new("x", ""))),
            _ => quoted(problem.hint.as_deref().unwrap()),
        };
        assert_eq!(read, fields, "{place}");
        assert_eq!(documented(heading), fields, "{heading}");
    }
    let mut image = schema["$defs"]["image"]["properties"].clone();
    image.as_object_mut().unwrap().remove("matrix");
    assert_eq!(schema["properties"]["defaults"]["properties"], image);
}

#[test]
fn the_channels_of_notify_are_those_that_are_read_and_documented() {
    let schema: Value = serde_json::from_str(&json_schema()).unwrap();
    let fields = schema.pointer("/properties/notify/oneOf/1/properties").unwrap();
    let fields: BTreeSet<String> = fields.as_object().unwrap().keys().cloned().collect();
    let (_, problems) = read("version: 1\nnotify: {zzzzzzzzzzzzzzzzzzzzzzzz: 1}\nimages: {}\n");
    let [problem] = &problems[..] else { panic!("{problems:?}") };
    assert_eq!(quoted(problem.hint.as_deref().unwrap()), fields);
    let page = fs::read_to_string(root().join("docs/notify.md")).unwrap();
    let table = page.split("\n## ").next().unwrap().lines();
    let rows = table.filter_map(|line| line.strip_prefix("| `")?.split('`').next());
    assert_eq!(rows.map(str::to_owned).collect::<BTreeSet<_>>(), fields);
    let validator = Validator::new();
    for (notify, is_good) in [
        ("[./x, 1]", true),
        ("{}", true),
        ("{ command: [x], slack: A, teams: B_1, webhook: c, github_comment: true }", true),
        ("./x", false),
        ("[]", false),
        ("{ command: x }", false),
        ("{ slack: \"https://x.org/y\" }", false),
        ("{ github_comment: 1 }", false),
    ] {
        let (tree, problems) = read(&format!("version: 1\nnotify: {notify}\nimages: {{}}\n"));
        assert_eq!(
            (validator.complaint(&tree).is_none(), problems.is_empty()),
            (is_good, is_good),
            "{notify}"
        );
    }
}

#[test]
fn every_field_is_described() {
    fn look(schema: &Value, path: &str) {
        for (name, field) in schema["properties"].as_object().into_iter().flatten() {
            // What a case forbids.
            if field.is_object() {
                let about = field["description"].as_str().unwrap_or_default();
                assert!(about.len() > 15 && about.ends_with('.'), "{path}.{name}: {about}");
                look(field, &format!("{path}.{name}"));
            }
        }
    }
    let schema: Value = serde_json::from_str(&json_schema()).unwrap();
    look(&schema, "");
    look(&schema["$defs"]["image"], "image");
    look(&schema["$defs"]["test"], "test");
}

#[test]
fn the_examples_are_valid() {
    let validator = Validator::new();
    for path in ["hierarchy.yaml", "examples/debian/hierarchy.yaml"] {
        let text = fs::read_to_string(root().join(path)).unwrap();
        let (tree, problems) = read(&text);
        assert_eq!((validator.complaint(&tree), problems.len()), (None, 0), "{path}");
        let line = text.lines().next().unwrap();
        let schema = line.strip_prefix("# yaml-language-server: $schema=").unwrap();
        assert!(root().join(path).parent().unwrap().join(schema).is_file(), "{path}: {line}");
    }
}

/// What the program takes, the schema takes; and of what the program refuses, whatever can be seen in one
/// entry by itself.
#[test]
#[expect(clippy::too_many_lines, reason = "a list")]
fn schema_and_program_agree() {
    let validator = Validator::new();
    let good = [
        "{}",
        "",
        "{ context: x, dockerfile: y, target: z, repository: r.io/x, parents: [b] }",
        "{ tags: [latest, 12, 3.10, \"{date}-{git}\"] }",
        "{ prepare: [./x, 1, true] }",
        "{ max_size: 120MB }",
        "{ max_size: 1.5 GiB }",
        "{ max_size: 4096 }",
        "{ max_size: 10k }",
        "{ budget: {} }",
        "{ budget: { size: 120MB, own: 1.5 GiB, layers: 30, waste: 5MB, growth: 5%, on_excess: warn } }",
        "{ budget: { size: none, own: none, layers: none, waste: none, growth: none, on_excess: fail } }",
        "{ budget: { size: 4096, layers: \"3\", growth: 2.5% } }",
        "{ budget: { growth: 20MB } }",
        "{ build_args: { A: 1, B: x, C: true }, labels: {} }",
        "{ build_args: { KEY: x }, allow_build_args: [KEY] }",
        "{ secrets: { npm: { env: NPM }, key: { file: ../x } } }",
        "{ flatten: true }",
        "{ flatten: own }",
        "{ ssh: true }",
        "{ dockerfile_inline: \"FROM scratch\", contexts: { a: lib, b: docker-image://os:12, c: https://h/r.git#v1:x } }",
        "{ context: https://h/r.git, secrets: { a: { env: A, required: false }, b: { file: b, required: true } } }",
        "{ network: none, add_hosts: { a: 10.0.0.1, b: \"::1\", c: host-gateway }, shm_size: 1 GiB }",
        "{ shm_size: 4096, ulimits: { nofile: 1, core: \"0\", nproc: \"1:2\", stack: -1, cpu: \"1:-1\" }, no_cache_filter: [a] }",
        "{ ssh: default }",
        "{ sign: [cosign, sign, \"{image}\"], publish: [] }",
        "{ gate: [{ run: [x] }, { run: [x, 1], archive: true, timeout: 1m, inherit: true }] }",
        "{ retries: \"${N}\", timeout: \"${D}\", keep: \"${N}\", ssh: \"${T}\", file_labels: \"${T}\", flatten: \"${T}\" }",
        "{ network: \"${X:-none}\", platform: \"${P}\", max_size: \"${S}\", shm_size: \"${S}\", refresh: { every: \"${D}\" } }",
        "{ budget: { layers: \"${N}\", size: \"${S}\" }, ulimits: { nofile: \"${N}\" }, on_failure: \"${X:-hold}\" }",
        "{ platforms: [\"${P}\"], attest: { provenance: \"${X:-max}\" }, schedule: { cron: \"@daily\", jitter: \"${D}\" } }",
        "{ secrets: { a: { env: A, required: \"${T}\" } }, refresh: { packages: \"${X:-apt}\" } }",
        "{ platform: linux/arm/v7 }",
        "{ on_failure: hold, timeout: 1h30m, retries: 5, keep: 1, file_labels: false }",
        "{ refresh: { every: 1d, packages: apk }, volatile: [a, \"!b\"] }",
        "{ refresh: {} }",
        "{ test: [] }",
        "{ test: [{ run: [x, 1], stdout: x, timeout: 5s, network: true, read_only: true, isolated: true, inherit: false }, { healthy: 30s, inherit: false }] }",
    ];
    let bad = [
        "1",
        "[]",
        "{ contxt: x }",
        "{ context: [] }",
        "{ tags: x }",
        "{ tags: [] }",
        "{ tags: [{}] }",
        "{ prepare: ./x }",
        "{ prepare: [] }",
        "{ max_size: 12 parsecs }",
        "{ max_size: 0 }",
        "{ max_size: -1 }",
        "{ budget: 5MB }",
        "{ budget: { max: 5MB } }",
        "{ budget: { size: some } }",
        "{ budget: { layers: 0 } }",
        "{ budget: { layers: 1.5 } }",
        "{ budget: { growth: 5.% } }",
        "{ budget: { on_excess: hold } }",
        "{ build_args: [A] }",
        "{ build_args: { A: [] } }",
        "{ labels: x }",
        "{ secrets: { npm: x } }",
        "{ secrets: { npm: { env: X, file: y } } }",
        "{ secrets: { npm: { value: x } } }",
        "{ secrets: { 'a b': { env: X } } }",
        "{ flatten: parent }",
        "{ flatten: [own] }",
        "{ ssh: maybe }",
        "{ publish: x }",
        "{ publish: [[x]] }",
        "{ sign: x }",
        "{ gate: { run: [x] } }",
        "{ gate: [{}] }",
        "{ gate: [{ run: x }] }",
        "{ gate: [{ run: [x], archive: 1 }] }",
        "{ contexts: [a] }",
        "{ contexts: { a: [] } }",
        "{ dockerfile_inline: [] }",
        "{ secrets: { npm: { env: X, required: 1 } } }",
        "{ secrets: { npm: { required: false } } }",
        "{ network: bridge }",
        "{ add_hosts: [a] }",
        "{ add_hosts: { a: [] } }",
        "{ shm_size: 0 }",
        "{ ulimits: { files: 1 } }",
        "{ ulimits: { nofile: all } }",
        "{ ulimits: { nofile: -2 } }",
        "{ no_cache_filter: a }",
        "{ platform: linux }",
        "{ platform: l/a/v/x }",
        "{ on_failure: ignore }",
        "{ timeout: 90 }",
        "{ timeout: 1.5h }",
        "{ retries: 6 }",
        "{ keep: 0 }",
        "{ keep: all }",
        "{ retries: x }",
        "{ refresh: 1d }",
        "{ refresh: { packages: pip } }",
        "{ refresh: { on: x } }",
        "{ volatile: x }",
        "{ matrix: 1 }",
        "{ matrix: { v: [] } }",
        "{ matrix: { v: x } }",
        "{ matrix: { v: [x], include: x } }",
        "{ test: x }",
        "{ test: [{}] }",
        "{ test: [{ run: [x], healthy: 1s }] }",
        "{ test: [{ healthy: 1s, stdout: x }] }",
        "{ test: [{ healthy: 1s, timeout: 1s }] }",
        "{ test: [{ run: x }] }",
        "{ test: [{ run: [x], network: maybe }] }",
    ];
    let file = |entry: &str| format!("version: 1\nimages:\n  a: {entry}\n");
    let more_good = [
        "version: 1\nemulate: ${T}\nengines: [buildkitd+unix:///run/x.sock, { url: ssh://a, slots: \"${N}\" }]\nimages: {}".to_owned(),
        "version: 1\nregistry: r.io/x\nmirror: r.io/mirror\ndefaults:\nimages: {}".to_owned(),
        "version: 1\ndefaults: { tags: [x] }\nimages:\n  r-{v}: { matrix: { v: [\"3.3\", 3.4], include: [{ v: 4 }], exclude: [{ v: 3.4 }] }, tags: [\"{v}\"] }\n  a/b_c: {}".to_owned(),
    ];
    let more_bad = [
        "",
        "images: {}",
        "version: 1",
        "version: 2\nimages: {}",
        "version: 1\nimages: []",
        "version: 1\nimages: {}\nregistr: x",
        "version: 1\nimages: {}\nregistry: []",
        "version: 1\nimages: {}\nmirror: []",
        "version: 1\nimages: {}\ndefaults: []",
        "version: 1\nimages: {}\ndefaults: { matrix: { v: [x] } }",
    ];
    for text in good.map(file).into_iter().chain(more_good) {
        let (tree, problems) = read(&text);
        assert_eq!(validator.complaint(&tree), None, "{text}");
        assert_eq!(problems.len(), 0, "{text}{problems:?}");
    }
    for text in bad.map(file).into_iter().chain(more_bad.map(str::to_owned)) {
        let (tree, problems) = read(&text);
        assert!(validator.complaint(&tree).is_some(), "the schema takes {text}");
        assert!(!problems.is_empty(), "the program takes {text}");
    }
}
