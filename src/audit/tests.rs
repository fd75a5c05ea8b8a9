//! Each case is a small registry: lines of bases and images, and what the audit says of each image.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;

use super::*;
use crate::image::Tagged;

const HOST: &str = "r.example.com";

fn layer(name: &str) -> Digest {
    Digest::of(format!("layer {name}").as_bytes())
}

fn named(text: &str) -> Digest {
    Digest::of(text.as_bytes())
}

fn day(n: i64) -> Timestamp {
    Timestamp::from_second(1_780_000_000 + n * 86_400).unwrap()
}

fn repository(name: &str) -> Repository {
    format!("{HOST}/{name}").parse().unwrap()
}

fn tags(text: &str) -> BTreeSet<Tag> {
    text.split_whitespace().map(|tag| tag.parse().unwrap()).collect()
}

fn facts(layers: &str, created: Option<i64>, labels: &[(&str, &str)]) -> ImageFacts {
    ImageFacts {
        layers: layers.split_whitespace().map(layer).collect(),
        labels: labels
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect(),
        annotations: BTreeMap::new(),
        created: created.map(day),
    }
}

#[derive(Default)]
struct Registry {
    bases: BaseHistory,
    images: Vec<FleetImage>,
}

impl Registry {
    /// A version of a base; its digest is that of `name`.
    fn base(
        &mut self,
        (at, name): (&str, &str),
        present: &str,
        (layers, created): (&str, i64),
        labels: &[(&str, &str)],
    ) -> &mut Self {
        let repository = repository(at);
        let version = named(name);
        for base in self.bases.images.iter_mut().filter(|base| base.repository == repository) {
            base.tags.retain(|tag| !tags(present).contains(tag));
        }
        for tag in tags(present) {
            self.bases.present.insert(repository.tagged(tag), version.clone());
        }
        self.bases.repositories.insert(repository.clone());
        self.bases.images.push(KnownBase {
            repository,
            digests: [version.clone()].into(),
            version,
            tags: tags(present),
            facts: facts(layers, Some(created), labels),
            built: None,
        });
        self
    }

    fn moved(&mut self, (at, tag): (&str, &str), to: &[(&str, i64)]) -> &mut Self {
        let tag = Tagged { repository: repository(at), tag: tag.parse().unwrap() };
        let moves =
            to.iter().map(|(to, at)| BaseMove { tag: tag.clone(), to: named(to), at: day(*at) });
        self.bases.moves.extend(moves);
        self
    }

    fn image(&mut self, name: &str, layers: &str, labels: &[(&str, &str)]) -> &mut Self {
        let digest = named(name);
        self.images.push(FleetImage {
            repository: repository(name),
            tags: vec![Tag::latest()],
            digests: [digest.clone()].into(),
            digest,
            platform: None,
            is_built_here: false,
            facts: facts(layers, Some(0), labels),
        });
        self
    }

    /// A line for each image, in the order of their names.
    fn says(&self) -> String {
        let audit = audit(&self.images, &self.bases, None);
        let mut lines: Vec<String> = audit
            .findings
            .iter()
            .map(|finding| {
                let name = finding.repository.as_str().trim_start_matches("r.example.com/");
                let owner =
                    finding.owner.as_deref().map_or(String::new(), |owner| format!(", of {owner}"));
                let base = match (&finding.base, &finding.why) {
                    (Some(base), _) => {
                        let of = base.name.trim_start_matches("r.example.com/");
                        let standing = match &base.standing {
                            Standing::Behind { versions, days, .. } => {
                                format!("behind {versions:?} {days:?}")
                            }
                            other => format!("{other:?}"),
                        };
                        format!("{of} by {:?}: {standing}", base.evidence)
                    }
                    (None, why) => format!("{:?}", why.as_ref().unwrap()),
                };
                format!("{name}: {base}{owner}")
            })
            .collect();
        lines.sort();
        lines.join("\n")
    }
}

