//! What an update makes of files that people have edited.

use std::{collections::BTreeMap, fs, path::Path};

use super::*;

/// A folder whose file is changed, and then its Dockerfiles.
struct Case {
    /// Dockerfiles, `path: text`.
    before: &'static [(&'static str, &'static str)],
    /// Makes the file of the one that init wrote.
    edit: fn(String) -> String,
    /// Dockerfiles that come, or without a text go.
    change: &'static [(&'static str, &'static str)],
    /// The changed lines of the diff, and the lines for the user.
    expected: &'static str,
}

fn write(root: &Path, files: &[(&str, &str)]) {
    for (path, text) in files {
        let path = root.join(path);
        if text.is_empty() {
            fs::remove_dir_all(path.parent().unwrap()).unwrap();
        } else {
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
    }
}

fn from() -> From {
    From::Folder { repository: None, tracked: Vec::new(), environment: BTreeMap::new() }
}

fn updated(root: &Path, text: &str) -> Result<FileUpdate, UpdateError> {
    updated_with(root, text, &[])
}

/// `committed` has the texts of deleted files.
fn updated_with(
    root: &Path,
    text: &str,
    committed: &[(&str, &str)],
) -> Result<FileUpdate, UpdateError> {
    let file = root.join("hierarchy.yaml");
    let committed = |path: &Path| {
        let one = committed.iter().find(|(own, _)| path == Path::new(own));
        one.map(|(_, text)| (*text).to_owned())
    };
    update((&file, "hierarchy.yaml", text), from(), &LoadOptions::default(), &committed)
}

fn unsure(lines: &[UnsureLine]) -> Vec<String> {
    lines.iter().map(|line| line.short.clone()).collect()
}

/// The changed lines of a diff, and what the user reads.
fn shown(result: &Result<FileUpdate, UpdateError>) -> String {
    let mut lines = Vec::new();
    let changed = |line: &&str| {
        line.starts_with(['+', '-']) && !line.starts_with("+++") && !line.starts_with("---")
    };
    match result {
        Ok(update) => {
            lines.extend(update.diff.lines().filter(changed).map(str::to_owned));
            let unsure = unsure(&update.unsure);
            let parts = [("added", &update.added), ("gone", &update.gone), ("unsure", &unsure)];
            for (what, all) in parts {
                lines.extend(all.iter().map(|line| format!("{what} {line}")));
            }
        }
        Err(UpdateError::Problems(problems)) => {
            lines.push(format!("problem {}", problems[0].message));
        }
        Err(UpdateError::Broken(error, _)) => lines.push(format!("broken {error}")),
        Err(other) => lines.push(format!("{other:?}")),
    }
    lines.join("\n")
}

fn check(case: &Case) {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().canonicalize().unwrap();
    write(&root, case.before);
    let file = root.join("hierarchy.yaml");
    let proposal = super::super::propose(&file, from(), &LoadOptions::default()).unwrap();
    let text = (case.edit)(proposal.text);
    let unchanged = updated(&root, &text);
    write(&root, case.change);
    let result = updated(&root, &text);
    assert_eq!(shown(&result), case.expected, "\n{text}");
    let Ok(update) = result else { return };
    // Every line of the user is still there, as it was or behind a `#`.
    let kept = |line: &str| {
        update.text.lines().any(|new| {
            [new, &new.replacen("# ", "", 1), &new.replacen("# gone: ", "", 1)].contains(&line)
        })
    };
    let changes = update
        .text
        .lines()
        .filter(|line| line.contains("exclude") || line.contains("matrix"))
        .count();
    for line in text.lines().filter(|line| changes == 0 || !line.contains("matrix")) {
        assert!(kept(line), "{line}\n{}", update.text);
    }
    // Nothing more to do afterwards, as there was nothing before.
    assert_eq!(shown(&unchanged), "");
    let again = updated(&root, &update.text).unwrap();
    assert_eq!((again.text.as_str(), again.diff.as_str()), (update.text.as_str(), ""));
}

const THREE: &[(&str, &str)] = &[
    ("base/Dockerfile", "FROM debian:12"),
    ("web/Dockerfile", "FROM base"),
    ("tool/Dockerfile", "FROM debian:12"),
];

const VERSIONS: &[(&str, &str)] = &[
    ("run/1/slim/Dockerfile", "FROM debian:12"),
    ("run/1/full/Dockerfile", "FROM registry.example.com/run:1-slim"),
    ("run/2/slim/Dockerfile", "FROM debian:12"),
    ("run/2/full/Dockerfile", "FROM registry.example.com/run:2-slim"),
    ("run/3/slim/Dockerfile", "FROM debian:12"),
    ("run/3/full/Dockerfile", "FROM registry.example.com/run:3-slim"),
];

#[test]
fn new_dockerfiles_follow_their_parents() {
    check(&Case {
        before: THREE,
        edit: |text| text,
        change: &[("shop/Dockerfile", "FROM web"), ("lone/Dockerfile", "FROM alpine:3")],
        expected: "+  shop: {}\n+  lone: {}  # on alpine:3\nadded `shop`: `shop/Dockerfile`\nadded `lone`: `lone/Dockerfile`",
    });
}

#[test]
fn a_new_name_without_a_registry_is_published_where_the_others_are() {
    check(&Case {
        before: &[
            ("base/Dockerfile", "FROM debian:12"),
            ("web/Dockerfile", "FROM registry.example.com/run/base"),
        ],
        edit: |text| text,
        change: &[("new/Dockerfile", "FROM debian:12"), ("newer/Dockerfile", "FROM new")],
        expected: "+  new: {}  # on debian:12; [reference newer/Dockerfile:1]\n+  newer: {}\nadded `new`: `new/Dockerfile`\nadded `newer`: `newer/Dockerfile`\nunsure `new`: taken for `new/Dockerfile` by the name alone; if it is an upstream, rename the image `new`",
    });
}

#[test]
fn an_edited_entry_makes_the_base_of_a_new_image() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().canonicalize().unwrap();
    write(
        &root,
        &[
            ("a/Dockerfile", "FROM scratch"),
            ("b/Dockerfile", "FROM r.x/n/tool:stable"),
            ("c/Dockerfile", "FROM r.x/n/tool:stable"),
            ("b.sh", "docker build -t r.x/n/bee:1 b"),
        ],
    );
    let text = "version: 1\nregistry: r.x/n\nimages:\n  tool: { context: a, tags: [stable] }\n  bee: { context: b, tags: [\"1\"] }\n";
    let update = updated(&root, text).unwrap();
    assert!(update.text.ends_with("\n  c: {}\n"), "{}", update.text);
    assert_eq!(update.unsure, Vec::new());
    let name = "c".into();
    let parents = update.loaded.hierarchy.parents(&name).map(|one| one.name.to_string());
    assert_eq!(parents.collect::<Vec<_>>(), ["tool"]);
}

