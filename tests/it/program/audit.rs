//! The audit of a registry: images of every kind on old and new bases, and what is said of each.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use crate::support::{
    engine,
    project::{Place, Project, docker},
    registry::{ImageUpload, Registry, Setup},
};

const BASE_NAME: &str = "org.opencontainers.image.base.name";
const BASE_DIGEST: &str = "org.opencontainers.image.base.digest";
const VENDOR: &str = "org.opencontainers.image.vendor";

/// What the audit must say of an image.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Truth {
    state: &'static str,
    base: Option<String>,
    versions: Option<u64>,
    days: Option<i64>,
    owner: Option<String>,
}

/// By repository, tags and platform.
type Said = BTreeMap<(String, String), Truth>;

fn said(report: &Value) -> Said {
    let states = ["current", "behind", "not-published", "unchecked", "unknown", "from-scratch"];
    let images = report["images"].as_array().unwrap().iter();
    let truth = |image: &Value| {
        let base = &image["base"];
        Truth {
            state: states.into_iter().find(|state| image["state"] == *state).unwrap(),
            base: base["name"].as_str().map(str::to_owned),
            versions: base["versions_behind"].as_u64(),
            days: base["days_behind"].as_i64(),
            owner: image["owner"].as_str().map(str::to_owned),
        }
    };
    let key = |image: &Value| {
        let tags: Vec<&str> =
            image["tags"].as_array().unwrap().iter().map(|tag| tag.as_str().unwrap()).collect();
        let platform = image["platform"].as_str().unwrap_or_default();
        (
            format!("{}:{}", image["repository"].as_str().unwrap(), tags.join(" ")),
            platform.to_owned(),
        )
    };
    images.map(|image| (key(image), truth(image))).collect()
}

/// Five versions of two bases, ten days apart; the first of them is the newest of `web:2`.
struct Bases<'a> {
    registry: &'a Registry,
    digests: BTreeMap<(&'static str, usize), String>,
}

const VERSIONS: usize = 5;

fn created(version: usize) -> String {
    format!("2026-0{}-01T00:00:00Z", version + 1)
}

fn days_between(version: usize) -> i64 {
    let at = |version: usize| -> jiff_days::Day { jiff_days::of(&created(version)) };
    at(VERSIONS - 1) - at(version)
}

/// Days of dates in 2026, by hand: the tests have no crate for times.
mod jiff_days {
    pub(super) type Day = i64;

    pub(super) fn of(date: &str) -> Day {
        const BEFORE: [i64; 6] = [0, 31, 59, 90, 120, 151];
        let month: usize = date[5..7].parse().unwrap();
        BEFORE[month - 1]
    }
}

impl<'a> Bases<'a> {
    fn push(registry: &'a Registry) -> Self {
        let mut digests = BTreeMap::new();
        for version in 0..VERSIONS {
            let os = layers("os", version);
            let web: Vec<String> = os.iter().cloned().chain([format!("web {version}")]).collect();
            for (name, layers) in [("os", os), ("web", web)] {
                let repository = format!("base/{name}");
                let mut tags = vec![format!("1-2026010{version}")];
                // `push` moves the tag from version to version.
                tags.push("1".to_owned());
                let mut digest = String::new();
                for tag in tags {
                    let pushed = registry.push_upload(
                        (&repository, &tag),
                        &ImageUpload {
                            layers: &layers,
                            labels: &json!({ VENDOR: "platform team" }),
                            created: Some(&created(version)),
                            ..ImageUpload::default()
                        },
                    );
                    digest = pushed.digest.to_string();
                }
                digests.insert((name, version), digest);
            }
        }
        Self { registry, digests }
    }

    fn name(&self, base: &str) -> String {
        format!("{}/base/{base}:1", self.registry.host())
    }

    /// What is true of an image that is based on this version.
    fn truth(&self, base: &str, version: usize, owner: Option<&str>) -> Truth {
        let later = (VERSIONS - 1 - version) as u64;
        Truth {
            state: if later == 0 { "current" } else { "behind" },
            base: Some(self.name(base)),
            versions: Some(later),
            days: Some(days_between(version)),
            owner: owner.map(str::to_owned),
        }
    }
}

fn layers(base: &str, version: usize) -> Vec<String> {
    vec![format!("{base} {version}"), format!("{base} {version} packages")]
}

