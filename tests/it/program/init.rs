//! `rebuild init`: what it makes of repositories as people have them.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    os::unix::fs::{PermissionsExt as _, symlink},
    path::{Path, PathBuf},
    process::Command,
    time::Instant,
};

use rebuild::{
    engine::Capability,
    hierarchy::{Hierarchy, LoadOptions, TagTemplate},
};

use crate::support::{
    engine::capabilities,
    is_whole,
    project::Project,
    repositories::{Edges, LAYOUTS, Layout, REPOSITORIES, write},
    running::Ended,
};

/// A project without a hierarchy, with these files: `path: lines with \n`.
fn repository(files: &[(&str, &str)]) -> Project {
    let project = Project::empty();
    for (path, text) in files {
        project.write(path, text);
    }
    project
}

fn loaded(root: &Path) -> Hierarchy {
    let file = root.join("hierarchy.yaml");
    match Hierarchy::load(&file, &LoadOptions::default()) {
        Ok(loaded) => {
            let warnings: Vec<String> =
                loaded.warnings.iter().map(|warning| warning.message.clone()).collect();
            assert_eq!(warnings, Vec::<String>::new());
            loaded.hierarchy
        }
        Err(error) => panic!("{error:#?}\n{}", fs::read_to_string(file).unwrap()),
    }
}

/// From each Dockerfile to those of its parents.
fn edges(hierarchy: &Hierarchy) -> Edges {
    let path = |path: &Path| path.strip_prefix(hierarchy.root()).unwrap().to_owned();
    hierarchy
        .in_build_order()
        .map(|node| {
            let parents: BTreeSet<PathBuf> =
                hierarchy.parents(&node.name).map(|parent| path(&parent.dockerfile.path)).collect();
            (path(&node.dockerfile.path), parents)
        })
        .collect()
}

/// `name repository:tags < parents`, a line each, in the order of names.
fn shown(project: &Project) -> String {
    let hierarchy = loaded(&project.path("").canonicalize().unwrap());
    let mut lines: Vec<String> = hierarchy
        .in_build_order()
        .map(|node| {
            let tags: Vec<&str> = node.tags.iter().map(TagTemplate::as_str).collect();
            let parents: Vec<&str> =
                hierarchy.parents(&node.name).map(|parent| parent.name.as_str()).collect();
            let line = format!(
                "{} {}:{} < {}",
                node.name,
                node.repository,
                tags.join(","),
                parents.join(" ")
            );
            project.shown(line.trim_end_matches([' ', '<']))
        })
        .collect();
    lines.sort();
    lines.join("\n")
}

fn unsure(ended: &Ended) -> Vec<String> {
    let lines = ended.stdout.lines().skip_while(|line| *line != "unsure:").skip(1);
    lines.take_while(|line| line.starts_with("  ")).map(|line| line.trim().to_owned()).collect()
}

#[test]
fn six_hundred_dockerfiles_that_share_seven_repositories() {
    const EACH: usize = 4;
    for layout in LAYOUTS.into_iter().step_by(if is_whole() { 1 } else { EACH }) {
        let project = repository(&[]);
        let expected = write(&project.path(""), layout);
        assert!(expected.len() >= 600);
        let ended = project.rebuild("init").run().exits(0);
        let hierarchy = loaded(&project.path("").canonicalize().unwrap());
        let found = edges(&hierarchy);
        let wrong: BTreeMap<_, _> =
            expected.iter().filter(|(path, parents)| found.get(*path) != Some(parents)).collect();
        assert!(
            wrong.is_empty(),
            "{layout:?}: {} are wrong, {:?}\n{}",
            wrong.len(),
            wrong.first_key_value(),
            ended.stdout
        );
        assert_eq!(found.len(), expected.len(), "{layout:?}");
        assert_eq!(unsure(&ended), Vec::<String>::new(), "{layout:?}");
        let repositories: BTreeSet<&str> = hierarchy
            .in_build_order()
            .map(|node| node.repository.as_str().rsplit('/').next().unwrap())
            .collect();
        assert_eq!(repositories, REPOSITORIES.into_iter().collect(), "{layout:?}");
    }
}

