//! GitHub Actions: a reusable workflow with one job a node, or a matrix for each level where limits demand it.

use std::collections::BTreeSet;

use super::{
    ExportOptions, LimitNote, Pipeline, PipelineJob, RETRIES, heading,
    limits::{GITHUB_FILE, GITHUB_HOSTED_MINUTES, GITHUB_MATRIX},
    minutes,
    yaml::{YamlMap, YamlValue},
};
use crate::hierarchy::NodeName;

const RUNNER: &str = "ubuntu-latest";
/// v4.2.2. Actions are pinned to a commit: a tag may move.
const CHECKOUT: &str = "actions/checkout@11bd71901bbe5b1630ceea73d27597364c9af683";
const CHECKOUT_VERSION: &str = "v4.2.2";
const STAGE: &str = "Build, test and store";
const LOGIN: &str = "[ -z \"$PASSWORD\" ] || docker login \"${REBUILD_REGISTRY%%/*}\" --username \"$USERNAME\" --password-stdin <<<\"$PASSWORD\"";

pub(super) fn written(
    pipeline: &Pipeline,
    options: &ExportOptions,
) -> Result<(String, Vec<LimitNote>), LimitNote> {
    let mut notes = Vec::new();
    let count = pipeline.jobs.len();
    let mut text = None;
    if let Some(limit) = options.max_parallel {
        notes.push(LimitNote::new(
            "GitHub limits the number of jobs at once in a matrix only",
            format!("the jobs of each level are a matrix of which {limit} run at once"),
        ));
    } else if count > GITHUB_MATRIX {
        notes.push(LimitNote::new(
            format!("{count} jobs are more than the {GITHUB_MATRIX} that GitHub takes in one matrix"),
            format!("the jobs of each level are matrices of at most {GITHUB_MATRIX}, and a level begins when the one before has ended"),
        ));
    } else {
        let graph = file(pipeline, options, one_job_a_node(pipeline, options));
        if graph.len() > GITHUB_FILE {
            notes.push(LimitNote::new(
                format!(
                    "a workflow file of {} KB is larger than GitHub's 500 KB",
                    graph.len() / 1000
                ),
                "the jobs of each level are a matrix",
            ));
        } else {
            text = Some(graph);
        }
    }
    let text = match text {
        Some(text) => text,
        None => file(pipeline, options, by_level(pipeline, options)),
    };
    if text.len() > GITHUB_FILE {
        return Err(LimitNote::new(
            format!("a workflow file of {} KB is larger than GitHub's 500 KB", text.len() / 1000),
            "export a part of the plan (`--from`, `--only`), or to another system",
        ));
    }
    let longest = pipeline.jobs.iter().map(PipelineJob::timeout_minutes).max().unwrap_or(0);
    if longest > GITHUB_HOSTED_MINUTES {
        notes.push(LimitNote::new(
            format!("timeouts allow {longest} minutes for a job, and GitHub ends jobs on its own runners after 360"),
            "the timeout stays, for runners of your own",
        ));
    }
    Ok((text, notes))
}

fn file(pipeline: &Pipeline, options: &ExportOptions, jobs: (YamlMap, Vec<String>)) -> String {
    let (mut jobs, needs) = jobs;
    if pipeline.is_empty() {
        let step = YamlMap::new().with("run", "echo 'nothing to do: every image is up to date'");
        let job = YamlMap::new()
            .with("runs-on", runner(None, options))
            .with("timeout-minutes", 5_u64)
            .with("steps", vec![step]);
        jobs.push("nothing-to-do", job);
    } else {
        if !needs.is_empty() {
            jobs.push_gap();
        }
        jobs.push_comment("Runs also if a job failed: moves the tags that `on_failure` allows, and reports the first failure.");
        jobs.push("promote", promote(pipeline, options, &needs));
    }
    let mut passed: BTreeSet<String> = pipeline.variables();
    // GitHub passes its own secret `GITHUB_TOKEN` to every workflow.
    passed.retain(|name| !name.to_ascii_uppercase().starts_with("GITHUB_"));
    passed.insert("REGISTRY_PASSWORD".to_owned());
    let secrets = passed
        .iter()
        .fold(YamlMap::new(), |map, name| map.flow(name, YamlMap::new().with("required", false)));
    let events = YamlMap::new()
        .comment("A commit of this file starts it.")
        .flow("push", YamlMap::new().with("paths", vec![&options.path]))
        .with("workflow_dispatch", YamlMap::new())
        .comment("Another workflow can call it: `uses: ./FILE` with `secrets: inherit`.")
        .with("workflow_call", YamlMap::new().with("secrets", secrets));
    let mut file = YamlMap::new();
    for line in heading(pipeline) {
        file.push_comment(&line);
    }
    let names: Vec<String> = pipeline.variables().into_iter().collect();
    if !names.is_empty() {
        file.push_comment(&format!(
            "Secrets of the repository that jobs need: {}.",
            names.join(", ")
        ));
    }
    let file = file
        .comment("Secret REGISTRY_PASSWORD and variable REGISTRY_USER: the login; without the secret, the runner's own.")
        .with("name", "images")
        .gap()
        .with("on", events)
        .gap()
        .flow("permissions", YamlMap::new().with("contents", "read"))
        .gap()
        .comment("Pipelines of one registry run one after the other.")
        .flow(
            "concurrency",
            YamlMap::new()
                .with("group", format!("rebuild {}", pipeline.registry))
                .with("cancel-in-progress", false),
        )
        .gap()
        .with("env", YamlMap::new().with("REBUILD_REGISTRY", &pipeline.registry))
        .gap()
        .with("jobs", jobs);
    file.written().replace(CHECKOUT, &format!("{CHECKOUT} # {CHECKOUT_VERSION}"))
}

