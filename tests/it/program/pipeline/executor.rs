//! A small executor of exported pipelines: runs the scripts of their jobs in the order of the graph, each in a folder
//! of its own with a state folder of its own. Jobs share the registry, and the engine where there is only one:
//! `REBUILD_TEST_ENGINES` names several, separated by spaces.

use std::{
    collections::{BTreeMap, BTreeSet},
    env, fs, thread,
};

use serde_json::Value;

use super::Pipeline;
use crate::support::running::Ended;

/// A job of any system.
#[derive(Clone, Debug, Default)]
pub(super) struct Job {
    pub(super) name: String,
    pub(super) needs: Vec<String>,
    /// One script after the other.
    pub(super) scripts: Vec<String>,
    pub(super) variables: BTreeMap<String, String>,
    /// Runs after all others, whatever became of them.
    pub(super) is_last: bool,
    /// Its folder is the checkout.
    pub(super) is_checked_out: bool,
}

fn texts(list: &Value) -> Vec<String> {
    let list = list.as_array().into_iter().flatten();
    list.map(|it| it.as_str().unwrap().to_owned()).collect()
}

fn variables(list: &Value) -> BTreeMap<String, String> {
    let list = list.as_array().into_iter().flatten();
    list.map(|it| {
        let value = it["value"].as_str().unwrap_or("pod");
        (it["name"].as_str().unwrap().to_owned(), value.to_owned())
    })
    .collect()
}

pub(super) fn documents(text: &str) -> Vec<Value> {
    text.split("\n---\n").map(|one| serde_saphyr::from_str(one).unwrap()).collect()
}

pub(super) fn gitlab(text: &str) -> Vec<Job> {
    let file = &documents(text)[0];
    let shared: BTreeMap<String, String> = file["variables"]
        .as_object()
        .unwrap()
        .iter()
        .map(|(name, value)| (name.clone(), value.as_str().unwrap().to_owned()))
        .collect();
    let before = texts(&file[".rebuild"]["before_script"]);
    let jobs = file.as_object().unwrap().iter().filter(|(_, job)| job["extends"].is_string());
    jobs.map(|(name, job)| Job {
        name: name.clone(),
        needs: texts(&job["needs"]),
        scripts: vec![[before.clone(), texts(&job["script"])].concat().join("\n")],
        variables: shared.clone(),
        is_last: job["stage"] == "promote",
        is_checked_out: true,
    })
    .collect()
}

/// A container with its parameters filled in.
fn container(container: &Value, images: &str) -> (String, BTreeMap<String, String>) {
    let script = container["args"][0].as_str().or(container["script"].as_str()).unwrap().to_owned();
    let mut variables = variables(&container["env"]);
    for value in variables.values_mut() {
        *value = value
            .replace("{{inputs.parameters.images}}", images)
            .replace("$(params.images)", images);
    }
    (script, variables)
}

pub(super) fn argo(text: &str) -> Vec<Job> {
    let spec = &documents(text)[0]["spec"];
    let template = |name: &str| {
        let all = spec["templates"].as_array().unwrap();
        all.iter().find(|it| it["name"] == name).unwrap().clone()
    };
    let mut jobs = Vec::new();
    for task in template(spec["entrypoint"].as_str().unwrap())["dag"]["tasks"].as_array().unwrap() {
        let images = task["arguments"]["parameters"][0]["value"].as_str().unwrap();
        let of = template(task["template"].as_str().unwrap());
        let (script, variables) = container(&of["container"], images);
        let name = task["name"].as_str().unwrap().to_owned();
        jobs.push(Job {
            name,
            needs: texts(&task["dependencies"]),
            scripts: vec![script],
            variables,
            ..Job::default()
        });
    }
    let last = spec["onExit"].as_str().unwrap();
    let (script, variables) = container(&template(last)["container"], "");
    jobs.push(Job {
        name: last.to_owned(),
        scripts: vec![script],
        variables,
        is_last: true,
        ..Job::default()
    });
    jobs
}