#[test]
fn what_is_written_loads_whole() {
    let project = repository(&[]);
    let expected = write(&project.path(""), Layout::Folders);
    let begin = Instant::now();
    project.rebuild("init").run().exits(0);
    // The registry of a repository that was cloned is not one that its reader can log in to.
    let planned = project.rebuild("plan --no-registry --format json").run().exits(0);
    let took = begin.elapsed();
    let plan: serde_json::Value = serde_json::from_str(&planned.stdout).unwrap();
    assert_eq!(plan["steps"].as_array().unwrap().len(), expected.len());
    // The goal is two seconds with the release binary; this only shows that nothing is quadratic.
    assert!(took.as_secs() < 60, "{took:?}");
    println!("init and plan of {} images: {took:?}", expected.len());
}

/// As a stack of notebook images has it: one image a folder, named by a chain of `ARG` defaults.
const NOTEBOOKS: [(&str, &str); 5] = [
    (
        "images/docker-stacks-foundation/Dockerfile",
        "ARG ROOT_IMAGE=scratch\nFROM $ROOT_IMAGE\nCOPY start.sh /usr/local/bin/\n",
    ),
    ("images/docker-stacks-foundation/start.sh", "#!/bin/sh\n"),
    (
        "images/base-notebook/Dockerfile",
        "ARG REGISTRY=quay.io\nARG OWNER=jupyter\nARG BASE_IMAGE=$REGISTRY/$OWNER/docker-stacks-foundation\n\
         FROM $BASE_IMAGE\n",
    ),
    (
        "images/minimal-notebook/Dockerfile",
        "ARG REGISTRY=quay.io\nARG OWNER=jupyter\nARG BASE_IMAGE=$REGISTRY/$OWNER/base-notebook\n\
         FROM $BASE_IMAGE\n",
    ),
    (
        "images/scipy-notebook/Dockerfile",
        "ARG REGISTRY=quay.io\nARG OWNER=jupyter\nARG BASE_IMAGE=$REGISTRY/$OWNER/minimal-notebook\n\
         FROM $BASE_IMAGE\n",
    ),
];

