//! What a user finds out after a failed run: `status`, `why`, `log`, `shell`.

use serde_json::Value;

use crate::support::{
    engine,
    project::{Place, Project, docker},
    registry::Registry,
};

/// The images of failed tests that the engine keeps for a project.
fn kept(project: &Project) -> Vec<String> {
    let format = "{{.Repository}}";
    let names = docker(&["images", "--format", format, "failed.rebuild.invalid/*/*"]).unwrap();
    let names = names.lines().filter(|name| name.contains(&project.name("~")));
    names.map(|name| project.shown(name.rsplit_once("/n").unwrap().1)).collect()
}

#[test]
fn the_last_failure_is_told_and_its_image_can_be_entered() {
    super::everywhere(|project, place| {
        let run = |arguments: &str| project.rebuild(arguments).to(place).run();
        run("log ~app").exits(2).says(&["there is no log of `~app` on this machine"]);
        project.rebuilt(place);
        project.edit("hierarchy.yaml", "cat, /page", "cat, /nothing");
        project.write("app/Dockerfile", "FROM ~web\nRUN cp /page /app; echo hello\n");
        project.write("tool/Dockerfile", "FROM ~os\nRUN echo tools >/tool\n");
        let failed = run("--keep-going").exits(11);

        let status = run("status").exits(0).stdout;
        let told = "failed just now: test 1 of 1, `cat /nothing`: exit code 1\n";
        assert!(status.contains(told), "{status}\n{failed}");
        let held = "not published: `~app` failed just now\n";
        assert!(project.shown(&status).contains(held), "{status}");
        let why = run("why ~app").exits(0).stdout;
        for part in [told.trim_end(), "whole log: rebuild log ~app", "rebuild shell ~app"] {
            assert!(project.shown(&why).contains(part), "{why}");
        }
        let json = run("why ~app ~tool --format json").exits(0).stdout;
        let json: Value = serde_json::from_str(&json).unwrap();
        let setback = |n: usize| json["nodes"][n]["last_failure"]["setback"]["result"].clone();
        assert_eq!((setback(0), setback(1)), ("failed".into(), "blocked".into()), "{json}");

        let log = run("log ~app").exits(0).stdout;
        let heading = regex::Regex::new(r"(?m)^--- \S+Z (.*)$").unwrap();
        let headings: Vec<&str> =
            heading.captures_iter(&log).map(|found| found.get(1).unwrap().as_str()).collect();
        // Podman counts the step of the labels, too.
        let is_step = |heading: &&str| heading.ends_with("] RUN cp /page /app; echo hello");
        assert!(headings.iter().any(is_step), "{log}");
        let last = &headings[headings.len() - 2..];
        let end = "failed: test 1 of 1, `cat /nothing`: exit code 1";
        assert_eq!(last, ["test 1 of 1: cat /nothing", end], "{log}");
        assert!(log.contains("\nhello\n"), "{log}");

        // The image whose test failed, and not the published one, which has no such file.
        assert_eq!(kept(project), ["~app"]);
        assert_eq!(run("shell ~app -- cat /app").exits(0).stdout, "one\n");
        run("shell ~app -- false").exits(11);
        run("shell ~app -- nosuchprogram").exits(127).says(&["has no program `nosuchprogram`"]);
        run("shell ~app --published -- cat /page").exits(0);
        assert_eq!(project.under_way(), [""; 0]);

        project.edit("hierarchy.yaml", "cat, /nothing", "cat, /page");
        project.rebuilt(place);
        let status = run("status").exits(0).stdout;
        assert!(!status.contains("failed"), "{status}");
        assert_eq!(kept(project), [""; 0]);
        assert_eq!(run("shell ~tool -- cat /tool").exits(0).stdout, "tools\n");
    });
}

#[test]
fn an_image_that_is_stored_but_not_promoted_can_be_entered() {
    super::everywhere(|project, place| {
        let run = |arguments: &str| project.rebuild(arguments).to(place).run();
        run("shell ~web -- cat /page").exits(2).says(&["no tag of `"]);
        run("--no-promote").exits(0);
        project.edit("web/page", "one", "two");
        run("--no-promote").exits(0);
        let shell = run("shell ~web -- cat /page").exits(0).says(&["which was not promoted"]);
        assert_eq!(shell.stdout, "two\n");
    });
}

#[test]
fn answers_about_images_in_a_registry_need_no_engine() {
    let (registry, project) = (Registry::start(), Project::new());
    let upstream = project.name(&format!("{}/up/~base:1", registry.host()));
    engine::build(&project.path("os"), &upstream);
    engine::push(&upstream);
    project.write("tool/Dockerfile", &format!("FROM {upstream}\nRUN echo tool >/tool\n"));
    let place = Place::Registry(&registry);
    project.rebuilt(place);
    project.write("web/page", "two\n");

    for arguments in ["status", "why ~app", "plan", "tree", "plan --offline", "status --offline"] {
        let asked = |host: Option<&str>| {
            let start = project.rebuild(arguments).to(place);
            let start = if let Some(host) = host { start.env("DOCKER_HOST", host) } else { start };
            start.run().exits(0)
        };
        let with = asked(None);
        let without = asked(Some("unix:///nowhere/docker.sock"));
        assert_eq!(with.stdout, without.stdout, "{without}");
        without.says(&["no engine answers: this answer uses registries only"]);
    }
    let nowhere = project.rebuild("").to(place).env("DOCKER_HOST", "unix:///nowhere/docker.sock");
    nowhere.run().exits(20);
}
