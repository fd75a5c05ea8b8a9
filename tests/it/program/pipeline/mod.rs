//! A plan whose images are built by jobs that share nothing but the registry, and promoted by the last one.

mod act;
mod executor;
mod exported;

use std::{fs, path::PathBuf};

use serde_json::Value;

use super::assert_edges_agree;
use crate::support::{
    project::{Place, Project},
    registry::Registry,
    running::Ended,
};

const EDGES: [(&str, &str); 3] =
    [("~web:latest", "~os:1"), ("~app:latest", "~web:latest"), ("~tool:latest", "~os:latest")];

/// A project with a registry. Each job has a machine of its own.
struct Pipeline {
    project: Project,
    registry: Registry,
}

impl Pipeline {
    fn of(project: Project) -> Self {
        Self { project, registry: Registry::start() }
    }

    fn place(&self) -> Place<'_> {
        Place::Registry(&self.registry)
    }

    fn rebuild(&self, arguments: &str) -> Ended {
        self.project.rebuild(arguments).to(self.place()).run()
    }

    fn plan(&self, selection: &str) -> Value {
        self.rebuild(&format!("plan --out ../plan.json {selection}")).exits(0);
        let text = fs::read_to_string(self.plan_path()).unwrap();
        serde_json::from_str(&self.project.shown(&text)).unwrap()
    }

    fn plan_path(&self) -> PathBuf {
        self.project.path("../plan.json")
    }

    /// One job, on an engine that has no image of the project.
    fn stage(&self, images: &str) -> Ended {
        self.project.forget_images();
        let state = self.project.path(&format!("../state-{}", images.replace([' ', '~'], "-")));
        self.project
            .rebuild(&format!("stage {images} --plan ../plan.json"))
            .to(self.place())
            .env("XDG_STATE_HOME", state)
            .env(
                "REBUILD_JOB_URL",
                format!("https://ci.example.com/jobs/{}", images.replace(['~', ' '], "")),
            )
            .run()
    }

    fn promote(&self) -> Ended {
        self.rebuild(
            "promote --plan ../plan.json --junit ../junit.xml --json-report ../report.json",
        )
    }

    fn junit(&self) -> String {
        self.project.shown(&fs::read_to_string(self.project.path("../junit.xml")).unwrap())
    }

    fn report(&self) -> Value {
        let text = fs::read_to_string(self.project.path("../report.json")).unwrap();
        serde_json::from_str(&self.project.shown(&text)).unwrap()
    }
}

fn actions(plan: &Value) -> Vec<String> {
    let images = plan["images"].as_array().unwrap().iter();
    images
        .map(|it| format!("{} {}", it["node"].as_str().unwrap(), it["action"].as_str().unwrap()))
        .collect()
}

#[test]
fn jobs_store_images_and_the_last_one_moves_all_tags() {
    let pipeline = Pipeline::of(Project::new());
    let plan = pipeline.plan("");
    assert_eq!(actions(&plan), ["~os build", "~web build", "~app build", "~tool build"]);
    assert_eq!(plan["registry"], format!("{}/demo", pipeline.registry.host()));
    // A child needs its parent's image.
    let early = pipeline.stage("~web").exits(10);
    early.says(&["`~web` is not built: the image of `~os` is not in the registry"]);
    for images in ["~os", "~web ~app", "~tool"] {
        pipeline.stage(images).exits(0).says(&["the stored images wait for `rebuild promote`"]);
    }
    assert_eq!(pipeline.project.tags(pipeline.place()).len(), 0);
    // A job that runs again builds nothing.
    pipeline.stage("~web ~app").exits(0).says(&["already built"]);

    let promoted =
        pipeline.promote().exits(0).says(&["timeline: 4 images", "promoted 5 tags of 4 images"]);
    assert!(promoted.result().ends_with(": 4 built"), "{promoted}");
    let tags = pipeline.project.tags(pipeline.place());
    assert_eq!(tags.len(), 5);
    assert_edges_agree(&pipeline.project, pipeline.place(), &EDGES);
    let junit = pipeline.junit();
    assert!(junit.contains("classname=\"~app\"") && junit.contains("test 1: cat /page"), "{junit}");
    assert!(junit.contains("skipped=\"0\" failures=\"0\""), "{junit}");
    let report = pipeline.report();
    assert_eq!(report["jobs"].as_array().unwrap().len(), 4);
    assert_eq!(report["jobs"][0]["job"], "https://ci.example.com/jobs/os");

    // It can run again, and nothing is left to do anywhere.
    pipeline.promote().exits(0).says(&["every tag of the plan is already where it belongs"]);
    assert_eq!(pipeline.project.tags(pipeline.place()), tags);
    pipeline.rebuild("plan --exit-code").exits(0);
}

