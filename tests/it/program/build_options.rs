//! Options of a build reach it on each engine, and an option that the engine lacks is refused by its name.

use rebuild::engine::Capability;

use crate::support::{engine::capabilities, project::Project};

#[test]
fn options_reach_the_build() {
    let project = Project::empty();
    project.write_os();
    let file = "version: 1\nimages:\n  ~os: { context: os }\n  ~app: { context: app, add_hosts: { db.test: 10.9.8.7 } }\n  ~none: { context: none, network: none }\n";
    project.write("hierarchy.yaml", file);
    project.write("app/Dockerfile", "FROM ~os\nRUN grep db.test /etc/hosts >/hosts\n");
    project.write("none/Dockerfile", "FROM ~os\nRUN ls /sys/class/net >/net\n");
    project.rebuild("").run().exits(0);
    assert_eq!(project.output_in("~app", &["cat", "/hosts"]), "10.9.8.7\tdb.test\n");
    assert_eq!(project.output_in("~none", &["cat", "/net"]), "lo\n");
    // Another value is another image, and `why` names the option only.
    project.edit("hierarchy.yaml", "10.9.8.7", "10.9.8.6");
    let plan = project.rebuild("plan").run().exits(0);
    assert!(plan.stdout.contains("add_hosts.db.test"), "{plan}");
    plan.never_says(&["10.9.8"]);
}

#[test]
fn limits_that_an_engine_lacks_are_refused_before_the_first_build() {
    let project = Project::empty();
    project.write_os();
    let file = "version: 1\nimages:\n  ~os: { context: os }\n  ~app: { context: app, shm_size: 32MiB, ulimits: { nofile: \"500:600\" } }\n";
    project.write("hierarchy.yaml", file);
    project.write(
        "app/Dockerfile",
        "FROM ~os\nRUN ulimit -n >/limit; grep ' /dev/shm ' /proc/mounts >/shm\n",
    );
    if capabilities().unwrap().has(Capability::BuildLimits) {
        project.rebuild("").run().exits(0);
        let shown = project.output_in("~app", &["cat", "/limit", "/shm"]);
        assert!(shown.starts_with("500\n") && shown.contains("size=32768k"), "{shown}");
        return;
    }
    let lacks = |option| {
        format!("`~app` has `{option}`, and this engine lacks the capability `build-limits`")
    };
    let ended = project.rebuild("").run().exits(2);
    ended.says(&[&lacks("shm_size"), &lacks("ulimits")]).never_says(&["built"]);
}