#[test]
fn a_stack_of_notebooks_needs_no_edit() {
    let project = repository(&NOTEBOOKS);
    let ended = project.rebuild("init").run().exits(0);
    assert_eq!(unsure(&ended), Vec::<String>::new());
    insta::assert_snapshot!(shown(&project), @r"
    base-notebook quay.io/jupyter/base-notebook:latest < docker-stacks-foundation
    docker-stacks-foundation quay.io/jupyter/docker-stacks-foundation:latest
    minimal-notebook quay.io/jupyter/minimal-notebook:latest < base-notebook
    scipy-notebook quay.io/jupyter/scipy-notebook:latest < minimal-notebook
    ");
    assert!(ended.stdout.contains("next: `rebuild plan --no-registry`"), "{}", ended.stdout);
    project.rebuild("check").run().exits(0);
    project.rebuild("plan --no-registry").run().exits(0);
}

#[test]
fn several_hierarchies_contexts_and_variants_of_one_repository() {
    let project = repository(&[
        (".gitignore", "out/\n"),
        ("out/Dockerfile", "FROM scratch\n"),
        ("node_modules/x/Dockerfile", "FROM scratch\n"),
        // One hierarchy, whose images are built in the folder above.
        ("shop/docker/base.Dockerfile", "FROM scratch\nCOPY shop/etc /etc\n"),
        ("shop/etc/name", "shop\n"),
        ("shop/docker/web.Dockerfile", "ARG BASE=registry.example.com/shop/base\nFROM ${BASE}\n"),
        // And another.
        ("lang/3.11/slim/Dockerfile", "FROM scratch\n"),
        ("lang/3.11/full/Containerfile", "FROM registry.example.com/lang:3.11-slim\n"),
        ("lang/3.12/slim/Dockerfile", "FROM scratch\n"),
        ("lang/3.12/full/Containerfile", "FROM registry.example.com/lang:3.12-slim\n"),
    ]);
    let ended = project.rebuild("init").run().exits(0);
    insta::assert_snapshot!(shown(&project), @r"
    base registry.example.com/shop/base:latest
    lang-3.11-full registry.example.com/lang:3.11-full < lang-3.11-slim
    lang-3.11-slim registry.example.com/lang:3.11-slim
    lang-3.12-full registry.example.com/lang:3.12-full < lang-3.12-slim
    lang-3.12-slim registry.example.com/lang:3.12-slim
    web registry.example.com/shop/web:latest < base
    ");
    insta::assert_snapshot!(unsure(&ended).join("\n"), @r"
    `base`: its `context` is a folder above the Dockerfile, since that has the files of `COPY`; check `context`
    `base`: the build context has files of other images, so each commit that changes a file there rebuilds it; leave files out with a `.dockerignore`, or choose a smaller `context`, see RB070
    ");
    let strict = project.rebuild("init --dry-run --explain --strict").run().exits(3);
    let place = "lang/3.11/full/Containerfile:1";
    assert!(
        strict.stdout.contains("explained:") || strict.stderr.contains("explained:"),
        "{strict}"
    );
    assert!(format!("{strict}").contains(place), "{strict}");
    project.rebuild("check").run().exits(0);
}

const BAKE: &str = r#"{
  "group": { "default": { "targets": ["app", "base"] } },
  "target": {
    "app": {
      "context": ".", "dockerfile": "docker/app.Dockerfile", "target": "final",
      "args": { "FLAVOUR": "slim" }, "contexts": { "base": "target:base" },
      "tags": ["registry.example.com/team/app:1", "registry.example.com/team/app:latest"]
    },
    "base": { "context": "docker/base", "tags": ["registry.example.com/team/base:1"] },
    "inline": { "context": ".", "dockerfile-inline": "FROM scratch" }
  }
}"#;

const COMPOSE: &str = "\
services:
  db: { image: postgres }
  base: { build: docker/base, image: registry.example.com/team/base:1 }
  app:
    image: registry.example.com/team/app:1
    build:
      context: .
      dockerfile: docker/app.Dockerfile
      target: final
      args: [FLAVOUR=slim]
      additional_contexts: { base: service:base }
  inline: { build: { dockerfile_inline: FROM scratch } }
";

#[test]
fn a_tag_that_nothing_makes_is_named_once_and_before_the_next_command() {
    let project = repository(&[
        ("os/Dockerfile", "FROM scratch\n"),
        ("app/Dockerfile", "FROM r.example.com/x/os:13\n"),
        (
            "Makefile",
            "all:\n\tdocker build -t r.example.com/x/os:12 os\n\tdocker build -t r.example.com/x/app:1 app\n",
        ),
    ]);
    let ended = project.rebuild("init").run().exits(0);
    let [unsure] = &unsure(&ended)[..] else { panic!("{ended}") };
    assert!(unsure.starts_with("`r.example.com/x/os:13`: "), "{ended}");
    assert_eq!(ended.stderr, "", "{ended}");
    let checked = project.rebuild("check").run().exits(0);
    assert!(checked.stdout.contains("warning[RB035]"), "{checked}");
}

#[test]
fn targets_of_bake_and_services_of_compose() {
    let app = "ARG FLAVOUR\nFROM base AS final\nFROM final AS other\n";
    for arguments in ["--from-bake bake.json", "--from-compose compose.yaml"] {
        let project = repository(&[
            ("bake.json", BAKE),
            ("compose.yaml", COMPOSE),
            ("docker/base/Dockerfile", "FROM scratch\n"),
            ("docker/app.Dockerfile", app),
        ]);
        let ended = project.rebuild(&format!("init {arguments}")).run().exits(0);
        let unsure = unsure(&ended);
        assert!(unsure.len() == 1 && unsure[0].contains("RB070"), "{}", ended.stdout);
        assert!(!ended.stdout.contains("docker-bake.json"), "{ended}");
        let hierarchy = loaded(&project.path("").canonicalize().unwrap());
        let node = hierarchy.get(&"app".into()).unwrap();
        let inline = hierarchy.get(&"inline".into()).unwrap();
        assert_eq!(inline.dockerfile.text, "FROM scratch", "{arguments}");
        assert_eq!(node.repository.as_str(), "registry.example.com/team/app", "{arguments}");
        let parents: Vec<&str> =
            hierarchy.parents(&node.name).map(|parent| parent.name.as_str()).collect();
        assert_eq!(parents, ["base"], "{arguments}");
        let text = fs::read_to_string(project.path("hierarchy.yaml")).unwrap();
        assert!(!text.contains("docker-bake.json"), "{text}");
        assert!(text.contains("target: final") && text.contains("FLAVOUR: slim"), "{text}");
        project.rebuild("check").run().exits(0);
    }
}

/// Every field of a bake target that an entry can have, and a Dockerfile that needs each of them.
#[test]
fn a_bake_file_with_every_field_is_imported_and_built_without_an_edit() {
    let project = Project::empty();
    project.write_os();
    let has = |capability| capabilities().unwrap().has(capability);
    let beside = if has(Capability::Attestations) {
        r#""attest": [{ "type": "provenance" }], "annotations": ["x=y"],"#
    } else {
        ""
    };
    let limits = if has(Capability::BuildLimits) {
        r#""shm-size": "32m", "ulimits": ["nofile=500:600"],"#
    } else {
        ""
    };
    let (secret, mount) = if has(Capability::Secrets) {
        (r#""secret": ["id=word,env=WORD"],"#, "--mount=type=secret,id=word,required ")
    } else {
        ("", "")
    };
    let bake = format!(
        r#"{{ "target": {{
  "~os": {{ "context": "os", "tags": ["~os:1"] }},
  "~app": {{
    "context": "app", "target": "final", "args": {{ "WORD": "hi", "API_KEY": "hunter2" }},
    "contexts": {{ "base": "target:~os", "assets": "assets" }},
    "dockerfile-inline": "FROM base AS final\nARG WORD\nRUN {mount}grep 10.1.2.3 /etc/hosts && echo $WORD >/word\nCOPY --from=assets page /page\n",
    "extra-hosts": {{ "db.test": "10.1.2.3" }}, {limits} {secret}
    "no-cache-filter": ["final"], "network": "default", "labels": {{ "a": "b" }},
    "platforms": [], "output": ["type=image"], "pull": true, "no-cache": false,
    {beside} "cache-from": [{{ "type": "gha" }}], "cache-to": [{{ "type": "gha" }}],
    "entitlements": ["network.host"], "tags": ["~app:1"]
  }} }} }}"#
    );
    project.write("bake.json", &bake);
    project.write("assets/page", "page\n");
    project.write("app/own", "own\n");
    let ended = project.rebuild("init --from-bake bake.json").run().exits(0);
    let unsure = unsure(&ended.never_says(&["hunter2"])).join("\n");
    for told in ["cache-from", "cache-to"] {
        assert!(unsure.contains(&format!("its `{told}` is left out")), "{unsure}");
    }
    assert!(unsure.contains("its argument `API_KEY` looks like a secret"), "{unsure}");
    let ended = project.rebuild("").env("WORD", "secret").run().exits(0);
    assert!(ended.result().ends_with(": 2 built"), "{ended}");
    assert_eq!(project.output_in("~app:1", &["cat", "/word", "/page"]), "hi\npage\n");
}

