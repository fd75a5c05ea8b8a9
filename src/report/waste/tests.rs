use std::{collections::BTreeSet, path::Path};

use super::*;
use crate::waste::tests::surveyed;

const IMAGES: &str = "os:
= COPY big /opt/
- opt/big aaaaaaaa
= RUN chmod 755 /opt/big
- opt/big aaaaaaaa mode=755
= RUN apt-get update && apt-get install --yes gcc
- var/lib/apt/lists/a aa
- var/lib/apt/lists/b aaa
p libc6 gcc-12 libc6-dev

app:
= COPY . /app/
- app/.git/HEAD aaa
- app/.env a
= RUN rm /opt/big
x opt/big";

fn shown(limit: usize, named: &[&str]) -> (String, String) {
    let (hierarchy, waste) = surveyed("os\napp < os\nnew < os", IMAGES);
    let named: BTreeSet<NodeName> = named.iter().map(|name| NodeName::from(*name)).collect();
    let view = WasteView {
        waste: &waste,
        named: &named,
        place: "registry.example.com",
        root: hierarchy.root(),
        limit,
    };
    let (mut for_people, mut for_programs) = (Vec::new(), Vec::new());
    text(view, (false, &mut for_people)).unwrap();
    json(view, &mut for_programs).unwrap();
    (String::from_utf8(for_people).unwrap(), String::from_utf8(for_programs).unwrap())
}

#[test]
fn findings_with_their_fixes() {
    insta::assert_snapshot!(shown(SHOWN, &[]).0);
}

#[test]
fn a_limit_hides_small_findings_and_no_secrets() {
    let (text, json) = shown(1, &["app"]);
    assert!(text.contains("looks like a secret") && text.contains("deleted by a later layer"));
    assert!(text.contains("not shown: 1 smaller finding; `--all` prints all"), "{text}");
    assert!(!text.contains("os: "), "{text}");
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["findings"].as_array().unwrap().len(), 3);
    assert_eq!(json["findings"][1]["layer"]["owner"]["name"], "os");
    assert_eq!(json["nodes"][0]["node"], "app");
    assert_eq!(json["findings"][1]["listed"][0]["path"], "/opt/big");
    let json: serde_json::Value = serde_json::from_str(&shown(1, &["os"]).1).unwrap();
    let findings = json["findings"].as_array().unwrap();
    let lists = findings.iter().find(|finding| finding["path"] == "/var/lib/apt/lists/").unwrap();
    let listed = serde_json::json!([
        { "path": "/var/lib/apt/lists/b", "bytes": 3000 },
        { "path": "/var/lib/apt/lists/a", "bytes": 2000 },
    ]);
    assert_eq!(lists["listed"], listed);
}

#[test]
fn nothing_is_published() {
    let waste = HierarchyWaste::default();
    let named = BTreeSet::new();
    let view =
        WasteView { waste: &waste, named: &named, place: "x", root: Path::new("/"), limit: 1 };
    let mut out = Vec::new();
    text(view, (false, &mut out)).unwrap();
    assert_eq!(String::from_utf8(out).unwrap(), "no image that could be read is published in x\n");
}