pub(super) fn tekton(text: &str) -> Vec<Job> {
    let documents = documents(text);
    let (task, run) = (&documents[0], &documents[1]);
    let spec = &run["spec"]["pipelineSpec"];
    let mut jobs = Vec::new();
    for one in spec["tasks"].as_array().unwrap() {
        assert_eq!(one["taskRef"]["name"], task["metadata"]["name"]);
        let images = one["params"][0]["value"].as_str().unwrap();
        let (script, variables) = container(&task["spec"]["steps"][0], images);
        let name = one["name"].as_str().unwrap().to_owned();
        jobs.push(Job {
            name,
            needs: texts(&one["runAfter"]),
            scripts: vec![script],
            variables,
            ..Job::default()
        });
    }
    for one in spec["finally"].as_array().unwrap() {
        let (script, variables) = container(&one["taskSpec"]["steps"][0], "");
        let name = one["name"].as_str().unwrap().to_owned();
        jobs.push(Job { name, scripts: vec![script], variables, is_last: true, ..Job::default() });
    }
    jobs
}

pub(super) fn kubernetes_jobs(text: &str) -> Vec<Job> {
    let jobs = documents(text).into_iter().map(|document| {
        let pod = &document["spec"]["template"]["spec"];
        let all = [&pod["initContainers"], &pod["containers"]];
        let containers = all.iter().flat_map(|list| list.as_array().unwrap().iter());
        let containers: Vec<(String, BTreeMap<String, String>)> =
            containers.filter(|it| it["command"][0] == "sh").map(|it| container(it, "")).collect();
        Job {
            name: document["metadata"]["name"].as_str().unwrap().to_owned(),
            scripts: containers.iter().map(|(script, _)| script.clone()).collect(),
            variables: containers[0].1.clone(),
            ..Job::default()
        }
    });
    jobs.collect()
}

/// Runs every job as its system would, and returns how each ended. A job whose needs failed does not run.
pub(super) fn execute(pipeline: &Pipeline, jobs: &[Job]) -> BTreeMap<String, Ended> {
    let engines = env::var("REBUILD_TEST_ENGINES").unwrap_or_default();
    let engines: Vec<&str> = engines.split_whitespace().collect();
    let mut ended: BTreeMap<String, Ended> = BTreeMap::new();
    let mut open: Vec<(usize, &Job)> = jobs.iter().enumerate().collect();
    while !open.is_empty() {
        let is_good = |name: &String, ended: &BTreeMap<String, Ended>| {
            ended.get(name).is_some_and(|end| end.status.success())
        };
        let others_are_over = open.iter().all(|(_, job)| job.is_last);
        let (ready, rest): (Vec<_>, Vec<_>) = open.into_iter().partition(|(_, job)| {
            if job.is_last {
                others_are_over
            } else {
                job.needs.iter().all(|need| is_good(need, &ended))
            }
        });
        if ready.is_empty() {
            // The needs of the others have failed; the last job runs anyway.
            open = rest.into_iter().filter(|(_, job)| job.is_last).collect();
            if others_are_over {
                break;
            }
            continue;
        }
        let results: Vec<(String, Ended)> = thread::scope(|scope| {
            let run = |(number, job): (usize, &'_ Job)| {
                let engine =
                    (!engines.is_empty()).then(|| engines[number % engines.len()].to_owned());
                let job = job.clone();
                scope.spawn(move || (job.name.clone(), one(pipeline, &job, engine.as_deref())))
            };
            let running: Vec<_> = ready.into_iter().map(run).collect();
            running.into_iter().map(|it| it.join().unwrap()).collect()
        });
        ended.extend(results);
        open = rest;
    }
    let names: BTreeSet<&String> = jobs.iter().map(|job| &job.name).collect();
    assert!(ended.keys().all(|name| names.contains(name)));
    ended
}

fn one(pipeline: &Pipeline, job: &Job, engine: Option<&str>) -> Ended {
    let folder = pipeline.project.path(&format!("../work-{}", job.name));
    _ = fs::remove_dir_all(&folder);
    fs::create_dir(&folder).unwrap();
    if job.is_checked_out {
        pipeline.project.git(&format!("clone -q . {}", folder.display()));
    }
    let mut last = None;
    for script in &job.scripts {
        let mut start = pipeline.project.shell(&folder, script);
        for (name, value) in &job.variables {
            // The login of the machine is that of the test.
            if name != "DOCKER_CONFIG" {
                start = start.env(name, value);
            }
        }
        if let Some(engine) = engine {
            start = start.env("DOCKER_HOST", engine);
        }
        let state = pipeline.project.path(&format!("../state-{}", job.name));
        let end = start.env("XDG_STATE_HOME", state).run();
        let is_over = !end.status.success();
        last = Some(end);
        if is_over {
            break;
        }
    }
    last.unwrap()
}
