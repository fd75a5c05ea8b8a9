use std::{fs, os::unix::fs::PermissionsExt as _, path::Path};

use tempfile::TempDir;

use crate::{
    check::{
        diagnostic::{self, Rendering, Severity},
        rules::{self, RuleCode},
    },
    hierarchy::{CheckedHierarchy, Hierarchy, LoadOptions, Trust},
};

/// A folder with these files: `path` on a line of its own behind `==`, then its text. A path that ends in
/// `!` is made executable.
fn folder(files: &str) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    for file in files.split("== ").skip(1) {
        let (path, text) = file.split_once('\n').unwrap();
        let at = folder.path().join(path.trim_end_matches('!'));
        fs::create_dir_all(at.parent().unwrap()).unwrap();
        fs::write(&at, text).unwrap();
        let mode = if path.ends_with('!') { 0o755 } else { 0o644 };
        fs::set_permissions(&at, fs::Permissions::from_mode(mode)).unwrap();
    }
    folder
}

fn check(folder: &Path) -> CheckedHierarchy {
    let platform = "linux/amd64".parse().ok();
    Hierarchy::check(
        &folder.join("hierarchy.yaml"),
        &LoadOptions { platform, ..LoadOptions::default() },
    )
}

/// What a person sees.
fn told(files: &str) -> String {
    let folder = folder(files);
    let rendering = Rendering { colour: false, current_dir: folder.path() };
    diagnostic::render(&check(folder.path()).problems, rendering)
}

/// The codes that are told, each as often as it is.
fn codes(files: &str) -> Vec<String> {
    codes_if(files, Trust::Full)
}

fn codes_if(files: &str, trust: Trust) -> Vec<String> {
    let folder = folder(files);
    let options = LoadOptions { trust, ..LoadOptions::default() };
    let problems = Hierarchy::check(&folder.path().join("hierarchy.yaml"), &options).problems;
    problems.iter().map(|problem| problem.code.unwrap().to_string()).collect()
}

/// A hierarchy of one image `a`, with this entry and this Dockerfile.
fn one(entry: &str, dockerfile: &str) -> String {
    format!("== hierarchy.yaml\nversion: 1\nimages:\n  a: {entry}\n== a/Dockerfile\n{dockerfile}\n")
}

const TESTED: &str = "{ test: [{ run: [x] }] }";

