//! Gates: commands of this machine between tests and store.

use std::{
    fs, thread,
    time::{Duration, Instant},
};

use rebuild::engine::Capability;

use super::everywhere;
use crate::support::{engine::lacks, project::Project};

fn hierarchy(project: &Project, gate: &str) {
    let file = format!(
        "version: 1\nimages:\n  ~os: {{ context: os }}\n  ~app:\n    context: app\n    gate:\n      - {gate}\n"
    );
    project.write("hierarchy.yaml", &file);
    project.write("app/Dockerfile", "FROM ~os\nRUN echo app >/app\n");
}

#[test]
fn a_gate_gets_the_image_and_its_report_is_kept() {
    everywhere(|project, place| {
        hierarchy(project, "{ run: [./gate.sh, first], archive: true }");
        project.write_script(
            "gate.sh",
            "#!/bin/sh -e\nenv | grep ^REBUILD_ | sort >$REBUILD_REPORT; echo seen-by-gate\n\
             mkdir out; tar -xf \"$REBUILD_ARCHIVE\" -C out; cp out/index.json index.json\n\
             for blob in out/blobs/sha256/*; do\n\
             test \"$(sha256sum <$blob | cut -c1-64)\" = \"$(basename $blob)\"; done\n\
             for blob in out/blobs/sha256/*; do tar -tf $blob 2>/dev/null || true; done >files; rm -r out\n",
        );
        let junit = project.path("junit.xml");
        let ended = project.rebuild("--junit junit.xml").to(place).run().exits(0);
        let log = project.logs().remove("~app").unwrap();
        assert!(log.contains("gate 1 of 1: ./gate.sh first\nseen-by-gate"), "{ended}{log}");
        let files = fs::read_to_string(project.path("files")).unwrap();
        assert!(files.lines().any(|line| line.trim_start_matches("./") == "app"), "{files}");
        assert!(files.lines().any(|line| line.ends_with("busybox")), "{files}");
        let junit = fs::read_to_string(junit).unwrap();
        let report = junit.split("[[ATTACHMENT|").nth(1).unwrap().split("]]").next().unwrap();
        let report = project.shown(&fs::read_to_string(report).unwrap());
        for line in ["REBUILD_NODE=~app", "REBUILD_PARENTS=~os", "REBUILD_IMAGE=rebuild.invalid/"] {
            assert!(report.contains(line), "{report}");
        }
        let archive = report.lines().find_map(|line| line.strip_prefix("REBUILD_ARCHIVE="));
        assert!(!fs::exists(archive.unwrap()).unwrap(), "it is removed");

        // The script is part of the gate. The image stays as it is.
        let tags = project.tags(place);
        project.rebuild("plan --exit-code").to(place).run().exits(0);
        project.edit("gate.sh", "seen-by-gate", "seen-again");
        let ended = project.rebuild("").to(place).run().exits(0);
        let log = project.logs().remove("~app").unwrap();
        assert!(log.contains("seen-again"), "{log}");
        // Podman does not find the layers in its cache.
        if !lacks(Capability::BuildKit) {
            assert!(ended.result().contains("1 unchanged"), "{ended}");
            assert_eq!(project.tags(place), tags);
        }
    });
}

#[test]
fn a_failed_gate_fails_the_image_and_no_tag_moves() {
    everywhere(|project, place| {
        for (gate, expected) in [
            (
                "{ run: [sh, -c, 'echo bad >$REBUILD_REPORT; exit 3'] }",
                "gate 1 of 1: `sh -c 'echo bad >$REBUILD_REPORT; exit 3'` ended with exit code 3; report: ",
            ),
            ("{ run: [no-such-program] }", "gate 1 of 1: cannot run `no-such-program`"),
            (
                "{ run: [sh, -c, 'sleep 60 & sleep 60'], timeout: 1s }",
                "gate 1 of 1: `sh -c 'sleep 60 & sleep 60'` took longer than its timeout of 1s",
            ),
        ] {
            hierarchy(project, gate);
            project.rebuild("").to(place).run().exits(11).says(&[expected]);
            assert_eq!(project.tags(place).len(), 0, "{gate}");
        }
        // Not inherited unless it says so.
        let file = |inherit: &str| {
            format!(
                "version: 1\nimages:\n  ~os: {{ context: os, gate: [{{ run: [sh, -c, 'test $REBUILD_NODE = ~os'], inherit: {inherit} }}] }}\n  ~app: {{ context: app }}\n"
            )
        };
        project.write("hierarchy.yaml", &file("true"));
        let ended = project.rebuild("").to(place).run().exits(11);
        ended.says(&["gate 1 of 1 (of `~os`): "]);
        project.write("hierarchy.yaml", &file("false"));
        project.rebuild("").to(place).run().exits(0);
        project.rebuild("check --untrusted").run().exits(2);
    });
}

#[test]
fn an_interrupt_ends_a_gate_and_what_it_started() {
    let project = Project::new();
    hierarchy(&project, "{ run: [sh, -c, 'sleep 600 & echo $! >child; echo waits; wait'] }");
    let mut running = project.rebuild("--progress plain").start();
    running.wait_for_stderr("gate 1 of 1");
    let written = || fs::read_to_string(project.path("child")).is_ok_and(|it| it.ends_with('\n'));
    let began = Instant::now();
    while !written() {
        assert!(began.elapsed() < Duration::from_secs(60));
        thread::sleep(Duration::from_millis(5));
    }
    running.signal("INT");
    running.end().exits(130);
    let child = fs::read_to_string(project.path("child")).unwrap();
    let state = fs::read_to_string(format!("/proc/{}/stat", child.trim())).unwrap_or_default();
    let is_over = state.split(' ').nth(2).is_none_or(|state| state == "Z" || state == "X");
    assert!(is_over, "{state}");
    assert_eq!(project.tags(crate::support::project::Place::Engine).len(), 0);
}
