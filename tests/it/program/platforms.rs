//! Images for several platforms: one index for all, and each platform built and tested on its own.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::support::{
    judges::judge,
    project::{Place, Project},
    registry::Registry,
};

/// The manifests of the index under a tag, by platform.
fn platforms(registry: &Registry, repository: &str, tag: &str) -> BTreeMap<String, String> {
    let index: Value = serde_json::from_slice(&registry.manifest(repository, tag)).unwrap();
    assert_eq!(index["mediaType"], "application/vnd.oci.image.index.v1+json", "{index}");
    let member = |member: &Value| {
        let platform = &member["platform"];
        let name = format!(
            "{}/{}",
            platform["os"].as_str().unwrap(),
            platform["architecture"].as_str().unwrap()
        );
        (name, member["digest"].as_str().unwrap().to_owned())
    };
    index["manifests"].as_array().unwrap().iter().map(member).collect()
}

/// The architecture that the configuration of an image names, and its number of layers.
fn described(registry: &Registry, repository: &str, digest: &str) -> (String, usize) {
    let manifest: Value = serde_json::from_slice(&registry.manifest(repository, digest)).unwrap();
    let config = registry.blob(repository, manifest["config"]["digest"].as_str().unwrap());
    let config: Value = serde_json::from_slice(&config).unwrap();
    let layers = config["rootfs"]["diff_ids"].as_array().unwrap().len();
    (config["architecture"].as_str().unwrap().to_owned(), layers)
}

/// Images of files only, which need no emulation: a base, one on it, and one on that.
struct Chain {
    project: Project,
    registry: Registry,
}

impl Chain {
    fn new() -> Self {
        let (project, registry) = (Project::empty(), Registry::start());
        for (name, parent) in [("base", "scratch"), ("app", "~base"), ("leaf", "~app")] {
            let text = format!(
                "FROM {parent}\nARG TARGETARCH\nCOPY page-${{TARGETARCH}} /{name}\nCOPY name /{name}.name\n"
            );
            project.write(&format!("{name}/Dockerfile"), &text);
            project.write(&format!("{name}/name"), "~");
            for platform in ["amd64", "arm64"] {
                project.write(&format!("{name}/page-{platform}"), &format!("~{name} {platform}"));
            }
        }
        let chain = Self { project, registry };
        chain.file("");
        chain
    }

    fn file(&self, of_leaf: &str) {
        self.project.write(
            "hierarchy.yaml",
            &format!(
                "version: 1\nregistry: {}/demo\ndefaults: {{ platforms: [linux/amd64, linux/arm64], tags: [latest, \"1\"] }}\nimages:\n  \
                 ~base: {{ context: base }}\n  ~app: {{ context: app }}\n  ~leaf: {{ context: leaf{of_leaf} }}\n",
                self.registry.host()
            ),
        );
    }

    fn platforms(&self, name: &str) -> BTreeMap<String, String> {
        platforms(&self.registry, &self.project.name(&format!("demo/~{name}")), "latest")
    }

    fn heads(&self) -> BTreeMap<String, String> {
        self.project.tags(Place::Registry(&self.registry))
    }
}

#[test]
fn tags_point_at_an_index_and_only_a_changed_platform_is_built() {
    let chain = Chain::new();
    let Chain { project, registry } = &chain;
    let plan = project.rebuild("plan").run().exits(0);
    assert!(plan.stdout.contains("6 to build"), "{plan}");
    project.rebuild("").run().exits(0);
    for (name, layers) in [("base", 2), ("app", 4), ("leaf", 6)] {
        let found = chain.platforms(name);
        assert_eq!(found.len(), 2, "{name}");
        for platform in ["amd64", "arm64"] {
            let digest = &found[&format!("linux/{platform}")];
            let repository = project.name(&format!("demo/~{name}"));
            let of_image = described(registry, &repository, digest);
            assert_eq!(of_image, (platform.to_owned(), layers), "{name}");
        }
    }
    project.rebuild("plan --exit-code").run().exits(0);
    project.rebuild("status --exit-code").run().exits(0);
    let heads = chain.heads();
    assert_eq!(heads["~leaf:latest"], heads["~leaf:1"]);

    // One platform of the last image changes.
    let before = chain.platforms("leaf");
    project.write("leaf/page-arm64", "~leaf changed");
    let plan = project.rebuild("plan").run().exits(0);
    assert!(plan.stdout.contains("1 to build"), "{plan}");
    let why = project.rebuild("why ~leaf").run().exits(0);
    assert!(project.shown(&why.stdout).contains("~leaf (linux/arm64)"), "{why}");
    let ended = project.rebuild("").run().exits(0);
    ended.says(&["1 built"]);
    let after = chain.platforms("leaf");
    assert_eq!(after["linux/amd64"], before["linux/amd64"]);
    assert_ne!(after["linux/arm64"], before["linux/arm64"]);
    let now = chain.heads();
    assert_ne!(now["~leaf:latest"], heads["~leaf:latest"]);
    assert_eq!(now["~leaf:latest"], now["~leaf:1"]);
    assert_eq!(now["~app:latest"], heads["~app:latest"]);
    project.rebuild("plan --exit-code").run().exits(0);

    // Back, and held for that platform.
    project.rebuild("rollback --yes").run().exits(0);
    assert_eq!(chain.platforms("leaf"), before);
    project.rebuild("plan --exit-code").run().exits(0);
    project.rebuild("resume").run().exits(0);
    project.rebuild("").run().exits(0);
    assert_eq!(chain.heads(), now);
}