#[test]
fn edits_comments_order_and_line_breaks_stay() {
    check(&Case {
        before: THREE,
        edit: |_| {
            "version: 1\r\n# ours\r\nimages:\r\n\r\n    tool: { tags: [\"1\"] } # keep\r\n    # the web\r\n    web:\r\n      \
             on_failure: hold\r\n      # later: retries\r\n\r\n    base: {}"
                .to_owned()
        },
        change: &[("shop/Dockerfile", "FROM web"), ("core/Dockerfile", "FROM debian:12")],
        expected: "+    shop: {}\n+    core: {}  # on debian:12\nadded `shop`: `shop/Dockerfile`\nadded `core`: `core/Dockerfile`",
    });
}

#[test]
fn a_deleted_base_is_named_with_the_images_on_it() {
    check(&Case {
        before: THREE,
        edit: |text| text,
        change: &[("base/Dockerfile", "")],
        expected: "+  # gone: `base/Dockerfile` does not exist. Delete these lines, or correct the path and uncomment them.\n-  base: {}  # on debian:12; [reference web/Dockerfile:1]\n+  # base: {}  # on debian:12; [reference web/Dockerfile:1]\ngone `base`: `base/Dockerfile` does not exist; its entry is now a comment\nunsure `web`: the Dockerfile of its base `base` is gone; `base` is now an upstream",
    });
}

#[test]
fn deleted_dockerfiles_become_comments() {
    check(&Case {
        before: THREE,
        edit: |text| {
            text.replace(
                "  tool: {}",
                "  tool:\n    tags: [\"1\"]\n\n    test:\n      - run: [\"true\"]",
            )
        },
        change: &[("tool/Dockerfile", "")],
        expected: "+  # gone: `tool/Dockerfile` does not exist. Delete these lines, or correct the path and uncomment them.\n-  tool:\n+  # tool:\n-    tags: [\"1\"]\n+  #   tags: [\"1\"]\n-    test:\n+  #   test:\n-      - run: [\"true\"]  # on debian:12\n+  #     - run: [\"true\"]  # on debian:12\ngone `tool`: `tool/Dockerfile` does not exist; its entry is now a comment",
    });
}

