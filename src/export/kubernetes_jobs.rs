//! Plain Kubernetes Jobs: each waits in an init container until the images of its parents are stored.
//!
//! Fields: <https://kubernetes.io/docs/reference/kubernetes-api/workload-resources/job-v1/>.

use std::{collections::BTreeSet, time::Duration};

use super::{
    ExportOptions, LimitNote, Pipeline, PipelineJob, RETRIES, heading,
    kubernetes::{clone, engine, environment, mounts, node_selector, volumes},
    limits::KUBERNETES_OBJECT,
    variables,
    yaml::{YamlMap, YamlValue},
};

/// How long a job waits for the images of other jobs.
const WAIT: &str = "24h";
const WAIT_TIME: Duration = Duration::from_secs(24 * 60 * 60);

pub(super) fn written(
    pipeline: &Pipeline,
    options: &ExportOptions,
) -> Result<(String, Vec<LimitNote>), LimitNote> {
    let mut notes = Vec::new();
    if options.max_parallel.is_some() {
        notes.push(LimitNote::new(
            "Kubernetes has no limit for Jobs that run at once",
            "`--max-parallel` has no effect: a ResourceQuota of the namespace limits its pods",
        ));
    }
    let mut documents = Vec::new();
    if pipeline.is_empty() {
        let container = YamlMap::new()
            .with("name", "rebuild")
            .with("image", &options.image)
            .flow("command", vec!["echo", "nothing to do: every image is up to date"]);
        let pod = YamlMap::new().with("restartPolicy", "Never").with("containers", vec![container]);
        documents.push(document(heading(pipeline), ("nothing-to-do", pipeline), (WAIT_TIME, pod)));
        return Ok((documents.concat(), notes));
    }
    let mut head = heading(pipeline);
    head.extend(variables::comment(pipeline));
    head.push("The login: `kubectl create secret docker-registry rebuild-registry`. Without it, pods push without a login.".to_owned());
    for job in &pipeline.jobs {
        documents.push(one_job(std::mem::take(&mut head), pipeline, (options, job)));
    }
    documents.push(promote(head, pipeline, options));
    let longest = documents.iter().map(String::len).max().unwrap_or(0);
    if longest > KUBERNETES_OBJECT {
        return Err(LimitNote::new(
            format!(
                "a Job of {} KB is larger than the 1 MB that Kubernetes can store",
                longest / 1000
            ),
            "export without `--merge-chains`",
        ));
    }
    Ok((documents.join("---\n"), notes))
}

fn one_job(
    head: Vec<String>,
    pipeline: &Pipeline,
    (options, job): (&ExportOptions, &PipelineJob),
) -> String {
    let images = job.arguments();
    let stage = format!("{} stage {images} --plan {}", options.rebuild, pipeline.plan);
    let wait = (!job.needs.is_empty()).then(|| format!("{stage} --wait {WAIT} --only-wait"));
    let mut pod = pod(pipeline, (options, &job.secrets), (wait.as_deref(), &stage));
    if let Some(selector) = node_selector(job.runner.as_ref()) {
        pod.push("nodeSelector", selector);
    }
    document(head, (&job.id, pipeline), (job.timeout + WAIT_TIME, pod))
}

fn promote(head: Vec<String>, pipeline: &Pipeline, options: &ExportOptions) -> String {
    let wait =
        if pipeline.jobs.is_empty() { String::new() } else { format!(" --wait-for-images {WAIT}") };
    let command = format!("{} promote --plan {}{wait}", options.rebuild, pipeline.plan);
    let pod = pod(pipeline, (options, &pipeline.notify), (None, &command));
    document(head, ("promote", pipeline), (pipeline.promote_timeout + WAIT_TIME, pod))
}

fn pod(
    pipeline: &Pipeline,
    (options, secrets): (&ExportOptions, &BTreeSet<String>),
    (wait, command): (Option<&str>, &str),
) -> YamlMap {
    let name = YamlMap::new().with("fieldRef", YamlMap::new().with("fieldPath", "metadata.name"));
    let container = |name: &str, mut lines: Vec<String>, command: &str| {
        lines.splice(0..0, options.setup.iter().cloned());
        if !command.is_empty() {
            lines.push(command.to_owned());
        }
        YamlMap::new()
            .with("name", name)
            .with("image", &options.image)
            .with("workingDir", "/work")
            .flow("command", vec!["sh", "-ec"])
            .with("args", vec![YamlValue::Block(lines)])
    };
    let none = BTreeSet::new();
    let with_environment = |map: YamlMap, secrets: &BTreeSet<String>| {
        let mut environment = environment(pipeline, options, (&[], secrets));
        let job = YamlMap::new().with("name", "REBUILD_JOB");
        environment.push(job.flow("valueFrom", name.clone()));
        map.with("env", environment).with("volumeMounts", mounts())
    };
    let mut init = vec![with_environment(container("checkout", clone(options), ""), &none)];
    // The engine is a sidecar: an init container that goes on (Kubernetes 1.29).
    init.extend(engine(options).map(|engine| engine.with("restartPolicy", "Always")));
    let inside = vec!["cd source".to_owned()];
    init.extend(wait.map(|wait| with_environment(container("wait", inside.clone(), wait), &none)));
    YamlMap::new()
        .with("restartPolicy", "Never")
        .with("volumes", volumes())
        .with("initContainers", init)
        .with("containers", vec![with_environment(container("rebuild", inside, command), secrets)])
}

fn document(
    head: Vec<String>,
    (name, pipeline): (&str, &Pipeline),
    (deadline, pod): (Duration, YamlMap),
) -> String {
    let mut map = YamlMap::new();
    for line in head {
        map.push_comment(&line);
    }
    // The last letters of a ULID are random, and make the name unique.
    let id: String = pipeline.plan.chars().rev().take(8).collect();
    let labels = YamlMap::new().with("rebuild-plan", &pipeline.plan);
    let metadata =
        YamlMap::new().with("name", format!("{name}-{id}")).flow("labels", labels.clone());
    // A failure of an image is final. Others are of the infrastructure: a lost pod, and exit codes 20 and 21.
    let codes = YamlMap::new()
        .with("containerName", "rebuild")
        .with("operator", "In")
        .flow("values", vec![1_u64, 2, 10, 11, 12, 13, 75]);
    let rule = YamlMap::new().with("action", "FailJob").with("onExitCodes", codes);
    let spec = YamlMap::new()
        .with("backoffLimit", RETRIES as u64)
        .with("activeDeadlineSeconds", deadline.as_secs())
        .comment("Only infrastructure is tried again: a lost pod, and exit codes 20 and 21.")
        .with("podFailurePolicy", YamlMap::new().with("rules", vec![rule]))
        .with(
            "template",
            YamlMap::new()
                .with("metadata", YamlMap::new().flow("labels", labels))
                .with("spec", pod),
        );
    map.with("apiVersion", "batch/v1")
        .with("kind", "Job")
        .with("metadata", metadata)
        .with("spec", spec)
        .written()
}