#[test]
fn a_job_refuses_another_checkout_and_names_what_differs() {
    let pipeline = Pipeline::of(Project::of_files());
    pipeline.plan("");
    pipeline.stage("~os").exits(0);
    pipeline.project.edit("web/page", "one", "two");
    pipeline
        .stage("~web")
        .exits(2)
        .says(&["this checkout is not the one of the plan", "`page` of `~web` changed"]);
    // Other images are those of the plan.
    pipeline.stage("~tool").exits(0);
    pipeline.project.edit("web/page", "two", "one");
    pipeline.project.edit(
        "hierarchy.yaml",
        "~web: { context: web }",
        "~web: { context: web, build_args: { A: \"1\" } }",
    );
    pipeline.stage("~web").exits(2).says(&["build arg `A` of `~web` is new"]);
    pipeline.project.edit("hierarchy.yaml", "build_args: { A: \"1\" }", "on_failure: optional");
    pipeline.stage("~web").exits(2).says(&["`on_failure` of `~web` in hierarchy.yaml changed"]);
    pipeline.promote().exits(2).says(&["`on_failure` of `~web` in hierarchy.yaml changed"]);
    // An edited file is not a plan.
    let text = fs::read_to_string(pipeline.plan_path()).unwrap();
    fs::write(pipeline.plan_path(), text.replacen("\"block\"", "\"hold\"", 1)).unwrap();
    pipeline.stage("~os").exits(2).says(&["it was changed after it was written"]);
    pipeline
        .rebuild("stage ~os --plan ../none.json")
        .exits(2)
        .says(&["`../none.json` cannot be read"]);
    pipeline
        .rebuild("stage ~os --plan 01m8zzzzzzzzzzzzzzzzzzzzzz")
        .exits(2)
        .says(&["the registry has no plan with that ID"]);
    assert_eq!(pipeline.project.tags(pipeline.place()).len(), 0);
}

#[test]
fn a_failed_job_leaves_every_tag_and_the_report_names_its_url() {
    let pipeline = Pipeline::of(Project::new());
    pipeline.project.rebuilt(pipeline.place());
    let before = pipeline.project.tags(pipeline.place());
    pipeline.project.edit("os/name", "~os", "~os two");
    pipeline.project.edit(
        "web/Dockerfile",
        "COPY page /page",
        "COPY page /page\nRUN echo token-value; false",
    );
    let plan = pipeline.plan("");
    assert_eq!(actions(&plan), ["~os build", "~web build", "~app build", "~tool build"]);
    pipeline.stage("~os").exits(0);
    pipeline.stage("~web").exits(10);
    pipeline.stage("~tool").exits(0);
    let ended = pipeline.promote().exits(10).says(&[
        "first failure: `~web` at ",
        "job: https://ci.example.com/jobs/web",
        "nothing was promoted: `~web` failed",
        "token-value",
    ]);
    assert!(ended.stderr.contains("skipped"), "{ended}");
    assert_eq!(pipeline.project.tags(pipeline.place()), before);
    let junit = pipeline.junit();
    assert!(
        junit.contains("failures=\"1\"") && junit.contains("job: https://ci.example.com/jobs/web"),
        "{junit}"
    );

    // The same plan goes on after a fix of what is not in it: here, nothing can be.
    pipeline.project.edit("web/Dockerfile", "\nRUN echo token-value; false", "\nRUN true");
    pipeline.stage("~web").exits(2);
    pipeline.plan("");
    for images in ["~web", "~app"] {
        pipeline.stage(images).exits(0);
    }
    pipeline.promote().exits(0);
    assert_edges_agree(&pipeline.project, pipeline.place(), &EDGES);
}

#[test]
fn an_image_that_may_fail_holds_back_its_branch_alone() {
    let pipeline = Pipeline::of(Project::of_files());
    pipeline.project.rebuilt(pipeline.place());
    let before = pipeline.project.tags(pipeline.place());
    pipeline.project.edit(
        "hierarchy.yaml",
        "~web: { context: web }",
        "~web: { context: web, on_failure: hold }",
    );
    for image in ["os", "web", "tool"] {
        pipeline.project.edit(&format!("{image}/page"), "one", "two");
    }
    pipeline.project.edit("web/Dockerfile", "COPY page /web", "COPY none /web");
    pipeline.plan("");
    pipeline.stage("~os").exits(0);
    pipeline.stage("~web").exits(10);
    pipeline.stage("~tool").exits(0);
    pipeline.promote().exits(10).says(&["`~web` and 1 descendant keep their tags"]);
    let after = pipeline.project.tags(pipeline.place());
    for (tag, moved) in
        [("~os:1", true), ("~tool:latest", true), ("~web:latest", false), ("~app:latest", false)]
    {
        assert_eq!(before[tag] != after[tag], moved, "{tag}");
    }
}