#[test]
fn a_moved_dockerfile_keeps_its_entry() {
    for (entry, to, expected) in [
        ("{}", "site/web", "{ context: site/web }"),
        ("{ retries: 2 }", "site/web", "{ context: site/web, retries: 2 }"),
        (
            "{ context: web, retries: 2 } # ours",
            "site/web",
            "{ context: site/web, retries: 2 } # ours",
        ),
        (
            "\n    # ours\n    retries: 2",
            "site/web",
            "\n    # ours\n    context: site/web\n    retries: 2",
        ),
        ("\n    context: \"web\"", "images/web", "\n    context: images/web"),
        (
            "{ context: ., dockerfile: web/Dockerfile }",
            "a/web",
            "{ context: a/web, dockerfile: Dockerfile }",
        ),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().canonicalize().unwrap();
        write(&root, THREE);
        let text = format!("version: 1\nimages:\n  base: {{}}\n  web: {entry}\n  tool: {{}}\n");
        write(&root, &[("web/Dockerfile", ""), (&format!("{to}/Dockerfile"), "FROM base")]);
        let update = updated(&root, &text).unwrap();
        let (before, after) = (format!("  web: {entry}\n"), format!("  web: {expected}\n"));
        assert_eq!(update.text, text.replace(&before, &after));
        assert_eq!(update.moved, [format!("`web`: `web/Dockerfile` is now `{to}/Dockerfile`")]);
        assert_eq!((update.added, update.gone, update.unsure), (vec![], vec![], vec![]));
        let web = "web".into();
        let parents = update.loaded.hierarchy.parents(&web);
        assert_eq!(parents.map(|one| one.name.as_str()).collect::<Vec<_>>(), ["base"]);
    }
}

#[test]
fn a_renamed_dockerfile_keeps_its_entry() {
    for (entry, to, expected) in [
        (
            "{ context: web, retries: 2 }",
            "web.Dockerfile",
            "{ context: web, dockerfile: web.Dockerfile, retries: 2 }",
        ),
        ("{}", "Dockerfile.prod", "{ dockerfile: Dockerfile.prod }"),
        (
            "\n    # ours\n    retries: 2",
            "web.Dockerfile",
            "\n    # ours\n    dockerfile: web.Dockerfile\n    retries: 2",
        ),
        (
            "{ context: ., dockerfile: \"web/Dockerfile\" }",
            "Containerfile",
            "{ context: ., dockerfile: web/Containerfile }",
        ),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().canonicalize().unwrap();
        write(&root, THREE);
        let text = format!("version: 1\nimages:\n  base: {{}}\n  web: {entry}\n  tool: {{}}\n");
        fs::rename(root.join("web/Dockerfile"), root.join("web").join(to)).unwrap();
        let update = updated(&root, &text).unwrap();
        let (before, after) = (format!("  web: {entry}\n"), format!("  web: {expected}\n"));
        assert_eq!(update.text, text.replace(&before, &after));
        assert_eq!(update.moved, [format!("`web`: `web/Dockerfile` is now `web/{to}`")]);
        assert_eq!((update.added, update.gone, update.unsure), (vec![], vec![], vec![]));
    }
}

#[test]
fn the_text_of_a_dockerfile_decides_where_it_was_moved() {
    let text = "version: 1\nimages:\n  base: {}\n  web: { retries: 2 }\n  tool: {}\n";
    for (new, expected, moved) in [
        // Another name, and beside another new one.
        (
            &[("site/Dockerfile", "FROM base\r\n"), ("fmt/Dockerfile", "FROM base:1")][..],
            "{ context: site, retries: 2 }",
            &["`web`: `web/Dockerfile` is now `site/Dockerfile`"][..],
        ),
        // The name would say the other one.
        (
            &[("site/Dockerfile", "FROM base"), ("old/web/Dockerfile", "FROM debian:12")],
            "{ context: site, retries: 2 }",
            &["`web`: `web/Dockerfile` is now `site/Dockerfile`"],
        ),
        // Of two with the text, the name decides.
        (
            &[("site/Dockerfile", "FROM base"), ("old/web/Dockerfile", "FROM base")],
            "{ context: old/web, retries: 2 }",
            &["`web`: `web/Dockerfile` is now `old/web/Dockerfile`"],
        ),
        (&[("site/Dockerfile", "FROM base"), ("shop/Dockerfile", "FROM base")], "# web:", &[]),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().canonicalize().unwrap();
        write(&root, THREE);
        write(&root, &[("web/Dockerfile", "")]);
        write(&root, new);
        let update = updated_with(&root, text, &[("web/Dockerfile", "FROM base\n")]).unwrap();
        assert!(update.text.contains(expected), "{}", update.text);
        assert_eq!(update.moved, moved);
    }
}