#[test]
#[expect(clippy::too_many_lines, reason = "a line for each rule")]
fn every_rule_is_broken_by_its_example() {
    let file = |text: &str| {
        format!(
            "== hierarchy.yaml\n{text}\n== a/Dockerfile\nFROM scratch\n== b/Dockerfile\nFROM a\n"
        )
    };
    let images =
        |entries: &str| file(&format!("version: 1\ndefaults: {TESTED}\nimages:\n  {entries}"));
    let cases = [
        ("RB001", String::new()),
        ("RB002", file("version: 1\nimages: [")),
        ("RB003", images("a: {}\n  a: {}")),
        ("RB004", images("a: { contxt: a }")),
        ("RB005", file("images: {}")),
        ("RB006", images("a: { timeout: 90 }")),
        ("RB007", images("a: { test: [{}] }")),
        ("RB008", images("a: { matrix: { v: [] } }")),
        ("RB009", images("a: { tags: [\"{day}\"] }")),
        ("RB010", images("a: {}\n  '{v}': { context: a, matrix: { v: [a] } }")),
        ("RB011", images("a: { build_args: { NPM_TOKEN: hunter2 } }")),
        ("RB012", images("a: { secrets: { npm: hunter2 } }")),
        ("RB013", images("a: { prepare: [make] }")),
        ("RB014", images("a: { target: \"${REBUILD_TEST_WITHOUT_VALUE}\" }")),
        ("RB020", images("a: { context: nowhere }")),
        ("RB021", images("a: { dockerfile: nowhere }")),
        ("RB022", one(TESTED, "FRM scratch")),
        ("RB023", images("a: { target: nowhere }")),
        ("RB024", one(TESTED, "FROM A")),
        ("RB025", images("a: { prepare: [sh, ../gen.sh] }\n  b: {}\n== gen.sh\nx")),
        (
            "RB026",
            images(
                "a: {}\n  c: {}\n  d: {}\n== c/Dockerfile\nFROM scratch\nONBUILD COPY --from=a:latest / /\n== d/Dockerfile\nFROM c",
            ),
        ),
        (
            "RB030",
            images("a: { dockerfile: ../b/Dockerfile, repository: x }\n  b: { repository: a }"),
        ),
        ("RB031", images("a: { parents: [x] }")),
        ("RB032", images("a: { parents: [b] }\n  b: {}")),
        ("RB033", images("a: {}\n  b: { parents: [] }")),
        ("RB034", images("a: { repository: x }\n  b: { repository: x }")),
        (
            "RB035",
            images(
                "a: { tags: [x], repository: a }\n  b: {}\n  c: { context: c }\n== c/Dockerfile\nFROM a:y",
            ),
        ),
        (
            "RB036",
            images(&format!(
                "a: {{}}\n  c: {{}}\n== c/Dockerfile\nFROM a@{}",
                crate::image::Digest::of(b"")
            )),
        ),
        ("RB037", images("a: { platform: linux/arm64 }\n  b: {}")),
        (
            "RB038",
            images("a: { platform: linux/amd64 }\n  b: { platforms: [linux/amd64, linux/arm64] }"),
        ),
        (
            "RB039",
            file(&format!(
                "version: 1\nregistry: r.io/base\ndefaults: {TESTED}\nimages:\n  a: {{}}\n  c: {{}}\n== c/Dockerfile\nFROM r.io/base/gone:1"
            )),
        ),
        ("RB040", one(TESTED, "FROM debian:latest")),
        ("RB041", one(TESTED, "FROM debian:12")),
        ("RB042", images("a: { build_args: { X: y } }")),
        ("RB043", one(TESTED, "FROM scratch\n== a/.git/HEAD\nx")),
        ("RB044", images("a: { prepare: [./make.sh] }")),
        ("RB045", one("{ test: [{ run: [sh, t/smoke.sh] }] }", "FROM scratch\n== a/t/smoke.sh\nx")),
        ("RB046", images("a: { test: [{ healthy: 30s }] }")),
        ("RB047", one(TESTED, "FROM scratch\nENV DB_PASSWORD=hunter2")),
        ("RB048", one(TESTED, "FROM scratch\nADD https://x.org/y /")),
        ("RB049", one("{}", "FROM scratch")),
        ("RB050", images("a: { secrets: { npm: { file: nowhere } } }")),
        ("RB051", images("a: { tags: [\"{date}\"] }")),
        (
            "RB052",
            images(concat!(
                "a: { context: ",
                env!("CARGO_MANIFEST_DIR"),
                "/examples/webstack/os-base }"
            )),
        ),
        (
            "RB053",
            images(
                "c: {}\n  d: {}\n== c/Dockerfile\nFROM scratch\nONBUILD COPY --from=x:1 / /\n== d/Dockerfile\nFROM c",
            ),
        ),
        ("RB054", one(TESTED, "FROM scratch\nCOPY nofile /")),
        ("RB055", one(TESTED, "FROM scratch\nRUN --mount=type=secret,id=npm npm ci")),
        ("RB056", one(TESTED, "FROM scratch AS builder\nFROM scratch\nCOPY --from=bulder / /")),
        (
            "RB057",
            images(
                "a-{v}: { context: a, matrix: { v: [x, y], exclude: [{ v: z }] } }\n  b: { context: a }",
            ),
        ),
        ("RB058", images("a: {}")),
        ("RB059", images("a: { tags: [x] }\n  c: {}\n== c/Dockerfile\nFROM r.io/old/a:x")),
        ("RB060", one(TESTED, "# rebuild ignore=RB040\nFROM scratch")),
        ("RB061", one(TESTED, "FROM scratch\nRUN apk add curl")),
        ("RB062", one(TESTED, "FROM scratch\nCOPY a /tmp/\nRUN rm /tmp/a\n== a/a\n")),
        (
            "RB063",
            one(TESTED, "FROM scratch\nRUN apt-get install -y x && rm -r /var/lib/apt/lists"),
        ),
        (
            "RB064",
            one(
                TESTED,
                "FROM scratch\nCOPY . /\nRUN npm ci && npm cache clean -f\n== a/.dockerignore\nx\n",
            ),
        ),
        ("RB065", one(TESTED, "FROM scratch\nRUN apk add --no-cache gcc")),
        ("RB066", one(TESTED, "FROM scratch\nUSER 1\nCMD x")),
        ("RB067", one(TESTED, "FROM scratch\nUSER root")),
        (
            "RB068",
            images(
                "a: {}\n  c: {}\n  d: {}\n== c/Dockerfile\nFROM scratch\nONBUILD RUN x\n== d/Dockerfile\nFROM c",
            ),
        ),
        ("RB069", one(TESTED, "FROM scratch\nCOPY . /")),
        (
            "RB070",
            "== hierarchy.yaml\nversion: 1\ndefaults: { test: [{ run: [x] }] }\nimages: { a: { context: ., dockerfile: a/Dockerfile }, b: {} }\n\
             == a/Dockerfile\nFROM scratch\nCOPY a /\n== b/Dockerfile\nFROM scratch\nCOPY x /\n== b/x\n"
                .to_owned(),
        ),
    ];
    // The command compares contexts: `files_that_cannot_be_sent_are_reported`.
    let known = rules::all().filter(|rule| rule.code != RuleCode::NotSendable);
    let known: Vec<String> = known.map(|rule| rule.code.to_string()).collect();
    assert_eq!(cases.iter().map(|(code, _)| *code).collect::<Vec<_>>(), known);
    for (code, files) in &cases {
        let trust = if *code == "RB013" { Trust::Untrusted } else { Trust::Full };
        let found = codes_if(files, trust);
        assert!(found.contains(&(*code).to_owned()), "{code} is not among {found:?}:\n{files}");
        assert!(!told(files).contains("hunter2"), "{}", told(files));
        // Only the image that is the test's own gives more than one; see it by its severity.
        let others = found.iter().filter(|found| *found != code && *found != "RB058");
        assert!(others.count() <= 1, "{code}: {found:?}\n{}", told(files));
    }
}

