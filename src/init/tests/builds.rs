//! What builds with conditions, arguments, files and other folders give.

use super::{entries, of, unsure};

const DEBIAN: &str = "FROM debian:12";

/// The entries and the lines below `unsure:` of a repository with `web/Dockerfile`, `api/Dockerfile` and this file.
fn of_file(path: &str, text: &str) -> (Vec<String>, Vec<String>) {
    let proposal = of(&[
        ("web/Dockerfile", DEBIAN),
        ("api/Dockerfile", DEBIAN),
        ("VERSION", "1.4.2\n"),
        ("api/VERSION", "7\n"),
        (path, text),
    ]);
    let entries = entries(&proposal).into_iter().map(str::to_owned).collect();
    (entries, unsure(&proposal))
}

#[test]
fn a_conditional_tag_is_reported_and_the_other_tags_stay() {
    const LEFT_OUT: &str =
        "the tag depends on a condition without a known result, and it is left out; check `tags`";
    let step = |tags: &str, context: &str| {
        format!(
            "      - uses: docker/build-push-action@v6\n        with:\n          context: {context}\n          push: true\n          tags: |\n{tags}"
        )
    };
    let line = |tag: &str| format!("            {tag}\n");
    let conditional =
        "${{ github.ref == 'refs/heads/main' && format('{0}:latest', env.WEB) || '' }}";
    let workflow = format!(
        "env: {{ WEB: r.io/acme/web }}\njobs:\n  a:\n    steps:\n{}{}",
        step(&(line("r.io/acme/web:1") + &line(conditional)), "web"),
        step(&line("r.io/acme/api:2"), "api"),
    );
    let (entries, unsure) = of_file(".github/workflows/w.yml", &workflow);
    assert_eq!(entries, ["api: { tags: [\"2\"] }", "web: { tags: [\"1\"] }"]);
    assert_eq!(unsure, [format!("`web: {conditional}`: {LEFT_OUT}")]);

    // Values of a matrix decide.
    let decided = "${{ matrix.latest && format('r.io/acme/{0}:latest', matrix.d) || '' }}";
    let workflow = format!(
        "jobs:\n  a:\n    strategy: {{ matrix: {{ include: [{{ d: web, latest: true }}, {{ d: api, latest: false }}] }} }}\n    steps:\n{}",
        step(&(line("r.io/acme/${{ matrix.d }}:1") + &line(decided)), "${{ matrix.d }}"),
    );
    let (entries, unsure) = of_file(".github/workflows/w.yml", &workflow);
    assert_eq!(entries, ["api: { tags: [\"1\"] }", "web: { tags: [\"1\", latest] }"]);
    assert_eq!(unsure, Vec::<String>::new());
}

#[test]
fn inputs_of_a_called_workflow_may_have_conditional_lines() {
    let proposal = of(&[
        ("web/Dockerfile", DEBIAN),
        (
            ".github/workflows/call.yml",
            "jobs:\n  a:\n    uses: ./.github/workflows/build.yml\n    with:\n      dir: web\n      tags: |\n        r.io/acme/web:1\n        ${{ github.event_name == 'push' && 'r.io/acme/web:edge' || '' }}\n",
        ),
        (
            ".github/workflows/build.yml",
            "on: { workflow_call: { inputs: { dir: {}, tags: { default: 'r.io/acme/none:0' } } } }\njobs: { b: { steps: [{ uses: docker/build-push-action@v6, with: { push: true, context: '${{ inputs.dir }}', tags: '${{ inputs.tags }}' } }] } }",
        ),
    ]);
    assert_eq!(entries(&proposal), ["web: {}"], "{}", proposal.text);
    assert!(proposal.text.contains("tags: [\"1\"]"), "{}", proposal.text);
    let unsure = unsure(&proposal);
    assert!(unsure.len() == 1 && unsure[0].contains("'r.io/acme/web:edge'"), "{unsure:?}");
}