#[test]
fn a_bare_name_is_that_of_the_image_whose_repository_ends_in_it() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().canonicalize().unwrap();
    let files = [
        ("base/os/Dockerfile", "FROM scratch"),
        ("a/Dockerfile", "FROM r.x/n/acme-base:12"),
        ("b/Dockerfile", "FROM r.x/n/acme-base:12"),
        ("tools/Dockerfile", "FROM acme-base"),
        ("b.sh", "docker build -t r.x/n/acme-base:12 base/os"),
    ];
    write(&root, &files);
    let file = root.join("hierarchy.yaml");
    let proposal = super::super::propose(&file, from(), &LoadOptions::default()).unwrap();
    let hierarchy = proposal.loaded.unwrap().hierarchy;
    let tools = "tools".into();
    let parents = hierarchy.parents(&tools).map(|one| one.name.to_string());
    assert_eq!(parents.collect::<Vec<_>>(), ["acme-base"], "{}", proposal.text);
    let doubt = "`acme-base`: taken for `base/os/Dockerfile` by the name alone; if it is an upstream, rename the image `acme-base`";
    assert_eq!(unsure(&proposal.unsure), [doubt]);
}

#[test]
fn a_new_image_gets_the_name_that_init_would_give_it() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().canonicalize().unwrap();
    let files = [
        ("services/billing/Dockerfile", "FROM debian:12"),
        ("services/web/Dockerfile", "FROM debian:12"),
        ("third_party/nginx/Dockerfile", "FROM debian:12"),
        ("third_party/redis/Dockerfile", "FROM debian:12"),
        (
            "b.sh",
            "docker build -t r.x/n/billing services/billing\ndocker build -t r.x/n/web services/web",
        ),
    ];
    write(&root, &files);
    let file = root.join("hierarchy.yaml");
    let propose = || super::super::propose(&file, from(), &LoadOptions::default()).unwrap();
    let before = propose().text;
    write(&root, &[("services/orders/Dockerfile", "FROM debian:12")]);
    let images = |text: &str| {
        let lines = text.lines().filter(|line| line.starts_with("  ") && line.contains('{'));
        lines.map(|line| line.split(':').next().unwrap().to_owned()).collect::<Vec<_>>()
    };
    let (fresh, updated) = (propose().text, updated(&root, &before).unwrap().text);
    assert!(
        images(&updated).iter().all(|name| images(&fresh).contains(name)),
        "{updated}\n{fresh}"
    );
}

#[test]
fn which_of_two_was_moved_is_not_guessed() {
    check(&Case {
        before: THREE,
        edit: |text| text,
        change: &[
            ("web/Dockerfile", ""),
            ("one/web/Dockerfile", "FROM base"),
            ("two/web/Dockerfile", "FROM base"),
        ],
        expected: "+  one-web: { context: one/web }\n+  two-web: { context: two/web }\n+  # gone: `web/Dockerfile` does not exist. Delete these lines, or correct the path and uncomment them.\n-  web: {}\n+  # web: {}\nadded `one-web`: `one/web/Dockerfile`\nadded `two-web`: `two/web/Dockerfile`\ngone `web`: `web/Dockerfile` does not exist; its entry is now a comment",
    });
}

#[test]
fn a_parent_that_others_need_is_not_taken_out() {
    check(&Case {
        before: THREE,
        edit: |text| text.replace("  web: {}", "  web: { parents: [base] }"),
        change: &[("base/Dockerfile", "")],
        expected: "broken `web` has a parent `base`, which is no image here",
    });
}

