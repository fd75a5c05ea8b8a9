//! What init makes of small repositories.

mod builds;
mod folders;

use std::{collections::BTreeMap, fs, path::Path};

use super::{From, Proposal, propose};
use crate::hierarchy::LoadOptions;

/// `path: text` for each file.
fn proposed(files: &[(String, String)]) -> Proposal {
    proposed_in("", files)
}

/// For a folder of a repository with these files, all of which git tracks.
fn proposed_in(folder: &str, files: &[(String, String)]) -> Proposal {
    let place = tempfile::tempdir().unwrap();
    let root = place.path().canonicalize().unwrap();
    for (path, text) in files {
        let path = root.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    let tracked = files.iter().map(|(path, _)| path.into()).collect();
    let from = match folder {
        "" => From::Folder { repository: None, tracked: Vec::new(), environment: BTreeMap::new() },
        _ => From::Folder { repository: Some(root.clone()), tracked, environment: BTreeMap::new() },
    };
    let file = root.join(folder).join("hierarchy.yaml");
    propose(&file, from, &LoadOptions::default()).unwrap()
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

/// The lines for the user to check.
fn unsure(proposal: &Proposal) -> Vec<String> {
    proposal.unsure.iter().map(|line| line.short.clone()).collect()
}

#[test]
fn a_short_line_names_three_images_and_the_whole_line_names_all() {
    let names = ["a", "b", "c", "d", "e"];
    let file = |name: &str| (format!("{name}/Dockerfile"), "FROM debian:12".to_owned());
    let mut files: Vec<(String, String)> = names.map(file).into();
    let build = |name: &str| format!("docker build -t acme/{name}:$V {name}\n");
    files.push(("b.sh".to_owned(), names.map(build).concat()));
    let proposal = proposed(&files);
    let [_, line] = &proposal.unsure[..] else { panic!("{:?}", proposal.unsure) };
    let text = "the value of the tag is not known, and `latest` is written; check `tags`";
    assert_eq!(line.short, format!("`a (b.sh:1)`, `b (b.sh:2)`, `c (b.sh:3)` and 2 more: {text}"));
    assert_eq!(
        line.whole,
        format!("`a (b.sh:1)`, `b (b.sh:2)`, `c (b.sh:3)`, `d (b.sh:4)` and `e (b.sh:5)`: {text}")
    );
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
                let mut doubts = unsure(&proposal);
                doubts.retain(|line| !line.contains("folder above") && !line.contains("RB070"));
                assert_eq!(doubts, Vec::<String>::new(), "{about}");
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
    assert!(
        unsure(&several)[0].contains("several Dockerfiles may make it"),
        "{:?}",
        unsure(&several)
    );
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
    assert!(
        unsure(&common).iter().any(|line| line.contains("`acme/base`")),
        "{:?}",
        unsure(&common)
    );
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
    assert!(unsure(&proposal).iter().any(|line| line.contains("the same image and tag")));
}

#[test]
fn an_image_that_misses_a_value_is_written_and_the_others_load() {
    let proposal = of(&[
        ("base/Dockerfile", "ARG VERSION\nARG KIND=slim\nFROM debian:$VERSION-$KIND"),
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
    let unbuilt = "`web`: no file that `init` reads builds it; check its `tags`, or delete the entry if the image is not used";
    assert_eq!(unsure(&proposal), [unbuilt]);
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
    assert_eq!(edges(&proposal), expected, "{:?}", unsure(&proposal));
    for image in ["base:2-bookworm", "run:1-alpine", "acme/core"] {
        assert!(
            unsure(&proposal).iter().any(|line| line.contains(image)),
            "{:?}",
            unsure(&proposal)
        );
    }
}

#[test]
fn an_image_of_a_team_is_in_the_folder_of_that_team() {
    for head in ["teams/", "", "src/teams/"] {
        let team = format!("{head}blue/base/Dockerfile");
        let app = format!("{head}blue/app/Dockerfile");
        let proposal = of(&[
            ("base/Dockerfile", "FROM debian:12"),
            (&team, "FROM acme/base:latest"),
            (&app, "FROM blue/base"),
            ("tool/Dockerfile", "FROM acme/base:latest"),
        ]);
        let expected = [
            format!("{app} < {team}"),
            format!("{team} < base/Dockerfile"),
            "tool/Dockerfile < base/Dockerfile".to_owned(),
        ];
        let found: std::collections::BTreeSet<String> = edges(&proposal).into_iter().collect();
        assert_eq!(found, expected.into(), "{}", proposal.text);
    }
}

#[test]
fn builds_with_an_unknown_tag_make_the_images_that_their_paths_say() {
    let proposal = of(&[
        ("7/Dockerfile", "FROM scratch"),
        ("8/Dockerfile", "FROM scratch"),
        ("8-slim/Dockerfile", "FROM ghcr.io/acme/php:8"),
        ("8/fpm/Dockerfile", "FROM ghcr.io/acme/php:8-slim"),
        (
            "Makefile",
            "V := 7 8 8-slim\n$(V):\n\tdocker build -t ghcr.io/acme/php:$(subst x,y,$@) $@\n",
        ),
    ]);
    let expected = ["8-slim/Dockerfile < 8/Dockerfile", "8/fpm/Dockerfile < 8-slim/Dockerfile"];
    assert_eq!(edges(&proposal), expected, "{}", proposal.text);
}

#[test]
fn the_build_that_publishes_an_image_names_it() {
    let pushed = "      - { uses: docker/build-push-action@v6, with: { context: a, push: true, tags: 'ghcr.io/acme/app:1' } }\n";
    let tested = "      - { uses: docker/build-push-action@v6, with: { context: a, load: true, tags: 'user/app:test' } }\n";
    for (path, text) in [
        (".github/workflows/w.yml", format!("jobs:\n  a:\n    steps:\n{tested}{pushed}")),
        (".github/workflows/w.yml", format!("jobs:\n  a:\n    steps:\n{pushed}{tested}")),
        ("b.sh", "docker build -t localtest a\ndocker build -t ghcr.io/acme/app:1 a".to_owned()),
        (
            "b.sh",
            "docker buildx build --load -t r.io/t/t:1 a\ndocker build -t ghcr.io/acme/app:1 a"
                .to_owned(),
        ),
    ] {
        let proposal = of(&[("a/Dockerfile", "FROM scratch"), (path, &text)]);
        let expected = "registry: ghcr.io/acme\n";
        assert!(proposal.text.contains(expected), "{text}\n{}", proposal.text);
        assert!(proposal.text.contains("tags: [\"1\"]"), "{text}\n{}", proposal.text);
        assert_eq!(unsure(&proposal), Vec::<String>::new(), "{text}");
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
    assert_eq!(edges(&proposal), expected, "{:?}", unsure(&proposal));
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

/// The lines of the images, without comments.
fn entries(proposal: &Proposal) -> Vec<&str> {
    let lines = proposal.text.lines().skip_while(|line| *line != "images:").skip(1);
    let lines =
        lines.take_while(|line| !line.is_empty()).filter(|line| !line.trim().starts_with('#'));
    lines.map(|line| line.split("  #").next().unwrap_or(line).trim()).collect()
}

#[test]
fn a_tag_that_no_build_makes_is_a_doubt_and_is_not_written() {
    for (command, from, entry) in [
        ("-t corp/base:1.2", "FROM corp/base:1.3", "tags: [\"1.2\"]"),
        ("-t corp/base:1.2", "ARG V=1.3\nFROM corp/base:$V", "tags: [\"1.2\"]"),
        ("-t corp/base:1.2 -t corp/base:1", "FROM corp/base", "tags: [\"1\", \"1.2\"]"),
        ("-t base:1.2", "FROM corp/base:1.3", "tags: [\"1.2\"]"),
        ("-t $R/base:1.2", "FROM corp/base:1.3", "tags: [\"1.2\"]"),
    ] {
        let proposal = of(&[
            ("base/Dockerfile", "FROM debian:12"),
            ("app/Dockerfile", from),
            ("tool/Dockerfile", "FROM debian:12"),
            ("other/Dockerfile", "FROM debian:12"),
            (
                "build.sh",
                &format!(
                    "docker build {command} base\ndocker build -t corp/tool:5 tool\ndocker build -t corp/other:6 other\n"
                ),
            ),
        ]);
        assert_eq!(edges(&proposal), Vec::<String>::new(), "{command} {from}: {}", proposal.text);
        let doubt =
            |line: &String| line.contains("taken for an upstream") && line.contains("corp/base");
        assert!(unsure(&proposal).iter().any(doubt), "{command} {from}: {:?}", unsure(&proposal));
        let all = entries(&proposal);
        assert!(all.iter().any(|one| one.starts_with("base:") && one.contains(entry)), "{all:?}");
    }
    // With a tag that is not known, the image may be the one.
    let open = of(&[
        ("base/Dockerfile", "FROM debian:12"),
        ("app/Dockerfile", "FROM corp/base:1.3"),
        ("build.sh", "docker build -t corp/base:latest -t corp/base:$VERSION base"),
    ]);
    assert_eq!(edges(&open), ["app/Dockerfile < base/Dockerfile"]);
    assert!(unsure(&open)[0].contains("nothing says its tag"), "{:?}", unsure(&open));
}

#[test]
fn an_unknown_tag_is_not_that_of_a_sibling() {
    for (tag, expected, is_doubt) in [
        ("$(git rev-parse HEAD)", "tool: { tags: [\"{git}\"] }", false),
        ("1-$(git rev-parse --short HEAD)", "tool: { tags: [\"1-{git}\"] }", false),
        ("$GITHUB_SHA", "tool: { tags: [\"{git}\"] }", false),
        ("$(date -u +%Y%m%d)", "tool: { tags: [\"{date}\"] }", false),
        ("$(date +%F)", "tool: { tags: [latest] }", true),
        ("2 -t example/tool:$GITHUB_SHA", "tool: { tags: [\"2\", \"{git}\"] }", false),
        ("2 -t example/tool:$(date +%F)", "tool: { tags: [\"2\"] }", true),
    ] {
        let script = format!(
            "docker build -t example/app:v1 app\ndocker build -t example/web:v1 web\ndocker build -t example/tool:{tag} tool\n"
        );
        let proposal = of(&[
            ("app/Dockerfile", "FROM debian:12"),
            ("web/Dockerfile", "FROM debian:12"),
            ("tool/Dockerfile", "FROM debian:12"),
            ("build.sh", &script),
        ]);
        let all = entries(&proposal);
        assert!(all.contains(&expected), "{}", proposal.text);
        let doubts = unsure(&proposal).into_iter().filter(|line| line.contains("the value of "));
        assert_eq!(doubts.count() > 0, is_doubt, "{:?}", unsure(&proposal));
    }
}

#[test]
fn a_variable_without_a_value_in_a_path_is_a_guess() {
    let proposal = of(&[
        ("img/a/Dockerfile", "FROM debian:12"),
        ("img/b/Dockerfile", "FROM debian:12"),
        ("img/c/Dockerfile", "FROM debian:12"),
        ("one/Dockerfile.x", "FROM debian:12"),
        // Read before the script.
        (
            ".gitlab-ci.yml",
            "b: { script: ['docker build --build-arg V=$V -t corp/team-$NAME:prod img/$NAME', 'docker build -t corp/two-$NAME:$V img/$NAME'] }",
        ),
        (
            "build.sh",
            "docker build -t corp/a:1 img/a\ndocker build -t corp/b:2 img/b\ndocker build -t corp/x:1 -f $D/Dockerfile.x .",
        ),
        ("z.sh", "docker build -t corp/one:1 -f one/Dockerfile.x ."),
    ]);
    let expected = [
        "a: { context: img/a, tags: [\"1\"] }",
        "b: { context: img/b, tags: [\"2\"] }",
        "team-c: { context: img/c, tags: [prod] }",
        "one: { context: ., dockerfile: one/Dockerfile.x, tags: [\"1\"] }",
    ];
    assert_eq!(entries(&proposal), expected, "{}", proposal.text);
    assert!(proposal.text.contains("[guess .gitlab-ci.yml:1]"), "{}", proposal.text);
    assert_eq!(
        unsure(&proposal)[..1],
        [
            "`team-c (.gitlab-ci.yml:1)`: the command may build it, but the value of a variable in the path of its Dockerfile is not known; check `repository`, `tags` and `build_args`"
        ]
    );
    assert!(proposal.explained.iter().any(|line| line.contains("`guess` (rank 3)")));
    // A variable of a loop over files stands for them.
    let files = [
        ("a/Dockerfile", "FROM debian:12"),
        ("b/Dockerfile", "FROM debian:12"),
        (
            "build.sh",
            "for d in $(find . -name x); do\n  n=$(basename $d)\n  docker build -t corp/$n:1 $n\ndone",
        ),
    ];
    assert_eq!(unsure(&of(&files)), Vec::<String>::new());
}

/// A reference says more than a guess.
#[test]
fn a_guess_takes_no_edge() {
    let proposal = of(&[
        ("base/Dockerfile", "FROM debian:12"),
        ("web/Dockerfile", "FROM other.io/x/base:3"),
        ("app/Dockerfile", "FROM other.io/x/web:3"),
        ("build.sh", "docker build -t corp/$1:9 $1"),
    ]);
    let expected = ["app/Dockerfile < web/Dockerfile", "web/Dockerfile < base/Dockerfile"];
    assert_eq!(edges(&proposal), expected, "{}", proposal.text);
    assert!(proposal.text.contains("registry: other.io/x"), "{}", proposal.text);
}

#[test]
fn the_tag_of_a_few_images_is_not_that_of_others() {
    let files = [
        ("a/Dockerfile", "FROM debian:12"),
        ("b/Dockerfile", "FROM debian:12"),
        ("c/Dockerfile", "FROM debian:12"),
        ("d/Dockerfile", "FROM debian:12"),
        ("build.sh", "docker build -t corp/a:v3 a\ndocker build -t corp/b:4 b\n"),
    ];
    let expected = ["a: { tags: [v3] }", "b: { tags: [\"4\"] }", "c: {}", "d: {}"];
    assert_eq!(entries(&of(&files)), expected);
    let mut files = files;
    files[4].1 = "docker build -t corp/a:v3 a\ndocker build -t corp/b:v3 b\n";
    let two = of(&files);
    assert_eq!(entries(&two), ["a: { tags: [v3] }", "b: { tags: [v3] }", "c: {}", "d: {}"]);
    files[4].1 = "for i in a b c; do docker build -t corp/$i:v3 $i; done\n";
    let most = of(&files);
    assert_eq!(entries(&most), ["a: {}", "b: {}", "c: {}", "d: {}"]);
    assert!(most.text.contains("tags: [v3]"), "{}", most.text);
}

#[test]
fn an_unknown_registry_is_not_that_of_the_others() {
    let files = [
        ("a/Dockerfile", "FROM debian:12"),
        ("b/Dockerfile", "FROM debian:12"),
        ("build.sh", "docker build -t reg.example.com/base/a:1 a"),
        (".gitlab-ci.yml", "b: { script: ['docker build -t $CI_REGISTRY_IMAGE/b:2 b'] }"),
    ];
    let proposal = of(&files);
    let doubt = "`b (.gitlab-ci.yml:1)`: the registry of the build is not known, and `reg.example.com/base` is taken; check `repository`";
    assert_eq!(unsure(&proposal), [doubt]);
    let remote =
        (".git/config", "[remote \"origin\"]\n\turl = https://gitlab.com/acme/images.git\n");
    let proposal = of(&[&files[..], &[remote]].concat());
    assert_eq!(unsure(&proposal), Vec::<String>::new());
    let b = "b: { repository: registry.gitlab.com/acme/images/b, tags: [\"2\"] }";
    assert!(entries(&proposal).contains(&b), "{}", proposal.text);
    // A reference says where builds with the same variable publish.
    let based =
        [("c/Dockerfile", "FROM reg.example.com/base/d"), ("d/Dockerfile", "FROM debian:12")];
    let script = ("d.sh", "docker build -t $R/d d\ndocker build -t $R/c c");
    assert_eq!(unsure(&of(&[&based[..], &[script]].concat())), Vec::<String>::new());
}

#[test]
fn options_of_builds_are_written_or_reported() {
    let proposal = of(&[
        ("arm/Dockerfile", "FROM debian:12"),
        ("many/Dockerfile", "FROM debian:12"),
        (
            "Makefile",
            "all:\n\tdocker build --platform linux/arm64 --label a=b --secret id=x -t corp/arm:arm64 arm\n\
             \tdocker build --platform linux/amd64,linux/arm64 --build-arg V=$(shell date) -t corp/many:1 many\n\
             \tdocker build --platform=linux/arm64 -t corp/twice:arm64 twice\n\
             \tdocker build --platform=linux/amd64 -t corp/twice:amd64 twice\n",
        ),
        ("twice/Dockerfile", "FROM debian:12"),
        ("turns/Dockerfile", "FROM debian:12"),
        ("digests/Dockerfile", "FROM debian:12"),
        (
            ".github/workflows/y.yml",
            "jobs: { b: { strategy: { matrix: { include: [{ platform: linux/amd64, arch: a }, { platform: linux/arm64, arch: b }] } }, steps: [\
             { uses: docker/build-push-action@v6, with: { context: turns, tags: 'corp/turns:sha-${{ github.sha }}-${{ matrix.arch }}', platforms: '${{ matrix.platform }}' } },\
             { uses: docker/build-push-action@v6, with: { context: digests, tags: 'corp/digests:1', platforms: '${{ matrix.platform }}' } }] } }",
        ),
        (
            ".github/workflows/x.yml",
            "jobs: { b: { steps: [{ uses: docker/build-push-action@v6, with: { context: ci, tags: 'corp/ci:1', platforms: linux/arm64, labels: c=d, secrets: id=x } }] } }",
        ),
        ("ci/Dockerfile", "FROM debian:12"),
    ]);
    let expected = [
        "arm: { platform: linux/arm64, tags: [arm64], labels: { a: b } }",
        "ci: { platform: linux/arm64, tags: [\"1\"], labels: { c: d } }",
        "digests: { platforms: [linux/amd64, linux/arm64], tags: [\"1\"] }",
        "many: { platforms: [linux/amd64, linux/arm64], tags: [\"1\"] }",
        "turns: { platforms: [linux/amd64, linux/arm64], tags: [\"sha-{git}-a\"] }",
        "twice-arm64: { repository: corp/twice, context: twice, platform: linux/arm64, tags: [arm64] }",
        "twice-amd64: { repository: corp/twice, context: twice, platform: linux/amd64, tags: [amd64] }",
    ];
    assert_eq!(entries(&proposal), expected);
    let expected = [
        "`arm: --secret` and `ci: --secret`: the option is left out; use `secrets:`",
        "`many: V`: the value of the argument is not known, and it is left out; check `build_args`",
    ];
    assert_eq!(unsure(&proposal)[1..], expected);
    assert!(proposal.text.contains("it is Docker Hub's: docker.io/corp."), "{}", proposal.text);
}

#[test]
fn compose_files_of_a_folder_report_what_is_left_out() {
    let proposal = of(&[
        ("app/Dockerfile", "FROM debian:12"),
        ("run/Dockerfile", "FROM debian:12"),
        (
            "compose.yaml",
            "services:\n  app: { image: corp/app, build: { context: app, secrets: [npm], args: { NPM_TOKEN: abc } } }\n  run: { build: { context: run, secrets: [npm] } }\n",
        ),
    ]);
    let expected = [
        "`app`: its `secret` is left out: its ID or its source is not known; use `secrets:`",
        "`app`: its argument `NPM_TOKEN` looks like a secret, and its value is left out; fill it in if it is not a secret, otherwise use `secrets:`",
    ];
    assert_eq!(unsure(&proposal), expected);
}

#[test]
fn a_name_without_a_registry_is_the_name_of_the_image() {
    let proposal = of(&[
        ("base/Dockerfile", "FROM scratch"),
        ("app/Dockerfile", "FROM base"),
        ("Makefile", "all:\n\tdocker build -t registry.example.com/p/app:1 app\n"),
    ]);
    assert_eq!(entries(&proposal), ["base: {}", "app: { tags: [\"1\"] }"]);
    assert_eq!(edges(&proposal), ["app/Dockerfile < base/Dockerfile"]);
    assert_eq!(
        unsure(&proposal),
        [
            "`base`: taken for `base/Dockerfile` by the name alone; if it is an upstream, rename the image `base`"
        ]
    );
}

#[test]
fn edges_by_onbuild_are_no_doubt() {
    let proposal = of(&[
        ("toolbox/Dockerfile", "FROM scratch"),
        ("web-onbuild/Dockerfile", "FROM scratch\nONBUILD COPY --from=toolbox /a /a"),
        ("blog/Dockerfile", "FROM web-onbuild"),
        ("build.sh", "for i in toolbox web-onbuild blog; do docker build -t $i $i; done"),
    ]);
    assert!(edges(&proposal).contains(&"blog/Dockerfile < toolbox/Dockerfile".to_owned()));
    assert_eq!(unsure(&proposal), Vec::<String>::new());
}

#[test]
fn dockerfiles_of_others_and_unknown_stages_are_left_out() {
    let proposal = of(&[
        ("app/Dockerfile", "FROM debian:12 AS one"),
        ("web/Dockerfile", "FROM debian:12"),
        ("vendor/lib/Dockerfile", "FROM debian:12"),
        ("build.sh", "docker build --target two -t corp/app app"),
    ]);
    let shown: Vec<String> = proposal.left_out.iter().map(ToString::to_string).collect();
    let expected = [
        "`vendor/lib/Dockerfile`: in a folder for files of others (`node_modules`, `vendor` or `testdata`)",
        "`app/Dockerfile:1`: it has no stage `two`; its stages are `one`",
    ];
    assert_eq!(shown, expected);
    assert!(!proposal.text.contains("registry: corp"), "{}", proposal.text);
}
