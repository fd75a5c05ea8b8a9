//! Argo Workflows: a Workflow with a DAG template. Its exit handler promotes.
//!
//! Fields: <https://argo-workflows.readthedocs.io/en/latest/fields/>.

use std::collections::BTreeSet;

use super::{
    ExportOptions, LimitNote, Pipeline, PipelineJob, RETRIES, heading,
    kubernetes::{engine, environment, mounts, node_selector, script, volumes},
    limits::KUBERNETES_OBJECT,
    variables,
    yaml::{YamlMap, YamlValue},
};

pub(super) fn written(
    pipeline: &Pipeline,
    options: &ExportOptions,
) -> Result<(String, Vec<LimitNote>), LimitNote> {
    let mut notes = Vec::new();
    let text = file(pipeline, options);
    if text.len() > KUBERNETES_OBJECT {
        return Err(LimitNote::new(
            format!(
                "a workflow of {} KB is larger than the 1 MB that Argo can store",
                text.len() / 1000
            ),
            "export with `--merge-chains`, or a part of the plan (`--from`, `--only`)",
        ));
    }
    if text.len() > KUBERNETES_OBJECT / 2 {
        notes.push(LimitNote::new(
            format!(
                "a workflow of {} KB and the state of its {} jobs share one object of 1 MB",
                text.len() / 1000,
                pipeline.jobs.len()
            ),
            "nothing was changed: turn on `nodeStatusOffLoad` in Argo",
        ));
    }
    Ok((text, notes))
}

fn file(pipeline: &Pipeline, options: &ExportOptions) -> String {
    let mut file = YamlMap::new();
    for line in heading(pipeline) {
        file.push_comment(&line);
    }
    let mut file = file
        .with("apiVersion", "argoproj.io/v1alpha1")
        .with("kind", "Workflow")
        .with("metadata", YamlMap::new().with("generateName", "rebuild-"));
    if pipeline.is_empty() {
        let container = YamlMap::new()
            .with("image", &options.image)
            .flow("command", vec!["echo", "nothing to do: every image is up to date"]);
        let template = YamlMap::new().with("name", "nothing-to-do").with("container", container);
        file.push(
            "spec",
            YamlMap::new().with("entrypoint", "nothing-to-do").with("templates", vec![template]),
        );
        return file.written();
    }
    let mut templates = Vec::new();
    if !pipeline.jobs.is_empty() {
        let stages = variables::templates(pipeline, "stage");
        templates.push(graph(pipeline, &stages));
        templates.extend(stages.iter().map(|of_stage| stage(pipeline, options, of_stage)));
    }
    templates.push(promote(pipeline, options));
    let mut spec = YamlMap::new();
    if pipeline.jobs.is_empty() {
        spec.push("entrypoint", "promote");
    } else {
        spec.push("entrypoint", "pipeline");
        spec.push_comment("Runs also if a job failed: moves the tags that `on_failure` allows, and reports the first failure.");
        spec.push("onExit", "promote");
    }
    if let Some(limit) = options.max_parallel {
        spec.push("parallelism", limit.get() as u64);
    }
    if let Some(selector) = node_selector(options.runners.get(&None)) {
        spec.push("nodeSelector", selector);
    }
    spec.push_comment("The login: `kubectl create secret docker-registry rebuild-registry`. Without it, pods push without a login.");
    if let Some(comment) = variables::comment(pipeline) {
        spec.push_comment(&comment);
    }
    let spec = spec.with("volumes", volumes()).with("templates", templates);
    file.push("spec", spec);
    file.written()
}

fn graph(pipeline: &Pipeline, stages: &[(&BTreeSet<String>, String)]) -> YamlMap {
    let task = |job: &PipelineJob| {
        let parameter = |name: &str, value: String| {
            YamlValue::Flow(Box::new(YamlMap::new().with("name", name).with("value", value).into()))
        };
        let mut parameters = vec![
            parameter("images", job.arguments()),
            parameter("seconds", job.timeout.as_secs().to_string()),
        ];
        if let Some(runner) = &job.runner {
            parameters.push(parameter("runner", runner.clone()));
        }
        let template = variables::template_of(stages, job);
        let mut task = YamlMap::new().with("name", &job.id).with("template", template);
        if !job.needs.is_empty() {
            let needs: Vec<&str> = job.needs.iter().map(|need| &*pipeline.jobs[*need].id).collect();
            task.push("dependencies", YamlValue::Flow(Box::new(needs.into())));
        }
        task.with("arguments", YamlMap::new().with("parameters", parameters))
    };
    let tasks: Vec<YamlMap> = pipeline.jobs.iter().map(task).collect();
    let dag = YamlMap::new()
        .comment("A failure ends the jobs of its descendants, and no others.")
        .with("failFast", false)
        .with("tasks", tasks);
    YamlMap::new().with("name", "pipeline").with("dag", dag)
}

fn stage(
    pipeline: &Pipeline,
    options: &ExportOptions,
    (secrets, name): &(&BTreeSet<String>, String),
) -> YamlMap {
    let inputs: Vec<YamlValue> = ["images", "seconds"]
        .iter()
        .map(|name| YamlValue::Flow(Box::new(YamlMap::new().with("name", *name).into())))
        .collect();
    let command = format!("{} stage $IMAGES --plan {}", options.rebuild, pipeline.plan);
    let more = [("IMAGES", "{{inputs.parameters.images}}".into()), ("REBUILD_JOB", JOB.into())];
    let template = YamlMap::new()
        .with("name", name)
        .with("inputs", YamlMap::new().with("parameters", inputs))
        .with("activeDeadlineSeconds", "{{inputs.parameters.seconds}}");
    with_container(template, pipeline, (options, &command), (&more, secrets))
}

fn promote(pipeline: &Pipeline, options: &ExportOptions) -> YamlMap {
    let command = format!("{} promote --plan {}", options.rebuild, pipeline.plan);
    let template = YamlMap::new()
        .with("name", "promote")
        .with("activeDeadlineSeconds", pipeline.promote_timeout.as_secs());
    let more = (&[("REBUILD_JOB", JOB.into())][..], &pipeline.notify);
    with_container(template, pipeline, (options, &command), more)
}

/// What a report calls a job: pods have no page of their own.
const JOB: &str = "workflow {{workflow.name}}, pod {{pod.name}}";

fn with_container(
    template: YamlMap,
    pipeline: &Pipeline,
    (options, command): (&ExportOptions, &str),
    more: (&[(&str, YamlValue)], &BTreeSet<String>),
) -> YamlMap {
    // Exit codes 20 and 21: the engine or the registry does not answer. `Error`: the pod was lost.
    let expression = "lastRetry.status == 'Error' || lastRetry.exitCode in ['20', '21']";
    let retry = YamlMap::new()
        .with("limit", RETRIES as u64)
        .with("retryPolicy", "Always")
        .with("expression", expression);
    let container = YamlMap::new()
        .with("image", &options.image)
        .with("workingDir", "/work")
        .flow("command", vec!["sh", "-ec"])
        .with("args", vec![YamlValue::Block(script(options, command))])
        .with("env", environment(pipeline, options, more))
        .with("volumeMounts", mounts());
    let template = template
        .comment("Only infrastructure: exit codes 20 and 21 mean that the engine or the registry does not answer.")
        .with("retryStrategy", retry)
        .with("container", container);
    match engine(options) {
        Some(engine) => template.with("sidecars", vec![engine]),
        None => template,
    }
}