#[test]
fn images_of_a_matrix_are_known_by_their_paths() {
    check(&Case {
        before: VERSIONS,
        // Another name, and a value that init did not know.
        edit: |_| {
            "version: 1\nimages:\n  \"lang-{v}-{kind}\":\n    matrix: { v: [1, 2, 3, 4], kind: [slim, full], exclude: [{ v: 4 }] }\n    \
             repository: registry.example.com/run\n    context: \"run/{v}/{kind}\"\n    tags: [\"{v}-{kind}\"]\n"
                .to_owned()
        },
        change: &[("other/Dockerfile", "FROM registry.example.com/run:3-full")],
        expected: "+  other: {}\nadded `other`: `other/Dockerfile`",
    });
}

#[test]
fn values_of_a_matrix_go_with_their_last_image() {
    check(&Case {
        before: VERSIONS,
        edit: |text| text,
        change: &[
            ("run/1/slim/Dockerfile", ""),
            ("run/1/full/Dockerfile", ""),
            ("run/3/full/Dockerfile", ""),
        ],
        expected: "-  \"run-{version}-{variant}\": { matrix: { version: [\"1\", \"2\", \"3\"], variant: [slim, full] }, repository: registry.example.com/run, context: \"run/{version}/{variant}\",\n+  \"run-{version}-{variant}\": { matrix: { version: [\"2\", \"3\"], variant: [slim, full], exclude: [{ version: \"3\", variant: full }] }, repository: registry.example.com/run, context: \"run/{version}/{variant}\",\ngone `run-{version}-{variant}`: `run/1/slim/Dockerfile`, `run/1/full/Dockerfile` and `run/3/full/Dockerfile` do not exist; removed `1` from `version`, excluded `run-3-full`",
    });
    check(&Case {
        before: VERSIONS,
        edit: |_| {
            "version: 1\nimages:\n  \"run-{v}-{kind}\":\n    repository: registry.example.com/run\n    matrix:\n      v:\n        - 1 # old\n        \
             - 2\n        - 3\n      kind: [slim, full]\n    context: \"run/{v}/{kind}\"\n    tags: [\"{v}-{kind}\"]\n"
                .to_owned()
        },
        change: &[
            ("run/1/slim/Dockerfile", ""),
            ("run/1/full/Dockerfile", ""),
            ("run/3/full/Dockerfile", ""),
        ],
        expected: "-        - 1 # old\n+        # gone: - 1 # old\n+      exclude: [{ v: \"3\", kind: full }]\ngone `run-{v}-{kind}`: `run/1/slim/Dockerfile`, `run/1/full/Dockerfile` and `run/3/full/Dockerfile` do not exist; removed `1` from `v`, excluded `run-3-full`",
    });
}

#[test]
fn a_new_version_is_a_new_value_of_the_matrix() {
    check(&Case {
        before: VERSIONS,
        edit: |text| text,
        change: &[
            ("run/4/slim/Dockerfile", "FROM debian:12"),
            ("run/4/full/Dockerfile", "FROM registry.example.com/run:4-slim"),
        ],
        expected: "-  \"run-{version}-{variant}\": { matrix: { version: [\"1\", \"2\", \"3\"], variant: [slim, full] }, repository: registry.example.com/run, context: \"run/{version}/{variant}\",\n+  \"run-{version}-{variant}\": { matrix: { version: [\"1\", \"2\", \"3\", \"4\"], variant: [slim, full] }, repository: registry.example.com/run, context: \"run/{version}/{variant}\",\nadded `4` to `version` of `run-{version}-{variant}`: `run/4/full/Dockerfile` and `run/4/slim/Dockerfile`",
    });
    // The names of the keys are the user's, and a value goes.
    check(&Case {
        before: VERSIONS,
        edit: |_| {
            "version: 1\nimages:\n  \"lang-{v}-{kind}\":\n    repository: registry.example.com/run\n    matrix:\n      v:\n        - 1\n        \
             - 2 # two\n        - 3\n      kind: [slim, full]\n    context: \"run/{v}/{kind}\"\n    tags: [\"{v}-{kind}\"]\n"
                .to_owned()
        },
        change: &[
            ("run/3/slim/Dockerfile", ""),
            ("run/3/full/Dockerfile", ""),
            ("run/4/slim/Dockerfile", "FROM debian:12"),
            ("run/4/full/Dockerfile", "FROM registry.example.com/run:4-slim"),
        ],
        expected: "-        - 3\n+        # gone: - 3\n+        - 4\nadded `4` to `v` of `lang-{v}-{kind}`: `run/4/full/Dockerfile` and `run/4/slim/Dockerfile`\ngone `lang-{v}-{kind}`: `run/3/slim/Dockerfile` and `run/3/full/Dockerfile` do not exist; removed `3` from `v`",
    });
    // Each value is an image of its own name.
    for text in [
        "version: 1\nimages:\n  \"py-{v}\": { matrix: { v: [a, b] }, context: \"py-{v}\" }\n",
        "version: 1\nregistry: r.x/n\nimages:\n  \"py-{v}\": { matrix: { v: [a, b] }, context: \"py-{v}\", tags: [\"1\"] }\n",
    ] {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().canonicalize().unwrap();
        let path = |name| format!("py-{name}/Dockerfile");
        let paths = ["a", "b", "c"].map(path);
        write(&root, &paths.each_ref().map(|path| (path.as_str(), "FROM debian:12")));
        let update = updated(&root, text).unwrap();
        assert_eq!(update.text, text.replace("[a, b]", "[a, b, c]"));
    }
    // The other image of the version is missing.
    check(&Case {
        before: VERSIONS,
        edit: |text| text,
        change: &[("run/4/slim/Dockerfile", "FROM debian:12")],
        expected: "+  run-4-slim: { repository: registry.example.com/run, context: run/4/slim, tags: [\"4-slim\"] }  # on debian:12\nadded `run-4-slim`: `run/4/slim/Dockerfile`",
    });
}

