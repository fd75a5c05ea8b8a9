//! A run that ended too early is finished by the next, without building anything twice.

use super::{EDGES, assert_edges_agree, everywhere};
use crate::support::{
    project::{Place, Project, docker},
    registry::Registry,
};

#[test]
fn what_was_staged_is_promoted_by_the_next_run() {
    everywhere(|project, place| {
        // `~app` fails last, so that everything else is staged and nothing promoted.
        project.edit("app/Dockerfile", "cp /page /app", "cp /no-such-page /app");
        project.rebuild("--keep-going").to(place).run().exits(10);
        assert!(project.tags(place).is_empty());
        project.edit("app/Dockerfile", "cp /no-such-page /app", "cp /page /app");

        let next = project.rebuilt(place);
        assert!(next.result().ends_with(": 1 built, 3 already built"), "{next}");
        assert_edges_agree(project, place, EDGES);
    });
}

#[test]
fn a_moving_tag_that_is_gone_is_put_back_without_a_build() {
    let project = Project::new();
    project.rebuilt(Place::Engine);
    let before = project.all_tags(Place::Engine);
    for tag in ["~web:latest", "~os:1"] {
        docker(&["rmi", &project.name(tag)]).unwrap();
    }
    let next = project.rebuilt(Place::Engine).says(&[
        "built, not promoted to `latest`",
        "its tag `1` does not exist",
        "promoted 2 tags of 2 images in ",
    ]);
    assert!(next.result().ends_with(": 2 already built, 2 up to date"), "{next}");
    assert_eq!(project.all_tags(Place::Engine), before);
}

#[test]
fn a_tag_that_somebody_else_moved_in_the_registry_is_put_back() {
    let (project, registry) = (Project::new(), Registry::start());
    let place = Place::Registry(&registry);
    project.rebuilt(place);
    let before = project.all_tags(place);
    registry.push(&project.name("demo/~web"), "latest", "something else");
    let next = project.rebuilt(place);
    assert!(next.result().ends_with(": 1 already built, 3 up to date"), "{next}");
    assert_eq!(project.all_tags(place), before);
}

#[test]
fn another_machine_builds_nothing_of_the_same_commit() {
    let (project, registry) = (Project::new(), Registry::start());
    let place = Place::Registry(&registry);
    project.rebuilt(place);
    let before = project.all_tags(place);
    // Another engine has none of the images, and another home no state.
    let names = docker(&["images", "--format", "{{.Repository}}:{{.Tag}}"]).unwrap();
    let ours: Vec<&str> = names.lines().filter(|name| name.contains(&project.name("~"))).collect();
    docker(&[&["rmi"], &ours[..]].concat()).unwrap();
    std::fs::remove_dir_all(project.state()).unwrap();

    let next = project.rebuilt(place);
    assert_eq!(next.result(), "nothing to do: all 4 images are up to date", "{next}");
    // A change at the bottom needs its parent alone, and pulls it.
    project.edit("app/Dockerfile", "cp /page /app", "cp /page /other");
    let changed = project.rebuilt(place);
    assert!(changed.result().ends_with(": 1 built, 3 up to date"), "{changed}");
    assert_edges_agree(&project, place, EDGES);
    assert_eq!(project.all_tags(place).len(), before.len() + 1);
}

#[test]
fn a_build_tag_that_is_gone_is_made_again() {
    let project = Project::new();
    project.rebuilt(Place::Engine);
    let before = project.all_tags(Place::Engine);
    let build_tag = before.keys().find(|tag| tag.starts_with("~web:rb-")).unwrap();
    docker(&["rmi", &project.name(build_tag)]).unwrap();
    let next = project.rebuilt(Place::Engine).says(&["its build tag is missing"]);
    assert_eq!(project.all_tags(Place::Engine), before, "{next}");
}