/// The codes about packages that a `RUN` gets, in order.
pub(super) fn package_codes(run: &str) -> String {
    let mut found = codes(&one(TESTED, &format!("FROM scratch\nRUN {run}")));
    found.retain(|code| ["RB061", "RB063"].contains(&code.as_str()));
    found.sort();
    found.join(" ")
}

/// For each Dockerfile of one image: the codes, with the lines.
#[test]
fn diet_rules_look_at_what_becomes_the_image() {
    for (dockerfile, expected) in [
        // Caches: in the same `RUN`, in a later one, in a mount, by an option, by a variable.
        (
            "RUN apt-get update && apt-get install -y --no-install-recommends x && rm -rf /var/lib/apt/lists/*",
            "",
        ),
        (
            "RUN apt-get update\nRUN apt-get install -y --no-install-recommends x && rm -rf /var/lib/apt/lists/*",
            "RB061:2",
        ),
        (
            "RUN apt-get update && apt-get -y --no-install-recommends install x\nRUN rm -rf /var/lib/apt/lists/*",
            "RB062:3",
        ),
        (
            "RUN --mount=type=cache,target=/var/lib/apt apt-get install -y --no-install-recommends x",
            "",
        ),
        (
            "ENV DEBIAN_FRONTEND=x\nRUN apt-get update; sudo apt-get install -y x; rm -r /var/lib/apt/lists",
            "RB063:3",
        ),
        (
            "RUN echo 'APT::Install-Recommends 0;' >/etc/apt/apt.conf.d/9\nRUN apt install -y x && rm -r /var/lib/apt/lists",
            "",
        ),
        ("RUN DEBIAN_FRONTEND=x \\\n  apt-get install -qq x \\\n  y", "RB061:2 RB063:2"),
        ("RUN apt-get install x && rm -r /var/lib/apt/lists", "RB063:2"),
        ("RUN apk add --no-cache x\nRUN apk add y\nRUN apk add z", "RB061:3"),
        ("RUN dnf install -y x && dnf clean all\nRUN yum -y install x", "RB061:3"),
        ("RUN pip install x\nRUN npm ci\nRUN yarn install", "RB061:2 RB061:3 RB061:4"),
        ("ENV PIP_NO_CACHE_DIR=1\nRUN pip install x", ""),
        ("RUN python3 -m pip install -U x", "RB061:2"),
        ("RUN apk info curl && echo apk add x", ""),
        ("RUN <<EOF\napk add x\nEOF", ""),
        // Stages that are not a part of the image.
        ("RUN apk add gcc\nFROM scratch\nCOPY --from=0 /x /", ""),
        ("RUN x\nFROM scratch AS base\nRUN apk add x\nFROM base", "RB061:4"),
        // The commands count, not the text.
        ("RUN apk add x \\\n  # rm -rf /var/cache/apk\n  && y", "RB061:2"),
        ("RUN apk add x && rm -rf /var/cache/{apk,y}", "RB061:2"),
        ("SHELL [\"/bin/bash\", \"-c\"]\nRUN apk add x && rm -rf /var/cache/{apk,y}", ""),
        ("RUN apk add x\nRUN ls /var/cache/apk", "RB061:2"),
        ("RUN apk add x\nRUN rm -rf /var/cache/*", "RB062:3"),
        ("RUN --mount=type=cache,target=/var/cache/apk apk add x\nRUN apk del x", ""),
        // Files.
        ("COPY a b /opt/\nRUN rm /opt/*", "RB062:3 RB062:3"),
        ("COPY a /opt/a\nRUN tar x && rm -f /opt/a /opt/b", "RB062:3"),
        ("ADD --chown=1 a b /opt/\nRUN rm -r /opt/b", "RB062:3"),
        ("COPY a /opt/\nRUN rm -r /opt /opt/$X\nRUN rm -r opt/a", ""),
        // Dependencies.
        ("COPY ./ /app\nRUN cd /app && pip install --no-cache-dir -r x", "RB064:2 RB069:2"),
        ("COPY package.json .\nRUN npm ci && npm cache clean -f\nCOPY src src", ""),
        ("COPY --from=x . /\nRUN npm ci && npm cache clean -f", ""),
        // Tools.
        ("RUN apk add --no-cache gcc musl-dev && make && apk del gcc", ""),
        ("RUN apk add --no-cache curl gcc=1 musl-dev", "RB065:2"),
        ("RUN apk add --no-cache gcc && echo apk del", "RB065:2"),
        ("RUN apk add --no-cache -t gcc curl", ""),
        ("RUN dnf install -y binutils gcc-c++ && dnf clean all", "RB065:2"),
        // The first process.
        ("USER 1\nENTRYPOINT exec x\nCMD y", ""),
        ("USER 1\nENTRYPOINT x y", "RB066:3"),
        ("USER 1\nCMD echo 'exec x' && y", "RB066:3"),
        ("USER 1\nCMD exec x | tee /log", "RB066:3"),
        ("USER 1\nCMD cd /x && exec y", ""),
        ("USER 1\nCMD start-tini-x", "RB066:3"),
        ("USER 1\nCMD [ \"sh\" ,\"-ec\", \"cd /x; exec y\"]", ""),
        ("USER 1\nCMD [\"/usr/bin/env\", \"bash\", \"-c\", \"x exec y\"]", "RB066:3"),
        ("USER 1\nCMD [\"bash\"]", ""),
        ("USER 1\nENTRYPOINT []\nCMD x", "RB066:4"),
        // Scripts in the context.
        ("USER 1\nCOPY run.sh /\nENTRYPOINT [\"/run.sh\"]", "RB066:4"),
        ("USER 1\nCOPY run.sh /\nENTRYPOINT [\"sh\", \"-e\", \"/run.sh\"]", "RB066:4"),
        ("USER 1\nCOPY run.sh /usr/local/bin/start\nCMD [\"start\"]", "RB066:4"),
        ("USER 1\nWORKDIR /app\nCOPY src bin\nCMD [\"/app/bin/run.sh\"]", "RB066:5"),
        ("USER 1\nCOPY exec.sh /run.sh\nENTRYPOINT [\"/run.sh\"]", ""),
        ("USER 1\nCOPY --from=x run.sh /\nENTRYPOINT [\"/run.sh\"]", ""),
        ("USER 1\nCOPY a /run.sh\nENTRYPOINT [\"/run.sh\"]", ""),
        ("USER 1\nENTRYPOINT [\"/bin/sh\", \"-c\", \"x\"]", "RB066:3"),
        ("USER 1\nENTRYPOINT [\"/tini\", \"--\", \"x\"]\nCMD y", ""),
        ("CMD [\"x\"]", "RB067:2"),
        ("USER root\nCMD [\"x\"]\nUSER app:app", ""),
        ("USER app\nUSER 0:0", "RB067:3"),
    ] {
        let folder = folder(&format!(
            "{}== a/a\n== a/b\n== a/package.json\n== a/src/x\n\
             == a/run.sh\n#!/bin/sh\nset -e\n# exec is not here\necho exec\n\"$@\"\n\
             == a/src/run.sh\n#!/usr/bin/env bash\nexec >/log\nx\n\
             == a/exec.sh\n#!/bin/sh\nif x; then exec \"$@\"; fi\n",
            one(TESTED, &format!("FROM scratch\n{dockerfile}"))
        ));
        let problems = check(folder.path()).problems;
        let mut found: Vec<String> = problems
            .iter()
            .filter(|one| one.code.is_some_and(|code| code >= RuleCode::CacheInLayer))
            .map(|one| {
                format!("{}:{}", one.code.unwrap(), one.position().map_or(0, |(_, line, _)| line))
            })
            .collect();
        found.sort();
        assert_eq!(
            found.join(" "),
            expected,
            "{dockerfile}\n{}",
            diagnostic::render(&problems, Rendering { colour: false, current_dir: folder.path() })
        );
    }
}