#[test]
fn names_repositories_and_tags_fit_those_that_are_there() {
    check(&Case {
        before: &[
            ("a/base/Dockerfile", "FROM debian:12"),
            ("a/web/Dockerfile", "FROM quay.io/acme/base"),
            ("a/app/Dockerfile", "FROM quay.io/acme/web"),
        ],
        // The name of the new image is taken, and the registry is another.
        edit: |text| {
            text.replace("quay.io/acme", "registry.example.com/acme").replace("  app:", "  shop:")
        },
        change: &[("b/shop/Dockerfile", "FROM quay.io/acme/web")],
        expected: "+  b-shop: { context: b/shop }\nadded `b-shop`: `b/shop/Dockerfile`\nunsure `b-shop` is not built from `a/web/Dockerfile`; check their `repository` and `tags`",
    });
}

#[test]
fn a_new_image_takes_no_tag_of_another() {
    check(&Case {
        before: &[
            ("flow/Dockerfile", "FROM quay.io/acme/base"),
            ("base/Dockerfile", "FROM debian:12"),
            ("web/Dockerfile", "FROM quay.io/acme/flow"),
        ],
        edit: |text| text,
        change: &[
            ("flow/cuda/Dockerfile", "FROM debian:12"),
            ("build.sh", "docker build -t quay.io/acme/flow flow/cuda"),
        ],
        expected: "+  flow-cuda: { context: flow/cuda }  # on debian:12; [script build.sh:1]\nadded `flow-cuda`: `flow/cuda/Dockerfile`\nunsure `flow/cuda/Dockerfile`: another build makes the same image and tag; they have names of their own, check `repository` and `tags`",
    });
}

#[test]
fn a_comment_leaves_dockerfiles_out() {
    check(&Case {
        before: THREE,
        edit: |text| {
            text.replace("  tool: {}  # on debian:12\n", "  # rebuild init ignore=tool, samples\n")
        },
        change: &[("samples/one/Dockerfile", "FROM base")],
        expected: "",
    });
}

#[test]
fn files_that_cannot_be_edited_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().canonicalize().unwrap();
    write(&root, THREE);
    for (text, expected) in [
        (
            "version: 1\nimages: { base: {} }\n",
            "Layout(\"`base` is not on a line of its own below `images:`\")",
        ),
        ("version: 1\nimages:\n  base: { tag: x }\n", "problem unknown field `tag` of an image"),
        ("images", "problem `hierarchy.yaml` must be a map, not the text `images`"),
    ] {
        assert_eq!(shown(&updated(&root, text)), expected, "{text}");
    }
}

#[test]
fn no_text_of_a_deleted_entry_becomes_a_field() {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), &[("a/Dockerfile", "FROM scratch\n")]);
    let label = "x\rnotify: [touch, ran]\r# ";
    let text =
        format!("version: 1\nimages:\n  a: {{}}\n  gone: {{ labels: {{ x: \"{label}\" }} }}\n");
    let update = updated(folder.path(), &text).unwrap();
    assert_eq!(update.loaded.hierarchy.notify, None, "{}", update.text);
    assert!(update.text.contains("# gone: {"), "{}", update.text);
}