#[test]
fn what_is_there_is_not_written_over() {
    let project = repository(&[("web/Dockerfile", "FROM scratch\n")]);
    let dry = project.rebuild("init --dry-run").run().exits(0);
    assert!(!project.path("hierarchy.yaml").exists());
    project.write("hierarchy.yaml", "mine\n");
    let refused = project.rebuild("init").run().exits(2);
    assert!(refused.stderr.contains("is already there"), "{}", refused.stderr);
    let forced = project.rebuild("init --force --dry-run").run().exits(0);
    assert_eq!(forced.stdout, dry.stdout);
    assert_eq!(fs::read_to_string(project.path("hierarchy.yaml")).unwrap(), "mine\n");
    project.rebuild("init --force").run().exits(0);
    let written = fs::read_to_string(project.path("hierarchy.yaml")).unwrap();
    assert_eq!(written, dry.stdout);
    assert!(!written.starts_with("# yaml-language-server"), "{written}");
    project.write("hierarchy.schema.json", "{}");
    let with_schema = project.rebuild("init --dry-run").run().exits(0);
    let first = "# yaml-language-server: $schema=./hierarchy.schema.json\n";
    assert!(with_schema.stdout.starts_with(first), "{}", with_schema.stdout);
}

#[test]
fn an_update_prints_a_diff_writes_it_and_then_has_nothing_to_do() {
    let project = repository(&NOTEBOOKS);
    let missing = project.rebuild("init --update").run().exits(2);
    missing.says(&["there is no `hierarchy.yaml` to update", "`rebuild init` writes one"]);
    project.rebuild("init").run().exits(0);
    project.edit(
        "hierarchy.yaml",
        "  scipy-notebook: {}",
        "  # ours\n  scipy-notebook: { on_failure: hold }",
    );
    let file = project.path("hierarchy.yaml");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o640)).unwrap();
    let same = project.rebuild("init --update").run().exits(0);
    assert!(
        same.stdout.contains("`hierarchy.yaml` has every Dockerfile here: nothing to update"),
        "{same}"
    );

    project.write("images/r-notebook/Dockerfile", "FROM quay.io/jupyter/minimal-notebook\n");
    fs::remove_dir_all(project.path("images/scipy-notebook")).unwrap();
    let before = fs::read_to_string(&file).unwrap();
    let dry = project.rebuild("init --update --dry-run").run().exits(0);
    assert_eq!(fs::read_to_string(&file).unwrap(), before);
    assert!(dry.stderr.contains("would update `hierarchy.yaml`: 4 images, 3 edges"), "{dry}");
    let ended = project.rebuild("init --update").run().exits(0);
    insta::assert_snapshot!(ended.stdout, @r"
    added:
      `r-notebook`: `images/r-notebook/Dockerfile`

    gone:
      `scipy-notebook`: `images/scipy-notebook/Dockerfile` does not exist; its entry is now a comment

    updated `hierarchy.yaml`: 4 images, 3 edges
    next: `rebuild plan`
    ");
    let after = fs::read_to_string(&file).unwrap();
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o640);
    assert!(after.contains("  # ours\n"), "{after}");
    // The diff is what was written.
    project.write("hierarchy.yaml", &before);
    project.write("update.diff", &dry.stdout);
    let apply = ["apply", "-p0", "update.diff"];
    let status = Command::new("git").args(apply).current_dir(project.path("")).status().unwrap();
    assert!(status.success(), "{}", dry.stdout);
    assert_eq!(fs::read_to_string(&file).unwrap(), after);
    project.rebuild("init --update").run().exits(0);
    project.rebuild("check").run().exits(0);

    fs::rename(&file, project.path("real.yaml")).unwrap();
    symlink("real.yaml", &file).unwrap();
    project.write("images/julia-notebook/Dockerfile", "FROM quay.io/jupyter/minimal-notebook\n");
    project.rebuild("init --update").run().exits(2).says(&["is a link, which is not followed"]);
    assert_eq!(fs::read_to_string(project.path("real.yaml")).unwrap(), after);
}