/// Of some upstreams it is known that they run as root.
#[test]
fn root_is_only_told_if_it_is_known() {
    for (dockerfile, expected) in [
        ("FROM debian:12\nCMD [\"x\"]", true),
        ("FROM docker.io/library/python:3-slim\nCMD [\"x\"]", true),
        ("FROM debian:12\nUSER app\nCMD [\"x\"]", false),
        ("FROM me/debian:12\nCMD [\"x\"]", false),
        ("FROM r.io/library/debian:12\nCMD [\"x\"]", false),
        ("FROM postgres:16\nCMD [\"x\"]", false),
    ] {
        let found = codes(&one(TESTED, dockerfile));
        assert_eq!(found.contains(&"RB067".to_owned()), expected, "{dockerfile}");
    }
}

/// Each file of a context is an input, also those of its neighbours.
#[test]
fn a_context_with_the_folders_of_other_images_is_told_once() {
    let all = "{ context: ., dockerfile: a/Dockerfile }";
    let found = |images: &str, ignore: &str| {
        let text = format!(
            "== hierarchy.yaml\nversion: 1\ndefaults: {{ test: [{{ run: [x] }}] }}\nimages: {{ {images} }}\n== a/Dockerfile\nFROM scratch\nCOPY a /\n\
             == b/Dockerfile\nFROM scratch\nCOPY b /\n== a/x\n== b/x\n{ignore}"
        );
        let folder = folder(&text);
        let problems = check(folder.path()).problems;
        let shared = problems.iter().filter(|one| one.code == Some(RuleCode::SharedContext));
        shared.map(|one| one.message.clone()).collect::<Vec<_>>().join("\n")
    };
    let both = format!("a: {all}, b: {}", all.replace("a/", "b/"));
    assert_eq!(
        found(&both, ""),
        "the context `.` of `a` and `b` contains other images: a change in `b` also rebuilds `a`"
    );
    assert_eq!(
        found(&format!("a: {all}, b: {{}}"), ""),
        "the context `.` of `a` contains other images: a change in `b` also rebuilds `a`"
    );
    for (images, ignore) in [
        ("a: {}, b: {}", ""),
        (both.as_str(), "== .dockerignore\nb\n"),
        (&format!("a: {all}"), ""),
        (&format!("a: {all}, b: {{}}"), "== a/Dockerfile.dockerignore\nb\n"),
        (&format!("a: {all}, c: {}", all.replace(" }", ", target: x }")), ""),
    ] {
        assert_eq!(found(images, ignore), "", "{images} {ignore}");
    }
}

