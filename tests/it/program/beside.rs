//! What BuildKit adds beside an image: annotations, attestations and the layer cache.

use rebuild::engine::Capability;
use serde_json::Value;

use crate::support::{
    engine::capabilities,
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

fn lacks(capability: Capability) -> bool {
    !capabilities().unwrap().has(capability)
}

#[test]
fn annotations_and_attestations_are_published_and_compared() {
    let project = project("annotations: { org.example.team: web }, attest: { provenance: max }");
    let registry = Registry::start();
    let prefix = format!("{}/beside", registry.host());
    let run = |arguments: &str| project.rebuild(&format!("--registry {prefix} {arguments}"));
    if lacks(Capability::Attestations) {
        let says = |option| {
            format!("`~os` has `{option}`, and this engine lacks the capability `attestations`")
        };
        run("").run().exits(2).says(&[&says("attest"), &says("annotations")]);
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

#[test]
fn the_layer_cache_goes_to_the_registry_and_its_failure_fails_no_image() {
    let project = project("cache: { from: registry, to: [\"mode=max\"] }");
    let registry = Registry::start();
    let prefix = format!("{}/beside", registry.host());
    let run = || project.rebuild(&format!("--registry {prefix}")).run().exits(0);
    run();
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
