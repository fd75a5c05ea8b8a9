//! What init makes of small repositories.

use std::{collections::BTreeMap, fs, path::Path};

use super::{From, Proposal, propose};
use crate::hierarchy::LoadOptions;

/// `path: text` for each file.
fn proposed(files: &[(String, String)]) -> Proposal {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().canonicalize().unwrap();
    for (path, text) in files {
        let path = root.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    let from = From::Folder { tracked: Vec::new(), environment: BTreeMap::new() };
    propose(&root.join("hierarchy.yaml"), from, &LoadOptions::default()).unwrap()
}

/// `child < parent` for each edge.
fn edges(proposal: &Proposal) -> Vec<String> {
    let hierarchy = &proposal.loaded.as_ref().unwrap().hierarchy;
    let folder = |path: &Path| path.strip_prefix(hierarchy.root()).unwrap().display().to_string();
    let mut edges: Vec<String> = hierarchy
        .in_build_order()
        .flat_map(|node| {
            let child = folder(&node.dockerfile.path);
            let parents = hierarchy.parents(&node.name);
            let line = |parent: &crate::hierarchy::Node| {
                format!("{child} < {}", folder(&parent.dockerfile.path))
            };
            parents.map(line).collect::<Vec<_>>()
        })
        .collect();
    edges.sort();
    edges
}

fn of(lines: &[(&str, &str)]) -> Proposal {
    let owned = |(path, text): &(&str, &str)| ((*path).to_owned(), (*text).to_owned());
    proposed(&lines.iter().map(owned).collect::<Vec<_>>())
}

/// Three images, each from the one before, in every combination of how paths name them, which tags
/// they have, and what says so.
#[test]
fn layouts_of_names_tags_and_evidence_give_the_same_two_edges() {
    let paths: [fn(&str) -> String; 6] = [
        |name| format!("{name}/Dockerfile"),
        |name| format!("images/{name}/Dockerfile"),
        |name| format!("Dockerfile.{name}"),
        |name| format!("docker/{name}.Dockerfile"),
        |name| format!("src/{name}/.devcontainer/Dockerfile"),
        |name| format!("{}{}/Dockerfile", name[..1].to_uppercase(), &name[1..]),
    ];
    for path in paths {
        for tag in ["", ":latest", ":1.4.2", ":v2-bookworm"] {
            for evidence in ["references", "makefile", "script", "ci"] {
                let from =
                    ["debian:12".to_owned(), format!("acme/core{tag}"), format!("acme/web{tag}")];
                let names = ["core", "web", "shop"];
                let mut files: Vec<(String, String)> = names
                    .iter()
                    .zip(&from)
                    .map(|(name, from)| (path(name), format!("FROM {from}\n")))
                    .collect();
                let command = |name: &&str| {
                    let file = path(name);
                    format!("docker build -t acme/{name}{tag} -f {file} .")
                };
                let commands: Vec<String> = names.iter().map(command).collect();
                match evidence {
                    "makefile" => files
                        .push(("Makefile".into(), format!("all:\n\t{}\n", commands.join("\n\t")))),
                    "script" => files.push(("build.sh".into(), commands.join("\n"))),
                    "ci" => files.push((
                        ".gitlab-ci.yml".into(),
                        format!("build:\n  script:\n    - {}\n", commands.join("\n    - ")),
                    )),
                    _ => {}
                }
                let proposal = proposed(&files);
                let expected = [
                    format!("{} < {}", path("shop"), path("web")),
                    format!("{} < {}", path("web"), path("core")),
                ];
                let mut expected = expected.to_vec();
                expected.sort();
                let about = format!("{} {tag} {evidence}\n{}", path("web"), proposal.text);
                assert_eq!(edges(&proposal), expected, "{about}");
                let doubts: Vec<&String> =
                    proposal.unsure.iter().filter(|line| !line.contains("folder above")).collect();
                assert_eq!(doubts, Vec::<&String>::new(), "{about}");
            }
        }
    }
}

#[test]
fn weak_evidence_makes_no_edge_without_a_doubt() {
    // The tag `latest` of an image with two variants.
    let several = of(&[
        ("base/alpine/Dockerfile", "FROM alpine:3"),
        ("base/ubuntu/Dockerfile", "FROM ubuntu:24.04"),
        ("web/alpine/Dockerfile", "FROM acme/base:alpine"),
        ("web/ubuntu/Dockerfile", "FROM acme/base:ubuntu"),
        ("ftp/Dockerfile", "FROM acme/base"),
    ]);
    assert_eq!(edges(&several).len(), 2, "{}", several.text);
    assert!(several.unsure[0].contains("several Dockerfiles may make it"), "{:?}", several.unsure);
    // One word in common, and prose.
    let common = of(&[
        ("base-tools/7/Dockerfile", "# builds acme/base\nFROM debian:12"),
        ("core/Dockerfile", "FROM debian:12"),
        ("one/Dockerfile", "FROM acme/base"),
        ("two/Dockerfile", "FROM acme/core"),
        ("three/Dockerfile", "FROM acme/two"),
    ]);
    assert_eq!(
        edges(&common),
        ["three/Dockerfile < two/Dockerfile", "two/Dockerfile < core/Dockerfile"]
    );
    assert!(common.unsure.iter().any(|line| line.contains("`acme/base`")), "{:?}", common.unsure);
}

#[test]
fn official_names_and_colliding_tags_are_not_published() {
    let proposal = of(&[
        ("nginx/Dockerfile", "FROM nginx"),
        ("alpine/Dockerfile", "FROM alpine:3.20"),
        ("a/test/Dockerfile", "FROM scratch"),
        ("b/test/Dockerfile", "FROM scratch"),
        ("build.sh", "docker build -t acme/test a/test\ndocker build -t acme/test b/test\n"),
    ]);
    let hierarchy = &proposal.loaded.as_ref().unwrap().hierarchy;
    let mut images: Vec<String> = hierarchy
        .in_build_order()
        .flat_map(|node| node.tags.iter().map(|tag| format!("{}:{tag}", node.repository)))
        .collect();
    images.sort();
    let count = images.len();
    images.dedup();
    assert_eq!(images.len(), count, "{images:?}");
    assert!(
        !images.iter().any(|one| one.starts_with("nginx:") || one.starts_with("alpine:")),
        "{images:?}"
    );
    assert!(proposal.unsure.iter().any(|line| line.contains("the same image and tag")));
}

#[test]
fn an_image_that_misses_a_value_is_written_and_the_others_load() {
    let proposal = of(&[
        ("base/Dockerfile", "ARG VERSION\nFROM debian:$VERSION"),
        ("web/Dockerfile", "FROM debian:12"),
    ]);
    assert!(proposal.text.contains("VERSION: \"\"  # fill in"), "{}", proposal.text);
    let loaded = proposal.loaded.as_ref().unwrap();
    assert_eq!(loaded.hierarchy.len(), 1);
    assert!(loaded.warnings[0].message.contains("`base` is left out"), "{:?}", loaded.warnings);
}

#[test]
fn targets_of_one_dockerfile_are_several_images() {
    let proposal = of(&[
        ("base/Dockerfile", "FROM debian:12 AS small\nFROM small AS large\n"),
        ("web/Dockerfile", "FROM acme/base-large"),
        (
            "build.sh",
            "for t in small large; do docker build -t acme/base-$t --target $t base; done",
        ),
    ]);
    let hierarchy = &proposal.loaded.as_ref().unwrap().hierarchy;
    assert_eq!(hierarchy.len(), 3, "{}", proposal.text);
    let web = hierarchy.in_build_order().find(|node| node.name.as_str() == "web").unwrap();
    let parent = hierarchy.parents(&web.name).next().unwrap();
    assert_eq!(parent.target.as_deref(), Some("large"));
}