#[test]
fn other_programs_read_the_index() {
    let chain = Chain::new();
    let Chain { project, registry } = &chain;
    project.rebuild("").run().exits(0);
    let name = format!("{}/{}:latest", registry.host(), project.name("demo/~leaf"));
    let published = chain.platforms("leaf");
    for (platform, digest) in &published {
        let (_, architecture) = platform.split_once('/').unwrap();
        let found = judge("crane", &["digest", "--platform", platform, &name]);
        assert!(found.is_none_or(|found| found == *digest), "{platform}");
        let config = judge("crane", &["config", "--platform", platform, &name]);
        let config: Option<Value> = config.map(|text| serde_json::from_str(&text).unwrap());
        assert!(config.is_none_or(|config| config["architecture"] == architecture), "{platform}");
        let docker = format!("docker://{name}");
        let override_arch = ["--override-os", "linux", "--override-arch", architecture];
        let inspect = ["inspect", "--tls-verify=false", docker.as_str()];
        let found = judge("skopeo", &[&override_arch[..], &inspect[..]].concat());
        let found: Option<Value> = found.map(|text| serde_json::from_str(&text).unwrap());
        assert!(found.is_none_or(|found| found["Architecture"] == architecture), "{platform}");
    }
    let raw =
        judge("skopeo", &["inspect", "--raw", "--tls-verify=false", &format!("docker://{name}")]);
    if let Some(raw) = raw {
        let index: Value = serde_json::from_str(&raw).unwrap();
        assert_eq!(index["manifests"].as_array().unwrap().len(), published.len(), "{raw}");
    }
    let valid = judge("crane", &["validate", "--fast", "--remote", &name]);
    assert!(valid.is_none_or(|said| said.is_empty() || said.contains("PASS")));
}

#[test]
fn jobs_build_platforms_and_the_last_one_makes_the_indexes() {
    let chain = Chain::new();
    let Chain { project, .. } = &chain;
    let stage = |image: &str| {
        let folder = project.path(&format!("../state-{}", image.replace(['~', '/', '@'], "-")));
        let stage = project.rebuild(&format!("stage {image} --plan ../plan.json"));
        stage.env("XDG_STATE_HOME", folder).run().exits(0)
    };
    let promote = || project.rebuild("promote --plan ../plan.json").run();
    project.rebuild("plan --out ../plan.json").run().exits(0);
    stage("~base");
    for platform in ["linux/arm64", "linux/amd64"] {
        stage(&format!("~app@{platform}"));
    }
    stage("~leaf@linux/amd64");
    promote().exits(10).says(&["~leaf (linux/arm64)"]);
    assert_eq!(chain.heads(), BTreeMap::new());
    stage("~leaf@linux/arm64");
    promote().exits(0);
    let (heads, before) = (chain.heads(), chain.platforms("leaf"));
    assert_eq!(before.len(), 2);
    assert_eq!(heads["~leaf:latest"], heads["~leaf:1"]);
    // Again: nothing moves.
    promote().exits(0).says(&["every tag of the plan is already where it belongs"]);
    assert_eq!(chain.heads(), heads);
    project.rebuild("plan --exit-code").run().exits(0);

    project.write("leaf/page-arm64", "~leaf changed");
    project.rebuild("plan --out ../plan.json").run().exits(0);
    let exported = project.rebuild("export github --plan ../plan.json").run().exits(0);
    let shown = project.shown(&exported.stdout);
    assert!(shown.contains("rebuild stage ~leaf@linux/arm64 --plan"), "{shown}");
    stage("~leaf@linux/arm64");
    promote().exits(0);
    let after = chain.platforms("leaf");
    assert_eq!(after["linux/amd64"], before["linux/amd64"]);
    assert_ne!(after["linux/arm64"], before["linux/arm64"]);
    assert_eq!(chain.heads()["~app:latest"], heads["~app:latest"]);
    project.rebuild("plan --exit-code").run().exits(0);
}

#[test]
fn a_run_for_one_platform_stores_it_and_moves_no_tag() {
    let chain = Chain::new();
    let Chain { project, .. } = &chain;
    let plan = project.rebuild("plan --platform linux/arm64").run().exits(0);
    assert!(plan.stdout.contains("moves no tag\n"), "{plan}");
    let ended = project.rebuild("--platform linux/arm64").run().exits(0);
    ended.says(&["a run with `--platform` builds a part of each image"]);
    assert_eq!(chain.heads(), BTreeMap::new());
    project.rebuild("--platform linux/s390x").run().exits(2).says(&["no image is built for"]);
    // The other run builds the rest only.
    let ended = project.rebuild("").run().exits(0);
    ended.says(&["3 built", "promoted 6 tags of 3 images"]);
    assert_eq!(chain.platforms("leaf").len(), 2);
}

