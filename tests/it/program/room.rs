//! What a successful run removes from the engine, and what it leaves there.

use super::everywhere_of_files;
use crate::support::project::{Place, Project, docker};

/// The build tags that the engine has of `~app`, wherever it is published.
fn build_tags(project: &Project) -> Vec<String> {
    let listed = docker(&["images", "--format", "{{.Repository}}:{{.Tag}} {{.ID}}"]).unwrap();
    let app = format!("{}:rb-", project.name("~app"));
    listed.lines().filter(|line| line.contains(&app)).map(str::to_owned).collect()
}

fn change(project: &Project, number: usize) {
    project.write("app/page", &format!("{} {number}\n", project.name("~app")));
}

#[test]
fn old_images_leave_the_engine_and_needed_ones_stay() {
    everywhere_of_files(|project, place| {
        for number in 1..=6 {
            change(project, number);
            project.rebuilt(place);
        }
        // In the engine alone: the last three runs moved tags from and to four images.
        let kept = if matches!(place, Place::Engine) { 4 } else { 1 };
        assert_eq!(build_tags(project).len(), kept);
        change(project, 7);
        project.rebuilt(place).says(&["removed 1 old image from the engine, about "]);
        assert_eq!(build_tags(project).len(), kept);
        project.rebuild("plan --exit-code").to(place).run().exits(0);
        project.rebuild("rollback").to(place).run().exits(0);
    });
}

#[test]
fn an_image_with_another_tag_or_a_container_stays() {
    let project = Project::of_files();
    project.edit("hierarchy.yaml", "context: app ", "context: app, keep: 1 ");
    let mut images = Vec::new();
    for number in 1..=2 {
        change(&project, number);
        project.rebuilt(Place::Engine);
        images.push(project.all_tags(Place::Engine)["~app:latest"].clone());
    }
    let container = docker(&["create", &images[0], "/app"]).unwrap();
    docker(&["tag", &images[1], &project.name("~app:mine")]).unwrap();
    for number in 3..=9 {
        change(&project, number);
        project.rebuilt(Place::Engine);
    }
    let left = project.all_tags(Place::Engine);
    let has = |image: &String| left.iter().any(|(tag, id)| tag.contains(":rb-") && id == image);
    assert!(images.iter().all(has), "{left:#?}");
    assert_eq!(build_tags(&project).len(), 2 + 4, "{left:#?}");
    docker(&["rm", container.trim()]).unwrap();
    docker(&["rmi", &project.name("~app:mine")]).unwrap();
    // Both are old now, and nothing needs them.
    change(&project, 10);
    project.rebuilt(Place::Engine).says(&["removed 3 old images from the engine"]);
}
