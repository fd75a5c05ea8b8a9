//! What earlier builds took: the order of the next run, and how long it says it will take.

use std::{fs, path::PathBuf};

use serde_json::Value;

use super::{everywhere, everywhere_of_files};
use crate::support::{
    engine,
    project::{Place, Project},
    registry::Registry,
    running::Ended,
};

/// The files in which it is kept: one for each place that was published to.
fn kept(project: &Project) -> Vec<PathBuf> {
    let hierarchies = fs::read_dir(project.state().join("rebuild")).unwrap().flatten();
    let folders = hierarchies.map(|folder| folder.path()).filter(|path| path.is_dir());
    let files = folders.flat_map(|folder| fs::read_dir(folder).unwrap().flatten());
    let is_history =
        |path: &PathBuf| path.file_name().unwrap().to_str().unwrap().starts_with("history-");
    files.map(|file| file.path()).filter(is_history).collect()
}

/// Of each image what was kept of it, in one place.
fn nodes(project: &Project) -> Value {
    let [file] = &kept(project)[..] else { panic!("{:?}", kept(project)) };
    let text = project.shown(&fs::read_to_string(file).unwrap());
    serde_json::from_str::<Value>(&text).unwrap()["nodes"].take()
}

/// As if each image had always taken so long, in seconds.
fn pretend(project: &Project, seconds: &[(&str, u64)]) {
    let past = |(node, took): &(&str, u64)| {
        let pushed = serde_json::json!({ "own": 3_000_000, "upstream": 0 });
        let past =
            serde_json::json!({ "took": [took * 1000], "added": 3_000_000, "pushed": pushed });
        (project.name(node), past)
    };
    let nodes: serde_json::Map<String, Value> = seconds.iter().map(past).collect();
    let text = serde_json::json!({ "v": 1, "nodes": nodes }).to_string();
    fs::write(&kept(project)[0], text).unwrap();
}

fn estimates(ended: &Ended) -> Vec<Option<f64>> {
    let events = ended.events();
    let estimates = events.iter().filter(|event| event["event"] == "estimate");
    estimates.map(|event| event["seconds_left"].as_f64()).collect()
}

#[test]
#[ignore = "slow: CONTRIBUTING.md"]
fn builds_that_succeed_are_remembered() {
    everywhere(|project, place| {
        let first = project.rebuild("--progress json").to(place).run().exits(0);
        assert_eq!(estimates(&first), [], "nothing is known of a first run");
        let known = nodes(project);
        for node in ["~os", "~web", "~app", "~tool"] {
            let took = known[node]["took"].as_array().unwrap();
            assert_eq!(took.len(), 1, "{known}");
            let event = first
                .events()
                .into_iter()
                .find(|event| event["event"] == "step-finished" && event["node"] == node);
            let event = event.unwrap();
            let seconds = event["seconds"].as_f64().unwrap();
            // Until the image is built; its tests and its push come after that.
            let built = took[0].as_f64().unwrap() / 1000.0;
            assert!(built > 0.0 && built < seconds + 0.002, "{known}");
            assert_eq!(known[node]["added"], event["added"]);
        }
        // The base is new as a whole, what stands on it is a few bytes more.
        assert!(known["~os"]["added"].as_u64().unwrap() > 500_000, "{known}");
        assert!(known["~web"]["added"].as_u64().unwrap() < 100, "{known}");

        // What is up to date, or fails, says nothing of how long a build takes.
        project.edit("os/name", "~os", "~os, the second");
        project.edit("app/Dockerfile", "cp /page /app", "cp /page /no/such/folder/");
        let second = project.rebuild("--progress json --keep-going").to(place).run().exits(10);
        let known = nodes(project);
        let times = |node: &str| known[node]["took"].as_array().unwrap().len();
        assert_eq!((times("~os"), times("~web"), times("~app"), times("~tool")), (2, 2, 1, 2));
        let told = estimates(&second);
        assert!(told[0].unwrap() > 0.0, "{told:?}");
        assert_eq!(told.last(), Some(&None), "nothing is left to wait for");

        project.edit("app/Dockerfile", "/no/such/folder/", "/app");
        project.rebuild("--no-push").to(place).run().exits(0);
        assert_eq!(kept(project).len(), 2, "what is not pushed takes another time");
    });
}

