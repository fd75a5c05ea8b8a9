//! The files of every system, read back as YAML, and what limits do to them.

use std::{collections::BTreeSet, fmt::Write as _};

use serde_json::Value;

use super::*;
use crate::{
    hierarchy::{TagValues, test_hierarchy},
    image::Digest,
    plan::{Selection, order::BuildSizes},
    testing::scenario::{Scenario, scenario},
};

const ALL: [CiSystem; 5] =
    [CiSystem::GitHub, CiSystem::GitLab, CiSystem::Argo, CiSystem::Tekton, CiSystem::Jobs];

fn options() -> ExportOptions {
    ExportOptions {
        rebuild: "rebuild".to_owned(),
        setup: Vec::new(),
        runners: BTreeMap::new(),
        merge_chains: false,
        max_parallel: None,
        image: "rebuild:1".to_owned(),
        docker_host: None,
        repository: Some("https://git.example.com/images.git".to_owned()),
        submodules: false,
        path: ".github/workflows/rebuild.yaml".to_owned(),
    }
}

async fn file(stack: &Scenario) -> PlanFile {
    let values = TagValues { date: "20261130".to_owned(), git: None };
    let facts = PlanFile::facts(
        "01m8zzzzzzzzzzzzzzzzzzzzzz".to_owned(),
        ("r.example.com/base".parse().unwrap(), "linux/amd64".parse().unwrap()),
        Digest::of(b"file"),
        values,
    );
    PlanFile::new(&stack.hierarchy(), &stack.plan(&Selection::OutOfDate).await, facts)
}

/// A pipeline of jobs without a plan: a line for each, `web < os`.
fn pipeline(lines: &str, options: &ExportOptions) -> Pipeline {
    let hierarchy = test_hierarchy(lines);
    let nodes: Vec<&Node> = hierarchy.in_build_order().collect();
    let groups = if options.merge_chains {
        chains(&hierarchy, &nodes, options)
    } else {
        nodes.iter().map(|node| vec![*node]).collect()
    };
    let mut history = History::default();
    for (n, node) in nodes.iter().enumerate() {
        let took = Duration::from_secs(10 * (n as u64 + 1));
        history.record(&node.name, took, BuildSizes::default());
    }
    Pipeline {
        plan: "01m8zzzzzzzzzzzzzzzzzzzzzz".to_owned(),
        registry: "r.example.com/base".to_owned(),
        commit: Some("0123".to_owned()),
        about: vec!["commit 0123".to_owned()],
        jobs: jobs(&hierarchy, &groups, (&history, options)),
        promoted: 0,
        promote_timeout: Duration::from_secs(1800),
        notify: BTreeSet::new(),
    }
}

const HIERARCHY: &str =
    "os\nweb < os\nawk < web\nshop < awk tool\ntool < os\nworker < os\nreport < worker";

fn documents(text: &str) -> Vec<Value> {
    text.split("\n---\n").map(|one| serde_saphyr::from_str(one).unwrap()).collect()
}

/// Each job with what it waits for, as the file of a system says it.
fn edges(system: CiSystem, text: &str) -> BTreeMap<String, BTreeSet<String>> {
    let texts = |list: &Value| {
        let list = list.as_array().into_iter().flatten();
        list.map(|it| it.as_str().unwrap().to_owned()).collect::<BTreeSet<String>>()
    };
    let documents = documents(text);
    let last = documents.last().unwrap();
    let named = |list: &Value, needs: &str| {
        let jobs = list.as_array().unwrap().iter();
        jobs.map(|job| (job["name"].as_str().unwrap().to_owned(), texts(&job[needs]))).collect()
    };
    match system {
        CiSystem::GitHub => {
            let jobs = last["jobs"].as_object().unwrap().iter();
            jobs.map(|(name, job)| (name.clone(), texts(&job["needs"]))).collect()
        }
        CiSystem::GitLab => {
            let jobs = last.as_object().unwrap().iter().filter(|(_, job)| job["stage"].is_null());
            let jobs = jobs.filter(|(_, job)| job["extends"].is_string());
            jobs.map(|(name, job)| (name.clone(), texts(&job["needs"]))).collect()
        }
        CiSystem::Argo => named(&last["spec"]["templates"][0]["dag"]["tasks"], "dependencies"),
        CiSystem::Tekton => named(&last["spec"]["pipelineSpec"]["tasks"], "runAfter"),
        CiSystem::Jobs => BTreeMap::new(),
    }
}