#[test]
fn a_file_that_git_renamed_keeps_its_entry_before_and_after_the_commit() {
    let project = repository(&[
        ("images/tools/lint/Dockerfile", "FROM debian:12\n"),
        ("images/web/Dockerfile", "FROM debian:12\nLABEL web=1\n"),
    ]);
    project.rebuild("init images").run().exits(0);
    project.edit("images/hierarchy.yaml", "context: tools/lint", "context: tools/lint, retries: 2");
    project.commit();
    let rename = |from: &str, to: &str| {
        fs::rename(project.path(from), project.path(to)).unwrap();
    };
    rename("images/tools/lint", "images/tools/linter");
    project.write("images/tools/fmt/Dockerfile", "FROM debian:13\n");
    let update = || {
        let ended = project.rebuild("init images --update --dry-run").run().exits(0);
        let moved = "`tools-lint`: `tools/lint/Dockerfile` is now `tools/linter/Dockerfile`";
        assert!(ended.stderr.contains(moved), "{ended}");
        assert!(ended.stdout.contains("context: tools/linter, retries: 2"), "{ended}");
        ended.stdout
    };
    let before = update();
    project.commit();
    assert_eq!(update(), before);
}

#[test]
fn a_folder_of_a_git_repository_has_the_evidence_of_its_root() {
    let project = repository(&[
        ("images/web/Dockerfile", "FROM debian:12\n"),
        ("build.sh", "docker build -t r.io/acme/site:3 images/web\n"),
    ]);
    project.commit();
    project.rebuild("init images").run().exits(0);
    let text = fs::read_to_string(project.path("images/hierarchy.yaml")).unwrap();
    assert!(text.contains("registry: r.io/acme\n"), "{text}");
    assert!(text.contains("site: { context: web }"), "{text}");
    assert!(text.contains("[script ../build.sh:1]"), "{text}");
}

#[test]
fn a_link_to_another_dockerfile_is_an_image_if_a_build_names_it() {
    let project = repository(&[
        ("images/tool/Dockerfile", "FROM debian:12\n"),
        ("build.sh", "docker build -t acme/linked:1 -f linked.Dockerfile .\n"),
    ]);
    for link in ["linked.Dockerfile", "other.Dockerfile"] {
        symlink("images/tool/Dockerfile", project.path(link)).unwrap();
    }
    let ended = project.rebuild("init").run().exits(0);
    let left_out = "`other.Dockerfile`: links to other Dockerfiles here, and no build names them";
    assert!(ended.stdout.contains(left_out), "{ended}");
    let shown = shown(&project);
    assert!(shown.contains("linked acme/linked:1") && !shown.contains("other"), "{shown}");
}
