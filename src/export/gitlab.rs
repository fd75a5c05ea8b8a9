//! GitLab CI: a child pipeline with one job a node.

use super::{
    ExportOptions, LimitNote, Pipeline, PipelineJob, RETRIES, heading,
    limits::{GITLAB_FILE, GITLAB_FREE_JOBS, GITLAB_NEEDS},
    minutes,
    yaml::{YamlMap, YamlValue},
};

const LOGIN: &str = "[ -z \"$REGISTRY_PASSWORD\" ] || echo \"$REGISTRY_PASSWORD\" | docker login \"${REBUILD_REGISTRY%%/*}\" --username \"${REGISTRY_USER:-ci}\" --password-stdin";
/// What is not the fault of an image: <https://docs.gitlab.com/ci/yaml/#retrywhen>.
const INFRASTRUCTURE: [&str; 4] =
    ["api_failure", "runner_system_failure", "scheduler_failure", "stuck_or_timeout_failure"];

pub(super) fn written(
    pipeline: &Pipeline,
    options: &ExportOptions,
) -> Result<(String, Vec<LimitNote>), LimitNote> {
    let mut notes = Vec::new();
    if pipeline.jobs.len() >= GITLAB_FREE_JOBS {
        notes.push(LimitNote::new(
            format!("{} jobs are more than the {GITLAB_FREE_JOBS} that the Free tier of gitlab.com takes in active pipelines", pipeline.jobs.len() + 1),
            "nothing was changed: other tiers and your own GitLab take more",
        ));
    }
    let most = pipeline.jobs.iter().map(|job| job.needs.len()).max().unwrap_or(0);
    if most > GITLAB_NEEDS {
        notes.push(LimitNote::new(
            format!("a job waits for {most} jobs, and `needs` takes {GITLAB_NEEDS}"),
            "it waits in its script for the others",
        ));
    }
    let text = file(pipeline, options);
    if text.len() > GITLAB_FILE {
        return Err(LimitNote::new(
            format!("a file of {} KB is larger than GitLab's 2 MB", text.len() / 1000),
            "export with `--merge-chains`, a part of the plan (`--from`, `--only`), or raise `max_yaml_size_bytes`",
        ));
    }
    Ok((text, notes))
}

fn file(pipeline: &Pipeline, options: &ExportOptions) -> String {
    let mut file = YamlMap::new();
    for line in heading(pipeline) {
        file.push_comment(&line);
    }
    if pipeline.is_empty() {
        let job =
            YamlMap::new().with("script", vec!["echo 'nothing to do: every image is up to date'"]);
        return file.with("nothing-to-do", job).written();
    }
    let names: Vec<String> = pipeline.variables().into_iter().collect();
    if !names.is_empty() {
        let names = names.join(", ");
        file.push_comment(&format!(
            "Jobs need these variables of the project, masked: {names}. GitLab passes all of them to each job."
        ));
    }
    let mut before: Vec<String> = options.setup.clone();
    before.push(LOGIN.to_owned());
    let variables = YamlMap::new()
        .with("REBUILD_REGISTRY", &pipeline.registry)
        .with_some("DOCKER_HOST", options.docker_host.as_ref())
        .with_some("GIT_SUBMODULE_STRATEGY", options.submodules.then_some("recursive"));
    let template = YamlMap::new()
        .with("stage", "build")
        .with("image", &options.image)
        .with_some("tags", options.runners.get(&None).map(|label| vec![label]))
        .with("before_script", before)
        .comment("Exit codes 20 and 21: the engine or the registry does not answer.")
        .with(
            "retry",
            YamlMap::new()
                .with("max", RETRIES as u64)
                .flow("when", INFRASTRUCTURE.to_vec())
                .flow("exit_codes", vec![20_u64, 21]),
        )
        .flow("artifacts", artifacts());
    let mut file = file
        .comment("Variables REGISTRY_PASSWORD (masked) and REGISTRY_USER: the login.")
        .flow("stages", vec!["build", "promote"])
        .gap()
        .with("variables", variables)
        .gap()
        .with(".rebuild", template)
        .gap();
    for (index, job) in pipeline.jobs.iter().enumerate() {
        file.push(&job.id, one_job(pipeline, options, (index, job)));
    }
    let command = format!("{} promote --plan {} --junit junit.xml", options.rebuild, pipeline.plan);
    // Without `needs`, it runs after all jobs of the stage before, however many there are.
    let promote = YamlMap::new()
        .with("extends", ".rebuild")
        .with("stage", "promote")
        .with("when", "always")
        .with("resource_group", "rebuild-promote")
        .with("timeout", format!("{} minutes", minutes(pipeline.promote_timeout)))
        .with("script", vec![command]);
    if !pipeline.jobs.is_empty() {
        file.push_gap();
    }
    file.push_comment("Runs also if a job failed: moves the tags that `on_failure` allows, and reports the first failure.");
    file.push("promote", promote);
    file.written()
}

fn one_job(
    pipeline: &Pipeline,
    options: &ExportOptions,
    (index, job): (usize, &PipelineJob),
) -> YamlMap {
    let needs = job.needs.iter().take(GITLAB_NEEDS);
    let needs: Vec<&str> = needs.map(|need| &*pipeline.jobs[*need].id).collect();
    let wait = if job.needs.len() > GITLAB_NEEDS { " --wait 6h" } else { "" };
    let command = format!(
        "{} stage {} --plan {}{wait} --junit junit.xml",
        options.rebuild,
        job.arguments(),
        pipeline.plan
    );
    let mut map = YamlMap::new().with("extends", ".rebuild");
    // An empty list begins at once; without one, the job would wait for a stage.
    map.push("needs", YamlValue::Flow(Box::new(needs.into())));
    if let Some(label) =
        job.runner.as_ref().filter(|label| options.runners.get(&None) != Some(label))
    {
        map.push("tags", YamlValue::Flow(Box::new(vec![label].into())));
    }
    if let Some(limit) = options.max_parallel {
        // One job of a resource group runs at a time.
        map.push("resource_group", format!("rebuild-{}", index % limit.get() + 1));
    }
    if job.may_fail {
        map.push("allow_failure", true);
    }
    map.with("timeout", format!("{} minutes", job.timeout_minutes())).with("script", vec![command])
}

fn artifacts() -> YamlMap {
    YamlMap::new().with("when", "always").with("reports", YamlMap::new().with("junit", "junit.xml"))
}
