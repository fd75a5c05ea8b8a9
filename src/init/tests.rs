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
    let line = "build_args: { VERSION: \"\" } }  # fill in `build_args`";
    assert!(proposal.text.contains(line), "{}", proposal.text);
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

#[test]
fn bake_files_in_hcl_are_evidence() {
    let proposal = of(&[
        ("images/base/Dockerfile", "FROM debian:12"),
        ("images/web/Dockerfile", "FROM ghcr.io/acme/platform:1.4"),
        (
            "ci/docker-bake.hcl",
            "variable \"V\" { default = \"1.4\" }\ntarget \"base\" {\n  context = \"images/base\"\n  \
             tags = [\"ghcr.io/acme/platform:${V}\"]\n}\n",
        ),
    ]);
    assert_eq!(edges(&proposal), ["images/web/Dockerfile < images/base/Dockerfile"]);
    assert_eq!(proposal.unsure, Vec::<String>::new());
    assert!(proposal.text.contains("[bake ci/docker-bake.hcl"), "{}", proposal.text);
}

#[test]
fn a_tag_may_leave_out_what_the_paths_say() {
    let proposal = of(&[
        ("src/base-alpine/Dockerfile", "FROM alpine:3"),
        ("src/base-debian/Dockerfile", "FROM debian:12"),
        ("src/web/Dockerfile", "FROM quay.io/acme/base:2-bookworm"),
        ("src/run/1/alpine3.9/Dockerfile", "FROM alpine:3.9"),
        ("src/run/1/alpine3.10/Dockerfile", "FROM alpine:3.10"),
        ("src/app/Dockerfile", "FROM quay.io/acme/run:1-alpine"),
        // The same file name in another folder.
        ("core/Dockerfile.c9", "FROM debian:12"),
        ("core/Dockerfile.rhel9", "FROM debian:12"),
        ("kit/Dockerfile.rhel9", "FROM quay.io/acme/core"),
    ]);
    let expected = [
        "kit/Dockerfile.rhel9 < core/Dockerfile.rhel9",
        "src/app/Dockerfile < src/run/1/alpine3.10/Dockerfile",
        "src/web/Dockerfile < src/base-debian/Dockerfile",
    ];
    assert_eq!(edges(&proposal), expected, "{:?}", proposal.unsure);
    for image in ["base:2-bookworm", "run:1-alpine", "acme/core"] {
        assert!(proposal.unsure.iter().any(|line| line.contains(image)), "{:?}", proposal.unsure);
    }
}

#[test]
fn another_namespace_on_the_same_public_host_is_of_others() {
    let proposal = of(&[
        ("base/Dockerfile", "FROM debian:12"),
        ("web/Dockerfile", "FROM quay.io/acme/base"),
        ("shop/Dockerfile", "FROM quay.io/acme/web"),
        ("python/Dockerfile", "FROM debian:12"),
        ("tool/Dockerfile", "FROM quay.io/others/python:3"),
    ]);
    let expected = ["shop/Dockerfile < web/Dockerfile", "web/Dockerfile < base/Dockerfile"];
    assert_eq!(edges(&proposal), expected, "{:?}", proposal.unsure);
}

#[test]
fn variants_by_build_args_are_images_of_their_own() {
    let proposal = of(&[
        ("chrome/Dockerfile", "FROM debian:12"),
        ("firefox/Dockerfile", "FROM debian:12"),
        ("alone/Dockerfile", "ARG BASE=none\nFROM acme/$BASE"),
        (
            "Makefile",
            "all:\n\tdocker build -t acme/chrome chrome\n\tdocker build -t acme/firefox firefox\n\
             \tdocker build --build-arg BASE=chrome -t acme/alone-chrome:$(V) alone\n\
             \tdocker build --build-arg BASE=firefox -t acme/alone-firefox:$(V) alone\n",
        ),
    ]);
    let expected =
        ["alone/Dockerfile < chrome/Dockerfile", "alone/Dockerfile < firefox/Dockerfile"];
    assert_eq!(edges(&proposal), expected, "{}", proposal.text);
}

#[test]
fn the_repository_of_an_official_image_makes_it_and_a_test_of_an_image_does_not() {
    let proposal = of(&[
        (
            ".git/config",
            "[remote \"origin\"]\n\turl = https://github.com/acme/buildpack-deps.git\n",
        ),
        ("debian/trixie/curl/Dockerfile", "FROM debian:trixie"),
        ("debian/trixie/scm/Dockerfile", "FROM buildpack-deps:trixie-curl"),
        ("debian/sid/curl/Dockerfile", "FROM debian:sid"),
        ("debian/sid/scm/Dockerfile", "FROM buildpack-deps:sid-curl"),
        ("test/Dockerfile", "FROM buildpack-deps:sid-scm"),
        ("test.sh", "docker build -t buildpack-deps:$V test"),
    ]);
    let expected = [
        "debian/sid/scm/Dockerfile < debian/sid/curl/Dockerfile",
        "debian/trixie/scm/Dockerfile < debian/trixie/curl/Dockerfile",
        "test/Dockerfile < debian/sid/scm/Dockerfile",
    ];
    assert_eq!(edges(&proposal), expected, "{}", proposal.text);
}