#[test]
fn a_plan_warns_if_no_engine_builds_for_a_platform() {
    let chain = Chain::new();
    let plan = chain.project.rebuild(&format!("plan --engine {}", chain.project.engine()));
    plan.run().exits(0).says(&["a run would fail: no engine builds for linux/arm64"]);
}

#[test]
fn a_platform_that_a_parent_lacks_is_an_error_with_both_lines() {
    let chain = Chain::new();
    chain.file(", platforms: [linux/amd64, linux/s390x]");
    let ended = chain.project.rebuild("plan").run().exits(2);
    ended.says(&[
        "`~leaf` is built for linux/s390x, and its parent `~app` is not",
        "hierarchy.yaml:7",
        "`~app` is built for linux/amd64, linux/arm64",
    ]);
}

#[test]
fn a_platform_that_is_added_or_removed_does_not_rebuild_the_others() {
    let chain = Chain::new();
    let Chain { project, .. } = &chain;
    chain.file(", platforms: [linux/amd64]");
    project.rebuild("").run().exits(0);
    let head = chain.heads()["~leaf:latest"].clone();
    chain.file("");
    project.rebuild("").run().exits(0).says(&["1 built"]).never_says(&["unchanged"]);
    assert_eq!(chain.platforms("leaf")["linux/amd64"], head);
    chain.file(", platforms: [linux/amd64]");
    project.rebuild("").run().exits(0).never_says(&["1 built", "unchanged"]);
    assert_eq!(chain.heads()["~leaf:latest"], head);
}

#[test]
fn a_failed_platform_keeps_all_tags_and_an_optional_one_lags() {
    let chain = Chain::new();
    let Chain { project, .. } = &chain;
    project.rebuild("").run().exits(0);
    let (before, published) = (chain.heads(), chain.platforms("leaf"));
    for platform in ["amd64", "arm64"] {
        project.write(&format!("leaf/page-{platform}"), &format!("~leaf {platform} two"));
    }
    // The file of one platform is missing.
    std::fs::remove_file(project.path("leaf/page-arm64")).unwrap();
    project.rebuild("").run().exits(10);
    let stays = |heads: BTreeMap<String, String>| {
        before.iter().all(|(tag, digest)| heads.get(tag) == Some(digest))
    };
    assert!(stays(chain.heads()));
    chain.file(", on_failure: hold");
    project.rebuild("").run().exits(10);
    assert!(stays(chain.heads()));

    chain.file(", platforms: [linux/amd64], optional_platforms: [linux/arm64]");
    project.rebuild("").run().exits(0).says(&["~leaf (linux/arm64)"]);
    let now = chain.platforms("leaf");
    assert_eq!(now["linux/arm64"], published["linux/arm64"]);
    assert_ne!(now["linux/amd64"], published["linux/amd64"]);
    project.write("leaf/page-arm64", "~leaf arm64 two");
    project.rebuild("").run().exits(0);
    assert_ne!(chain.platforms("leaf")["linux/arm64"], published["linux/arm64"]);
}

#[test]
fn the_build_platform_selects_the_parent() {
    let chain = Chain::new();
    let Chain { project, registry } = &chain;
    project.write(
        "leaf/Dockerfile",
        "FROM --platform=$BUILDPLATFORM ~app AS build\nARG BUILDARCH\nFROM ~app\nCOPY --from=build /app /of-the-builder\n",
    );
    project.rebuild("").run().exits(0);
    for (platform, digest) in chain.platforms("leaf") {
        let found = described(registry, &project.name("demo/~leaf"), &digest);
        assert_eq!(found, (platform.trim_start_matches("linux/").to_owned(), 5));
    }
    project.rebuild("plan --exit-code").run().exits(0);
    // The other platform of the parent is one more reason for the one that is not the builder's.
    project.write("app/page-amd64", "~app other");
    let plan = project.rebuild("plan").run().exits(0);
    assert!(plan.stdout.contains("3 to build"), "{plan}");
    project.rebuild("").run().exits(0);
    project.rebuild("plan --exit-code").run().exits(0);
}

#[test]
fn without_a_registry_each_platform_has_tags_of_its_own() {
    let chain = Chain::new();
    let Chain { project, .. } = &chain;
    project.write(
        "hierarchy.yaml",
        "version: 1\ndefaults: { platforms: [linux/amd64, linux/arm64] }\nimages:\n  \
         ~base: { context: base }\n  ~app: { context: app }\n  ~leaf: { context: leaf }\n",
    );
    project.rebuild("").run().exits(0);
    let tags = project.tags(Place::Engine);
    assert!(tags.contains_key("~leaf:latest"), "{tags:?}");
    assert!(tags.contains_key("~leaf:latest-linux-arm64"), "{tags:?}");
    assert_ne!(tags["~leaf:latest"], tags["~leaf:latest-linux-arm64"]);
    project.rebuild("plan --exit-code").run().exits(0);
}
