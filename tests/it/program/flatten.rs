//! `flatten`: one layer with the same files, on the real engine; predicted sizes, and nothing left behind.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    time::{Duration, Instant},
};

use serde_json::Value;

use super::everywhere;
use crate::support::{
    project::{Place, Project, docker},
    proxy::{Fault, Proxy},
    saved::{Saved, stored_once},
};

/// The program must be gone by then.
const LIMIT: Duration = Duration::from_secs(10);

/// Steps that later ones undo.
const WEB: &str = "\
FROM ~os:1
COPY page /page
RUN mkdir -p /srv/d && echo 1 >/srv/d/a && echo 2 >/srv/d/b && ln /srv/d/a /srv/hard && mkfifo /srv/pipe
RUN rm /srv/d/b /etc/name && chmod 4750 /srv/d/a && ln -s d/a /srv/soft
RUN rm -r /srv/d
RUN mkdir /srv/d && echo new >/srv/d/c && dd if=/dev/zero of=/srv/zeros bs=1024 count=3000
RUN chown 7:8 /srv/zeros
ENV GREETING=\"a <b> & c\"
HEALTHCHECK --interval=30s CMD cat /page
CMD [\"cat\", \"/page\"]
";

/// What tells one file from another, but for the times of folders.
const FILES: &str = "cd / && find bin srv etc/name page -type d | sort | /bin/busybox xargs -n1 \
    /bin/busybox stat -c '%n %f %u %g'; find bin srv etc/name page ! -type d | sort | \
    /bin/busybox xargs -n1 /bin/busybox stat -c '%N %f %u %g %s %Y'; \
    find srv page -type f | sort | xargs cat | sha256sum";

fn project() -> Project {
    let project = Project::new();
    project.write("web/Dockerfile", WEB);
    // It has no `xargs` and no `mkfifo` yet.
    let more = "\nRUN [\"/bin/busybox\", \"--install\", \"-s\", \"/bin\"]\n";
    let os = std::fs::read_to_string(project.path("os/Dockerfile")).unwrap();
    project.write("os/Dockerfile", &(os + more));
    project
}

fn flatten(project: &Project, node: &str, value: &str) {
    let context = node.trim_start_matches('~');
    let plain = format!("{node}: {{ context: {context}");
    project.edit("hierarchy.yaml", &plain, &format!("{plain}, flatten: {value}"));
}

/// The published image in the engine.
fn saved(project: &Project, tag: &str) -> Saved {
    Saved::of(&project.name(tag))
}

#[test]
fn a_flattened_image_has_the_same_files_in_one_layer() {
    let project = project();
    project.rebuilt(Place::Engine);
    let files = |tag: &str| project.output_in(tag, &["sh", "-c", FILES]);
    let before = saved(&project, "~web:latest");
    let (web, app) = (files("~web:latest"), files("~app:latest"));
    let os = saved(&project, "~os:latest").diff_ids();
    for (value, kept) in [("true", 0), ("own", os.len())] {
        project.edit(
            "hierarchy.yaml",
            "~web: { context: web",
            &format!("~web: {{ flatten: {value}, context: web"),
        );
        project.rebuilt(Place::Engine);
        let flat = saved(&project, "~web:latest");
        let layers = flat.diff_ids();
        assert_eq!((layers.len(), &layers[..kept]), (kept + 1, &os[..kept]), "{value}");
        assert_eq!(files("~web:latest"), web, "{value}");
        assert_eq!(files("~app:latest"), app, "{value}");
        let child = saved(&project, "~app:latest").diff_ids();
        assert!(child.starts_with(&layers), "{child:?} on {layers:?}");
        let config = |saved: &Saved| {
            let mut config = saved.config["config"].clone();
            let labels = config["Labels"].as_object_mut().unwrap();
            labels.retain(|label, _| !label.starts_with("rebuild.") && !label.contains(".base."));
            config
        };
        assert_eq!(config(&flat), config(&before), "{value}");
        let steps = flat.steps();
        assert_eq!((steps.len(), steps.last().unwrap().as_str()), (kept + 1, "rebuild: flatten"));
        assert_eq!(project.label(Place::Engine, "~web:latest", "rebuild.flatten"), value);
        assert_eq!(project.label(Place::Engine, "~app:latest", "rebuild.flatten"), "");
        assert_eq!(project.left_after(LIMIT), [""; 0]);
        project.edit(
            "hierarchy.yaml",
            &format!("~web: {{ flatten: {value}, context"),
            "~web: { context",
        );
    }
    project.rebuilt(Place::Engine);
    assert_eq!(saved(&project, "~web:latest").diff_ids(), before.diff_ids(), "as before");
}

#[test]
fn an_unchanged_flattened_image_stays() {
    everywhere(|project, place| {
        project.write("web/Dockerfile", &WEB.replace("mkfifo", "true"));
        flatten(project, "~web", "own");
        flatten(project, "~os", "true");
        project.rebuilt(place);
        let tags = project.tags(place);
        project.edit("web/Dockerfile", "COPY page", "# a comment\nCOPY page");
        let same = project.rebuild("").to(place).run().exits(0);
        assert!(same.result().starts_with("done in _: 1 unchanged"), "{same}");
        project.edit("os/Dockerfile", "FROM", "# a comment\nFROM");
        let same = project.rebuild("").to(place).run().exits(0);
        assert!(same.result().starts_with("done in _: 1 unchanged"), "{same}");
        assert_eq!(project.tags(place), tags);
        if let Place::Registry(registry) = place {
            let layers =
                |name: &str| registry.layers(&project.name(&format!("demo/{name}")), "latest");
            let (os, web, app) = (layers("~os"), layers("~web"), layers("~app"));
            assert_eq!((os.len(), web.len()), (1, 2), "{os:?} {web:?}");
            assert_eq!(web[0], os[0], "the parent's layers are the same blobs");
            assert!(app.starts_with(&web), "{app:?} on {web:?}");
        }
    });
}

/// All published images in the engine.
fn images(project: &Project) -> Vec<String> {
    let tags = project.tags(Place::Engine);
    tags.keys().filter(|tag| tag.ends_with(":latest")).map(|tag| project.name(tag)).collect()
}

fn what_if(project: &Project, change: &str) -> Value {
    let ended = project.rebuild(&format!("size --what-if flatten={change} --format json")).run();
    serde_json::from_str::<Value>(&ended.exits(0).stdout).unwrap()["flatten"].clone()
}

/// Flattens, and compares the bytes with those that were predicted.
fn predicted(project: &Project, (node, value): (&str, &str), expected: &str) {
    let before = stored_once(&images(project));
    let suffix = if value == "own" { ":own" } else { "" };
    let forecast = what_if(project, &format!("{node}{suffix}"));
    let plan = {
        flatten(project, node, value);
        let ended = project.rebuild("plan --format json").run().exits(0);
        serde_json::from_str::<Value>(&ended.stdout).unwrap()
    };
    assert_eq!(plan["flatten"][0], forecast, "the plan says the same");
    let flat = stored_once(&[project.name(&format!("{node}:latest"))]);
    project.rebuilt(Place::Engine);
    let after = stored_once(&images(project));
    let now = stored_once(&[project.name(&format!("{node}:latest"))]);
    let number = |key: &str| forecast["bytes"][key].as_i64().unwrap();
    let signed = |bytes: u64| i64::try_from(bytes).unwrap();
    assert_eq!(signed(after) - signed(before), number("change"), "{node} {value}: {forecast}");
    assert_eq!(signed(flat) - signed(now), number("saved"), "{node} {value}: {forecast}");
    let told = format!(
        "{} layers, {} descendants, shared {}",
        forecast["layers"],
        forecast["descendants"].as_array().unwrap().len(),
        number("shared") > 0
    );
    assert_eq!(told, expected, "{node} {value}: {forecast}");
    assert!(number("saved") > 0, "{forecast}");
}

#[test]
fn predicted_and_real_sizes_agree_to_the_byte() {
    for count in [2, 10] {
        let project = project();
        let mut file = String::from(
            "version: 1\nimages:\n  ~os: { context: os, tags: [latest, \"1\"] }\n  ~web: { context: web }\n",
        );
        for number in 0..count {
            let from = if number % 2 == 0 { "web" } else { "os" };
            let steps = format!("FROM ~{from}\nCOPY page /page\nCOPY more /page\nRUN rm /bin/wc\n");
            project.write(&format!("app{number}/Dockerfile"), &steps);
            project.write(&format!("app{number}/page"), &format!("{number}\n").repeat(9000));
            project.write(&format!("app{number}/more"), &format!("~{number}\n"));
            writeln!(file, "  ~app{number}: {{ context: app{number} }}").unwrap();
        }
        project.write("hierarchy.yaml", &file);
        let install = "RUN [\"/bin/busybox\", \"--install\"";
        let twice = "COPY bin /twice/\nRUN [\"/bin/busybox\", \"rm\", \"-r\", \"/twice\"]\n";
        project.edit("os/Dockerfile", install, &format!("{twice}{install}"));
        project.rebuilt(Place::Engine);
        let of_web = count / 2;
        predicted(&project, ("~app0", "own"), "3 layers, 0 descendants, shared false");
        predicted(
            &project,
            ("~app1", "true"),
            &format!("{} layers, 0 descendants, shared true", saved_layers(&project, "~os") + 3),
        );
        predicted(
            &project,
            ("~web", "own"),
            &format!("6 layers, {of_web} descendants, shared false"),
        );
        let os = saved_layers(&project, "~os");
        predicted(
            &project,
            ("~os", "true"),
            &format!("{os} layers, {count} descendants, shared false"),
        );
        let again = project.rebuild("plan --format json").run().exits(0);
        assert!(!again.stdout.contains("\"flatten\""), "{again}");
    }
}

/// A registry stores equal layers once, wherever they are; a host does so above the same layers only.
#[test]
fn equal_layers_elsewhere_are_predicted_to_the_byte() {
    everywhere(|project, place| {
        for (page, letter) in [("one", "1"), ("two", "2")] {
            project.write(&format!("web/{page}"), &letter.repeat(70_000));
            project.write(&format!("tool/{page}"), &letter.repeat(70_000));
        }
        let web = "FROM ~os:1\nCOPY one /page\nCOPY two /page\nCOPY one /page\n";
        project.write("web/Dockerfile", web);
        project.write("tool/Dockerfile", "FROM ~os\nCOPY two /page\n");
        project.rebuilt(place);
        let stored = |name: &str| match place {
            Place::Engine => stored_once(&[project.name(&format!("{name}:latest"))]),
            Place::Registry(registry) => {
                let layers = registry.unpacked(&project.name(&format!("demo/{name}")), "latest");
                layers.into_iter().collect::<BTreeMap<_, _>>().into_values().sum()
            }
        };
        let all = || match place {
            Place::Engine => stored_once(&images(project)),
            Place::Registry(registry) => {
                let of = |name: &str| {
                    registry.unpacked(&project.name(&format!("demo/{name}")), "latest")
                };
                let layers = ["~os", "~web", "~app", "~tool"].into_iter().flat_map(of);
                layers.collect::<BTreeMap<_, _>>().into_values().sum()
            }
        };
        let before = (stored("~web"), all());
        let ended =
            project.rebuild("size --what-if flatten=~web:own --format json").to(place).run();
        let forecast: Value = serde_json::from_str(&ended.exits(0).stdout).unwrap();
        flatten(project, "~web", "own");
        project.rebuilt(place);
        let now = (stored("~web"), all());
        let number = |key: &str| forecast["flatten"]["bytes"][key].as_i64().unwrap();
        let less =
            |one: u64, other: u64| i64::try_from(one).unwrap() - i64::try_from(other).unwrap();
        assert_eq!(less(before.0, now.0), number("saved"), "{forecast}");
        assert_eq!(less(now.1, before.1), number("change"), "{forecast}");
        let has_sharer = matches!(place, Place::Registry(_));
        assert_eq!(number("shared") > 0, has_sharer, "{forecast}");
    });
}

fn saved_layers(project: &Project, node: &str) -> usize {
    saved(project, &format!("{node}:latest")).layers.len()
}

#[test]
fn a_failed_test_of_a_flattened_image_leaves_nothing() {
    let project = project();
    flatten(&project, "~app", "own");
    flatten(&project, "~web", "true");
    project.edit("hierarchy.yaml", "[cat, /page]", "[\"false\"]");
    project.rebuild("").run().exits(11);
    assert_eq!(project.tags(Place::Engine), [].into());
    assert_eq!(project.left_after(LIMIT), [""; 0]);
    assert_eq!(dangling(&project), "");
}

/// Images of the project without a name.
fn dangling(project: &Project) -> String {
    let of = |node: &str| {
        let label = format!("label=rebuild.node={}", project.name(node));
        docker(&["images", "--quiet", "--filter", "dangling=true", "--filter", &label]).unwrap()
    };
    of("~web") + &of("~app")
}

#[test]
fn a_signal_while_the_engine_loads_the_flattened_image_ends_it() {
    let project = project();
    let engine = Proxy::to_engine(project.engine());
    flatten(&project, "~web", "true");
    engine.spoil(("POST", "/images/load"), 1, Fault::Silence);
    let load = ("POST", "/images/load");
    let mut run = project.rebuild("--progress json").env("DOCKER_HOST", engine.address()).start();
    run.wait_for("\"name\":\"flatten\"");
    while engine.count(load) == 0 {
        std::thread::sleep(Duration::from_millis(5));
    }
    let began = Instant::now();
    run.signal("INT").end().exits(130);
    assert!(began.elapsed() < LIMIT, "{:?}", began.elapsed());
    assert_eq!(project.left_after(LIMIT), [""; 0]);
    engine.behave();
    project.rebuilt(Place::Engine);
    assert_eq!(saved_layers(&project, "~web"), 1);
}

#[test]
fn a_folder_for_temporary_files_that_is_missing_is_named() {
    let project = project();
    flatten(&project, "~web", "true");
    let ended = project.rebuild("").env("TMPDIR", "/nowhere").run().exits(10);
    ended.says(&[
        "cannot write a temporary file in `/nowhere` (`TMPDIR` names the folder): No such file or directory",
    ]);
}

#[test]
fn what_cannot_be_flattened_is_told() {
    let project = Project::new();
    let says = |texts: &[&str]| {
        let ended = project.rebuild("check").run().exits(2);
        for text in texts {
            assert!(project.shown(&ended.stdout).contains(text), "{text}: {ended}");
        }
    };
    flatten(&project, "~os", "own");
    says(&[
        "`~os` has `flatten: own`, and no parent in this hierarchy",
        "`flatten: true` makes all its layers one",
    ]);
    project.edit("hierarchy.yaml", "flatten: own", "flatten: parent");
    says(&["`flatten` must be `true`, `false` or `own`, not `parent`"]);
    project.edit("hierarchy.yaml", ", flatten: parent", "");
    for (change, expected) in [
        ("squash=~os", "expected `flatten=NODE` or `flatten=NODE:own`"),
        ("flatten=~none", "no image of this hierarchy is named `~none`"),
        ("flatten=~os:own", "`~os` has no parent in this hierarchy"),
        ("flatten=~web", "`~web` is not published"),
    ] {
        let ended = project.rebuild(&format!("size --what-if {change}")).run().exits(2);
        assert!(project.shown(&ended.stderr).contains(expected), "{expected}: {ended}");
    }
}
