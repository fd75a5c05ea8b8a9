//! What `rebuild export` writes for each system, executed: each image is built once and promoted once.

use std::{collections::BTreeMap, fs, process::Command};

use serde_json::Value;

use super::{
    EDGES, Pipeline,
    executor::{self, Job, execute},
};
use crate::{
    program::assert_edges_agree,
    support::{is_installed, project::Project, running::Ended},
};

type Reader = fn(&str) -> Vec<Job>;

const SYSTEMS: [(&str, Reader); 4] = [
    ("gitlab", executor::gitlab),
    ("argo", executor::argo),
    ("tekton", executor::tekton),
    ("jobs", executor::kubernetes_jobs),
];

impl Pipeline {
    pub(super) fn export(&self, system: &str, flags: &str) -> String {
        let repository = format!("file://{}", self.project.path("").display());
        let engine = self.project.engine();
        let command =
            format!("export {system} --docker-host {engine} --repository {repository} {flags}");
        self.rebuild(&command).exits(0).stdout
    }
}

fn built(ended: &BTreeMap<String, Ended>) -> usize {
    // The last job reports what all of them did.
    let jobs = ended.iter().filter(|(name, _)| !name.starts_with("promote"));
    let lines = jobs.flat_map(|(_, end)| end.stderr.lines());
    lines.filter(|line| line.contains("  built in ")).count()
}

#[test]
fn every_system_builds_each_image_once_and_promotes_once() {
    for (number, (system, read)) in SYSTEMS.into_iter().enumerate() {
        let pipeline = Pipeline::of(Project::of_files());
        pipeline.project.commit();
        let text = pipeline.export(system, "");
        // The names of a project contain digits that make them unique.
        let text = pipeline.project.name(&text);
        let jobs = read(&text);
        assert_eq!(jobs.len(), 5, "{system}: {text}");
        let ended = execute(&pipeline, &jobs);
        for (job, end) in &ended {
            assert!(end.status.success(), "{system}: {job}: {end}");
        }
        assert_eq!((ended.len(), built(&ended)), (5, 4), "{system}");
        assert_eq!(pipeline.project.tags(pipeline.place()).len(), 5, "{system}");
        assert_edges_agree(&pipeline.project, pipeline.place(), &EDGES);
        if number == 0 {
            let nothing = pipeline.export(system, "");
            assert!(nothing.contains("nothing to do: every image is up to date"), "{nothing}");
        }
    }
}

#[test]
fn a_failure_leaves_every_tag_on_every_system_and_a_rerun_ends_right() {
    for (system, read) in SYSTEMS {
        let pipeline = Pipeline::of(Project::of_files());
        pipeline.project.commit();
        pipeline.rebuild("").exits(0);
        let before = pipeline.project.tags(pipeline.place());
        for image in ["os", "web", "app", "tool"] {
            pipeline.project.edit(&format!("{image}/page"), "one", "two");
        }
        pipeline.project.edit("web/Dockerfile", "COPY page /web", "COPY none /web");
        pipeline.project.commit();
        let text = pipeline.project.name(&pipeline.export(system, ""));
        let ended = execute(&pipeline, &read(&text));
        let promote = ended.iter().find(|(name, _)| name.starts_with("promote")).unwrap().1;
        assert_eq!(promote.status.code(), Some(10), "{system}: {promote}");
        assert!(promote.stderr.contains("first failure: `~web`"), "{system}: {promote}");
        assert_eq!(pipeline.project.tags(pipeline.place()), before, "{system}");

        pipeline.project.edit("web/Dockerfile", "COPY none /web", "COPY page /web");
        pipeline.project.commit();
        let text = pipeline.project.name(&pipeline.export(system, "--merge-chains"));
        let ended = execute(&pipeline, &read(&text));
        for (job, end) in &ended {
            assert!(end.status.success(), "{system}: {job}: {end}");
        }
        assert_edges_agree(&pipeline.project, pipeline.place(), &EDGES);
    }
}

/// `~web` and `~app` need secrets of the environment, and the last job an address.
fn with_secrets() -> Pipeline {
    let pipeline = Pipeline::of(Project::of_files());
    let (web, app) = ("~web: { context: web", "~app: { context: app");
    let secrets = "secrets: { npm: { env: NPM_TOKEN } }";
    pipeline.project.edit("hierarchy.yaml", web, &format!("{web}, {secrets}"));
    let secrets = "secrets: { npm: { env: NPM_TOKEN }, key: { env: APP_KEY, required: false } }";
    pipeline.project.edit("hierarchy.yaml", app, &format!("{app}, {secrets}"));
    pipeline.project.edit("hierarchy.yaml", "images:", "notify: { slack: SLACK_URL }\nimages:");
    pipeline.project.commit();
    pipeline
}