#[test]
fn a_job_that_never_ran_is_named_and_nothing_moves() {
    let pipeline = Pipeline::of(Project::of_files());
    pipeline.plan("");
    pipeline.stage("~os").exits(0);
    pipeline.promote().exits(10).says(&["nothing is known of its job"]);
    assert_eq!(pipeline.project.tags(pipeline.place()).len(), 0);
    // A run elsewhere builds the rest, and the pipeline finds it.
    pipeline.rebuild("--no-promote").exits(0);
    pipeline.promote().exits(0).says(&["promoted 5 tags of 4 images"]);
}

#[test]
fn a_killed_job_can_run_again() {
    let pipeline = Pipeline::of(Project::new());
    pipeline.project.edit("web/Dockerfile", "COPY page /page", "COPY page /page\nRUN sleep 4");
    pipeline.plan("");
    pipeline.stage("~os").exits(0);
    let start = pipeline.project.rebuild("stage ~web --plan ../plan.json --progress json");
    let mut job = start.to(pipeline.place()).start();
    job.wait_for("RUN sleep");
    job.signal("KILL");
    assert!(!job.end().status.success());
    for images in ["~web", "~app", "~tool"] {
        pipeline.stage(images).exits(0);
    }
    pipeline.promote().exits(0);
    assert_edges_agree(&pipeline.project, pipeline.place(), &EDGES);
}

#[test]
fn what_a_laptop_has_built_is_not_built_again_and_the_other_way_round() {
    let pipeline = Pipeline::of(Project::of_files());
    pipeline.rebuild("--no-promote").exits(0);
    let plan = pipeline.plan("");
    assert_eq!(actions(&plan), ["~os promote", "~web promote", "~app promote", "~tool promote"]);
    pipeline.promote().exits(0);
    pipeline.project.edit("web/page", "one", "two");
    pipeline.plan("");
    pipeline.stage("~web").exits(0);
    let run = pipeline.rebuild("").exits(0).says(&["already built"]);
    assert!(run.result().contains("1 built, 1 already built"), "{run}");
    // The pipeline's promotion finds that a run was faster.
    pipeline.promote().exits(0).says(&["every tag of the plan is already where it belongs"]);
}

#[test]
fn an_image_that_is_built_in_any_case_takes_its_children_along() {
    let pipeline = Pipeline::of(Project::new());
    pipeline.project.rebuilt(pipeline.place());
    let before = pipeline.project.tags(pipeline.place());
    pipeline.project.edit("tool/Dockerfile", "echo tool", "date +%N");
    pipeline.project.rebuilt(pipeline.place());
    pipeline.plan("--from ~os --refresh");
    // Nothing of it counts before its job has run.
    pipeline.stage("~web").exits(10);
    for images in ["~os", "~web", "~app", "~tool"] {
        pipeline.stage(images).exits(0);
    }
    pipeline.promote().exits(0);
    assert_edges_agree(&pipeline.project, pipeline.place(), &EDGES);
    // Its files are the same, so its published image stays.
    assert_eq!(pipeline.project.tags(pipeline.place())["~os:1"], before["~os:1"]);
}

#[test]
fn a_repeated_promotion_moves_no_tag_that_was_read_from_an_image() {
    let pipeline = Pipeline::of(Project::new());
    let file = "~web: { context: web, tags: [latest, \"{file:/page}\"]";
    pipeline.project.edit("hierarchy.yaml", "~web: { context: web", file);
    pipeline.rebuild("").exits(0);
    pipeline.project.edit("web/page", "one", "two");
    pipeline.plan("");
    for images in ["~web", "~app"] {
        pipeline.stage(images).exits(0);
    }
    pipeline.promote().exits(0).says(&["promoted 3 tags of 2 images"]);
    pipeline.promote().exits(0).says(&["every tag of the plan is already where it belongs"]);
    let back = pipeline.rebuild("rollback --dry-run").exits(0).says(&["~web:two` was new"]);
    for image in ["~web", "~app"] {
        assert!(back.stdout.contains(&format!("{image}:latest")), "{back}");
    }
}

#[test]
fn a_promotion_never_replaces_what_came_after_its_plan() {
    let pipeline = Pipeline::of(Project::of_files());
    pipeline.plan("");
    for images in ["~os", "~web", "~app", "~tool"] {
        pipeline.stage(images).exits(0);
    }
    pipeline.project.edit("os/page", "one", "two");
    pipeline.rebuild("").exits(0);
    let newer = pipeline.project.tags(pipeline.place());
    pipeline.project.edit("os/page", "two", "one");
    pipeline.promote().exits(13);
    assert_eq!(pipeline.project.tags(pipeline.place()), newer);
}