/// Looks like a problem, but is not.
#[test]
fn good_hierarchies_hear_nothing() {
    let tested = "test: [{ run: [x] }]";
    let digest = crate::image::Digest::of(b"");
    for files in [
        one(TESTED, &format!("FROM debian:12@{digest}\nARG X\nENV PASSWORD_FILE=/x KEYS=1")),
        one(&format!("{{ {tested}, build_args: {{ X: y, http_proxy: z }} }}"), "ARG X=1\nFROM scratch"),
        one(&format!("{{ {tested}, build_args: {{ X: y }} }}"), "FROM scratch\nARG W \\\n  X"),
        one(TESTED, "FROM scratch\n== a/.git/HEAD\n== a/.dockerignore\n.git\n"),
        one(TESTED, "FROM scratch\n== a/.git\ngitdir: x\n== a/Dockerfile.dockerignore\n.git\n"),
        one(&format!("{{ {tested}, prepare: [./p, x] }}"), "FROM scratch\n== a/p!\n"),
        one(&format!("{{ {tested}, prepare: [make] }}"), "FROM scratch"),
        one("{ test: [{ run: [sh, t/x] }] }", "FROM scratch\nCOPY t /t\n== a/t/x\n"),
        one("{ test: [{ run: [/t/x, ./y, t] }] }", "FROM scratch\n== a/t/x\n"),
        one("{ test: [{ healthy: 1s }] }", "FROM scratch\nHEALTHCHECK CMD x"),
        one(TESTED, "FROM scratch\nADD --checksum=sha256:x https://x.org/y /\nADD https://x.org/r.git#0123456789012345678901234567890123456789 /r"),
        one(&format!("{{ {tested}, tags: ['{{date}}', x] }}"), "FROM scratch"),
        // A base may have what its children need.
        "== hierarchy.yaml\nversion: 1\nimages:\n  a: { test: [{ run: [x] }] }\n  b: { test: [{ healthy: 1s }] }\n\
         == a/Dockerfile\nFROM scratch\nHEALTHCHECK CMD x\n== b/Dockerfile\nFROM a\n".to_owned(),
        // What cannot be known, and what is not built.
        one(
            TESTED,
            "FROM scratch AS unused\nCOPY nofile /\nFROM scratch\nARG X\nCOPY $X /\nCOPY nofile* ./a1 /\n\
             ADD https://x.org/r.git#0123456789012345678901234567890123456789 /r\n== a/a1\n",
        ),
        one(&format!("{{ {tested}, prepare: [make] }}"), "FROM scratch\nCOPY made /"),
        one(
            &format!("{{ {tested}, secrets: {{ npm: {{ env: X }} }} }}"),
            "FROM scratch\nRUN --mount=type=secret,target=/run/npm x",
        ),
        "== hierarchy.yaml\nversion: 1\nimages:\n  # rebuild init ignore=old\n  a-{v}:\n    context: a\n    matrix: { v: [\"1.0\"] }\n    \
         test: [{ run: [x], stdout: \"^{v} [0-9]{2}$\" }]\n== a/Dockerfile\nFROM scratch\n\
         == node_modules/x/Dockerfile\nFROM x\n== x/Dockerfile\n# rebuild ignore=RB058\nFROM x\n\
         == old/x/Dockerfile\nFROM x\n== win/Dockerfile\nARG V=ltsc2022\nFROM mcr.microsoft.com/windows/servercore:$V\n".to_owned(),
        // A build arg of `defaults` need not be for everybody.
        "== hierarchy.yaml\nversion: 1\ndefaults: { build_args: { X: y }, test: [{ run: [x] }] }\nimages: {a: {}, b: {}}\n\
         == a/Dockerfile\nFROM scratch\n== b/Dockerfile\nARG X\nFROM scratch\n".to_owned(),
    ] {
        assert_eq!(told(&files), "", "{files}");
    }
    // An upstream may have a HEALTHCHECK of its own.
    assert_eq!(codes(&one("{ test: [{ healthy: 1s }] }", "FROM nginx:1")), ["RB041"]);
}