/// Returns the jobs, and the names that the last job waits for.
fn one_job_a_node(pipeline: &Pipeline, options: &ExportOptions) -> (YamlMap, Vec<String>) {
    let mut jobs = YamlMap::new();
    for job in &pipeline.jobs {
        let needs: Vec<&str> = job.needs.iter().map(|need| &*pipeline.jobs[*need].id).collect();
        let mut map = YamlMap::new();
        if job.nodes.len() > 1 {
            map.push_comment(&format!(
                "A chain: {}.",
                job.nodes.iter().map(NodeName::as_str).collect::<Vec<_>>().join(" → ")
            ));
        }
        if !needs.is_empty() {
            map.push("needs", YamlValue::Flow(Box::new(needs.into())));
        }
        map.push("runs-on", runner(job.runner.as_ref(), options));
        map.push("timeout-minutes", job.timeout_minutes());
        if job.may_fail {
            map.push("continue-on-error", true);
        }
        map.push(
            "steps",
            steps(
                options,
                (STAGE, &stage(pipeline, options, &job.arguments())),
                &of_names(&job.secrets),
            ),
        );
        jobs.push(&job.id, map);
    }
    (jobs, pipeline.jobs.iter().map(|job| job.id.clone()).collect())
}

/// For each level and runner, matrices of at most 256 jobs.
fn by_level(pipeline: &Pipeline, options: &ExportOptions) -> (YamlMap, Vec<String>) {
    let (mut jobs, mut before, mut all) = (YamlMap::new(), Vec::new(), Vec::new());
    for level in 0..pipeline.levels() {
        let mut runners: Vec<Option<&String>> = Vec::new();
        for job in pipeline.of_level(level) {
            if !runners.contains(&job.runner.as_ref()) {
                runners.push(job.runner.as_ref());
            }
        }
        let mut names = Vec::new();
        let mut part = 0;
        for label in &runners {
            let members: Vec<&PipelineJob> =
                pipeline.of_level(level).filter(|job| job.runner.as_ref() == *label).collect();
            for members in members.chunks(GITHUB_MATRIX) {
                part += 1;
                let is_only =
                    runners.len() == 1 && pipeline.of_level(level).count() <= GITHUB_MATRIX;
                let name = if is_only {
                    format!("level-{}", level + 1)
                } else {
                    format!("level-{}-{part}", level + 1)
                };
                jobs.push(&name, matrix(pipeline, (options, *label), members, &before));
                names.push(name);
            }
        }
        all.extend(names.iter().cloned());
        before = names;
    }
    (jobs, all)
}

fn matrix(
    pipeline: &Pipeline,
    (options, label): (&ExportOptions, Option<&String>),
    members: &[&PipelineJob],
    before: &[String],
) -> YamlMap {
    let mut map = YamlMap::new().with("name", "${{ matrix.images }}");
    if !before.is_empty() {
        map.push("needs", YamlValue::Flow(Box::new(before.to_vec().into())));
        map.push_comment("A failure ends the jobs of its descendants, and no others.");
        map.push("if", "${{ !cancelled() }}");
    }
    let timeout = members.iter().map(|job| job.timeout).max().unwrap_or_default();
    let images: Vec<String> = members.iter().map(|job| job.arguments()).collect();
    let mut strategy = YamlMap::new().with("fail-fast", false);
    if let Some(limit) = options.max_parallel {
        strategy.push("max-parallel", limit.get() as u64);
    }
    let command = stage(pipeline, options, "$IMAGES");
    let variables = of_matrix(members);
    let images = strategy.with("matrix", YamlMap::new().with("images", images));
    map.with("runs-on", runner(label, options))
        .with("timeout-minutes", minutes(timeout))
        .with("strategy", images)
        .with("steps", steps(options, (STAGE, &command), &variables))
}