/// The built-in schemas of check-jsonschema, and the security audits of zizmor.
#[test]
fn exported_files_pass_the_checkers_that_are_installed() {
    let pipeline = with_secrets();
    let check = |program: &str, arguments: &[&str], path: &str| {
        if !is_installed(program) {
            println!("skipped: {program} is not installed");
            return;
        }
        let output = Command::new(program).args(arguments).arg(path).output().unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        assert!(
            output.status.success(),
            "{program} {path}: {}{}",
            text(&output.stdout),
            text(&output.stderr)
        );
    };
    for (number, flags) in ["", "--merge-chains", "--max-parallel 2"].into_iter().enumerate() {
        for (system, schema) in
            [("github", "vendor.github-workflows"), ("gitlab", "vendor.gitlab-ci")]
        {
            let path = pipeline.project.path(&format!("../{system}-{number}.yaml"));
            fs::write(&path, pipeline.project.name(&pipeline.export(system, flags))).unwrap();
            let path = path.to_str().unwrap();
            check("check-jsonschema", &["--builtin-schema", schema], path);
            if system == "github" {
                check("zizmor", &["--offline", "--no-progress", "--quiet"], path);
            }
        }
    }
}

#[test]
fn a_dry_run_writes_nothing() {
    let pipeline = Pipeline::of(Project::of_files());
    let ended = pipeline.rebuild("export github --dry-run").exits(0);
    assert!(ended.stdout.contains("4 jobs for 4 images in 3 levels, then promote"), "{ended}");
    assert_eq!(pipeline.registry.repositories(), [""; 0]);
    pipeline.rebuild("export argo").exits(2).says(&["`--repository URL`"]);
    pipeline
        .rebuild("export argo --repository https://a:b@git.example.com/x")
        .exits(2)
        .says(&["contains a login"]);
    pipeline
        .project
        .rebuild("export github --no-registry")
        .run()
        .exits(2)
        .says(&["a pipeline needs a registry"]);
}

/// The fields of each type of Argo, Tekton and Kubernetes that a pipeline uses, with their types. From the public
/// schemas: Argo `api/jsonschema/schema.json`, Tekton `pkg/apis/pipeline/v1/swagger.json`, Kubernetes 1.37. `!` lists the
/// required fields; a type of another name is a text, a number, a switch, a list, or any of them.
fn fields() -> Value {
    serde_json::from_str(include_str!("../../../testdata/pipeline-fields.json")).unwrap()
}

/// What in a value is not as its type says.
fn wrong(value: &Value, of: &Value, at: &str, fields: &Value) -> Vec<String> {
    let bad = |expected: &str| vec![format!("{at}: {value} is not {expected}")];
    let Some(name) = of.as_str() else {
        let Some(list) = value.as_array() else { return bad("a list") };
        let items = list.iter().enumerate();
        return items
            .flat_map(|(n, it)| wrong(it, &of[0], &format!("{at}[{n}]"), fields))
            .collect();
    };
    match name.strip_prefix('#') {
        None => match name {
            "string" if !value.is_string() => bad("a text"),
            "integer" if !value.is_u64() => bad("a number"),
            "boolean" if !value.is_boolean() => bad("a switch"),
            _ => Vec::new(),
        },
        Some(name) => {
            let Some(map) = value.as_object() else { return bad(name) };
            let of = &fields[name];
            let required = of["!"].as_array().into_iter().flatten();
            let missing = required.filter(|it| !map.contains_key(it.as_str().unwrap()));
            let mut found: Vec<String> =
                missing.map(|it| format!("{at}: {it} is missing")).collect();
            for (key, value) in map {
                let at = format!("{at}.{key}");
                match of.get(key) {
                    Some(of) => found.extend(wrong(value, of, &at, fields)),
                    None => found.push(format!("{at}: {name} has no such field")),
                }
            }
            found
        }
    }
}

#[test]
fn exported_objects_have_the_fields_of_their_types() {
    let with_secrets = with_secrets();
    let pipeline = Pipeline::of(Project::of_files());
    pipeline.project.commit();
    let fields = fields();
    let repository = "--repository https://git.example.com/images.git --runner arm64";
    let export = |flags: &str| pipeline.rebuild(&format!("export {flags}")).exits(0).stdout;
    for system in ["argo", "tekton", "jobs"] {
        let mut texts = vec![
            export(&format!("{system} {repository}")),
            with_secrets.rebuild(&format!("export {system} {repository}")).exits(0).stdout,
            export(&format!(
                "{system} {repository} --merge-chains --max-parallel 2 --docker-host tcp://e:1"
            )),
        ];
        if system == "jobs" {
            pipeline.rebuild("").exits(0);
            texts
                .extend(["argo", "tekton", "jobs"].map(|it| export(&format!("{it} {repository}"))));
        }
        for text in texts {
            for document in executor::documents(&text) {
                let kind = document["kind"].as_str().unwrap();
                let found = wrong(&document, &format!("#{kind}").into(), kind, &fields);
                assert_eq!(found, [""; 0], "{system}");
            }
        }
    }
    // The check finds what is wrong.
    let document = serde_json::json!({"kind": "Job", "spec": {"backofLimit": 1, "template": {"spec": {"containers": [{"image": 1}]}}}});
    let found = wrong(&document, &"#Job".into(), "Job", &fields);
    assert_eq!(found.len(), 2, "{found:?}");
}