#[test]
fn arms_of_a_case_have_the_value_of_their_pattern() {
    for (text, expected) in [
        (
            "case \"$1\" in\n  web) docker build -t r.io/acme/web:1 web ;;\n  api) docker build -t r.io/acme/api:2 api ;;\n  *) exit 1 ;;\nesac",
            ["api: { tags: [\"2\"] }", "web: { tags: [\"1\"] }"],
        ),
        (
            "case $1 in\n  web|api)\n    docker build -t r.io/acme/$1:1 $1\n    ;;\nesac",
            ["api: {}", "web: {}"],
        ),
        // Behind the `case`, the values of one arm belong together.
        (
            "case \"$1\" in\n  web) T=1; D=web ;;\n  api) T=2; D=api ;;\nesac\ndocker build -t r.io/acme/$D:$T $D",
            ["api: { tags: [\"2\"] }", "web: { tags: [\"1\"] }"],
        ),
        (
            "for i in web api; do\n  T=1\n  case $i in\n    a*) T=2 ;;\n  esac\n  docker build -t r.io/acme/$i:$T $i\ndone",
            ["api: { tags: [\"2\"] }", "web: { tags: [\"1\"] }"],
        ),
        // Of a known value, one arm runs.
        (
            "build() {\n  case $1 in\n    web) T=1 ;;\n    *) T=2 ;;\n  esac\n  docker build -t r.io/acme/$1:$T $1\n}\nbuild web\nbuild api",
            ["api: { tags: [\"2\"] }", "web: { tags: [\"1\"] }"],
        ),
        // Options have their defaults.
        (
            "T=3\nwhile [ $# -gt 0 ]; do\n  case $1 in\n    --tag) T=$2; shift 2 ;;\n    --dev) T=dev; shift ;;\n  esac\ndone\nfor i in web api; do docker build -t r.io/acme/$i:$T $i; done",
            ["api: {}", "web: {}"],
        ),
        (
            "T=3\nwhile getopts 't:' o; do\n  case $o in\n    t) T=$OPTARG ;;\n  esac\ndone\nfor i in web api; do docker build -t r.io/acme/$i:$T $i; done",
            ["api: {}", "web: {}"],
        ),
    ] {
        let (entries, unsure) = of_file("build.sh", text);
        assert_eq!(entries, expected, "{text}");
        assert_eq!(unsure, Vec::<String>::new(), "{text}");
    }
}

#[test]
fn a_script_is_read_for_each_call_with_arguments() {
    const SCRIPT: &str = "T=3\nwhile [ $# -gt 0 ]; do\n  case $1 in\n    --tag) T=$2; shift ;;\n    -i|--image) I=$2; shift ;;\n    --dev) T=dev ;;\n  esac\n  shift\ndone\ndocker build -t r.io/acme/$I:$T $I";
    let ci = "jobs: { a: { strategy: { matrix: { i: [web, api] } }, steps: [{ run: './ci/build.sh --image ${{ matrix.i }} --tag 5' }] } }";
    let env = "jobs: { a: { strategy: { matrix: { I: [web, api] } }, env: { T: '5', I: '${{ matrix.I }}' }, steps: [{ run: bash ci/build.sh }, { run: X=1 ci/build.sh }] } }";
    for (path, text, script, expected) in [
        (
            "Makefile",
            "a:\n\tci/build.sh -i web --tag 5\n\tci/build.sh -i api --dev\n",
            SCRIPT,
            ["dev", "\"5\""],
        ),
        (
            "all.sh",
            "for i in web api; do ci/build.sh --tag 4 -i $i; done",
            SCRIPT,
            ["\"4\"", "\"4\""],
        ),
        (".github/workflows/w.yml", ci, SCRIPT, ["\"5\"", "\"5\""]),
        (
            "all.sh",
            "ci/build.sh web 1; sh ci/build.sh api 2",
            "docker build -t r.io/acme/$1:$2 $1",
            ["\"2\"", "\"1\""],
        ),
        (
            "all.sh",
            "I=web ci/build.sh; I=api T=6 ci/build.sh",
            "T=${T:-7}\ndocker build -t r.io/acme/$I:$T $I",
            ["\"6\"", "\"7\""],
        ),
        // Its own default is not that of its calls.
        (
            "Makefile",
            "a:\n\tci/build.sh web 5\n\tci/build.sh api 6\n",
            "ROOT=\"$(cd \"$(dirname \"$0\")/..\" && pwd)\"\ncase $1 in\n  web|api) D=$1 ;;\nesac\ndocker build -t r.io/acme/$D:${2:-latest} \"$ROOT/$D\"",
            ["\"6\"", "\"5\""],
        ),
        // What the script sets itself counts.
        (
            ".github/workflows/w.yml",
            env,
            "T=8\ndocker build -t r.io/acme/$I:$T $I",
            ["\"8\"", "\"8\""],
        ),
    ] {
        let proposal = of(&[
            ("web/Dockerfile", DEBIAN),
            ("api/Dockerfile", DEBIAN),
            ("ci/build.sh", script),
            (path, text),
        ]);
        let expected = match expected {
            [one, other] if one == other => {
                assert!(proposal.text.contains(&format!("tags: [{one}]")), "{}", proposal.text);
                ["api: {}".to_owned(), "web: {}".to_owned()]
            }
            [api, web] => {
                [format!("api: {{ tags: [{api}] }}"), format!("web: {{ tags: [{web}] }}")]
            }
        };
        assert_eq!(entries(&proposal), expected, "{text}");
        assert_eq!(super::unsure(&proposal), Vec::<String>::new(), "{text}");
    }
}