#[test]
fn each_job_waits_for_the_jobs_of_its_parents() {
    let pipeline = pipeline(HIERARCHY, &options());
    for system in ALL {
        let (text, notes) = pipeline.written(system, &options()).unwrap();
        assert_eq!(notes, [], "{system:?}");
        let mut found = edges(system, &text);
        if system == CiSystem::GitHub {
            let promote = found.remove("promote").unwrap();
            assert_eq!(promote.len(), 7, "{text}");
        }
        if system != CiSystem::Jobs {
            let of = |job: &str| found[job].iter().map(String::as_str).collect::<Vec<_>>();
            assert_eq!(found.len(), 7, "{text}");
            assert_eq!(
                (of("os"), of("web"), of("shop")),
                (vec![], vec!["os"], vec!["awk", "tool"])
            );
        }
        for name in ["os", "web", "awk", "shop", "tool", "worker", "report"] {
            assert!(text.contains(name), "{system:?}: {name}");
        }
        assert!(text.contains("promote --plan 01m8zzzzzzzzzzzzzzzzzzzzzz"), "{text}");
    }
}

#[test]
fn a_chain_is_one_job() {
    let options = ExportOptions { merge_chains: true, ..options() };
    let pipeline = pipeline(HIERARCHY, &options);
    let jobs: Vec<String> = pipeline.jobs.iter().map(PipelineJob::arguments).collect();
    assert_eq!(jobs, ["os", "web awk", "tool", "shop", "worker report"]);
    let shop = &pipeline.jobs[3];
    let needs: Vec<&str> = shop.needs.iter().map(|need| &*pipeline.jobs[*need].id).collect();
    assert_eq!((needs, shop.level), (vec!["web", "tool"], 2));
    assert_eq!(pipeline.jobs[1].expected, Some(Duration::from_secs(20 + 30)));
    assert_eq!(pipeline.images(), 7);
}

#[tokio::test(start_paused = true)]
async fn only_what_is_out_of_date_has_a_job() {
    let stack = scenario("os\nweb < os\napp < web\ntool < os");
    let make = async |stack: &Scenario| {
        let file = file(stack).await;
        Pipeline::new(&file, (&stack.hierarchy(), &History::default()), &options())
    };
    assert_eq!(make(&stack).await.jobs.len(), 4);
    stack.run(&Selection::OutOfDate).await;
    let nothing = make(&stack).await;
    assert!(nothing.is_empty());
    for system in ALL {
        let (text, _) = nothing.written(system, &options()).unwrap();
        assert!(text.contains("nothing to do: every image is up to date"), "{text}");
        assert!(!text.contains("promote --plan"), "{text}");
        documents(&text);
    }
    stack.write("web/x", "new");
    let two = make(&stack).await;
    let jobs: Vec<&str> = two.jobs.iter().map(|job| &*job.id).collect();
    assert_eq!(jobs, ["web", "app"]);
    assert_eq!(two.jobs[0].needs, [0_usize; 0]);
}

fn many(count: usize) -> String {
    let mut lines = String::from("os\n");
    for n in 1..count {
        _ = writeln!(lines, "image-{n:05} < os");
    }
    lines
}

