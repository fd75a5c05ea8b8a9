//! Builds for this machine alone, on published parents: `--local` and `watch`.

use std::collections::BTreeMap;

use super::everywhere_of_files;
use crate::support::{
    project::{Place, Project, docker},
    registry::Registry,
};

/// What the engine has of an image that is published to a registry.
fn in_engine(project: &Project, registry: &Registry, image: &str) -> Option<String> {
    let name = project.name(&format!("{}/demo/{image}:latest", registry.host()));
    docker(&["inspect", "--format", "{{.Id}}", &name]).ok().map(|id| id.trim().to_owned())
}

fn published(project: &Project, registry: &Registry) -> BTreeMap<String, String> {
    project.all_tags(Place::Registry(registry))
}

#[test]
fn local_builds_stand_on_published_parents_and_publish_nothing() {
    let (registry, project) = (Registry::start(), Project::of_files());
    let place = Place::Registry(&registry);
    project.rebuilt(place);
    let before = published(&project, &registry);
    // Another machine.
    project.forget_images();
    let run = |arguments: &str| project.rebuild(arguments).to(place).run().exits(0);
    let all = run("--local");
    assert_eq!(all.result(), "nothing to do: all 4 images are up to date", "{all}");
    assert_eq!(in_engine(&project, &registry, "~os"), None, "nothing is pulled without need");

    project.write("app/page", "~app two\n");
    let plan = run("plan --local ~app");
    assert!(plan.stdout.contains("~app  not in the local engine yet\n"), "{plan}");
    assert!(plan.stdout.contains("tags images in the engine at "), "{plan}");
    assert!(plan.stdout.contains("\n1 to build, 2 up to date\n"), "{plan}");
    let app = run("--local ~app");
    assert_eq!(app.result(), "done in _: 1 built, 2 up to date", "{app}");
    let first = in_engine(&project, &registry, "~app").unwrap();
    let again = run("--local ~app");
    assert_eq!(again.result(), "nothing to do: all 3 images are up to date", "{again}");

    // A published image that is up to date is brought, since it is named.
    run("--local ~tool");
    assert!(in_engine(&project, &registry, "~tool").is_some());
    let again = run("--local ~tool");
    assert_eq!(again.result(), "nothing to do: all 2 images are up to date", "{again}");

    // A base that is built here is what its children are built on.
    project.write("os/page", "~os two\n");
    let all = run("--local");
    assert_eq!(all.result(), "done in _: 4 built", "{all}");
    assert_ne!(in_engine(&project, &registry, "~app").unwrap(), first);
    assert_eq!(published(&project, &registry), before);

    // And published it is by a run as any other.
    let ended = project.rebuilt(place);
    assert!(ended.result().starts_with("done in _: "), "{ended}");
    assert_ne!(published(&project, &registry), before);
}

#[test]
fn local_is_nothing_new_without_a_registry() {
    everywhere_of_files(|project, place| {
        if let Place::Registry(_) = place {
            return;
        }
        project.rebuild("--local ~web").run().exits(0);
        assert_eq!(project.tags(place).len(), 3, "os has two");
        project.rebuild("--local ~web --from ~os").run().exits(2);
    });
}

#[test]
fn watch_begins_with_published_parents_and_may_be_narrowed() {
    let (registry, project) = (Registry::start(), Project::of_files());
    let place = Place::Registry(&registry);
    project.rebuilt(place);
    let before = published(&project, &registry);
    project.forget_images();
    let mut watch = project.rebuild("watch --only ~app,~tool --progress json").to(place).start();
    let mut next = || {
        let line = project.shown(&watch.line_with("\"event\":\"run-finished\""));
        let event: serde_json::Value = serde_json::from_str(&line).unwrap();
        let text = |step: &serde_json::Value, field: &str| step[field].as_str().unwrap().to_owned();
        let steps = event["steps"].as_array().unwrap().iter();
        steps
            .map(|step| format!("{} {}", text(step, "node"), text(step, "outcome")))
            .collect::<Vec<_>>()
    };
    assert_eq!(next(), ["~app kept", "~tool kept"]);
    project.write("app/page", "~app two\n");
    assert_eq!(next(), ["~app built"]);
    // Not one of those that are watched, and yet what they are built on.
    project.write("tool/page", "~tool two\n");
    assert_eq!(next(), ["~tool built"]);
    watch.signal("INT").end().exits(130);
    assert_eq!(published(&project, &registry), before);
}