#[test]
fn a_plan_says_where_to_and_what_it_would_touch() {
    everywhere_of_files(|project, place| {
        let lines = |arguments: &str| {
            let ended = project.rebuild(arguments).to(place).run().exits(0);
            ended.stdout.lines().map(str::to_owned).collect::<Vec<_>>()
        };
        // The totals, and the tags that move.
        let last = |arguments: &str| {
            let lines = lines(arguments);
            project.shown(&lines[lines.len() - 2..].join("; "))
        };
        let (target, new) = match place {
            Place::Engine => (
                format!("tags images in the engine at {} (no registry)", project.engine()),
                "of new layers (unpacked)",
            ),
            Place::Registry(registry) => {
                (format!("publishes to {}/demo", registry.host()), "to push (packed)")
            }
        };
        assert_eq!(lines("plan")[0], target);
        let moves = "moves ~os:1, ~os:latest, ~web:latest, ~app:latest, ~tool:latest";
        assert_eq!(last("plan"), format!("4 images, 5 tags, time unknown, size unknown; {moves}"));
        project.rebuilt(place);
        assert_eq!(lines("plan").last().unwrap(), "4 up to date");
        assert_eq!(lines("plan --changed")[1..], ["4 up to date (4 not shown)"]);
        // What it says of the size is what the last builds were.
        let all = ["~os", "~web", "~app", "~tool"];
        let known = nodes(project);
        let bytes = |node: &&str| match place {
            Place::Engine => known[*node]["added"].as_u64().unwrap(),
            Place::Registry(_) => known[*node]["pushed"]["own"].as_u64().unwrap(),
        };
        let bytes: u64 = all.iter().map(bytes).sum();
        let json = lines("plan --from ~os --format json").concat();
        let json: Value = serde_json::from_str(&json).unwrap();
        let radius = &json["blast_radius"];
        assert_eq!(radius["bytes"], bytes);
        assert_eq!(
            (&radius["build"], &radius["tags"], &radius["timed"]),
            (&4.into(), &5.into(), &4.into())
        );
        assert_eq!(radius["moves"].as_array().unwrap().len(), 5);
        assert!(target.contains(
            json["target"].as_object().unwrap().values().next().unwrap().as_str().unwrap()
        ));

        // Three megabytes each, and a minute; on one processor it would be four.
        pretend(project, &all.map(|node| (node, 60)));
        assert_eq!(
            last("plan --from ~os"),
            format!("4 images, 5 tags, about 3 min, about 12 MB {new}; {moves}")
        );
        assert_eq!(
            last("plan --from ~web"),
            format!(
                "2 images, 2 tags, about 2 min, about 6.0 MB {new}; moves ~web:latest, ~app:latest"
            )
        );
        // Some images only: the totals are those of the run.
        let some = lines("plan --from ~os ~app");
        assert_eq!(project.shown(&some[1]), "build    ~app  `~web` is rebuilt");
        assert_eq!(some[3], "the whole run: at most 4 to build (3 not shown)");
        assert!(some[4].starts_with("  4 images, 5 tags, "), "{some:?}");
        project.write("os/page", "~os, the second\n");
        project.rebuilt(place);
        project.write("os/page", "~os one\n");
        assert_eq!(last("plan"), format!("4 images, 5 tags, nothing to build; {moves}"));
    });
}

/// The layers of an upstream that moved are pushed, too.
#[test]
fn the_size_of_a_plan_is_what_the_registry_grows_by() {
    let (registry, project) = (Registry::start(), Project::empty());
    let upstream = project.name("~upstream:1");
    let make = |seed: u32| {
        // Does not compress.
        let mut random = seed;
        let noise = std::iter::repeat_with(|| {
            random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            random.to_be_bytes()[0]
        });
        let noise: Vec<u8> = noise.take(1_000_000).collect();
        project.write("upstream/Dockerfile", "FROM scratch\nCOPY noise /\n");
        fs::write(project.path("upstream/noise"), noise).unwrap();
        engine::build(&project.path("upstream"), &upstream);
    };
    make(1);
    let images = "  ~web: { context: web }\n  ~app: { context: app }\n";
    project.write("hierarchy.yaml", &format!("version: 1\nimages:\n{images}"));
    project.write("web/Dockerfile", "FROM ~upstream:1\nCOPY page /\n");
    project.write("web/page", "~ one");
    project.write("app/Dockerfile", "FROM ~web\nCOPY page /app\n");
    project.write("app/page", "~ two");
    let place = Place::Registry(&registry);
    let plan = || {
        let ended = project.rebuild("plan --format json").to(place).run().exits(0);
        let plan: Value = serde_json::from_str(&ended.stdout).unwrap();
        plan["blast_radius"]["bytes"].as_u64()
    };
    assert_eq!(plan(), None, "nothing was built here");
    project.rebuilt(place);
    make(2);
    let (said, before) = (plan().unwrap(), registry.stored());
    project.rebuilt(place);
    let grown = registry.stored() - before;
    assert!(grown > 1_000_000 && said.abs_diff(grown) < grown / 20, "said {said}, grew by {grown}");
}

#[test]
#[ignore = "slow: CONTRIBUTING.md"]
fn the_longest_way_is_begun_first() {
    let project = Project::of_files();
    project.rebuilt(Place::Engine);
    let started = |ended: &Ended| {
        let events = ended.events();
        let started = events.iter().filter(|event| event["event"] == "step-started");
        started.map(|event| event["node"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    for (tool, order) in
        [(1, ["~os", "~web", "~app", "~tool"]), (9, ["~os", "~tool", "~web", "~app"])]
    {
        pretend(&project, &[("~os", 2), ("~web", 2), ("~app", 4), ("~tool", tool)]);
        project.write("os/page", &format!("~os {tool}\n"));
        let ended = project.rebuild("--jobs 1 --progress json").run().exits(0);
        assert_eq!(started(&ended), order);
        let told = estimates(&ended);
        #[expect(clippy::cast_precision_loss, reason = "a few seconds")]
        let all = 2.0 + 2.0 + 4.0 + tool as f64;
        assert_eq!(told[0], Some(all), "{ended}");
    }
}

#[test]
#[ignore = "slow: CONTRIBUTING.md"]
fn how_long_it_takes_is_told_and_what_is_broken_is_nothing() {
    let project = Project::new();
    project.rebuilt(Place::Engine);
    pretend(&project, &[("~os", 100), ("~web", 100), ("~app", 100), ("~tool", 100)]);
    project.edit("os/name", "~os", "~os, the second");
    let ended = project.rebuild("--jobs 2").run().exits(0);
    ended.says(&["  about 5 min left\n", " · about 3 min left\n"]);

    let project = Project::pair();
    project.rebuilt(Place::Engine);
    for (n, broken) in ["", "{", "null", "\0\0", "{\"v\":9,\"nodes\":{}}"].into_iter().enumerate() {
        fs::write(&kept(&project)[0], broken).unwrap();
        project.write("base/name", &format!("~base {n}\n"));
        let ended = project.rebuild("").run().exits(0).never_says(&["left"]);
        assert_eq!(ended.result(), "done in _: 2 built", "{ended}");
        assert_eq!(nodes(&project)["~base"]["took"].as_array().unwrap().len(), 1);
    }
}