#[test]
fn a_tag_that_only_some_arms_give_is_not_known() {
    for text in [
        "case $1 in\n  prod) T=stable ;;\n  dev) T=edge ;;\nesac\ndocker build -t r.io/acme/web:$T web",
        "case $(uname -m) in\n  x86_64) T=amd64 ;;\n  *) T=arm64 ;;\nesac\ndocker build -t r.io/acme/web:$T web",
        "case $1 in\n  stable|edge) docker build -t r.io/acme/web:$1 web ;;\nesac",
    ] {
        let script = format!("docker build -t r.io/acme/api:2 api\n{text}");
        let (entries, unsure) = of_file("build.sh", &script);
        assert_eq!(entries, ["api: { tags: [\"2\"] }", "web: {}"], "{text}");
        let line = "the value of the tag is not known, and `latest` is written; check `tags`";
        assert!(unsure.len() == 1 && unsure[0].ends_with(line), "{unsure:?}");
    }
}

#[test]
fn an_option_without_a_default_is_not_known() {
    let script = "while [ $# -gt 0 ]; do\n  case $1 in\n    --tag) T=$2; shift 2 ;;\n    --dev) T=dev; shift ;;\n  esac\ndone\nfor i in web api; do docker build -t r.io/acme/$i:$T $i; done";
    let (entries, unsure) = of_file("build.sh", script);
    assert_eq!(entries, ["api: {}", "web: {}"]);
    let text = "the value of the tag is not known, and `latest` is written; check `tags`";
    assert_eq!(unsure, [format!("`api (build.sh:7)` and `web (build.sh:7)`: {text}")]);
}

#[test]
fn a_tag_from_a_file_is_a_copy_of_it() {
    const COPY: &str = "the entry has a copy of the file's content; change it with the file, or write `${VERSION}` and set that variable in each run";
    for (path, text, expected) in [
        (
            "build.sh",
            "V=$(cat VERSION)\ndocker build -t r.io/acme/web:$V web\ndocker build -t r.io/acme/api:`cat api/VERSION` api",
            [("api", "7", "api/VERSION"), ("web", "1.4.2", "VERSION")],
        ),
        (
            "ci/build.sh",
            "cd \"$(dirname \"$0\")/..\"\nfor i in web api; do docker build -t r.io/acme/$i:$(<VERSION) $i; done",
            [("api", "1.4.2", "VERSION"), ("web", "1.4.2", "VERSION")],
        ),
        (
            "Makefile",
            "V := $(shell cat VERSION)\nweb:\n\tdocker build -t r.io/acme/web:$(V) web\napi:\n\tdocker build -t r.io/acme/api:v$(shell cat api/VERSION | tr -d '\\n') api\n",
            [("api", "v7", "api/VERSION"), ("web", "1.4.2", "VERSION")],
        ),
        (
            ".github/workflows/w.yml",
            "jobs: { a: { strategy: { matrix: { include: [{ d: web, f: VERSION }, { d: api, f: api/VERSION }] } }, steps: [{ id: v, run: 'echo \"v=$(cat ${{ matrix.f }})\" >> $GITHUB_OUTPUT' }, { uses: docker/build-push-action@v6, with: { context: '${{ matrix.d }}', push: true, tags: 'r.io/acme/${{ matrix.d }}:${{ steps.v.outputs.v }}' } }] } }",
            [("api", "7", "api/VERSION"), ("web", "1.4.2", "VERSION")],
        ),
    ] {
        let proposal = of(&[
            ("web/Dockerfile", DEBIAN),
            ("api/Dockerfile", DEBIAN),
            ("VERSION", "1.4.2\n"),
            ("api/VERSION", "7\n"),
            (path, text),
        ]);
        let hierarchy = &proposal.loaded.as_ref().unwrap().hierarchy;
        let mut found: Vec<String> = hierarchy
            .in_build_order()
            .map(|node| format!("{}:{}", node.name, node.tags[0]))
            .collect();
        found.sort();
        assert_eq!(found, expected.map(|(name, tag, _)| format!("{name}:{tag}")), "{text}");
        let files = expected.map(|(name, _, file)| format!("`{name}: {file}`"));
        assert_eq!(unsure(&proposal), [format!("{}: {COPY}", files.join(" and "))], "{text}");
    }
}