fn label_of(name: &str, digest: &str) -> [(&'static str, String); 2] {
    [(BASE_NAME, name.to_owned()), (BASE_DIGEST, named(digest).to_string())]
}

fn as_labels<'a>(labels: &'a [(&'a str, String)]) -> Vec<(&'a str, &'a str)> {
    labels.iter().map(|(name, value)| (*name, value.as_str())).collect()
}

#[test]
fn the_layers_tell_the_version() {
    let mut registry = Registry::default();
    registry
        .base(("os", "os 1"), "12-20261101", ("a1", 1), &[])
        .base(("os", "os 2"), "12-20261111", ("a2", 11), &[])
        .base(("os", "os 3"), "12 12-20261121", ("a3", 21), &[])
        .base(("web", "web 1"), "latest 20261122", ("a3 w", 22), &[])
        .image("on-1", "a1 x", &[])
        .image("on-2", "a2 x y", &[])
        .image("on-3", "a3 x", &[])
        .image("on-web", "a3 w x", &[])
        .image("other", "z", &[])
        .image("squashed", "q", &[])
        .image("nothing", "", &[]);
    insta::assert_snapshot!(registry.says(), @"
    nothing: NoEvidence
    on-1: os:12 by Layers: behind Some(2) Some(20)
    on-2: os:12 by Layers: behind Some(1) Some(10)
    on-3: os:12 by Layers: Current
    on-web: web:latest by Layers: Current
    other: NoEvidence
    squashed: NoEvidence
    ");
}

#[test]
fn labels_tell_it_also_for_squashed_images() {
    let (old, new) =
        (label_of("r.example.com/os:12", "os 1"), label_of("r.example.com/os:12", "os 3"));
    let (gone, elsewhere) =
        (label_of("r.example.com/os:12", "os 0"), label_of("docker.io/library/debian:12", "deb"));
    let no_digest = [(BASE_NAME, "r.example.com/os:12")];
    let mut registry = Registry::default();
    registry
        .base(("os", "os 1"), "12-20261101", ("a1", 1), &[])
        .base(("os", "os 3"), "12", ("a3", 21), &[])
        .moved(("os", "12"), &[("os 0", -3), ("os 1", 1), ("os 2", 11), ("os 3", 21)])
        .image("old", "q", &as_labels(&old))
        .image("new", "q", &as_labels(&new))
        .image("gone", "q", &as_labels(&gone))
        .image("elsewhere", "q", &as_labels(&elsewhere))
        .image("no-digest", "q", &no_digest)
        .image("empty", "q", &[(BASE_NAME, ""), (BASE_DIGEST, "")])
        .image("hostile", "q", &[(BASE_NAME, "</b>"), (BASE_DIGEST, "sha256:x")]);
    insta::assert_snapshot!(registry.says(), @"
    elsewhere: docker.io/library/debian:12 by Label: Unchecked(NotRead)
    empty: NoEvidence
    gone: os:12 by Label: behind Some(3) Some(24)
    hostile: NoEvidence
    new: os:12 by Label: Current
    no-digest: os:12 by Label: Unchecked(NoDigest)
    old: os:12 by Label: behind Some(2) Some(20)
    ");
}

/// `docker build` copies the labels of the base, so they say what the base is based on.
#[test]
fn inherited_labels_are_those_of_the_base() {
    let debian = label_of("docker.io/library/debian:12", "deb");
    let of_os = |print: &'static str| {
        let mut labels = as_labels(&debian);
        labels.extend([("rebuild.node", "os"), ("rebuild.fingerprint", print)]);
        labels
    };
    let vendor = ("org.opencontainers.image.vendor", "platform team");
    let foreign: Vec<(&str, &str)> = as_labels(&debian).into_iter().chain([vendor]).collect();
    let own: Vec<(&str, &str)> = foreign[..2]
        .iter()
        .copied()
        .chain([("org.opencontainers.image.vendor", "shop team")])
        .collect();
    let mut registry = Registry::default();
    registry
        .base(("os", "os 1"), "12-20261101", ("d a1", 1), &of_os("1"))
        .base(("os", "os 2"), "12", ("d a2", 11), &of_os("2"))
        .base(("foreign", "f"), "latest", ("d f", 5), &foreign)
        .image("child", "d a2 x", &of_os("2"))
        .image("squashed-old", "q", &of_os("1"))
        .image("of-deleted", "d x", &of_os("3"))
        .image("team/os", "d x", &of_os("3"))
        .image("of-foreign", "d f x", &foreign)
        .image("on-debian", "d x", &own);
    insta::assert_snapshot!(registry.says(), @r#"
    child: os:12 by InheritedLabels: Current
    of-deleted: LabelsOf("os")
    of-foreign: foreign:latest by InheritedLabels: Current
    on-debian: docker.io/library/debian:12 by Label: Unchecked(NotRead), of shop team
    squashed-old: os:12 by InheritedLabels: behind Some(1) Some(10)
    team/os: docker.io/library/debian:12 by Label: Unchecked(NotRead)
    "#);
}

/// Only the base of the base was read: its label is current, but the image is not based on it.
#[test]
fn a_label_of_another_node_does_not_name_the_base() {
    let os = label_of("r.example.com/os:12", "os 1");
    let of_web = |print: &'static str| {
        let mut labels = as_labels(&os);
        labels.extend([("rebuild.node", "web"), ("rebuild.fingerprint", print)]);
        labels
    };
    let mut registry = Registry::default();
    registry
        .base(("os", "os 1"), "12", ("a1", 1), &[])
        .image("foreign", "a1 w1 x", &of_web("1"))
        .image("foreign/web", "a1 w1", &of_web("1"))
        .image("renamed", "a1 w1", &of_web("1"));
    registry.images[2].is_built_here = true;
    insta::assert_snapshot!(registry.says(), @r#"
    foreign/web: os:12 by Label: Current
    foreign: LabelsOf("web")
    renamed: os:12 by Label: Current
    "#);
    registry.base(("web", "web 1"), "", ("a1 w1", 2), &of_web("1")).base(
        ("web", "web 2"),
        "latest latest-20261109",
        ("a1 w2", 9),
        &of_web("2"),
    );
    registry.bases.nodes.insert((repository("web"), "web".to_owned()), Tag::latest());
    insta::assert_snapshot!(registry.says(), @"
    foreign/web: os:12 by Label: Current
    foreign: web:latest by InheritedLabels: behind Some(1) Some(7)
    renamed: os:12 by Label: Current
    ");
}

/// Equal inputs that two teams built: the labels are equal, the layers need not be.
#[test]
fn copies_are_not_each_other_s_bases() {
    let labels = [("rebuild.node", "os"), ("rebuild.fingerprint", "1")];
    let mut registry = Registry::default();
    registry
        .base(("a/os", "a"), "latest", ("s", 1), &labels)
        .base(("b/os", "b"), "latest", ("s", 1), &labels)
        .base(("c/os", "c"), "latest", ("t", 1), &labels)
        .base(("flat", "flat"), "latest", ("f", 1), &[])
        .image("a/os", "s", &labels)
        .image("b/os", "s", &labels)
        .image("c/os", "t", &labels)
        .image("copy", "f", &[]);
    insta::assert_snapshot!(registry.says(), @"
    a/os: NoEvidence
    b/os: NoEvidence
    c/os: NoEvidence
    copy: NoEvidence
    ");
}

#[test]
fn an_annotation_is_never_inherited() {
    let mut registry = Registry::default();
    let os = label_of("r.example.com/os:12", "os 2");
    registry
        .base(("os", "os 1"), "", ("a1", 1), &[])
        .base(("os", "os 2"), "12", ("a2", 11), &[])
        .image("app", "a1 x", &[]);
    registry.images[0].facts.annotations =
        os.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
    insta::assert_snapshot!(registry.says(), @"app: os:12 by Annotation: Current");
}

/// A dated tag is no moving tag, also if a label names it.
#[test]
fn a_pinned_base_is_compared_with_its_moving_tag() {
    let pinned = label_of("r.example.com/os:12-20261101", "os 1");
    let exact = label_of("r.example.com/ruby:3.3.1", "ruby 3.3.1");
    let mut registry = Registry::default();
    registry
        .base(("os", "os 1"), "12-20261101", ("a1", 1), &[])
        .base(("os", "os 2"), "12 12-20261111", ("a2", 11), &[])
        .base(("ruby", "ruby 3.3.1"), "3.3.1", ("r31", 1), &[])
        .base(("ruby", "ruby 3.3.2"), "3.3 3.3.2", ("r32", 2), &[])
        .base(("ruby", "ruby 3.4.0"), "3 3.4 3.4.0 latest", ("r40", 3), &[])
        .base(("releases", "1.0"), "1.0", ("v0", 1), &[])
        .base(("releases", "1.1"), "1.1 latest", ("v1", 2), &[])
        .base(("dates", "d 1"), "20261101", ("t1", 1), &[])
        .base(("dates", "d 2"), "20261109 latest", ("t2", 9), &[])
        .image("pinned", "q", &as_labels(&pinned))
        .image("exact", "q", &as_labels(&exact))
        .image("on-3.3.2", "r32 x", &[])
        .image("on-1.0", "v0 x", &[])
        .image("on-1.1", "v1 x", &[])
        .image("on-date", "t1 x", &[]);
    insta::assert_snapshot!(registry.says(), @"
    exact: ruby:3.3 by Label: behind Some(1) Some(1)
    on-1.0: releases:1.0 by Layers: Unchecked(NoTag)
    on-1.1: releases:latest by Layers: Current
    on-3.3.2: ruby:3.3 by Layers: Current
    on-date: dates:latest by Layers: behind Some(1) Some(8)
    pinned: os:12 by Label: behind Some(1) Some(10)
    ");
    registry.bases.moving.insert(repository("releases"), Tag::latest());
    assert!(registry.says().contains("on-1.0: releases:latest by Layers: behind Some(1) Some(1)"));
}

#[test]
fn bases_with_the_same_layers_are_no_guess() {
    let mut registry = Registry::default();
    registry
        .base(("os", "os 1"), "12", ("a1", 1), &[])
        .base(("meta", "meta 1"), "latest", ("a1", 2), &[])
        .image("app", "a1 x", &[]);
    // Both are current, so the statement holds for either.
    assert_eq!(registry.says(), "app: meta:latest by Layers: Current");
    registry
        .base(("meta", "meta 2"), "latest", ("m2", 9), &[])
        .moved(("meta", "latest"), &[("meta 1", 2), ("meta 2", 9)]);
    assert_eq!(
        registry.says(),
        r#"app: Several(["r.example.com/meta:latest", "r.example.com/os:12"])"#
    );
    // Its labels tell it.
    registry.bases.images[1].facts = facts("a1", Some(2), &[("team", "meta")]);
    registry.images[0].facts = facts("a1 x", Some(3), &[("team", "meta"), ("own", "x")]);
    assert_eq!(registry.says(), "app: meta:latest by Layers: behind Some(1) Some(7)");
}

/// A rebuild on the same day moves the tag with the date, too, and the version before it has its build tag only.
#[test]
fn a_version_without_tags_is_behind_the_newest_of_its_node() {
    let web = [("rebuild.node", "web")];
    let mut registry = Registry::default();
    registry
        .base(("web", "web 1"), "12-20261101", ("w1", 1), &web)
        .base(("web", "web 2"), "12-20261109", ("w2", 8), &web)
        .base(("web", "web 3"), "12-20261109", ("w3", 9), &web)
        .base(("web", "other"), "nightly", ("o", 20), &[("rebuild.node", "other")])
        .image("on-1", "w1 x", &[])
        .image("on-2", "w2 x", &[])
        .image("on-3", "w3 x", &[]);
    insta::assert_snapshot!(registry.says(), @"
    on-1: web:12-20261109 by Layers: behind None Some(8)
    on-2: web:12-20261109 by Layers: behind Some(1) Some(1)
    on-3: web:12-20261109 by Layers: Current
    ");
    registry.base(("web", "web 4"), "12 latest 12-20261111", ("w4", 11), &web);
    insta::assert_snapshot!(registry.says(), @"
    on-1: web:12 by Layers: behind None Some(10)
    on-2: web:12 by Layers: behind Some(2) Some(3)
    on-3: web:12 by Layers: behind Some(1) Some(2)
    ");
}

#[test]
fn a_base_that_was_rolled_back_is_not_behind() {
    let mut registry = Registry::default();
    registry
        .base(("os", "os 1"), "12", ("a1", 1), &[])
        .base(("os", "os 2"), "", ("a2", 11), &[])
        .moved(("os", "12"), &[("os 1", 1), ("os 2", 11), ("os 1", 12)])
        .image("app", "a2 x", &[]);
    assert_eq!(registry.says(), "app: os:12 by Layers: NotPublished");
}

#[test]
fn a_time_that_is_not_known_is_not_told() {
    let mut registry = Registry::default();
    registry
        .base(("os", "os 1"), "12-20261101", ("a1", -20_600), &[])
        .base(("os", "os 2"), "12", ("a2", -20_600), &[])
        .image("app", "a1 x", &[]);
    assert_eq!(registry.says(), "app: os:12 by Layers: behind None None");
}

#[test]
fn a_base_is_audited_like_any_image() {
    let mut registry = Registry::default();
    registry
        .base(("os", "os 1"), "12-20261101", ("a1", 1), &[])
        .base(("os", "os 2"), "12", ("a1 a2", 11), &[])
        .base(("web", "web"), "latest", ("a1 w", 3), &[])
        .image("web", "a1 w", &[])
        .image("os", "a1 a2", &[]);
    registry.images[1].tags = tags("12").into_iter().collect();
    // A version of a base is not based on the version before it.
    insta::assert_snapshot!(registry.says(), @"
    os: NoEvidence
    web: os:12 by Layers: behind Some(1) Some(10)
    ");
}

#[test]
fn the_owner_is_the_image_s_own() {
    let vendor = "org.opencontainers.image.vendor";
    let mut registry = Registry::default();
    registry
        .base(("os", "os"), "12", ("a", 1), &[(vendor, "platform team")])
        .image("inherits", "a x", &[(vendor, "platform team")])
        .image("own", "a x", &[(vendor, "shop team")])
        .image(
            "author",
            "a x",
            &[(vendor, "platform team"), ("org.opencontainers.image.authors", "Ada")],
        )
        .image("team", "a x", &[("team", "sales")]);
    insta::assert_snapshot!(registry.says(), @"
    author: os:12 by Layers: Current, of Ada
    inherits: os:12 by Layers: Current
    own: os:12 by Layers: Current, of shop team
    team: os:12 by Layers: Current
    ");
    let audit = audit(&registry.images, &registry.bases, Some("team"));
    let owners: Vec<&str> = audit.findings.iter().filter_map(|one| one.owner.as_deref()).collect();
    assert_eq!(owners, ["sales"]);
}

#[test]
fn the_oldest_bases_are_first() {
    let mut registry = Registry::default();
    registry
        .base(("os", "os 1"), "12-20261101", ("a1", 1), &[])
        .base(("os", "os 2"), "12-20261111", ("a2", 11), &[])
        .base(("os", "os 3"), "12", ("a3", 21), &[])
        .image("a-current", "a3 x", &[])
        .image("b-unknown", "z", &[])
        .image("c-behind", "a2 x", &[])
        .image("d-far-behind", "a1 x", &[]);
    let audit = audit(&registry.images, &registry.bases, None);
    let names: Vec<String> = audit.findings.iter().map(AuditFinding::name).collect();
    let expected = ["d-far-behind", "c-behind", "b-unknown", "a-current"];
    assert_eq!(names, expected.map(|name| format!("{HOST}/{name}:latest")));
    let counts =
        AuditCounts { images: 4, current: 1, behind: 2, unknown: 1, ..AuditCounts::default() };
    assert_eq!(audit.counts(), counts);
}

#[test]
fn an_image_that_was_built_from_scratch_has_no_base() {
    let labels = [("rebuild.node", "os"), ("rebuild.fingerprint", "f1")];
    let mut registry = Registry::default();
    registry
        .base(("base/tools", "tools 1"), "1", ("a1", 1), &[])
        .image("base/os", "a1 b1", &labels)
        .image("team/os", "a2 b1", &labels)
        .image("team/other", "c1", &[]);
    assert_eq!(
        registry.says(),
        "base/os: base/tools:1 by Layers: Current\nteam/os: NoEvidence\nteam/other: NoEvidence",
        "another program may have built it on an image of that name"
    );
    registry.bases.nodes.insert((repository("base/os"), "os".to_owned()), Tag::latest());
    registry.images[1].is_built_here = true;
    assert_eq!(
        registry.says(),
        "base/os: FromScratch\nteam/os: FromScratch\nteam/other: NoEvidence"
    );
    let counts = audit(&registry.images, &registry.bases, None).counts();
    assert_eq!((counts.from_scratch, counts.unknown), (2, 1));
}
