//! Tekton: a Task that stages images, and a `PipelineRun` whose `finally` promotes.
//!
//! Fields: <https://tekton.dev/docs/pipelines/pipeline-api/>.

use std::collections::BTreeSet;

use super::{
    ExportOptions, LimitNote, Pipeline, PipelineJob, RETRIES, heading,
    kubernetes::{engine, environment, mounts, script, volumes},
    limits::KUBERNETES_OBJECT,
    variables,
    yaml::{YamlMap, YamlValue},
};

pub(super) fn written(
    pipeline: &Pipeline,
    options: &ExportOptions,
) -> Result<(String, Vec<LimitNote>), LimitNote> {
    let mut notes = Vec::new();
    if options.max_parallel.is_some() {
        notes.push(LimitNote::new(
            "Tekton has no limit for the tasks of a run that run at once",
            "`--max-parallel` has no effect: a ResourceQuota of the namespace limits its pods",
        ));
    }
    if pipeline.jobs.iter().any(|job| job.runner != options.runners.get(&None).cloned()) {
        notes.push(LimitNote::new(
            "tasks of one PipelineRun with different node selectors are set in `taskRunSpecs`",
            "that is done here",
        ));
    }
    let text = file(pipeline, options);
    if text.len() > KUBERNETES_OBJECT {
        return Err(LimitNote::new(
            format!(
                "a PipelineRun of {} KB is larger than the 1 MB that Kubernetes can store",
                text.len() / 1000
            ),
            "export with `--merge-chains`, or a part of the plan (`--from`, `--only`)",
        ));
    }
    Ok((text, notes))
}

fn file(pipeline: &Pipeline, options: &ExportOptions) -> String {
    let mut head = YamlMap::new();
    for line in heading(pipeline) {
        head.push_comment(&line);
    }
    if pipeline.is_empty() {
        let step = YamlMap::new()
            .with("name", "nothing-to-do")
            .with("image", &options.image)
            .flow("command", vec!["echo", "nothing to do: every image is up to date"]);
        let task = YamlMap::new()
            .with("name", "nothing-to-do")
            .with("taskSpec", YamlMap::new().with("steps", vec![step]));
        let spec = YamlMap::new().with("pipelineSpec", YamlMap::new().with("tasks", vec![task]));
        return document(head, "PipelineRun", ("generateName", "rebuild-"), spec);
    }
    if let Some(comment) = variables::comment(pipeline) {
        head.push_comment(&comment);
    }
    let stages = variables::templates(pipeline, &format!("rebuild-{}", pipeline.plan));
    let of_stages = stages.iter().map(|(secrets, name)| {
        let head = std::mem::take(&mut head);
        document(head, "Task", ("name", name), stage(pipeline, options, secrets))
    });
    let staging: Vec<String> = of_stages.collect();
    let run = YamlMap::new();
    let of_job = |job| task(pipeline, variables::template_of(&stages, job), job);
    let mut tasks: Vec<YamlMap> = pipeline.jobs.iter().map(of_job).collect();
    let promote = promote(pipeline, options);
    let mut spec = YamlMap::new();
    if tasks.is_empty() {
        // A pipeline needs a task that is not the last.
        tasks.push(promote);
        spec.push("tasks", tasks);
    } else {
        spec.push("tasks", tasks);
        spec.push_comment("Runs also if a task failed: moves the tags that `on_failure` allows, and reports the first failure.");
        spec.push("finally", vec![promote]);
    }
    let all = pipeline.jobs.iter().map(|job| job.timeout).sum::<std::time::Duration>();
    let all = all + pipeline.promote_timeout;
    let timeouts = YamlMap::new().with("pipeline", format!("{}m0s", super::minutes(all)));
    let mut run_spec = YamlMap::new().with("timeouts", timeouts).with("pipelineSpec", spec);
    let selected: Vec<YamlMap> = pipeline.jobs.iter().filter_map(selected).collect();
    if !selected.is_empty() {
        run_spec.push("taskRunSpecs", selected);
    }
    let run = document(run, "PipelineRun", ("generateName", "rebuild-"), run_spec);
    staging.into_iter().chain([run]).collect::<Vec<_>>().join("---\n")
}

fn document(head: YamlMap, kind: &str, (key, name): (&str, &str), spec: YamlMap) -> String {
    head.with("apiVersion", "tekton.dev/v1")
        .with("kind", kind)
        .with("metadata", YamlMap::new().with(key, name))
        .with("spec", spec)
        .written()
}

fn task(pipeline: &Pipeline, name: &str, job: &PipelineJob) -> YamlMap {
    let mut task = YamlMap::new().with("name", &job.id);
    task.push("taskRef", YamlValue::Flow(Box::new(YamlMap::new().with("name", name).into())));
    if !job.needs.is_empty() {
        let needs: Vec<&str> = job.needs.iter().map(|need| &*pipeline.jobs[*need].id).collect();
        task.push("runAfter", YamlValue::Flow(Box::new(needs.into())));
    }
    if job.may_fail {
        task.push("onError", "continue");
    }
    let parameter = YamlMap::new().with("name", "images").with("value", job.arguments());
    task.with("timeout", format!("{}m0s", job.timeout_minutes()))
        .with("params", vec![YamlValue::Flow(Box::new(parameter.into()))])
}

fn selected(job: &PipelineJob) -> Option<YamlMap> {
    let selector = super::kubernetes::node_selector(job.runner.as_ref())?;
    let template = YamlMap::new().with("nodeSelector", selector);
    Some(YamlMap::new().with("pipelineTaskName", &job.id).with("podTemplate", template))
}

fn stage(pipeline: &Pipeline, options: &ExportOptions, secrets: &BTreeSet<String>) -> YamlMap {
    let parameter = YamlMap::new().with("name", "images").with("type", "string");
    let command =
        format!("{} stage $IMAGES --plan {} --retries {RETRIES}", options.rebuild, pipeline.plan);
    let more = [
        ("IMAGES", "$(params.images)".into()),
        ("REBUILD_JOB", "task run $(context.taskRun.name)".into()),
    ];
    let spec = YamlMap::new().with("params", vec![YamlValue::Flow(Box::new(parameter.into()))]);
    with_step(spec, pipeline, (options, &command), (&more, secrets))
}

fn promote(pipeline: &Pipeline, options: &ExportOptions) -> YamlMap {
    let command =
        format!("{} promote --plan {} --retries {RETRIES}", options.rebuild, pipeline.plan);
    let more = [("REBUILD_JOB", "task run $(context.taskRun.name)".into())];
    let more = (&more[..], &pipeline.notify);
    let spec = with_step(YamlMap::new(), pipeline, (options, &command), more);
    YamlMap::new()
        .with("name", "promote")
        .with("timeout", format!("{}m0s", super::minutes(pipeline.promote_timeout)))
        .with("taskSpec", spec)
}

fn with_step(
    spec: YamlMap,
    pipeline: &Pipeline,
    (options, command): (&ExportOptions, &str),
    more: (&[(&str, YamlValue)], &BTreeSet<String>),
) -> YamlMap {
    let mut lines = vec!["#!/bin/sh".to_owned(), "set -e".to_owned()];
    lines.extend(script(options, command));
    let step = YamlMap::new()
        .with("name", "rebuild")
        .with("image", &options.image)
        .with("workingDir", "/work")
        .with("env", environment(pipeline, options, more))
        .with("volumeMounts", mounts())
        .with("script", YamlValue::Block(lines));
    let spec = spec.with("volumes", volumes()).with("steps", vec![step]);
    match engine(options) {
        Some(engine) => spec.with("sidecars", vec![engine]),
        None => spec,
    }
}