#[test]
fn a_large_workflow_is_a_matrix_for_each_level() {
    let pipeline = pipeline(&many(600), &options());
    let (text, notes) = pipeline.written(CiSystem::GitHub, &options()).unwrap();
    let notes: Vec<String> = notes.iter().map(ToString::to_string).collect();
    assert_eq!(notes.len(), 1);
    assert!(notes[0].contains("600 jobs are more than the 256"), "{notes:?}");
    let file = &documents(&text)[0];
    let jobs = file["jobs"].as_object().unwrap();
    let names: Vec<&String> = jobs.keys().collect();
    assert_eq!(names, ["level-1", "level-2-1", "level-2-2", "level-2-3", "promote"]);
    let images = |name: &str| jobs[name]["strategy"]["matrix"]["images"].as_array().unwrap().len();
    assert_eq!([images("level-1"), images("level-2-1"), images("level-2-3")], [1, 256, 87]);
    assert_eq!(jobs["level-2-1"]["needs"], serde_json::json!(["level-1"]));
    assert_eq!(jobs["promote"]["needs"].as_array().unwrap().len(), 4);
    assert_eq!(jobs["level-2-1"]["strategy"]["fail-fast"], false);
}

#[test]
fn a_limit_of_jobs_at_once_is_honored_where_it_can_be() {
    let options = ExportOptions { max_parallel: NonZeroUsize::new(3), ..options() };
    let pipeline = pipeline(HIERARCHY, &options);
    for (system, expected) in [
        (CiSystem::GitHub, "max-parallel: 3"),
        (CiSystem::GitLab, "resource_group: rebuild-3"),
        (CiSystem::Argo, "parallelism: 3"),
    ] {
        let (text, _) = pipeline.written(system, &options).unwrap();
        assert!(text.contains(expected), "{system:?}: {text}");
    }
    for system in [CiSystem::Tekton, CiSystem::Jobs] {
        let (_, notes) = pipeline.written(system, &options).unwrap();
        assert!(notes[0].to_string().contains("`--max-parallel` has no effect"), "{notes:?}");
    }
}

/// The largest pipelines that fit, in steps of 500 images; docs/scale.md names these numbers.
#[test]
fn the_largest_file_of_each_system() {
    const UNIT: usize = 500;
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/scale.md");
    let page = std::fs::read_to_string(path).unwrap();
    for (system, name) in [
        (CiSystem::GitHub, "GitHub"),
        (CiSystem::GitLab, "GitLab"),
        (CiSystem::Argo, "Argo"),
        (CiSystem::Tekton, "Tekton"),
    ] {
        let row = page.lines().find_map(|line| line.strip_prefix(&format!("| {name} | "))).unwrap();
        let documented: usize = row.split(' ').next().unwrap().replace(',', "").parse().unwrap();
        let fits =
            |images: usize| pipeline(&many(images), &options()).written(system, &options()).is_ok();
        let (here, more) = (fits(documented), fits(documented + UNIT));
        assert!(here && !more, "{name}: {documented} fits: {here}, {UNIT} more fit: {more}");
    }
}

#[test]
fn runners_follow_the_platform() {
    let label = |text: &str| text.to_owned();
    let runners = BTreeMap::from([
        (None, label("big")),
        (Some("linux/arm64".parse().unwrap()), label("arm")),
    ]);
    let options = ExportOptions { runners, ..options() };
    let mut pipeline = pipeline("os\nweb < os", &options);
    assert!(pipeline.jobs.iter().all(|job| job.runner.as_deref() == Some("big")));
    pipeline.jobs[1].runner = Some(label("arm"));
    let (text, _) = pipeline.written(CiSystem::GitHub, &options).unwrap();
    let file = &documents(&text)[0];
    assert_eq!(file["jobs"]["web"]["runs-on"], "arm");
    assert_eq!(file["jobs"]["promote"]["runs-on"], "big");
}

#[test]
fn jobs_fetch_submodules_if_there_are_some() {
    for submodules in [true, false] {
        let options = ExportOptions { submodules, ..options() };
        let pipeline = pipeline(HIERARCHY, &options);
        for system in ALL {
            let (text, _) = pipeline.written(system, &options).unwrap();
            assert_eq!(text.to_lowercase().contains("submodule"), submodules, "{system:?}: {text}");
        }
    }
}

