//! `--refresh`: everything without the layer cache, and nothing published that is the same.

use super::{EDGES, assert_edges_agree, everywhere};
use crate::support::{
    project::{Place, Project},
    registry::Registry,
};

#[test]
fn a_refresh_of_the_same_files_promotes_nothing_and_says_why() {
    everywhere(|project, place| {
        // Of everything that a build step leaves behind.
        // A tag that never moves again is enough to find the published image.
        let fields = "tool, tags: [\"1-{fingerprint}\"], volatile: [srv/made, \"!srv/kept\"] }";
        project.edit("hierarchy.yaml", "tool }", fields);
        project.write(
            "tool/Dockerfile",
            "FROM ~os\nRUN mkdir -p /var/log /srv && date >/var/log/made && \
             cat /proc/sys/kernel/random/uuid >/srv/made && touch /now && ln -s now /link && \
             ln /now /also && mkdir /gone && chmod 700 /now\nRUN rmdir /gone\n",
        );
        project.rebuild("").to(place).run().exits(0);
        let tags = project.all_tags(place);
        let ended = project.rebuild("--refresh").to(place).run().exits(0);
        assert_eq!(ended.result(), "done in _: 4 unchanged", "{ended}");
        ended.says(&[
            "nothing was promoted: the 4 built images are unchanged",
            "a refresh was requested",
        ]);
        assert_eq!(project.all_tags(place), tags, "not even a build tag is new");

        // Below an image that comes out the same nothing is built.
        let refresh = "--refresh --from ~os --progress json";
        let ended = project.rebuild(refresh).to(place).run().exits(0);
        let built: Vec<String> = ended
            .events()
            .iter()
            .filter(|event| event["event"] == "phase-started" && event["phase"]["name"] == "build")
            .map(|event| event["node"].as_str().unwrap().to_owned())
            .collect();
        assert_eq!(built, ["~os"]);
        assert_eq!(project.all_tags(place), tags);
        let ended = project.rebuild("").to(place).run().exits(0);
        assert_eq!(ended.result(), "nothing to do: all 4 images are up to date", "{ended}");
    });
}

/// The step runs again, so its layer has other times, and all its children have a new base.
#[test]
fn a_comment_in_a_base_rebuilds_no_child() {
    everywhere(|project, place| {
        let os = std::fs::read_to_string(project.path("os/Dockerfile")).unwrap();
        let step = "RUN : first; echo made >/made; mkdir -p /srv/made; ln -s made /link\n";
        std::fs::write(project.path("os/Dockerfile"), os + step).unwrap();
        project.rebuilt(place);
        let tags = project.tags(place);
        project.edit("os/Dockerfile", ": first", ": second");
        let ended = project.rebuild("").to(place).run().exits(0);
        assert_eq!(ended.result(), "done in _: 1 unchanged, 3 already built", "{ended}");
        assert_eq!(project.tags(place), tags);
        let again = project.rebuilt(place);
        assert!(again.result().starts_with("nothing to do"), "{again}");
    });
}

#[test]
#[ignore = "slow: CONTRIBUTING.md"]
fn a_refresh_of_other_files_is_promoted_with_everything_below() {
    everywhere(|project, place| {
        project.write(
            "web/Dockerfile",
            "FROM ~os:1\nCOPY page /page\nRUN cat /proc/sys/kernel/random/uuid >/package\n",
        );
        project.rebuild("").to(place).run().exits(0);
        let before = project.tags(place);
        let ended = project.rebuild("--refresh").to(place).run().exits(0);
        assert_eq!(ended.result(), "done in _: 2 built, 2 unchanged", "{ended}");
        ended.says(&["`/package` differs"]);
        let after = project.tags(place);
        let moved: Vec<&String> = after
            .iter()
            .filter(|(tag, at)| before.get(*tag) != Some(at))
            .map(|(tag, _)| tag)
            .collect();
        assert_eq!(moved, ["~app:latest", "~web:latest"]);
        assert_edges_agree(project, place, EDGES);

        let ended = project.rebuild("").to(place).run().exits(0);
        assert_eq!(ended.result(), "nothing to do: all 4 images are up to date", "{ended}");
        let why = project.rebuild("why ~web").to(place).run().exits(0);
        assert!(why.stdout.contains("because a refresh of `~web` was requested"), "{}", why.stdout);
        // Nobody gets the older package back with the next change.
        project.write("web/page", "two\n");
        project.rebuild("").to(place).run().exits(0);
        let ended = project.rebuild("").to(place).run().exits(0);
        assert_eq!(ended.result(), "nothing to do: all 4 images are up to date", "{ended}");
    });
}

/// What a machine with an empty engine does each night.
#[test]
#[ignore = "slow: CONTRIBUTING.md"]
fn a_published_image_that_only_the_registry_has_is_compared_too() {
    let (project, registry) = (Project::new(), Registry::start());
    let place = Place::Registry(&registry);
    project.rebuilt(place);
    let tags = project.all_tags(place);
    project.forget_images();
    let ended = project.rebuild("--refresh").to(place).run().exits(0);
    assert_eq!(ended.result(), "done in _: 4 unchanged", "{ended}");
    assert_eq!(project.all_tags(place), tags);
}

#[test]
fn what_is_volatile_is_checked_before_the_first_build() {
    let project = Project::new();
    project.edit("hierarchy.yaml", "context: tool }", "context: tool, volatile: [\"[a\"] }");
    let ended = project.rebuild("--refresh").run().exits(2);
    ended.says(&["`~tool`: `volatile`: `[a` is not a pattern: "]);
    assert!(project.tags(Place::Engine).is_empty());
}