fn secret(name: &str) -> String {
    format!("${{{{ secrets.{name} }}}}")
}

fn of_names(names: &BTreeSet<String>) -> Vec<(String, String)> {
    names.iter().map(|name| (name.clone(), secret(name))).collect()
}

/// The variables of the jobs of a matrix: its images, and for each job the secrets that it needs.
fn of_matrix(members: &[&PipelineJob]) -> Vec<(String, String)> {
    let images = ("IMAGES".to_owned(), "${{ matrix.images }}".to_owned());
    let names: BTreeSet<&String> = members.iter().flat_map(|job| &job.secrets).collect();
    let secrets = names.into_iter().map(|name| {
        let needing: Vec<&&PipelineJob> =
            members.iter().filter(|job| job.secrets.contains(name)).collect();
        if needing.len() == members.len() {
            return (name.clone(), secret(name));
        }
        let images: Vec<String> = needing.iter().map(|job| job.arguments()).collect();
        let images = serde_json::to_string(&images).expect("texts are always JSON");
        let is_needed =
            format!("contains(fromJSON('{}'), matrix.images)", images.replace('\'', "''"));
        (name.clone(), format!("${{{{ {is_needed} && secrets.{name} || '' }}}}"))
    });
    std::iter::once(images).chain(secrets).collect()
}

fn promote(pipeline: &Pipeline, options: &ExportOptions, needs: &[String]) -> YamlMap {
    let mut map = YamlMap::new();
    if !needs.is_empty() {
        map.push("needs", YamlValue::Flow(Box::new(needs.to_vec().into())));
        map.push("if", "${{ always() }}");
    }
    let command = format!(
        "{} promote --plan {} --retries {RETRIES} --junit junit.xml",
        options.rebuild, pipeline.plan
    );
    let variables = of_names(&pipeline.notify);
    map.with("runs-on", runner(None, options))
        .with("timeout-minutes", minutes(pipeline.promote_timeout))
        .with("steps", steps(options, ("Move the tags", &command), &variables))
}

fn stage(pipeline: &Pipeline, options: &ExportOptions, images: &str) -> String {
    format!("{} stage {images} --plan {} --retries {RETRIES}", options.rebuild, pipeline.plan)
}

fn steps(
    options: &ExportOptions,
    (name, command): (&str, &str),
    variables: &[(String, String)],
) -> Vec<YamlMap> {
    let mut with = YamlMap::new().with("persist-credentials", false);
    if options.submodules {
        with = with.with("submodules", "recursive");
    }
    let checkout = YamlMap::new().with("uses", CHECKOUT).flow("with", with);
    let login = YamlMap::new()
        .with("name", "Log in to the registry")
        .with("run", YamlValue::Block(vec![LOGIN.to_owned()]))
        .with(
            "env",
            YamlMap::new()
                .with("USERNAME", "${{ vars.REGISTRY_USER || 'ci' }}")
                .with("PASSWORD", "${{ secrets.REGISTRY_PASSWORD }}"),
        );
    let mut steps = vec![checkout];
    if !options.setup.is_empty() {
        let setup = YamlMap::new().with("name", "Set up");
        steps.push(setup.with("run", YamlValue::Block(options.setup.clone())));
    }
    steps.push(login);
    let mut run = YamlMap::new().with("name", name).with("run", command);
    let variables: Vec<(&str, &str)> =
        variables.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    if let [(name, value)] = variables[..] {
        run.push("env", YamlValue::Flow(Box::new(YamlMap::new().with(name, value).into())));
    } else if !variables.is_empty() {
        let all =
            variables.iter().fold(YamlMap::new(), |map, (name, value)| map.with(name, *value));
        run.push("env", all);
    }
    steps.push(run);
    steps
}

fn runner(label: Option<&String>, options: &ExportOptions) -> String {
    let default = || options.runners.get(&None).cloned().unwrap_or_else(|| RUNNER.to_owned());
    label.cloned().unwrap_or_else(default)
}
