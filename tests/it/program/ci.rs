//! The jobs in `examples/ci`: every command in them is one that there is, and does what it says in a fresh
//! clone of a real repository.

use std::{collections::BTreeMap, fs, path::Path};

use rebuild::commands::cli::Cli;
use serde_json::Value;

use super::assert_edges_agree;
use crate::support::{
    git::try_git,
    project::{Place, Project},
    registry::Registry,
    running::Ended,
};

const ZEROS: &str = "0000000000000000000000000000000000000000";

fn example(name: &str) -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/ci").join(name);
    serde_saphyr::from_str(&fs::read_to_string(path).unwrap()).unwrap()
}

/// The GitLab component: its inputs, and its jobs.
fn component() -> (Value, Value) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("templates/rebuild.yml");
    let text = fs::read_to_string(path).unwrap();
    let (spec, jobs) = text.split_once("\n---\n").unwrap();
    let inputs: Value = serde_saphyr::from_str(spec).unwrap();
    (inputs["spec"]["inputs"].clone(), serde_saphyr::from_str(jobs).unwrap())
}

/// The scripts of a job, with the variables that it sets: those of a step after those of the job.
fn scripts(job: &Value) -> Vec<(String, BTreeMap<String, String>)> {
    let environment = |of: &Value| -> BTreeMap<String, String> {
        let variables = of["env"].as_object().into_iter().flatten();
        variables.map(|(name, it)| (name.clone(), it.as_str().unwrap().to_owned())).collect()
    };
    let steps = job["steps"].as_array().into_iter().flatten().filter_map(|step| {
        let mut variables = environment(job);
        variables.extend(environment(step));
        Some((step["run"].as_str()?.to_owned(), variables))
    });
    let lines = job["script"].as_array().into_iter().flatten();
    let lines = lines.map(|line| (line.as_str().unwrap().to_owned(), BTreeMap::new()));
    steps.chain(lines).collect()
}

fn is_ours(script: &str) -> bool {
    script.starts_with("rebuild")
}

/// Every line of every job that calls `rebuild`.
fn commands(file: &Value) -> Vec<String> {
    let jobs = file.get("jobs").unwrap_or(file).as_object().unwrap();
    let scripts = jobs.values().flat_map(scripts);
    let lines: Vec<String> =
        scripts.flat_map(|(it, _)| it.lines().map(str::to_owned).collect::<Vec<_>>()).collect();
    lines.into_iter().filter(|line| is_ours(line)).collect()
}

#[test]
fn every_command_in_the_examples_is_one_that_there_is() {
    let files = [
        (example("github.yaml"), 5),
        (example("github-request-prefix.yaml"), 2),
        (component().1, 4),
    ];
    for (file, expected) in files {
        let commands = commands(&file);
        assert_eq!(commands.len(), expected, "{commands:?}");
        for command in commands {
            let words = command.split_whitespace().map(|word| word.trim_matches('"').into());
            let parsed = Cli::read(words);
            assert!(parsed.is_ok(), "{command}: {}", parsed.unwrap_err());
        }
    }
}

/// What a tag or a branch shows may change after it was reviewed.
#[test]
fn the_examples_name_nothing_that_can_move() {
    for name in ["github.yaml", "github-request-prefix.yaml"] {
        let file = example(name);
        let jobs = file["jobs"].as_object().unwrap().values();
        for step in jobs.flat_map(|job| job["steps"].as_array().unwrap()) {
            if let Some(action) = step["uses"].as_str() {
                let (_, commit) = action.split_once('@').unwrap();
                assert!(commit.len() == 40, "{name}: {action}");
                if action.starts_with("actions/checkout") {
                    assert_eq!(step["with"]["persist-credentials"], false, "{name}");
                }
            }
            let script = step["run"].as_str().unwrap_or_default();
            assert!(!script.contains("--git"), "{name}: {script}");
        }
    }
    let (inputs, _) = component();
    assert!(inputs["engine"]["default"].as_str().unwrap().contains("@sha256:"), "{inputs}");
    assert_eq!(inputs["image"]["default"], Value::Null);
}

#[test]
fn the_example_for_gitlab_sets_every_input_that_has_no_default() {
    let include = &example("gitlab.yaml")["include"][0];
    let given: Vec<&String> = include["inputs"].as_object().unwrap().keys().collect();
    let (inputs, jobs) = component();
    let required = inputs.as_object().unwrap().iter().filter(|(_, it)| it["default"].is_null());
    assert_eq!(given, required.map(|(name, _)| name).collect::<Vec<_>>());
    let used = jobs.to_string();
    for name in inputs.as_object().unwrap().keys() {
        assert!(used.contains(&format!("$[[ inputs.{name} ]]")), "{name} is not used");
    }
}

#[test]
fn every_job_can_go_back_to_the_commit_that_it_names() {
    let github = example("github.yaml");
    for (name, job) in github["jobs"].as_object().unwrap() {
        let checkout = &job["steps"][0];
        assert_eq!(checkout["with"]["fetch-depth"], 0, "{name}");
    }
    assert_eq!(component().1[".rebuild"]["variables"]["GIT_DEPTH"], "0");
}