#[test]
fn files_that_a_dockerfile_copies_must_be_in_the_context() {
    let told = told(
        "== hierarchy.yaml\nversion: 1\nimages:\n  a-{v}:\n    context: a\n    matrix: { v: [x, y] }\n    \
         build_args: { W: \"2\" }\n    test: [{ run: [x] }]\n== a/Dockerfile\nARG V=1\nFROM scratch\n\
         COPY [\"ok file\", \"nope two\", \"/d/\"]\nCOPY dir/*.txt /q/\nARG V\nARG W=3\nARG LATE\n\
         COPY f-$V g-${W} h-$LATE /\nCOPY Src/main.c /\n== a/ok file\n\n== a/f-1\n\n== a/src/main.c\n",
    );
    let found: Vec<&str> =
        told.lines().filter(|line| line.contains("RB054") || line.contains("mean")).collect();
    assert_eq!(
        found,
        [
            "warning[RB054]: `nope two` is not in the context of `a-x` and `a-y`",
            "warning[RB054]: `dir` is not in the context of `a-x` and `a-y`",
            "warning[RB054]: `g-2` is not in the context of `a-x` and `a-y`",
            "warning[RB054]: `Src/main.c` is not in the context of `a-x` and `a-y`",
            "  = hint: did you mean `src/main.c`?",
        ]
    );
}

