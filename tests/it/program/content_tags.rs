//! Tags that name something in the image.

use super::everywhere;
use crate::support::project::{Place, Project};

fn hierarchy(project: &Project, tags: &str) {
    let file = format!(
        "version: 1\nimages:\n  ~os: {{ context: os }}\n  ~app: {{ context: app, tags: [latest, {tags}], labels: {{ a.b: \"x-1\" }} }}\n"
    );
    project.write("hierarchy.yaml", &file);
}

fn dockerfile(project: &Project, apk: &str, release: &str) {
    let dpkg = "Package: curl\\nStatus: install ok installed\\nVersion: 1:7.88.1+dfsg-10\\n";
    let text = format!(
        "FROM ~os\nRUN mkdir -p /var/lib/dpkg /lib/apk/db /etc && printf '{dpkg}' >/var/lib/dpkg/status \
         && printf 'P:musl\\nV:{apk}\\n' >/lib/apk/db/installed && ln -s link /etc/first && ln -s ../srv/release /etc/link \
         && mkdir /srv && printf '{release}\\n' >/srv/release\n"
    );
    project.write("app/Dockerfile", &text);
}

#[test]
fn tags_are_read_from_the_image_and_move_and_roll_back_with_it() {
    everywhere(|project, place| {
        hierarchy(
            project,
            "\"{version:curl}\", \"m{version:musl}-{label:a.b}\", \"{file:/etc/first}\"",
        );
        dockerfile(project, "1.2.5-r0", "r1");
        let plan = project.rebuild("plan --format json").to(place).run().exits(0);
        assert!(plan.stdout.contains("app:{version:curl} (known after the build)"), "{plan}");
        project.rebuilt(place);
        let tags = project.tags(place);
        let names: Vec<&str> = tags.keys().map(String::as_str).collect();
        assert_eq!(
            names,
            ["~app:7.88.1-dfsg", "~app:latest", "~app:m1.2.5-x-1", "~app:r1", "~os:latest"]
        );
        assert!(tags.iter().all(|(name, at)| name == "~os:latest" || *at == tags["~app:latest"]));
        project.rebuild("plan --exit-code").to(place).run().exits(0);

        // Another content: one tag stays, and others are new.
        dockerfile(project, "1.2.6-r3", "r2");
        project.rebuilt(place);
        let second = project.tags(place);
        assert_eq!(second["~app:7.88.1-dfsg"], second["~app:latest"]);
        assert_eq!(second["~app:m1.2.6-x-1"], second["~app:latest"]);
        assert_eq!(second["~app:r1"], tags["~app:latest"]);
        let ended = project.rebuild("rollback --yes").to(place).run();
        let back = project.tags(place);
        assert_eq!(back["~app:7.88.1-dfsg"], tags["~app:latest"], "{ended}");
        assert_eq!(back["~app:latest"], tags["~app:latest"]);
    });
}

#[test]
fn an_image_that_was_stored_before_gets_its_tags() {
    everywhere(|project, place| {
        hierarchy(project, "\"{file:/etc/first}\"");
        dockerfile(project, "1", "r1");
        project.rebuild("--no-promote").to(place).run().exits(0);
        if matches!(place, Place::Registry(_)) {
            project.forget_images();
        }
        let ended = project.rebuilt(place);
        assert!(!ended.result().contains("built, "), "{ended}");
        let tags = project.tags(place);
        assert_eq!(tags["~app:r1"], tags["~app:latest"]);
    });
}

#[test]
fn an_image_without_its_tag_fails_and_no_tag_moves() {
    everywhere(|project, place| {
        for (tag, release, expected) in [
            ("{version:nginx}", "r1", "the image has no package `nginx` (dpkg, apk or rpm)"),
            ("{label:org.x}", "r1", "the image has no label `org.x`"),
            ("{file:/etc/none}", "r1", "the image has no file `/etc/none`"),
            ("{file:/etc/first}", " ", "the tag `{file:/etc/first}`: `{file:/etc/first}` is empty"),
            ("{file:/etc/first}", "a b", "the tag `{file:/etc/first}`: `a b` is not a tag"),
            ("{file:/etc/first}", "rb-1", "the tag `{file:/etc/first}`: it begins with `rb-`"),
        ] {
            hierarchy(project, &format!("\"{tag}\""));
            dockerfile(project, "1", release);
            let ended = project.rebuild("").to(place).run().exits(11);
            ended.says(&[expected]);
            assert_eq!(project.tags(place).len(), 0, "{tag}");
        }
    });
}
