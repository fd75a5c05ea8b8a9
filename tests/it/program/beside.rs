//! What BuildKit adds beside an image: annotations, attestations and the layer cache.

use std::process::Command;

use rebuild::{engine::Capability, image::Digest};
use serde_json::{Value, json};

use crate::support::{
    engine::lacks,
    gate::{Gate, Pass},
    project::{Place, Project},
    registry::Registry,
};

/// A file with an image that has these options, and one that is based on it.
fn project(options: &str) -> Project {
    let project = Project::empty();
    project.write_os();
    let file = format!(
        "version: 1\nimages:\n  ~os: {{ context: os, {options} }}\n  ~app: {{ context: app }}\n"
    );
    project.write("hierarchy.yaml", &file);
    project.write("app/Dockerfile", "FROM ~os\nRUN echo app >/app\n");
    project
}

#[test]
fn annotations_and_attestations_are_published_and_compared() {
    let project =
        project("annotations: { org.example.team: web }, attest: { provenance: max, sbom: false }");
    let registry = Registry::start();
    let prefix = format!("{}/beside", registry.host());
    let run = |arguments: &str| project.rebuild(&format!("--registry {prefix} {arguments}"));
    if lacks(Capability::Attestations) {
        let says = |option| {
            format!("`~os` has `{option}`, and this engine lacks the capability `attestations`")
        };
        project.edit("hierarchy.yaml", "sbom: false", "sbom: true");
        run("").run().exits(2).says(&[&says("attest.sbom"), &says("annotations")]);
        return;
    }
    run("").run().exits(0);
    let repository = project.name("beside/~os");
    let index: Value = serde_json::from_slice(&registry.manifest(&repository, "latest")).unwrap();
    assert_eq!(index["annotations"]["org.example.team"], "web", "{index}");
    let of = |kind: &str| {
        let manifests = index["manifests"].as_array().unwrap().iter();
        let found = manifests.filter(|one| {
            let is_attestation =
                one["annotations"]["vnd.docker.reference.type"] == "attestation-manifest";
            is_attestation == (kind == "attestation")
        });
        let digests: Vec<_> = found.map(|one| one["digest"].as_str().unwrap().to_owned()).collect();
        assert_eq!(digests.len(), 1, "{kind}: {index}");
        serde_json::from_slice::<Value>(&registry.manifest(&repository, &digests[0])).unwrap()
    };
    assert_eq!(of("image")["annotations"]["org.example.team"], "web");
    let predicate = &of("attestation")["layers"][0]["annotations"]["in-toto.io/predicate-type"];
    assert!(predicate.as_str().unwrap().contains("slsa.dev/provenance"), "{predicate}");
    let again = run("").run().exits(0);
    assert_eq!(again.result(), "nothing to do: all 2 images are up to date", "{again}");
    // The same content with other times and another attestation is the same image.
    let dockerfile = std::fs::read_to_string(project.path("os/Dockerfile")).unwrap();
    project.write("os/Dockerfile", &format!("# A comment.\n{dockerfile}"));
    let same = run("").run().exits(0);
    assert!(same.result().contains("unchanged"), "{same}");
    // Another annotation is another image.
    project.edit("hierarchy.yaml", "team: web", "team: base");
    let changed = run("").run().exits(0);
    let index: Value = serde_json::from_slice(&registry.manifest(&repository, "latest")).unwrap();
    assert_eq!(index["annotations"]["org.example.team"], "base", "{changed}");
    assert_eq!(run("size").run().exits(0).stderr, "");
}

/// Oracle: what is in the registry under a path, as JSON.
fn json_at(registry: &Registry, repository: &str, reference: &str) -> Value {
    serde_json::from_slice(&registry.manifest(repository, reference)).unwrap()
}

