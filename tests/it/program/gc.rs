//! `rebuild gc`: unused build tags go, and nothing else does.

use std::{collections::BTreeMap, time::Duration};

use crate::support::{
    gate::{Gate, Pass},
    is_whole,
    project::{Place, Project, docker},
    registry::{Registry, Setup},
};

/// So many images of `web` and of `app`, one after the other.
const GENERATIONS: usize = 5;

fn in_both_places(check: impl Fn(&Project, Place<'_>)) {
    if is_whole() {
        check(&generations(Place::Engine), Place::Engine);
    }
    let registry = Registry::with(&Setup { delete: true, ..Setup::default() });
    let place = Place::Registry(&registry);
    check(&generations(place), place);
}

fn generations(place: Place<'_>) -> Project {
    let project = Project::of_files();
    // More than the runs themselves would keep in the engine.
    project.edit("hierarchy.yaml", "version: 1\n", "version: 1\ndefaults: { keep: 9 }\n");
    for n in 0..GENERATIONS {
        project.write("web/page", &format!("~ page {n}\n"));
        project.rebuilt(place);
    }
    project
}

fn count(tags: &BTreeMap<String, String>, image: &str) -> usize {
    let prefix = format!("{image}:rb-");
    tags.keys().filter(|tag| tag.starts_with(&prefix)).count()
}

#[test]
fn old_build_tags_go_and_everything_people_pull_stays() {
    in_both_places(|project, place| {
        let before = project.all_tags(place);
        assert_eq!((count(&before, "~web"), count(&before, "~os")), (GENERATIONS, 1));

        // Young images stay, and without `--yes` all of them do.
        let young = project.rebuild("gc --yes").to(place).run().exits(0);
        assert!(young.stdout.contains(": nothing to remove"), "{young}");
        assert!(young.stdout.contains(" younger than 30 days"), "{young}");
        let dry = project.rebuild("gc --keep 1ms").to(place).run().exits(0);
        assert_eq!(project.all_tags(place), before, "{dry}");
        // The last three of each, and what the last three runs moved tags from.
        let going = (GENERATIONS - 4) * 2;
        for said in [
            &format!(": {going} unused images, {going} build tags, up to "),
            "nothing was removed: `rebuild gc --yes` does it",
        ] {
            assert!(dry.stdout.contains(said), "{said:?}: {dry}");
        }

        let json = |arguments: &str| {
            let ended = project.rebuild(arguments).to(place).run().exits(0);
            let document: serde_json::Value = serde_json::from_str(&ended.stdout).unwrap();
            assert_eq!(document["exit"], "done", "{ended}");
            let images = document["places"][0]["images"].as_array().unwrap().clone();
            let removed = images.iter().filter(|image| image["removed"] == true).count();
            (images.len(), removed)
        };
        assert_eq!(json("gc --keep 1ms --format json"), (going, 0));
        assert_eq!(project.all_tags(place), before);
        assert_eq!(json("gc --keep 1ms --yes --format json"), (going, going));
        let after = project.all_tags(place);
        let ended = &dry;
        assert_eq!((count(&after, "~web"), count(&after, "~app")), (4, 4), "{ended}");
        assert_eq!((count(&after, "~os"), count(&after, "~tool")), (1, 1), "{ended}");
        let gone = before.keys().filter(|tag| !after.contains_key(*tag));
        assert!(
            gone.clone().all(|tag| dry.stdout.contains(tag.split(':').nth(1).unwrap())),
            "{dry}"
        );
        assert_eq!(gone.count(), going);
        assert_eq!(
            before.iter().filter(|(tag, _)| !tag.contains(":rb-")).collect::<Vec<_>>(),
            after.iter().filter(|(tag, _)| !tag.contains(":rb-")).collect::<Vec<_>>(),
        );
        super::assert_edges_agree(project, place, super::EDGES);
        let still = project.rebuild("").to(place).run().exits(0);
        assert_eq!(still.result(), "nothing to do: all 4 images are up to date", "{still}");
        let again = project.rebuild("gc --keep 1ms --yes").to(place).run().exits(0);
        assert!(again.stdout.contains(": nothing to remove"), "{again}");
        assert_eq!(project.all_tags(place), after);

        // An input of an image that is gone is built anew, as if it had never been there.
        project.write("web/page", "~ page 0\n");
        project.rebuilt(place);
        super::assert_edges_agree(project, place, super::EDGES);
    });
}

#[test]
#[ignore = "slow: CONTRIBUTING.md"]
fn an_image_that_somebody_tagged_or_that_is_not_ours_stays() {
    let project = generations(Place::Engine);
    let tags = project.all_tags(Place::Engine);
    let digest = |tag: &str| tags[tag].clone();
    let current = digest("~web:latest");
    // Each old image of `web` under one more tag: of a person, and one that only looks like ours.
    let old: Vec<&String> = tags
        .iter()
        .filter(|(tag, at)| tag.starts_with("~web:rb-") && **at != current)
        .map(|(tag, _)| tag)
        .collect();
    for (tag, name) in
        old.iter().zip(["mine", "rb-0123", "rb-ABCDEFABCDEFABCDEFABCDEFABCDEFAB", "v1", "v2"])
    {
        docker(&["tag", &project.name(tag), &project.name(&format!("~web:{name}"))]).unwrap();
    }
    // A build tag of somebody who is not us: nothing says which image it is of.
    let stranger = project.name(&format!("~os:rb-{}", "7".repeat(32)));
    let script =
        format!("echo FROM scratch | docker build -q -t {stranger} --label made=elsewhere -");
    let built = std::process::Command::new("sh").args(["-c", &script]).output().unwrap();
    assert!(built.status.success(), "{built:?}");
    let before = project.all_tags(Place::Engine);
    let ended = project.rebuild("gc --keep 1ms --yes").run().exits(0);
    let after = project.all_tags(Place::Engine);
    let gone: Vec<&String> = before.keys().filter(|tag| !after.contains_key(*tag)).collect();
    assert_eq!(gone.len(), GENERATIONS - 4, "{gone:?} {ended}");
    assert!(gone.iter().all(|tag| tag.starts_with("~app:rb-")), "{gone:?}");
    assert!(ended.stdout.contains("1 of no image of this hierarchy"), "{ended}");
}

#[test]
fn records_of_runs_go_when_they_are_old_and_the_last_stay() {
    let setup = Setup { delete: true, ..Setup::default() };
    let registry = Registry::with(&setup);
    let place = Place::Registry(&registry);
    let project = Project::pair();
    project.rebuilt(place);
    let runs = "demo/rebuild-runs";
    let own = registry.tags(runs);
    assert_eq!(own.len(), 2, "{own:?}");
    // As many of 2023 as it takes for two of them not to be among the last twenty, one of these that
    // never came to its end.
    let run = |n: usize| format!("rb-run-01h455vb4pex5vsknk084sn{n:03}");
    for n in 0..21 {
        registry.copy(runs, &own[0], &run(n));
        if n != 1 {
            registry.copy(runs, &own[1], &format!("{}-end", run(n)));
        }
    }
    let all = registry.tags(runs);
    let said = "2 records of runs that are older than 30 days and not among the last 20";
    let dry = project.rebuild("gc").to(place).run().exits(0);
    assert!(dry.stdout.contains(&format!("in the registry: to remove the {said}\n")), "{dry}");
    assert_eq!(registry.tags(runs), all);

    let ended = project.rebuild("gc --yes").to(place).run().exits(0);
    assert!(ended.stdout.contains(&format!("in the registry: removed the {said}\n")), "{ended}");
    let is_old = |tag: &String| tag.starts_with(&run(0)) || tag.starts_with(&run(1));
    let expected: Vec<String> = all.into_iter().filter(|tag| !is_old(tag)).collect();
    assert_eq!(registry.tags(runs), expected);
    let again = project.rebuild("gc --yes").to(place).run().exits(0);
    assert!(!again.stdout.contains("records of runs"), "{again}");
}

/// An image that was published, and so many of pull requests: no run moved a tag to them, so that no
/// rollback wants them back.
fn requests(project: &Project, to: &str, count: usize) {
    project.rebuild("").env("REBUILD_REGISTRY", to).run().exits(0);
    for n in 0..count {
        project.write("app/page", &format!("request {n}\n"));
        project.rebuild("--no-promote").env("REBUILD_REGISTRY", to).run().exits(0);
    }
}

#[test]
fn a_signal_ends_it_and_says_how_far_it_came() {
    let setup = Setup { delete: true, ..Setup::default() };
    let registry = Registry::with(&setup);
    let gate = Gate::before(registry.host());
    let to = format!("{}/demo", gate.host());
    let project = Project::pair();
    requests(&project, &to, 6);
    let stored = || count(&project.all_tags(Place::Registry(&registry)), "~app");
    assert_eq!(stored(), 7);
    gate.after(|method, _| method == "DELETE", 1, Pass::Held);
    // The last three and the one of the working tree stay: that is one of the three.
    let gc = || project.rebuild("gc --keep 1ms --yes").env("REBUILD_REGISTRY", &to);
    let mut first = gc().start();
    gate.wait_until_held();
    let ended = first.signal("TERM").end_within(Duration::from_secs(10)).exits(143);
    ended.says(&["stopped: 1 image removed, the others stay"]);
    assert_eq!(stored(), 6);
    // The lock is free again, and the rest goes: the published one and the last three stay.
    gate.rule(|_, _| Pass::Through);
    gc().run().exits(0);
    assert_eq!(stored(), 4);
}

#[test]
fn a_registry_that_deletes_nothing_says_so_and_loses_nothing() {
    let registry = Registry::start();
    let project = Project::pair();
    requests(&project, &format!("{}/demo", registry.host()), 5);
    let place = Place::Registry(&registry);
    let before = project.all_tags(place);
    let ended = project.rebuild("gc --keep 1ms --yes").to(place).run().exits(21);
    ended.says(&[
        "answered 405 to delete from",
        "(0 of 2 images removed)",
        "hint: ",
        "`storage.delete.enabled`",
    ]);
    assert_eq!(project.all_tags(place), before);
}

#[test]
fn what_dead_runs_left_is_told_and_removed() {
    let project = Project::new();
    project.rebuilt(Place::Engine);
    // A run of 2023 on a machine that nobody remembers. Any run removes what it left in the engine, and
    // other tests run at the same time; but the folder for temporary files is this test's own.
    let run = "01h455vb4pex5vsknk084sn02q";
    let folder = project.path("tmp").join(format!("rebuild-{run}-x"));
    std::fs::create_dir_all(folder.join("context")).unwrap();
    let other = project.path("tmp/rebuild-notes");
    std::fs::create_dir_all(&other).unwrap();
    let gc = |arguments: &str| {
        let start = project.rebuild(&format!("gc {arguments}"));
        start.env("TMPDIR", project.path("tmp")).run().exits(0)
    };
    let dry = gc("");
    assert!(dry.stdout.contains("left by runs that were stopped or killed: to remove "), "{dry}");
    assert!(dry.stdout.contains("1 temporary folder\n"), "{dry}");
    assert!(folder.exists());
    let pin = project.name(&format!("rebuild.invalid/{run}/n~os:0123456789abcdef"));
    docker(&["tag", &project.name("~os:latest"), &pin]).unwrap();
    let ended = gc("--yes");
    assert!(ended.stdout.contains("left by runs that were stopped or killed: removed "), "{ended}");
    assert!(!folder.exists() && other.exists());
    assert_eq!(project.under_way(), [""; 0]);
}

#[test]
fn a_run_under_way_is_not_disturbed() {
    let project = Project::new();
    project.write("app/Dockerfile", "FROM ~web\nRUN sleep 600 && : ~running\n");
    let running = project.rebuild("").start();
    project.wait_until_under_way("process");
    project.rebuild("gc --yes").run().exits(75).says(&["another run is publishing to"]);
    project.rebuild("gc").run().exits(0);
    drop(running);
}