/// 300 images: half on old bases, some squashed, some without labels, some indexes.
#[test]
fn nothing_wrong_is_said_of_300_images() {
    let registry = Registry::start();
    let bases = Bases::push(&registry);
    let mut expected = Said::new();
    for n in 0..300 {
        let (base, version) = if n % 4 < 2 {
            (["os", "web"][n % 2], VERSIONS - 1)
        } else {
            (["os", "web"][n % 2], n / 4 % (VERSIONS - 1))
        };
        let mut of_base = layers("os", version);
        if base == "web" {
            of_base.push(format!("web {version}"));
        }
        let own = [format!("app {n}"), format!("more of {n}")];
        let (repository, owner) = (format!("team-{}/app-{n}", n % 7), format!("team {}", n % 7));
        let digest = &bases.digests[&(base, version)];
        let name = format!("{}/{repository}:latest", registry.host());
        let with_base: Vec<String> = of_base.iter().cloned().chain(own.clone()).collect();
        let truth = |owner: Option<&str>| bases.truth(base, version, owner);
        let labelled = json!({ BASE_NAME: bases.name(base), BASE_DIGEST: digest, VENDOR: owner });
        let upload = ImageUpload { layers: &with_base, ..ImageUpload::default() };
        let push = |upload: &ImageUpload<'_>| registry.push_upload((&repository, "latest"), upload);
        let (platform, truth) = match n % 6 {
            // Without labels: by layers.
            0 => (push(&upload), truth(None)),
            // It inherits the vendor of the base.
            1 => {
                let labels = json!({ VENDOR: "platform team" });
                (push(&ImageUpload { labels: &labels, ..upload }), truth(None))
            }
            2 => (push(&ImageUpload { labels: &labelled, ..upload }), truth(Some(&owner))),
            // Squashed, with labels.
            3 => {
                let layers = [format!("squashed {n}")];
                let upload = ImageUpload { layers: &layers, labels: &labelled, ..upload };
                (push(&upload), truth(Some(&owner)))
            }
            // Squashed, without labels.
            4 => {
                let layers = [format!("squashed {n}")];
                let unknown =
                    Truth { state: "unknown", base: None, versions: None, days: None, owner: None };
                (push(&ImageUpload { layers: &layers, ..upload }), unknown)
            }
            // An index of two platforms, of which the second is squashed.
            _ => {
                let flat = [format!("squashed {n}")];
                let first = registry.push_upload((&repository, "amd64"), &upload);
                let second =
                    ImageUpload { layers: &flat, architecture: "arm64", ..ImageUpload::default() };
                let second = registry.push_upload((&repository, "arm64"), &second);
                let members = [("amd64", first.digest.as_str()), ("arm64", second.digest.as_str())];
                registry.push_index(&repository, "latest", &members);
                let unknown =
                    Truth { state: "unknown", base: None, versions: None, days: None, owner: None };
                let alone = |tag: &str| name.replace("latest", tag);
                expected.insert((alone("amd64"), String::new()), truth(None));
                expected.insert((alone("arm64"), String::new()), unknown.clone());
                expected.insert((name.clone(), "linux/arm64".to_owned()), unknown);
                expected.insert((name, "linux/amd64".to_owned()), truth(None));
                continue;
            }
        };
        _ = platform;
        expected.insert((name, String::new()), truth);
    }
    // Artifacts, records and build tags are no images of the fleet.
    registry.push("team-0/app-0", "rb-0123", "of a run");
    registry.push("base/rebuild-runs", "rb-run-1", "a record");

    let project = Project::empty();
    let arguments = format!(
        "audit {host} --base {host}/base/os --base {host}/base/web --format json",
        host = registry.host()
    );
    let began = Instant::now();
    let ended = project.rebuild(&arguments).run().exits(0);
    println!("audited in {:.1} s", began.elapsed().as_secs_f64());
    let report: Value = serde_json::from_str(&ended.stdout).unwrap();
    let mut said = said(&report);
    // The bases themselves: `web` is based on `os`.
    let of_bases: Said = said.extract_if(.., |(name, _), _| name.contains("/base/")).collect();
    assert_eq!(of_bases.len(), 2 * VERSIONS);
    for ((name, _), truth) in &of_bases {
        let is_os = name.contains("/base/os");
        assert_eq!(truth.base, (!is_os).then(|| bases.name("os")), "{name}");
    }
    assert_eq!(said.len(), expected.len());
    let wrong: Vec<_> =
        expected.iter().filter(|(key, truth)| said.get(*key) != Some(*truth)).collect();
    for (key, truth) in &wrong {
        println!("{key:?}: {truth:?}, and it says {:?}", said.get(*key));
    }
    assert!(wrong.is_empty(), "{} wrong statements", wrong.len());
    let behind = expected.values().filter(|truth| truth.state == "behind").count();
    assert!(report["counts"]["behind"].as_u64().unwrap() >= behind as u64, "{}", report["counts"]);
    assert!(began.elapsed() < Duration::from_secs(300));
}