/// A hierarchy in a repository with a bare remote.
struct Repository {
    project: Project,
    registry: Registry,
}

impl Repository {
    fn new() -> Self {
        let project = Project::new();
        let registry = Registry::start();
        fs::rename(project.path("web"), project.path("webapp-base")).unwrap();
        project.edit(
            "hierarchy.yaml",
            "~web: { context: web }",
            "~webapp-base: { context: webapp-base }",
        );
        project.edit("app/Dockerfile", "FROM ~web", "FROM ~webapp-base");
        let repository = Self { project, registry };
        repository.git("init -q -b main .");
        repository.git("init -q --bare -b main ../remote.git");
        repository.git("remote add origin ../remote.git");
        repository.commit("everything");
        repository
    }

    fn place(&self) -> Place<'_> {
        Place::Registry(&self.registry)
    }

    /// In the work tree, as nobody in particular.
    fn git(&self, arguments: &str) -> String {
        self.project.git(arguments)
    }

    /// Commits what there is and pushes it; returns the commit before and the new one.
    fn commit(&self, message: &str) -> (String, String) {
        let before = try_git(&self.project.path(""), "rev-parse --verify -q HEAD");
        let before = before.unwrap_or(ZEROS.to_owned());
        self.git("add --all");
        self.git(&format!("commit -q -m {message}"));
        self.git("push -q origin HEAD");
        (before, self.git("rev-parse HEAD"))
    }

    /// Runs what a job runs, in a fresh clone of a branch, on a machine that knows nothing of others.
    fn job(&self, (clone, state): (&str, &str), job: &Value, variables: &[(&str, &str)]) -> Ended {
        let folder = self.project.path("../clone");
        _ = fs::remove_dir_all(&folder);
        let remote = format!("file://{}", self.project.path("../remote.git").display());
        self.git(&format!("clone -q {clone} {remote} ../clone"));
        let variables: BTreeMap<&str, &str> = variables.iter().copied().collect();
        let expand = |text: &str| {
            let expression = text.strip_prefix("${{ ").and_then(|text| text.strip_suffix(" }}"));
            expression.map_or(text, |name| variables[name]).to_owned()
        };
        let scripts: Vec<_> = scripts(job).into_iter().filter(|(it, _)| is_ours(it)).collect();
        let mut ended = None;
        for (script, environment) in scripts {
            let mut start = self.project.shell(&folder, &script).to(self.place());
            for (name, value) in &variables {
                start = start.env(name, value);
            }
            for (name, value) in environment {
                start = start.env(&name, expand(&value));
            }
            let run = start.env("XDG_STATE_HOME", self.project.path(state)).run();
            let is_over = !run.status.success();
            ended = Some(run);
            if is_over {
                break;
            }
        }
        ended.unwrap()
    }

    fn report(&self) -> Value {
        let text = fs::read_to_string(self.project.path("../clone/report.json")).unwrap();
        serde_json::from_str(&self.project.shown(&text)).unwrap()
    }

    fn edges_agree(&self) {
        let edges = [
            ("~webapp-base:latest", "~os:1"),
            ("~app:latest", "~webapp-base:latest"),
            ("~tool:latest", "~os:latest"),
        ];
        assert_edges_agree(&self.project, self.place(), &edges);
    }
}

fn outcomes(report: &Value) -> Vec<String> {
    let steps = report["steps"].as_array().unwrap();
    let text = |step: &Value, field: &str| step[field].as_str().unwrap().to_owned();
    steps.iter().map(|step| format!("{} {}", text(step, "node"), text(step, "outcome"))).collect()
}

#[test]
fn a_push_rebuilds_what_it_changed_and_below_publishes_and_writes_the_summary() {
    let repository = Repository::new();
    let project = &repository.project;
    let job = &example("github.yaml")["jobs"]["push"];
    let (summary, workspace) = (project.path("summary.md"), project.path("../clone"));
    let push = |before: &str, clone: &str, state: &str| {
        let variables = [
            ("github.event.before", before),
            ("GITHUB_ACTIONS", "true"),
            ("GITHUB_WORKSPACE", workspace.to_str().unwrap()),
            ("GITHUB_STEP_SUMMARY", summary.to_str().unwrap()),
        ];
        repository.job((clone, state), job, &variables)
    };
    // GitHub sends zeros for a new branch.
    push(ZEROS, "", "../one").exits(0);
    let first = project.tags(repository.place());
    assert_eq!(first.len(), 5, "{first:?}");
    repository.edges_agree();

    project.edit("webapp-base/page", "one", "two");
    let (before, _) = repository.commit("page");
    // A clone that is not deep enough does not build too little: it is refused.
    let shallow = push(&before, "--depth 1", "../two").exits(2);
    shallow.says(&["in this clone: it is shallow, 1 commit deep", "fetch-depth"]);
    assert_eq!(project.tags(repository.place()), first);

    _ = fs::remove_file(&summary);
    let ended = push(&before, "", "../two").exits(0);
    let built = ["~webapp-base built", "~app built"];
    assert_eq!(outcomes(&repository.report()), built, "{ended}");
    let second = project.tags(repository.place());
    for (tag, digest) in &second {
        let is_below = tag.contains("webapp-base") || tag.contains("app");
        assert_eq!(first.get(tag) != Some(digest), is_below, "{tag}: {ended}");
    }
    repository.edges_agree();
    let summary = project.shown(&fs::read_to_string(&summary).unwrap());
    for text in [
        "| ~webapp-base | built | <code>page</code> changed since ",
        "| ~app | built | ",
        "```mermaid\n",
    ] {
        assert!(summary.contains(text), "{text}: {summary}");
    }
    assert!(!summary.contains("| ~tool"), "{summary}");

    // Another push of nothing that matters.
    project.write("README.md", "words");
    let (before, _) = repository.commit("words");
    push(&before, "", "../three").exits(0);
    assert_eq!(outcomes(&repository.report()), [""; 0]);
    assert_eq!(project.tags(repository.place()), second);
}

