use std::{fs, path::Path};

use super::*;
use crate::{
    check::diagnostic::{Diagnostic, SourceFile},
    hierarchy::{
        LoadOptions,
        draft::{self, Draft},
        entries,
        fields::Problems,
        schema::{File, Image},
        yaml,
    },
};

/// What `a` is `FROM`, for each platform of a sample.
const OS: &str = "os: { platforms: [linux/amd64, linux/s390x] }";

/// A value that is not the default.
const OF_TOP: [(&str, &str); 8] = [
    ("registry", "r.io/y"),
    ("mirror", "r.io/m"),
    ("runners", "{ default: big }"),
    ("notify", "[x]"),
    ("engines", "[ssh://b]"),
    ("emulate", "true"),
    ("env_file", ".env"),
    ("defaults", "{ labels: { x: y } }"),
];

/// Two values that are not the default. Maps have no key in common.
const OF_IMAGE: [(&str, &str, &str); 41] = [
    ("context", "other", "more"),
    ("dockerfile", "Dockerfile.b", "Dockerfile.c"),
    ("dockerfile_inline", "FROM scratch", "FROM os"),
    ("contexts", "{ x: other }", "{ y: other }"),
    ("prepare", "[x]", "[y]"),
    ("target", "one", "two"),
    ("platform", "linux/s390x", "linux/arm64"),
    ("platforms", "[linux/s390x]", "[linux/arm64]"),
    ("optional_platforms", "[linux/s390x]", "[linux/arm64]"),
    ("build_args", "{ X: 1 }", "{ Y: 1 }"),
    ("allow_build_args", "[X]", "[Y]"),
    ("secrets", "{ x: { env: X } }", "{ y: { env: Y } }"),
    ("ssh", "true", "false"),
    ("network", "none", "host"),
    ("add_hosts", "{ x: 10.0.0.1 }", "{ y: 10.0.0.1 }"),
    ("shm_size", "1MB", "2MB"),
    ("ulimits", "{ nofile: 5 }", "{ core: 5 }"),
    ("no_cache_filter", "[one]", "[two]"),
    ("cache", "{ from: [registry] }", "{ to: [registry] }"),
    ("annotations", "{ x: z }", "{ y: z }"),
    ("attest", "{ provenance: max }", "{ sbom: true }"),
    ("labels", "{ x: z }", "{ y: z }"),
    ("repository", "r.io/z/x", "r.io/z/y"),
    ("publish", "[r.io/v]", "[r.io/w]"),
    ("tags", "[x]", "[y]"),
    ("parents", "[os]", "[]"),
    ("test", "[{ run: [x] }]", "[{ run: [y] }]"),
    ("gate", "[{ run: [x] }]", "[{ run: [y] }]"),
    ("sign", "[x]", "[y]"),
    ("on_failure", "hold", "optional"),
    ("timeout", "1m", "2m"),
    ("retries", "1", "2"),
    ("keep", "1", "2"),
    ("file_labels", "false", "true"),
    ("budget", "{ size: 1MB }", "{ layers: 5 }"),
    ("max_size", "1MB", "2MB"),
    ("flatten", "true", "own"),
    ("refresh", "{ every: 1d }", "{ packages: apt }"),
    ("schedule", "\"@daily\"", "\"@weekly\""),
    ("volatile", "[x]", "[y]"),
    ("matrix", "{ x: [y] }", "{ y: [x] }"),
];

/// A hierarchy with one field set, in one of the two images.
pub(crate) struct FieldSample {
    pub(crate) key: &'static str,
    pub(crate) file: String,
    pub(crate) changes_fingerprint: bool,
    counts_for_since: bool,
}

impl FieldSample {
    pub(crate) fn all() -> Vec<Self> {
        let sample = |key, file, change| Self {
            key,
            file,
            changes_fingerprint: change == ChangeEffect::Fingerprint,
            counts_for_since: change != Nothing,
        };
        let row = |rows: &'static [FieldRow], key| rows.iter().find(|row| row.key == key).unwrap();
        let top = OF_TOP.map(|(key, value)| {
            let registry = if key == "registry" { "" } else { "registry: r.io/x\n" };
            let file =
                format!("version: 1\n{registry}{key}: {value}\nimages: {{ {OS}, a: {{}} }}\n");
            sample(key, file, row(TOP, key).change)
        });
        let image = OF_IMAGE
            .map(|(key, value, _)| sample(key, file("", &set(key, value)), row(IMAGE, key).change));
        top.into_iter().chain(image).collect()
    }

    /// The hierarchy without the field.
    pub(crate) fn without() -> String {
        file("", "")
    }
}

fn file(defaults: &str, entry: &str) -> String {
    format!(
        "version: 1\nregistry: r.io/x\ndefaults: {{ {defaults} }}\nimages: {{ {OS}, a: {{ {entry} }} }}\n"
    )
}

fn set(key: &str, value: &str) -> String {
    let beside = if key == "optional_platforms" { ", platforms: [linux/amd64]" } else { "" };
    format!("{key}: {value}{beside}")
}

