use std::collections::BTreeSet;

use super::*;
use crate::{
    audit::{BaseHistory, FleetImage, ImageFacts, KnownBase, audit},
    image::{Digest, Repository, Tag},
    report::sanitize,
};

fn repository(name: &str) -> Repository {
    format!("r.example.com/{name}").parse().unwrap()
}

fn facts(layers: &[&str], day: i64, labels: &[(&str, &str)]) -> ImageFacts {
    ImageFacts {
        layers: layers.iter().map(|layer| Digest::of(layer.as_bytes())).collect(),
        labels: labels
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
            .collect(),
        created: Timestamp::from_second(1_780_000_000 + day * 86_400).ok(),
        ..ImageFacts::default()
    }
}

/// An image that is behind, one that is current, one without a base; of owners with this name.
fn example(owner: &str) -> Audit {
    let mut bases = BaseHistory::default();
    for (layer, day, tags) in [("a1", 1, ["12-20261101"].as_slice()), ("a2", 13, &["12"])] {
        let version = Digest::of(format!("os {layer}").as_bytes());
        let tags: BTreeSet<Tag> = tags.iter().map(|tag| tag.parse().unwrap()).collect();
        let present =
            tags.iter().map(|tag| (repository("os").tagged(tag.clone()), version.clone()));
        bases.present.extend(present);
        bases.images.push(KnownBase {
            repository: repository("os"),
            digests: [version.clone()].into(),
            version,
            tags,
            facts: facts(&[layer], day, &[]),
            built: None,
        });
    }
    let image = |name: &str, layers: &[&str]| {
        let digest = Digest::of(name.as_bytes());
        FleetImage {
            repository: repository(name),
            tags: vec![Tag::latest(), "1.4".parse().unwrap()],
            digests: [digest.clone()].into(),
            digest,
            platform: None,
            is_built_here: false,
            facts: facts(layers, 20, &[("org.opencontainers.image.vendor", owner)]),
        }
    };
    let images =
        [image("team/old", &["a1", "x"]), image("team/new", &["a2", "x"]), image("flat", &["q"])];
    let unread = vec![("r.example.com/secret".to_owned(), "it is refused".to_owned())];
    Audit { unread, ..audit(&images, &bases, None) }
}

fn view(audit: &Audit) -> AuditView<'_> {
    let at = "2026-11-30T03:00:00Z".parse().unwrap();
    AuditView { audit, place: "r.example.com", all: true, at }
}

#[test]
fn a_table_for_people() {
    let audit = example("shop, team");
    let print = |view: AuditView<'_>, columns| {
        let mut out = Vec::new();
        text(view, columns, (false, &mut out)).unwrap();
        String::from_utf8(out).unwrap()
    };
    insta::assert_snapshot!(print(view(&audit), None));
    insta::assert_snapshot!(print(AuditView { all: false, ..view(&audit) }, Some(60)));
    let empty = Audit::default();
    assert_eq!(print(view(&empty), None), "none of 0 images is based on an outdated base\n");
}

#[test]
fn bases_are_counted_by_repository() {
    for (name, expected) in [
        ("r.io:5000/os:12", "r.io:5000/os"),
        ("r.io:5000/os", "r.io:5000/os"),
        ("r.io/os:12@sha256:ab", "r.io/os"),
        ("sha256:ab", "sha256:ab"),
    ] {
        assert_eq!(repository_of(name), expected);
    }
}

#[test]
fn for_programs() {
    let audit = example("shop, team");
    let mut out = Vec::new();
    csv(view(&audit), &mut out).unwrap();
    insta::assert_snapshot!(String::from_utf8(out).unwrap());
    let mut out = Vec::new();
    json(view(&audit), &mut out).unwrap();
    let json: serde_json::Value = serde_json::from_slice(&out).unwrap();
    insta::assert_snapshot!(serde_json::to_string_pretty(&json).unwrap());
}

/// `docs/audit.md` has a row for each field.
#[test]
fn every_field_of_the_json_is_documented() {
    let audit = example("x");
    let mut out = Vec::new();
    json(view(&audit), &mut out).unwrap();
    let json: serde_json::Value = serde_json::from_slice(&out).unwrap();
    let page = include_str!("../../../docs/audit.md");
    let rows: BTreeSet<&str> =
        page.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next()).collect();
    let objects = [
        &json,
        &json["counts"],
        &json["images"][0],
        &json["images"][0]["base"],
        &json["bases"][0],
        &json["unread"][0],
    ];
    for object in objects {
        for field in object.as_object().unwrap().keys() {
            assert!(rows.contains(field.as_str()), "`{field}` is not in docs/audit.md");
        }
    }
}

#[test]
fn texts_of_labels_stay_texts() {
    let elements = |page: &str| page.matches('<').count();
    let plain = elements(&page(view(&example("plain"))));
    for owner in ["</script><img src=x onerror=alert(1)>", "\"><script>", "a\u{202e}b\u{1b}[2J"] {
        let audit = example(owner);
        let page = page(view(&audit));
        assert_eq!(elements(&page), plain, "{owner}");
        assert!(!page.contains(['\u{202e}', '\u{1b}']), "{owner}");
        let mut out = Vec::new();
        text(view(&audit), None, (true, &mut out)).unwrap();
        let out = String::from_utf8(out).unwrap();
        assert_eq!(sanitize::lines(&out), out, "{owner}");
    }
}