#[test]
#[ignore = "slow: CONTRIBUTING.md"]
fn a_pull_request_publishes_nothing_and_after_the_merge_nothing_is_built() {
    let repository = Repository::new();
    let project = &repository.project;
    let jobs = &example("github.yaml")["jobs"];
    repository.job(("", "../one"), &jobs["push"], &[("github.event.before", ZEROS)]).exits(0);
    let first = project.tags(repository.place());
    let base = repository.git("rev-parse HEAD");

    repository.git("checkout -q -b request");
    project.edit("webapp-base/page", "one", "two");
    repository.commit("request");
    repository.git("push -q origin request");
    let request = [("github.event.pull_request.base.sha", base.as_str())];
    // Both of its steps: with the right to store, and without.
    let ended = repository.job(("-b request", "../two"), &jobs["request"], &request).exits(0);
    ended.says(&["nothing was promoted: `--no-push` was given", "done in "]);
    assert_eq!(project.tags(repository.place()), first);

    // One that breaks a child of what it changes fails, and says so of the child.
    project.edit("webapp-base/Dockerfile", "COPY page /page\n", "COPY page /paper\n");
    repository.commit("broken");
    let ended = repository.job(("-b request", "../three"), &jobs["request"], &request).exits(10);
    ended.says(&["~app: build failed after "]);
    assert_eq!(project.tags(repository.place()), first);
    repository.git("revert --no-edit HEAD");

    repository.git("checkout -q main");
    repository.git("merge -q --no-ff -m merged request");
    repository.git("push -q origin main");
    let merged = repository.job(("", "../four"), &jobs["push"], &[("github.event.before", &base)]);
    merged.exits(0);
    assert_eq!(outcomes(&repository.report()), ["~webapp-base reused", "~app reused"]);
    assert_ne!(project.tags(repository.place()), first);
    repository.edges_agree();
}

#[test]
#[ignore = "slow: CONTRIBUTING.md"]
fn the_jobs_for_gitlab_do_the_same() {
    let repository = Repository::new();
    let project = &repository.project;
    let (_, file) = component();
    let job = |name: &str, clone: &str, variables: &[(&str, &str)]| {
        let variables = [&[("GITLAB_CI", "true")], variables].concat();
        repository.job((clone, &format!("../{name}")), &file[name], &variables)
    };
    job("rebuild-push", "", &[("CI_COMMIT_BEFORE_SHA", ZEROS)]).exits(0);
    let first = project.tags(repository.place());

    repository.git("checkout -q -b request");
    let base = repository.git("rev-parse HEAD");
    project.edit("os/name", "~os", "~os, the second");
    repository.commit("request");
    repository.git("push -q origin request");
    let variables = [("CI_MERGE_REQUEST_DIFF_BASE_SHA", base.as_str())];
    job("rebuild-request", "-b request", &variables).exits(0);
    assert_eq!(outcomes(&repository.report()).len(), 4);
    assert_eq!(repository.report()["promotion"]["stored"], true);
    assert_eq!(project.tags(repository.place()), first);

    repository.git("checkout -q main");
    repository.git("merge -q --ff-only request");
    repository.git("push -q origin main");
    job("rebuild-push", "", &[("CI_COMMIT_BEFORE_SHA", &base)]).exits(0);
    assert!(outcomes(&repository.report()).iter().all(|it| it.ends_with(" reused")));
    repository.edges_agree();

    // At night: what a push has left behind, and then what is due.
    let before = project.tags(repository.place());
    project.edit("hierarchy.yaml", "~os: {", "~os: { schedule: \"* * * * *\",");
    project.edit("tool/Dockerfile", "echo tool", "echo other");
    repository.commit("schedule");
    job("rebuild-nightly", "", &[]).exits(0);
    assert_ne!(project.tags(repository.place())["~tool:latest"], before["~tool:latest"]);
    assert_eq!(repository.report()["asked"], "--refresh --due");
}