/// What is read of the image `a`, and the problems of the file.
fn read(text: &str) -> (Vec<Image>, Vec<Diagnostic>) {
    let source = SourceFile::new("/h.yaml", text.to_owned());
    let (mut tree, _) = yaml::parse(&source).unwrap();
    let (mut problems, options) = (Problems::new(&source), LoadOptions::default());
    let file = File::expanded(&mut tree, &source.path, &options, &mut problems).unwrap();
    let mut drafts = draft::drafts(file, &options, &mut problems);
    drafts.retain(|draft| draft.name.image() == "a");
    let image = |Draft { image, .. }| Image {
        flatten: None,
        default_flatten: Some(image.flatten(true)),
        ..image
    };
    (drafts.into_iter().map(image).collect(), problems.found)
}

#[test]
fn each_field_has_a_sample() {
    let keys = |rows: &'static [FieldRow]| rows.iter().map(|row| row.key);
    let top = keys(TOP).filter(|key| !["version", "images"].contains(key));
    assert_eq!(OF_TOP.map(|(key, _)| key).to_vec(), top.collect::<Vec<_>>());
    assert_eq!(OF_IMAGE.map(|(key, ..)| key).to_vec(), keys(IMAGE).collect::<Vec<_>>());
}

#[test]
fn fields_of_defaults_are_replaced_or_merged() {
    for (key, one, other) in OF_IMAGE {
        let (one, other) = (set(key, one), set(key, other));
        let from_defaults = of_image(key).unwrap().from_defaults;
        let (inherited, problems) = read(&file(&one, ""));
        if from_defaults == FromDefaults::NotAllowed {
            assert_eq!(problems.len(), 1, "{key}");
            continue;
        }
        assert_eq!(inherited, read(&file("", &one)).0, "{key}");
        let is_replaced = read(&file(&one, &other)).0 == read(&file("", &other)).0;
        assert_eq!(is_replaced, from_defaults == FromDefaults::Replaced, "{key}");
    }
}

#[test]
fn changes_count_for_since() {
    let read = |text: &str| {
        entries(Path::new("/h.yaml"), text.as_bytes(), &LoadOptions::default()).unwrap()
    };
    let without = read(&FieldSample::without());
    for sample in FieldSample::all() {
        assert_eq!(read(&sample.file) != without, sample.counts_for_since, "{}", sample.key);
    }
}

#[test]
fn keys_of_a_matrix_are_filled_in() {
    for (key, value, _) in OF_IMAGE {
        let row = of_image(key).unwrap();
        if row.shape != FieldShape::Value {
            continue;
        }
        let entry = format!("matrix: {{ v: [{value}] }}, {key}: \"{{v}}\"");
        let (filled, problems) = read(&file("", &entry));
        if row.matrix == Never {
            let hint = problems[0].hint.as_deref().unwrap();
            assert!(hint.contains(&format!("`{key}`")) && hint.contains("take none"), "{hint}");
        } else {
            assert_eq!(filled, read(&file("", &set(key, value))).0, "{key}");
        }
    }
}

/// With `UPDATE_DOCS=1` the tables are written instead.
#[test]
fn the_docs_have_these_fields() {
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs");
    let path = docs.join("hierarchy.md");
    let page = fs::read_to_string(&path).unwrap();
    let expected = [("At the top", TOP), ("An image", IMAGE)].into_iter().fold(
        page.clone(),
        |page, (heading, rows)| {
            let heading = format!("\n## {heading}\n\n");
            let (before, rest) = page.split_once(&heading).unwrap();
            let (_, after) = rest.split_once("\n\n").unwrap();
            let row = |row: &FieldRow| {
                format!("| `{}` | {} | {} | {} |\n", row.key, row.takes, row.default, row.meaning)
            };
            let rows: String = rows.iter().map(row).collect();
            format!(
                "{before}{heading}| field | type | default | meaning |\n|---|---|---|---|\n{rows}\n{after}"
            )
        },
    );
    if std::env::var_os("UPDATE_DOCS").is_some() {
        fs::write(&path, &expected).unwrap();
    } else {
        assert!(page == expected, "run the tests with UPDATE_DOCS=1");
    }
    for (page, fields) in [
        ("hierarchy.md", list(|row| row.from_defaults == FromDefaults::Merged)),
        ("hierarchy.md", list(|row| row.matrix == Later)),
        ("hierarchy.md", list(|row| row.matrix == Never)),
        ("hierarchy.md", list(|row| row.variables == ForNames)),
        ("hierarchy.md", list(|row| row.variables == AsWritten)),
        ("hierarchy.md", list(|row| row.shape == FieldShape::Value)),
        ("how-it-decides.md", list(|row| row.change != ChangeEffect::Fingerprint)),
    ] {
        let text = fs::read_to_string(docs.join(page)).unwrap();
        assert!(text.contains(&fields), "docs/{page} needs the list: {fields}");
    }
}