/// The place of a variable in each container of a file: the job, and what the variable is set to.
fn set_in(system: CiSystem, text: &str, name: &str) -> Vec<String> {
    fn find(value: &Value, (path, name): (&str, &str), found: &mut Vec<String>) {
        match value {
            Value::Object(map) => {
                if map.get("name").and_then(Value::as_str) == Some(name) {
                    found.push(format!("{path}: {}", map["valueFrom"]["secretKeyRef"]));
                }
                for (key, value) in map {
                    if let (true, Some(text)) = (key == name, value.as_str()) {
                        found.push(format!("{path}: {text}"));
                    }
                    let path = if ["steps", "env"].contains(&&**key) { path } else { key };
                    find(value, (path, name), found);
                }
            }
            Value::Array(all) => all.iter().for_each(|one| find(one, (path, name), found)),
            _ => {}
        }
    }
    let mut found = Vec::new();
    for document in documents(text) {
        // Of GitHub, what is passed to a workflow is declared as well.
        let part = if system == CiSystem::GitHub { &document["jobs"] } else { &document };
        find(part, ("file", name), &mut found);
    }
    found
}

#[test]
fn secrets_of_the_environment_reach_the_jobs_that_need_them() {
    let mut pipeline = pipeline(HIERARCHY, &options());
    let set = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
    for job in &mut pipeline.jobs {
        job.secrets = match &*job.id {
            "web" => set(&["NPM_TOKEN"]),
            "tool" => set(&["GITHUB_TOKEN", "NPM_TOKEN"]),
            _ => BTreeSet::new(),
        };
    }
    pipeline.notify = set(&["SLACK_URL"]);
    let all = |system: CiSystem, options: &ExportOptions| {
        let (text, _) = pipeline.written(system, options).unwrap();
        let of = |name: &str| set_in(system, &text, name).join(", ");
        let comments = text.lines().filter(|line| line.trim_start().starts_with("# "));
        let comment = comments.filter(|line| line.contains("NPM_TOKEN")).count();
        (of("NPM_TOKEN"), of("SLACK_URL"), comment, text)
    };
    let (npm, slack, comment, text) = all(CiSystem::GitHub, &options());
    assert_eq!(npm, "tool: ${{ secrets.NPM_TOKEN }}, web: ${{ secrets.NPM_TOKEN }}", "{text}");
    assert_eq!((&*slack, comment), ("promote: ${{ secrets.SLACK_URL }}", 1), "{text}");
    let declared = &documents(&text)[0]["on"]["workflow_call"]["secrets"];
    let declared: Vec<&String> = declared.as_object().unwrap().keys().collect();
    assert_eq!(declared, ["NPM_TOKEN", "REGISTRY_PASSWORD", "SLACK_URL"], "{text}");

    let of_levels = ExportOptions { max_parallel: NonZeroUsize::new(2), ..options() };
    let (npm, _, _, text) = all(CiSystem::GitHub, &of_levels);
    let expected = "level-2: ${{ contains(fromJSON('[\"web\",\"tool\"]'), matrix.images) && \
                    secrets.NPM_TOKEN || '' }}";
    assert_eq!(npm, expected, "{text}");

    let (npm, _, comment, text) = all(CiSystem::GitLab, &options());
    assert_eq!((&*npm, comment), ("", 1), "{text}");

    let key =
        |name: &str| format!(r#"{{"key":"{name}","name":"rebuild-secrets","optional":true}}"#);
    for system in [CiSystem::Argo, CiSystem::Tekton, CiSystem::Jobs] {
        let (npm, slack, comment, text) = all(system, &options());
        // Two templates, or two jobs.
        assert_eq!(npm.matches(&key("NPM_TOKEN")).count(), 2, "{system:?}: {npm}\n{text}");
        assert_eq!(slack.matches(&key("SLACK_URL")).count(), 1, "{system:?}: {slack}\n{text}");
        assert_eq!(comment, 1, "{text}");
    }
}

/// Names come from a file that a stranger may have written, addresses from the environment.
#[test]
fn no_text_from_outside_is_an_expression_or_a_key() {
    let hostile = "x\"}}: ${{ secrets.A }}\n- b #'`$(touch /tmp/x)";
    let options = ExportOptions {
        repository: Some(hostile.to_owned()),
        image: hostile.to_owned(),
        ..options()
    };
    let mut pipeline = pipeline(HIERARCHY, &options);
    pipeline.about = vec![hostile.to_owned()];
    for system in ALL {
        let (text, _) = pipeline.written(system, &options).unwrap();
        for document in documents(&text) {
            let text = document.to_string();
            assert!(!text.contains("- b #'\"") || text.contains("touch"), "{text}");
        }
        for line in text.lines().filter(|line| line.contains("touch")) {
            let is_comment = line.starts_with("# ");
            let is_quoted = line.trim_end().ends_with('"');
            assert!(is_comment || is_quoted, "{system:?}: {line}");
        }
        // No script contains it.
        assert!(!text.lines().any(|line| line.contains("touch") && line.contains("rebuild stage")));
    }
}

#[test]
fn a_preview_names_levels_cost_and_the_critical_path() {
    let pipeline = pipeline(HIERARCHY, &options());
    insta::assert_snapshot!(preview(&pipeline, NonZeroUsize::new(2)), @r##"
    7 jobs for 7 images in 4 levels, then promote

    os             10 s
    ├─ web         20 s
    │  └─ awk      30 s
    │     └─ shop  50 s  also after tool
    ├─ tool        40 s
    └─ worker      60 s
       └─ report   70 s
    promote

    level  jobs  longest  together
    1      1     10 s     10 s
    2      3     60 s     2 min
    3      2     70 s     2 min
    4      1     50 s     50 s

    cost: 8 jobs, 5 min of builds and tests
    critical path: 2 min, os → worker → report
    on 2 runners: 3 min
    "##);
}

#[test]
fn the_workflow_of_an_example() {
    let options = ExportOptions { setup: vec!["./install-rebuild".to_owned()], ..options() };
    let pipeline = pipeline("os\nweb < os", &options);
    let (text, _) = pipeline.written(CiSystem::GitHub, &options).unwrap();
    insta::assert_snapshot!(text, @r##"
    # Plan 01m8zzzzzzzzzzzzzzzzzzzzzz of rebuild: commit 0123
    # Each job builds, tests and stores its images. The last job moves all tags, or none.
    # Export it again for another commit: jobs refuse a checkout that differs.
    # Secret REGISTRY_PASSWORD and variable REGISTRY_USER: the login; without the secret, the runner's own.
    name: images

    on:
      # A commit of this file starts it.
      push: { paths: [.github/workflows/rebuild.yaml] }
      workflow_dispatch: {}
      # Another workflow can call it: `uses: ./FILE` with `secrets: inherit`.
      workflow_call:
        secrets:
          REGISTRY_PASSWORD: { required: false }

    permissions: { contents: read }

    # Pipelines of one registry run one after the other.
    concurrency: { group: rebuild r.example.com/base, cancel-in-progress: false }

    env:
      REBUILD_REGISTRY: r.example.com/base

    jobs:
      os:
        runs-on: ubuntu-latest
        timeout-minutes: 70
        steps:
          - uses: actions/checkout@11bd71901bbe5b1630ceea73d27597364c9af683 # v4.2.2
            with: { persist-credentials: false }
          - name: Set up
            run: |
              ./install-rebuild
          - name: Log in to the registry
            run: |
              [ -z "$PASSWORD" ] || docker login "${REBUILD_REGISTRY%%/*}" --username "$USERNAME" --password-stdin <<<"$PASSWORD"
            env:
              USERNAME: "${{ vars.REGISTRY_USER || 'ci' }}"
              PASSWORD: "${{ secrets.REGISTRY_PASSWORD }}"
          - name: "Build, test and store"
            run: rebuild stage os --plan 01m8zzzzzzzzzzzzzzzzzzzzzz --retries 2
      web:
        needs: [os]
        runs-on: ubuntu-latest
        timeout-minutes: 70
        steps:
          - uses: actions/checkout@11bd71901bbe5b1630ceea73d27597364c9af683 # v4.2.2
            with: { persist-credentials: false }
          - name: Set up
            run: |
              ./install-rebuild
          - name: Log in to the registry
            run: |
              [ -z "$PASSWORD" ] || docker login "${REBUILD_REGISTRY%%/*}" --username "$USERNAME" --password-stdin <<<"$PASSWORD"
            env:
              USERNAME: "${{ vars.REGISTRY_USER || 'ci' }}"
              PASSWORD: "${{ secrets.REGISTRY_PASSWORD }}"
          - name: "Build, test and store"
            run: rebuild stage web --plan 01m8zzzzzzzzzzzzzzzzzzzzzz --retries 2

      # Runs also if a job failed: moves the tags that `on_failure` allows, and reports the first failure.
      promote:
        needs: [os, web]
        if: "${{ always() }}"
        runs-on: ubuntu-latest
        timeout-minutes: 30
        steps:
          - uses: actions/checkout@11bd71901bbe5b1630ceea73d27597364c9af683 # v4.2.2
            with: { persist-credentials: false }
          - name: Set up
            run: |
              ./install-rebuild
          - name: Log in to the registry
            run: |
              [ -z "$PASSWORD" ] || docker login "${REBUILD_REGISTRY%%/*}" --username "$USERNAME" --password-stdin <<<"$PASSWORD"
            env:
              USERNAME: "${{ vars.REGISTRY_USER || 'ci' }}"
              PASSWORD: "${{ secrets.REGISTRY_PASSWORD }}"
          - name: Move the tags
            run: rebuild promote --plan 01m8zzzzzzzzzzzzzzzzzzzzzz --retries 2 --junit junit.xml
    "##);
}

/// 10,000 images on 500 runners, 1 % of the attempts lost. docs/scale.md has the numbers.
#[test]
fn ten_thousand_images_on_five_hundred_runners() {
    let mut random = fastrand::Rng::with_seed(21);
    let mut jobs: Vec<SimulatedJob> = Vec::new();
    for index in 0..10_000_usize {
        // Ten bases, then each image on one of those before it: a hierarchy of about twelve levels.
        let needs =
            if index < 10 { vec![] } else { vec![random.usize(0..index.div_ceil(4).max(10))] };
        // Between 20 s and about 8 minutes, most of them short.
        let part = random.f64();
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "below ten minutes"
        )]
        let millis = (20_000.0 + 460_000.0 * part.powi(3)) as u64;
        jobs.push(SimulatedJob { needs, millis });
    }
    let total: u64 = jobs.iter().map(|job| job.millis).sum();
    let row = |by_level: bool, failures: f64| {
        let setup = SimulationSetup {
            runners: NonZeroUsize::new(500).unwrap(),
            start_millis: 20_000,
            by_level,
            retries: RETRIES,
        };
        let mut random = fastrand::Rng::with_seed(7);
        let result = simulate(&jobs, setup, |_, _| {
            if random.f64() < failures {
                SimulatedEnd::Lost(random.f64())
            } else {
                SimulatedEnd::Success
            }
        });
        assert_eq!((result.failed, result.skipped), (0, 0));
        (result.makespan / 60_000, result.busy / 60_000, result.wasted / 60_000, result.attempts)
    };
    let numbers = format!(
        "{} {:?} {:?} {:?}",
        total / 60_000,
        row(false, 0.0),
        row(false, 0.01),
        row(true, 0.01)
    );
    assert_eq!(
        numbers,
        "22706 (62, 26039, 3333, 10000) (63, 26199, 3493, 10105) (90, 26197, 3491, 10105)"
    );
}