#[test]
fn without_attestations_of_the_engine_the_provenance_is_a_referrer() {
    if !lacks(Capability::Attestations) {
        return;
    }
    let project =
        project("build_args: { TEAM: web }, attest: { provenance: max }, tags: [latest, \"1\"]");
    project.edit("hierarchy.yaml", "~app: { ", "~app: { attest: { provenance: min }, ");
    project.edit("os/Dockerfile", "FROM scratch\n", "FROM scratch\nARG TEAM\n");
    let registry = Registry::start();
    let gate = Gate::before(registry.host());
    let run = || project.rebuild(&format!("--registry {}/beside", gate.host())).run();
    let repository = |name: &str| project.name(&format!("beside/{name}"));

    // No tag moves to an image without its provenance.
    gate.rule(|method, path| {
        let is_index = method == "PUT" && path.contains("/manifests/sha256-");
        if is_index { Pass::Refused(405) } else { Pass::Through }
    });
    run().exits(13).says(&["has no provenance: ", ": no tag was moved"]);
    for name in ["~os", "~app"] {
        let tags = registry.tags(&repository(name));
        assert!(tags.iter().all(|tag| tag.starts_with("rb-")), "{tags:?}");
    }
    gate.rule(|_, _| Pass::Through);
    run().exits(0);

    let statement = |name: &str| {
        let repository = repository(name);
        let image = registry.head(&repository, "latest").unwrap();
        let index = json_at(&registry, &repository, &image.replace(':', "-"));
        let entries = index["manifests"].as_array().unwrap();
        assert_eq!(entries.len(), 1, "{index}");
        let artifact = json_at(&registry, &repository, entries[0]["digest"].as_str().unwrap());
        let bytes = registry.manifest(&repository, "latest");
        assert_eq!(artifact["subject"]["digest"], image);
        assert_eq!(artifact["subject"]["size"], bytes.len());
        assert_eq!(artifact["artifactType"], "application/vnd.in-toto+json");
        assert_eq!(entries[0]["artifactType"], artifact["artifactType"]);
        let predicate = "https://slsa.dev/provenance/v1";
        assert_eq!(entries[0]["annotations"]["in-toto.io/predicate-type"], predicate);
        let layer = artifact["layers"][0]["digest"].as_str().unwrap();
        let text = registry.blob(&repository, layer);
        assert_eq!(Digest::of(&text).as_str(), layer);
        let statement: Value = serde_json::from_slice(&text).unwrap();
        let hex = image.strip_prefix("sha256:").unwrap();
        assert_eq!(statement["subject"][0]["digest"]["sha256"], hex);
        (image, statement["predicate"]["buildDefinition"].clone())
    };
    let (os, build) = statement("~os");
    let parameters = &build["externalParameters"];
    assert_eq!(parameters["buildArgs"], json!({ "TEAM": "web" }));
    let dockerfile = std::fs::read_to_string(project.path("os/Dockerfile")).unwrap();
    assert_eq!(parameters["dockerfile"], dockerfile);
    let (_, build) = statement("~app");
    assert_eq!(build["externalParameters"]["dockerfile"], Value::Null);
    assert_eq!(build["resolvedDependencies"][0]["digest"]["sha256"], os["sha256:".len()..]);

    // One more tag to the same image: the statement is not attached again.
    project.edit("hierarchy.yaml", "\"1\"]", "\"1\", \"2\"]");
    run().exits(0);
    assert!(registry.head(&repository("~os"), "2").is_some());
    assert_eq!(statement("~os").0, os);
    assert_eq!(run().exits(0).result(), "nothing to do: all 2 images are up to date");
    for command in ["status", "gc", "gc --keep 1ms --yes", "size"] {
        project.rebuild(&format!("{command} --registry {}/beside", gate.host())).run().exits(0);
    }
    assert_eq!(statement("~os").0, os);
    if Command::new("cosign").arg("version").output().is_ok() {
        let image = format!("{}/{}@{os}", registry.host(), repository("~os"));
        let tree = Command::new("cosign")
            .args(["tree", "--allow-insecure-registry", &image])
            .output()
            .unwrap();
        let shown = String::from_utf8_lossy(&tree.stdout);
        assert!(shown.contains("application/vnd.in-toto+json"), "{tree:?}");
    }
}

#[test]
fn provenance_without_a_registry_is_a_warning() {
    if !lacks(Capability::Attestations) {
        return;
    }
    let project = project("attest: { provenance: min }");
    let ended = project.rebuild("").run().exits(0);
    ended.says(&["`attest.provenance` of `~os` has no effect: there is no registry, and this engine lacks the capability `attestations`"]);
}

#[test]
fn the_layer_cache_goes_to_the_registry_and_its_failure_fails_no_image() {
    let project = project("cache: { from: registry, to: [\"mode=max\"] }");
    let registry = Registry::start();
    let prefix = format!("{}/beside", registry.host());
    let run = || project.rebuild(&format!("--registry {prefix}")).run().exits(0);
    let ended = run();
    let warning =
        "`cache.to` of `~os` has no effect: this engine lacks the capability `cache-export`";
    assert_eq!(
        project.shown(&ended.stderr).contains(warning),
        lacks(Capability::CacheExport),
        "{ended}"
    );
    let repository = project.name("beside/~os");
    let is_there = registry.head(&repository, "rb-cache").is_some();
    assert_eq!(is_there, !lacks(Capability::CacheExport));
    // A cache that cannot be written.
    project.edit("hierarchy.yaml", "\"mode=max\"", "\"ref=127.0.0.1:1/none:cache\"");
    project.write("os/more", "more");
    let ended = run();
    assert_eq!(project.tags(Place::Engine).len(), 0, "{ended}");
    assert!(registry.head(&repository, "latest").is_some());
}
