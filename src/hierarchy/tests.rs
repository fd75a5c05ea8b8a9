use std::{
    fmt::Write as _,
    fs,
    path::Path,
    time::{Duration, Instant},
};

use tempfile::TempDir;

use super::*;
use crate::check::diagnostic::{self, Rendering, Severity};

/// A folder with these files: `path` on a line of its own after `==`, then its text.
fn folder(files: &str) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    for file in files.split("== ").skip(1) {
        let (path, text) = file.split_once('\n').unwrap();
        write(folder.path(), path, text);
    }
    folder
}

fn write(folder: &Path, path: &str, text: &str) {
    let path = folder.join(path);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
}

fn load(folder: &Path, options: &LoadOptions) -> Result<Loaded, LoadError> {
    let platform = options.platform.clone().or_else(|| "linux/amd64".parse().ok());
    let options = LoadOptions { platform, ..options.clone() };
    Hierarchy::load(&folder.join("hierarchy.yaml"), &options)
}

fn told(folder: &Path, problems: &[crate::check::diagnostic::Diagnostic]) -> String {
    diagnostic::render(problems, Rendering { colour: false, current_dir: folder })
}

/// What a person sees.
fn problems(files: &str) -> String {
    let folder = folder(files);
    match load(folder.path(), &LoadOptions::default()) {
        Ok(loaded) => told(folder.path(), &loaded.warnings),
        Err(error) => told(folder.path(), &error.problems),
    }
}

/// The files, and what a person is told about them.
macro_rules! told {
    ($($name:ident: $files:expr,)*) => {$(
        #[test]
        fn $name() {
            let files: &str = $files;
            let told = format!("{}\n\n{}\n", files.trim_end(), problems(files));
            insta::with_settings!({ omit_expression => true, prepend_module_to_snapshot => false }, {
                insta::assert_snapshot!(stringify!($name), told);
            });
        }
    )*};
}