#[test]
fn mounts_and_instructions_of_bases_need_files_too() {
    let told = told(
        "== hierarchy.yaml\nversion: 1\nimages: { a: { test: [{ run: [x] }] }, b: {}, c: {} }\n\
         == a/Dockerfile\nFROM scratch AS other\nONBUILD COPY other /\nFROM scratch\n\
         ONBUILD COPY ./x y/../z $V /\nONBUILD ADD https://x.org/r.git /\n\
         RUN --mount=type=bind,source=nope,target=/m --mount=source=\"there\",target=/n --mount=FROM=other,source=q,target=/o x\n\
         RUN --mount=type=secret,id=s,required=0 --mount=type=secret,id=t,required=true x\n== a/there\n\n\
         == b/Dockerfile\nFROM a\n== b/x\n\n== b/z\n\n== c/Dockerfile\nFROM a\n== c/z\n\n",
    );
    let found: Vec<&str> = told.lines().filter(|line| line.starts_with("warning")).collect();
    assert_eq!(
        found,
        [
            "warning[RB054]: `nope` is not in the context of `a`",
            "warning[RB055]: `a` has no secret `t`",
            "warning[RB054]: `./x` is not in the context of `c`, and `ONBUILD` of `a` copies it",
        ]
    );
}

#[test]
fn advice_names_the_place_and_what_to_do() {
    let files = "\
== hierarchy.yaml
version: 1
images:
  a:
    build_args: { RUBY_VERISON: 3 }
    prepare: [./make.sh]
    tags: [\"{date}\"]
    test:
      - healthy: 30s
  b:
    platform: linux/arm64
== a/Dockerfile
ARG RUBY_VERSION
FROM scratch
ADD http://x.org/y \\
  /z
ARG DB_PASSWORD=hunter2
COPY --from=debian / /
== a/make.sh
";
    insta::assert_snapshot!(told(&format!("{files}== b/Dockerfile\nFROM a\n")));
}

#[test]
fn hints_say_what_to_change() {
    let with = |entry: &str, files: &str| {
        format!("== hierarchy.yaml\nversion: 1\nimages:\n  a: {entry}\n{files}\n")
    };
    let beside = "there is a `x.Dockerfile` beside it: name it with `dockerfile:`; if `Dockerfile` was moved or \
                  deleted: `rebuild init --update`";
    for (files, expected) in [
        (
            with("{ dockerfile: Dockerfil }", "== a/Dockerfile\nFROM scratch"),
            "did you mean `Dockerfile`?",
        ),
        (with("{}", "== a/x.Dockerfile\nFROM scratch\n== a/Dockerfile.j2\nx"), beside),
        (
            with("{}", "== a/Dockerfile.j2\nx\n== a/Dockerfile.bak\nx"),
            "a Dockerfile is relative to its context: name it with `dockerfile:`; if it was moved or deleted: `rebuild init --update`",
        ),
        (
            one(TESTED, "FROM scratch\nCOPY --from=build /x /"),
            "there is no stage `build`, so it names an upstream; name a line of versions by its tag, such as `12` or `3.4`",
        ),
        (
            one(TESTED, "ARG V\nFROM x:$V"),
            "`V` has no value: give it one with `ARG` before the first `FROM`, or in `build_args`",
        ),
        (
            one("{ notify: [x] }", "FROM scratch"),
            "`notify` is a field of the file: write it at the top, beside `images`",
        ),
        (
            one(TESTED, "# rebuild ignore=RB041, RB040\n\nFROM debian:12"),
            "write the comment on line 3 or right above it",
        ),
    ] {
        let told = told(&files);
        assert!(
            told.lines().any(|line| line.trim_start() == format!("= hint: {expected}")),
            "{told}"
        );
    }
}

#[test]
fn unused_dockerfiles_are_reported_only_if_all_images_are_known() {
    let files = "== a/Dockerfile\nFROM scratch\n== b/Dockerfile\nFROM scratch\n";
    for (file, expected) in [
        ("version: 1\nimages: { a: {} }", 1),
        ("version: 1\nimage: { a: {} }", 0),
        ("images: { a: {} }", 0),
        ("version: 1\nimages: [a]", 0),
        ("version: 1\nimages: { a: {}, b: { tag: x } }", 0),
    ] {
        let found = codes(&format!("== hierarchy.yaml\n{file}\n{files}"));
        assert_eq!(found.iter().filter(|code| *code == "RB058").count(), expected, "{file}");
    }
}

#[test]
fn comments_take_problems_away() {
    let floating = |comment: &str| one(TESTED, &format!("{comment}\nFROM debian"));
    let unused = |before: &str, behind: &str| {
        one(
            &format!("\n    test: [{{ run: [x] }}]\n    build_args:\n{before}      X: y{behind}"),
            "FROM scratch",
        )
    };
    for (files, expected) in [
        (floating("# rebuild ignore=RB040"), vec![]),
        (floating("#rebuild ignore=rb040 we always want the newest"), vec![]),
        (floating("# rebuild ignore=RB040\n# another comment"), vec![]),
        (floating("# rebuild ignore=RB041,RB040"), vec!["RB060"]),
        (floating("# rebuild ignore=RB041, RB040 , RB042,"), vec!["RB060", "RB060"]),
        (floating("# rebuild ignore=RB041"), vec!["RB040", "RB060"]),
        (floating("# rebuild ignore=RB040\n"), vec!["RB040", "RB060"]),
        (floating("# do not rebuild ignore=RB040"), vec!["RB040"]),
        (floating("# rebuild ignore=RB999"), vec!["RB040", "RB060"]),
        (floating("# rebuild ignore=RB022,RB040"), vec!["RB060"]),
        (one(TESTED, "# rebuild ignore=RB022\nFRM x"), vec!["RB022"]),
        (unused("", "  # rebuild ignore=RB042"), vec![]),
        (unused("      # rebuild ignore=RB042\n", ""), vec![]),
        (unused("      W: z # rebuild ignore=RB042\n", ""), vec!["RB042"]),
    ] {
        assert_eq!(codes(&files), expected, "{files}");
    }
    let folder = folder(&floating("# rebuild ignore=RB040"));
    assert_eq!(check(folder.path()).ignored, 1);
    insta::assert_snapshot!(told(&floating("# rebuild ignore=RB999,RB022,RB042\n#")), @r"
    warning[RB040]: `debian` may be any version: it has no tag
     --> a/Dockerfile:3:6
      |
    3 | FROM debian
      |      ^^^^^^
      |
      = hint: name a line of versions by its tag, such as `12` or `3.4`

    warning[RB060]: there is no rule `RB999`
     --> a/Dockerfile:1:18
      |
    1 | # rebuild ignore=RB999,RB022,RB042
      |                  ^^^^^
      |
      = hint: `rebuild explain` lists all rules

    warning[RB060]: RB022 is an error, and errors cannot be ignored
     --> a/Dockerfile:1:24
      |
    1 | # rebuild ignore=RB999,RB022,RB042
      |                        ^^^^^
      |
      = hint: `rebuild explain RB022` says how to put it right

    warning[RB060]: there is no RB042 here to ignore
     --> a/Dockerfile:1:30
      |
    1 | # rebuild ignore=RB999,RB022,RB042
      |                              ^^^^^
      |
      = hint: take the comment out
    ");
}

/// Every command prints the warnings of the hierarchy, and respects the comments.
#[test]
fn comments_hold_for_every_command() {
    let files = |comment: &str| {
        let entries = "a: { tags: [x] }\n  b: {}";
        format!(
            "== hierarchy.yaml\nversion: 1\nimages:\n  {entries}\n== a/Dockerfile\nFROM scratch\n== b/Dockerfile\n{comment}\nFROM a:y\n"
        )
    };
    for (comment, expected) in [("# rebuild ignore=RB035", 0), ("#", 1)] {
        let folder = folder(&files(comment));
        let file = folder.path().join("hierarchy.yaml");
        let loaded = Hierarchy::load(&file, &LoadOptions::default()).unwrap();
        assert_eq!(loaded.warnings.len(), expected);
        assert!(loaded.warnings.iter().all(|one| one.severity == Severity::Warning));
    }
}