#[test]
fn words_of_a_path_are_no_tag_of_a_build_with_an_unknown_tag() {
    let files = [
        ("base-1.2/Dockerfile", DEBIAN),
        ("core-3.4/Dockerfile", DEBIAN),
        ("tool-5.6/Dockerfile", DEBIAN),
    ];
    let script = "docker build -t r.io/acme/base:1.2 base-1.2\ndocker build -t r.io/acme/core:3.4 core-3.4\n";
    for (command, doubt) in [
        ("docker build -t r.io/acme/tool:$V tool-5.6", "`latest` is written"),
        ("docker build -t $IMAGE tool-5.6", "the name of an image of the build is not known"),
    ] {
        let script = format!("{script}{command}");
        let proposal = of(&[&files[..], &[("build.sh", &script)]].concat());
        assert!(!proposal.text.contains("\"5.6\""), "{}", proposal.text);
        let unsure = unsure(&proposal);
        assert!(unsure.len() == 1 && unsure[0].contains(doubt), "{unsure:?}");
    }
}

#[test]
fn a_context_with_the_files_of_other_images_is_reported_once() {
    let script = "docker build -t r.io/acme/web:1 -f web/Dockerfile .\ndocker build -t r.io/acme/api:1 -f api/Dockerfile .";
    let (entries, unsure) = of_file("build.sh", script);
    let context = |name: &str| format!("{name}: {{ context: ., dockerfile: {name}/Dockerfile }}");
    assert_eq!(entries, ["api", "web"].map(context));
    let line = "`api` and `web`: the build context has files of other images, so each commit that changes a file there rebuilds it; leave files out with a `.dockerignore`, or choose a smaller `context`, see RB070";
    assert_eq!(unsure, [line]);
    let proposal = of(&[
        ("web/Dockerfile", DEBIAN),
        ("api/Dockerfile", DEBIAN),
        (".dockerignore", "*\n!web/src\n!api/src\n"),
        ("build.sh", script),
    ]);
    assert_eq!(super::unsure(&proposal), Vec::<String>::new());
}

#[test]
fn the_repository_of_a_workflow_is_that_of_origin() {
    let remote = (".git/config", "[remote \"origin\"]\n\turl = git@github.com:Acme/Shop.git\n");
    for (path, text) in [
        (
            ".github/workflows/w.yml",
            "jobs: { a: { steps: [{ run: 'docker build -t ghcr.io/${GITHUB_REPOSITORY,,}:2 web' }, { uses: docker/build-push-action@v6, with: { context: api, push: true, tags: 'ghcr.io/${{ github.repository_owner }}/api:2' } }] } }",
        ),
        (
            ".circleci/config.yml",
            "jobs: { a: { steps: [{ run: 'docker build -t ghcr.io/$CIRCLE_PROJECT_USERNAME/$CIRCLE_PROJECT_REPONAME:2 web' }, { run: 'docker build -t ghcr.io/$CIRCLE_PROJECT_USERNAME/api:2 api' }] } }",
        ),
    ] {
        let files = [("web/Dockerfile", DEBIAN), ("api/Dockerfile", DEBIAN), remote, (path, text)];
        let proposal = of(&files);
        assert_eq!(entries(&proposal), ["api: {}", "shop: { context: web }"], "{}", proposal.text);
        assert!(proposal.text.contains("registry: ghcr.io/acme"), "{}", proposal.text);
        assert_eq!(unsure(&proposal), Vec::<String>::new());
    }
}

#[test]
fn jobs_of_gitlab_know_their_name() {
    let text = ".image: { script: ['docker build -t $CI_REGISTRY_IMAGE/$CI_JOB_NAME:$CI_JOB_STAGE $CI_JOB_NAME'] }\n";
    let proposal = of(&[
        ("web/Dockerfile", DEBIAN),
        ("api/Dockerfile", DEBIAN),
        (
            ".gitlab-ci.yml",
            "include: 'ci/*.yml'\nweb: { extends: .image, stage: s1 }\napi: { extends: .image }\n",
        ),
        ("ci/image.yml", text),
        (".git/config", "[remote \"origin\"]\n\turl = https://gitlab.com/acme/images.git\n"),
    ]);
    assert_eq!(entries(&proposal), ["api: { tags: [test] }", "web: { tags: [s1] }"]);
    assert_eq!(unsure(&proposal), Vec::<String>::new());
}