told! {
    shape: "\
== hierarchy.yaml
version: 2
registr: x
images:
  a:
    contxt: x
    max_size: 12 parsecs
    timeout: 90
    platform: linux
    prepare: ./make.sh
    labels: [a]
    build_args: {A: [1], B: }
    secrets: {a: hunter2, b: {env: 1x}, \"c d\": {file: x}, e: {file: x, env: X}, f: {value: hunter2}}
    ssh: maybe
    test:
      - run: test -x \"/bin/sh\"
      - healthy: soon
      - network: yes
        run: [x]
      - run: [x]
        stdout: \"(\"
      - {run: [x], healthy: 30s}
      - {healthy: 30s, stdout: x, timeout: 1s}
      - inherit: false
      - run: []
      - x
  b: {tags: [\"{day}\", -x, 12, 12], on_failure: ignore}
  B: {}
  c: []
  \"d:1\": {}
  e: {tags: []}
  a: {}
  f: {repository: \"Reg/x\", refresh: { every: 1s, packages: pip, on: x }, volatile: var/x}
  g: {refresh: 1d, volatile: [1, {}], retries: 6}
  h: {retries: -1}
  i: {schedule: 0 3 * *}
  j: {schedule: {cron: 0 25 * * *, timezone: Berlin, jiter: 1m}}
  k: {schedule: {timezone: Europe/Berlin}}
  l: {schedule: {cron: 0 3 * * *, timezone: Europe/Berln}}
",
    no_images: "== hierarchy.yaml\nversion: 1\n",
    empty: "== hierarchy.yaml\n",
    images_is_a_list: "== hierarchy.yaml\nversion: 1\nregistry: https://r.io\nimages: [a]\ndefaults: {matrix: {a: [1]}, parents: x}\n",
    two_documents: "== hierarchy.yaml\nversion: 1\nimages: {}\n---\nversion: 1\n",
    open_bracket: "== hierarchy.yaml\nversion: 1\nimages: [\n",
    colon: "== hierarchy.yaml\nversion: 1\nimages:\n  a:\n    tests:\n      - stdout: ^root:\n",
    tab: "== hierarchy.yaml\nversion: 1\nimages:\n\ta: {}\n",
    files: "\
== hierarchy.yaml
version: 1
images:
  a: {}
  b:
  nowhere:
  d: {context: nope}
  e: {context: b, dockerfile: ../images/other.Dockerfile}
  f: {context: b, target: biuld}
  g: {context: b, target: other}
  h: {context: c}
  i: {context: b, dockerfile: ../d.Dockerfile}
== images/a/Dockerfile
FROM b
COPY --from=$X / /
FROM $Y AS y # no
FROM $Y AS y
FRM x
== b/Dockerfile
FROM debian AS build
== c/Containerfile
FROM debian
== d.Dockerfile
ARG BASE=Debian
FROM $BASE
COPY --from=a:b:c / /
",
    ring: "\
== hierarchy.yaml
version: 1
images:
  a: {}
  b: {}
  c: {}
  d: {}
  self: {}
== a/Dockerfile
FROM b
== b/Dockerfile
FROM scratch
COPY --from=c / /
== c/Dockerfile
ARG X=a
FROM ${X}
== d/Dockerfile
FROM a
== self/Dockerfile
FROM self
",
    parents: "\
== hierarchy.yaml
version: 1
registry: r.io/base
images:
  os: {}
  lib: {parents: [so]}
  app:
    parents: [os, lib]
  tool:
    parents: [os]
  good: {parents: [lib, os]}
== os/Dockerfile
FROM scratch
== lib/Dockerfile
FROM scratch
== app/Dockerfile
FROM os
== tool/Dockerfile
FROM os
RUN --mount=from=r.io/base/lib,target=/lib /lib/x
== good/Dockerfile
FROM lib
COPY --from=os / /
COPY --from=os / /
",
    tags: "\
== hierarchy.yaml
version: 1
registry: r.io/base
images:
  os:
    tags: [\"12\", \"12-{date}\"]
  app: {}
  pinned: {}
  twin: {repository: r.io/base/os, tags: [x, \"12\"]}
== os/Dockerfile
FROM scratch
== app/Dockerfile
FROM r.io/base/os:13
COPY --from=r.io/base/os / /
== pinned/Dockerfile
FROM os@sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855
== twin/Dockerfile
FROM scratch
",
    matrix: "\
== hierarchy.yaml
version: 1
images:
  ruby: {context: x, matrix: {ruby: [1, 2]}}
  \"a-{b}\": {context: x}
  \"c-{c}\": {context: x, matrix: {c: []}}
  \"d-{d}\": {context: x, matrix: {d: [1], date: [2], include: [{e: 1}, {}], exclude: x}}
  \"e-{e}\": {context: x, matrix: {e: [1], exclude: [{e: 1}]}}
  \"f-{f}\": {context: x, matrix: 1}
  \"h-{h}\": {context: x, matrix: {h: [1, 2, 1]}}
  \"g-{g}\": {context: x, repository: r.io/g, matrix: {g: [1, 2]}}
  ruby-1: {context: x}
  \"ruby-{v}\": {context: x, matrix: {v: [1]}}
== x/Dockerfile
FROM scratch
",
    warnings: "\
== hierarchy.yaml
version: 1
images:
  os: {tags: [\"12\"]}
  app: {}
== os/Dockerfile
FROM scratch
== app/Dockerfile
FROM os:13
",
}

#[test]
fn a_hierarchy_of_every_field() {
    let folder = folder(
        "== hierarchy.yaml
version: 1
registry: registry.example.com/base
defaults:
  tags: [latest, \"{date}\"]
  labels: { team: base, tier: \"1\" }
  build_args: { PROXY: none }
images:
  os-base: &os
    context: images/os-base
    prepare: [./make-rootfs.sh]
    tags: [\"12\", \"12-{date}-{git}\"]
    test:
      - run: [sh, -c, \"test -x /bin/sh\"]
      - run: [cat, /etc/os-release]
        stdout: ^ID=debian$
        timeout: 5s
        network: true
        read_only: true
        inherit: false
    max_size: 120MB
    timeout: 1h30m
    refresh: {every: 1d, packages: apt}
    schedule: {cron: \"0 3 * * *\", timezone: Europe/Berlin, jitter: 10m}
    volatile: [srv/generated/**]
  webapp-base: {}
  ruby-{ruby}:
    context: images/ruby
    dockerfile: ../ruby.Dockerfile
    matrix: { ruby: [\"3.3\", 3.10], os: [a, b], exclude: [{ os: b }], include: [{ruby: 4, os: c}] }
    build_args: { RUBY: \"{ruby}\", MINOR: 3.10, JIT: true, N: 0x10 }
    labels: { tier: \"2\", ruby: \"{ruby}\" }
    target: \"on-{os}\"
    secrets: { key: { file: \"keys/{ruby}.pem\" } }
    repository: registry.example.com/ruby
    tags: [\"{ruby}\", \"{ruby}-{date}\"]
    prepare: [fetch, \"ruby-{ruby}\"]
    test: [{ run: [grep, \"{ruby}\", /version], stdout: \"[0-9]{1}\" }]
    volatile: [\"srv/{ruby}/**\"]
  app:
    parents: [ruby-3.10]
    on_failure: hold
    retries: 2
    keep: 5
    platform: linux/arm64
    secrets: { npm: { env: NPM_TOKEN } }
    ssh: default
    build_args: { CACHE_KEY: v1 }
    allow_build_args: [CACHE_KEY]
    test:
      - healthy: 30s
== images/os-base/Dockerfile
FROM scratch
== images/webapp-base/Dockerfile
FROM os-base
== images/ruby/x
== images/ruby.Dockerfile
ARG RUBY
ARG PROXY=x
FROM registry.example.com/base/webapp-base AS on-a
FROM ruby:${RUBY} AS on-b
FROM webapp-base:${UNSET:-latest} AS on-c
== app/Dockerfile
FROM registry.example.com/ruby:3.10 AS x
FROM alpine-$TARGETARCH-$BUILDARCH
COPY --from=x / /
",
    );
    let loaded = load(folder.path(), &LoadOptions::default())
        .map_err(|error| told(folder.path(), &error.problems))
        .unwrap();
    let root = folder.path().display().to_string();
    let mut text = String::new();
    for node in loaded.hierarchy.in_build_order() {
        // The text of the Dockerfile stands above.
        let mut node = node.clone();
        node.dockerfile.text.clear();
        node.dockerfile.instructions.clear();
        writeln!(text, "{node:#?}").unwrap();
    }
    insta::with_settings!({ omit_expression => true, prepend_module_to_snapshot => false }, {
        insta::assert_snapshot!("every_field", text.replace(&root, "ROOT"));
    });
}

fn order(folder: &Path, options: &LoadOptions) -> Vec<String> {
    let loaded = load(folder, options).map_err(|error| told(folder, &error.problems)).unwrap();
    loaded.hierarchy.in_build_order().map(|node| node.repository.to_string()).collect()
}

#[test]
fn an_override_moves_every_image_and_keeps_every_edge() {
    let folder = folder(
        "== hierarchy.yaml
version: 1
registry: r.io/base
images:
  app: {}
  os: {}
  net: {repository: r.io/base/dot/net}
  far: {repository: other.io/team/far}
== app/Dockerfile
FROM r.io/base/os
COPY --from=r.io/base/dot/net / /
COPY --from=localhost:5000/t/team/far / /
== os/Dockerfile
FROM scratch
== net/Dockerfile
FROM os
== far/Dockerfile
FROM scratch
",
    );
    let options =
        LoadOptions { registry: "localhost:5000/t".parse().ok(), ..LoadOptions::default() };
    assert_eq!(
        order(folder.path(), &options),
        [
            "localhost:5000/t/os",
            "localhost:5000/t/dot/net",
            "localhost:5000/t/team/far",
            "localhost:5000/t/app"
        ]
    );
}

#[test]
fn bom_and_crlf_change_nothing() {
    let folder = folder("== a/Dockerfile\nFROM scratch\n== b/Dockerfile\n\u{feff}FROM a\r\n");
    let file =
        "\u{feff}version: 1\r\nimages:\r\n  b: {}\r\n  a:\r\n    tags:\r\n      - latest\r\n";
    write(folder.path(), "hierarchy.yaml", file);
    assert_eq!(order(folder.path(), &LoadOptions::default()), ["a", "b"]);
    write(folder.path(), "hierarchy.yaml", &file.replace("latest", "-x"));
    let error = load(folder.path(), &LoadOptions::default()).unwrap_err();
    let (_, line, column) = error.problems[0].position().unwrap();
    assert_eq!((line, column), (6, 9));
}

#[test]
fn anchors_and_merges_are_understood() {
    let folder = folder(
        "== hierarchy.yaml\nversion: 1\nimages:\n  a: &a {context: x, tags: [\"1\"]}\n  b: *a\n  c: {<<: *a, tags: [\"2\"]}\n== x/Dockerfile\nFROM scratch\n",
    );
    assert_eq!(order(folder.path(), &LoadOptions::default()), ["a", "b", "c"]);
}

#[test]
fn the_file_is_found_upwards() {
    let folder = folder("== hierarchy.yml\n\n== a/hierarchy.yaml\n\n== a/b/c/x\n");
    let find = |path: &str| Hierarchy::find_file(&folder.path().join(path)).unwrap();
    assert_eq!(find("a/b/c"), Some(folder.path().join("a/hierarchy.yaml")));
    assert_eq!(find("."), Some(folder.path().join("./hierarchy.yml")));
    assert_eq!(
        load(&folder.path().join("a/b"), &LoadOptions::default()).unwrap_err().to_string(),
        "there is no such hierarchy file"
    );
}

/// How long a hostile file may take; without optimization, on a machine that is busy, far longer.
const LIMIT: Duration = Duration::from_secs(if cfg!(debug_assertions) { 180 } else { 1 });

/// Loads within the limit, or says why not.
fn in_time(file: &str, contexts: &[(&str, &str)]) -> Result<usize, String> {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), "hierarchy.yaml", file);
    for (name, dockerfile) in contexts {
        write(folder.path(), &format!("{name}/Dockerfile"), dockerfile);
    }
    let started = Instant::now();
    let result = load(folder.path(), &LoadOptions::default());
    let took = started.elapsed();
    assert!(took < LIMIT, "{took:?}");
    result.map(|loaded| loaded.hierarchy.len()).map_err(|error| error.problems[0].message.clone())
}

#[test]
fn hostile_files_end_soon() {
    let nested = format!("version: 1\nimages: {}{}", "[".repeat(100_000), "]".repeat(100_000));
    assert_eq!(in_time(&nested, &[]), Err("this is nested too deeply".to_owned()));
    let nested = format!("version: 1\nimages: {}", "{a: ".repeat(100_000));
    assert_eq!(in_time(&nested, &[]), Err("this is nested too deeply".to_owned()));
    let mut bomb = "version: 1\na0: &a0 [x,x,x,x,x,x,x,x,x,x]\n".to_owned();
    for level in 1..12 {
        let aliases = vec![format!("*a{}", level - 1); 10].join(",");
        writeln!(bomb, "a{level}: &a{level} [{aliases}]").unwrap();
    }
    assert_eq!(
        in_time(&bomb, &[]),
        Err("this file is too large when its aliases are written out".to_owned())
    );
    let matrix = "version: 1\nimages:\n  a: {matrix: {a: &v [1,2,3,4,5,6,7,8,9,10], b: *v, c: *v, d: *v, e: *v, f: *v}}\n";
    assert_eq!(in_time(matrix, &[]), Err("this matrix makes more than 100000 images".to_owned()));
}

#[test]
fn hostile_dockerfiles_end_soon() {
    let one = "version: 1\nimages: {a: {context: a}}\n";
    let doubling: String = (1..40).fold("ARG A0=x\n".to_owned(), |mut text, n| {
        let before = n - 1;
        writeln!(text, "ARG A{n}=$A{before}$A{before}").unwrap();
        text
    });
    let too_long = Err("a value is longer than 64 KiB".to_owned());
    assert_eq!(in_time(one, &[("a", &format!("{doubling}FROM $A39\n"))]), too_long);
    let replaced = format!("ARG A={}\nARG B=${{A//x/$A}}\nFROM $B\n", "x".repeat(40_000));
    assert_eq!(in_time(one, &[("a", &replaced)]), too_long);
    let many = (0..10_000).map(|n| format!("ARG B{n}=$A\n")).collect::<Vec<_>>().concat();
    let many = format!("ARG A={}\n{many}FROM scratch\n", "x".repeat(60_000));
    let total = Err("the values of this file are longer than 4 MiB".to_owned());
    assert_eq!(in_time(one, &[("a", &many)]), total);
    let large = "#".repeat(4 * 1024 * 1024 + 1);
    let error = in_time(one, &[("a", &large)]).unwrap_err();
    assert_eq!(error, "`a/Dockerfile` cannot be read: it is larger than 4 MiB");
}

#[test]
fn a_long_list_is_refused_and_many_problems_are_counted() {
    let items = "x,".repeat(800_000);
    for field in ["tags", "parents", "prepare", "volatile", "test"] {
        let file = format!("version: 1\nimages: {{a: {{{field}: [{items}]}}}}\n");
        let error = in_time(&file, &[("a", "FROM scratch\n")]).unwrap_err();
        assert_eq!(error, "a list has more than 10000 items", "{field}");
    }
    let fields = (0..20_000).map(|n| format!("x{n}: 1, ")).collect::<Vec<_>>().concat();
    let folder = folder(&format!("== hierarchy.yaml\nversion: 1\nimages: {{a: {{{fields}}}}}\n"));
    let problems = load(folder.path(), &LoadOptions::default()).unwrap_err().problems;
    assert_eq!(problems.len(), 101);
    let last = &problems[100].message;
    assert!(
        last.starts_with("there are ") && last.ends_with(" more problems, which are not shown")
    );
    assert_eq!(problems[100].hint.as_deref(), Some("`rebuild check` prints them"));
    // `check` is for all of them, and does not take notes for errors.
    let images = (0..150).map(|n| format!("i{n}: {{context: b}}, ")).collect::<Vec<_>>().concat();
    let folder = self::folder(&format!(
        "== hierarchy.yaml\nversion: 1\nimages: {{{images}}}\n== b/Dockerfile\nFROM scratch\n"
    ));
    let file = folder.path().join("hierarchy.yaml");
    let problems = Hierarchy::check(&file, &LoadOptions::default()).problems;
    assert_eq!(problems.len(), 150);
    assert!(problems.iter().all(|problem| problem.severity < Severity::Error));
}

#[test]
fn what_is_no_file_is_not_read() {
    let folder = folder(
        "== hierarchy.yaml\nversion: 1\nimages: {a: {context: a, dockerfile: /dev/zero}, b: {}}\n== a/x\n== b/x\n",
    );
    rustix::fs::mkfifoat(
        rustix::fs::CWD,
        folder.path().join("b/Dockerfile"),
        rustix::fs::Mode::RWXU,
    )
    .unwrap();
    let problems = load(folder.path(), &LoadOptions::default()).unwrap_err().problems;
    let messages: Vec<&str> = problems.iter().map(|one| one.message.as_str()).collect();
    assert_eq!(
        messages,
        [
            "`/dev/zero` cannot be read: it is a device, not a file",
            "`b/Dockerfile` cannot be read: it is a fifo, not a file"
        ]
    );
}

/// Ten thousand nodes in a few contexts: a matrix would do the same, this is the longer way.
#[test]
fn ten_thousand_nodes_load_soon() {
    let mut file = "version: 1\nimages:\n  n0: {context: root}\n".to_owned();
    for n in 1..10_000 {
        writeln!(file, "  n{n}: {{context: x, build_args: {{PARENT: n{}}}}}", n / 2).unwrap();
    }
    let dockerfile = "ARG PARENT\nFROM $PARENT\nRUN make\n";
    let contexts = [("root", "FROM scratch\n"), ("x", dockerfile)];
    assert_eq!(in_time(&file, &contexts), Ok(10_000));
    // All of them in one ring, the longest there can be.
    let ring = file.replace("n0: {context: root}", "n0: {context: x, build_args: {PARENT: n9999}}");
    let error = in_time(&ring, &contexts).unwrap_err();
    assert!(error.starts_with("`n0` is built from itself: n0 <- n9999 <- n4999 <-"), "{error}");
    // All of them below one.
    let wide = file.replace("PARENT: n", "PARENT: n0, N: n");
    assert_eq!(in_time(&wide, &contexts), Ok(10_000));
}

/// Each node has its own copy of the entry, and must not have one of the matrix.
#[test]
fn a_matrix_of_ten_thousand_loads_soon() {
    let numbers: Vec<String> = (0..100).map(|n| n.to_string()).collect();
    let numbers = numbers.join(", ");
    let rows = |from: usize| {
        let rows = (0..1000).map(|n| format!("{{a: {}, b: {}}}", from + n / 100, n % 100));
        rows.collect::<Vec<_>>().join(", ")
    };
    let file = format!(
        "version: 1\nimages:\n  \"n{{a}}-{{b}}\":\n    context: x\n    \
         matrix: {{a: [{numbers}], b: [{numbers}], exclude: [{}], include: [{}]}}\n",
        rows(0),
        rows(200)
    );
    assert_eq!(in_time(&file, &[("x", "FROM scratch\n")]), Ok(10_000));
}

#[test]
fn an_untrusted_hierarchy_runs_nothing_and_stays_in_its_folder() {
    let untrusted = LoadOptions { trust: super::Trust::Untrusted, ..LoadOptions::default() };
    let outside = tempfile::tempdir().unwrap();
    write(outside.path(), "Dockerfile", "FROM scratch\n");
    let outside = outside.path().display();
    let fine = "== a/Dockerfile\nFROM scratch\n== b/Dockerfile\nFROM a\n";
    for (rest, refused) in [
        ("notify: [x]\nimages: {a: {}}".to_owned(), "`notify` runs a program on this machine"),
        (
            "notify: {slack: X}\nimages: {a: {}}".to_owned(),
            "`notify` sends reports with the secrets",
        ),
        ("images: {a: {prepare: [x]}}".to_owned(), "`prepare` runs a program on this machine"),
        ("defaults: {prepare: [x]}\nimages: {a: {}}".to_owned(), "`prepare` runs a program"),
        (
            "images: {a: {secrets: {k: {env: X}}}}".to_owned(),
            "the secret `k` is a file or a variable",
        ),
        (
            "images: {a: {secrets: {k: {file: x}}}}".to_owned(),
            "the secret `k` is a file or a variable",
        ),
        ("images: {a: {ssh: true}}".to_owned(), "`ssh` uses the keys of this machine"),
        ("images: {a: {network: host}}".to_owned(), "`network: host` reaches services"),
        (format!("images: {{a: {{contexts: {{x: {outside}}}}}}}"), "the context `"),
        (
            "defaults: {network: host}\nimages: {a: {}}".to_owned(),
            "`network: host` reaches services",
        ),
        (format!("images: {{a: {{context: {outside}}}}}"), "the context `"),
        (format!("images: {{a: {{dockerfile: {outside}/Dockerfile}}}}"), "the Dockerfile `"),
        ("images: {a: {dockerfile: ../link}}".to_owned(), "the Dockerfile `link` lies outside"),
        ("images: {a: {context: links}}".to_owned(), "the context `links` lies outside"),
    ] {
        let folder = folder(&format!("== hierarchy.yaml\nversion: 1\n{rest}\n{fine}"));
        std::os::unix::fs::symlink(format!("{outside}/Dockerfile"), folder.path().join("link"))
            .unwrap();
        std::os::unix::fs::symlink(format!("{outside}"), folder.path().join("links")).unwrap();
        assert!(load(folder.path(), &LoadOptions::default()).is_ok(), "{rest}");
        let error = load(folder.path(), &untrusted).unwrap_err();
        let first = &error.problems[0];
        assert!(
            first.message.starts_with(refused) && first.message.ends_with("refused"),
            "{first:?}"
        );
        assert_eq!(first.code, Some(crate::check::rules::RuleCode::Untrusted));
    }
    let folder = folder(&format!(
        "== hierarchy.yaml\nversion: 1\nimages: {{a: {{}}, b: {{context: ./b}}}}\n{fine}"
    ));
    assert!(load(folder.path(), &untrusted).is_ok());
}

#[test]
fn nothing_is_shown_of_a_file_outside() {
    let outside = tempfile::tempdir().unwrap();
    let secret = "hunter2";
    for text in [
        format!("{{ \"auths\": {{ \"x\": {{ \"auth\": \"{secret}\" }} }} }}\n"),
        format!("FROM {secret}:{secret}:{secret}\n"),
        format!("FROM x AS {secret}\nENV PASSWORD={secret}\n"),
        format!("FROM scratch\n{secret} x\n"),
        format!("FROM ${{{secret}\n"),
    ] {
        write(outside.path(), "config.json", &text);
        let at = outside.path().join("config.json");
        let entry = format!("a: {{dockerfile: {}, target: {secret}x}}", at.display())
            .replace("hunter2x", "other");
        let folder =
            folder(&format!("== hierarchy.yaml\nversion: 1\nimages: {{{entry}}}\n== a/x\n"));
        let file = folder.path().join("hierarchy.yaml");
        let checked = Hierarchy::check(&file, &LoadOptions::default());
        let rendering = Rendering { colour: false, current_dir: folder.path() };
        let told = crate::check::diagnostic::render(&checked.problems, rendering);
        assert!(!told.contains(secret), "{told}");
        assert!(
            !format!(
                "{:?}",
                checked.problems.iter().map(|p| (&p.message, &p.hint)).collect::<Vec<_>>()
            )
            .contains(secret)
        );
    }
}

#[test]
fn a_dockerfile_in_another_encoding_is_named_and_no_other() {
    let dir = folder(
        "== hierarchy.yaml\nversion: 1\nimages:\n  os: {}\n  app: {}\n  comment: {}\n\
         == os/Dockerfile\nFROM scratch\n== app/Dockerfile\n== comment/Dockerfile\n",
    );
    let write = |name: &str, bytes: &[u8]| {
        fs::write(dir.path().join(name).join("Dockerfile"), bytes).unwrap();
    };
    write("comment", b"# J\xfcrgen\nFROM os\n");
    write("app", b"FROM os\nLABEL by=\"J\xfcrgen\"\n");
    let error = load(dir.path(), &LoadOptions::default()).unwrap_err();
    assert_eq!(
        told(dir.path(), &error.problems).trim_end(),
        "\
error[RB022]: this file is not UTF-8 text
 --> app/Dockerfile:2:12
  |
2 | LABEL by=\"J\u{fffd}rgen\"
  |            ^ the first byte that is not
  |
  = hint: save it as UTF-8; other bytes may stand in comments only"
    );
    write("app", b"FROM os\n");
    load(dir.path(), &LoadOptions::default()).unwrap();
}

#[test]
fn fuzz_hierarchy() {
    const WORDS: [&str; 30] = [
        "  ",
        "\n",
        ": ",
        "- ",
        "{",
        "}",
        "[",
        "]",
        ",",
        "&a ",
        "*a",
        "<<: ",
        "|",
        ">",
        "\"",
        "'",
        "!!map ",
        "#",
        "---\n",
        "matrix: { a: [1, 2], b: [x] }",
        "{a}",
        "{date}",
        "test: [{ run: [x] }]",
        "version: 1\n",
        "images:\n",
        "defaults:\n",
        "refresh: { every: 1d }",
        "exclude: [{ a: 1 }]",
        "~",
        "\u{feff}",
    ];
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("Dockerfile"), "FROM scratch\n").unwrap();
    let path = folder.path().join("hierarchy.yaml");
    let examples: [&[u8]; 3] = [
        include_bytes!("../../hierarchy.yaml"),
        b"version: 1\nregistry: r.example.com/x\ndefaults: { context: ., tags: [\"{date}\"] }\nimages:\n  a: {}\n  b: { context: . }\n",
        b"version: 1\nimages:\n  r-{v}:\n    context: .\n    matrix: { v: [1, 2], w: [a, b], exclude: [{ v: 1, w: a }], include: [{ v: 3, w: c }] }\n    secrets: { s: { env: S } }\n    build_args: { A: \"{v}\" }\n",
    ];
    let rendering =
        crate::check::diagnostic::Rendering { colour: true, current_dir: folder.path() };
    crate::testing::fuzz::each(&examples, &WORDS, |text| {
        let text = String::from_utf8_lossy(text).into_owned();
        // A path out of the folder might name any file of this machine.
        if text.contains("/dev") || text.contains("/proc") {
            return;
        }
        if let Err(error) = Hierarchy::load_text(path.clone(), text, &LoadOptions::default()) {
            for problem in &error.problems {
                problem.render(rendering);
            }
        }
    });
}

#[test]
fn a_field_in_the_wrong_place_is_told_its_place() {
    let image = |field: &str| format!("images: {{a: {{context: a, {field}}}}}");
    for (text, expected) in [
        (image("exclude: [{v: 1}]"), "`exclude` is a field of `matrix`"),
        (image("packages: apt"), "`packages` is a field of `refresh`"),
        (image("strategy: {}"), "docs/hierarchy.md lists the fields of an image"),
        ("images: {}\nexclude: []".to_owned(), "`exclude` is a field of `matrix` of an image"),
        (
            "images: {}\nbuild_args: {A: b}".to_owned(),
            "`build_args` is a field of images: write it under `defaults` or an entry of `images`",
        ),
    ] {
        let told = problems(&format!("== hierarchy.yaml\nversion: 1\n{text}\n== a/x\n"));
        assert!(told.contains(&format!("= hint: {expected}")), "{told}");
    }
}

#[test]
fn a_matrix_fills_in_fields_that_are_no_text() {
    let entry = "platform: \"linux/{arch}\", max_size: \"{size}0MB\", timeout: \"{size}m\", retries: \"{size}\", \
                 keep: \"{size}\", on_failure: \"{policy}\"";
    let matrix = "matrix: {arch: [arm64], size: [2], policy: [hold]}";
    let hierarchy = |defaults: &str, entry: &str| {
        format!(
            "== hierarchy.yaml\nversion: 1\ndefaults: {{{defaults}}}\nimages:\n  \"a-{{arch}}-{{size}}-{{policy}}\": \
             {{context: a, {entry}{matrix}}}\n== a/Dockerfile\nFROM scratch\n"
        )
    };
    for files in [hierarchy("", &format!("{entry}, ")), hierarchy(entry, "")] {
        let folder = folder(&files);
        let hierarchy = load(folder.path(), &LoadOptions::default()).unwrap().hierarchy;
        let node = hierarchy.get(&"a-arm64-2-hold".into()).unwrap();
        assert_eq!(node.platform, "linux/arm64".parse().ok());
        assert_eq!((node.budget.size, node.retries, node.keep.get()), (Some(20_000_000), 2, 2));
        assert_eq!((node.timeout, node.on_failure), (Duration::from_secs(120), OnFailure::Hold));
    }
    // What is no value is told where it stands.
    for (entry, expected) in [
        ("platform: \"{size}\", ", "a platform is `os/architecture`"),
        ("retries: \"{sise}\", ", "`{sise}`"),
        ("ssh: \"{policy}\", ", "`schedule` and the times of tests take none"),
    ] {
        let told = problems(&hierarchy("", entry));
        assert!(told.contains(expected) && told.contains("hierarchy.yaml:4:"), "{told}");
    }
    // A value of its own comes before one of `defaults`.
    let folder = folder(&hierarchy("retries: \"{size}\"", "retries: 1, "));
    let hierarchy = load(folder.path(), &LoadOptions::default()).unwrap().hierarchy;
    assert_eq!(hierarchy.get(&"a-arm64-2-hold".into()).unwrap().retries, 1);
}

#[test]
fn keys_at_the_top_that_begin_with_x_carry_anchors() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("hierarchy.yaml");
    for name in ["a", "b"] {
        std::fs::create_dir(folder.path().join(name)).unwrap();
        std::fs::write(folder.path().join(name).join("Dockerfile"), "FROM scratch\n").unwrap();
    }
    let text = "version: 1\nx-small: &small { max_size: 1MB }\nx-note: anything\nimages:\n  a: *small\n  b: {}\n";
    std::fs::write(&file, text).unwrap();
    let hierarchy = Hierarchy::load(&file, &LoadOptions::default()).unwrap().hierarchy;
    assert_eq!(hierarchy.get(&"a".into()).unwrap().budget.size, Some(1_000_000));
    assert_eq!(hierarchy.get(&"b".into()).unwrap().budget.size, None);
    std::fs::write(&file, text.replace("x-note", "y-note")).unwrap();
    assert!(Hierarchy::load(&file, &LoadOptions::default()).is_err());
}