/// A registry that refuses its list: the message names the way out, which works.
#[test]
fn a_list_of_images_stands_for_the_registry() {
    let registry = Registry::with(&Setup { login: Some(("ada", "secret")), ..Setup::default() });
    let project = Project::empty();
    let refused = project.rebuild(&format!("audit {}", registry.host())).run().exits(21);
    refused.says(&["refuses to list", "hint: ", "rebuild audit --images FILE", "GHCR"]);

    let config = registry.docker_config("ada", "secret");
    let with_login = |arguments: &str| {
        project
            .rebuild(arguments)
            .env("DOCKER_CONFIG", config.parent().unwrap().to_str().unwrap())
            .run()
    };
    std::fs::copy(&config, config.parent().unwrap().join("config.json")).unwrap();
    registry.push("team/app", "1", "one");
    registry.push("team/app", "2", "two");
    registry.push("other/app", "1", "three");
    let host = registry.host();
    project.write(
        "list",
        &format!("# the cluster\n{host}/team/app:1\n\n{host}/other/app\n{host}/gone\n"),
    );
    let ended = with_login("audit --images list --format csv").exits(0);
    let names: Vec<&str> =
        ended.stdout.lines().skip(1).map(|line| line.split(',').next().unwrap()).collect();
    assert_eq!(names, [format!("{host}/other/app"), format!("{host}/team/app")]);
    let below = with_login(&format!("audit {host}/team --tag 2 --format csv")).exits(0);
    assert_eq!(below.stdout.lines().count(), 2, "{}", below.stdout);
    for (arguments, message) in [
        ("/nothere --exit-code", "there is no image in `HOST/nothere` or below that path"),
        ("/team --tag nope", "there is no image with the tag `nope` in `HOST/team` or below"),
        ("/team/app:1", "`1` is a tag: write `HOST/team/app --tag 1`"),
    ] {
        let ended = with_login(&format!("audit {host}{arguments}")).exits(2);
        ended.says(&[&message.replace("HOST", host)]);
    }
    for base in ["team/nope", "team/app:3"] {
        let ended = with_login(&format!("audit {host}/other --base {host}/{base}")).exits(0);
        ended.says(&[&format!("`--base {host}/{base}` does not exist in the registry")]);
    }
    project.write("list", "ok\nNot A Name\n");
    with_login("audit --images list").exits(2).says(&["line 2 of `list`: "]);
}

/// The bases are those of a hierarchy, and an image of another team is built on one of them with docker.
#[test]
fn an_image_that_rebuild_never_built_falls_behind() {
    let (project, registry) = (Project::new(), Registry::start());
    let place = Place::Registry(&registry);
    project.rebuilt(place);
    let parent = project.name(&format!("{}/demo/~web:latest", registry.host()));
    let theirs = project.name(&format!("{}/their/~shop:latest", registry.host()));
    project.write("their/Dockerfile", &format!("FROM {parent}\nRUN echo shop >/shop\n"));
    let folder = project.path("their");
    docker(&["build", "--quiet", "--tag", &theirs, folder.to_str().unwrap()]).unwrap();
    engine::push(&theirs);
    let audit = format!("audit {}/their --exit-code --all", registry.host());
    let ended = project.rebuild(&audit).to(place).run().exits(0);
    assert!(project.shown(&ended.stdout).contains("~web:latest"), "{}", ended.stdout);
    assert!(ended.stdout.contains("current"), "{}", ended.stdout);

    for text in ["two", "three"] {
        project.write("web/page", text);
        project.rebuilt(place);
    }
    let ended = project.rebuild(&audit).to(place).run().exits(3);
    assert!(ended.stdout.contains("2 versions"), "{}", ended.stdout);
    assert!(ended.stdout.contains("1 of 1 image is based on an outdated base"), "{}", ended.stdout);
    // Without the hierarchy: the labels name the base of `~web`, and `~web` itself is found by its name.
    let ended = Project::empty().rebuild(&audit).run().exits(3);
    assert!(project.shown(&ended.stdout).contains("~web:latest"), "{}", ended.stdout);
    let page = project.rebuild(&(audit + " --format html")).to(place).run().exits(3);
    assert!(
        page.stdout.starts_with("<!DOCTYPE html>") && page.stdout.contains("by inherited labels")
    );
}
