//! `sign`: a command on the digest of each image before its tags move.

use std::{fs, process::Command};

use super::everywhere;
use crate::support::{
    project::{Place, Project},
    registry::Registry,
};

fn hierarchy(project: &Project, sign: &str) {
    let file = format!(
        "version: 1\ndefaults: {{ sign: {sign}, tags: [latest, \"1\"] }}\nimages:\n  ~os: {{ context: os }}\n  ~app: {{ context: app }}\n"
    );
    project.write("hierarchy.yaml", &file);
    project.write("app/Dockerfile", "FROM ~os\nRUN echo app >/app\n");
}

#[test]
fn each_image_is_signed_before_its_tags_move_and_a_failure_moves_none() {
    everywhere(|project, place| {
        let failing = "[sh, -c, 'echo $REBUILD_NODE $0 >>signed; test $REBUILD_NODE != ~app || { echo no key; exit 4; }', \"{image}\"]";
        hierarchy(project, failing);
        let ended = project.rebuild("").to(place).run().exits(13);
        ended
            .says(&["`~app` was not signed: ", "ended with exit code 4: no key: no tag was moved"]);
        assert_eq!(project.tags(place).len(), 0);

        fs::remove_file(project.path("signed")).unwrap();
        hierarchy(project, "[sh, -c, 'echo $REBUILD_NODE $0 >>signed', \"{image}\"]");
        project.rebuild("").to(place).run().exits(0);
        let tags = project.tags(place);
        let signed = project.shown(&fs::read_to_string(project.path("signed")).unwrap());
        let lines: Vec<&str> = signed.lines().collect();
        assert_eq!(lines.len(), 2, "{signed}");
        for (line, name) in lines.iter().zip(["~os", "~app"]) {
            assert!(
                line.starts_with(name) && line.ends_with(&tags[&format!("{name}:latest")]),
                "{signed}"
            );
        }
        // Nothing moves, so nothing is signed.
        project.rebuild("").to(place).run().exits(0);
        assert_eq!(project.shown(&fs::read_to_string(project.path("signed")).unwrap()), signed);
        project.rebuild("check --untrusted").run().exits(2);
    });
}

#[test]
fn cosign_signs_what_is_published() {
    let is_there = Command::new("cosign").arg("version").output().is_ok();
    if !is_there {
        return;
    }
    let (project, registry) = (Project::new(), Registry::start());
    let cosign = |arguments: &[&str]| {
        let mut command = Command::new("cosign");
        command.current_dir(project.path("")).env("COSIGN_PASSWORD", "").args(arguments);
        let output = command.output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    };
    cosign(&["generate-key-pair"]);
    hierarchy(
        &project,
        "[cosign, sign, --yes, --key, cosign.key, --tlog-upload=false, --use-signing-config=false, --allow-insecure-registry, \"{image}\"]",
    );
    let place = Place::Registry(&registry);
    project.rebuild("").to(place).env("COSIGN_PASSWORD", "").run().exits(0);
    for name in ["~os", "~app"] {
        let image = project.name(&format!("{}/demo/{name}:latest", registry.host()));
        cosign(&[
            "verify",
            "--key",
            "cosign.pub",
            "--insecure-ignore-tlog=true",
            "--allow-insecure-registry",
            &image,
        ]);
    }
}
